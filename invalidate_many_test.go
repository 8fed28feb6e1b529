package aside_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// attempts notes when invalidations are sent, all of which fail.
type attempts struct {
	tap
	mu   sync.Mutex
	at   []time.Time
	fail bool
}

func (a *attempts) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		verb := aside.Verb(cmd)
		if verb != "invalidate" && verb != "srem" {
			return next(ctx, cmd)
		}
		a.mu.Lock()
		if verb == "invalidate" {
			a.at = append(a.at, time.Now())
		}
		fail := a.fail
		a.mu.Unlock()
		if fail {
			cmd.SetErr(errDown)
			return errDown
		}
		return next(ctx, cmd)
	}
}

func TestRetriesOfAnInvalidationBackOffToASecondWhateverTheBreakerSays(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a := &attempts{fail: true}
		rdb := r.dial(t)
		rdb.AddHook(a)
		rows := newTable(product{1, "lamp", 100})
		c := newCache(t, rdb, rows.load)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		_ = c.Invalidate(t.Context(), 1)
		time.Sleep(30 * time.Second)
		a.mu.Lock()
		for i := 1; i < len(a.at); i++ {
			pause := a.at[i].Sub(a.at[i-1])
			most := min(50*time.Millisecond<<(i-1), time.Second)
			if pause > most || pause < most*8/10 {
				t.Errorf("the pause before attempt %d is %v, want up to 20 %% less than %v", i, pause, most)
			}
		}
		if n := len(a.at); n < 30 || n > 45 {
			t.Errorf("there were %d attempts in 30 s", n)
		}
		a.fail = false
		a.mu.Unlock()
		time.Sleep(time.Second)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
		equal(t, "the document", r.get("test:1"), "")
	})
}

func TestReadDuringAnInvalidateDoesNotJoinAFlightThatBeganBefore(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load, patient)
		early := getting(c, 1)
		<-rows.read // 100
		rows.setPrice(1, 90)
		attempt := tap.before("invalidate")
		done := make(chan error, 1)
		go func() { done <- c.Invalidate(context.Background(), 1) }()
		attempt.wait()
		late := getting(c, 1)
		<-rows.read // a load of its own
		rows.flow()
		price(t, "what the late caller gets", late, 90)
		price(t, "what the early caller gets", early, 100)
		attempt.release()
		equal(t, "the error of Invalidate", <-done, nil)
		equal(t, "the price at last", mustGet(t, c, 1).Price, 90)
		many, err := c.GetMany(t.Context(), []int{1})
		equal(t, "the price by GetMany", many[1].Price, 90)
		equal(t, "its error", err, nil)
	})
}

func TestGetManyLoadsTheKeysThatAreOwedAndReadsTheOthers(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, tap := process(r, rows.load)
		mustGet(t, c, 1)
		mustGet(t, c, 2)
		tap.answer("invalidate", redisError("NOPERM"))
		rows.setPrice(1, 90)
		rows.setPrice(2, 190) // not invalidated: what is cached may be served
		_ = c.Invalidate(t.Context(), 1)
		found, err := c.GetMany(t.Context(), []int{1, 2})
		equal(t, "its error", err, nil)
		equal(t, "the price that is owed", found[1].Price, 90)
		equal(t, "the price that is cached", found[2].Price, 200)
		tap.answer("invalidate", nil)
	})
}

func TestCloseSendsWhatIsOwedOnceMore(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable(product{1, "lamp", 100}).load)
		mustGet(t, c, 1)
		tap.answer("invalidate", redisError("NOPERM"))
		_ = c.Invalidate(t.Context(), 1)
		time.Sleep(10 * time.Second)
		tap.answer("invalidate", nil) // long before the next attempt
		equal(t, "what Close returns", c.Close(), nil)
		equal(t, "the document", r.get("test:1"), "")
		synctest.Wait()
	})
}

// The flight that is under way waits for another process's lease.
func TestReadOfAKeyThatIsOwedDoesNotWaitForRedis(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		deadLease(r, "test:1", time.Hour)
		c, tap := process(r, newTable(product{1, "lamp", 100}).load)
		waiting := getting(c, 1)
		r.until(func() bool { return c.Stats().Waits == 1 })
		tap.answer("invalidate", redisError("OOM"))
		_ = c.Invalidate(t.Context(), 1)
		asked := time.Now()
		mustGet(t, c, 1)
		equal(t, "the time that it took", time.Since(asked), 0)
		tap.answer("invalidate", nil)
		<-waiting
	})
}

func TestKeyThatComesToBeOwedWhileGetManyLooksIsNotReadFromTheCache(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, tap := process(r, rows.load, patient)
		other, _ := process(r, rows.load)
		looked := tap.after("mget")
		many := gettingMany(t.Context(), c, 1, 2)
		looked.wait() // nothing is there
		mustGet(t, other, 1)
		rows.setPrice(1, 90)
		tap.answer("invalidate", redisError("OOM"))
		_ = c.Invalidate(t.Context(), 1)
		looked.release()
		finds(t, "GetMany", many, "1:90 2:200")
		tap.answer("invalidate", nil)
	})
}

// A key that is not there when InvalidateAll gets to it gets no hold for the lag.
func TestInvalidateAllDoesNotSettleAKeyThatIsOwedTheLag(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}) // as the replica has it, and the primary no longer
		c, tap := process(r, rows.load, aside.WithReplicaLag(10*time.Second))
		tap.answer("hold", redisError("OOM"))
		if c.Invalidate(t.Context(), 1) == nil {
			t.Error("Invalidate returned nil")
		}
		tap.answer("hold", nil)
		equal(t, "InvalidateAll", c.InvalidateAll(t.Context()), nil)
		time.Sleep(2 * time.Second)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

func TestLagThatAnUnknownHoldKeepsFromBeingNotedIsOwed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, aside.WithReplicaLag(10*time.Second))
		equal(t, "the error", r.raw.Set(t.Context(), "test:1", `{"hold":"x"}`, 100*time.Millisecond).Err(), nil)
		if c.Invalidate(t.Context(), 1) == nil {
			t.Error("Invalidate returned nil")
		}
		time.Sleep(2 * time.Second)
		mustGet(t, c, 1) // the replica lags
		rows.setPrice(1, 90)
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

// A Redis that has just come back need not bear a SCAN for each probe of it.
func TestProbesDoNotEachBeginToPay(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		scans, rdb := new(scans), r.dial(t)
		rdb.AddHook(scans)
		c := newCache(t, rdb, newTable().load)
		scans.down.Store(true)
		_ = c.InvalidateAll(t.Context())
		for id := range 3 {
			_ = c.Invalidate(t.Context(), id)
		}
		equal(t, "WritesDown", c.Stats().WritesDown, true)
		time.Sleep(10 * time.Second)
		scans.down.Store(false)
		time.Sleep(15 * time.Second)
		equal(t, "the most that were under way at a time", scans.most.Load(), 1)
		time.Sleep(2 * time.Minute) // until they end
	})
}

// Scans are answered as by a Redis that is slow and full of other programs' keys.
type scans struct {
	tap
	down      atomic.Bool
	now, most atomic.Int64
}

func (s *scans) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if s.down.Load() && !internal(cmd) {
			cmd.SetErr(errDown)
			return errDown
		}
		return next(ctx, cmd)
	}
}

func (s *scans) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	const pages = 50
	return func(ctx context.Context, cmds []redis.Cmder) error {
		cmd := cmds[0]
		if s.down.Load() && !internal(cmd) {
			cmd.SetErr(errDown)
			return errDown
		}
		scan, ok := cmd.(*redis.ScanCmd)
		if !ok {
			return next(ctx, cmds)
		}
		cursor := cmd.Args()[1].(uint64)
		if cursor == 0 {
			s.most.Store(max(s.most.Load(), s.now.Add(1)))
		}
		time.Sleep(200 * time.Millisecond)
		if cursor++; cursor == pages {
			s.now.Add(-1)
			cursor = 0
		}
		scan.SetVal(nil, cursor)
		return nil
	}
}

// A server that takes 10 ms for a command, which is about 64 keys, needs 800 ms for 5,000 keys.
func TestVeryManyKeysAtATimeAreInvalidated(t *testing.T) {
	outside := func(ctx context.Context, c *aside.Cache[int, product]) error { return c.Invalidate(ctx, upTo(5000)...) }
	invalidate := map[string]func(ctx context.Context, c *aside.Cache[int, product]) error{
		"outside InTx": outside,
		"inside InTx": func(ctx context.Context, c *aside.Cache[int, product]) error {
			return aside.InTx(ctx, func(ctx context.Context) error { return outside(ctx, c) })
		},
	}
	for name, do := range invalidate {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rdb := r.dial(t)
				rdb.AddHook(new(slowServer))
				c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load)
				mustGet(t, c, 1)
				equal(t, "the error", do(t.Context(), c), nil)
				equal(t, "the document", r.get("test:1"), "")
				equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
				equal(t, "RedisErrors", c.Stats().RedisErrors, 0)
			})
		})
	}
}

func upTo(n int) []int {
	keys := make([]int, n)
	for i := range keys {
		keys[i] = i
	}
	return keys
}

type slowServer struct{ tap }

func (s *slowServer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		time.Sleep(time.Duration(len(cmds)) * 10 * time.Millisecond)
		return next(ctx, cmds)
	}
}

func TestVeryManyKeysAtATimeWaitOnceForARedisThatHangs(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, w := inWeather(r, newTable().load)
		mustInvalidate(t, c, 1)
		w.hang()
		start := time.Now()
		if err := c.Invalidate(t.Context(), upTo(5000)...); err == nil || !strings.Contains(err.Error(), "5000 of 5000") {
			t.Errorf("Invalidate returned %v", err)
		}
		equal(t, "how long it took", time.Since(start), 250*time.Millisecond)
		w.become(nil)
		time.Sleep(3 * time.Second)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
	})
}

func TestKeyThatIsGivenTwiceIsInvalidatedOnce(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, newTable().load, aside.WithObserver(aside.Observer{
			Invalidate: func(_ context.Context, i aside.InvalidateInfo) {
				equal(t, "the names", strings.Join(i.Names, " "), "test:2 test:1")
			},
		}))
		mustInvalidate(t, c, 2, 1, 2, 2, 1)
		equal(t, "Invalidations", c.Stats().Invalidations, 2)
	})
}

// More names are owed than are remembered, and each is owed the lag as well. None is there when Redis is back, so that none can
// be held. Another process does not know of them, and loads from the replica.
func TestWhatIsOwedInBulkIsOwedTheLag(t *testing.T) {
	const lag = 10 * time.Second
	many := map[string]func(c *aside.Cache[int, product]) error{
		"keys": func(c *aside.Cache[int, product]) error { return c.Invalidate(context.Background(), upTo(10_001)...) },
		"tags": func(c *aside.Cache[int, product]) error {
			tags := make([]string, 10_001)
			for i := range tags {
				tags[i] = fmt.Sprint("tag ", i)
			}
			return c.InvalidateTags(context.Background(), tags...)
		},
	}
	for name, invalidate := range many {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "tag 5000", 100}) // as the replica has it, and the primary no longer
				writer, tap := process(r, rows.load, categories, aside.WithReplicaLag(lag))
				reader, _ := process(r, rows.load, categories, aside.WithReplicaLag(lag))
				for _, verb := range []string{"hold", "holdtags"} {
					tap.answer(verb, redisError("OOM"))
				}
				if invalidate(writer) == nil {
					t.Error("Invalidate returned nil")
				}
				failed := time.Now()
				equal(t, "PendingInvalidations", writer.Stats().PendingInvalidations, 1)
				for _, verb := range []string{"hold", "holdtags"} {
					tap.answer(verb, nil)
				}
				mustGet(t, reader, 1)
				time.Sleep(2 * time.Second) // what was there is removed, and the lag goes on
				equal(t, "InvalidateAll", writer.InvalidateAll(t.Context()), nil)
				equal(t, "the scans of the next seconds", scansWithin(tap, 5*time.Second), 0)
				for _, c := range []*aside.Cache[int, product]{writer, reader} {
					mustGet(t, c, 1)
				}
				equal(t, "Owed while the replica may lag", writer.Stats().PendingInvalidations, 1)
				rows.setPrice(1, 90) // it has caught up
				time.Sleep(time.Until(failed.Add(lag + 2*time.Second)))
				equal(t, "Owed at last", writer.Stats().PendingInvalidations, 0)
				equal(t, "the price", mustGet(t, reader, 1).Price, 90)
			})
		})
	}
}

func scansWithin(p *tap, d time.Duration) int {
	p.reset()
	time.Sleep(d)
	return p.sent("scan")
}

// A tag that is owed by itself is owed the lag, whatever else is paid.
func TestTagsThatAreOwedInBulkDoNotSettleOneThatIsOwedTheLag(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100}) // as the replica has it
		c, tap := process(r, rows.load, categories, aside.WithReplicaLag(10*time.Second))
		tap.answer("holdtags", redisError("OOM"))
		tags := make([]string, 10_001)
		for i := range tags {
			tags[i] = fmt.Sprint("tag ", i)
		}
		if c.InvalidateTags(t.Context(), tags...) == nil || c.InvalidateTags(t.Context(), "lamps") == nil {
			t.Error("InvalidateTags returned nil")
		}
		time.Sleep(15 * time.Second) // all are removed twice, and "lamps" cannot be held
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
		tap.answer("holdtags", nil)
		time.Sleep(2 * time.Second)
		equal(t, "Owed at last", c.Stats().PendingInvalidations, 0)
		equal(t, "whether it is cached in the lag", isCached(t, c), false)
	})
}
