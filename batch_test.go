package aside_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// Eight misses whose leases are under way, and what comes beside them.
func TestMissesThatRunSideBySideShareRoundTrips(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		table := newTable()
		for id := range 24 {
			table.rows[id] = product{id, "lamp", id}
		}
		c, tap := process(r, table.load, patient)
		var held []*gate
		var reads []<-chan result
		for id := range 24 {
			if id < 8 {
				held = append(held, tap.before("lease"))
			}
			reads = append(reads, getting(c, id))
			synctest.Wait()
		}
		equal(t, "the leases that are under way", tap.sent("lease"), 8)
		equal(t, "the fills", tap.sent("fill"), 0)
		release(held...)
		for id, read := range reads {
			price(t, fmt.Sprint("the price of ", id), read, id)
		}
		equal(t, "the commands for leases", tap.sent("lease"), 9)
		equal(t, "the loads", table.loads.Load(), 24)
		if fills := tap.sent("fill"); fills >= 24 {
			t.Errorf("%d commands for 24 fills", fills)
		}
		for id := range 24 {
			if doc := r.get(fmt.Sprintf("test:%d", id)); !strings.Contains(doc, `"value"`) {
				t.Errorf("the document of %d is %s", id, doc)
			}
		}
	})
}

// invalidating invalidates a key in the background.
func invalidating(c *aside.Cache[int, product], ids ...int) <-chan error {
	done := make(chan error, 1)
	go func() { done <- c.Invalidate(context.Background(), ids...) }()
	return done
}

// eightInvalidations holds up as many invalidations as there may be commands.
func eightInvalidations(c *aside.Cache[int, product], tap *tap) (held []*gate, all []<-chan error) {
	for id := range 8 {
		held = append(held, tap.before("invalidate"))
		all = append(all, invalidating(c, id))
		synctest.Wait()
	}
	return held, all
}

func TestInvalidationsThatRunSideBySideShareRoundTrips(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load, patient)
		for id := range 24 {
			r.put(fmt.Sprintf("test:%d", id), "anything")
		}
		held, all := eightInvalidations(c, tap)
		for id := 8; id < 24; id++ {
			all = append(all, invalidating(c, id))
			synctest.Wait()
		}
		equal(t, "the commands under way", tap.sent("invalidate"), 8)
		release(held...)
		for _, done := range all {
			equal(t, "the error", <-done, nil)
		}
		equal(t, "the commands", tap.sent("invalidate"), 9)
		for id := range 24 {
			equal(t, "what is left", r.get(fmt.Sprintf("test:%d", id)), "")
		}
	})
}

// Else one of them might be removed before the other.
func TestWhatOneCallInvalidatesDoesNotTravelWithOthers(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load, patient)
		held, all := eightInvalidations(c, tap)
		one := invalidating(c, 10)
		synctest.Wait()
		equal(t, "the error of two keys", c.Invalidate(t.Context(), 8, 9), nil)
		equal(t, "the commands", tap.sent("invalidate"), 9)
		select {
		case <-one:
			t.Error("a single key did not wait for its turn")
		default:
		}
		release(held...)
		for _, done := range append(all, one) {
			equal(t, "the error", <-done, nil)
		}
	})
}

// Reads do not wait behind writes that the server holds up.
func TestReadsDoNotTravelWithWrites(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable(product{20, "lamp", 100}).load, patient)
		mustGet(t, c, 20)
		held, all := eightInvalidations(c, tap)
		price(t, "what a read gets", getting(c, 20), 100)
		release(held...)
		for _, done := range all {
			equal(t, "the error", <-done, nil)
		}
	})
}

func TestALargeValueIsFilledByItself(t *testing.T) {
	for size, want := range map[int]int{40 << 10: 0, 80 << 10: 1} {
		onMiniredis(t, func(t *testing.T, r *rig) {
			loading, load := make(chan bool), make(chan bool)
			c, tap := process(r, func(context.Context, int) (product, error) {
				loading <- true
				<-load
				return product{Name: strings.Repeat("x", size)}, nil
			}, patient)
			read := getting(c, 20)
			<-loading
			held, all := eightInvalidations(c, tap)
			load <- true
			synctest.Wait()
			equal(t, fmt.Sprint("the fills of ", size, " bytes beside eight commands"), tap.sent("fill"), want)
			release(held...)
			for _, done := range all {
				equal(t, "the error", <-done, nil)
			}
			price(t, "the price", read, 0)
		})
	}
}

// A late read is one whose lease travels with others and is still under way when its own time is over.
func lateRead(t *testing.T, r *rig, then func(tap *tap, held []*gate)) {
	c, tap := process(r, newTable(product{20, "lamp", 100}).load)
	get := tap.before("get")
	read, start := getting(c, 20), time.Now()
	get.wait()
	time.Sleep(redisTimeout / 4)
	var held []*gate
	for id := range 9 { // the last one gathers
		if id < 8 {
			held = append(held, tap.before("invalidate"))
		}
		invalidating(c, id)
		synctest.Wait()
	}
	get.release()
	price(t, "what the loader says", read, 100)
	equal(t, "the time that it took", time.Since(start), redisTimeout)
	then(tap, held)
}

func TestNobodyWaitsForABatchBeyondHisOwnTime(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		lateRead(t, r, func(_ *tap, held []*gate) { release(held...) })
	})
}

func TestALeaseOfABatchThatNobodyWaitsForIsGivenBack(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		lateRead(t, r, func(tap *tap, held []*gate) {
			equal(t, "the leases that were asked for", tap.sent("lease"), 0)
			release(held...)
			synctest.Wait()
			equal(t, "the leases that were given", tap.sent("lease"), 1)
			equal(t, "the document that is left", r.get("test:20"), "")
		})
	})
}
