package aside_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

var verifyFor = flag.Duration("verify-for", 6*time.Second, "for how long coherent reads are verified while Redis comes and goes")

// Redis hangs, is killed and comes back, empty or with what it had. Three processes read and write meanwhile, with near copies, tags and
// transactions. What their invalidations owe is sent late, and no hit is called stale for that.
//
// With go test -race -run ComesAndGoes -verify-for 5m it is a million reads.
func TestARedisThatComesAndGoesMakesNothingStale(t *testing.T) {
	s := testserver.Redis(t)
	rows, ids := newTable(), idsFrom(0, 16)
	for _, id := range ids {
		rows.setPrice(id, 1)
	}
	told := new(verified)
	var caches []*aside.Cache[int, product]
	for range 3 {
		rdb := closed(t, redis.NewClient(&redis.Options{Addr: s.Addr}))
		caches = append(caches, newCache(t, rdb, rows.load, append(told.options(1e6),
			aside.WithLogger(slog.New(slog.DiscardHandler)), aside.WithRedisTimeout(250*time.Millisecond), aside.WithTTL(3*time.Second),
			aside.WithStale(time.Minute), aside.WithEarlyRefresh(1), aside.WithNear(8, 10*time.Second),
			aside.WithTags(func(id int, _ product) []string { return []string{fmt.Sprint(id % 4)} }))...))
	}
	ctx, cancel := context.WithTimeout(t.Context(), *verifyFor)
	defer cancel()
	var group sync.WaitGroup
	for _, c := range caches {
		group.Go(func() { readOften(ctx, c, ids) })
		group.Go(func() { writeOften(ctx, c, rows, ids) })
	}
	for ctx.Err() == nil {
		meddle(ctx, s)
	}
	group.Wait()
	var sum aside.Verified
	var reads uint64
	for _, c := range caches {
		n := c.Stats()
		reads += n.Hits + n.NearHits + n.StaleHits
		sum.Match, sum.Overtaken, sum.Stale = sum.Match+n.Verified.Match, sum.Overtaken+n.Verified.Overtaken, sum.Stale+n.Verified.Stale
	}
	t.Logf("%d hits, verified: %+v", reads, sum)
	if sum.Stale > 0 || sum.Match < 20 {
		t.Errorf("verified: %+v, want none stale, and some that match", sum)
	}
}

// meddle lets Redis be for a while, and then has it hang or die.
func meddle(ctx context.Context, s *testserver.RedisServer) {
	wait := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	wait(time.Duration(3500+rand.IntN(3000)) * time.Millisecond)
	pause := time.Duration(rand.IntN(2500)) * time.Millisecond
	if rand.IntN(3) > 0 {
		s.Stop()
		wait(pause)
		s.Continue()
		return
	}
	s.Kill()
	wait(pause)
	s.Restart()
}

func readOften(ctx context.Context, c *aside.Cache[int, product], ids []int) {
	for ctx.Err() == nil {
		if rand.IntN(4) == 0 {
			_, _ = c.GetMany(ctx, ids)
		} else {
			_, _ = c.Get(ctx, ids[rand.IntN(len(ids))])
		}
		if rand.IntN(20) == 0 {
			time.Sleep(time.Millisecond) // the machine is also the server's, and that of other tests
		}
	}
}

// writeOften does not care for the errors of its invalidations: what failed is tried again.
func writeOften(ctx context.Context, c *aside.Cache[int, product], rows *table, ids []int) {
	for ctx.Err() == nil {
		id := ids[rand.IntN(len(ids))]
		switch rand.IntN(3) {
		case 0:
			rows.setPrice(id, rand.Int())
			_ = c.Invalidate(ctx, id)
		case 1:
			rows.setPrice(id, rand.Int())
			_ = c.InvalidateTags(ctx, fmt.Sprint(id%4))
		default:
			_ = aside.InTx(ctx, func(ctx context.Context) error {
				_ = c.Invalidate(ctx, id)
				rows.setPrice(id, rand.Int())
				return nil
			})
		}
		select {
		case <-time.After(time.Duration(rand.IntN(1000)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
