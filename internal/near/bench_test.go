package near_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/testserver"
)

// The benchmarks read one of 10,000 values that are in memory, on one goroutine and on 64. They do not render a name, clone a
// value, or keep an observer: that is up to the cache.
//
//	go test -run '^$' -bench Hit ./internal/near
const benchKeys = 10_000

// BenchmarkHitClock is what reading the clock takes, which every hit does once.
func BenchmarkHitClock(b *testing.B) {
	start := time.Now()
	for b.Loop() {
		_ = time.Since(start)
	}
}

func BenchmarkHitSyncMap(b *testing.B) {
	var m sync.Map
	for key := range benchKeys {
		m.Store(key, strconv.Itoa(key))
	}
	hits(b, func(key int) bool { _, ok := m.Load(key); return ok })
}

func BenchmarkHitOtter(b *testing.B) {
	m := otter.Must(&otter.Options[int, string]{MaximumSize: 2 * benchKeys})
	for key := range benchKeys {
		m.Set(key, strconv.Itoa(key))
	}
	hits(b, func(key int) bool { _, ok := m.GetIfPresent(key); return ok })
}

func BenchmarkHitNear(b *testing.B) {
	rdb := redis.NewClient(&redis.Options{Addr: testserver.Redis(b).Addr})
	b.Cleanup(func() { rdb.Close() })
	log := near.Join(near.Config{Client: rdb, Key: logKey})
	b.Cleanup(func() { log.Leave(context.Background()) })
	for _, tagged := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "tagged"}[tagged], func(b *testing.B) {
			copies := near.NewCopies[int, string](log, prefix, 2*benchKeys, time.Hour)
			defer copies.Detach()
			for copies.Get(-1); !log.Reading(); {
				runtime.Gosched()
			}
			var tags []string
			if tagged {
				tags = []string{"red", "big"}
			}
			for key := range benchKeys {
				copies.Put(key, copies.Note(name(key)), strconv.Itoa(key), false, tags, in(time.Hour))
			}
			hits(b, func(key int) bool { _, _, ok := copies.Get(key); return ok })
		})
	}
}

func hits(b *testing.B, hit func(key int) bool) {
	b.Run("1", func(b *testing.B) {
		b.ReportAllocs()
		missed, i := 0, 0
		for b.Loop() {
			if i++; i == benchKeys {
				i = 0
			}
			if !hit(i) {
				missed++
			}
		}
		b.ReportMetric(float64(missed)/float64(b.N), "misses/op")
	})
	b.Run("64", func(b *testing.B) {
		b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
		b.RunParallel(func(pb *testing.PB) {
			i := rand.IntN(benchKeys)
			for pb.Next() {
				if i++; i == benchKeys {
					i = 0
				}
				hit(i)
			}
		})
	})
}

// BenchmarkInvalidate is a removal, and one that readers in other processes are told of and waited for. It says what waiting
// adds to a removal while nothing else happens.
//
//	go test -run '^$' -bench Invalidate ./internal/near
func BenchmarkInvalidate(b *testing.B) {
	addr := testserver.Redis(b).Addr
	dial := func() *redis.Client {
		rdb := redis.NewClient(&redis.Options{Addr: addr})
		b.Cleanup(func() { rdb.Close() })
		return rdb
	}
	ctx := context.Background()
	rdb := dial()
	log := near.Join(near.Config{Client: rdb, Key: logKey})
	b.Cleanup(func() { log.Leave(ctx) })
	b.Run("removal", func(b *testing.B) {
		for b.Loop() {
			rdb.Del(ctx, name(1))
		}
	})
	if err := log.Tell(ctx, about(1)); err != nil { // makes LOG
		b.Fatal(err)
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	b.Cleanup(func() { stop.Store(true); readers.Wait() })
	for n := range 4 {
		if n > 0 {
			other := near.Join(near.Config{Client: dial(), Key: logKey})
			b.Cleanup(func() { other.Leave(ctx) })
			copies := near.NewCopies[int, string](other, prefix, 100, time.Minute)
			for copies.Get(-1); !other.Reading(); {
				runtime.Gosched()
			}
			readers.Go(func() {
				for !stop.Load() {
					copies.Get(-1)
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		time.Sleep(near.Delta) // LOG is old enough
		b.Run(fmt.Sprint("readers-", n), func(b *testing.B) {
			for b.Loop() {
				rdb.Del(ctx, name(1))
				if err := log.Tell(ctx, about(1)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
