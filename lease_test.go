package aside_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

func TestStampedeAcrossProcessesIsOneLoad(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		const load = 50 * time.Millisecond
		rows := newTable(product{1, "lamp", 100})
		var group sync.WaitGroup
		start := time.Now()
		for range 4 {
			c, _ := process(r, func(ctx context.Context, id int) (product, error) {
				time.Sleep(load)
				return rows.load(ctx, id)
			})
			for range 250 {
				group.Go(func() { equal(t, "the price", mustGet(t, c, 1).Price, 100) })
			}
		}
		group.Wait()
		equal(t, "the number of loads", rows.loads.Load(), 1)
		if took := time.Since(start); took > load+load/9*6/5 { // virtual time: exact, see pollPause
			t.Errorf("the last caller got its value after %v", took)
		}
	})
}

func TestOtherProcessWaitsForTheLease(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		holder, _ := process(r, rows.load)
		other, _ := process(r, rows.load)
		first := getting(holder, 1)
		<-rows.read
		second := getting(other, 1)
		r.until(func() bool { return other.Stats().Waits == 1 })
		rows.go_ <- struct{}{}
		price(t, "what the holder gets", first, 100)
		price(t, "what the other process gets", second, 100)
		equal(t, "the number of loads", rows.loads.Load(), 1)
	})
}

func TestLeaseOfADeadProcessIsTakenOverOnceItExpires(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		deadLease(r, "test:1", 200*time.Millisecond)
		var waiters []<-chan result
		for range 3 {
			c, _ := process(r, rows.load, patient)
			waiters = append(waiters, getting(c, 1))
		}
		for _, w := range waiters {
			price(t, "what a waiter gets", w, 100)
		}
		equal(t, "the number of loads", rows.loads.Load(), 1)
	})
}

func TestWaitForAForeignLeaseIsBounded(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		deadLease(r, "test:1", time.Hour)
		c, _ := process(r, rows.load, aside.WithLoadTimeout(3*time.Second))
		start := time.Now()
		equal(t, "the price", mustGet(t, c, 1).Price, 100)
		if waited := time.Since(start); waited < 3*time.Second || waited > 3200*time.Millisecond {
			t.Errorf("it waited %v", waited)
		}
		if doc := r.get("test:1"); !strings.HasPrefix(doc, `{"lease":"dead-1-2.3"`) {
			t.Errorf("the document is %s: nobody but the holder may fill", doc)
		}
	})
}

// Failures must not queue up: the waiters do not try one after the other.
func TestWaitersLoadAtOnceWhenTheLoadTheyWaitedForFailed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		const load = time.Second
		failing := errors.New("the database is down")
		start := time.Now()
		var group sync.WaitGroup
		for range 8 {
			c, _ := process(r, func(ctx context.Context, id int) (product, error) {
				time.Sleep(load)
				return product{}, failing
			})
			group.Go(func() {
				if _, err := c.Get(t.Context(), 1); err != failing {
					t.Errorf("the error is %v", err)
				}
			})
		}
		group.Wait()
		if took := time.Since(start); took > 2*load+load/4 {
			t.Errorf("the last failure came after %v, with loads of %v", took, load)
		}
	})
}

// An invalidation is no failure: the waiters go on to share the next load.
func TestWaitersShareTheNextLoadAfterAnInvalidate(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		load := func(ctx context.Context, id int) (product, error) {
			p, err := rows.load(ctx, id)
			time.Sleep(time.Second)
			return p, err
		}
		holder, _ := process(r, load)
		first := getting(holder, 1)
		synctest.Wait()
		var waiters []<-chan result
		var caches []*aside.Cache[int, product]
		for range 8 {
			c, _ := process(r, load)
			caches, waiters = append(caches, c), append(waiters, getting(c, 1))
		}
		time.Sleep(500 * time.Millisecond)
		rows.setPrice(1, 90)
		mustInvalidate(t, holder, 1)
		price(t, "what the holder gets, who began before", first, 100)
		for _, w := range waiters {
			price(t, "what a waiter gets", w, 90)
		}
		equal(t, "the number of loads", rows.loads.Load(), 2)
		for _, c := range caches {
			equal(t, "Waits, though all but one waited for two leases", c.Stats().Waits, 1)
		}
	})
}

func TestLeaseIsRenewedWhileTheLoadRuns(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		load := func(ctx context.Context, id int) (product, error) {
			time.Sleep(9 * time.Second)
			return rows.load(ctx, id)
		}
		a, tap := process(r, load)
		b, _ := process(r, load)
		first, second := getting(a, 1), getting(b, 1)
		price(t, "what the first gets", first, 100)
		price(t, "what the second gets", second, 100)
		equal(t, "the number of loads", rows.loads.Load(), 1)
		renewals := tap.sent("renew")
		time.Sleep(time.Hour)
		equal(t, "the number of renewals after the load", tap.sent("renew"), renewals)
	})
}

func TestLeaseIsGivenBackWhenThereIsNothingToStore(t *testing.T) {
	tests := map[string]struct {
		load aside.Loader[int, *product]
		opts []aside.Option
	}{
		"the loader failed":         {load: func(context.Context, int) (*product, error) { return &product{}, errors.New("no") }},
		"absence is not remembered": {load: func(context.Context, int) (*product, error) { return nil, nil }, opts: []aside.Option{aside.WithAbsentTTL(0)}},
		"the TTL is negative": {
			load: func(context.Context, int) (*product, error) { return &product{}, nil },
			opts: []aside.Option{aside.WithTTLFunc(func(int, *product) time.Duration { return -1 })},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, r *rig) {
				c, tap := process(r, test.load, test.opts...)
				_, _ = c.Get(t.Context(), 1)
				equal(t, "the document that is left", r.get("test:1"), "")
				verbs, _ := tap.count()
				equal(t, "the commands", fmt.Sprint(verbs), "[get lease release]")
			})
		})
	}
}

// A lease that Redis gives to somebody who no longer waits for it would keep all others waiting as long as it lives.
func TestLeaseThatComesTooLateIsGivenBack(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load)
		reply := tap.after("lease")
		mustGet(t, c, 1) // gives up on Redis, and loads
		reply.wait()
		reply.release()
		synctest.Wait()
		equal(t, "the number of leases", tap.sent("lease"), 1)
		equal(t, "the document that is left", r.get("test:1"), "")
	})
}

// A renewal that comes late finds the value that was filled, whose life is its own.
func TestDelayedRenewalLeavesTheTTLOfAValue(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, func(ctx context.Context, id int) (product, error) {
			time.Sleep(3 * time.Second)
			return rows.load(ctx, id)
		}, aside.WithTTL(time.Hour))
		mustGet(t, c, 1)
		if _, err := tap.again(r, "renew"); err != nil {
			t.Fatal(err)
		}
		if ttl := r.raw.PTTL(t.Context(), "test:1").Val(); ttl < 50*time.Minute {
			t.Errorf("the value lives for %v", ttl)
		}
	})
}

// A release that comes late finds what came after its lease: a value, or the hold of a transaction that has yet to commit.
func TestDelayedReleaseLeavesWhatCameLater(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load)
		again := func() {
			if _, err := tap.again(r, "release"); err != nil {
				t.Fatal(err)
			}
		}
		rows.fail(errDown)
		_, _ = c.Get(t.Context(), 1)
		rows.fail(nil)
		mustGet(t, c, 1)
		again()
		equal(t, "whether the value is there", strings.Contains(r.get("test:1"), `"value"`), true)
		inTx(t, func(ctx context.Context) error {
			err := c.Invalidate(ctx, 1)
			again()
			equal(t, "whether it is held", r.held("test:1"), true)
			return err
		})
	})
}

// Every lease command is executed twice, as by a client that loses the first reply.
func TestLeaseWhoseReplyWasLostIsKnownAgain(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		rdb.AddHook(through(func(_ context.Context, cmds []redis.Cmder, send sender) error {
			if aside.Verb(cmds[0]) == "lease" {
				_ = send(cmds...)
			}
			return send(cmds...)
		}))
		c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load)
		start := time.Now()
		mustGet(t, c, 1)
		equal(t, "the time that it waited for itself", time.Since(start), 0)
		equal(t, "whether it filled", strings.Contains(r.get("test:1"), "value"), true)
	})
}

// Out of memory, a lease cannot be marked as waited for, but it is respected all the same.
func TestLeaseIsRespectedWhenRedisIsOutOfMemory(t *testing.T) {
	r := freshRig(t)
	rows := newSlowTable(product{1, "lamp", 100})
	holder, _ := steady(r, rows.load)
	waiter, _ := steady(r, rows.table.load)
	held := getting(holder, 1)
	<-rows.read
	if err := r.raw.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	waits := getting(waiter, 1)
	r.until(func() bool { return waiter.Stats().Waits == 1 || waiter.Stats().Loads > 0 })
	equal(t, "the loads of who waits", waiter.Stats().Loads, 0)
	if err := r.raw.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	rows.flow()
	price(t, "what the holder gets", held, 100)
	price(t, "what the waiter gets", waits, 100)
	equal(t, "the loads of who waits", waiter.Stats().Loads, 0)
}

// Marking a lease as waited for must not make it last.
func TestLeaseThatIsWaitedForExpires(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		deadLease(r, "test:1", time.Minute)
		c, _ := process(r, newTable(product{1, "lamp", 100}).load)
		done := getting(c, 1)
		r.until(func() bool { return strings.Contains(r.get("test:1"), "waited") })
		if ttl := r.raw.PTTL(t.Context(), "test:1").Val(); ttl <= 0 {
			t.Errorf("the TTL of the lease is %v", ttl)
		}
		price(t, "what the waiter gets", done, 100)
	})
}

func TestLeaseExpiresSoonAfterItsProcessHasDied(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c := newCache(t, r.dial(t), rows.load, aside.WithRedisTimeout(500*time.Millisecond)) // the longest for such a lease
		const gone = time.Duration(-2)
		ttl := gone
		r.until(func() bool { // a busy machine loses such a lease now and then
			r.del("test:1")
			slow := getting(c, 1)
			<-rows.read
			ttl = r.raw.PTTL(t.Context(), "test:1").Val()
			rows.go_ <- struct{}{}
			<-slow
			return ttl != gone
		})
		if ttl <= 0 || ttl > 2*time.Second {
			t.Errorf("the lease expires after %v", ttl)
		}
	})
}

func (r *rig) lease(doc string, life time.Duration) {
	r.t.Helper()
	if err := r.raw.Set(context.Background(), "test:1", doc, life).Err(); err != nil {
		r.t.Fatal(err)
	}
}
