package aside_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/engine"
)

// An observed is an Observer that writes down what it is told, one line each.
type observed struct {
	mu    sync.Mutex
	lines []string
	marks int // of which the ctx had the caller's mark
}

func (o *observed) note(ctx context.Context, format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, fmt.Sprintf(format, args...))
	if ctx.Value(markKey{}) != nil {
		o.marks++
	}
}

func (o *observed) observer() aside.Observer {
	return aside.Observer{
		Read: func(ctx context.Context, r aside.ReadInfo) {
			o.note(ctx, "%s read %s: %s, %v", r.Cache, r.Name, r.Outcome, r.Err)
		},
		Load: func(ctx context.Context, l aside.LoadInfo) {
			o.note(ctx, "%s loaded %d in %v, refresh %v, %v", l.Cache, l.Keys, l.Took, l.Refresh, l.Err)
		},
		Fill: func(ctx context.Context, f aside.FillInfo) {
			o.note(ctx, "%s filled %s: absent %v, refused %v, %v", f.Cache, f.Name, f.Absent, f.Refused, f.Err)
		},
		Invalidate: func(ctx context.Context, i aside.InvalidateInfo) {
			o.note(ctx, "%s invalidated %v in %v: %v", i.Cache, i.Names, i.Took, i.Err)
		},
		RedisError: func(ctx context.Context, r aside.RedisErrorInfo) { o.note(ctx, "%s had %v", r.Cache, r.Err) },
	}
}

// told checks what the observer was told since the last time.
func (o *observed) told(t *testing.T, after string, want ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if got := strings.Join(o.lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("after %s the observer was told:\n%s\nand not:\n%s", after, got, strings.Join(want, "\n"))
	}
	o.lines = nil
}

func TestObserverIsToldEachThingOnce(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2)
		o := new(observed)
		opts := append(stale, aside.WithObserver(o.observer()), aside.WithBatch(slowly(rows.loadMany)))
		c, tap := steady(r, func(ctx context.Context, id int) (product, error) {
			time.Sleep(time.Second)
			return rows.table.load(ctx, id)
		}, opts...)
		ctx := context.WithValue(t.Context(), markKey{}, true)
		get := func(id int) { _, _ = c.Get(ctx, id); synctest.Wait() }
		noRow9 := `aside: not found: cache "test" has no row for "test:9"`

		get(1)
		o.told(t, "a miss", "test loaded 1 in 1s, refresh false, <nil>",
			"test filled test:1: absent false, refused false, <nil>", "test read test:1: miss, <nil>")
		get(1)
		o.told(t, "a hit", "test read test:1: hit, <nil>")
		get(9)
		o.told(t, "an absent row", "test loaded 1 in 1s, refresh false, sql: no rows in result set",
			"test filled test:9: absent true, refused false, <nil>", "test read test:9: miss, sql: no rows in result set")
		get(9)
		o.told(t, "an absent hit", "test read test:9: absent hit, "+noRow9)
		_, _ = c.GetMany(ctx, []int{1, 9, 2})
		o.told(t, "GetMany", "test loaded 1 in 1s, refresh false, <nil>", "test filled test:2: absent false, refused false, <nil>",
			"test read test:1: hit, <nil>", "test read test:9: absent hit, "+noRow9, "test read test:2: miss, <nil>")
		if err := c.Invalidate(ctx, 2, 9); err != nil {
			t.Error(err)
		}
		o.told(t, "Invalidate", "test invalidated [test:2 test:9] in 0s: <nil>")
		time.Sleep(2 * time.Minute)
		get(1)
		o.told(t, "a stale hit", "test read test:1: stale hit, <nil>")
		time.Sleep(time.Second)
		synctest.Wait()
		o.told(t, "its refresh", "test loaded 1 in 1s, refresh true, <nil>", "test filled test:1: absent false, refused false, <nil>")
		marks := o.marks
		equal(t, "the number of calls with the caller's ctx or its values, which a refresh has not", marks, 15)

		tap.answer("fill", errDown)
		get(2)
		o.told(t, "a fill that failed", "test loaded 1 in 1s, refresh false, <nil>", "test had connection refused",
			"test filled test:2: absent false, refused false, connection refused", "test read test:2: miss, <nil>")
		tap.answer("fill", nil)
		tap.answer("invalidate", errDown)
		_ = c.Invalidate(ctx, 1)
		o.told(t, "an Invalidate that failed", "test had connection refused",
			`test invalidated [test:1] in 0s: aside: 1 of 1 keys not invalidated, the first is "test:1": connection refused`)
	})
}

func TestObserverIsToldOfARefusedFill(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		var fills []aside.FillInfo // of one flight, which has ended when they are read
		c, _ := steady(r, rows.load, aside.WithObserver(aside.Observer{
			Fill: func(_ context.Context, f aside.FillInfo) { fills = append(fills, f) },
		}))
		done := getting(c, 1)
		<-rows.read
		mustInvalidate(t, c, 1)
		rows.go_ <- struct{}{}
		<-done
		if len(fills) != 1 || !fills[0].Refused || fills[0].Err != nil || fills[0].Name != "test:1" {
			t.Errorf("the observer was told of %+v", fills)
		}
	})
}

func TestFillTellsTheSizeOfTheValue(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		var bytes int
		c, _ := steady(r, newTable(product{1, "lamp", 100}).load, aside.WithObserver(aside.Observer{
			Fill: func(_ context.Context, f aside.FillInfo) { bytes = f.Bytes },
		}))
		mustGet(t, c, 1)
		equal(t, "the bytes that the observer was told of", bytes, len(`{"ID":1,"Name":"lamp","Price":100}`))
	})
}

// A load that does not return is a load too: a metric of load errors that leaves out the panics is worse than none.
func TestObserverIsToldOfALoadThatDoesNotReturn(t *testing.T) {
	for name, load := range map[string]aside.Loader[int, product]{
		"panic":  func(context.Context, int) (product, error) { panic("boom") },
		"Goexit": func(context.Context, int) (product, error) { runtime.Goexit(); return product{}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				var loads []aside.LoadInfo
				var reads int
				c, _ := steady(r, load, aside.WithObserver(aside.Observer{
					Load: func(_ context.Context, l aside.LoadInfo) { loads = append(loads, l) },
					Read: func(context.Context, aside.ReadInfo) { reads++ },
				}))
				_ = raisedIn(c)
				if len(loads) != 1 || loads[0].Err == nil || !loads[0].Panicked {
					t.Errorf("the observer was told of the loads %+v", loads)
				}
				equal(t, "the reads that it was told of", reads, 1)
				equal(t, "LoadErrors", c.Stats().LoadErrors, 1)
			})
		})
	}
}

// Who leaves early has read as well, whether one key or many, and so has who bypasses the cache.
func TestObserverIsToldOfEveryReadHoweverItEnds(t *testing.T) {
	tests := map[string]struct {
		ctx  func(context.Context) context.Context
		want string
	}{
		"ctx ends while it loads": {func(ctx context.Context) context.Context {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			t.Cleanup(cancel)
			return ctx
		}, "[miss context deadline exceeded]"},
		"ctx has ended before": {func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx
		}, "[miss context canceled]"},
		"Bypass": {aside.Bypass, "[miss <nil>]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				reads := map[string]func(*aside.Cache[int, product], context.Context){
					"Get":     func(c *aside.Cache[int, product], ctx context.Context) { _, _ = c.Get(ctx, 1) },
					"GetMany": func(c *aside.Cache[int, product], ctx context.Context) { _, _ = c.GetMany(ctx, []int{1}) },
				}
				for how, read := range reads {
					var told []string
					c, _ := steady(r, func(context.Context, int) (product, error) {
						time.Sleep(2 * time.Second)
						return product{ID: 1}, nil
					}, aside.WithObserver(aside.Observer{Read: func(_ context.Context, r aside.ReadInfo) {
						told = append(told, fmt.Sprint(string(r.Outcome), " ", r.Err))
					}}))
					read(c, test.ctx(t.Context()))
					equal(t, "what "+how+" told", fmt.Sprint(told), test.want)
					time.Sleep(time.Minute)
					mustInvalidate(t, c, 1)
				}
			})
		})
	}
}

// The name is known as soon as Redis is to be asked. Inside InTx, 1 is a hit, and told before.
func TestObserverIsToldOfEachReadThatPanics(t *testing.T) {
	type cache = *aside.Cache[int, product]
	tests := map[string]struct {
		read func(ctx context.Context, c cache)
		want string
	}{
		"Get":                  {func(ctx context.Context, c cache) { _, _ = c.Get(ctx, 2) }, "[test:2]"},
		"Get under Bypass":     {func(ctx context.Context, c cache) { _, _ = c.Get(aside.Bypass(ctx), 2) }, "[]"},
		"GetMany":              {func(ctx context.Context, c cache) { _, _ = c.GetMany(ctx, []int{1, 2, 3}) }, "[test:1 test:2 test:3]"},
		"GetMany under Bypass": {func(ctx context.Context, c cache) { _, _ = c.GetMany(aside.Bypass(ctx), []int{2, 3}) }, "[test:2 test:3]"},
		"GetMany inside InTx": {func(ctx context.Context, c cache) {
			_ = aside.InTx(ctx, func(ctx context.Context) error { _, err := c.GetMany(ctx, []int{1, 2, 3}); return err })
		}, "[test:1 test:2 test:3]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				var told []string
				warm, _ := steady(r, newTable(product{1, "lamp", 100}).load)
				mustGet(t, warm, 1)
				c, _ := steady(r, func(context.Context, int) (product, error) { panic("boom") },
					aside.WithObserver(aside.Observer{Read: func(_ context.Context, r aside.ReadInfo) {
						if told = append(told, r.Name); (r.Err == nil) != (r.Outcome == aside.Hit) {
							t.Errorf("the observer was told of a %s with the error %v", r.Outcome, r.Err)
						}
					}}))
				func() {
					defer func() { equal(t, "what it panics with", recover(), any("boom")) }()
					test.read(t.Context(), c)
				}()
				equal(t, "the names that were told", fmt.Sprint(told), test.want)
			})
		})
	}
}

func TestStatsCountEachThingOnce(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, tap := steady(r, func(ctx context.Context, id int) (product, error) {
			time.Sleep(time.Second)
			return rows.load(ctx, id)
		}, stale...)
		want := aside.Stats{}
		check := func(after string) {
			t.Helper()
			synctest.Wait()
			equal(t, "Stats after "+after, fmt.Sprintf("%+v", c.Stats()), fmt.Sprintf("%+v", want))
		}
		check("nothing")
		first, second := getting(c, 1), getting(c, 1)
		want.Misses, want.Loads, want.Loading = 2, 1, 1
		check("a miss under way")
		<-first
		<-second
		want.Loading, want.Joins, want.Fills = 0, 1, 1
		check("a miss and its joiner")
		mustGet(t, c, 1)
		want.Hits = 1
		check("a hit")
		_, _ = c.Get(t.Context(), 9)
		want.Misses, want.Loads, want.Fills = 3, 2, 2
		check("a miss of an absent row")
		_, _ = c.Get(t.Context(), 9)
		want.AbsentHits = 1
		check("an absent hit")
		mustInvalidate(t, c, 9, 2)
		want.Invalidations = 2
		check("an Invalidate of two keys")
		time.Sleep(2 * time.Minute)
		mustGet(t, c, 1)
		want.StaleHits, want.Refreshes, want.Loads, want.Loading = 1, 1, 3, 1
		check("a stale hit")
		time.Sleep(time.Second)
		want.Loading, want.Fills = 0, 3
		check("its refresh")
		failing := getting(c, 2)
		synctest.Wait()
		rows.fail(errors.New("no"))
		<-failing
		want.Misses, want.Loads, want.LoadErrors = 4, 4, 1
		check("a load that failed")
		rows.fail(nil)
		refused := getting(c, 2)
		synctest.Wait()
		r.del("test:2")
		<-refused
		want.Misses, want.Loads, want.Refused = 5, 5, 1
		check("a fill that was refused")
		r.put("test:2", "?")
		mustGet(t, c, 2)
		want.Misses, want.Loads, want.Fills, want.Unusable = 6, 6, 4, 1
		check("a document that could not be used")
		deadLease(r, "test:3", 100*time.Millisecond)
		_, _ = c.Get(t.Context(), 3)
		want.Misses, want.Loads, want.Fills, want.Waits = 7, 7, 5, 1
		check("a lease of another process")
		tap.answer("invalidate", errDown)
		_ = c.Invalidate(t.Context(), 1)
		want.Invalidations, want.InvalidationErrors, want.RedisErrors, want.PendingInvalidations = 3, 1, 1, 1
		check("an Invalidate that failed")
	})
}

// The lease expires, and another process is faster.
func TestAMissThatWaitsForTwoLeasesIsOneOfWaits(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		deadLease(r, "test:1", time.Second)
		c, tap := steady(r, rows.load)
		other, _ := steady(r, slowly(rows.load))
		waiter := getting(c, 1)
		synctest.Wait()
		lease := tap.before("lease")
		lease.wait() // the first one has expired
		holder := getting(other, 1)
		synctest.Wait()
		lease.release()
		price(t, "what the waiter gets", waiter, 100)
		price(t, "what the holder gets", holder, 100)
		equal(t, "the number of loads", rows.loads.Load(), 1)
		equal(t, "Misses", c.Stats().Misses, 1)
		equal(t, "Waits", c.Stats().Waits, 1)
	})
}

func TestADocumentThatComesWhileItIsWaitedForMayBeUnusable(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		old, _ := steady(r, rows.load)
		c, _ := steady(r, rows.table.load, aside.WithVersion(1))
		holder := getting(old, 1)
		<-rows.read
		waiter := getting(c, 1)
		r.until(func() bool { return c.Stats().Waits == 1 })
		rows.flow()
		price(t, "what the holder gets", holder, 100)
		price(t, "what the waiter gets", waiter, 100)
		equal(t, "Unusable", c.Stats().Unusable, 1)
	})
}

func TestALoadThatTimesOutIsOneError(t *testing.T) {
	late := func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(time.Millisecond)
		return ctx.Err()
	}
	load := func(ctx context.Context, _ int) (int, error) { return 0, late(ctx) }
	batch := aside.WithBatch(func(ctx context.Context, _ []int) (map[int]int, error) { return nil, late(ctx) })
	for name, opts := range map[string][]aside.Option{"one": nil, "a batch": {batch}} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				c, _ := process(r, load, append(opts, aside.WithLoadTimeout(time.Second))...)
				if _, err := c.GetMany(t.Context(), []int{1}); err == nil {
					t.Error("GetMany returned nil")
				}
				time.Sleep(time.Second)
				equal(t, "Loads", c.Stats().Loads, 1)
				equal(t, "LoadErrors", c.Stats().LoadErrors, 1)
			})
		})
	}
}

func TestAPanicOnTheCallersGoroutineIsALoadError(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, func(context.Context, int) (int, error) { panic("one") },
			aside.WithBatch(func(context.Context, []int) (map[int]int, error) { panic("many") }))
		panics := func(read func(ctx context.Context)) {
			defer func() {
				if recover() == nil {
					t.Error("it did not panic")
				}
			}()
			read(aside.Bypass(t.Context()))
		}
		panics(func(ctx context.Context) { _, _ = c.Get(ctx, 1) })
		equal(t, "LoadErrors", c.Stats().LoadErrors, 1)
		panics(func(ctx context.Context) { _, _ = c.GetMany(ctx, []int{1}) })
		equal(t, "LoadErrors", c.Stats().LoadErrors, 2)
	})
}

func TestObserverIsToldOfEachReadWhatItsCallerGot(t *testing.T) {
	type cache = *aside.Cache[int, product]
	modes := map[string]func(ctx context.Context, c cache, get func(context.Context) error) error{
		"as ever": func(ctx context.Context, _ cache, get func(context.Context) error) error { return get(ctx) },
		"under Bypass": func(ctx context.Context, _ cache, get func(context.Context) error) error {
			return get(aside.Bypass(ctx))
		},
		"inside InTx": func(ctx context.Context, _ cache, get func(context.Context) error) error { return aside.InTx(ctx, get) },
		"once closed": func(ctx context.Context, c cache, get func(context.Context) error) error {
			return errors.Join(c.Close(), get(ctx))
		},
	}
	for mode, run := range modes {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprint(mode, ", with a batch loader: ", batch), func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					var told []string
					rows := newTable(product{1, "lamp", 100})
					opts := []aside.Option{aside.WithObserver(aside.Observer{Read: func(_ context.Context, r aside.ReadInfo) {
						told = append(told, fmt.Sprint(r.Name, ", absent: ", errors.Is(r.Err, aside.ErrNotFound)))
					}})}
					if batch {
						opts = append(opts, aside.WithBatch(rows.loadMany))
					}
					c, _ := process(r, rows.load, opts...)
					equal(t, "the error", run(t.Context(), c, func(ctx context.Context) error {
						_, err := c.GetMany(ctx, []int{1, 2})
						return err
					}), nil)
					if want := []string{"test:1, absent: false", "test:2, absent: true"}; !slices.Equal(told, want) {
						t.Errorf("it was told of %q, want %q", told, want)
					}
				})
			})
		}
	}
}

type loadKey struct{}

// What LoadStart puts into the ctx is there for the loader, and for the funcs that are told of the load. Each Observer has its turn.
func TestLoadStartMakesTheCtxOfTheLoad(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var seen []string
		see := func(what string, ctx context.Context) {
			seen = append(seen, fmt.Sprint(what, " ", ctx.Value(loadKey{})))
		}
		add := func(text string) aside.Observer {
			return aside.Observer{
				LoadStart: func(ctx context.Context) context.Context {
					before, _ := ctx.Value(loadKey{}).(string)
					of, ok := aside.LoadOf(ctx)
					see(fmt.Sprintf("%s before %s %d %v %v", text, of.Cache, of.Keys, of.Refresh, ok), ctx)
					return context.WithValue(ctx, loadKey{}, before+text)
				},
				Load: func(ctx context.Context, l aside.LoadInfo) { see(text+" load", ctx) },
				Fill: func(ctx context.Context, _ aside.FillInfo) { see(text+" fill", ctx) },
			}
		}
		rows := newTable(product{1, "lamp", 100})
		c, _ := steady(r, func(ctx context.Context, id int) (product, error) {
			see("loader", ctx)
			return rows.load(ctx, id)
		}, aside.WithObserver(add("a")), aside.WithObserver(aside.Observer{}), aside.WithObserver(add("b")))
		mustGet(t, c, 1)
		want := "[a before test 1 false true <nil> b before test 1 false true a loader ab a load ab b load ab"
		if got := fmt.Sprint(seen); !strings.HasPrefix(got, want) {
			t.Errorf("seen was %v\nand not %v", got, want)
		}
		seen = nil
		_, _ = c.Get(aside.Bypass(t.Context()), 1)
		if got := fmt.Sprint(seen); got != want+"]" {
			t.Errorf("under Bypass, seen was %v\nand not %v", got, want)
		}
		seen = nil
		mustGet(t, c, 1)
		equal(t, "what a hit has to do with loads", len(seen), 0)
		if _, ok := aside.LoadOf(t.Context()); ok {
			t.Error("there is a load outside of any")
		}
	})
}

func TestALoadStartThatFailsChangesNothing(t *testing.T) {
	for name, start := range map[string]func(context.Context) context.Context{
		"panic": func(context.Context) context.Context { panic("boom") },
		"nil":   func(context.Context) context.Context { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				c, _ := steady(r, newTable(product{1, "lamp", 100}).load, aside.WithObserver(aside.Observer{LoadStart: start}))
				equal(t, "the price", mustGet(t, c, 1).Price, 100)
				equal(t, "the fills", c.Stats().Fills, 1)
			})
		})
	}
}

func TestAMissThatJoinsIsToldOfTheLoadAndOfItsTime(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var reads []aside.ReadInfo
		rows := newTable(product{1, "lamp", 100})
		c, _ := steady(r, func(ctx context.Context, id int) (product, error) {
			time.Sleep(time.Second)
			return rows.load(ctx, id)
		}, aside.WithObserver(aside.Observer{
			LoadStart: func(ctx context.Context) context.Context { return context.WithValue(ctx, loadKey{}, "it") },
			Read: func(_ context.Context, i aside.ReadInfo) {
				mu.Lock()
				defer mu.Unlock()
				reads = append(reads, i)
			},
		}))
		owner := getting(c, 1)
		synctest.Wait()
		time.Sleep(200 * time.Millisecond)
		joiner := getting(c, 1)
		<-owner
		<-joiner
		mustGet(t, c, 1)
		synctest.Wait()
		joined := 0
		for _, i := range reads {
			want := time.Second
			switch {
			case i.Outcome == aside.Hit:
				want = 0
			case i.Joined != nil:
				joined++
				want = 800 * time.Millisecond
				equal(t, "what the ctx of the load has", i.Joined.Value(loadKey{}), any("it"))
			}
			equal(t, "the time of a "+string(i.Outcome), i.Took, want)
		}
		equal(t, "the reads", len(reads), 3)
		equal(t, "the joiners among them", joined, 1)
	})
}

func TestAMissThatJoinsALoadThatPanicsIsToldOfThatLoad(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var joined atomic.Int64
		c, _ := steady(r, func(context.Context, int) (product, error) {
			time.Sleep(time.Second)
			panic("boom")
		}, aside.WithObserver(aside.Observer{Read: func(_ context.Context, i aside.ReadInfo) {
			if i.Joined != nil {
				joined.Add(1)
			}
		}}))
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() {
				defer func() { equal(t, "what Get panics with", recover(), any("boom")) }()
				_, _ = c.Get(t.Context(), 1)
			})
			synctest.Wait()
		}
		callers.Wait()
		equal(t, "the joins that the Observer was told of", joined.Load(), 2)
		equal(t, "Joins", c.Stats().Joins, 2)
	})
}

// The engine has types of its own. Some are copied field by field, so the compiler does not say which was forgotten.
func TestEachFieldThatTheEngineTellsIsHandedOver(t *testing.T) {
	for round := range 2 {
		stats := engine.Stats{}
		fillIn(reflect.ValueOf(&stats).Elem(), round)
		sameFields(t, aside.StatsOf(stats), stats)
		read, verify, told := engine.ReadInfo{}, engine.VerifyInfo{}, 0
		fillIn(reflect.ValueOf(&read).Elem(), round)
		fillIn(reflect.ValueOf(&verify).Elem(), round)
		listener := aside.ListenerOf(aside.Observer{
			Read:   func(_ context.Context, r aside.ReadInfo) { told++; sameFields(t, r, read) },
			Verify: func(_ context.Context, v aside.VerifyInfo) { told++; sameFields(t, v, verify) },
		})
		listener.Read(t.Context(), read)
		listener.Verify(t.Context(), verify)
		equal(t, "what the Observer was told of", told, 2)
	}
}

// fillIn gives each field a value of its own. Of two bools side by side one is true: in another round the other.
func fillIn(v reflect.Value, n int) {
	for i := range v.NumField() {
		n++
		switch f := v.Field(i); {
		case f.Kind() == reflect.Struct:
			fillIn(f, 1000*n)
		case f.Kind() == reflect.Bool:
			f.SetBool(n%2 == 0)
		case f.Kind() == reflect.String:
			f.SetString(fmt.Sprint("text ", n))
		case f.CanInt():
			f.SetInt(int64(n))
		case f.CanUint():
			f.SetUint(uint64(n))
		case f.Type() == reflect.TypeFor[error]():
			f.Set(reflect.ValueOf(fmt.Errorf("error %d", n)))
		case f.Type() == reflect.TypeFor[context.Context]():
			f.Set(reflect.ValueOf(context.WithValue(context.Background(), markKey{}, n)))
		default:
			panic("a field of type " + f.Type().String())
		}
	}
}

// sameFields compares fields by their names.
func sameFields(t *testing.T, got, want any) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	equal(t, fmt.Sprintf("the number of fields of %T", got), g.NumField(), w.NumField())
	for i := range w.NumField() {
		name := w.Type().Field(i).Name
		f := g.FieldByName(name)
		if !f.IsValid() {
			t.Errorf("%T has no %s", got, name)
			continue
		}
		equal(t, fmt.Sprintf("%s of %T", name, got), f.Convert(w.Field(i).Type()).Interface(), w.Field(i).Interface())
	}
}
