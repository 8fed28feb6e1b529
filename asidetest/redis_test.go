package asidetest_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counted makes a cache whose values count its loads.
func counted(t *testing.T, opts ...aside.Option) (*aside.Cache[int, int64], *asidetest.Server) {
	var n atomic.Int64
	opts = append([]aside.Option{patient, aside.WithJitter(0), aside.WithEarlyRefresh(0)}, opts...)
	return asidetest.New(t, func(context.Context, int) (int64, error) { return n.Add(1), nil }, opts...)
}

// gets fails the test unless the cache returns want.
func gets(t *testing.T, c *aside.Cache[int, int64], want int64) {
	t.Helper()
	if got, err := c.Get(t.Context(), 1); got != want || err != nil {
		t.Errorf("Get: %v, %v, want %v", got, err, want)
	}
}

func TestNewIsACacheThatHits(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		c, s := counted(t)
		gets(t, c, 1)
		gets(t, c, 1)
		if doc := s.Client().Get(t.Context(), "test:1").Val(); !strings.Contains(doc, `"value":1`) {
			t.Errorf("test:1 is %q", doc)
		}
		s.Flush()
		gets(t, c, 2)
	})
}

// An import of thousands of rows is tested like a write of one.
func TestManyKeysAtATimeWork(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		load := func(_ context.Context, id int) (int, error) { return id, nil }
		c, s := asidetest.New(t, load, patient, aside.WithTags(func(int, int) []string { return []string{"all"} }))
		keys := make([]int, 1000)
		for i := range keys {
			keys[i] = i
		}
		for range 2 {
			if found, err := c.GetMany(t.Context(), keys); len(found) != len(keys) || err != nil {
				t.Errorf("GetMany: %d values, %v", len(found), err)
			}
		}
		if got := c.Stats().Hits; got != 1000 {
			t.Errorf("there are %d hits", got)
		}
		if err := c.InvalidateTags(t.Context(), "all"); err != nil {
			t.Error(err)
		}
		if err := c.Invalidate(t.Context(), append(keys, 1000, 1001)...); err != nil {
			t.Error(err)
		}
		_, err := s.Client().Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for range 2000 {
				p.Set(t.Context(), "other", strings.Repeat("x", 100), 0)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestWhatNewRefusesStopsTheTest(t *testing.T) {
	finds(t, func(t testing.TB) {
		asidetest.New(t, func(context.Context, int) (int, error) { return 0, nil }, aside.WithTTL(0))
	}, "WithTTL")
}

func TestTimePassesInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := counted(t, aside.WithTTL(time.Hour), aside.WithStale(time.Hour))
		gets(t, c, 1)
		time.Sleep(time.Hour + time.Millisecond)
		gets(t, c, 1) // stale: a refresh begins
		synctest.Wait()
		gets(t, c, 2)
		time.Sleep(2*time.Hour + time.Millisecond)
		gets(t, c, 3)
	})
}

func TestAdvanceExpiresAndMakesNothingStale(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		c, s := counted(t, aside.WithTTL(time.Hour), aside.WithStale(time.Hour))
		gets(t, c, 1)
		s.Advance(61 * time.Minute)
		gets(t, c, 1)
		if n := c.Stats().StaleHits; n != 0 {
			t.Errorf("%d stale hits", n)
		}
		s.Advance(time.Hour)
		gets(t, c, 2)
	})
}

func TestAdvanceEndsHoldsAndMovesTheTimeOfScripts(t *testing.T) {
	c, s := counted(t)
	_ = aside.InTx(t.Context(), func(ctx context.Context) error {
		return errors.Join(c.Invalidate(ctx, 1), errors.New("unknown outcome"))
	})
	gets(t, c, 1)
	gets(t, c, 2) // held
	before := s.Client().Time(t.Context()).Val()
	s.Advance(30 * time.Second)
	if d := s.Client().Time(t.Context()).Val().Sub(before); d < 30*time.Second {
		t.Errorf("TIME moved by %v", d)
	}
	gets(t, c, 3)
	gets(t, c, 3)
}

func TestTimeDoesNotGoBack(t *testing.T) {
	finds(t, func(t testing.TB) { asidetest.Redis(t).Advance(-1) }, "does not go back")
}

func TestDownAndUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := counted(t)
		gets(t, c, 1)
		s.Down()
		gets(t, c, 2)
		gets(t, c, 3)
		gets(t, c, 4)
		if !c.Stats().Down {
			t.Error("Redis is not known to be down")
		}
		s.Up()
		time.Sleep(2 * time.Second) // it is probed every second
		if c.Stats().Down {
			t.Error("Redis is not known to be back")
		}
		gets(t, c, 1) // what is stored has stayed
	})
}

func TestARefusedConnectionIsOneToTheClient(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := asidetest.Redis(t)
		rdb := s.Client(func(o *redis.Options) { o.MaxRetries, o.DialerRetries = -1, 1 })
		s.Down()
		if err := rdb.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Ping: %v", err)
		}
		s.Up()
		if err := rdb.Ping(t.Context()).Err(); err != nil {
			t.Errorf("Ping: %v", err)
		}
	})
}

func TestHangExecutesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := counted(t, aside.WithRedisTimeout(250*time.Millisecond))
		gets(t, c, 1)
		s.Hang()
		start := time.Now()
		if err := c.Invalidate(t.Context(), 1); err == nil {
			t.Error("Invalidate returned nil")
		}
		if d := time.Since(start); d != 250*time.Millisecond {
			t.Errorf("Invalidate took %v", d)
		}
		s.Up()
		synctest.Wait()
		if n := s.Client().Exists(t.Context(), "test:1").Val(); n != 0 {
			t.Error("the Invalidate was not executed")
		}
	})
}

func TestATestMayEndWhileRedisHangs(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		c, s := counted(t, aside.WithRedisTimeout(time.Millisecond))
		s.Hang()
		gets(t, c, 1)
	})
}

func TestFailAnswersAsRedisDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := counted(t)
		gets(t, c, 1)
		s.Fail("OOM command not allowed when used memory > 'maxmemory'.")
		gets(t, c, 1) // hits are served
		if err := c.Invalidate(t.Context(), 1); err != nil {
			t.Errorf("Invalidate while out of memory: %v", err)
		}
		gets(t, c, 2)
		gets(t, c, 3) // nothing is stored
		s.Up()
		gets(t, c, 4)
		s.Fail("READONLY You can't write against a read only replica.")
		gets(t, c, 4)
		if err := c.Invalidate(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "READONLY") {
			t.Errorf("Invalidate at a replica: %v", err)
		}
		s.Fail("LOADING it")
		if err := c.Invalidate(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "LOADING") {
			t.Errorf("Invalidate while loading: %v", err)
		}
	})
}

func TestALaterFaultTakesThePlaceOfAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := counted(t)
		s.Down()
		s.Fail("OOM it")
		gets(t, c, 1)
		s.Hang()
		s.Up()
		gets(t, c, 2)
		gets(t, c, 2)
	})
}

func TestFailNeedsALine(t *testing.T) {
	finds(t, func(t testing.TB) { asidetest.Redis(t).Fail("") }, "one line")
}

func TestALostReplyMeansExecutedTwice(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := asidetest.Redis(t)
		rdb, once := s.Client(), s.Client(func(o *redis.Options) { o.MaxRetries = -1 })
		s.LoseReply()
		if n, err := rdb.Incr(t.Context(), "n").Result(); n != 2 || err != nil {
			t.Errorf("INCR, sent again: %v, %v", n, err)
		}
		s.LoseReply()
		if err := once.Incr(t.Context(), "n").Err(); err == nil {
			t.Error("INCR, not sent again, returned nil")
		}
		if n := rdb.Get(t.Context(), "n").Val(); n != "3" {
			t.Errorf("n is %v", n)
		}
	})
}
