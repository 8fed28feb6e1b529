package crash_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// beReader reads the row until standard input ends, and writes a line for each read.
func beReader(p plan) {
	ended, end := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	db := openDB(context.Background(), p.DSN, 4)
	cache := newCache(redis.NewClient(&redis.Options{Addr: p.Redis}), lingering(selectItem(db)), append(p.near(100), patient)...)
	var out sync.Mutex
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for ended.Err() == nil {
				r := read{begin: now()}
				i, err := cache.Get(context.Background(), p.Row)
				must(err)
				r.end, r.version = now(), i.Version
				out.Lock()
				fmt.Println(r)
				out.Unlock()
				time.Sleep(3 * time.Millisecond) // there are other processes on this machine
			}
		})
	}
	readers.Wait()
}

// lingering has a load take its time once it has read the row, so that the row changes, and writers die, meanwhile.
func lingering(load aside.Loader[int64, item]) aside.Loader[int64, item] {
	return func(ctx context.Context, id int64) (item, error) {
		i, err := load(ctx, id)
		time.Sleep(rand.N(50 * time.Millisecond))
		return i, err
	}
}

// patient is for a busy machine, on which Redis that is slow is no finding.
var patient = aside.WithRedisTimeout(10 * time.Second)
