package aside_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

func TestInvalidateAllRemovesTheEntriesAndLeasesOfThisCacheAlone(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable()
		told := make(chan int, 1000)
		c, _ := process(r, rows.table.load, aside.WithObserver(aside.Observer{
			Removed: func(_ context.Context, i aside.RemovedInfo) { told <- i.Entries },
		}))
		slow, _ := process(r, rows.load)
		var all []int
		const count = 1500 // more than a page of SCAN
		for id := range count {
			rows.setPrice(id, 100)
			all = append(all, id)
		}
		for ids := range chunked(all, 20) {
			if _, err := c.GetMany(t.Context(), ids); err != nil {
				t.Fatal(err)
			}
		}
		rows.setPrice(5000, 100)
		loading := getting(slow, 5000)
		<-rows.read // 100
		foreign := []string{"test:more:1", "tests:1", "tes:1", "test"}
		for _, name := range foreign {
			r.put(name, "theirs")
		}
		for id := range count {
			rows.setPrice(id, 90)
		}
		rows.setPrice(5000, 90)
		if err := c.InvalidateAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		rows.go_ <- struct{}{}
		price(t, "what the load that began before gets", loading, 100)
		equal(t, "the price of what it loaded", mustGet(t, c, 5000).Price, 90)
		for _, id := range []int{0, 1, count / 2, count - 1} {
			equal(t, "the price", mustGet(t, c, id).Price, 90)
		}
		for _, name := range foreign {
			equal(t, name, r.get(name), "theirs")
		}
		close(told)
		sum := 0
		for n := range told {
			sum += n
		}
		if sum < count+1 {
			t.Errorf("the observer was told of %d entries", sum)
		}
	})
}

func TestInvalidateAllInsideATransactionActsAfterIt(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		other, _ := process(r, rows.load)
		mustGet(t, c, 1)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			rows.setPrice(1, 90)
			equal(t, "its error", c.InvalidateAll(ctx), nil)
			p, _ := c.Get(ctx, 1)
			equal(t, "the price inside", p.Price, 90)
			equal(t, "the price outside", mustGet(t, other, 1).Price, 100)
			return nil
		})
		equal(t, "the price after it", mustGet(t, other, 1).Price, 90)
	})
}

func TestInvalidateAllEndsWithItsCtxAndIsFinishedInTheBackground(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("the user went away")
		cancel(gone)
		if err := c.InvalidateAll(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, gone) {
			t.Errorf("InvalidateAll returned %v", err)
		}
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
		time.Sleep(time.Second)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
	})
}

func chunked(ids []int, size int) func(func([]int) bool) {
	return func(yield func([]int) bool) {
		for len(ids) > 0 {
			n := min(size, len(ids))
			if !yield(ids[:n]) {
				return
			}
			ids = ids[n:]
		}
	}
}

func TestInvalidateAllSparesCachesWhoseNamesLookAlike(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		names := []string{"a", "a:b", "a*", "a[1]", "a1", "a?", `a\`, "ab", "b"}
		for _, mine := range names {
			r.flush()
			caches := make(map[string]*aside.Cache[int, product])
			rows := newTable(product{1, "lamp", 100})
			for _, name := range names {
				c, err := aside.New(r.dial(t), name, rows.load, patient)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				caches[name] = c
				mustGet(t, c, 1)
			}
			if err := caches[mine].InvalidateAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			for name, c := range caches {
				hits := c.Stats().Hits
				mustGet(t, c, 1)
				equal(t, "whether "+name+" still hits after InvalidateAll of "+mine, c.Stats().Hits > hits, name != mine)
			}
		}
	})
}

func TestHoldsSurviveInvalidateAll(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		other, _ := process(r, rows.load)
		inTx(t, func(ctx context.Context) error {
			err := c.Invalidate(ctx, 1)
			if err := other.InvalidateAll(context.Background()); err != nil {
				t.Error(err)
			}
			mustGet(t, other, 1)
			if doc := r.get("test:1"); !strings.HasPrefix(doc, `{"hold":`) {
				t.Errorf("the document is %s", doc)
			}
			return err
		})
		equal(t, "the document after the commit", r.get("test:1"), "")
	})
}

func TestInvalidateAllThatFailedIsFinishedInTheBackgroundAndAllReadsLoadUntilThen(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, tap := process(r, rows.load)
		other, _ := process(r, rows.load)
		mustGet(t, c, 1)
		mustGet(t, c, 2)
		tap.answer("scan", redisError("OOPS"))
		rows.setPrice(1, 90)
		if err := c.InvalidateAll(t.Context()); !errors.Is(err, redisError("OOPS")) {
			t.Errorf("InvalidateAll returned %v", err)
		}
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
		hits := c.Stats().Hits
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
		mustGet(t, c, 2)
		_, err := c.GetMany(t.Context(), []int{1, 2})
		equal(t, "the error of GetMany", err, nil)
		equal(t, "the hits meanwhile", c.Stats().Hits-hits, 0)
		tap.answer("scan", nil)
		time.Sleep(2 * time.Second)
		equal(t, "Owed at last", c.Stats().PendingInvalidations, 0)
		equal(t, "the price in the other process", mustGet(t, other, 1).Price, 90)
		mustGet(t, c, 1)
		equal(t, "whether it hits again", c.Stats().Hits > hits, true)
	})
}

func TestInvalidateAllOfATransactionWhoseOutcomeIsUnknownIsDoneAgainAfterWithHold(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, aside.WithHold(10*time.Second))
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			_ = c.InvalidateAll(ctx)
			return errDown
		})
		mustGet(t, c, 1)
		rows.setPrice(1, 90) // the COMMIT lands
		time.Sleep(10 * time.Second)
		synctest.Wait()
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

func TestInvalidateAllOfATransactionThatCommittedScansTwice(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load)
		inTx(t, func(ctx context.Context) error { return c.InvalidateAll(ctx) })
		time.Sleep(time.Hour)
		equal(t, "the number of scans", tap.sent("scan"), 2)
	})
}

func TestReadsUseRedisWhileInvalidateAllRunsForTheFirstTime(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		scanning, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		onEachServer(rdb, beforeScans(func() {
			once.Do(func() { close(scanning) })
			<-goOn
		}))
		c := newCache(t, rdb, newTable(product{1, "lamp", 100}, product{2, "desk", 200}).load, patient)
		mustGet(t, c, 1)
		done := make(chan error, 1)
		go func() { done <- c.InvalidateAll(context.Background()) }()
		<-scanning
		hits := c.Stats().Hits
		mustGet(t, c, 1)
		mustGet(t, c, 2)
		mustGet(t, c, 2)
		equal(t, "Hits meanwhile", c.Stats().Hits-hits, 2)
		close(goOn)
		equal(t, "its error", <-done, nil)
	})
}

func TestInvalidateAllSettlesWhatWasOwedBeforeItAndNothingNewer(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load, patient)
		fail := func(key int) {
			tap.answer("invalidate", redisError("OOM"))
			_ = c.Invalidate(t.Context(), key)
			tap.answer("invalidate", nil)
		}
		fail(1)
		equal(t, "the error of InvalidateAll", c.InvalidateAll(t.Context()), nil)
		equal(t, "Owed after it", c.Stats().PendingInvalidations, 0)
		scanned := tap.after("scan")
		done := make(chan error)
		go func() { done <- c.InvalidateAll(context.Background()) }()
		scanned.wait()
		fail(2)
		scanned.release()
		<-done
		equal(t, "Owed of what failed meanwhile", c.Stats().PendingInvalidations, 1)
	})
}

func TestFailedInvalidateAllIsOwedWhileTheNextIsUnderWay(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load, patient)
		tap.answer("scan", redisError("OOPS"))
		_ = c.InvalidateAll(t.Context())
		tap.answer("scan", nil)
		next := tap.before("scan")
		done := make(chan error)
		go func() { done <- c.InvalidateAll(context.Background()) }()
		next.wait()
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
		next.release()
		<-done
		equal(t, "Owed after it", c.Stats().PendingInvalidations, 0)
	})
}

func TestFailuresAfterAllWasPaidAreTriedAgainToo(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load)
		for range 3 {
			tap.answer("invalidate", redisError("OOM"))
			_ = c.Invalidate(t.Context(), 1)
			equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
			tap.answer("invalidate", nil)
			time.Sleep(5 * time.Second)
			equal(t, "Owed a while later", c.Stats().PendingInvalidations, 0)
		}
	})
}

func TestOlderInvalidateAllDoesNotSettleANewerOne(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load, patient)
		scanned := tap.after("scan")
		first := make(chan error)
		go func() { first <- c.InvalidateAll(context.Background()) }()
		scanned.wait()
		scannedAgain := tap.after("scan")
		scanned.release()
		scannedAgain.wait()
		tap.answer("scan", redisError("OOPS"))
		_ = c.InvalidateAll(t.Context())
		scannedAgain.release()
		equal(t, "the error of the older one", <-first, nil)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
		tap.answer("scan", nil)
	})
}
