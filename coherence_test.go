package aside_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// These are the interleavings that make other caches serve a row from before an Invalidate that has returned. Each is
// played as it is written, by holding up loaders and commands.

func TestSlowLoadDoesNotFillAfterInvalidate(t *testing.T) {
	invalidations := map[string]func(t *testing.T, r *rig, writer *aside.Cache[int, product]){
		"Invalidate":    func(t *testing.T, r *rig, w *aside.Cache[int, product]) { mustInvalidate(t, w, 1) },
		"a foreign DEL": func(t *testing.T, r *rig, w *aside.Cache[int, product]) { r.del("test:1") },
		"FLUSHALL":      func(t *testing.T, r *rig, w *aside.Cache[int, product]) { r.flush() },
	}
	for name, invalidate := range invalidations {
		t.Run(name, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, r *rig) {
				rows := newSlowTable(product{1, "lamp", 100})
				reader, _ := process(r, rows.load)
				writer, _ := process(r, rows.table.load)
				slow := getting(reader, 1)
				<-rows.read // 100
				rows.setPrice(1, 90)
				invalidate(t, r, writer)
				rows.go_ <- struct{}{}
				price(t, "what the slow reader gets, which began before", slow, 100)
				equal(t, "the document that is left", r.get("test:1"), "")
				equal(t, "Refused", reader.Stats().Refused, 1)
				equal(t, "the next price", mustGet(t, writer, 1).Price, 90)
			})
		})
	}
}

func TestCallerAfterInvalidateDoesNotJoinAnOlderLoad(t *testing.T) {
	for _, where := range []string{"in the same process", "in another process"} {
		t.Run(where, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, r *rig) {
				rows := newSlowTable(product{1, "lamp", 100})
				reader, _ := process(r, rows.load)
				writer := reader
				if where == "in another process" {
					writer, _ = process(r, rows.load)
				}
				early := getting(reader, 1)
				<-rows.read // 100
				rows.setPrice(1, 90)
				mustInvalidate(t, writer, 1)
				late := getting(reader, 1) // joins the flight, whose load began too early for it
				r.untilMisses(reader, 2)
				rows.go_ <- struct{}{}
				price(t, "what the early caller gets", early, 100)
				<-rows.read
				rows.go_ <- struct{}{}
				price(t, "what the caller after Invalidate gets", late, 90)
			})
		})
	}
}

// The reply of a fill says that the entry was valid when Redis executed it, not when the reply arrives.
func TestCallerAfterInvalidateDoesNotJoinAFillUnderWay(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		reader, tap := process(r, rows.load, patient)
		writer, _ := process(r, rows.load)
		reply := tap.after("fill")
		early := getting(reader, 1)
		reply.wait() // Redis has accepted 100
		rows.setPrice(1, 90)
		mustInvalidate(t, writer, 1)
		asked := time.Now()
		equal(t, "the price after Invalidate", mustGet(t, reader, 1).Price, 90)
		if r.virtual {
			equal(t, "the time that it waited for the reply", time.Since(asked), 0)
		}
		reply.release()
		price(t, "what the early caller gets", early, 100)
		equal(t, "the price at last", mustGet(t, reader, 1).Price, 90)
	})
}

// The same for a look that a flight made: the lease command found a value.
func TestCallerAfterInvalidateDoesNotJoinALookUnderWay(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		reader, tap := process(r, rows.load, patient)
		writer, _ := process(r, rows.load)
		command, reply := tap.before("lease"), tap.after("lease")
		early := getting(reader, 1)
		command.wait()
		mustGet(t, writer, 1) // fills 100, which the lease command will find
		command.release()
		reply.wait()
		rows.setPrice(1, 90)
		mustInvalidate(t, writer, 1)
		late := getting(reader, 1)
		r.untilMisses(reader, 2)
		reply.release()
		price(t, "what the early caller gets", early, 100)
		price(t, "what the caller after Invalidate gets", late, 90)
	})
}

// And for the look of a flight that waits for the load of another process.
func TestCallerAfterInvalidateDoesNotJoinAPollUnderWay(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		holder, _ := process(r, rows.load, patient)
		reader, tap := process(r, rows.table.load, patient)
		load := getting(holder, 1)
		<-rows.read // 100
		look, poll := tap.before("get"), tap.before("get")
		early := getting(reader, 1)
		look.wait()
		look.release()
		poll.wait() // the first one: an earlier one's reply would be held up in the place of its own
		reply := tap.after("get")
		rows.flow()
		price(t, "what the holder gets", load, 100) // and has filled
		poll.release()
		reply.wait()
		rows.setPrice(1, 90)
		mustInvalidate(t, holder, 1)
		late := getting(reader, 1)
		r.untilMisses(reader, 2)
		reply.release()
		price(t, "what the early caller gets", early, 100)
		price(t, "what the caller after Invalidate gets", late, 90)
	})
}

func TestRefreshDoesNotFillAfterInvalidate(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		fast, _ := process(r, rows.table.load, aside.WithTTL(time.Minute), aside.WithStale(time.Hour))
		slow, _ := process(r, rows.load, aside.WithTTL(time.Minute), aside.WithStale(time.Hour))
		mustGet(t, fast, 1)
		time.Sleep(2 * time.Minute)
		equal(t, "the stale price", mustGet(t, slow, 1).Price, 100)
		<-rows.read // the refresh has read 100
		rows.setPrice(1, 90)
		mustInvalidate(t, fast, 1)
		rows.go_ <- struct{}{}
		slow.Close()
		equal(t, "Refused", slow.Stats().Refused, 1)
		equal(t, "the document that is left", r.get("test:1"), "")
		equal(t, "the next price", mustGet(t, fast, 1).Price, 90)
	})
}

// A newer load has stored a value in the meantime; the refresh started from another document.
func TestRefreshDoesNotReplaceANewerLoad(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		fast, _ := process(r, rows.table.load, aside.WithTTL(time.Minute), aside.WithStale(time.Hour))
		slow, _ := process(r, rows.load, aside.WithTTL(time.Minute), aside.WithStale(time.Hour))
		mustGet(t, fast, 1)
		time.Sleep(2 * time.Minute)
		mustGet(t, slow, 1)
		<-rows.read // 100
		rows.setPrice(1, 90)
		mustInvalidate(t, fast, 1)
		mustGet(t, fast, 1) // stores 90
		rows.go_ <- struct{}{}
		slow.Close()
		equal(t, "the price", mustGet(t, fast, 1).Price, 90)
		equal(t, "Refused", slow.Stats().Refused, 1)
	})
}

// A network, a proxy or a client that lost a reply executes a command once more, later.
func TestDelayedDuplicatesAreHarmless(t *testing.T) {
	for _, verb := range []string{"lease", "fill", "release", "invalidate"} {
		t.Run(verb, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, r *rig) {
				if r.virtual {
					t.Skip("the clock of miniredis stands still here, and tokens are made of it")
				}
				rows := newSlowTable(product{1, "lamp", 100})
				reader, tap := process(r, rows.load)
				if verb == "release" {
					rows.fail(errDown)
				}
				first := getting(reader, 1)
				<-rows.read
				if verb != "lease" {
					rows.go_ <- struct{}{}
					<-first // has filled, or failed: the load below is the only one that is refused
					mustInvalidate(t, reader, 1)
					r.until(func() bool { return tap.sent(verb) > 0 })
					rows.fail(nil)
					getting(reader, 1)
					<-rows.read
				}
				rows.setPrice(1, 90)
				mustInvalidate(t, reader, 1)
				if _, err := tap.again(r, verb); err != nil {
					t.Fatal(err)
				}
				rows.go_ <- struct{}{} // the load that read 100 ends: its fill must be refused
				r.until(func() bool { return reader.Stats().Refused > 0 })
				if doc := r.get("test:1"); strings.Contains(doc, `"value"`) {
					t.Errorf("the document is %s after an Invalidate and a second %s", doc, verb)
				}
			})
		})
	}
}

// The process stops for longer than its lease lives; another one loads and fills meanwhile.
func TestLoadUnderALostLeaseDoesNotFill(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		stopped, _ := process(r, rows.load)
		other, _ := process(r, rows.table.load)
		slow := getting(stopped, 1)
		<-rows.read     // 100
		r.del("test:1") // what expiry does
		rows.setPrice(1, 90)
		equal(t, "the price that the other process stores", mustGet(t, other, 1).Price, 90)
		rows.go_ <- struct{}{}
		price(t, "what the slow reader gets", slow, 100)
		equal(t, "the price in Redis", mustGet(t, other, 1).Price, 90)
	})
}

// The clock of the process is an hour slow.
func TestHowLateAFillMayComeIsMeasuredByTheClockOfTheServer(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, newTable(product{1, "lamp", 100}).load)
		r.setTime(time.Now().Add(time.Hour))
		mustGet(t, c, 1)
		equal(t, "Fills", c.Stats().Fills, 1)
	})
}

// With Redis down, nothing decides for the joiners: who arrives during a load asks again.
func TestCallersWithoutRedisDoNotJoinAnOlderLoad(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		reader, tap := process(r, rows.load)
		tap.down()
		early := getting(reader, 1)
		<-rows.read
		rows.setPrice(1, 90) // and another process, which has Redis, invalidates
		late := getting(reader, 1)
		synctest.Wait() // it waits, or would load at once
		later := getting(reader, 1)
		synctest.Wait()
		equal(t, "the misses", reader.Stats().Misses, 3)
		rows.go_ <- struct{}{}
		price(t, "what the early caller gets", early, 100)
		<-rows.read // one load for both
		synctest.Wait()
		rows.go_ <- struct{}{}
		price(t, "what the late caller gets", late, 90)
		price(t, "what the later caller gets", later, 90)
		equal(t, "the number of loads", rows.loads.Load(), 2)
	})
}

// That there is no row is an error, but one that an Invalidate makes old.
func TestCallerAfterInvalidateDoesNotJoinAnOlderAbsence(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable()
		reader, _ := process(r, rows.load)
		early := getting(reader, 1)
		<-rows.read // nothing
		rows.mu.Lock()
		rows.rows[1] = product{1, "lamp", 90}
		rows.mu.Unlock()
		mustInvalidate(t, reader, 1)
		late := getting(reader, 1)
		r.untilMisses(reader, 2)
		rows.go_ <- struct{}{}
		if got := <-early; !errors.Is(got.err, aside.ErrNotFound) {
			t.Errorf("the early caller gets %v", got)
		}
		<-rows.read
		rows.go_ <- struct{}{}
		price(t, "what the caller after Invalidate gets", late, 90)
	})
}
