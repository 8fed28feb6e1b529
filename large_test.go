package aside_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
	"github.com/asidecache/aside/internal/pipe"
)

// Over a connection that takes slowByte for each byte, these take a second. The race detector looks at each byte as well, often.
var (
	much     = product{1, strings.Repeat("x", 100<<10), 100}
	muchMore = product{4, strings.Repeat("x", 100<<10), 400}
)

const slowByte = 10 * time.Microsecond

// largely makes a cache of values one of which is too large to be read in time, or to be written, and stores them.
func largely(t *testing.T, rdb *redis.Client, in, out time.Duration) (*aside.Cache[int, product], *table, *lines) {
	o := rdb.Options()
	o.Dialer = pipe.Slowed(o.Dialer, 0, in, out)
	rows, logged := newTable(much, product{2, "desk", 200}, product{3, "sofa", 300}, muchMore), new(lines)
	c := newCache(t, rdb, rows.load, aside.WithTTL(time.Hour), logged.option())
	t.Cleanup(func() { c.Close() })
	for id := 1; id <= 3; id++ {
		mustGet(t, c, id)
	}
	return c, rows, logged
}

func TestAValueThatCannotBeReadInTimeIsLeftAlone(t *testing.T) {
	cases := map[string]struct{ in, out time.Duration }{
		"to be read":    {in: slowByte},
		"to be written": {out: slowByte},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, _ *asidetest.Server, rdb *redis.Client) {
				c, _, logged := largely(t, rdb, test.in, test.out)
				slow := 0
				for range 100 {
					if took(func() { equal(t, "its price", mustGet(t, c, 1).Price, 100) }) > 10*time.Millisecond {
						slow++
					}
					hits := c.Stats().Hits
					if d := took(func() { mustGet(t, c, 2) }); d > 10*time.Millisecond {
						t.Fatalf("a small value beside it took %v", d)
					}
					equal(t, "the hits of a small one", c.Stats().Hits-hits, 1)
					equal(t, "Down", c.Stats().Down, false)
					time.Sleep(200 * time.Millisecond)
				}
				if slow > 6 || slow < 2 && test.in > 0 { // after 1, 2, 4, 8 seconds; what goes on with a hook is written at last
					t.Errorf("%d reads of it within 20 seconds waited for Redis", slow)
				}
				if n := strings.Count(logged.String(), "too large"); n != 1 {
					t.Errorf("that was logged %d times: %s", n, logged)
				}
				for _, want := range []string{"cache=test", "name=test:1", "bytes=102", "timeout=250ms"} {
					if !strings.Contains(logged.String(), want) {
						t.Errorf("%s does not say %s", logged, want)
					}
				}
			})
		})
	}
}

func TestSmallValuesSufferOnceFromALargeOneBesideThem(t *testing.T) {
	eachKind(t, func(t *testing.T, _ *asidetest.Server, rdb *redis.Client) {
		c, _, _ := largely(t, rdb, slowByte, 0)
		slow := 0
		for range 100 {
			if took(func() { mustGetMany(t, c, 1, 2, 3) }) > 10*time.Millisecond {
				slow++
			}
			equal(t, "Down", c.Stats().Down, false)
			time.Sleep(100 * time.Millisecond)
		}
		equal(t, "the calls that waited", slow, 1)
		if hits := c.Stats().Hits; hits < 2*99 {
			t.Errorf("%d hits of 198", hits)
		}
	})
}

// storeMany stores so many values each of which is too large to be read in time, from 100 on, and three small ones.
func storeMany(t *testing.T, rdb *redis.Client, n int, opts ...aside.Option) (c *aside.Cache[int, product], logged *lines) {
	o := rdb.Options()
	o.Dialer = pipe.Slowed(o.Dialer, 0, slowByte, 0)
	rows, logged := newTable(product{1, "lamp", 100}, product{2, "desk", 200}, product{3, "sofa", 300}), new(lines)
	c = newCache(t, rdb, rows.load, append(opts, aside.WithTTL(time.Hour), logged.option())...)
	t.Cleanup(func() { c.Close() })
	for id := 100; id < 100+n; id++ {
		rows.rows[id] = product{id, much.Name, 100}
		mustGet(t, c, id)
	}
	mustGetMany(t, c, 1, 2, 3)
	return c, logged
}

func TestLargeValuesOfOneGetManyAreLeftAloneAfterAFewCalls(t *testing.T) {
	eachKind(t, func(t *testing.T, _ *asidetest.Server, rdb *redis.Client) {
		c, logged := storeMany(t, rdb, 16)
		slow := 0
		for range 20 {
			if took(func() { mustGetMany(t, c, append(idsFrom(100, 16), 1, 2, 3)...) }) > 10*time.Millisecond {
				slow++
			}
			equal(t, "Down", c.Stats().Down, false)
			time.Sleep(100 * time.Millisecond)
		}
		equal(t, "the calls that waited: for 16 of them, 7, 3 and 1", slow, 4)
		equal(t, "the values that were named", strings.Count(logged.String(), "too large"), 16)
		hits := c.Stats().Hits
		mustGetMany(t, c, append(idsFrom(100, 16), 1, 2, 3)...)
		equal(t, "the hits", c.Stats().Hits-hits, 3)
	})
}

// They run out of time at the same moment, which looks as if Redis hung.
func TestLargeValuesThatAreReadSideBySideLeaveTheSmallOnesInTheCache(t *testing.T) {
	eachKind(t, func(t *testing.T, _ *asidetest.Server, rdb *redis.Client) {
		c, _ := storeMany(t, rdb, 10)
		sideBySide := func() {
			var group sync.WaitGroup
			for id := 100; id < 110; id++ {
				group.Go(func() { _, _ = c.Get(context.Background(), id) })
			}
			group.Wait()
		}
		for range 4 {
			sideBySide()
			time.Sleep(300 * time.Millisecond)
		}
		for range 100 {
			sideBySide()
			equal(t, "Down", c.Stats().Down, false)
			time.Sleep(300 * time.Millisecond)
			hits := c.Stats().Hits
			for id := 1; id <= 3; id++ {
				mustGet(t, c, id)
			}
			equal(t, "the hits of small ones", c.Stats().Hits-hits, 3)
		}
	})
}

// There a lease is asked for at once, and answered with the value.
func TestALargeValueIsLeftAloneWhereReadsKeepMissing(t *testing.T) {
	eachKind(t, func(t *testing.T, _ *asidetest.Server, rdb *redis.Client) {
		c, logged := storeMany(t, rdb, 1)
		slow := 0
		for round := range 100 {
			for id := range 20 {
				_, _ = c.Get(t.Context(), 1000+20*round+id) // there is none
			}
			if took(func() { mustGet(t, c, 100) }) > 10*time.Millisecond {
				slow++
			}
			equal(t, "WritesDown", c.Stats().WritesDown, false)
			time.Sleep(200 * time.Millisecond)
		}
		if slow > 6 {
			t.Errorf("%d reads of it within 20 seconds waited for Redis", slow)
		}
		equal(t, "how often that was logged", strings.Count(logged.String(), "too large"), 1)
	})
}

// The breaker hears of a read that tries a large value once Redis has not told its size, either.
func TestARedisThatHangsIsFoundByReadsThatTryLargeValues(t *testing.T) {
	eachKind(t, func(t *testing.T, s *asidetest.Server, rdb *redis.Client) {
		c, _ := storeMany(t, rdb, 3)
		for range 2 {
			for id := 100; id < 103; id++ {
				mustGet(t, c, id)
			}
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		s.Hang()
		for id := 100; id < 103; id++ {
			equal(t, "Down", c.Stats().Down, false)
			equal(t, "the time of a read", took(func() { mustGet(t, c, id) }), redisTimeout)
		}
		time.Sleep(redisTimeout)
		synctest.Wait()
		equal(t, "Down", c.Stats().Down, true)
		s.Up()
	})
}

func TestAValueThatCanBeReadAgainIsServedAgain(t *testing.T) {
	eachKind(t, func(t *testing.T, _ *asidetest.Server, rdb *redis.Client) {
		c, rows, _ := largely(t, rdb, slowByte, 0)
		mustGet(t, c, 1)
		mustGet(t, c, 1)
		rows.mu.Lock()
		rows.rows[1] = product{1, "lamp", 90}
		rows.mu.Unlock()
		mustInvalidate(t, c, 1)
		time.Sleep(5 * time.Second)
		mustGet(t, c, 1)
		hits := c.Stats().Hits
		mustGet(t, c, 1)
		mustGetMany(t, c, 1, 2)
		equal(t, "the hits", c.Stats().Hits-hits, 3)
	})
}

func TestARedisThatHangsIsFoundByReadsOfLargeValuesAlone(t *testing.T) {
	eachKind(t, func(t *testing.T, s *asidetest.Server, rdb *redis.Client) {
		c, _, _ := largely(t, rdb, slowByte, 0)
		mustGet(t, c, 4)
		s.Hang()
		for range 3 {
			equal(t, "Down", c.Stats().Down, false)
			mustGet(t, c, 4)
		}
		equal(t, "Down", c.Stats().Down, true)
		s.Up()
	})
}

func TestTheNamesOfLargeValuesAreBounded(t *testing.T) {
	equal(t, "the names remembered of 5000", aside.PutOffNames(5000), 1000)
}
