package aside_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
	"github.com/asidecache/aside/internal/pipe"
	"github.com/asidecache/aside/internal/testserver"
)

// What belongs to the pool outlives the call that happened to begin it.
func TestARedisThatGreetsMoreSlowlyThanTheTimeoutIsReached(t *testing.T) {
	t.Cleanup(func() { // nobody waits for connections that are made in the background
		(&rig{t: t}).until(func() bool { return !strings.Contains(stacks(), "slowConn") })
	})
	eachKind(t, func(t *testing.T, _ *asidetest.Server, rdb *redis.Client) {
		o := rdb.Options()
		o.Dialer = pipe.Slowed(o.Dialer, 2*redisTimeout, 0, 0)
		reachesIt(t, &rig{t: t, virtual: true}, rdb)
	})
	slow := pipe.Slowed(new(net.Dialer).DialContext, 2*redisTimeout, 0, 0)
	t.Run("redis", func(t *testing.T) {
		s := testserver.Redis(t)
		reachesIt(t, &rig{t: t}, closed(t, redis.NewClient(&redis.Options{Addr: s.Addr, Dialer: slow})))
	})
	for name, enabled := range map[string]bool{"cluster": false, "cluster, ContextTimeoutEnabled": true} {
		t.Run(name, func(t *testing.T) {
			addrs := sharedCluster.Get(t).Addrs()
			clusterRig(t) // empties it
			reachesIt(t, &rig{t: t}, closed(t, redis.NewClusterClient(&redis.ClusterOptions{
				Addrs: addrs, Dialer: slow, ContextTimeoutEnabled: enabled,
			})))
		})
	}
}

// stacks are those of all goroutines.
func stacks() string {
	text := make([]byte, 16<<20)
	return string(text[:runtime.Stack(text, true)])
}

func reachesIt(t *testing.T, r *rig, rdb redis.UniversalClient) {
	rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
	c := newCache(t, rdb, rows.load, aside.WithRedisTimeout(redisTimeout))
	r.until(func() bool { mustGet(t, c, 1); time.Sleep(time.Millisecond); return c.Stats().Hits > 0 })
	r.until(func() bool { return c.Invalidate(t.Context(), 1, 2) == nil })
	r.until(func() bool {
		return aside.InTx(t.Context(), func(ctx context.Context) error { return c.Invalidate(ctx, 1, 2) }) == nil
	})
	r.until(func() bool { mustGetMany(t, c, 1, 2); return c.Stats().Hits > 10 })
}

// One connection is not enough for them: each call that found none has one made.
func TestReadsSideBySideReachARedisThatGreetsMoreSlowlyThanTheTimeout(t *testing.T) {
	eachKind(t, func(t *testing.T, _ *asidetest.Server, rdb *redis.Client) {
		o := rdb.Options()
		o.Dialer = pipe.Slowed(o.Dialer, 2*redisTimeout, 0, 0)
		rows := newTable()
		for id := range 10 {
			rows.setPrice(id, 100)
		}
		c := newCache(t, rdb, rows.load)
		(&rig{t: t, virtual: true}).until(func() bool {
			before := c.Stats().Hits
			var group sync.WaitGroup
			for id := range 10 {
				group.Go(func() { _, _ = c.Get(context.Background(), id) })
			}
			for range 4 {
				group.Go(func() { _, _ = c.GetMany(context.Background(), []int{1, 2}) })
			}
			group.Wait()
			return c.Stats().Hits == before+10+4*2
		})
	})
}

// Whether it hangs is known after the timeout. That nobody listens is known as soon as one has asked.
func TestTheFirstReadOfARedisThatRefusesFindsOut(t *testing.T) {
	eachKind(t, func(t *testing.T, s *asidetest.Server, rdb *redis.Client) {
		s.Down()
		var seen error
		c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load, aside.WithObserver(aside.Observer{
			Down: func(d aside.DownInfo) { seen = d.Err },
		}))
		if d := took(func() { mustGet(t, c, 1) }); d > 10*time.Millisecond {
			t.Errorf("the first read took %v", d)
		}
		equal(t, "Down, after one read", c.Stats().Down, true)
		synctest.Wait() // nobody waits for the Observer
		if !errors.Is(seen, syscall.ECONNREFUSED) {
			t.Errorf("it is down by %v", seen)
		}
		equal(t, "the time of the next", took(func() { mustGet(t, c, 1) }), 0)
		var err error
		d := took(func() { err = c.Invalidate(t.Context(), 1) })
		if d > 10*time.Millisecond || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("an Invalidate took %v and returned %v", d, err)
		}
		c.Close()
	})
}

func TestTheFirstReadOfARedisThatRefusesFindsOutWhateverThePoolIs(t *testing.T) {
	for name, o := range map[string]redis.Options{
		"MinIdleConns": {MinIdleConns: 10}, "one connection": {PoolSize: 1}, "a Limiter": {Limiter: unlimited{}},
	} {
		t.Run(name, func(t *testing.T) {
			o.Dialer = func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
			c := newCache(t, closed(t, redis.NewClient(&o)), newTable(product{1, "lamp", 100}).load, aside.WithRedisTimeout(time.Minute))
			mustGet(t, c, 1) // or it would take a minute
			equal(t, "Down, after one read", c.Stats().Down, true)
		})
	}
}

type unlimited struct{}

func (unlimited) Allow() error       { return nil }
func (unlimited) ReportResult(error) {}

// One that hangs may be slow, so it has three chances.
func TestThreeReadsFindOutThatARedisHangs(t *testing.T) {
	eachKind(t, func(t *testing.T, s *asidetest.Server, rdb *redis.Client) {
		s.Hang()
		c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load)
		for range 3 {
			equal(t, "Down", c.Stats().Down, false)
			equal(t, "the time of a read", took(func() { mustGet(t, c, 1) }), redisTimeout)
		}
		equal(t, "Down", c.Stats().Down, true)
		s.Up()
	})
}

// A Cluster whose nodes are known, one of which is gone.
func TestTheFirstReadOfANodeThatRefusesFindsOut(t *testing.T) {
	s := testserver.Cluster(t, 3)
	rdb := closed(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.Addrs(), MaxRedirects: -1}))
	c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load, aside.WithRedisTimeout(time.Minute))
	mustGet(t, c, 1)
	node, err := rdb.MasterForKey(t.Context(), "test:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes {
		if n.Addr == node.Options().Addr {
			n.Kill()
		}
	}
	mustGet(t, c, 1) // or it would take a minute
}

func TestWhatGoRedisWasWaitingForIsTold(t *testing.T) {
	tells := func(t *testing.T, rdb *redis.Client, want string) {
		t.Helper()
		var seen error
		c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load, aside.WithRedisTimeout(redisTimeout), aside.WithObserver(aside.Observer{
			RedisError: func(_ context.Context, e aside.RedisErrorInfo) { seen = e.Err },
		}))
		mustGet(t, c, 1)
		if seen == nil || !strings.Contains(seen.Error(), want) || !errors.Is(seen, context.DeadlineExceeded) {
			t.Errorf("a read says %v, not %s", seen, want)
		}
		if err := c.Invalidate(t.Context(), 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Invalidate says %v, not %s", err, want)
		}
	}
	t.Run("an answer", func(t *testing.T) {
		eachKind(t, func(t *testing.T, s *asidetest.Server, rdb *redis.Client) {
			rdb.Ping(t.Context())
			s.Hang()
			var seen error
			c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load, aside.WithObserver(aside.Observer{
				RedisError: func(_ context.Context, e aside.RedisErrorInfo) { seen = e.Err },
			}))
			mustGet(t, c, 1)
			if seen == nil || !strings.Contains(seen.Error(), "a command was sent") {
				t.Errorf("it says %v", seen)
			}
			s.Up()
		})
	})
	t.Run("a handshake", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			rdb := asidetest.Redis(t).Client()
			o := rdb.Options()
			o.Dialer = pipe.Slowed(o.Dialer, time.Second, 0, 0)
			tells(t, rdb, "a new connection was not ready")
		})
	})
	t.Run("a handshake that go-redis gives up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			rdb := asidetest.Redis(t).Client()
			o := rdb.Options()
			o.Dialer, o.ReadTimeout, o.MaxRetries = pipe.Slowed(o.Dialer, time.Second, 0, 0), redisTimeout*9/10, 0
			tells(t, rdb, "a new connection was not ready")
		})
	})
	t.Run("a dial", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { tells(t, nowhere(t), "a new connection was not ready") })
	})
	for _, hooked := range []bool{false, true} { // not in a bubble, which no waiting for a free connection is possible in
		t.Run(fmt.Sprintf("a free connection, hooked: %v", hooked), func(t *testing.T) {
			rdb := closed(t, redis.NewClient(&redis.Options{Addr: sharedRedis.Get(t).Addr, PoolSize: 1}))
			if hooked {
				rdb.AddHook(through(new(tap).send))
			}
			conn := rdb.Conn()
			defer conn.Close()
			conn.Ping(t.Context())
			tells(t, rdb, "all 1 of the pool are in use")
		})
	}
}
