package aside_test

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// What the ctx of a load has of the request that began it.

// A request is a ctx that a framework uses again for the next one, as those of gin and fiber.
type request struct {
	context.Context
	tenant atomic.Value
}

func (q *request) Value(key any) any {
	if key == (tenantKey{}) {
		return q.tenant.Load()
	}
	return q.Context.Value(key)
}

// next is what the framework does after the request.
func (q *request) next(tenant string) { q.tenant.Store(tenant) }

type tenantKey struct{}

func requestOf(ctx context.Context, tenant string) *request {
	q := &request{Context: ctx}
	q.tenant.Store(tenant)
	return q
}

// A tenants is a loader that notes for whom it is called, after a second.
type tenants struct {
	mu   sync.Mutex
	seen map[any]int
}

func (s *tenants) note(ctx context.Context) {
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[any]int)
	}
	s.seen[ctx.Value(tenantKey{})]++
}

func (s *tenants) load(ctx context.Context, id int) (product, error) {
	s.note(ctx)
	return product{ID: id}, nil
}

func (s *tenants) loadMany(ctx context.Context, ids []int) (map[int]product, error) {
	s.note(ctx)
	rows := make(map[int]product)
	for _, id := range ids {
		rows[id] = product{ID: id}
	}
	return rows, nil
}

// since returns for whom loads were made since the last time.
func (s *tenants) since() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := maps.Clone(s.seen)
	clear(s.seen)
	return fmt.Sprint(seen)
}

func TestARefreshKnowsNothingOfTheRequestThatBeganIt(t *testing.T) {
	type cache = *aside.Cache[int, product]
	reads := map[string]func(context.Context, cache){
		"Get":     func(ctx context.Context, c cache) { _, _ = c.Get(ctx, 1) },
		"GetMany": func(ctx context.Context, c cache) { _, _ = c.GetMany(ctx, []int{1}) },
	}
	for how, read := range reads {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprint(how, ", with a batch loader ", batch), func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					s := new(tenants)
					opts := stale
					if batch {
						opts = append(opts, aside.WithBatch(s.loadMany))
					}
					rdb := r.dial(t)
					var mu sync.Mutex
					var sent []string // the commands of a refresh, and for whom
					rdb.AddHook(through(func(ctx context.Context, cmds []redis.Cmder, send sender) error {
						if verb := aside.Verb(cmds[0]); verb == "claim" || verb == "fill" {
							mu.Lock()
							sent = append(sent, fmt.Sprint(verb, " for ", ctx.Value(tenantKey{})))
							mu.Unlock()
						}
						return send(cmds...)
					}))
					c := newCache(t, rdb, s.load, append(opts, patient)...)
					mustGet(t, c, 1)
					_, sent = s.since(), nil
					time.Sleep(2 * time.Minute)
					q := requestOf(t.Context(), "a")
					read(q, c)
					q.next("b")
					time.Sleep(5 * time.Second)
					synctest.Wait()
					equal(t, "the commands of the refresh", fmt.Sprint(sent), "[claim for <nil> fill for <nil>]")
					equal(t, "the tenants of the load", s.since(), "map[<nil>:1]")
				})
			})
		}
	}
}

// copied is what a team that needs values of the request in its loads gives to WithLoadContext.
func copied(ctx context.Context) context.Context {
	made, cancel := context.WithCancel(context.WithValue(context.Background(), tenantKey{}, ctx.Value(tenantKey{})))
	cancel() // whose end is not that of the load
	return made
}

func TestWithLoadContextMakesTheCtxOfEachLoadWhileItsCallerIsThere(t *testing.T) {
	type cache = *aside.Cache[int, product]
	reads := map[string]func(context.Context, cache) error{
		"Get":     func(ctx context.Context, c cache) error { _, err := c.Get(ctx, 1); return err },
		"GetMany": func(ctx context.Context, c cache) error { _, err := c.GetMany(ctx, []int{1}); return err },
	}
	for how, read := range reads {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprint(how, ", with a batch loader ", batch), func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					s := new(tenants)
					calls := 0 // without a lock: the race detector tells of another goroutine
					opts := append([]aside.Option{aside.WithLoadContext(func(ctx context.Context) context.Context {
						calls++
						return copied(ctx)
					})}, stale...)
					if batch {
						opts = append(opts, aside.WithBatch(s.loadMany))
					}
					c, _ := steady(r, s.load, opts...)
					for what, wait := range map[string]time.Duration{"a miss whose caller leaves": 0, "a refresh": 2 * time.Minute} {
						if wait == 0 {
							mustInvalidate(t, c, 1)
						} else {
							mustGet(t, c, 1)
							_ = s.since()
							time.Sleep(wait)
						}
						ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
						q := requestOf(ctx, "a")
						before := calls
						_ = read(q, c)
						cancel()
						q.next("b")
						time.Sleep(5 * time.Second)
						equal(t, "the tenants of "+what, s.since(), "map[a:1]")
						equal(t, "the calls of the function for "+what, calls-before, 1)
					}
					before := calls
					q := requestOf(t.Context(), "c")
					_ = read(aside.Bypass(q), c)
					mustInvalidate(t, c, 1)
					_ = aside.InTx(q, func(ctx context.Context) error { return read(ctx, c) })
					equal(t, "the tenants of loads on their caller's goroutine", s.since(), "map[c:2]")
					equal(t, "the calls of the function for them", calls-before, 0)
				})
			})
		}
	}
}

func TestWithLoadContextThatGivesNoneIsAnErrorOfTheReadAndPutsARefreshOff(t *testing.T) {
	if made(t, aside.WithLoadContext(nil)) == nil {
		t.Error("New takes WithLoadContext(nil)")
	}
	breaks := map[string]func(){"is nil": func() {}}
	maps.Copy(breaks, map[string]func(){"panics": breaking()["panics"]})
	for how, instead := range breaks {
		t.Run("it "+how, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
				broken := false
				c, _ := steady(r, rows.load, append(stale, aside.WithLoadContext(func(ctx context.Context) context.Context {
					if broken {
						instead()
						return nil
					}
					return ctx
				}))...)
				mustGet(t, c, 1)
				time.Sleep(2 * time.Minute)
				broken = true
				equal(t, "the stale price", mustGet(t, c, 1).Price, 100)
				equal(t, "the stale price", mustGetMany(t, c, 1)[1].Price, 100)
				for name, read := range map[string]func() error{
					"Get":     func() error { _, err := c.Get(t.Context(), 2); return err },
					"GetMany": func() error { _, err := c.GetMany(t.Context(), []int{2}); return err },
				} {
					func() {
						defer func() { equal(t, "whether "+name+" panics", recover() != nil, how == "panics") }()
						if err := read(); err == nil {
							t.Errorf("%s returned no error", name)
						}
					}()
				}
				equal(t, "the loads", rows.loads.Load(), 1)
				broken = false
				mustGet(t, c, 1)
				synctest.Wait()
				equal(t, "the loads, with the refresh that was put off", rows.loads.Load(), 2)
				mustGet(t, c, 2)
			})
		})
	}
}

// It cannot end a refresh that has not begun, and leaves its place and its key to the next.
func TestGoexitInWithLoadContextLeavesTheRefreshToTheNextRead(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		broken := false
		c, _ := steady(r, rows.load, append(stale, aside.WithMaxLoads(1), aside.WithLoadContext(func(ctx context.Context) context.Context {
			if broken {
				runtime.Goexit()
			}
			return ctx
		}))...)
		mustGet(t, c, 1)
		time.Sleep(2 * time.Minute)
		broken = true
		<-getting1(c)
		broken = false
		mustGet(t, c, 1)
		synctest.Wait()
		equal(t, "the loads", rows.loads.Load(), 2)
	})
}

// getting1 reads on a goroutine that may be ended.
func getting1(c *aside.Cache[int, product]) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.Get(context.Background(), 1)
	}()
	return ended
}
