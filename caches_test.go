package aside_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

// TenCaches have one client and one logger, as in a service.
func tenCaches(t *testing.T, rdb redis.UniversalClient, opts ...aside.Option) (all aside.Caches, log *lines) {
	t.Helper()
	log = new(lines)
	opts = append(opts, log.option())
	for i := range 10 {
		all = append(all, open(t, rdb, fmt.Sprint("cache", i), newTable(product{1, "lamp", 100}).load, opts...))
	}
	return all, log
}

// A page reads ten caches, one after the other.
func TestTenCachesOfOneClientFindOnceThatRedisHangs(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb, w := r.dial(t), &tap{over: make(chan struct{})}
		rdb.AddHook(through(w.send))
		t.Cleanup(func() {
			close(w.over)
			time.Sleep(time.Minute) // for what was abandoned
		})
		var told sync.Map
		all, log := tenCaches(t, rdb, aside.WithObserver(aside.Observer{Down: func(d aside.DownInfo) { told.Store(d.Cache, d.Err != nil) }}))
		shortest := open(t, rdb, "impatient", newTable(product{1, "lamp", 100}).load, aside.WithRedisTimeout(10*time.Millisecond))
		page := func() {
			for _, c := range all {
				mustGet(t, c.(*aside.Cache[int, product]), 1)
			}
		}
		w.hang()
		equal(t, "the time of an impatient one", took(func() { mustGet(t, shortest, 1); mustGet(t, shortest, 1); mustGet(t, shortest, 1) }), 30*time.Millisecond)
		equal(t, "whether it is down for that", shortest.Stats().Down, true)
		equal(t, "whether it is down for those with more patience", all[0].Stats().Down, false)
		equal(t, "the time of three pages", took(func() { page(); page(); page() }), 750*time.Millisecond)
		equal(t, "the time of the next", took(page), 0)
		w.become(nil)
		time.Sleep(5 * time.Second)
		for i, c := range all {
			down, _ := told.Load(c.Name())
			equal(t, fmt.Sprint("what the Observer of ", i, " was told at last"), down, any(false))
			equal(t, "Down", c.Stats().Down, false)
		}
		equal(t, "the lines of the log", strings.Count(log.String(), "level=WARN"), 1)
		if text := log.String(); !strings.Contains(text, "redis=127.0.0.1:1") || !strings.Contains(text, "cache0 cache1") {
			t.Errorf("the log says %s", text)
		}
	})
}

func TestCachesAreInvalidatedByOneScan(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb, tap := r.tapped()
		all, _ := tenCaches(t, rdb)
		elsewhere := open(t, r.dial(t), "elsewhere", newTable(product{1, "lamp", 100}).load)
		similar := open(t, r.dial(t), "cache11:x", newTable(product{1, "lamp", 100}).load)
		for _, c := range append(aside.Caches{elsewhere, similar}, all...) {
			mustGet(t, c.(*aside.Cache[int, product]), 1)
		}
		tap.reset()
		equal(t, "the error", append(aside.Caches{elsewhere}, all...).InvalidateAll(t.Context()), nil)
		equal(t, "the scans of the ten", tap.sent("scan"), 2)
		equal(t, "the entries that are left", fmt.Sprint(keysWith(r, "*")), "[cache11:x:1]")
		equal(t, "Invalidations of the ninth", all[9].Stats().Invalidations, uint64(1))
		equal(t, "Invalidations of the other client's", elsewhere.Stats().Invalidations, uint64(1))
	})
}

func TestCachesTellOfEachByItsName(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		all, _ := tenCaches(t, r.dial(t))
		mustGet(t, all[3].(*aside.Cache[int, product]), 1)
		stats := all.Stats()
		equal(t, "the number of them", len(stats), 10)
		equal(t, "Loads of the third", stats["cache3"].Loads, uint64(1))
		equal(t, "its name", all[3].Name(), "cache3")
	})
}

func TestShutdownWaitsNoLongerThanItsCtx(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		g := make(chan struct{})
		c, _ := process(r, func(ctx context.Context, id int) (product, error) {
			<-g
			return product{id, "lamp", 100}, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		go c.Get(ctx, 1)
		synctest.Wait()
		cancel()
		synctest.Wait()
		short, cancelShort := context.WithTimeout(t.Context(), time.Second)
		defer cancelShort()
		begun := time.Now()
		err := aside.Caches{c}.Shutdown(short)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "test") {
			t.Errorf("Shutdown returned %v", err)
		}
		equal(t, "the time that it took", time.Since(begun), time.Second)
		close(g)
		equal(t, "what it returns once the load is over", c.Shutdown(t.Context()), nil)
	})
}

func TestShutdownSaysWhyItsCtxEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := errors.New("the last second of the process")
		server := asidetest.Redis(t)
		c := newCache(t, server.Client(), anyRow, nearby)
		mustGet(t, c, 1)
		mustGet(t, c, 1) // from here on there is a reader of news, which says that it leaves
		synctest.Wait()
		server.Hang()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(last)
		if err := c.Shutdown(ctx); !errors.Is(err, last) || !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown returned %v", err)
		}
		server.Up()
	})
}

// They share what is pending, and only one of them sends it: the others must wait for that.
func TestCachesThatAreShutDownTogetherConfirmWhatIsPending(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rdb, tap := r.tapped()
		rows := newTable(product{1, "lamp", 100})
		var all aside.Caches
		var changes []aside.Change
		for i := range 4 {
			c := open(t, rdb, fmt.Sprint("cache", i), rows.load, aside.WithLogger(silent))
			mustGet(t, c, 1)
			all, changes = append(all, c), append(changes, c.Keys(1))
		}
		for _, verb := range []string{"invalidate", "hold"} {
			tap.answer(verb, errors.New("LOADING it"))
		}
		if err := aside.Invalidate(t.Context(), changes...); err == nil {
			t.Fatal("no error")
		}
		for _, verb := range []string{"invalidate", "hold"} {
			tap.answer(verb, nil)
		}
		equal(t, "the error", all.Shutdown(t.Context()), nil)
		for i := range 4 {
			equal(t, "what is cached", r.get(fmt.Sprintf("cache%d:1", i)), "")
		}
	})
}

func TestMustPanicsWithTheErrorOfNew(t *testing.T) {
	equal(t, "what Must returns", aside.Must(1, nil), 1)
	defer func() { equal(t, "the panic", recover(), any(errDown)) }()
	aside.Must(1, errDown)
}

type search struct {
	Categories []int64
	Limits     map[string]int
	Max        *int
	Since      time.Time
	Every      time.Duration
	Page       int `json:"page,omitempty"`
}

func TestFiltersThatSelectTheSameAreOneKey(t *testing.T) {
	zero, one, alsoOne := 0, 1, 1
	berlin := time.FixedZone("CEST", 2*3600)
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, same := range [][2]search{
		{{}, {Categories: []int64{}, Limits: map[string]int{}}},
		{{Since: at}, {Since: at.In(berlin)}},
		{{Limits: map[string]int{"a": 1, "b": 2}}, {Limits: map[string]int{"b": 2, "a": 1}}},
		{{Max: &one}, {Max: &alsoOne}},
	} {
		if aside.FilterOf(same[0]) != aside.FilterOf(same[1]) {
			t.Errorf("%+v and %+v are two keys", same[0], same[1])
		}
	}
	seen := make(map[aside.Filter[search]]search)
	for _, other := range []search{
		{}, {Categories: []int64{1}}, {Categories: []int64{1, 2}}, {Categories: []int64{12}}, {Limits: map[string]int{"1": 2}},
		{Max: &zero}, {Max: &one}, {Since: at}, {Since: at.Add(1)}, {Every: 1}, {Page: 1},
	} {
		if before, ok := seen[aside.FilterOf(other)]; ok {
			t.Errorf("%+v and %+v are one key", other, before)
		}
		seen[aside.FilterOf(other)] = other
	}
}

func TestAFilterIsAKey(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		var asked []search
		rdb, _ := r.tapped()
		c := open(t, rdb, "search", aside.ByFilter(func(_ context.Context, s search) (int, error) {
			asked = append(asked, s)
			return len(s.Categories), nil
		}), patient)
		three := 3
		want := search{Categories: []int64{7, 8}, Max: &three, Since: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), Every: time.Minute, Page: 2}
		for range 2 {
			equal(t, "what is found", mustGet(t, c, aside.FilterOf(want)), 2)
		}
		equal(t, "the number of loads", len(asked), 1)
		equal(t, "the filter that is asked for", aside.FilterOf(asked[0]), aside.FilterOf(want))
		equal(t, "what is found for none", mustGet(t, c, aside.Filter[search]{})+mustGet(t, c, aside.FilterOf(search{})), 0)
		equal(t, "the number of loads", len(asked), 2)
		mustInvalidate(t, c, aside.FilterOf(want))
		mustGet(t, c, aside.FilterOf(want))
		equal(t, "the number of loads", len(asked), 3)
	})
}

func TestAFilterThatCannotBeEncodedIsAnErrorOfGet(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		type ratio struct{ At float64 }
		c := open(t, r.dial(t), "ratio", aside.ByFilter(func(context.Context, ratio) (int, error) { return 1, nil }))
		if _, err := c.Get(t.Context(), aside.FilterOf(ratio{math.NaN()})); err == nil || !strings.Contains(err.Error(), "cannot be encoded") {
			t.Errorf("Get returned %v", err)
		}
	})
}

func TestNewRefusesAFilterOfWhichAPartTellsNothing(t *testing.T) {
	refused := map[string]func() error{
		"tenant": func() error {
			//lint:ignore U1000 reflection sees it
			type hidden struct{ tenant int }
			return newByFilter[hidden]()
		},
		"Tenant": func() error {
			type left struct {
				Tenant int `json:"-"`
				Page   int
			}
			return newByFilter[[]left]()
		},
		"Any": func() error {
			type open struct{ Any any }
			return newByFilter[open]()
		},
		"Do": func() error {
			type acts struct{ Do func() }
			return newByFilter[acts]()
		},
	}
	for part, try := range refused {
		if err := try(); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("New returned %v, and does not name %s", err, part)
		}
	}
	equal(t, "the error for a good one", newByFilter[search](), nil)
}

func newByFilter[F any]() error {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // which is not dialled
	defer rdb.Close()
	_, err := aside.New(rdb, "f", aside.ByFilter(func(context.Context, F) (int, error) { return 0, nil }))
	return err
}

// Else each would take the entries of the other for misses, or read them as its own.
func TestTwoCachesOfOneNameStoreTheSame(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		first := newCache(t, rdb, newTable().load)
		refused := func(what string, err error, words ...string) {
			t.Helper()
			for _, word := range append(words, "another Cache of this client and name") {
				if err == nil || !strings.Contains(err.Error(), word) {
					t.Errorf("%s: the error is %v, without %q", what, err, word)
				}
			}
		}
		_, err := aside.New(rdb, "test", func(context.Context, int) (string, error) { return "", nil })
		refused("another V", err, "string", "product")
		_, err = aside.New(rdb, "test", newTable().load, aside.WithVersion(1))
		refused("another version", err)
		_, err = aside.New(rdb, "test", newTable().load, aside.WithCodec(gobCodec{}))
		refused("another codec", err, "gobCodec")
		type alike product
		same := newCache(t, rdb, func(ctx context.Context, id int) (alike, error) { p, err := anyRow(ctx, id); return alike(p), err })
		_ = same.Close()
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		newCache(t, rdb, newTable().load, aside.WithVersion(1)) // now that the others are closed
	})
}

func TestACacheThatNewRefusesIsUnknownToTheOthers(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb, tap := r.tapped()
		first := newCache(t, rdb, newTable(product{1, "lamp", 100}).load)
		told := make(chan aside.DownInfo, 10)
		_, err := aside.New(rdb, "test", newTable().load, aside.WithVersion(1), aside.WithReplicaLag(time.Hour),
			aside.WithObserver(aside.Observer{Down: func(d aside.DownInfo) { told <- d }}))
		if err == nil {
			t.Fatal("it is not refused")
		}
		mustInvalidate(t, first, 1)
		for range 2 {
			mustGet(t, first, 1)
		}
		equal(t, "Loads, which its lag would double", first.Stats().Loads, 1)
		tap.down()
		for range 5 {
			mustGet(t, first, 1)
		}
		synctest.Wait()
		equal(t, "Down, of the first", first.Stats().Down, true)
		equal(t, "what its Observer was told", len(told), 0)
	})
}
