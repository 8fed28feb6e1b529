package aside_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// Loaders that read caches: a load holds its place, and leases, while its reads wait for those of others.

// soon is far below WithLoadTimeout.
const soon = 2 * time.Second

func within(t *testing.T, what string, fn func()) {
	t.Helper()
	if d := took(fn); d > soon {
		t.Errorf("%s took %v", what, d)
	}
}

func TestALoaderThatGetsItsOwnKeyDoesNotWaitForItself(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var c *aside.Cache[int, int]
		var within atomic.Bool
		load := func(ctx context.Context, id int) (v int, err error) {
			if within.CompareAndSwap(false, true) {
				v, err = c.Get(ctx, id)
			}
			return v + 1, err
		}
		many := func(ctx context.Context, ids []int) (map[int]int, error) {
			v, err := load(ctx, ids[0])
			return map[int]int{ids[0]: v}, err
		}
		c = open(t, r.dial(t), "own", load, aside.WithBatch(many))
		equal(t, "the time of Get", took(func() { equal(t, "the value", mustGet(t, c, 1), 2) }), 0)
		mustInvalidate(t, c, 1)
		within.Store(false)
		equal(t, "the time of GetMany", took(func() { equal(t, "the value", mustGetMany(t, c, 1)[1], 2) }), 0)
	})
}

func TestALoaderThatAlwaysGetsItsOwnKeyFailsAtOnce(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var a, b *aside.Cache[int, int]
		a = open(t, r.dial(t), "a", func(ctx context.Context, id int) (int, error) { return b.Get(ctx, id) })
		b = open(t, r.dial(t), "b", func(ctx context.Context, id int) (int, error) {
			found, err := a.GetMany(ctx, []int{id})
			return found[id], err
		})
		for _, c := range []*aside.Cache[int, int]{a, b} {
			equal(t, "its time", took(func() {
				if _, err := c.Get(t.Context(), 1); err == nil || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Get returned %v", err)
				}
			}), 0)
		}
	})
}

func TestALoaderMayGetAnotherKeyOfItsCacheThoughThereIsNoPlace(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var c *aside.Cache[int, int]
		c = open(t, r.dial(t), "own", func(ctx context.Context, id int) (int, error) {
			if id == 0 {
				return 0, nil
			}
			v, err := c.Get(ctx, id-1)
			return v + 1, err
		}, aside.WithMaxLoads(1))
		within(t, "a chain of four loads in one place", func() { equal(t, "the value", mustGet(t, c, 3), 3) })
		equal(t, "Fills", c.Stats().Fills, 4)
		equal(t, "Overloaded", c.Stats().Overloaded, 0)
	})
}

// The batch of the one has the lease of what that of the other reads. No key is made from itself.
func TestBatchesThatReadEachOtherDoNotStandStill(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var caches [2]*aside.Cache[int, int]
		for i := range caches {
			one := func(_ context.Context, id int) (int, error) { return id, nil }
			caches[i] = open(t, r.dial(t), fmt.Sprint("cache", i), one,
				aside.WithBatch(func(ctx context.Context, ids []int) (map[int]int, error) {
					time.Sleep(10 * time.Millisecond) // both have their leases
					rows := make(map[int]int)
					for _, id := range ids {
						rows[id] = id
					}
					if _, first := rows[1]; !first || len(ids) == 1 {
						return rows, nil
					}
					_, err := caches[1-i].GetMany(ctx, []int{2}) // 2 is made from nothing
					return rows, err
				}))
		}
		for round := range 10 {
			within(t, fmt.Sprint("round ", round), func() {
				var group sync.WaitGroup
				for _, c := range caches {
					group.Go(func() { mustGetMany(t, c, 1, 2) })
				}
				group.Wait()
			})
			for _, c := range caches {
				mustInvalidate(t, c, 1, 2)
			}
		}
	})
}

// Each key of the one is made from another key of the other, and there are fewer places than keys.
func TestCachesThatReadEachOtherAndHaveFewPlacesDoNotStandStill(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var caches [2]*aside.Cache[int, int]
		for i := range caches {
			caches[i] = open(t, r.dial(t), fmt.Sprint("cache", i), func(ctx context.Context, id int) (int, error) {
				time.Sleep(10 * time.Millisecond)
				if id >= 1000 {
					return id, nil
				}
				return caches[1-i].Get(ctx, id+1000)
			})
		}
		within(t, "300 reads", func() {
			var group sync.WaitGroup
			for _, c := range caches {
				for id := range 150 {
					group.Go(func() {
						v, err := c.Get(t.Context(), id)
						equal(t, "the value", fmt.Sprint(v, err), fmt.Sprint(id+1000, " <nil>"))
					})
				}
			}
			group.Wait()
		})
	})
}

// Both are flights; each load joins the other's.
func TestLoadsThatWaitForEachOthersFlightsDoNotStandStill(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var c *aside.Cache[int, int]
		c = open(t, r.dial(t), "own", func(ctx context.Context, id int) (int, error) {
			time.Sleep(10 * time.Millisecond)
			if ctx.Value(markKey{}) != nil {
				return id, nil
			}
			v, err := c.Get(context.WithValue(ctx, markKey{}, true), 3-id)
			return v * id, err
		})
		within(t, "both", func() {
			var group sync.WaitGroup
			for id := 1; id <= 2; id++ {
				group.Go(func() { equal(t, "the value", mustGet(t, c, id), 2) })
			}
			group.Wait()
		})
	})
}

// What reads have waited in vain is no time that a load takes: else each wait would make the next one longer.
func TestTheWaitOfALoadDoesNotGrowWithEveryLoadThatWaited(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var c *aside.Cache[int, int]
		c = open(t, r.dial(t), "own", func(ctx context.Context, id int) (int, error) {
			if id == 1 {
				return c.Get(ctx, 2)
			}
			return id, nil
		})
		for range 10 {
			deadLease(r, "own:2", time.Hour)
			within(t, "a load that reads what a dead process has leased", func() { mustGet(t, c, 1) })
			mustInvalidate(t, c, 1)
		}
	})
}

// A read outside waits for a load of another process as long as ever.
func TestOnlyReadsInsideALoadAreImpatient(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		held := longLoad(r, 1)
		c, _ := process(r, newBatchTable(true, 1).table.load)
		price(t, "what the reader gets", getting(c, 1), 100)
		equal(t, "Loads", c.Stats().Loads, 0)
		<-held
		synctest.Wait()
	})
}
