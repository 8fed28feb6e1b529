package aside_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/pipe"
	"github.com/asidecache/aside/internal/testserver"
)

// writing are the verbs by which the library writes.
var writing = []string{"lease", "fill", "renew", "release", "claim", "invalidate", "hold", "srem", "mark", "index"}

func TestWhileWritesHangHitsGoOnAndMissesDoNotWait(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		d := new(downs)
		c, w := inWeather(r, rows.load, d.observer())
		mustGet(t, c, 1)
		w.hang(writing...)
		missAtOnce(c, 1000, 5)
		equal(t, "WritesDown", c.Stats().WritesDown, true)
		equal(t, "Down", c.Stats().Down, false)
		synctest.Wait() // until it is known that the leases were not late for the size of a value
		w.sentSince()
		before := c.Stats()
		equal(t, "the time of 100 hits, a miss and a GetMany", took(func() {
			for range 100 {
				mustGet(t, c, 1)
			}
			mustGet(t, c, 2)
			mustGetMany(t, c, 1, 2)
		}), 0)
		equal(t, "Hits", c.Stats().Hits-before.Hits, 101)
		equal(t, "Loads", c.Stats().Loads-before.Loads, 2)
		for _, s := range w.sentSince() {
			if s.verb != "get" && s.verb != "mget" {
				t.Errorf("a %s was sent", s.verb)
			}
		}
		equal(t, "the time of an Invalidate, which is tried in the background", took(func() {
			if c.Invalidate(t.Context(), 1) == nil {
				t.Error("it returned nil")
			}
		}), 0)
		time.Sleep(10 * time.Second)
		equal(t, "WritesDown, as long as writes hang", c.Stats().WritesDown, true)
		d.expect(t, "writes") // once: they were not thought to be back
		w.become(nil)
		time.Sleep(2 * time.Second)
		equal(t, "WritesDown, after it", c.Stats().WritesDown, false)
		mustGet(t, c, 2)
		mustGet(t, c, 2)
		equal(t, "Hits of what is stored again", c.Stats().Hits-before.Hits, 102)
	})
}

func TestWhileWritesHangAHotMissIsLoadedOnceAtATime(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		g := &gauge{table: newTable(product{1, "lamp", 100}), loading: map[int]int{}}
		g.wait = func(context.Context) { time.Sleep(time.Second) }
		c, w := inWeather(r, g.load, aside.WithMaxLoads(4))
		w.hang(writing...)
		missAtOnce(c, 1000, 5)
		loads := c.Stats().Loads
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() { _, _ = c.Get(context.Background(), 1) })
		}
		group.Wait()
		if n := c.Stats().Loads - loads; n < 1 || n > 2 { // one that began before the last of them came, if any did, and one after
			t.Errorf("%d loads, want one or two", n)
		}
		equal(t, "the most loads of it at a time", g.mostOne, 1)
		missAtOnce(c, 2000, 20)
		equal(t, "the most loads at a time", g.mostAll, 4)
	})
}

func TestWhileWritesHangNoRefreshIsClaimed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, w := inWeather(r, newTable(product{1, "lamp", 100}).load, aside.WithTTL(time.Minute), aside.WithStale(time.Hour))
		mustGet(t, c, 1)
		w.hang(writing...)
		missAtOnce(c, 1000, 5)
		time.Sleep(2 * time.Minute)
		w.sentSince()
		mustGet(t, c, 1)
		synctest.Wait()
		equal(t, "StaleHits", c.Stats().StaleHits, 1)
		equal(t, "the commands of a stale hit", len(w.sentSince()), 1)
	})
}

// Reads that fail say nothing of writes: an invalidation need not have failed for it to be known.
func TestReadsThatFailStopHitsAlone(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, w := inWeather(r, newTable(product{1, "lamp", 100}).load)
		w.hang("get", "mget", "exists")
		for range 3 {
			mustGet(t, c, 1)
		}
		equal(t, "Down", c.Stats().Down, true)
		equal(t, "WritesDown", c.Stats().WritesDown, false)
		equal(t, "the time of a read", took(func() { mustGet(t, c, 1) }), 0)
		mustInvalidate(t, c, 1)
		time.Sleep(10 * time.Second)
		equal(t, "Down, while reads fail", c.Stats().Down, true)
	})
}

func TestHitsGoOnWhileARealRedisPausesWrites(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
	r := rigOf(t, s.Addr)
	c := newCache(t, r.dial(t), rows.load, impatient)
	r.until(func() bool { mustGet(t, c, 1); return c.Stats().Hits > 0 })
	if err := r.raw.Do(t.Context(), "CLIENT", "PAUSE", 600000, "WRITE").Err(); err != nil {
		t.Logf("this server cannot pause writes: %v", err) // as before 6.2
		return
	}
	r.until(func() bool { missAtOnce(c, 1000, 5); return c.Stats().WritesDown })
	for range 100 {
		before := c.Stats()
		mustGet(t, c, 1)
		if now := c.Stats(); !now.Down && now.RedisErrors == before.RedisErrors {
			equal(t, "Hits", now.Hits-before.Hits, 1)
		}
	}
	equal(t, "WritesDown", c.Stats().WritesDown, true)
	equal(t, "the error of UNPAUSE", r.raw.Do(t.Context(), "CLIENT", "UNPAUSE").Err(), nil)
	r.until(func() bool { return !c.Stats().WritesDown })
	r.until(func() bool { mustInvalidate(t, c, 1); mustGet(t, c, 1); fills := c.Stats().Fills; return fills > 1 })
}

// Another process has filled the entry between the look and the lease, and the primary was demoted: it does not hear of an
// Invalidate any more.
func TestALeaseThatAReplicaRefusesIsNotAnsweredWithItsDocument(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	r := rigOf(t, s.Addr)
	r.shared = true
	rows := newTable(product{1, "lamp", 100})
	c, tap := process(r, rows.load)
	other, _ := process(r, rows.load)
	lease := tap.before("lease")
	slow := getting(c, 1)
	lease.wait()
	mustGet(t, other, 1)
	equal(t, "the error of REPLICAOF", r.raw.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(), nil)
	rows.setPrice(1, 90)
	lease.release()
	price(t, "what the reader gets", slow, 90)
	equal(t, "RedisErrors", c.Stats().RedisErrors, 1)
}

// Two addresses of one server stand for a primary and its successor.
func TestARowOfFailuresEndsWhereAnotherPrimaryHasTakenOver(t *testing.T) {
	port := sharedRedis.Get(t).Addr[len("127.0.0.1:"):]
	var addr atomic.Value
	addr.Store("127.0.0.1:" + port)
	rdb := closed(t, redis.NewClusterClient(&redis.ClusterOptions{
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
			return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: addr.Load().(string)}}}}, nil
		},
	}))
	w := &tap{over: make(chan struct{})}
	rdb.AddHook(through(w.send))
	c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load, patient)
	fails := func(when string) {
		w.refuse(errDown)
		mustGet(t, c, 1)
		w.become(nil)
		equal(t, "circuits that count a failure, "+when, aside.Failing(c), 1)
	}
	fails("before the primaries are known")
	mustGet(t, c, 1)
	equal(t, "circuits that count a failure, once they are known", aside.Failing(c), 0)
	fails("before it was replaced")
	addr.Store("localhost:" + port)
	(&rig{t: t}).until(func() bool {
		rdb.ReloadState(t.Context())
		node, err := rdb.MasterForKey(t.Context(), "test:1")
		return err == nil && node.Options().Addr == addr.Load()
	})
	mustGet(t, c, 1)
	equal(t, "circuits that count a failure, after it was replaced", aside.Failing(c), 0)
}

// What is told.

// A downs is an Observer that keeps what it is told, and a gate that it waits at.
type downs struct {
	mu   sync.Mutex
	told []string
	now  int            // calls under way
	most int            // at a time
	at   func(told int) // is called with how many were told before
}

func (d *downs) observer() aside.Option {
	return aside.WithObserver(aside.Observer{Down: func(i aside.DownInfo) {
		what := "reads"
		if i.Writes {
			what = "writes"
		}
		if i.Err == nil {
			what += " back"
		}
		d.mu.Lock()
		n := len(d.told)
		d.told = append(d.told, what)
		d.now++
		d.most = max(d.most, d.now)
		d.mu.Unlock()
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.now--
		}()
		if d.at != nil {
			d.at(n)
		}
	}})
}

func (d *downs) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.told)
}

func (d *downs) expect(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.told, want) {
		t.Errorf("the Observer was told %q, want %q", d.told, want)
	}
	if d.most > 1 {
		t.Errorf("the Observer was told of %d changes at a time", d.most)
	}
}

func TestWritesThatAreDownAreTold(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		d, logged := new(downs), new(log)
		c, w := inWeather(r, newTable().load, d.observer(), aside.WithLogger(slog.New(logged)))
		w.refuse(errDown, writing...)
		missAtOnce(c, 1000, 5)
		w.become(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		d.expect(t, "writes", "writes back")
		want := []string{"WARN aside: Redis takes no writes, what is loaded is not stored", "INFO aside: Redis takes writes again"}
		if !slices.Equal(logged.lines, want) {
			t.Errorf("it logged %q", logged.lines)
		}
	})
}

func TestAnObserverThatIsSlowOrPanicsDelaysNothingAndIsToldAllInOrder(t *testing.T) {
	for name, at := range map[string]func(int){
		"slow":                  func(int) { time.Sleep(time.Hour) },
		"panics":                func(int) { panic("the Observer's own") },
		"ends its goroutine":    func(int) { runtime.Goexit() },
		"slow, and then panics": func(int) { time.Sleep(time.Hour); panic("the Observer's own") },
	} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				d := &downs{at: at}
				c, w := inWeather(r, newTable(product{1, "lamp", 100}).load, d.observer(), aside.WithLogger(slog.New(new(log))))
				for range 2 {
					w.refuse(errDown)
					down(t, c)
					equal(t, "the time of a read", took(func() { mustGet(t, c, 1) }), 0)
					w.become(nil)
					time.Sleep(time.Second)
					equal(t, "Down, after it was back", c.Stats().Down, false)
					equal(t, "the time of a read", took(func() { mustGet(t, c, 1) }), 0)
				}
				time.Sleep(5 * time.Hour)
				synctest.Wait()
				d.expect(t, "reads", "reads back", "reads", "reads back")
			})
		})
	}
}

func TestALoggerThatPanicsKeepsTheObserverFromNothing(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		d := new(downs)
		c, w := inWeather(r, newTable().load, d.observer(), aside.WithLogger(slog.New(panics{})))
		w.refuse(errDown)
		missAtOnce(c, 1, 1)
		missAtOnce(c, 1, 1)
		missAtOnce(c, 1, 1)
		w.become(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		d.expect(t, "reads", "reads back")
	})
}

// The second primary goes down while the Observer is still busy with the return of the first.
func TestChangesOfTwoPrimariesAreToldInTheirOrder(t *testing.T) {
	r := clusterRig(t)
	rdb := r.dial(t).(*redis.ClusterClient)
	var sick sync.Map // addresses
	rdb.OnNewNode(func(node *redis.Client) {
		node.AddHook(through(func(_ context.Context, cmds []redis.Cmder, send sender) error {
			if _, sick := sick.Load(node.Options().Addr); sick && slices.Contains([]string{"get", "exists"}, cmds[0].Name()) {
				return refuse(errDown, cmds...)
			}
			return send(cmds...)
		}))
	})
	busy, goOn := make(chan struct{}), make(chan struct{})
	d := &downs{at: func(n int) {
		if n == 1 {
			close(busy)
			<-goOn
		}
	}}
	c := newCache(t, rdb, newTable().load, patient, d.observer())
	mustMiss := func(id int) { _, _ = c.Get(t.Context(), id) }
	mustMiss(1)
	addrOf := func(id int) string { return r.serverOf(fmt.Sprint("test:", id)) }
	first, second := 1, 2
	for addrOf(second) == addrOf(first) {
		second++
	}
	sick.Store(addrOf(first), true)
	r.until(func() bool { mustMiss(first); return c.Stats().Down })
	sick.Delete(addrOf(first))
	<-busy
	sick.Store(addrOf(second), true)
	r.until(func() bool { mustMiss(second); return c.Stats().Down })
	equal(t, "what the Observer was told before it is free", d.count(), 2)
	close(goOn)
	r.until(func() bool { return d.count() == 3 })
	d.expect(t, "reads", "reads back", "reads")
}

// What fails while a connection is set up costs a connection each time.
func TestAClientWhoseConnectionsCannotBeSetUpMakesFewOfThem(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	equal(t, "the error of CONFIG SET", rigOf(t, s.Addr).raw.ConfigSet(t.Context(), "requirepass", "secret").Err(), nil)
	admin := closed(t, redis.NewClient(&redis.Options{Addr: s.Addr, Password: "secret"}))
	user := func(name string, rules ...any) {
		if err := admin.Do(t.Context(), append([]any{"ACL", "SETUSER", name}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	user("unselective", "on", ">secret", "~*", "+@all", "-select")
	user("nameless", "on", ">secret", "~*", "+@all", "-client")
	cases := map[string]redis.Options{
		"a password that was revoked":             {Password: "old"},
		"no password, and a database":             {DB: 1},
		"a user that is gone":                     {Username: "gone", Password: "secret"},
		"a user who may not choose a database":    {Username: "unselective", Password: "secret", DB: 1},
		"a user who may not name the connection":  {Username: "nameless", Password: "secret", ClientName: "test"},
		"a database that does not exist":          {Password: "secret", DB: 99},
		"no password":                             {},
		"TLS where the server speaks it not":      {TLSConfig: &tls.Config{InsecureSkipVerify: true}},
		"a password that was revoked, with hooks": {Password: "old"},
	}
	for name, o := range cases {
		t.Run(name, func(t *testing.T) {
			dialled := new(atomic.Int64)
			o.Addr, o.Dialer = s.Addr, counting(dialled, &o)
			rdb := closed(t, redis.NewClient(&o))
			if strings.HasSuffix(name, "hooks") {
				rdb.AddHook(through(new(tap).send))
			}
			c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load)
			for range 1000 {
				mustGet(t, c, 1)
			}
			equal(t, "Down", c.Stats().Down, true)
			if n := dialled.Load(); n > 100 {
				t.Errorf("%d connections for 1,000 reads", n)
			}
		})
	}
}

func TestAPasswordThatIsGoodAgainIsNoticed(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	equal(t, "the error of CONFIG SET", rigOf(t, s.Addr).raw.ConfigSet(t.Context(), "requirepass", "new").Err(), nil)
	admin := closed(t, redis.NewClient(&redis.Options{Addr: s.Addr, Password: "new"}))
	c := newCache(t, closed(t, redis.NewClient(&redis.Options{Addr: s.Addr, Password: "old"})), newTable(product{1, "lamp", 100}).load)
	r := &rig{t: t}
	r.until(func() bool { mustGet(t, c, 1); return c.Stats().Down })
	if err := admin.ConfigSet(t.Context(), "requirepass", "old").Err(); err != nil {
		t.Fatal(err)
	}
	r.until(func() bool { mustGet(t, c, 1); return c.Stats().Hits > 0 })
	equal(t, "Down", c.Stats().Down, false)
}

// An error of one key, or of one command, says nothing of the others.
func TestWhatAUserMayNotDoDoesNotMeanDown(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, w := inWeather(r, newTable(product{1, "lamp", 100}).load)
		w.refuse(redisError("NOPERM No permissions to access a key"))
		for range 10 {
			mustGet(t, c, 1)
			if err := c.Invalidate(t.Context(), 1); err == nil || errors.Is(err, errDown) {
				t.Errorf("Invalidate returned %v", err)
			}
		}
		equal(t, "Down", c.Stats().Down || c.Stats().WritesDown, false)
	})
}

// counting counts the connections that a client makes as its options say.
func counting(n *atomic.Int64, o *redis.Options) pipe.Dialer {
	dial := redis.NewDialer(&redis.Options{Addr: o.Addr, TLSConfig: o.TLSConfig, DialTimeout: 5 * time.Second})
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		n.Add(1)
		return dial(ctx, network, addr)
	}
}

// Panics is a logger that does.
type panics struct{ slog.Handler }

func (panics) Enabled(context.Context, slog.Level) bool  { return true }
func (panics) Handle(context.Context, slog.Record) error { panic("the logger's own") }
func (p panics) WithAttrs([]slog.Attr) slog.Handler      { return p }
func (p panics) WithGroup(string) slog.Handler           { return p }
