package aside_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

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

func TestReadDuringAnInvalidateIsNotServedFromTheCache(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load, patient)
		mustGet(t, c, 1)
		attempt := tap.before("invalidate")
		rows.setPrice(1, 90)
		done := make(chan error)
		go func() { done <- c.Invalidate(context.Background(), 1) }()
		attempt.wait()
		equal(t, "the price while it is under way", mustGet(t, c, 1).Price, 90)
		attempt.release()
		equal(t, "its error", <-done, nil)
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

func TestMoreFailedInvalidationsThanAreRememberedBypassTheCache(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load)
		mustGet(t, c, 1)
		keys := make([]int, 10_001)
		for i := range keys {
			keys[i] = i + 10
		}
		tap.answer("hold", redisError("OOM"))
		_ = c.Invalidate(t.Context(), keys...)
		equal(t, "Owed, which is all of the cache", c.Stats().PendingInvalidations, 1)
		rows.setPrice(1, 90) // that there is a debt for it was forgotten: all are owed
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
		tap.answer("invalidate", nil)
		time.Sleep(3 * time.Second)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
		mustGet(t, c, 1)
		hits := c.Stats().Hits
		mustGet(t, c, 1)
		equal(t, "the hits once all entries are invalidated", c.Stats().Hits-hits, 1)
	})
}

func TestInvalidationsUnderWayDoNotCountAsFailed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable(product{1, "lamp", 100}).load, patient)
		mustGet(t, c, 1)
		keys := make([]int, 10_001)
		for i := range keys {
			keys[i] = i + 10
		}
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

func TestWhatIsOwedIsSentBeforeAnythingIsReadFromARedisThatIsBack(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, w := inWeather(r, rows.load)
		mustGet(t, c, 1)
		mustGet(t, c, 2)
		w.answer(errDown)
		rows.setPrice(1, 90)
		if err := c.Invalidate(t.Context(), 1); err == nil {
			t.Error("Invalidate returned nil")
		}
		for range 3 {
			mustGet(t, c, 2)
		}
		time.Sleep(10 * time.Second)
		w.sentSince()
		w.become(nil)
		hits := c.Stats().Hits
		for c.Stats().Hits == hits {
			mustGet(t, c, 2)
			time.Sleep(time.Millisecond)
		}
		var sent []string
		for _, s := range w.sentSince() {
			sent = append(sent, s.verb)
		}
		if first := slices.Index(sent, "get"); !slices.Contains(sent[:first], "invalidate") {
			t.Errorf("it sent %v", sent)
		}
	})
}
