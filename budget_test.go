package aside_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// How long calls take when Redis is slow, hangs or is known to be down: exactly, since time is virtual.

func TestACallSpendsOneRedisTimeoutInAll(t *testing.T) {
	calls := map[string]func(t *testing.T, c *aside.Cache[int, product]){
		"Get": func(t *testing.T, c *aside.Cache[int, product]) { mustGet(t, c, 1) },
		"GetMany": func(t *testing.T, c *aside.Cache[int, product]) {
			found, err := c.GetMany(t.Context(), []int{1, 2, 3})
			if len(found) != 2 || err != nil {
				t.Errorf("GetMany found %v, %v", found, err)
			}
		},
	}
	slow := func(d time.Duration) func(w *tap) {
		return func(w *tap) { w.become(func(string) error { time.Sleep(d); return nil }) }
	}
	weathers := map[string]func(w *tap){
		"everything hangs":        func(w *tap) { w.hang() },
		"the lease hangs":         func(w *tap) { w.hang("lease") },
		"the fill hangs":          func(w *tap) { w.hang("fill") },
		"everything takes 100 ms": slow(100 * time.Millisecond),
		"everything takes 200 ms": slow(200 * time.Millisecond),
	}
	for call, do := range calls {
		for name, turn := range weathers {
			t.Run(call+" when "+name, func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
					c, w := inWeather(r, slowly(rows.load), aside.WithBatch(slowly(rows.loadMany)))
					turn(w)
					if d := took(func() { do(t, c) }); d > time.Second+redisTimeout {
						t.Errorf("it took %v, more than the load and %v", d, redisTimeout)
					}
					equal(t, "the number of loads", rows.loads.Load(), 1)
				})
			})
		}
	}
}

// A joiner whose own look was slow waits for what Redis may take of the flight besides: the edge of the rule, which
// WithRedisTimeout tells of.
func TestAJoinerSpendsTwoRedisTimeoutsAtMost(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, w := inWeather(r, rows.load)
		var looks atomic.Int64
		w.become(func(verb string) error {
			switch {
			case verb == "lease":
				<-w.over
			case verb == "get" && looks.Add(1) == 1:
				time.Sleep(redisTimeout - time.Millisecond)
			}
			return nil
		})
		joined := make(chan time.Duration)
		go func() { joined <- took(func() { mustGet(t, c, 1) }) }()
		time.Sleep(redisTimeout - 2*time.Millisecond)
		getting(c, 1) // whose flight the first will join
		if d := <-joined; d > 2*redisTimeout {
			t.Errorf("the joiner took %v, more than %v", d, 2*redisTimeout)
		}
	})
}

func TestAnInvalidateThatHangsFailsAfterTheRedisTimeout(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, w := inWeather(r, newTable().load)
		w.hang()
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // changes nothing: the rows have changed
		var err error
		equal(t, "its time", took(func() { err = c.Invalidate(ctx, 1, 2) }), redisTimeout)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it returned %v", err)
		}
		equal(t, "InvalidationErrors", c.Stats().InvalidationErrors, 1)
	})
}

func TestACallThatRedisHasFailedOnceAsksItNoMore(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable(product{1, "lamp", 100}, product{2, "desk", 200}).load)
		tap.answer("get", errDown)
		tap.answer("mget", errDown)
		costs(t, tap, "Get", func() { mustGet(t, c, 1) }, "[get]", 1)
		costs(t, tap, "GetMany", func() { mustGetMany(t, c, 1, 2) }, "[mget]", 1)
	})
}

// Others have found out between two of its polls.
func TestAWaiterForALeaseDoesNotAskARedisThatIsDown(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		deadLease(r, "test:1", time.Hour)
		c, w := inWeather(r, rows.load)
		waits := getting(c, 1)
		time.Sleep(time.Second)
		w.refuse(errDown)
		for !c.Stats().Down {
			mustGet(t, c, 2)
		}
		w.sentSince()
		price(t, "what the waiter gets", waits, 100)
		for _, s := range w.sentSince() {
			equal(t, "what is sent to a Redis that is down", s.verb, "exists")
		}
	})
}

func TestAWaiterForALeaseDoesNotWaitForAHungRedis(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		holder, _ := process(r, func(ctx context.Context, id int) (product, error) {
			time.Sleep(9 * time.Second)
			return rows.load(ctx, id)
		})
		waiter, w := inWeather(r, rows.load)
		held := getting(holder, 1)
		r.until(func() bool { return holder.Stats().Loading == 1 })
		waits := getting(waiter, 1)
		time.Sleep(time.Second)
		w.hang()
		left := took(func() { price(t, "what the waiter gets", waits, 100) })
		if pause := 120 * time.Millisecond; left > pause+redisTimeout { // the longest between two polls
			t.Errorf("the waiter went on for %v", left)
		}
		<-held
	})
}

// The load began when Redis was there, and has a lease.
func TestALoadUnderWayDoesNotWaitForARedisThatIsDown(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, w := inWeather(r, func(ctx context.Context, id int) (product, error) {
			if id == 1 {
				return rows.load(ctx, id)
			}
			return rows.table.load(ctx, id)
		})
		slow := getting(c, 1)
		<-rows.read
		w.hang()
		down(t, c)
		synctest.Wait()
		w.sentSince()
		equal(t, "the time from the end of the load to that of the call", took(func() {
			rows.go_ <- struct{}{}
			price(t, "what it gets", slow, 100)
		}), 0)
		for _, s := range w.sentSince() {
			equal(t, "what was sent", s.verb, "exists")
		}
	})
}

// Else everybody waits for a lease that nobody works under, as long as it lives.
func TestAFillThatFailsGivesTheLeaseBack(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, w := inWeather(r, rows.load)
		w.refuse(outOfMemory, "fill")
		for range 3 {
			equal(t, "the time of a read", took(func() { mustGet(t, c, 1) }), 0)
		}
		equal(t, "the number of loads", rows.loads.Load(), 3)
	})
}

func TestLoadsStayCollapsedWhileRedisIsDown(t *testing.T) {
	for name, turn := range map[string]func(*tap){
		"hangs":   func(w *tap) { w.hang() },
		"refuses": func(w *tap) { w.refuse(errDown) },
	} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				c, w := inWeather(r, slowly(rows.load))
				turn(w)
				for batch := range 4 { // which share their commands, and three of those must fail before Redis is down
					equal(t, "Down", c.Stats().Down, batch == 3 || batch > 0 && name == "refuses")
					before := rows.loads.Load()
					var reads []<-chan result
					for range 1000 {
						reads = append(reads, getting(c, 1))
					}
					for _, read := range reads {
						price(t, "the price", read, 100)
					}
					if n := rows.loads.Load() - before; n > 2 {
						t.Errorf("1,000 calls made %d loads", n)
					}
				}
			})
		})
	}
}

func TestLoadsStayBoundedWhileRedisIsDown(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var loading, most atomic.Int64
		c, w := inWeather(r, func(_ context.Context, id int) (product, error) {
			most.Store(max(most.Load(), loading.Add(1)))
			defer loading.Add(-1)
			time.Sleep(time.Second)
			return product{ID: id}, nil
		}, aside.WithMaxLoads(4))
		w.hang()
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() { equal(t, "the product", mustGet(t, c, i).ID, i) })
		}
		equal(t, "the time of 40 calls", took(wg.Wait), 10*time.Second+redisTimeout)
		equal(t, "the number of loads side by side", most.Load(), 4)
		for i := range 4 {
			getting(c, i)
		}
		synctest.Wait() // all places are taken
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := c.Get(ctx, 5); !errors.Is(err, aside.ErrOverloaded) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a place, Get returned %v", err)
		}
	})
}

func TestCloseDoesNotWaitForARedisThatHangs(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, w := inWeather(r, func(ctx context.Context, id int) (product, error) {
			if id == 1 {
				return rows.load(ctx, id)
			}
			return rows.table.load(ctx, id)
		})
		ctx, leave := context.WithCancel(t.Context())
		go c.Get(ctx, 1)
		<-rows.read
		leave()
		w.hang()
		down(t, c)
		time.Sleep(10*time.Second - redisTimeout/2) // amid the probes, and the load ends by its timeout
		if d := took(func() { c.Close() }); d > redisTimeout {
			t.Errorf("Close took %v", d)
		}
		rows.go_ <- struct{}{}
		equal(t, "a second Close", c.Close(), nil)
	})
}
