package aside_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

func (r *rig) held(name string) bool { return strings.HasPrefix(r.get(name), `{"hold":`) }

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

func TestShorterReplicaLagDoesNotShortenALongerOne(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		long, _ := process(r, newTable().load, aside.WithReplicaLag(10*time.Second))
		short, _ := process(r, newTable().load, aside.WithReplicaLag(time.Second))
		mustInvalidate(t, long, 1)
		mustInvalidate(t, short, 1)
		time.Sleep(10*time.Second - time.Millisecond)
		equal(t, "whether it is held just before the longer lag", r.held("test:1"), true)
		time.Sleep(time.Millisecond)
		equal(t, "the document after it", r.get("test:1"), "")
	})
}

// However the last hold came to be placed: at first, by a renewal, or at the end of a transaction whose outcome is unknown.
func TestHoldThatIsLeftToExpireLastsForTheReplicaLagBesides(t *testing.T) {
	for name, cutOff := range map[string]time.Duration{"at first": 0, "by a renewal": 3 * time.Second, "at the end": -1} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				c, tap := process(r, newTable().load, aside.WithHold(6*time.Second), aside.WithReplicaLag(10*time.Second))
				_ = aside.InTx(t.Context(), func(ctx context.Context) error {
					_ = c.Invalidate(ctx, 1)
					if cutOff < 0 {
						return errDown
					}
					time.Sleep(cutOff)
					tap.answer("hold", errDown)
					time.Sleep(16*time.Second - cutOff - time.Millisecond)
					equal(t, "whether it is held just before", r.held("test:1"), true)
					time.Sleep(4 * time.Second)
					equal(t, "whether it is held afterwards", r.held("test:1"), false)
					return nil
				})
				if cutOff < 0 {
					time.Sleep(16*time.Second - time.Millisecond)
					equal(t, "whether it is held just before", r.held("test:1"), true)
					time.Sleep(time.Millisecond)
					equal(t, "whether it is held afterwards", r.held("test:1"), false)
				}
				tap.answer("hold", nil)
			})
		})
	}
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

func TestHoldOfAnInnerInTxLastsUntilTheOuterOneEnds(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, newTable().load)
		inTx(t, func(ctx context.Context) error {
			err := aside.InTx(ctx, func(ctx context.Context) error { return c.Invalidate(ctx, 1) })
			equal(t, "whether it is held after the inner one", r.held("test:1"), true)
			return err
		})
		equal(t, "whether it is held after the outer one", r.held("test:1"), false)
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
