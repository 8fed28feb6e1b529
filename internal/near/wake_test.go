package near_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/testserver"
)

// BenchmarkWakeUp is why messages wake readers, and not XREAD BLOCK on a stream: the CPU time of the server for one record that 50
// processes hear of, one record after the other, and how long it takes until the last process has heard. It has no
// near copies in it.
func BenchmarkWakeUp(b *testing.B) {
	const processes = 50
	ctx := context.Background()
	wait := func(b *testing.B, how func(rdb *redis.Client, heard func()), tell func(rdb *redis.Client, n int)) {
		rdb := redis.NewClient(&redis.Options{Addr: testserver.Redis(b).Addr, PoolSize: 2 * processes})
		defer rdb.Close()
		var heard, all sync.WaitGroup
		for range processes {
			all.Go(func() { how(rdb, heard.Done) })
		}
		time.Sleep(time.Second)
		before := serverCPU(b, rdb)
		n := 0
		for b.Loop() {
			heard.Add(processes)
			n++
			tell(rdb, n)
			heard.Wait()
		}
		b.ReportMetric((serverCPU(b, rdb)-before)/float64(n)*1e6, "server-µs/op")
		tell(rdb, -1)
		all.Wait()
	}
	b.Run("PUBLISH", func(b *testing.B) {
		wait(b, func(rdb *redis.Client, heard func()) {
			sub := rdb.Subscribe(ctx, "channel")
			defer sub.Close()
			for {
				m, err := sub.ReceiveMessage(ctx)
				if err != nil || m.Payload == "-1" {
					return
				}
				heard()
			}
		}, func(rdb *redis.Client, n int) { rdb.Publish(ctx, "channel", n) })
	})
	b.Run("XREAD", func(b *testing.B) {
		wait(b, func(rdb *redis.Client, heard func()) {
			last := "$"
			for {
				got, err := rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{"stream", last}, Block: time.Minute}).Result()
				if err != nil {
					return
				}
				for _, m := range got[0].Messages {
					if last = m.ID; m.Values["n"] == "-1" {
						return
					}
					heard()
				}
			}
		}, func(rdb *redis.Client, n int) {
			rdb.XAdd(ctx, &redis.XAddArgs{Stream: "stream", MaxLen: 1000, Values: []any{"n", n}})
		})
	})
}

// serverCPU is the CPU time that the server has used, in seconds.
func serverCPU(b *testing.B, rdb *redis.Client) (total float64) {
	info, err := rdb.Info(context.Background(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.SplitSeq(info, "\r\n") {
		for _, field := range []string{"used_cpu_sys:", "used_cpu_user:"} {
			if v, ok := strings.CutPrefix(line, field); ok {
				f, _ := strconv.ParseFloat(v, 64)
				total += f
			}
		}
	}
	return total
}
