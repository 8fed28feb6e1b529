package aside_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

func TestNewRefusesWhatCannotBeAndNamesTheOptionAndItsBound(t *testing.T) {
	tests := map[string]struct {
		option aside.Option
		says   string
	}{
		"no TTL":                   {aside.WithTTL(0), "WithTTL(0s) must be at least 1ms"},
		"a TTL below 1 ms":         {aside.WithTTL(999 * time.Microsecond), "WithTTL(999µs) must be at least 1ms"},
		"a negative absent TTL":    {aside.WithAbsentTTL(-1), "WithAbsentTTL(-1ns) must be at least 0s"},
		"a negative stale time":    {aside.WithStale(-time.Second), "WithStale(-1s) must be at least 0s"},
		"no load timeout":          {aside.WithLoadTimeout(0), "WithLoadTimeout(0s) must be at least 1ms"},
		"no Redis timeout":         {aside.WithRedisTimeout(0), "WithRedisTimeout(0s) must be at least 1ms"},
		"a jitter below 0":         {aside.WithJitter(-0.1), "WithJitter(-0.1) must be within [0, 1)"},
		"a jitter of 1":            {aside.WithJitter(1), "WithJitter(1) must be within [0, 1)"},
		"a jitter that is none":    {aside.WithJitter(math.NaN()), "WithJitter(NaN) must be within [0, 1)"},
		"a negative beta":          {aside.WithEarlyRefresh(-1), "WithEarlyRefresh(-1) must be within [0, 1000]"},
		"an endless beta":          {aside.WithEarlyRefresh(math.Inf(1)), "WithEarlyRefresh(+Inf) must be within [0, 1000]"},
		"a beta that is none":      {aside.WithEarlyRefresh(math.NaN()), "WithEarlyRefresh(NaN) must be within [0, 1000]"},
		"a negative rate":          {aside.WithVerify(-1), "WithVerify(-1) must be within [0, 1000000]"},
		"no rate":                  {aside.WithVerify(math.NaN()), "WithVerify(NaN) must be within [0, 1000000]"},
		"no loads":                 {aside.WithMaxLoads(0), "WithMaxLoads(0) must be at least 1"},
		"a negative version":       {aside.WithVersion(-1), "WithVersion(-1) must be at least 0"},
		"no codec":                 {aside.WithCodec(nil), "WithCodec(nil)"},
		"no logger":                {aside.WithLogger(nil), "WithLogger(nil)"},
		"a not-found error of nil": {aside.WithNotFound(errDown, nil), "WithNotFound(nil)"},
		"no func for not-found errors": {
			aside.WithNotFoundFunc(nil, func(int) error { return errDown }), "WithNotFoundFunc(nil, remembered)",
		},
		"no func for remembered absences": {
			aside.WithNotFoundFunc[int](func(error) bool { return true }, nil), "WithNotFoundFunc(nil)",
		},
		"a func for remembered absences of other keys": {
			aside.WithNotFoundFunc(func(error) bool { return true }, func(int64) error { return errDown }),
			"WithNotFoundFunc was given a func(int64) error, but this cache needs a func(int) error",
		},
		"a TTL func of nil":     {aside.WithTTLFunc[int, product](nil), "WithTTLFunc(nil)"},
		"a batch loader of nil": {aside.WithBatch[int, product](nil), "WithBatch(nil)"},
		"a key func of nil":     {aside.WithKey[int](nil), "WithKey(nil)"},
		"a TTL func for other types": {
			aside.WithTTLFunc(func(string, product) time.Duration { return 0 }),
			"WithTTLFunc was given a func(string, aside_test.product) time.Duration, but this cache needs a func(int, aside_test.product) time.Duration",
		},
		"a batch loader for other types": {
			aside.WithBatch(func(context.Context, []int) (map[int]string, error) { return nil, nil }),
			"WithBatch was given a aside.BatchLoader[int,string], but this cache needs a aside.BatchLoader[int,github.com/asidecache/aside_test.product]",
		},
		"a key func for other types": {
			aside.WithKey(func(int64) string { return "" }),
			"WithKey was given a func(int64) string, but this cache needs a func(int) string",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := made(t, test.option); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("New says: %v\nand should say: %s", err, test.says)
			}
		})
	}
}

func TestNewAcceptsEveryBoundAndANilOption(t *testing.T) {
	err := made(t, nil, aside.WithTTL(time.Millisecond), aside.WithAbsentTTL(0), aside.WithStale(0),
		aside.WithLoadTimeout(time.Millisecond), aside.WithRedisTimeout(time.Millisecond), aside.WithJitter(0),
		aside.WithJitter(math.Nextafter(1, 0)), aside.WithEarlyRefresh(0), aside.WithEarlyRefresh(1000),
		aside.WithMaxLoads(1), aside.WithVersion(0), aside.WithNotFound())
	if err != nil {
		t.Error(err)
	}
}

func TestNewReportsEverythingThatIsWrongAtOnce(t *testing.T) {
	type key struct{ Price float64 }
	type value struct{ Done chan int }
	_, err := aside.New[key, value](nil, "", nil, aside.WithTTL(0), aside.WithMaxLoads(-1), aside.WithKey(func(string) string { return "" }))
	for _, says := range []string{"the Redis client is nil", "name is empty", "loader is nil", "value.Done", "WithCodec", "WithTTL(0s)", "WithMaxLoads(-1)", "WithKey was given"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("New does not say %q in: %v", says, err)
		}
	}
	_, err = aside.New(redis.UniversalClient(nil), "x", func(context.Context, key) (int, error) { return 0, nil })
	for _, says := range []string{"key.Price", "float64", "WithKey"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("New does not say %q in: %v", says, err)
		}
	}
}

// left is how long a name has to live.
func (r *rig) left(name string) time.Duration { return r.raw.PTTL(context.Background(), name).Val() }

func TestTTLs(t *testing.T) {
	const minute = time.Minute
	lamp := product{1, "lamp", 100}
	perValue := aside.WithTTLFunc(func(id int, p product) time.Duration {
		return map[int]time.Duration{1: 2 * minute, 2: aside.DefaultTTL, 3: time.Microsecond}[id]
	})
	tests := map[string]struct {
		id        int
		opts      []aside.Option
		low, high time.Duration
	}{
		"5 min less 10 % by default":      {1, nil, 270 * time.Second, 300 * time.Second},
		"30 s less 10 % for an absence":   {9, nil, 27 * time.Second, 30 * time.Second},
		"WithTTL":                         {1, []aside.Option{aside.WithTTL(minute)}, 54 * time.Second, minute},
		"WithJitter(0.5)":                 {1, []aside.Option{aside.WithTTL(minute), aside.WithJitter(0.5)}, 30 * time.Second, minute},
		"WithJitter(0) is exact":          {1, []aside.Option{aside.WithTTL(minute), aside.WithJitter(0)}, minute, minute},
		"WithJitter(0) for an absence":    {9, []aside.Option{aside.WithAbsentTTL(minute), aside.WithJitter(0)}, minute, minute},
		"WithStale adds to it":            {1, []aside.Option{aside.WithTTL(minute), aside.WithJitter(0), aside.WithStale(time.Hour)}, 61 * minute, 61 * minute},
		"WithStale leaves an absence":     {9, []aside.Option{aside.WithAbsentTTL(minute), aside.WithJitter(0), aside.WithStale(time.Hour)}, minute, minute},
		"WithTTLFunc":                     {1, []aside.Option{perValue, aside.WithJitter(0)}, 2 * minute, 2 * minute},
		"WithTTLFunc of DefaultTTL":       {2, []aside.Option{perValue, aside.WithTTL(minute), aside.WithJitter(0)}, minute, minute},
		"WithTTLFunc of less than 1 ms":   {3, []aside.Option{perValue}, time.Millisecond, time.Millisecond},
		"WithTTLFunc has no say in it":    {9, []aside.Option{perValue, aside.WithAbsentTTL(minute), aside.WithJitter(0)}, minute, minute},
		"a TTL of centuries":              {1, []aside.Option{aside.WithTTL(math.MaxInt64), aside.WithJitter(0)}, 24 * 365 * time.Hour, math.MaxInt64},
		"centuries, and stale for more":   {1, []aside.Option{aside.WithTTL(math.MaxInt64), aside.WithJitter(0), aside.WithStale(math.MaxInt64)}, 24 * 365 * time.Hour, math.MaxInt64},
		"an absence of less than 1 ms":    {9, []aside.Option{aside.WithAbsentTTL(1)}, time.Millisecond, time.Millisecond},
		"the last WithTTL is what counts": {1, []aside.Option{aside.WithTTL(1), aside.WithTTL(minute), aside.WithJitter(0)}, minute, minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				if strings.Contains(name, "centuries") && made(t, test.opts...) != nil {
					return // a bound is an answer too
				}
				c, _ := steady(r, newTable(lamp, product{ID: 2}, product{ID: 3}).load, test.opts...)
				shortest, longest := time.Duration(math.MaxInt64), time.Duration(0)
				draws := 3
				if test.low < test.high {
					draws = 100
				}
				for range draws {
					_, _ = c.Get(t.Context(), test.id)
					left := r.left(fmt.Sprintf("test:%d", test.id))
					shortest, longest = min(shortest, left), max(longest, left)
					mustInvalidate(t, c, test.id)
				}
				if shortest < test.low || longest > test.high {
					t.Errorf("the TTLs are from %v to %v, want %v to %v", shortest, longest, test.low, test.high)
				}
				if spread := test.high - test.low; spread > 0 && test.high < time.Hour && longest-shortest < spread*8/10 {
					t.Errorf("the TTLs are from %v to %v, no draw from %v to %v", shortest, longest, test.low, test.high)
				}
			})
		})
	}
}

// The claim is as wide as a time in ms is for some centuries; one beyond that must not break the document.
func TestLoadTimeoutOfCenturiesLeavesTheStaleValueReadable(t *testing.T) {
	opts := append([]aside.Option{aside.WithLoadTimeout(math.MaxInt64)}, stale...)
	if made(t, opts...) != nil {
		return // a bound is an answer too
	}
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		warm, _ := steady(r, rows.table.load, opts...)
		c, _ := steady(r, rows.load, opts...)
		mustGet(t, warm, 1)
		time.Sleep(2 * time.Minute)
		mustGet(t, c, 1)
		<-rows.read // the refresh is under way
		equal(t, "the price meanwhile", mustGet(t, warm, 1).Price, 100)
		equal(t, "Unusable", warm.Stats().Unusable, 0)
		rows.go_ <- struct{}{}
	})
}

// The TTL of a token is what is left of it, and nothing of one that has expired, however that is computed.
func TestWhatHasNoTTLIsNotStored(t *testing.T) {
	expired := func() time.Duration { return time.Until(time.Now().Add(-time.Hour)) }
	ttls := map[string]func() time.Duration{
		"zero":                         func() time.Duration { return max(0, expired()) },
		"negative":                     func() time.Duration { return -1 },
		"of what has expired":          expired,
		"of what never had an expiry":  func() time.Duration { return time.Until(time.Time{}) },
		"the least that there is":      func() time.Duration { return math.MinInt64 },
		"half of the least there is":   func() time.Duration { return math.MinInt64 / 2 },
		"near the one of DefaultTTL":   func() time.Duration { return aside.DefaultTTL + 1 },
		"as near, from the other side": func() time.Duration { return aside.DefaultTTL - 1 },
	}
	for name, ttl := range ttls {
		t.Run(name, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				c, _ := steady(r, rows.load, aside.WithAbsentTTL(0), aside.WithTTLFunc(func(int, product) time.Duration { return ttl() }))
				for range 2 {
					mustGet(t, c, 1)
					if _, err := c.Get(t.Context(), 9); !errors.Is(err, aside.ErrNotFound) {
						t.Errorf("the error is %v", err)
					}
					mustGetMany(t, c, 1, 9)
					equal(t, "what is stored", r.get("test:1")+r.get("test:9"), "")
				}
				equal(t, "the number of loads", rows.loads.Load(), 8)
			})
		})
	}
}

func TestARefreshOfWhatHasNoTTLAnyMoreRemovesTheOldValue(t *testing.T) {
	for _, none := range []time.Duration{0, -1} {
		onMiniredis(t, func(t *testing.T, r *rig) {
			rows := newTable(product{1, "lamp", 100})
			ttl := aside.DefaultTTL
			c, _ := steady(r, rows.load, append(stale, aside.WithTTLFunc(func(int, product) time.Duration { return ttl }))...)
			mustGet(t, c, 1)
			time.Sleep(2 * time.Minute)
			ttl = none
			equal(t, "the stale price", mustGet(t, c, 1).Price, 100)
			time.Sleep(2 * time.Second) // a lease that is returned is seen for a second
			equal(t, "what is stored", r.get("test:1"), "")
		})
	}
}

func TestWithKeyIsEscapedIntoTheName(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		c, _ := steady(r, func(_ context.Context, k float64) (float64, error) { return k, nil },
			aside.WithKey(func(k float64) string { return fmt.Sprintf("EU:%v %%", k) }))
		equal(t, "the value", mustGet(t, c, 0.5), 0.5)
		if r.get("test:EU%3A0.5%20%25") == "" {
			t.Error("there is no test:EU%3A0.5%20%25")
		}
		mustInvalidate(t, c, 0.5)
		equal(t, "what is left after Invalidate", r.get("test:EU%3A0.5%20%25"), "")
	})
}

func TestLoadTimeoutEndsTheLoadExactly(t *testing.T) {
	tests := map[string]aside.Loader[int, product]{
		"a loader that heeds its ctx": func(ctx context.Context, _ int) (product, error) {
			<-ctx.Done()
			return product{}, ctx.Err()
		},
		"a loader that ignores its ctx": func(context.Context, int) (product, error) {
			time.Sleep(time.Hour)
			return product{}, nil
		},
		"a loader that fails later": func(context.Context, int) (product, error) {
			time.Sleep(time.Minute)
			return product{}, errors.New("late")
		},
	}
	for name, load := range tests {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				var observed atomic.Int64
				c, _ := steady(r, load, aside.WithLoadTimeout(3*time.Second), aside.WithObserver(aside.Observer{
					Load: func(context.Context, aside.LoadInfo) { observed.Add(1) },
				}))
				start := time.Now()
				_, err := c.Get(t.Context(), 1)
				equal(t, "the time that Get took", time.Since(start), 3*time.Second)
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "3s") {
					t.Errorf("the error is %v", err)
				}
				equal(t, "the document that is left", r.get("test:1"), "")
				time.Sleep(2 * time.Hour)
				equal(t, "LoadErrors", c.Stats().LoadErrors, 1)
				equal(t, "the loads that the observer was told of", observed.Load(), 1)
			})
		})
	}
}

func TestReadsThatGetNoPlaceAreOverloaded(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, _ := steady(r, rows.load, aside.WithMaxLoads(1), aside.WithBatch(rows.loadMany))
		first := getting(c, 1)
		<-rows.read
		get := func(ctx context.Context) error { _, err := c.Get(ctx, 2); return err }
		reads := []func(context.Context) error{
			get, get, get, get, get, get, // one owner and its joiners, who leave at the same moment
			func(ctx context.Context) error { _, err := c.GetMany(ctx, []int{2, 3}); return err },
		}
		done := make(chan struct{})
		start := time.Now()
		for i, read := range reads {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				err := read(ctx)
				if !errors.Is(err, aside.ErrOverloaded) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("read %d got %v", i, err)
				}
				done <- struct{}{}
			}()
		}
		for range reads {
			<-done
		}
		equal(t, "the time until they gave up", time.Since(start), time.Second)
		synctest.Wait()
		equal(t, "Overloaded", c.Stats().Overloaded, uint64(len(reads)+1)) // GetMany is about two keys
		equal(t, "the number of loads", rows.loads.Load(), 1)
		equal(t, "the lease of who never loaded", r.get("test:2"), "")
		patientJoiner := getting(c, 2)
		rows.go_ <- struct{}{}
		price(t, "what the first gets", first, 100)
		<-rows.read
		rows.go_ <- struct{}{}
		price(t, "what gets the place then", patientJoiner, 200)
	})
}

// The joiner stays when the owner gives up.
func TestJoinerOfAnOwnerWhoFoundNoPlaceGoesOn(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, _ := steady(r, rows.load, aside.WithMaxLoads(1))
		first := getting(c, 1)
		<-rows.read
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		gone := make(chan error)
		go func() { _, err := c.Get(ctx, 2); gone <- err }()
		synctest.Wait()
		joiner := getting(c, 2)
		if err := <-gone; !errors.Is(err, aside.ErrOverloaded) {
			t.Errorf("the owner got %v", err)
		}
		rows.go_ <- struct{}{}
		price(t, "what the first gets", first, 100)
		<-rows.read
		rows.go_ <- struct{}{}
		price(t, "what the joiner gets", joiner, 200)
	})
}

// That nobody had a place for this key a moment ago says nothing of a caller whose load is under way.
func TestCallerWhoLeavesItsLoadIsNotOverloaded(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, _ := steady(r, rows.load, aside.WithMaxLoads(1))
		leaving := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := c.Get(ctx, 2)
			return err
		}
		first := getting(c, 1)
		<-rows.read
		if err := leaving(); !errors.Is(err, aside.ErrOverloaded) {
			t.Errorf("without a place, it got %v", err)
		}
		rows.go_ <- struct{}{}
		price(t, "what the first gets", first, 100)
		left := make(chan error)
		go func() { left <- leaving() }()
		<-rows.read // it has the place
		if err := <-left; errors.Is(err, aside.ErrOverloaded) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("during its load, it got %v", err)
		}
		rows.go_ <- struct{}{}
	})
}

func TestCallerWhoLeavesItsLoadIsNotOverloadedByAGetManyOfItsKey(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		c, _ := steady(r, rows.load, aside.WithMaxLoads(1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left := make(chan error)
		go func() { _, err := c.Get(ctx, 1); left <- err }()
		<-rows.read // it has the place
		many := gettingMany(t.Context(), c, 1)
		if err := <-left; errors.Is(err, aside.ErrOverloaded) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("during its load, it got %v", err)
		}
		rows.flow()
		finds(t, "the GetMany", many, "1:100")
	})
}

// A codec that finds out after 2 s that it cannot decode.
type slowlyFailingCodec struct{ stdCodec }

func (slowlyFailingCodec) Unmarshal([]byte, any) error {
	time.Sleep(2 * time.Second)
	return errors.New("damaged")
}

// It waits for a place for 2, and would for 1 once that turns out to be damaged; but by then its ctx has ended. As far as Go's
// select goes, it may notice that by either of two channels, so it is tried often.
func TestEachKeyOfAGetManyIsOverloadedOnce(t *testing.T) {
	for range 20 {
		onMiniredis(t, func(t *testing.T, r *rig) {
			rows := newSlowTable(product{9, "lamp", 100})
			c, _ := steady(r, rows.load, aside.WithMaxLoads(1), aside.WithCodec(slowlyFailingCodec{}), aside.WithShape(""))
			other := getting(c, 9)
			<-rows.read
			r.put("test:1", `{"value":"damaged","fresh":9999999999999,"id":"by hand"}`)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := c.GetMany(ctx, []int{1, 2}); !errors.Is(err, aside.ErrOverloaded) {
				t.Errorf("it got %v", err)
			}
			equal(t, "Overloaded", c.Stats().Overloaded, 2)
			rows.flow()
			<-other
			time.Sleep(3 * time.Second) // its value is decoded, to be compared, for longer than anybody waits
		})
	}
}

// Of its keys, 1 loads for long. The places of the others are free again, or were never needed.
func TestGetManyKeepsNoPlaceThatItHasNoLoadFor(t *testing.T) {
	tests := map[string]func(t *testing.T, r *rig, c *aside.Cache[int, product]){
		"since the others are loaded": func(t *testing.T, _ *rig, c *aside.Cache[int, product]) {
			gettingMany(t.Context(), c, 1, 2, 3)
		},
		"since another process loads the others": func(t *testing.T, r *rig, c *aside.Cache[int, product]) {
			deadLease(r, "test:2", time.Minute)
			deadLease(r, "test:3", time.Minute)
			gettingMany(t.Context(), c, 1, 2, 3)
		},
		"since the others are refreshed": func(t *testing.T, _ *rig, c *aside.Cache[int, product]) {
			mustGetMany(t, c, 1, 2, 3)
			time.Sleep(2 * time.Minute)
			mustGetMany(t, c, 1, 2, 3)
		},
	}
	for name, begin := range tests {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				c, _ := steady(r, func(_ context.Context, id int) (product, error) {
					if id == 1 || id > 20 {
						time.Sleep(9 * time.Second)
					}
					return product{ID: id}, nil
				}, append(stale, aside.WithMaxLoads(3))...)
				begin(t, r, c)
				synctest.Wait()
				equal(t, "Loading", c.Stats().Loading, 1)
				for id := range 2 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					if _, err := c.Get(ctx, 10+id); err != nil {
						t.Errorf("beside the one load, Get returned %v", err)
					}
				}
				time.Sleep(20 * time.Second)
				for id := range 4 {
					getting(c, 21+id)
				}
				synctest.Wait()
				equal(t, "Loading when all places are taken", c.Stats().Loading, 3)
			})
		})
	}
}

func TestStaleValueIsServedWhenThereIsNoPlaceForItsRefresh(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100}, product{2, "desk", 200})
		warm, _ := steady(r, rows.table.load, stale...)
		c, tap := steady(r, rows.load, append(stale, aside.WithMaxLoads(1))...)
		mustGet(t, warm, 1)
		time.Sleep(2 * time.Minute)
		other := getting(c, 2)
		<-rows.read
		equal(t, "the price", mustGet(t, c, 1).Price, 100)
		synctest.Wait()
		equal(t, "the number of claims", tap.sent("claim"), 0)
		rows.go_ <- struct{}{}
		price(t, "what the other gets", other, 200)
	})
}

func TestBypassReadsTheSourceOnTheCallersGoroutine(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		unshared := 0 // written without a lock: the race detector tells if it is another goroutine
		check := func(ctx context.Context) {
			unshared++
			equal(t, "the mark in the loader's ctx", ctx.Value(markKey{}), any("mark"))
		}
		c, tap := steady(r,
			func(ctx context.Context, id int) (product, error) { check(ctx); return rows.load(ctx, id) },
			aside.WithBatch(func(ctx context.Context, ids []int) (map[int]product, error) {
				check(ctx)
				return rows.loadMany(ctx, ids)
			}))
		stored := byHand(time.Hour, `{"ID":1,"Price":5}`)
		r.put("test:1", stored)
		ctx, cancel := context.WithCancel(aside.Bypass(context.WithValue(t.Context(), markKey{}, "mark")))
		v, err := c.Get(ctx, 1)
		equal(t, "the price", fmt.Sprint(v.Price, err), "100 <nil>")
		found, err := c.GetMany(ctx, []int{1, 2, 1})
		equal(t, "what GetMany finds", fmt.Sprint(found, err), "map[1:{1 lamp 100}] <nil>")
		if _, err = c.Get(ctx, 2); !errors.Is(err, aside.ErrNotFound) {
			t.Errorf("the error for an absent row is %v", err)
		}
		verbs, _ := tap.count()
		equal(t, "the number of commands", len(verbs), 0)
		equal(t, "what is stored", r.get("test:1")+r.get("test:2"), stored)
		equal(t, "the number of loads", unshared, 3)
		cancel()
		if _, err = c.Get(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("the error after the end of ctx is %v", err)
		}
	})
}

// A batch loader need not expect no keys, or the same one twice: WHERE id IN () is no SQL.
func TestBypassAsksTheBatchLoaderOnlyForWhatIsWanted(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var asked []string
		c, _ := steady(r, newTable().load, aside.WithBatch(func(_ context.Context, ids []int) (map[int]product, error) {
			asked = append(asked, fmt.Sprint(ids))
			return nil, nil
		}))
		ctx := aside.Bypass(t.Context())
		for _, ids := range [][]int{nil, {}, {3, 1, 3}} {
			if _, err := c.GetMany(ctx, ids); err != nil {
				t.Error(err)
			}
		}
		equal(t, "what the batch loader was asked for", fmt.Sprint(asked), "[[3 1]]")
	})
}

func TestCloseWaitsForTheLoadsUnderWayAndReadsGoOnWithoutRedis(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, tap := steady(r, rows.load, aside.WithBatch(rows.loadMany))
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() { _, err := c.Get(ctx, 1); left <- err }()
		<-rows.read
		cancel()
		<-left
		closing := make(chan error)
		go func() { closing <- c.Close() }()
		if r.virtual {
			synctest.Wait()
		}
		select {
		case <-closing:
			rows.flow()
			t.Fatal("Close did not wait for the load")
		default:
		}
		rows.go_ <- struct{}{}
		equal(t, "what Close returns", <-closing, nil)
		equal(t, "Fills", c.Stats().Fills, 1)
		equal(t, "what the second Close returns", c.Close(), nil)
		tap.reset()
		done := getting(c, 2)
		<-rows.read
		rows.go_ <- struct{}{}
		price(t, "what a read gets after Close", done, 200)
		equal(t, "what GetMany finds", len(mustGetMany(t, c, 1, 2, 3)), 2)
		verbs, _ := tap.count()
		equal(t, "the commands of reads", len(verbs), 0)
		mustInvalidate(t, c, 1)
		equal(t, "what is left after Invalidate", r.get("test:1")+r.get("test:2"), "")
	})
}
