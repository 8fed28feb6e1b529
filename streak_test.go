package aside_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// A streakOf misses is what leads a Cache to ask for leases at once.
func streakOf(t *testing.T, c *aside.Cache[int, product]) {
	for id := range 50 {
		mustGet(t, c, 1000+id)
	}
}

func TestWhereReadsKeepMissingTheLeaseIsAskedForAtOnce(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		c, tap := steady(r, anyRow)
		get := func(id int) func() { return func() { equal(t, "the price", mustGet(t, c, id).Price, id) } }
		streakOf(t, c)
		costs(t, tap, "a miss after many", get(1), "[lease fill]", 2)
		costs(t, tap, "a hit after many misses", get(1), "[lease]", 1)
		equal(t, "the hits", c.Stats().Hits, 1)
		equal(t, "the misses", c.Stats().Misses, 51)
		costs(t, tap, "a further hit", get(1), "[get]", 1)
		costs(t, tap, "a miss after hits", get(2), "[get lease fill]", 3)
	})
}

// A read that hits needs no place among WithMaxLoads, so it does not ask for one where places are scarce.
func TestWherePlacesAreScarceNoLeaseIsAskedForAtOnce(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		slow := make(chan bool)
		c, tap := steady(r, func(ctx context.Context, id int) (product, error) {
			if id < 2 {
				<-slow
			}
			return anyRow(ctx, id)
		}, aside.WithMaxLoads(2))
		streakOf(t, c)
		reads := []<-chan result{getting(c, 0), getting(c, 1)}
		synctest.Wait()
		costs(t, tap, "a hit while all places are taken", func() { mustGet(t, c, 1000) }, "[get]", 1)
		close(slow)
		for id, read := range reads {
			price(t, "the price", read, id)
		}
	})
}

func TestAHitOfAReadThatAskedForTheLeaseIsRefreshedWhenThatIsDue(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := steady(r, anyRow, aside.WithTTL(time.Minute), aside.WithStale(time.Hour))
		mustGet(t, c, 1)
		time.Sleep(2 * time.Minute)
		streakOf(t, c)
		mustGet(t, c, 1)
		synctest.Wait()
		equal(t, "the stale hits", c.Stats().StaleHits, 1)
		equal(t, "the refreshes", c.Stats().Refreshes, 1)
	})
}

func TestWhileWritesFailNoLeaseIsAskedForAtOnce(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := steady(r, anyRow)
		streakOf(t, c)
		tap.answer("invalidate", redisError("OOM"))
		_ = c.Invalidate(t.Context(), 1000) // from now on that key may not be read
		costs(t, tap, "a read of a key with a pending invalidation", func() { mustGet(t, c, 1000) }, "[]", 0)
	})
}

func TestAHitByTheLeaseThatAnotherCallerAskedForIsNoJoin(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := steady(r, anyRow)
		other, _ := steady(r, anyRow)
		mustGet(t, other, 1)
		streakOf(t, c)
		first, second := tap.before("lease"), tap.before("lease")
		early := getting(c, 1)
		first.wait()
		late := []<-chan result{getting(c, 1), getting(c, 1)} // too late for that lease, so they share the next one
		synctest.Wait()
		first.release()
		second.wait()
		synctest.Wait()
		second.release()
		for _, read := range append(late, early) {
			price(t, "the price", read, 1)
		}
		equal(t, "the leases", tap.sent("lease"), 52)
		equal(t, "the hits", c.Stats().Hits, 3)
		equal(t, "the misses that joined", c.Stats().Joins, 0)
	})
}
