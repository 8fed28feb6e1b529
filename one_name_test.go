package aside_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside"
)

// What the caches of one name that were given the same client share, as two repositories of one process may make them.

func TestFailedInvalidateIsOwedByAllCachesOfTheName(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		rdb, tap := r.tapped()
		writer, sibling := newCache(t, rdb, rows.load), newCache(t, rdb, rows.load)
		other, err := aside.New(rdb, "other", rows.load)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		mustGet(t, sibling, 1)
		mustGet(t, other, 1)
		tap.answer("invalidate", redisError("NOPERM"))
		rows.setPrice(1, 90)
		if err := writer.Invalidate(t.Context(), 1); err == nil {
			t.Error("Invalidate returned nil")
		}
		equal(t, "the price in another cache of the name", mustGet(t, sibling, 1).Price, 90)
		equal(t, "Owed, of the other cache too", sibling.Stats().PendingInvalidations, 1)
		mustGet(t, other, 1)
		equal(t, "the hits of a cache of another name", other.Stats().Hits, 1)
		tap.answer("invalidate", nil)
		time.Sleep(2 * time.Second)
		equal(t, "Owed at last", sibling.Stats().PendingInvalidations, 0)
		mustGet(t, sibling, 1)
		equal(t, "the price in the cache", mustGet(t, sibling, 1).Price, 90)
		equal(t, "the hits at last", sibling.Stats().Hits, 1)
	})
}

func TestOtherCachesOfTheNameGoOnWithWhatAClosedOneOwes(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		rdb, tap := r.tapped()
		writer, sibling := newCache(t, rdb, rows.load), newCache(t, rdb, rows.load)
		mustGet(t, sibling, 1)
		rows.setPrice(1, 90)
		tap.answer("invalidate", redisError("NOPERM"))
		if err := writer.Invalidate(t.Context(), 1); err == nil {
			t.Error("Invalidate returned nil")
		}
		if err := writer.Close(); err == nil || !strings.Contains(err.Error(), "1 invalidations") {
			t.Errorf("Close returned %v", err)
		}
		time.Sleep(time.Minute)
		equal(t, "the price", mustGet(t, sibling, 1).Price, 90)
		tap.answer("invalidate", nil)
		time.Sleep(2 * time.Second)
		equal(t, "PendingInvalidations", sibling.Stats().PendingInvalidations, 0)
		equal(t, "the price in the cache", mustGet(t, sibling, 1).Price, 90)
	})
}

// The writer's side does not load, and has nothing to say of replicas: the reader's has.
func TestTheLongestReplicaLagOfTheCachesOfANameCounts(t *testing.T) {
	invalidate := map[string]func(t *testing.T, c *aside.Cache[int, product], p *tap){
		"at once": func(t *testing.T, c *aside.Cache[int, product], _ *tap) { mustInvalidate(t, c, 1) },
		"after InTx": func(t *testing.T, c *aside.Cache[int, product], _ *tap) {
			inTx(t, func(ctx context.Context) error { return c.Invalidate(ctx, 1) })
		},
		"tried again": func(_ *testing.T, c *aside.Cache[int, product], p *tap) {
			p.answer("hold", redisError("NOPERM"))
			_ = c.Invalidate(context.Background(), 1)
			p.answer("hold", nil)
			time.Sleep(2 * time.Second)
		},
	}
	for name, do := range invalidate {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				rdb, tap := r.tapped()
				reader := newCache(t, rdb, rows.load, aside.WithReplicaLag(10*time.Second))
				writer := newCache(t, rdb, rows.load)
				mustGet(t, reader, 1)
				do(t, writer, tap)
				equal(t, "PendingInvalidations", reader.Stats().PendingInvalidations, 0)
				mustGet(t, reader, 1) // the replica lags
				time.Sleep(2 * time.Second)
				rows.setPrice(1, 90)
				equal(t, "the price", mustGet(t, reader, 1).Price, 90)
			})
		})
	}
}

// The outcome of a transaction of the writer's side is unknown. A COMMIT that lands just before the hold is over takes time to
// reach the replica that the reader's side loads from.
func TestAHoldLastsLongerByTheLagOfTheOthers(t *testing.T) {
	invalidate := map[string]func(ctx context.Context, c *aside.Cache[int, product]) error{
		"a key": func(ctx context.Context, c *aside.Cache[int, product]) error { return c.Invalidate(ctx, 1) },
		"a tag": func(ctx context.Context, c *aside.Cache[int, product]) error { return c.InvalidateTags(ctx, "lamps") },
	}
	for name, do := range invalidate {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100})
				rdb, _ := r.tapped()
				reader := newCache(t, rdb, rows.load, categories, aside.WithReplicaLag(10*time.Second))
				writer := newCache(t, rdb, rows.load, categories, aside.WithHold(time.Second))
				_ = aside.InTx(t.Context(), func(ctx context.Context) error {
					_ = do(ctx, writer)
					return errDown
				})
				time.Sleep(11*time.Second - time.Millisecond)
				mustGet(t, reader, 1)
				time.Sleep(time.Second)
				rows.setPrice(1, 90)
				equal(t, "the price", mustGet(t, reader, 1).Price, 90)
			})
		})
	}
}

func TestAReadInsideATransactionGoesPastWhatAnotherCacheOfTheNameHasInvalidatedThere(t *testing.T) {
	invalidate := map[string]func(ctx context.Context, c *aside.Cache[int, product]){
		"a key that could not be held": func(ctx context.Context, c *aside.Cache[int, product]) { _ = c.Invalidate(ctx, 1) },
		"all keys":                     func(ctx context.Context, c *aside.Cache[int, product]) { _ = c.InvalidateAll(ctx) },
	}
	for name, do := range invalidate {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				rdb, tap := r.tapped()
				reader, writer := newCache(t, rdb, rows.load), newCache(t, rdb, rows.load)
				other, err := aside.New(rdb, "test:1", rows.load)
				if err != nil {
					t.Fatal(err)
				}
				defer other.Close()
				mustGet(t, reader, 1)
				mustGet(t, other, 1)
				tap.answer("hold", redisError("NOPERM"))
				_ = aside.InTx(t.Context(), func(ctx context.Context) error {
					do(ctx, writer)
					rows.setPrice(1, 90)
					p, _ := reader.Get(ctx, 1)
					equal(t, "the price inside", p.Price, 90)
					_, _ = other.Get(ctx, 1)
					equal(t, "the hits of a cache whose name begins alike", other.Stats().Hits, 1)
					return nil
				})
				tap.answer("hold", nil)
			})
		})
	}
}
