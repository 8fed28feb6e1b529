package aside_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// What calls do under the ctx of InTx, while the transaction runs and after it has ended.

func TestReadsInsideATransactionNeitherFillNorShare(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200}, product{3, "chair", 300})
		c, tap := process(r, rows.load)
		mustGet(t, c, 2)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			_ = c.Invalidate(ctx, 1)
			tap.reset()
			rows.setPrice(1, 90) // uncommitted, and seen through ctx
			for range 2 {
				p, err := c.Get(ctx, 1)
				equal(t, "the price inside", p.Price, 90)
				equal(t, "its error", err, nil)
			}
			verbs, _ := tap.count()
			equal(t, "the commands for the key that it wrote", fmt.Sprint(verbs), "[]")
			found, err := c.GetMany(ctx, []int{1, 2, 3})
			equal(t, "what GetMany finds", fmt.Sprint(found[1].Price, found[2].Price, found[3].Price, err), "90 200 300 <nil>")
			equal(t, "the document of another key that missed", r.get("test:3"), "")
			return errDown
		})
		equal(t, "Hits", c.Stats().Hits, 1)
	})
}

func TestGetManyInsideThatFindsEverythingLoadsNothing(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2)
		c, _ := process(r, rows.table.load, aside.WithBatch(rows.loadMany))
		mustGetMany(t, c, 1, 2)
		err := aside.InTx(t.Context(), func(ctx context.Context) error {
			found, err := c.GetMany(ctx, []int{1, 2})
			equal(t, "what GetMany finds", prices(found), "1:100 2:200")
			return err
		})
		equal(t, "the error", err, nil)
		equal(t, "the batches", rows.batches(), "[1 2]")
	})
}

type ctxKey struct{}

func TestReadsInsideGoToTheLoaderWithTheTransactionAndStartNoRefresh(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		var saw []any
		c, _ := process(r, func(ctx context.Context, id int) (product, error) {
			saw = append(saw, ctx.Value(ctxKey{}))
			return rows.load(ctx, id)
		}, aside.WithTTL(time.Minute), aside.WithStale(time.Hour))
		mustGet(t, c, 2)
		time.Sleep(2 * time.Minute) // due
		saw = nil
		inTx(t, func(ctx context.Context) error {
			err := c.Invalidate(ctx, 1)
			ctx = context.WithValue(ctx, ctxKey{}, "tx")
			for range 2 {
				_, err1 := c.Get(ctx, 1)
				_, err2 := c.Get(ctx, 2)
				_, err3 := c.GetMany(ctx, []int{1, 2})
				err = errors.Join(err, err1, err2, err3)
			}
			synctest.Wait()
			return err
		})
		equal(t, "the loads", fmt.Sprint(saw), "[tx tx tx tx]")
		equal(t, "Refreshes", c.Stats().Refreshes, 0)
		equal(t, "StaleHits", c.Stats().StaleHits, 4)
	})
}

// Redis holds the row from before, which only the ctx knows.
func TestReadsInsideOfAKeyThatCouldNotBeHeldGoToTheLoader(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load)
		mustGet(t, c, 1)
		tap.answer("hold", redisError("OOM"))
		err := aside.InTx(t.Context(), func(ctx context.Context) error {
			_ = c.Invalidate(ctx, 1)
			rows.setPrice(1, 90)
			p, err := c.Get(ctx, 1)
			equal(t, "the price inside", p.Price, 90)
			many, _ := c.GetMany(ctx, []int{1})
			equal(t, "the price of GetMany inside", many[1].Price, 90)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		tap.answer("hold", nil)
	})
}

func TestBypassAndInTxWorkInsideEachOther(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, _ := process(r, rows.load)
		mustGet(t, c, 2)
		rows.setPrice(2, 190)
		inTx(t, func(ctx context.Context) error {
			err := c.Invalidate(aside.Bypass(ctx), 1)
			equal(t, "whether a key that was invalidated under Bypass is held", r.held("test:1"), true)
			return err
		})
		_ = aside.InTx(aside.Bypass(t.Context()), func(ctx context.Context) error {
			p, _ := c.Get(ctx, 2)
			equal(t, "the price in an InTx under Bypass", p.Price, 190)
			return nil
		})
	})
}

func TestInvalidateUnderTheCtxOfATransactionThatHasEndedActsAtOnce(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		var late context.Context
		inTx(t, func(ctx context.Context) error { late = ctx; return nil })
		mustGet(t, c, 1)
		if err := c.Invalidate(late, 1); err != nil {
			t.Fatal(err)
		}
		equal(t, "the document", r.get("test:1"), "")
	})
}

// Work that goes on after an InTx has ended, under its ctx, may have transactions of its own.
func TestInTxUnderTheCtxOfOneThatHasEndedHolds(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, _ := process(r, rows.load)
		reader, _ := process(r, rows.load)
		var late context.Context
		inTx(t, func(ctx context.Context) error { late = context.WithoutCancel(ctx); return nil })
		err := aside.InTx(late, func(ctx context.Context) error {
			err := writer.Invalidate(ctx, 1)
			mustGet(t, reader, 1)
			rows.setPrice(1, 90) // the COMMIT
			return err
		})
		equal(t, "the error", err, nil)
		equal(t, "the price after the COMMIT", mustGet(t, reader, 1).Price, 90)
	})
}

func TestReadsUnderTheCtxOfAnInTxThatHasEndedFill(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		var late context.Context
		inTx(t, func(ctx context.Context) error { late = context.WithoutCancel(ctx); return nil })
		for range 3 {
			if _, err := c.Get(late, 1); err != nil {
				t.Error(err)
			}
			if _, err := c.GetMany(late, []int{1}); err != nil {
				t.Error(err)
			}
		}
		equal(t, "the number of loads", rows.loads.Load(), 1)
	})
}
