package aside_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
	"github.com/asidecache/aside/internal/pipe"
)

// Over a connection that takes slowByte for each byte, these take a second.
var (
	much     = product{1, strings.Repeat("x", 256<<10), 100}
	muchMore = product{4, strings.Repeat("x", 256<<10), 400}
)

const slowByte = 4 * time.Microsecond

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
				for _, want := range []string{"cache=test", "name=test:1", "bytes=262", "timeout=250ms"} {
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
