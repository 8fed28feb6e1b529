package aside_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

func TestFailedInvalidationIsOwedUntilRedisConfirmsIt(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, tap := process(r, rows.load)
		mustGet(t, c, 1)
		mustGet(t, c, 2)
		tap.answer("invalidate", redisError("OOM"))
		rows.setPrice(1, 90)
		if err := c.Invalidate(t.Context(), 1); err == nil {
			t.Error("Invalidate returned nil")
		}
		hits := c.Stats().Hits
		for range 5 {
			equal(t, "the price", mustGet(t, c, 1).Price, 90)
			mustGet(t, c, 2)
			time.Sleep(time.Second)
		}
		equal(t, "the hits, of the other key", c.Stats().Hits-hits, 5)
		attempts := tap.sent("invalidate")
		if attempts < 7 || attempts > 14 {
			t.Errorf("there were %d attempts in 5 s", attempts)
		}
		tap.answer("invalidate", nil)
		time.Sleep(time.Second)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
		mustGet(t, c, 1)
		equal(t, "the price in the cache", mustGet(t, c, 1).Price, 90)
		equal(t, "the hits at last", c.Stats().Hits-hits, 6)
	})
}

func TestOlderAttemptDoesNotSettleANewerInvalidate(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load, patient)
		other, _ := process(r, rows.load)
		reply := tap.after("invalidate")
		first := make(chan error)
		go func() { first <- c.Invalidate(context.Background(), 1) }()
		reply.wait()         // Redis has done it
		mustGet(t, other, 1) // fills 100
		rows.setPrice(1, 90)
		tap.answer("invalidate", redisError("OOM"))
		if err := c.Invalidate(t.Context(), 1); err == nil {
			t.Error("the second Invalidate returned nil")
		}
		reply.release()
		<-first
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
		tap.answer("invalidate", nil)
	})
}

// Another process may have stored the entry with a longer TTL than this one's.
func TestFailedInvalidationIsNeverGivenUp(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load, aside.WithTTL(time.Minute))
		other, _ := process(r, rows.load, aside.WithTTL(24*time.Hour))
		mustGet(t, other, 1)
		rows.setPrice(1, 90)
		tap.answer("invalidate", redisError("OOM"))
		_ = c.Invalidate(t.Context(), 1)
		time.Sleep(time.Hour)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
		equal(t, "the price in this process", mustGet(t, c, 1).Price, 90)
		tap.answer("invalidate", nil)
		time.Sleep(2 * time.Second)
		equal(t, "Owed once Redis takes it", c.Stats().PendingInvalidations, 0)
		equal(t, "the price in the other", mustGet(t, other, 1).Price, 90)
	})
}

func TestInvalidationsUnderWayDoNotCountAsFailed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable(product{1, "lamp", 100}).load, patient)
		mustGet(t, c, 1)
		keys := idsFrom(10, 10_001)
		many := tap.before("hold")
		done := make(chan error)
		go func() { done <- c.Invalidate(context.Background(), keys...) }()
		many.wait()
		tap.answer("invalidate", redisError("OOM"))
		_ = c.Invalidate(t.Context(), 2)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
		mustGet(t, c, 1)
		equal(t, "the hits of a key that is not owed", c.Stats().Hits, 1)
		tap.answer("invalidate", nil)
		many.release()
		<-done
	})
}

func TestKeysArePaidThoughTheCacheAsAWholeCannotBe(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load)
		other, _ := process(r, rows.load)
		mustGet(t, other, 1)
		rows.setPrice(1, 90)
		tap.answer("scan", redisError("NOPERM"))
		_ = c.InvalidateAll(t.Context())
		tap.answer("invalidate", redisError("NOPERM"))
		_ = c.Invalidate(t.Context(), 1)
		tap.answer("invalidate", nil)
		time.Sleep(2 * time.Second)
		equal(t, "the price in the other process", mustGet(t, other, 1).Price, 90)
		equal(t, "Owed, for all keys", c.Stats().PendingInvalidations, 1)
		tap.answer("scan", nil)
	})
}

func TestCloseTellsOfInvalidationsThatAreOwed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load)
		tap.answer("invalidate", redisError("OOM"))
		_ = c.Invalidate(t.Context(), 1, 2)
		if err := c.Close(); err == nil || !strings.Contains(err.Error(), "2 invalidations") {
			t.Errorf("Close returned %v", err)
		}
		tap.answer("invalidate", nil)
		equal(t, "what Close returns once Redis takes them", c.Close(), nil)
	})
}

func TestRetriesOfAnInvalidationBackOffToASecondWhateverTheBreakerSays(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load)
		tap.answer("invalidate", errDown)
		tap.answer("srem", errDown)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		_ = c.Invalidate(t.Context(), 1)
		time.Sleep(30 * time.Second)
		var at []time.Time
		for _, s := range tap.sentSince() {
			if s.verb == "invalidate" {
				at = append(at, s.at)
			}
		}
		for i := 1; i < len(at); i++ {
			pause := at[i].Sub(at[i-1])
			most := min(50*time.Millisecond<<(i-1), time.Second)
			if pause > most || pause < most*8/10 {
				t.Errorf("the pause before attempt %d is %v, want up to 20 %% less than %v", i, pause, most)
			}
		}
		if n := len(at); n < 30 || n > 45 {
			t.Errorf("there were %d attempts in 30 s", n)
		}
		tap.answer("invalidate", nil)
		tap.answer("srem", nil)
		time.Sleep(time.Second)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
		equal(t, "the document", r.get("test:1"), "")
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

// A Redis that has just come back need not bear a SCAN for each probe of it.
func TestProbesDoNotEachBeginToPay(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		scans, rdb := new(scans), r.dial(t)
		rdb.AddHook(through(scans.send))
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
	down      atomic.Bool
	now, most atomic.Int64
}

func (s *scans) send(_ context.Context, cmds []redis.Cmder, send sender) error {
	const pages = 50
	if s.down.Load() && !internal(cmds[0]) {
		return refuse(errDown, cmds[0])
	}
	scan, ok := cmds[0].(*redis.ScanCmd)
	if !ok {
		return send(cmds...)
	}
	cursor := scan.Args()[1].(uint64)
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
