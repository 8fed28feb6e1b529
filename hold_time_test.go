package aside_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

func TestShorterHoldDoesNotShortenALongerOne(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		long, _ := process(r, newTable().load, aside.WithHold(30*time.Second))
		short, _ := process(r, newTable().load, aside.WithHold(time.Second))
		inTx(t, func(ctx context.Context) error {
			err := long.Invalidate(ctx, 1)
			_ = aside.InTx(t.Context(), func(ctx context.Context) error {
				_ = short.Invalidate(ctx, 1)
				return errDown
			})
			time.Sleep(2 * time.Second)
			equal(t, "whether it is held once the shorter hold has expired", r.held("test:1"), true)
			return err
		})
		equal(t, "the document after the release", r.get("test:1"), "")
	})
}

func TestHoldLastsAsLongAsTheTransactionRuns(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, newTable().load, aside.WithHold(6*time.Second))
		inTx(t, func(ctx context.Context) error {
			err := c.Invalidate(ctx, 1)
			for range 10 {
				time.Sleep(5 * time.Second)
				equal(t, "whether it is held", r.held("test:1"), true)
			}
			return err
		})
	})
}

// What is left out is not written again with a time in the past, which Redis would refuse.
func TestReleaseLeavesOutHoldersWhoseTimeIsOver(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.put("test:1", `{"hold":{"dead":{"id":"a-1","expiry":1,"life":1}}}`)
		c, _ := process(r, newTable(product{1, "lamp", 100}).load)
		err := aside.InTx(t.Context(), func(ctx context.Context) error { return c.Invalidate(ctx, 1) })
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "what the last holder leaves", r.get("test:1"), "")
		equal(t, "RedisErrors", c.Stats().RedisErrors, 0)
	})
}

func TestHoldsAreAsLongAsCanBe(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		opts := []aside.Option{aside.WithHold(math.MaxInt64), aside.WithReplicaLag(time.Second)}
		reader, _ := process(r, rows.load, opts...)
		writer, _ := process(r, rows.load, opts...)
		inTx(t, func(ctx context.Context) error {
			err := writer.Invalidate(ctx, 1)
			mustGet(t, reader, 1)
			equal(t, "Fills", reader.Stats().Fills, 0)
			return err
		})
	})
}

func TestHoldLastsForWholeWithHoldAfterAnUnknownOutcome(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, aside.WithHold(9*time.Second))
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			_ = c.Invalidate(ctx, 1)
			time.Sleep(2 * time.Second) // the next renewal is yet to come
			return errDown
		})
		time.Sleep(9*time.Second - time.Millisecond)
		mustGet(t, c, 1)
		rows.setPrice(1, 90) // the COMMIT lands
		time.Sleep(time.Millisecond)
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

func TestReadsOfAProcessThatDiedInsideMissAfterWithHold(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		dying, tap := process(r, rows.load, aside.WithHold(10*time.Second))
		reader, _ := process(r, rows.load)
		died := make(chan struct{})
		ended := make(chan error)
		go func() {
			ended <- aside.InTx(context.Background(), func(ctx context.Context) error {
				err := dying.Invalidate(ctx, 1)
				rows.setPrice(1, 90) // COMMIT
				tap.answer("hold", errDown)
				<-died
				return err
			})
		}()
		synctest.Wait()
		time.Sleep(10*time.Second - time.Millisecond)
		mustGet(t, reader, 1)
		if doc := r.get("test:1"); !strings.HasPrefix(doc, `{"hold":`) {
			t.Errorf("just before WithHold the document is %s", doc)
		}
		time.Sleep(time.Millisecond)
		equal(t, "the document after WithHold", r.get("test:1"), "")
		mustGet(t, reader, 1)
		loads := rows.loads.Load()
		equal(t, "the price in the cache", mustGet(t, reader, 1).Price, 90)
		equal(t, "the number of loads", rows.loads.Load()-loads, 0)
		close(died)
		<-ended
	})
}
