package asidetest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

// The examples are tests to be pasted: t is that of a func TestXxx(t *testing.T).
var t *testing.T

// One test for each method that writes: which entries show the row, and is each of them invalidated in time?
func ExampleCoherent() {
	shop := NewShop(t, asidetest.Redis(t).Client())

	asidetest.Coherent(t,
		func(ctx context.Context) error { return shop.SetPrice(ctx, 1, 1290) },
		asidetest.Of(shop.products, 1),
		asidetest.Of(shop.lists, 7),
	)
}

// A move shows in the list that the product leaves and in the one that it comes to. A product that is new may be
// remembered as absent.
func ExampleOf() {
	shop := NewShop(t, asidetest.Redis(t).Client())

	asidetest.Coherent(t,
		func(ctx context.Context) error { return shop.Add(ctx, Product{ID: 4, Category: 8}) },
		asidetest.Of(shop.products, 4),
		asidetest.Of(shop.lists, 8),
	)
}

// The second ctx is that of a caller with another language, on which no entry may depend.
func ExampleDeterministic() {
	products, _ := asidetest.New(t, NewDB().ProductByID)

	german := context.WithValue(t.Context(), languageKey{}, "de")
	asidetest.Deterministic(t, products, []int64{1, 2, 3}, german)
}

// Rows of the test's database.
func ExampleRoundTrips() {
	products, _ := asidetest.New(t, NewDB().ProductByID)

	asidetest.RoundTrips(t, products, 1, 2, 3)
}

// Values that no row has.
func ExampleRoundTrips_values() {
	values := []Product{{}, {ID: 1, Name: "größer", Category: 7, Cents: -1}}
	load := func(_ context.Context, i int) (Product, error) { return values[i], nil }
	products, _ := asidetest.New(t, load, aside.WithCodec(gobCodec{}))

	asidetest.RoundTrips(t, products, 0, 1)
}

// What a write does while another process, which has near copies, hangs.
func ExampleServer_PauseNear() {
	synctest.Test(t, func(t *testing.T) {
		db, server := NewDB(), asidetest.Redis(t)
		near := aside.WithNear(1000, 10*time.Second)

		stopped := server.Client()
		reader, _ := aside.New(stopped, "product", db.ProductByID, near)
		writer, _ := aside.New(server.Client(), "product", db.ProductByID, near)
		for reader.Stats().NearHits == 0 { // the first reads ask Redis
			reader.Get(t.Context(), 1)
			time.Sleep(time.Millisecond)
		}
		resume := server.PauseNear(stopped)
		writer.Invalidate(t.Context(), 1) // takes a second
		reader.Get(t.Context(), 1)        // reads the row, as it is now
		resume()

		reader.Close()
		writer.Close()
	})
}

// An hour in no time: everything is made inside the bubble.
func ExampleNew() {
	synctest.Test(t, func(t *testing.T) {
		products, _ := asidetest.New(t, NewDB().ProductByID, aside.WithTTL(time.Hour))
		for range 2 {
			if _, err := products.Get(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour + time.Second)
		}
		if loads := products.Stats().Loads; loads != 2 {
			t.Errorf("%d loads", loads)
		}
	})
}

// A service that makes its caches itself. Two clients stand for two processes.
func ExampleRedis() {
	server := asidetest.Redis(t)
	a, b := NewShop(t, server.Client()), NewShop(t, server.Client())
	_, _ = a.products.Get(t.Context(), 1)
	_, _ = b.products.Get(t.Context(), 1)
	if b.products.Stats().Hits != 1 {
		t.Error("the second process did not hit")
	}
}

// Without Redis, reads go on, from the database.
func ExampleServer_Down() {
	products, server := asidetest.New(t, NewDB().ProductByID)

	server.Down()
	if _, err := products.Get(t.Context(), 1); err != nil {
		t.Error(err)
	}
	server.Up()
}

// A service must be told that its write may leave an old row for others.
func ExampleServer_Fail() {
	products, server := asidetest.New(t, NewDB().ProductByID)

	server.Fail("READONLY You can't write against a read only replica.")
	if products.Invalidate(t.Context(), 1) == nil {
		t.Error("Invalidate returned nil")
	}
}

// Redis' TTLs pass, in a test that cannot run in a bubble since it uses a real database.
func ExampleServer_Advance() {
	products, server := asidetest.New(t, NewDB().ProductByID, aside.WithTTL(time.Hour))
	_, _ = products.Get(t.Context(), 1)
	server.Advance(time.Hour)
	_, _ = products.Get(t.Context(), 1)
	if loads := products.Stats().Loads; loads != 2 {
		t.Errorf("%d loads", loads)
	}
}

// A client that does not send commands again.
func ExampleServer_LoseReply() {
	server := asidetest.Redis(t)
	rdb := server.Client(func(o *redis.Options) { o.MaxRetries = -1 })
	shop := NewShop(t, rdb)

	server.LoseReply()
	if shop.products.Invalidate(t.Context(), 1) == nil {
		t.Error("Invalidate returned nil")
	}
}

// The examples have no output, so go test only compiles them: here they run.
func TestExamples(outer *testing.T) {
	for name, example := range map[string]func(){
		"Coherent": ExampleCoherent, "Of": ExampleOf, "Deterministic": ExampleDeterministic,
		"RoundTrips": ExampleRoundTrips, "values": ExampleRoundTrips_values, "New": ExampleNew, "Redis": ExampleRedis,
		"Down": ExampleServer_Down, "Fail": ExampleServer_Fail, "Advance": ExampleServer_Advance,
		"LoseReply": ExampleServer_LoseReply,
	} {
		outer.Run(name, func(inner *testing.T) {
			if t = inner; name == "New" { // which makes a bubble
				example()
				return
			}
			synctest.Test(inner, func(inner *testing.T) { // where a busy machine is no outage
				t = inner
				example()
			})
		})
	}
}
