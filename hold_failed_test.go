package aside_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

// The process is cut off for longer than WithHold, commits, and comes back: nobody died, so nothing may stay stale.
func TestReleaseThatFailsAfterTheHoldHasExpiredIsOwed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, tap := process(r, rows.load, aside.WithHold(10*time.Second))
		reader, _ := process(r, rows.load)
		inTx(t, func(ctx context.Context) error {
			err := writer.Invalidate(ctx, 1)
			tap.answer("hold", errDown)
			time.Sleep(11 * time.Second) // the hold has expired: renewals failed
			equal(t, "what the other process stores", mustGet(t, reader, 1).Price, 100)
			rows.setPrice(1, 90)
			return err
		})
		equal(t, "the price in this process, after the commit", mustGet(t, writer, 1).Price, 90)
		tap.answer("hold", nil)
		time.Sleep(5 * time.Second)
		equal(t, "the price in the other, once Redis is back", mustGet(t, reader, 1).Price, 90)
	})
}

// The same for a hold that was evicted or deleted, and one release that found no Redis.
func TestReleaseThatFailsAfterTheHoldWasDeletedIsOwed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, tap := process(r, rows.load)
		reader, _ := process(r, rows.load)
		inTx(t, func(ctx context.Context) error {
			err := writer.Invalidate(ctx, 1)
			r.del("test:1")
			mustGet(t, reader, 1) // stores 100
			rows.setPrice(1, 90)
			tap.answer("hold", errDown)
			return err
		})
		tap.answer("hold", nil)
		time.Sleep(5 * time.Second)
		equal(t, "the price", mustGet(t, reader, 1).Price, 90)
	})
}

func TestHoldInAnUnknownFormatStaysAndInvalidateInsideSaysSo(t *testing.T) {
	for _, doc := range []string{`{"hold":"x"}`, `{"hold":[1]}`, `{"hold":[9999999999999]}`, `{"hold":[]}`, `{"hold":7,`, `{"hold":{"a":"b"}}`,
		`{"hold":{"a":9999999999999},"mode":"shared"}`} {
		t.Run(doc, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, r *rig) {
				c, _ := process(r, newTable(product{1, "lamp", 100}).load)
				r.put("test:1", doc)
				inTx(t, func(ctx context.Context) error {
					if c.Invalidate(ctx, 1) == nil {
						t.Error("Invalidate inside returned nil")
					}
					return nil
				})
				mustInvalidate(t, c, 1)
				mustGet(t, c, 1)
				equal(t, "the document", r.get("test:1"), doc)
			})
		})
	}
}

func TestHoldWhoseReplyWasLostEndsWithTheTransaction(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load)
		mustInvalidate(t, c, 2)
		reply := tap.after("hold")
		inTx(t, func(ctx context.Context) error {
			if c.Invalidate(ctx, 1) == nil {
				t.Error("Invalidate returned nil")
			}
			rows.setPrice(1, 90)
			return nil
		})
		reply.release()
		mustGet(t, c, 1)
		if doc := r.get("test:1"); strings.HasPrefix(doc, `{"hold"`) {
			t.Errorf("the document after the commit is %s", doc)
		}
	})
}

// COMMIT's answer is lost, and so fn returns an error; the hold could not be placed, and then Redis came back.
func TestKeyThatWasNotHeldIsNotCachedWhileTheOutcomeIsUnknown(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, tap := process(r, rows.load)
		reader, _ := process(r, rows.load)
		tap.answer("hold", errDown)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			_ = writer.Invalidate(ctx, 1)
			tap.answer("hold", nil)
			return errDown
		})
		mustGet(t, reader, 1)
		rows.setPrice(1, 90) // the COMMIT lands
		equal(t, "the price", mustGet(t, reader, 1).Price, 90)
	})
}

// It was cut off for longer than WithHold, and came back before fn returned an error though the COMMIT had landed.
func TestHoldThatHasExpiredIsPlacedAnewWhenTheOutcomeIsUnknown(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, tap := process(r, rows.load, aside.WithHold(10*time.Second))
		reader, _ := process(r, rows.load)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			_ = writer.Invalidate(ctx, 1)
			tap.answer("hold", errDown)
			time.Sleep(11 * time.Second)
			mustGet(t, reader, 1) // stores 100
			rows.setPrice(1, 90)
			tap.answer("hold", nil)
			return errDown
		})
		equal(t, "the price", mustGet(t, reader, 1).Price, 90)
	})
}

// Neither hold nor its renewal at the end could be placed, and the COMMIT lands after Redis took an invalidation.
func TestKeyThatCouldNotBeHeldIsInvalidatedAgainAfterWithHold(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, tap := process(r, rows.load, aside.WithHold(10*time.Second))
		reader, _ := process(r, rows.load)
		tap.answer("hold", errDown)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			_ = writer.Invalidate(ctx, 1)
			return errDown
		})
		time.Sleep(time.Second)
		equal(t, "PendingInvalidations", writer.Stats().PendingInvalidations, 0)
		mustGet(t, reader, 1) // stores 100
		rows.setPrice(1, 90)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		equal(t, "the price", mustGet(t, reader, 1).Price, 90)
	})
}

// A goroutine that waits for ever is an error of synctest.
func TestRenewalThatIsDueWhenTheTransactionEndsLeavesNothingBehind(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load, aside.WithHold(3*time.Second))
		for range 1000 {
			inTx(t, func(ctx context.Context) error {
				err := c.Invalidate(ctx, 1)
				time.Sleep(time.Second)
				return err
			})
			equal(t, "the document", r.get("test:1"), "")
		}
		if n := tap.sent("hold"); n == 3000 {
			t.Error("every renewal came first, so nothing was shown")
		}
	})
}

// Each pipeline that hangs takes one Redis timeout of the caller's time. The end of InTx waits for one: in such a way that the
// clock of a user's synctest goes on.
func TestInTxEndsWithoutFinishingARenewalOfManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		reached := make(chan struct{}, 100) // receives when a pipeline hangs
		rdb := nowhere(t)
		rdb.AddHook(through(func(ctx context.Context, cmds []redis.Cmder, send sender) error {
			if len(cmds) == 1 {
				return send(cmds...)
			}
			if hangs.Load() {
				if aside.Verb(cmds[0]) == "hold" { // not when what is owed is tried again
					reached <- struct{}{}
				}
				<-ctx.Done()
				return ctx.Err()
			}
			for _, cmd := range cmds {
				cmd.(*redis.Cmd).SetVal(slices.Repeat([]any{int64(1)}, cmd.Args()[2].(int))) // one for each key
			}
			return nil
		}))
		const timeout = 250 * time.Millisecond
		c := newCache(t, rdb, newTable().load, aside.WithHold(time.Second), aside.WithRedisTimeout(timeout))
		keys := idsFrom(0, 5000) // ten pipelines
		var over time.Time
		inTx(t, func(ctx context.Context) error {
			if err := c.Invalidate(ctx, keys...); err != nil {
				return err
			}
			hangs.Store(true)
			<-reached // the first pipeline of a renewal
			over = time.Now()
			return nil
		})
		equal(t, "the number of pipelines after fn, the release being one", len(reached), 1)
		equal(t, "the time that the renewal and the release took", time.Since(over), 2*timeout)
	})
}

func TestDelayedHoldAfterTheReleaseIsNeverStale(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load, aside.WithHold(10*time.Second))
		held := tap.before("hold")
		opened := make(chan struct{})
		go func() { held.wait(); held.release(); close(opened) }()
		var duplicate []any
		inTx(t, func(ctx context.Context) error {
			err := c.Invalidate(ctx, 1)
			<-opened
			tap.mu.Lock()
			duplicate = tap.seen["hold"]
			tap.mu.Unlock()
			rows.setPrice(1, 90)
			return err
		})
		mustGet(t, c, 1)
		rows.setPrice(1, 80)
		mustInvalidate(t, c, 1)
		if err := r.raw.Do(t.Context(), duplicate...).Err(); err != nil {
			t.Fatal(err)
		}
		equal(t, "the price", mustGet(t, c, 1).Price, 80)
		time.Sleep(10 * time.Second)
		equal(t, "the document after WithHold", r.get("test:1"), "")
	})
}

// Twice, Redis does not answer a renewal, with the pause of one between them.
func TestHoldOutlastsRenewalsThatFail(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load, aside.WithHold(30*time.Second))
		inTx(t, func(ctx context.Context) error {
			err := c.Invalidate(ctx, 1)
			for range 2 {
				g := tap.before("hold")
				g.wait()
				time.Sleep(300 * time.Millisecond)
				g.release()
			}
			for range 200 {
				if r.get("test:1") == "" {
					t.Error("the hold has expired")
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			return err
		})
	})
}

// What is written must not wait for memory: a server that is full lets a script go on that has removed something.
func TestInvalidationsOfEachKindWorkWhenRedisIsOutOfMemory(t *testing.T) {
	s := testserver.Redis(t)
	rdb := closed(t, redis.NewClient(&redis.Options{Addr: s.Addr}))
	rows := newTable(product{1, "lamps", 100}, product{2, "lamps", 200})
	c := newCache(t, rdb, rows.load, categories, patient)
	lagging, err := aside.New(closed(t, redis.NewClient(&redis.Options{Addr: s.Addr})), "lagging", rows.load,
		aside.WithReplicaLag(time.Second), patient)
	equal(t, "the error", err, nil)
	defer lagging.Close()
	mustGet(t, c, 1)
	equal(t, "the error", rdb.ConfigSet(t.Context(), "maxmemory", "1").Err(), nil)
	for what, invalidate := range map[string]func(ctx context.Context) error{
		"Invalidate":                   func(ctx context.Context) error { return c.Invalidate(ctx, 1, 2) },
		"Invalidate, replicas lag":     func(ctx context.Context) error { return lagging.Invalidate(ctx, 2) },
		"InvalidateTags":               func(ctx context.Context) error { return c.InvalidateTags(ctx, "lamps") },
		"InvalidateAll":                func(ctx context.Context) error { return c.InvalidateAll(ctx) },
		"Invalidate of nothing cached": func(ctx context.Context) error { return c.Invalidate(ctx, 404) },
	} {
		equal(t, what, invalidate(t.Context()), nil)
		equal(t, what+" inside InTx", aside.InTx(t.Context(), invalidate), nil)
	}
	equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
}
