package aside_test

import (
	"context"
	"slices"
	"testing"
	"time"
)

// Reads of what is owed, or is being invalidated.

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

func TestMoreFailedInvalidationsThanAreRememberedBypassTheCache(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load)
		mustGet(t, c, 1)
		keys := idsFrom(10, 10_001)
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

func TestWhatIsOwedIsSentBeforeAnythingIsReadFromARedisThatIsBack(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, w := inWeather(r, rows.load)
		mustGet(t, c, 1)
		mustGet(t, c, 2)
		w.refuse(errDown)
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
