package aside_test

import (
	"context"
	"errors"
	"testing"
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
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.InvalidateAll(ctx); !errors.Is(err, context.Canceled) {
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
