package aside_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidecache/aside"
)

// A fickle key cannot be rendered if it is 13.
type fickle int

func (k fickle) MarshalText() ([]byte, error) {
	if k == 13 {
		return nil, errors.New("13 has no text")
	}
	return fmt.Appendf(nil, "%d", int(k)), nil
}

// A reckless is a service in which everything goes wrong, and the reads and the calls of the loader as they are counted outside
// of the library.
type reckless struct {
	timeout time.Duration // WithLoadTimeout
	reads   atomic.Int64
	loads   atomic.Int64
}

// load returns, fails, panics, ends its goroutine, or hangs and ignores its ctx.
func (s *reckless) load(_ context.Context, key fickle) (product, error) {
	s.loads.Add(1)
	return s.row(key)
}

func (s *reckless) row(key fickle) (product, error) {
	switch rand.IntN(12) {
	case 0:
		return product{}, errors.New("no")
	case 1:
		panic("boom")
	case 2:
		runtime.Goexit()
	case 3:
		time.Sleep(3 * s.timeout)
	case 4, 5:
		time.Sleep(s.timeout / 4)
	case 6:
		return product{}, aside.ErrNotFound
	}
	return product{ID: int(key)}, nil
}

func (s *reckless) loadMany(_ context.Context, keys []fickle) (map[fickle]product, error) {
	s.loads.Add(1)
	rows := make(map[fickle]product)
	for _, key := range keys {
		switch p, err := s.row(key); {
		case err == nil:
			rows[key] = p
		case !errors.Is(err, aside.ErrNotFound):
			return rows, err
		}
	}
	return rows, nil
}

// options have what is given to them fail as well, now and then.
func (s *reckless) options() []aside.Option {
	return []aside.Option{
		aside.WithLoadTimeout(s.timeout), aside.WithMaxLoads(4), aside.WithLogger(slog.New(slog.DiscardHandler)),
		aside.WithTTL(s.timeout), aside.WithStale(s.timeout), aside.WithAbsentTTL(s.timeout), aside.WithEarlyRefresh(10),
		aside.WithTTLFunc(func(fickle, product) time.Duration {
			switch rand.IntN(10) {
			case 0:
				panic("no TTL")
			case 1:
				return 0
			}
			return aside.DefaultTTL
		}),
		aside.WithTags(func(key fickle, _ product) []string {
			switch rand.IntN(10) {
			case 0:
				runtime.Goexit()
			case 1:
				return []string{"odd"}
			}
			return nil
		}),
		aside.WithCodec(recklessCodec{}),
	}
}

type recklessCodec struct{ stdCodec }

func (c recklessCodec) Marshal(v any) ([]byte, error) {
	switch rand.IntN(15) {
	case 0:
		panic("no encoding")
	case 1:
		return nil, errors.New("no encoding")
	}
	return c.stdCodec.Marshal(v)
}

func (c recklessCodec) Unmarshal(data []byte, v any) error {
	if rand.IntN(15) == 0 {
		return errors.New("damaged")
	}
	return c.stdCodec.Unmarshal(data, v)
}

// someKey is one of few, so that they are hit, and seldom the one that cannot be rendered.
func someKey() fickle {
	if rand.IntN(10) == 0 {
		return 13
	}
	return fickle(rand.IntN(5))
}

// call does one thing with c, with a ctx that may end early or have ended.
func (s *reckless) call(ctx context.Context, c *aside.Cache[fickle, product]) {
	switch rand.IntN(8) {
	case 0:
		ctx = context.Background() // whose callers wait on their own goroutine
	case 1:
		ended, cancel := context.WithCancel(ctx)
		cancel()
		ctx = ended
	case 2, 3:
		short, cancel := context.WithTimeout(ctx, s.timeout/3)
		defer cancel()
		ctx = short
	}
	switch rand.IntN(40) {
	case 0:
		_ = c.Invalidate(ctx, someKey(), someKey())
	case 1:
		_ = c.InvalidateTags(ctx, "odd", "even")
	case 2:
		_ = c.InvalidateAll(ctx)
	case 3, 4, 5:
		_ = aside.InTx(ctx, func(ctx context.Context) error {
			key := someKey()
			if key == 0 {
				_ = c.Invalidate(ctx, 99) // which is held from now on
				panic("rolled back")
			}
			_ = c.Invalidate(ctx, key)
			s.read(ctx, c)
			return nil
		})
	case 6, 7, 8, 9:
		s.read(aside.Bypass(ctx), c)
	default:
		s.read(ctx, c)
	}
}

func (s *reckless) read(ctx context.Context, c *aside.Cache[fickle, product]) {
	if rand.IntN(2) == 0 {
		s.reads.Add(1)
		_, _ = c.Get(ctx, someKey())
		return
	}
	var keys []fickle
	distinct := map[fickle]bool{}
	for range rand.IntN(6) {
		key := someKey()
		keys, distinct[key] = append(keys, key), true
	}
	s.reads.Add(int64(len(distinct)))
	_, _ = c.GetMany(ctx, keys)
}

// Whatever happens, each event is counted and told once, in one way. Reads and calls of the loader are counted outside as well.
func TestStatsAndObserverAgreeWhateverHappens(t *testing.T) {
	near := []aside.Option{aside.WithNear(3, time.Second), aside.WithVerify(1000)}
	for name, opts := range map[string]func(*reckless) []aside.Option{
		"one by one":        func(*reckless) []aside.Option { return nil },
		"in batches":        func(s *reckless) []aside.Option { return []aside.Option{aside.WithBatch(s.loadMany)} },
		"near and verified": func(*reckless) []aside.Option { return near },
	} {
		t.Run(name, func(t *testing.T) {
			onMiniredis := func(t *testing.T, test func(*testing.T, *rig)) { onMiniredis(t, test) }
			onRedis := func(t *testing.T, test func(*testing.T, *rig)) { test(t, realRig(t)) }
			for on, run := range map[string]func(*testing.T, func(*testing.T, *rig)){"miniredis": onMiniredis, "redis": onRedis} {
				t.Run(on, func(t *testing.T) {
					run(t, func(t *testing.T, r *rig) {
						agree(t, r, opts, name == "near and verified")
					})
				})
			}
		})
	}
}

func agree(t *testing.T, r *rig, further func(*reckless) []aside.Option, near bool) {
	s := &reckless{timeout: 40 * time.Millisecond}
	first, second := new(tally), new(tally)
	opts := append(s.options(), aside.WithObserver(first.observer()), aside.WithObserver(second.observer()))
	c, tap := steady(r, s.load, append(opts, further(s)...)...)
	work := func(calls int) {
		var workers sync.WaitGroup
		for range 8 {
			workers.Go(func() {
				for range calls {
					apart := make(chan struct{}) // a panic or a Goexit reaches the caller, who has a goroutine for it
					go func() {
						defer close(apart)
						defer func() { _ = recover() }()
						s.call(t.Context(), c)
					}()
					<-apart
				}
			})
		}
		workers.Wait()
	}
	work(100)
	for turn := 1; ; turn++ {
		for _, verb := range []string{"fill", "invalidate"} {
			tap.answer(verb, redisError("OOM command not allowed"))
			work(30)
			tap.answer(verb, nil)
			work(30)
		}
		unseen := neverSeen(c.Stats(), near)
		if len(unseen) == 0 {
			break
		}
		if turn == 50 {
			t.Fatalf("after %d reads there was none of %v, so nothing is shown of them", s.reads.Load(), unseen)
		}
	}
	_ = c.Close() // after which reads go to the loader
	work(20)
	r.until(func() bool { return c.Stats().Loading == 0 })
	time.Sleep(4 * s.timeout) // the loads that were left behind return, and nobody tells of them

	got := c.Stats()
	equal(t, "Loading", got.Loading, 0)
	equal(t, "the reads that Stats has", got.Hits+got.StaleHits+got.AbsentHits+got.NearHits+got.Misses, uint64(s.reads.Load()))
	equal(t, "Loads", got.Loads, uint64(s.loads.Load()))
	for _, y := range []*tally{first, second} {
		y.mu.Lock()
		equal(t, "what the Observer has counted", fmt.Sprintf("%+v", y.Stats), fmt.Sprintf("%+v", told(got)))
		equal(t, "the reads that it was told of", y.reads, int(s.reads.Load()))
		y.mu.Unlock()
	}
}

// neverSeen names what has not happened once, and of what a comparison of counts would show nothing.
func neverSeen(got aside.Stats, near bool) (unseen []string) {
	seen := map[string]bool{
		"hits": got.Hits > 0, "stale hits": got.StaleHits > 0, "absent hits": got.AbsentHits > 0, "refreshes": got.Refreshes > 0,
		"load errors": got.LoadErrors > 0, "fills": got.Fills > 0, "fill errors": got.FillErrors > 0,
		"invalidation errors": got.InvalidationErrors > 0,
	}
	if near {
		seen["near hits"], seen["verified reads"] = got.NearHits > 0, got.Verified != (aside.Verified{})
	}
	for what, ok := range seen {
		if !ok {
			unseen = append(unseen, what)
		}
	}
	return unseen
}

// A read that does not come to Redis is a miss: else a service with Bypass has two hit ratios.
func TestAReadThatDoesNotUseTheCacheIsAMissForStatsAndObserver(t *testing.T) {
	type cache = *aside.Cache[fickle, product]
	under := map[string]func(context.Context, cache) context.Context{
		"Bypass": func(ctx context.Context, _ cache) context.Context { return aside.Bypass(ctx) },
		"a ctx that has ended": func(ctx context.Context, _ cache) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx
		},
		"a closed Cache": func(ctx context.Context, c cache) context.Context { _ = c.Close(); return ctx },
	}
	reads := map[string]func(context.Context, cache){
		"Get":     func(ctx context.Context, c cache) { _, _ = c.Get(ctx, 1); _, _ = c.Get(ctx, 2) },
		"GetMany": func(ctx context.Context, c cache) { _, _ = c.GetMany(ctx, []fickle{1, 2, 1}) },
	}
	for what, ctxUnder := range under {
		for how, read := range reads {
			t.Run(how+" under "+what, func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					y := new(tally)
					c, _ := steady(r, func(context.Context, fickle) (product, error) { return product{}, nil },
						aside.WithObserver(y.observer()))
					read(ctxUnder(t.Context(), c), c)
					equal(t, "Misses", c.Stats().Misses, 2)
					equal(t, "the misses that the Observer was told of", y.Misses, 2)
				})
			})
		}
	}
}

// What becomes of a load is decided once: by its loader, by what is made of the value, or by the time that it may take.
func TestALoadEndsInOneWayForStatsAndObserver(t *testing.T) {
	ok := func(context.Context, int) (product, error) { return product{ID: 1}, nil }
	tests := map[string]struct {
		load aside.Loader[int, product]
		opts []aside.Option
		err  string // "" if the load succeeded
	}{
		"it succeeds":                {ok, nil, ""},
		"there is no row":            {newTable().load, nil, "sql: no rows in result set"},
		"its loader fails":           {func(context.Context, int) (product, error) { return product{}, errDown }, nil, errDown.Error()},
		"its loader panics":          {func(context.Context, int) (product, error) { panic("boom") }, nil, "aside: the loader panicked: boom"},
		"WithTTLFunc panics":         {ok, []aside.Option{aside.WithTTLFunc(func(int, product) time.Duration { panic("ttl") })}, "aside: the loader panicked: ttl"},
		"WithTags panics":            {ok, []aside.Option{aside.WithTags(func(int, product) []string { panic("tags") })}, "aside: the loader panicked: tags"},
		"the codec panics":           {ok, []aside.Option{aside.WithCodec(insteadCodec{func() { panic("codec") }})}, ""}, // a value that is not stored
		"the codec ends the load":    {ok, []aside.Option{aside.WithCodec(insteadCodec{runtime.Goexit})}, "aside: the loader called runtime.Goexit"},
		"WithTTLFunc takes too long": {ok, []aside.Option{aside.WithTTLFunc(func(int, product) time.Duration { time.Sleep(time.Hour); return 1 })}, tookTooLong},
		"its loader hangs": {func(context.Context, int) (product, error) {
			time.Sleep(time.Hour)
			return product{ID: 1}, nil
		}, nil, tookTooLong},
	}
	for name, test := range tests {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", with a batch loader ", batch), func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					var loads []aside.LoadInfo
					opts := append(test.opts, aside.WithLoadTimeout(3*time.Second), aside.WithObserver(aside.Observer{
						Load: func(_ context.Context, l aside.LoadInfo) { loads = append(loads, l) },
					}))
					want := test.err
					if batch {
						opts = append(opts, aside.WithBatch(func(ctx context.Context, keys []int) (map[int]product, error) {
							p, err := test.load(ctx, keys[0])
							return map[int]product{keys[0]: p}, err
						}))
						if name == "there is no row" {
							want = "" // to find none is no error of a batch load
						}
					}
					c, _ := steady(r, test.load, opts...)
					func() {
						defer func() { _ = recover() }()
						if batch {
							_, _ = c.GetMany(t.Context(), []int{1})
						} else {
							_, _ = c.Get(t.Context(), 1)
						}
					}()
					equal(t, "Loading", c.Stats().Loading, 0)
					time.Sleep(2 * time.Hour) // what was left behind returns
					equal(t, "Loads", c.Stats().Loads, 1)
					if len(loads) != 1 {
						t.Fatalf("the Observer was told of %+v", loads)
					}
					got := ""
					if loads[0].Err != nil {
						got = loads[0].Err.Error()
					}
					equal(t, "the error that it was told", got, want)
					var errs uint64
					if want != "" && !errors.Is(loads[0].Err, aside.ErrNotFound) {
						errs = 1
					}
					equal(t, "LoadErrors", c.Stats().LoadErrors, errs)
				})
			})
		}
	}
}

const tookTooLong = `aside: a load of cache "test" took longer than 3s: context deadline exceeded`

// An insteadCodec does something else than to encode.
type insteadCodec struct{ instead func() }

func (c insteadCodec) Marshal(any) ([]byte, error) { c.instead(); return nil, errors.New("nothing") }
func (c insteadCodec) Unmarshal([]byte, any) error { return errors.New("nothing") }
