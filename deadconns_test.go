package aside_test

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/pipe"
	"github.com/asidecache/aside/internal/redisstore"
)

// A network can forget its connections: they swallow what is sent and never answer, while new ones work.
type network struct {
	mu    sync.Mutex
	conns []*forgettable
}

func (n *network) dialer(dial pipe.Dialer) pipe.Dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		hole, _ := net.Pipe()
		c := &forgettable{Conn: conn, hole: hole}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.conns = append(n.conns, c)
		return c, nil
	}
}

// forget forgets all connections that there are, and returns how many.
func (n *network) forget() (forgotten int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		if !c.closed.Load() {
			forgotten++
		}
		c.forgotten.Store(true)
	}
	n.conns = nil
	return forgotten
}

// dead counts the connections that were forgotten and are not closed.
func (n *network) dead() (dead int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		if c.forgotten.Load() && !c.closed.Load() {
			dead++
		}
	}
	return dead
}

type forgettable struct {
	net.Conn
	hole              net.Conn // is never answered
	forgotten, closed atomic.Bool
}

func (c *forgettable) Read(p []byte) (int, error) {
	if c.forgotten.Load() {
		return c.hole.Read(p)
	}
	return c.Conn.Read(p)
}

func (c *forgettable) Write(p []byte) (int, error) {
	if c.forgotten.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *forgettable) SetDeadline(at time.Time) error {
	_ = c.hole.SetDeadline(at)
	return c.Conn.SetDeadline(at)
}

func (c *forgettable) SetReadDeadline(at time.Time) error {
	_ = c.hole.SetReadDeadline(at)
	return c.Conn.SetReadDeadline(at)
}

func (c *forgettable) Close() error {
	c.closed.Store(true)
	_ = c.hole.Close()
	return c.Conn.Close()
}

// fillPools has a client keep so many idle connections in each of its pools.
func fillPools(t *testing.T, node *redis.Client, n int) {
	t.Helper()
	m := &gathering{missing: n, all: make(chan struct{})}
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			if err := node.Do(context.Background(), "ping", m).Err(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	equal(t, "the idle connections", node.PoolStats().IdleConns, uint32(n))
	if !newer(t, redisstore.PipelineStats(node.PoolStats()) != nil, "PipelineStats") {
		return // pipelines take the connections that there are
	}
	piped := min(n, 10) // by default, that pool has room for no more
	m = &gathering{missing: piped, all: make(chan struct{})}
	for range piped {
		group.Go(func() {
			_, err := node.Pipelined(context.Background(), func(p redis.Pipeliner) error {
				p.Do(context.Background(), "ping", m)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	equal(t, "the idle connections for pipelines", redisstore.PipelineStats(node.PoolStats()).IdleConns, uint32(piped))
}

// A gathering is an argument that is not sent before so many commands have a connection.
type gathering struct {
	mu      sync.Mutex
	missing int
	all     chan struct{}
}

func (g *gathering) MarshalBinary() ([]byte, error) {
	g.mu.Lock()
	if g.missing--; g.missing == 0 {
		close(g.all)
	}
	g.mu.Unlock()
	<-g.all
	return []byte("x"), nil
}

func TestASecondAfterTheNetworkForgotThePoolNoReadWaits(t *testing.T) {
	for _, size := range []int{1, 20, 100} {
		for name, hooks := range map[string]bool{"a client": false, "a client with hooks": true} {
			t.Run(name+" with "+strconv.Itoa(size)+" connections", func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					o, lan := r.dial(t).(*redis.Client).Options(), new(network)
					own := *o
					own.Dialer = lan.dialer(o.Dialer)
					rdb := closed(t, redis.NewClient(&own))
					if hooks {
						rdb.AddHook(through(new(tap).send))
					}
					rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
					c := newCache(t, rdb, rows.load)
					mustGetMany(t, c, 1, 2)
					fillPools(t, rdb, size)
					if n := lan.forget(); n < size {
						t.Errorf("%d connections are dead, want %d", n, size)
					}
					for range 3 {
						mustGet(t, c, 1)
					}
					equal(t, "Down, after three failures", c.Stats().Down, size >= 3)
					time.Sleep(time.Second)
					equal(t, "Down, a second later", c.Stats().Down, false)
					before := c.Stats()
					equal(t, "the time of reads side by side", took(func() {
						var group sync.WaitGroup
						for range 2 * size {
							group.Go(func() { _, _ = c.Get(context.Background(), 1) })
							group.Go(func() { _, _ = c.GetMany(context.Background(), []int{1, 2}) })
						}
						group.Wait()
					}), 0)
					equal(t, "Hits", c.Stats().Hits-before.Hits, uint64(6*size))
					equal(t, "RedisErrors", c.Stats().RedisErrors-before.RedisErrors, 0)
					time.Sleep(time.Minute) // for what was abandoned
					synctest.Wait()
				})
			})
		}
	}
}

// A live connection answers at once, and must not be given to each of the commands that look for dead ones.
func TestDeadConnectionsAmongLiveOnesAreDropped(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		o, lan := r.dial(t).(*redis.Client).Options(), new(network)
		own := *o
		own.Dialer = lan.dialer(o.Dialer)
		rdb := closed(t, redis.NewClient(&own))
		w := &tap{over: make(chan struct{})}
		rdb.AddHook(through(w.send))
		c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load)
		mustGet(t, c, 1)
		fillPools(t, rdb, 20)
		for i, c := range lan.conns {
			c.forgotten.Store(i%2 == 1)
		}
		w.refuse(errDown)
		for range 3 {
			mustGet(t, c, 1)
		}
		w.become(nil)
		time.Sleep(time.Second)
		equal(t, "Down", c.Stats().Down, false)
		equal(t, "the time of reads side by side", took(func() {
			var group sync.WaitGroup
			for range 40 {
				group.Go(func() { _, _ = c.Get(context.Background(), 1) })
			}
			group.Wait()
		}), 0)
		time.Sleep(10 * time.Second) // a probe that was left behind ends by the client's own timeout
		equal(t, "the dead connections that are left", lan.dead(), 0)
	})
}

func TestOnceAClusterIsBackNoReadFails(t *testing.T) {
	r := clusterRig(t)
	for _, size := range []int{1, 20} {
		t.Run(strconv.Itoa(size)+" connections to each primary", func(t *testing.T) {
			lan := new(network)
			rdb := closed(t, redis.NewClusterClient(&redis.ClusterOptions{
				Addrs: sharedCluster.Get(t).Addrs(), PoolSize: size,
				Dialer: lan.dialer(redis.NewDialer(&redis.Options{DialTimeout: 5 * time.Second})),
			}))
			rows := newTable()
			for id := range 30 {
				rows.setPrice(id, 100)
			}
			c := newCache(t, rdb, rows.load, aside.WithRedisTimeout(time.Second))
			mustGetMany(t, c, idsFrom(0, 30)...)
			err := rdb.ForEachMaster(t.Context(), func(_ context.Context, node *redis.Client) error {
				fillPools(t, node, size)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			lan.forget()
			r.until(func() bool {
				hits := c.Stats().Hits
				for id := range 30 {
					mustGet(t, c, id)
				}
				return !c.Stats().Down && c.Stats().Hits == hits+30
			})
			errs := c.Stats().RedisErrors
			var group sync.WaitGroup
			for range size {
				for id := range 30 {
					group.Go(func() { _, _ = c.Get(context.Background(), id) })
				}
			}
			group.Wait()
			equal(t, "RedisErrors since it was back", c.Stats().RedisErrors-errs, 0)
		})
	}
}
