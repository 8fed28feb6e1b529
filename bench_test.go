package aside_test

import (
	"encoding/json"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// These benchmarks run against a real Redis on the loopback, one goroutine, with JSON of about 1 KB.
//
// BenchmarkHit beside BenchmarkRawGet is what the library adds to the least that any cache in Redis does: the same GET on
// the same client, and the same json.Unmarshal into the same type. BenchmarkMiss has a loader that takes no time, so all
// that it measures is the library's three round trips. BenchmarkGetMany100 is 100 hits in one call; divide by 100.
//
// They say nothing of a network, where the round trip outweighs all of this, nothing of concurrency, where connections
// and flights are shared, and nothing of what a cache is for, the load that a hit saves. Their times do not carry over
// from one machine to another; the ratio of the first two nearly does.

// onRedis returns an empty real Redis.
func onRedis(b *testing.B) *redis.Client {
	rdb := redis.NewClient(&redis.Options{Addr: sharedRedis.Get(b).Addr})
	b.Cleanup(func() { rdb.Close() })
	if err := rdb.FlushAll(b.Context()).Err(); err != nil {
		b.Fatal(err)
	}
	return rdb
}

// BenchmarkRawGet is what BenchmarkHit is measured by.
func BenchmarkRawGet(b *testing.B) {
	rdb, ctx := onRedis(b), b.Context()
	data, err := json.Marshal(newPage(1))
	if err != nil {
		b.Fatal(err)
	}
	if err := rdb.Set(ctx, "test:1", data, 0).Err(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		var p page
		data, err := rdb.Get(ctx, "test:1").Bytes()
		if err != nil {
			b.Fatal(err)
		}
		if err := json.Unmarshal(data, &p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHit(b *testing.B) { benchmarkHit(b) }

// BenchmarkHitSealed beside BenchmarkHit is what a seal adds to a hit, and BenchmarkMissSealed what it adds to a miss. BenchmarkSeal
// is the seal alone, without Redis, whose round trips vary by more than that.
func BenchmarkHitSealed(b *testing.B) { benchmarkHit(b, sealed) }

func BenchmarkSeal(b *testing.B) {
	data, err := json.Marshal(newPage(1))
	if err != nil {
		b.Fatal(err)
	}
	seal := aside.NewSeal(gcm(1))
	stored := seal.Close("test:1", data)
	b.Run("close", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			seal.Close("test:1", data)
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := seal.Open("test:1", stored); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchmarkHit(b *testing.B, opts ...aside.Option) {
	c, ctx := newProductCache(b, onRedis(b), opts...), b.Context()
	if _, err := c.Get(ctx, 1); err != nil {
		b.Fatal(err)
	}
	data, _ := json.Marshal(newPage(1))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(ctx, 1); err != nil {
			b.Fatal(err)
		}
	}
	if loads := c.Stats().Loads; loads != 1 {
		b.Errorf("there were %d loads", loads)
	}
}

func BenchmarkMiss(b *testing.B)       { benchmarkMiss(b) }
func BenchmarkMissSealed(b *testing.B) { benchmarkMiss(b, sealed) }

func benchmarkMiss(b *testing.B, opts ...aside.Option) {
	c, ctx := newProductCache(b, onRedis(b), opts...), b.Context()
	b.ReportAllocs()
	id := 0
	for b.Loop() {
		id++
		if _, err := c.Get(ctx, id); err != nil {
			b.Fatal(err)
		}
	}
	if s := c.Stats(); s.Fills != uint64(id) {
		b.Errorf("there were %d fills of %d misses", s.Fills, id)
	}
}

func BenchmarkGetMany100(b *testing.B) {
	c, ctx := newProductCache(b, onRedis(b)), b.Context()
	keys := idsFrom(0, 100)
	b.ReportAllocs()
	for b.Loop() {
		if found, err := c.GetMany(ctx, keys); err != nil || len(found) != len(keys) {
			b.Fatal(len(found), err)
		}
	}
	if loads := c.Stats().Loads; loads != 1 {
		b.Errorf("there were %d loads", loads)
	}
}
