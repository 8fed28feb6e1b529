package aside_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

// Eight are eight reads that are under way, as many as there may be commands, and those that come after them.
type eight struct {
	*tap
	t     *testing.T
	cache *aside.Cache[int, product]
	held  []*gate // of the eight
	reads []<-chan result
}

// eightReads has rows cached, and holds up the reads of the first eight.
func eightReads(t *testing.T, r *rig, rows int) *eight {
	table := newTable()
	for id := range rows {
		table.rows[id] = product{id, "lamp", id}
	}
	c, tap := process(r, table.load, patient)
	for id := range rows {
		mustGet(t, c, id)
	}
	tap.reset()
	e := &eight{tap: tap, t: t, cache: c}
	for range 8 {
		e.held = append(e.held, tap.before("get"))
		e.next()
	}
	return e
}

// next reads the next row, as far as that goes.
func (e *eight) next() {
	e.reads = append(e.reads, getting(e.cache, len(e.reads)))
	synctest.Wait()
}

// end checks what the reads get.
func (e *eight) end() {
	e.t.Helper()
	for id, read := range e.reads {
		price(e.t, fmt.Sprint("the price of ", id), read, id)
	}
}

func TestReadsThatRunSideBySideShareRoundTrips(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		e := eightReads(t, r, 24)
		for range 16 {
			e.next()
		}
		release(e.held...)
		e.end()
		verbs, trips := e.count()
		equal(t, "the commands", fmt.Sprint(verbs), "[get get get get get get get get mget]")
		equal(t, "the round trips", trips, 9)
	})
}

func TestNoMoreThanEightCommandsAreUnderWayAndTheFirstToLandLetsTheNextFly(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		e := eightReads(t, r, 12)
		e.next()
		e.next()
		verbs, _ := e.count()
		equal(t, "the commands under way", fmt.Sprint(verbs), fmt.Sprint(slices.Repeat([]string{"get"}, 8)))
		release(e.held[5])
		price(t, "what one of those gets who gathered", e.reads[9], 9)
		equal(t, "the commands for those who gathered", e.sent("mget"), 1)
		e.reads = e.reads[:9]
		release(slices.Concat(e.held[:5], e.held[6:])...)
		e.end()
	})
}

// On one processor they all are ready to run when the first of them has begun to read. The race detector has the scheduler
// run others first now and then, so they get several tries to share one command.
func TestReadsThatAreAboutToBeginShareACommand(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for what, underWay := range map[string]struct{ from, to int }{
		"beside two that went by themselves": {0, 2},
		"beside a round":                     {2, 3},
	} {
		t.Run(what, func(t *testing.T) {
			for range 20 {
				switch sent := commandsOfFourReads(t, underWay.from, underWay.to); {
				case sent == 1:
					return
				case sent >= 4:
					t.Errorf("%d commands were sent for 4 reads", sent)
				}
			}
			t.Error("no four reads shared a command")
		})
	}
}

// commandsOfFourReads counts the commands of four reads that begin beside some of the eight.
func commandsOfFourReads(t *testing.T, from, to int) (sent int) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		e := eightReads(t, r, 12)
		release(e.held[:from]...)
		release(e.held[to:]...)
		synctest.Wait()
		before := len(e.reads)
		for range 4 {
			e.reads = append(e.reads, getting(e.cache, len(e.reads)))
		}
		synctest.Wait()
		verbs, _ := e.count()
		sent = len(verbs) - before
		release(e.held[from:to]...)
		e.end()
	})
	return sent
}

func TestWhoAsksAgainWaitsForThatNameAndHoldsUpNobodyElse(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		e := eightReads(t, r, 12)
		release(e.held[2:]...)
		again := getting(e.cache, 0)
		synctest.Wait()
		e.next()
		price(t, "what another row costs", e.reads[8], 8)
		e.reads = e.reads[:8]
		equal(t, "the GETs", e.sent("get"), 9)
		release(e.held[:2]...)
		price(t, "what the one who asked again gets", again, 0)
		equal(t, "the GETs after that", e.sent("get"), 10)
		e.end()
	})
}

func TestReadsOfOneHotKeyShareOneGet(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable(product{1, "lamp", 100}).load, patient)
		mustGet(t, c, 1)
		tap.reset()
		first := tap.before("get")
		reads := []<-chan result{getting(c, 1)}
		first.wait()
		for range 1000 {
			reads = append(reads, getting(c, 1))
		}
		synctest.Wait()
		first.release()
		for _, read := range reads {
			price(t, "the price", read, 100)
		}
		equal(t, "the GETs", tap.sent("get"), 2)
	})
}

// The reply that is on its way says what was there when Redis gave it, before an Invalidate that the late caller knows of.
func TestCallerIsNotServedByALookThatWasSentBeforeItCame(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		reader, tap := process(r, rows.load, patient)
		writer, _ := process(r, rows.load)
		mustGet(t, reader, 1)
		reply := tap.after("get")
		early := getting(reader, 1)
		reply.wait()
		rows.setPrice(1, 90)
		mustInvalidate(t, writer, 1)
		late := getting(reader, 1)
		if r.virtual {
			synctest.Wait()
		}
		reply.release()
		price(t, "what the early caller gets", early, 100)
		price(t, "what the caller after Invalidate gets", late, 90)
	})
}

func TestCallersOfOneRoundOwnTheirValuesUnlessTheyShareThem(t *testing.T) {
	for _, opts := range [][]aside.Option{nil, {aside.WithShared()}} {
		onMiniredis(t, func(t *testing.T, r *rig) {
			c, tap := process(r, func(context.Context, int) ([]int, error) { return []int{1, 2}, nil }, append(opts, patient)...)
			mustGet(t, c, 1)
			first := tap.before("get")
			read := func() <-chan []int {
				done := make(chan []int, 1)
				go func() { done <- mustGet(t, c, 1) }()
				return done
			}
			alone := read()
			first.wait()
			a, b := read(), read()
			synctest.Wait()
			first.release()
			<-alone
			va, vb := <-a, <-b
			equal(t, "the values", fmt.Sprint(va, vb), "[1 2] [1 2]")
			va[0] = 7
			equal(t, "whether the one sees what the other does", vb[0] == 7, opts != nil)
		})
	}
}

func TestCommandOfManyCallersThatIsNotAnsweredIsOneFailure(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable(product{1, "lamp", 100}).load)
		mustGet(t, c, 1)
		first := tap.before("get")
		early := getting(c, 1)
		first.wait()
		second := tap.before("get")
		var late []<-chan result
		for range 5 {
			late = append(late, getting(c, 1))
		}
		synctest.Wait()
		first.release()
		<-early
		second.wait()
		for _, read := range late {
			price(t, "what the loader says", read, 100)
		}
		equal(t, "Down", c.Stats().Down, false)
		second.release()
	})
}

// Who joins a round late has waited less than its first caller, and has time left for a lease and a fill.
func TestLateCallerOfARoundIsChargedForHisOwnWait(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable(product{1, "lamp", 100}).load)
		mustGet(t, c, 1)
		reply := tap.after("get")
		early := getting(c, 1)
		reply.wait()
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := c.Get(ctx, 1)
			left <- err
		}()
		time.Sleep(redisTimeout - 60*time.Millisecond)
		late := getting(c, 1)
		synctest.Wait()
		cancel()
		<-left
		r.raw.Del(t.Context(), "test:1")
		second, lease := tap.before("get"), tap.before("lease")
		reply.release()
		price(t, "what the early caller gets", early, 100)
		second.wait()
		time.Sleep(50 * time.Millisecond)
		second.release()
		lease.wait()
		time.Sleep(50 * time.Millisecond)
		lease.release()
		price(t, "what the late caller gets", late, 100)
		equal(t, "Fills", c.Stats().Fills, 2)
	})
}

// A bounded client is asked on the caller's goroutine, and left by its own deadline.
func TestBoundedClientIsLeftWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := newTable(product{1, "lamp", 100})
		server := asidetest.Redis(t)
		c := newCache(t, server.Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true }), rows.load)
		mustGet(t, c, 1)
		equal(t, "the price", mustGet(t, c, 1).Price, 100)
		equal(t, "the hits", c.Stats().Hits, 1)
		server.Hang()
		for range 3 {
			equal(t, "the time of a read", took(func() { mustGet(t, c, 1) }), redisTimeout)
		}
		equal(t, "Down", c.Stats().Down, true)
		equal(t, "the time of a read when Redis is known to be down", took(func() { mustGet(t, c, 1) }), 0)
		server.Up()
		time.Sleep(5 * time.Second)
		hits := c.Stats().Hits
		mustGet(t, c, 1)
		mustGet(t, c, 1)
		equal(t, "whether there are hits again", c.Stats().Hits > hits, true)
	})
}

// A client without hooks is asked by a copy of it, which would not have them: it is used only as long as there are none.
func TestAHookThatIsAddedLaterTakesPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := asidetest.Redis(t)
		rdb := server.Client()
		c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load)
		mustGet(t, c, 1)
		mustGet(t, c, 1)
		tap := new(tap)
		rdb.AddHook(through(tap.send))
		mustGet(t, c, 1)
		mustInvalidate(t, c, 1)
		verbs, _ := tap.count()
		equal(t, "the commands that the hook saw", fmt.Sprint(verbs), "[get invalidate]")
	})
}

// Nothing bounds what a hook does, so nobody waits for one longer than for Redis.
func TestAHookThatHangsDoesNotHangACall(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable(product{1, "lamp", 100}).load)
		mustGet(t, c, 1)
		hook := tap.before("get")
		defer hook.release()
		equal(t, "the time of a read", took(func() { mustGet(t, c, 1) }), redisTimeout)
	})
}

func TestAFunctionOfTheClientsOptionsThatHangsDoesNotHangACall(t *testing.T) {
	hang := make(chan struct{})
	for name, modify := range map[string]func(*redis.Options){
		"OnConnect": func(o *redis.Options) {
			o.OnConnect = func(context.Context, *redis.Conn) error { <-hang; return errDown }
		},
		"CredentialsProvider": func(o *redis.Options) {
			o.CredentialsProvider = func() (string, string) { <-hang; return "", "" }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang = make(chan struct{})
				c := newCache(t, asidetest.Redis(t).Client(modify), newTable(product{1, "lamp", 100}).load)
				equal(t, "the time of a read", took(func() { mustGet(t, c, 1) }), redisTimeout)
				close(hang)
				time.Sleep(time.Minute) // for what was left behind
			})
		})
	}
}

func TestACallOfAPlainClientIsLeftWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := asidetest.Redis(t)
		c := newCache(t, server.Client(), newTable(product{1, "lamp", 100}).load)
		mustGet(t, c, 1)
		time.Sleep(time.Second)
		server.Hang()
		equal(t, "the time of a read", took(func() { mustGet(t, c, 1) }), redisTimeout)
		equal(t, "the time of an Invalidate that fails", took(func() { _ = c.Invalidate(t.Context(), 1) }), redisTimeout)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		equal(t, "the time of a read in a hurry", took(func() { _, _ = c.Get(ctx, 2) }), 10*time.Millisecond)
		server.Up()
		time.Sleep(5 * time.Second)
	})
}

// Else hot names, of which the next read is always due, would keep all others from Redis.
func TestWhoAsksAgainDoesNotOvertakeThoseWhoHaveWaitedLonger(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		e := eightReads(t, r, 12)
		e.next()
		e.next()
		time.Sleep(time.Millisecond)
		again := getting(e.cache, 0)
		synctest.Wait()
		next := e.before("get")
		release(e.held[0])
		equal(t, "the time until those who have waited longer have an answer", took(func() { <-e.reads[9] }), 0)
		e.reads = e.reads[:9]
		release(append(e.held[1:], next)...)
		price(t, "what the one who asked again gets", again, 0)
		e.end()
	})
}

// The race detector sees it if it does.
func TestACallerThatLeavesABatchTouchesNothingThatOthersJoin(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		e := eightReads(t, r, 8)
		var leaving, staying sync.WaitGroup
		for i := range 100 {
			ctx, leave := context.WithCancel(t.Context())
			leaving.Go(func() { _, _ = e.cache.Get(ctx, i%50+8) })
			staying.Go(func() { _, _ = e.cache.Get(t.Context(), i+8) })
			leaving.Go(func() { runtime.Gosched(); leave() })
		}
		leaving.Wait()
		release(e.held...)
		staying.Wait()
		e.end()
	})
}

func TestWhoLeadsARoundInAHurryLeavesOnTime(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that somebody joins it
	synctest.Test(t, func(t *testing.T) {
		server := asidetest.Redis(t)
		c := newCache(t, server.Client(), newTable(product{1, "lamp", 100}, product{2, "desk", 200}, product{3, "sofa", 300}).load)
		mustGet(t, c, 1)
		mustGet(t, c, 2)
		server.Hang()
		patient := []<-chan result{getting(c, 1), getting(c, 2)} // which go by themselves
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		patient = append(patient, getting(c, 3))
		left := make(chan time.Duration, 1)
		go func() { left <- took(func() { _, _ = c.Get(ctx, 3) }) }() // it runs first, being the last that was started
		equal(t, "the time of a read in a hurry", <-left, 10*time.Millisecond)
		price(t, "the one price", patient[0], 100)
		price(t, "what he gets who had joined", patient[2], 300)
		price(t, "the other", patient[1], 200)
	})
}

func TestCallersInAHurryLeaveABoundedClientOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := asidetest.Redis(t)
		rows := newTable(product{1, "lamp", 100})
		c := newCache(t, server.Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true }), rows.load)
		mustGet(t, c, 1)
		server.Hang()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			equal(t, "the time of a read", took(func() { _, _ = c.Get(ctx, 1) }), 10*time.Millisecond)
			cancel()
			time.Sleep(time.Second)
		}
		equal(t, "Down", c.Stats().Down, true)
		server.Up()
	})
}

// Calls share their deadlines. When the first one fills, it has little time left, and the second one has just begun.
func TestCallGetsNoDeadlineOfOneThatHasMoreTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb := asidetest.Redis(t).Client(func(o *redis.Options) { o.ContextTimeoutEnabled = true })
		rdb.AddHook(through(func(ctx context.Context, cmds []redis.Cmder, send sender) error {
			switch aside.Verb(cmds[0]) {
			case "get":
				time.Sleep(200 * time.Millisecond)
			case "fill": // has no answer before the end of its ctx
				<-ctx.Done()
				return ctx.Err()
			}
			return send(cmds...)
		}))
		c := newCache(t, rdb, slowly(newTable(product{1, "lamp", 100}, product{2, "desk", 200}).load))
		first := make(chan time.Duration)
		go func() { first <- took(func() { mustGet(t, c, 1) }) }()
		time.Sleep(1100 * time.Millisecond)
		second := getting(c, 2)
		equal(t, "the time of the first call", <-first, time.Second+redisTimeout)
		price(t, "what the second call gets", second, 200)
	})
}
