package asideotel_test

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asideotel"
)

func Example() {
	telemetry, err := asideotel.New(sdkmetric.NewMeterProvider(), sdktrace.NewTracerProvider())
	if err != nil {
		fmt.Println(err)
		return
	}
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	products, err := aside.New(rdb, "product", productByID, aside.WithObserver(telemetry.Observer()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer products.Close()
	telemetry.Add(products)
	fmt.Println(products.Name())
	// Output: product
}

func productByID(_ context.Context, id int64) (string, error) { return fmt.Sprint("product ", id), nil }
