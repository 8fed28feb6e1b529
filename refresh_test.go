package aside_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

func TestStaleValueIsServedAtOnceWhileOneProcessRefreshes(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		load := func(ctx context.Context, id int) (product, error) {
			time.Sleep(time.Second)
			return rows.load(ctx, id)
		}
		var caches []*aside.Cache[int, product]
		for range 5 {
			c, _ := process(r, load, stale...)
			caches = append(caches, c)
		}
		mustGet(t, caches[0], 1)
		rows.setPrice(1, 90)
		time.Sleep(2 * time.Minute)
		for range 10 {
			for _, c := range caches {
				before := time.Now()
				equal(t, "the price", mustGet(t, c, 1).Price, 100)
				equal(t, "the time that a stale hit takes", time.Since(before), 0)
			}
		}
		time.Sleep(2 * time.Second)
		for _, c := range caches {
			equal(t, "the price after the refresh", mustGet(t, c, 1).Price, 90)
		}
		equal(t, "the number of loads", rows.loads.Load(), 2)
	})
}

func TestValueIsGoneAfterTTLAndStale(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, stale...)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		time.Sleep(time.Hour + time.Minute)
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

func TestStaleValueIsServedWhileRefreshesFailAndTheyBackOff(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, stale...)
		other, _ := process(r, rows.load, stale...)
		mustGet(t, c, 1)
		rows.fail(errors.New("the database is down"))
		time.Sleep(2 * time.Minute)
		var gaps []time.Duration
		last, seen := time.Now(), rows.loads.Load()
		for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(10 * time.Millisecond) {
			equal(t, "the price", mustGet(t, c, 1).Price, 100)
			equal(t, "the price elsewhere", mustGet(t, other, 1).Price, 100)
			synctest.Wait()
			if n := rows.loads.Load(); n > seen {
				gaps = append(gaps, time.Since(last).Round(10*time.Millisecond))
				last, seen = time.Now(), n
			}
		}
		for i, want := range []time.Duration{0, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
			want *= time.Millisecond
			if i >= len(gaps) || gaps[i] < want || gaps[i] > want+20*time.Millisecond {
				t.Fatalf("the refreshes came after %v; number %d should have come after %v", gaps, i, want)
			}
		}
		rows.fail(nil)
		rows.setPrice(1, 90)
		time.Sleep(11 * time.Second)
		mustGet(t, c, 1) // starts the refresh
		synctest.Wait()
		equal(t, "the price once the database is back", mustGet(t, c, 1).Price, 90)
	})
}

func TestRefreshOfARowThatIsGoneStoresItsAbsence(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, stale...)
		mustGet(t, c, 1)
		delete(rows.rows, 1)
		time.Sleep(2 * time.Minute)
		mustGet(t, c, 1)
		synctest.Wait()
		if _, err := c.Get(t.Context(), 1); !errors.Is(err, aside.ErrNotFound) {
			t.Errorf("the error is %v", err)
		}
		equal(t, "AbsentHits", c.Stats().AbsentHits, 1)
	})
}

func TestRefreshWhoseValueIsNotToBeStoredRemovesTheOldOne(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, append(stale, aside.WithTTLFunc(func(_ int, p product) time.Duration {
			return time.Duration(p.Price-99) * time.Minute
		}))...)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		time.Sleep(2 * time.Minute)
		mustGet(t, c, 1)
		synctest.Wait()
		equal(t, "the document that is left", r.get("test:1"), "")
	})
}

// Under steady reads, XFetch refreshes a value before it expires, so that no read ever waits for a load.
func TestHotValueIsRefreshedBeforeItExpires(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var loads atomic.Int64
		load := func(context.Context, int) (int, error) {
			time.Sleep(100 * time.Millisecond)
			return int(loads.Add(1)), nil
		}
		a, _ := process(r, load, aside.WithTTL(time.Minute))
		b, _ := process(r, load, aside.WithTTL(time.Minute))
		mustGet(t, a, 1)
		for start := time.Now(); time.Since(start) < 10*time.Minute; time.Sleep(10 * time.Millisecond) {
			mustGet(t, a, 1)
			mustGet(t, b, 1)
		}
		synctest.Wait()
		equal(t, "the number of misses", a.Stats().Misses+b.Stats().Misses, 1)
		refreshes := a.Stats().Refreshes + b.Stats().Refreshes
		if refreshes < 10 || refreshes > 13 { // 10 min of TTLs from 54 s to 60 s, each a little short
			t.Errorf("there were %d refreshes in 10 minutes of 1-minute TTLs", refreshes)
		}
	})
}

func TestEarlyRefreshCanBeTurnedOff(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, func(ctx context.Context, id int) (product, error) {
			time.Sleep(time.Second)
			return rows.load(ctx, id)
		}, aside.WithTTL(time.Minute), aside.WithJitter(0), aside.WithEarlyRefresh(0))
		mustGet(t, c, 1)
		for range 599 {
			time.Sleep(100 * time.Millisecond)
			mustGet(t, c, 1)
		}
		equal(t, "the number of loads in the first minute", rows.loads.Load(), 1)
	})
}

func TestPanicInARefreshHarmsNobody(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		var broken atomic.Bool
		c, _ := process(r, func(ctx context.Context, id int) (product, error) {
			if broken.Load() {
				panic("boom")
			}
			return rows.load(ctx, id)
		}, stale...)
		mustGet(t, c, 1)
		broken.Store(true)
		time.Sleep(2 * time.Minute)
		for range 5 {
			equal(t, "the price", mustGet(t, c, 1).Price, 100)
			synctest.Wait()
		}
		equal(t, "LoadErrors", c.Stats().LoadErrors, 1) // it backs off like any failure
	})
}

func TestConcurrentStaleReadsAskForTheClaimOnce(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		warm, _ := process(r, rows.table.load, stale...)
		c, tap := process(r, rows.load, stale...)
		mustGet(t, warm, 1)
		time.Sleep(2 * time.Minute)
		claim := tap.before("claim")
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() { mustGet(t, c, 1) })
		}
		group.Wait()
		claim.wait()
		synctest.Wait()
		equal(t, "the number of claims", tap.sent("claim"), 1)
		claim.release()
		<-rows.read
		rows.go_ <- struct{}{}
	})
}

// The refresh was held up for longer than its claim lasts, and another process has refreshed meanwhile.
func TestSlowRefreshDoesNotReplaceALaterOne(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		opts := append(stale, patient, aside.WithLoadTimeout(10*time.Second))
		slow, tap := process(r, rows.load, opts...)
		fast, _ := process(r, rows.load, opts...)
		mustGet(t, fast, 1)
		time.Sleep(2 * time.Minute)
		fill := tap.before("fill")
		mustGet(t, slow, 1)
		fill.wait() // with 100
		rows.setPrice(1, 90)
		time.Sleep(11 * time.Second)
		mustGet(t, fast, 1)
		synctest.Wait()
		fill.release()
		synctest.Wait()
		equal(t, "the price", mustGet(t, fast, 1).Price, 90)
		equal(t, "Refused", slow.Stats().Refused, 1)
	})
}

// Both have seen that the value is stale before either asks for the claim.
func TestProcessWhoseClaimComesSecondDoesNotRefresh(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		first, _ := process(r, rows.load, stale...)
		second, tap := process(r, rows.table.load, append(stale, patient)...)
		mustGet(t, second, 1)
		time.Sleep(2 * time.Minute)
		claim := tap.before("claim")
		mustGet(t, second, 1)
		claim.wait()
		mustGet(t, first, 1)
		<-rows.read
		claim.release()
		synctest.Wait()
		equal(t, "the number of loads, the first fill's among them", rows.loads.Load(), 2)
		rows.flow()
	})
}

func TestValueWhoseRefreshesFailIsGoneAfterTTLAndStale(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, stale...)
		mustGet(t, c, 1)
		rows.fail(errDown)
		time.Sleep(2 * time.Minute)
		mustGet(t, c, 1)
		synctest.Wait()
		equal(t, "the number of loads", rows.loads.Load(), 2)
		time.Sleep(time.Hour)
		equal(t, "the document", r.get("test:1"), "")
	})
}

// A refresh would end when the entry is gone, and those who miss it meanwhile would load as well.
func TestARefreshThatCannotEndInTimeIsNotBegun(t *testing.T) {
	const life = time.Minute
	tests := map[string]struct {
		load   time.Duration
		before time.Duration // the end
		absent bool
		opts   []aside.Option
	}{
		"in the last ms, with early refreshes turned off":      {0, 200 * time.Microsecond, false, []aside.Option{aside.WithEarlyRefresh(0)}},
		"within the time of a load":                            {time.Second, time.Second / 2, false, nil},
		"in the last ms of an absence, which is never stale":   {0, 200 * time.Microsecond, true, []aside.Option{aside.WithEarlyRefresh(0), aside.WithStale(time.Hour)}},
		"within the time of a load that finds that it is gone": {time.Second, time.Second / 2, true, []aside.Option{aside.WithStale(time.Hour)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				id := 1
				if test.absent {
					id = 2
				}
				c, tap := process(r, func(ctx context.Context, id int) (product, error) {
					time.Sleep(test.load)
					return rows.load(ctx, id)
				}, append(test.opts, aside.WithTTL(life), aside.WithAbsentTTL(life), aside.WithJitter(0))...)
				time.Sleep(500 * time.Microsecond) // so that the TTL ends within a ms
				_, _ = c.Get(t.Context(), id)
				time.Sleep(life - test.before)
				for range 100 { // by XFetch, each may begin a refresh
					_, _ = c.Get(t.Context(), id)
				}
				synctest.Wait()
				equal(t, "the misses", c.Stats().Misses, 1)
				equal(t, "the claims", tap.sent("claim"), 0)
			})
		})
	}
}

// Others keep it stale for longer than this process would.
func TestAStaleValueOfAnotherProcessIsRefreshed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		keeper, _ := process(r, rows.load, stale...)
		c, tap := process(r, rows.load, aside.WithEarlyRefresh(0))
		mustGet(t, keeper, 1)
		time.Sleep(2 * time.Minute)
		mustGet(t, c, 1)
		synctest.Wait()
		equal(t, "the claims", tap.sent("claim"), 1)
	})
}
