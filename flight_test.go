package aside_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

func TestConcurrentMissesOfOneProcessShareOneLoad(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		first := getting(c, 1)
		<-rows.read
		var joiners []<-chan result
		for range 50 {
			joiners = append(joiners, getting(c, 1))
		}
		r.untilMisses(c, 51)
		rows.flow()
		price(t, "what the owner gets", first, 100)
		for _, j := range joiners {
			price(t, "what a joiner gets", j, 100)
		}
		equal(t, "the number of loads", rows.loads.Load(), 1)
	})
}

func TestCallerWhoLeavesGetsItsCtxErrorAndTheLoadGoesOn(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		ctx, cancel := context.WithCancel(t.Context())
		owner := make(chan error)
		go func() {
			_, err := c.Get(ctx, 1)
			owner <- err
		}()
		<-rows.read
		joiner := getting(c, 1)
		r.untilMisses(c, 2)
		cancel()
		if err := <-owner; !errors.Is(err, context.Canceled) {
			t.Errorf("the owner who left got %v", err)
		}
		rows.flow()
		price(t, "what the joiner gets", joiner, 100)
		mustGet(t, c, 1)
		equal(t, "the number of loads", rows.loads.Load(), 1)
	})
}

func TestLoadWhoseCallersAllLeftFillsTheCache(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := c.Get(ctx, 1)
			left <- err
		}()
		<-rows.read
		cancel()
		<-left
		rows.go_ <- struct{}{}
		r.until(func() bool { return c.Stats().Fills == 1 })
		mustGet(t, c, 1)
		equal(t, "the number of loads", rows.loads.Load(), 1)
	})
}

func TestLoaderGetsTheValuesButNotTheEndOfTheCallersCtx(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		type traceKey struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), traceKey{}, "trace"))
		c, _ := process(r, func(load context.Context, id int) (int, error) {
			cancel()
			equal(t, "the value in the loader's ctx", load.Value(traceKey{}), any("trace"))
			if _, bounded := load.Deadline(); !bounded {
				t.Error("the loader's ctx has no deadline")
			}
			return 0, load.Err()
		})
		_, _ = c.Get(ctx, 1)
		c.Close()
		equal(t, "LoadErrors", c.Stats().LoadErrors, 0)
	})
}

func TestLoaderPanicReachesItsCallersAndGivesTheLeaseBack(t *testing.T) {
	for _, up := range []bool{true, false} {
		t.Run(fmt.Sprintf("with Redis %v", up), func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				start := make(chan struct{})
				c, tap := process(r, func(ctx context.Context, id int) (product, error) {
					<-start
					panic(http.ErrAbortHandler)
				})
				if !up {
					tap.down()
				}
				var group sync.WaitGroup
				for range 3 {
					group.Go(func() {
						equal(t, "what Get panics with", raisedIn(c), any(http.ErrAbortHandler))
					})
				}
				synctest.Wait()
				close(start)
				group.Wait()
				equal(t, "the document that is left", r.get("test:1"), "")
			})
		})
	}
}

func TestLoaderGoexitIsAnErrorOfItsCallers(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, func(ctx context.Context, id int) (product, error) {
			runtime.Goexit()
			return product{}, nil
		})
		for range 2 {
			if _, err := c.Get(t.Context(), 1); err == nil {
				t.Error("Get returned no error")
			}
		}
		equal(t, "the document that is left", r.get("test:1"), "")
	})
}

func TestLoaderErrorReachesEveryJoinerUntouched(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable()
		cause := errors.New("connection reset")
		rows.fail(cause)
		c, _ := process(r, rows.load)
		first := getting(c, 1)
		<-rows.read
		second := getting(c, 1)
		r.untilMisses(c, 2)
		rows.flow()
		for _, done := range []<-chan result{first, second} {
			if got := <-done; got.err != cause {
				t.Errorf("the error is %v", got.err)
			}
		}
		if !r.virtual { // where the second may come too late to join, and is told of the failure by the lease, for a second
			r.until(func() bool { return r.get("test:1") == "" })
		}
		equal(t, "the document that is left", r.get("test:1"), "")
	})
}

func TestCallersDoNotShareMemory(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		start := make(chan struct{})
		c, _ := process(r, func(ctx context.Context, id int) (map[string][]int, error) {
			<-start
			return map[string][]int{"sizes": {1, 2, 3}}, nil
		})
		var group sync.WaitGroup
		for range 10 { // under the race detector
			group.Go(func() {
				v := mustGet(t, c, 1)
				equal(t, "the first size", v["sizes"][0], 1)
				v["sizes"][0]++
				delete(v, "sizes")
			})
		}
		synctest.Wait()
		close(start)
		group.Wait()
		equal(t, "the first size in the cache", mustGet(t, c, 1)["sizes"][0], 1)
	})
}

// Also if it could have a copy of the loader's, which points to nothing.
func TestJoinerGetsWhatTheCodecMadeOfTheValue(t *testing.T) {
	type user struct {
		Name   string
		Secret string `json:"-"`
	}
	for _, opts := range [][]aside.Option{nil, {aside.WithShared()}} {
		onMiniredis(t, func(t *testing.T, r *rig) {
			start := make(chan struct{})
			c, _ := process(r, func(context.Context, int) (user, error) { <-start; return user{"a", "b"}, nil }, opts...)
			got := make(chan user, 2)
			for range 2 {
				go func() { got <- mustGet(t, c, 1) }()
				synctest.Wait()
			}
			close(start)
			owner, joiner := <-got, <-got
			if owner.Secret == "" {
				owner, joiner = joiner, owner
			}
			equal(t, "what the owner gets", owner, user{"a", "b"})
			equal(t, "what the joiner gets", joiner, user{"a", ""})
			equal(t, "Joins", c.Stats().Joins, 1)
		})
	}
}

// A value that has no encoding can be handed to one caller only.
func TestJoinersOfAValueThatCannotBeEncodedLoadTheirOwn(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		start := make(chan struct{})
		loads := newTable(product{1, "lamp", 100})
		c, _ := process(r, func(ctx context.Context, id int) (*product, error) {
			<-start
			p, err := loads.load(ctx, id)
			return &p, err
		}, aside.WithCodec(brokenCodec{}))
		got := make(chan *product, 3)
		for range 3 {
			go func() { got <- mustGet(t, c, 1) }()
		}
		synctest.Wait()
		close(start)
		a, b, d := <-got, <-got, <-got
		if a == b || b == d || a == d {
			t.Error("two callers got the same pointer")
		}
		equal(t, "the number of loads", loads.loads.Load(), 3)
		equal(t, "Joins", c.Stats().Joins, 0)
		time.Sleep(time.Second) // a lease may be left that tells one of them of the other's return, but not for longer
		equal(t, "the document that is left", r.get("test:1"), "")
	})
}

// A load under a hold fills nothing, so nothing can decide it for a caller that comes later.
func TestNobodyWaitsForALoadThatCannotServe(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, _ := steady(r, rows.load)
		writer, _ := steady(r, rows.table.load)
		var early <-chan result
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			equal(t, "Invalidate", writer.Invalidate(ctx, 1), nil)
			early = getting(c, 1)
			<-rows.read // under the hold
			return nil
		})
		late := getting(c, 1)
		<-rows.read // beside it, under a lease
		joiner := getting(c, 1)
		r.untilMisses(c, 3)
		rows.go_ <- struct{}{} // either of them
		rows.go_ <- struct{}{}
		price(t, "who came first", early, 100)
		price(t, "who came after the hold", late, 100)
		price(t, "who joins the second", joiner, 100)
		equal(t, "Joins", c.Stats().Joins, 1)
		equal(t, "Fills", c.Stats().Fills, 1)
	})
}

// They look together, and Redis hangs; the load of the first to know begins before the others know, but after they came.
func TestCallersThatLookTogetherShareTheLoadThatNothingWillDecide(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, w := inWeather(r, slowly(rows.load))
		w.hang()
		var reads []<-chan result
		for range 100 {
			reads = append(reads, getting(c, 1))
		}
		for _, read := range reads {
			price(t, "the price", read, 100)
		}
		equal(t, "the number of loads", rows.loads.Load(), 1)
	})
}

// Nothing can decide the load, which runs without Redis. But it began after the caller had come, whose look took longer to fail.
func TestACallerJoinsALoadWithoutRedisThatBeganAfterItCame(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, w := inWeather(r, rows.load)
		w.hang()
		early := getting(c, 1)
		synctest.Wait() // its look is under way
		w.refuse(errDown)
		late := getting(c, 1)
		<-rows.read // its load
		r.untilMisses(c, 2)
		rows.flow()
		price(t, "who came first", early, 100)
		price(t, "whose load it is", late, 100)
		equal(t, "the number of loads", rows.loads.Load(), 1)
	})
}

// The load under way began too early and ends in vain for the last caller, which waits for the other process's load meanwhile.
func TestACallerWaitsForTwoLoadsAtMost(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		const load = 9 * time.Second
		slow := func(ctx context.Context, id int) (product, error) {
			time.Sleep(load)
			return product{}, errDown
		}
		c, _ := process(r, func(ctx context.Context, id int) (product, error) {
			time.Sleep(load)
			return product{ID: id, Price: 100}, nil
		})
		other, _ := process(r, slow)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			equal(t, "Invalidate", other.Invalidate(ctx, 1), nil)
			getting(c, 1)
			synctest.Wait()
			return nil
		})
		failing := getting(other, 1)
		synctest.Wait()
		late := took(func() { price(t, "what who came last gets", getting(c, 1), 100) })
		if late > 2*load+time.Second/2 {
			t.Errorf("it took %v, with loads of %v", late, load)
		}
		if r := <-failing; r.err != errDown {
			t.Errorf("the other process got %v", r.err)
		}
	})
}

// A load that began after a caller came serves it, whatever becomes of the fill: here it was refused.
func TestALoadThatBeginsAfterAWaitServesWhoJoinedTheWait(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, _ := steady(r, rows.load)
		deadLease(r, "test:1", time.Minute)
		first := getting(c, 1)
		r.until(func() bool { return c.Stats().Waits == 1 })
		joiner := getting(c, 1)
		r.untilMisses(c, 2)
		r.del("test:1")
		<-rows.read
		r.del("test:1")
		rows.go_ <- struct{}{}
		price(t, "what the first gets", first, 100)
		price(t, "what the joiner gets", joiner, 100)
		s := c.Stats()
		equal(t, "Refused, Joins, Loads", fmt.Sprint(s.Refused, s.Joins, s.Loads), "1 1 1")
	})
}
