package asideprom_test

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asideprom"
)

// A repository stands for yours.
type repository struct{}

func (repository) ProductByID(_ context.Context, id int64) (string, error) {
	return fmt.Sprint("product ", id), nil
}

func (repository) InCategory(_ context.Context, id int64) ([]string, error) { return nil, nil }

func (repository) Count(_ context.Context, id int64) (int, error) { return 0, nil }

func Example() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	var repo repository
	lists := aside.Must(aside.New(rdb, "list", repo.InCategory))
	counts := aside.Must(aside.New(rdb, "count", repo.Count))

	metrics := asideprom.NewCollector()
	prometheus.MustRegister(metrics)
	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithObserver(metrics.Observer()), aside.WithVerify(10))
	metrics.Add(products, lists, counts)

	if err != nil {
		fmt.Println(err)
		return
	}
	defer aside.Caches{products, lists, counts}.Shutdown(context.Background())
	families, err := prometheus.DefaultGatherer.Gather()
	fmt.Println(families[0].GetName(), err)
	// Output: aside_altered_values_total <nil>
}
