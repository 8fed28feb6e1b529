package aside_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

// An outage is a way for a real server to be down.
type outage struct {
	name       string
	args       []string // of the server
	since7     []string // more of them, which Redis 6 does not know
	prepare    func(t *testing.T, s *testserver.RedisServer)
	begin, end func(t *testing.T, s *testserver.RedisServer)
	answers    bool // the server does, so it does not matter how long a client waits
	deletes    bool // invalidations work all the same
}

var outages = []outage{
	{
		name:  "refused",
		begin: func(t *testing.T, s *testserver.RedisServer) { s.Kill() },
		end:   func(t *testing.T, s *testserver.RedisServer) { s.Restart() },
	},
	{
		name:  "hung",
		begin: func(t *testing.T, s *testserver.RedisServer) { s.Stop() },
		end:   func(t *testing.T, s *testserver.RedisServer) { s.Continue() },
	},
	{
		name:    "OOM",
		args:    []string{"--maxmemory-policy", "noeviction"},
		begin:   commands("CONFIG SET maxmemory 1mb"), // less than an empty server needs
		end:     commands("CONFIG SET maxmemory 0"),
		answers: true,
		deletes: true,
	},
	{
		name: "LOADING",
		args: []string{"--rdbcompression", "no"},
		since7: []string{
			"--enable-debug-command", "yes",
			"--loading-process-events-interval-bytes", "1024", // it answers after each key
		},
		prepare: commands("DEBUG POPULATE 5000 filler 2048"),
		begin:   beginLoading,
		end:     endLoading,
		answers: true,
	},
	{
		name:    "READONLY",
		begin:   commands("REPLICAOF 127.0.0.1 1"),
		end:     commands("REPLICAOF NO ONE"),
		answers: true,
	},
	{
		name: "CLUSTERDOWN",
		args: []string{"--cluster-enabled", "yes"},
		prepare: func(t *testing.T, s *testserver.RedisServer) {
			slots("ADDSLOTS", 16383)(t, s)
			(&rig{t: t}).until(func() bool {
				return strings.Contains(command(s, "CLUSTER INFO").Val().(string), "cluster_state:ok")
			})
		},
		// The last slot stays, else the node takes itself for a minority and delays its return.
		begin:   slots("DELSLOTS", 16382),
		end:     slots("ADDSLOTS", 16382),
		answers: true,
	},
}

// beginLoading has the server load its data for longer than any test takes.
func beginLoading(t *testing.T, s *testserver.RedisServer) {
	commands("CONFIG SET key-load-delay 10000")(t, s)
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		command(s, "DEBUG RELOAD")
	}()
	t.Cleanup(func() { s.Kill(); <-reloaded })
	(&rig{t: t}).until(func() bool { return redis.HasErrorPrefix(command(s, "GET x").Err(), "LOADING") })
}

// endLoading ends it. A Redis 6 that loads takes no settings, so it is replaced by one that has nothing to load.
func endLoading(t *testing.T, s *testserver.RedisServer) {
	if testserver.Version(t) < 7 {
		s.Restart()
		return
	}
	commands("CONFIG SET key-load-delay 0")(t, s)
}

// slots has a node of a Cluster add or delete the slots up to last, without the commands for ranges, which came with Redis 7.
func slots(subcommand string, last int) func(t *testing.T, s *testserver.RedisServer) {
	return func(t *testing.T, s *testserver.RedisServer) {
		t.Helper()
		var line strings.Builder
		line.WriteString("CLUSTER " + subcommand)
		for slot := range last + 1 {
			line.WriteString(" " + strconv.Itoa(slot))
		}
		commands(line.String())(t, s)
	}
}

// start starts a server that is not down yet.
func (o outage) start(t *testing.T) *testserver.RedisServer {
	args := o.args
	if testserver.Version(t) >= 7 {
		args = slices.Concat(args, o.since7)
	}
	s := testserver.Redis(t, args...)
	if o.prepare != nil {
		o.prepare(t, s)
	}
	return s
}

// clients differ in how long they wait for a server.
var clients = map[string]redis.Options{
	"a default client":           {},
	"ContextTimeoutEnabled":      {ContextTimeoutEnabled: true},
	"a client without a timeout": {ReadTimeout: -1, WriteTimeout: -1, PoolTimeout: time.Hour},
}

func dial(t *testing.T, s *testserver.RedisServer, client string) *redis.Client {
	o := clients[client]
	o.Addr = s.Addr
	return closed(t, redis.NewClient(&o))
}

// The server stays down until the last call has returned, and one of the clients never gives up: that the calls return
// is the library's doing.
func TestReadsGoOnThroughAnyOutage(t *testing.T) {
	for _, o := range outages {
		for client := range clients {
			if client == "a default client" || !o.answers {
				t.Run(o.name+", "+client, func(t *testing.T) {
					t.Parallel()
					readsGoOn(t, o, client)
				})
			}
		}
	}
}

func readsGoOn(t *testing.T, o outage, client string) {
	r, s := &rig{t: t}, o.start(t)
	rows := newTable()
	for id := range 50 {
		rows.setPrice(id, 100)
	}
	c := newCache(t, dial(t, s, client), rows.load, aside.WithBatch(rows.loadMany))
	mustGet(t, c, 1)
	o.begin(t, s)

	errLoader := errors.New("the loader's own")
	late := newCache(t, dial(t, s, client), rows.load) // has never spoken to a Redis that is up
	for _, c := range []*aside.Cache[int, product]{late, c} {
		for id := 2; id < 10; id++ {
			equal(t, "the price", mustGet(t, c, id).Price, 100)
		}
		if _, err := c.Get(t.Context(), 404); !errors.Is(err, aside.ErrNotFound) {
			t.Errorf("an absent row is %v", err)
		}
		rows.fail(errLoader)
		if _, err := c.Get(t.Context(), 10); err != errLoader {
			t.Errorf("a loader's error became %v", err)
		}
		rows.fail(nil)
	}
	before := rows.loads.Load()
	found, err := c.GetMany(t.Context(), []int{20, 21, 22, 23, 24, 25, 404})
	if len(found) != 6 || err != nil {
		t.Errorf("GetMany found %v, %v", found, err)
	}
	equal(t, "the number of batch loads", rows.loads.Load()-before, 1)
	rows.setPrice(1, 90)
	r.until(func() bool {
		err = c.Invalidate(t.Context(), 1)
		return !o.deletes || !errors.Is(err, context.DeadlineExceeded) // a busy machine is no outage
	})
	if (err == nil) != o.deletes {
		t.Errorf("Invalidate returned %v", err)
	}
	late.Close()

	o.end(t, s)
	r.until(func() bool { return c.Invalidate(t.Context(), 1) == nil })
	equal(t, "the price after Invalidate", mustGet(t, c, 1).Price, 90)
	hits := c.Stats().Hits
	r.until(func() bool {
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
		return c.Stats().Hits > hits
	})
	equal(t, "Down, after it is back", c.Stats().Down, false)
}

func TestLoadsStayCollapsedAndBoundedThroughAnyOutage(t *testing.T) {
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			loadsStay(t, o)
		})
	}
}

func loadsStay(t *testing.T, o outage) {
	const callers, maxLoads = 100, 4
	s := o.start(t)
	g := &gauge{table: newTable(), loading: map[int]int{}}
	for id := range callers {
		g.setPrice(id, 100)
	}
	c := newCache(t, dial(t, s, "a default client"), g.load, aside.WithMaxLoads(maxLoads))
	g.wait = func(ctx context.Context) { // until all callers are there
		for c.Stats().Misses < callers && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	get := func(id int) {
		if p, err := c.Get(t.Context(), id); p.Price != 100 || err != nil {
			t.Errorf("Get(%d) returned %v, %v", id, p, err)
		}
	}
	o.begin(t, s)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() { get(1) })
	}
	wg.Wait()
	if g.mostOne > 2 { // one that began before Redis was known to be down, and one after
		t.Errorf("%d loads of one key at a time", g.mostOne)
	}
	for id := range callers {
		wg.Go(func() { get(id) })
	}
	wg.Wait()
	if g.mostAll > maxLoads {
		t.Errorf("%d loads at a time, more than %d", g.mostAll, maxLoads)
	}
}

func TestAnOutageInTheMiddleOfALoad(t *testing.T) {
	cases := map[string]struct {
		outage  func(t *testing.T, s *testserver.RedisServer)
		refused uint64
	}{
		"stopped and continued": {func(t *testing.T, s *testserver.RedisServer) { s.Stop(); s.Continue() }, 0},
		"killed and restarted":  {func(t *testing.T, s *testserver.RedisServer) { s.Kill(); s.Restart() }, 1}, // empty
		"replica for a while": {func(t *testing.T, s *testserver.RedisServer) {
			commands("REPLICAOF 127.0.0.1 1")(t, s)
			commands("REPLICAOF NO ONE")(t, s)
		}, 0},
	}
	for name, o := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testserver.Redis(t)
			rows := newSlowTable(product{1, "lamp", 100})
			// Patience also makes for a lease that no slow machine loses.
			c := newCache(t, dial(t, s, "a default client"), rows.load, patient)
			slow := getting(c, 1)
			<-rows.read
			o.outage(t, s)
			rows.go_ <- struct{}{}
			price(t, "what the reader gets", slow, 100)
			equal(t, "Refused", c.Stats().Refused, o.refused)
			equal(t, "Fills", c.Stats().Fills, 1-o.refused)
		})
	}
}

// The outage is noticed, lasts a second, and an Invalidate follows before the load ends.
func TestAnOutageAndAnInvalidateInTheMiddleOfALoad(t *testing.T) {
	for _, o := range outages[:2] {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			r, s := &rig{t: t}, o.start(t)
			rows := newSlowTable(product{1, "lamp", 100}, product{2, "desk", 200})
			c := newCache(t, dial(t, s, "a default client"), func(ctx context.Context, id int) (product, error) {
				if id == 1 {
					return rows.load(ctx, id)
				}
				return rows.table.load(ctx, id)
			})
			writer := newCache(t, dial(t, s, "a default client"), rows.table.load)
			slow := getting(c, 1)
			<-rows.read // 100
			o.begin(t, s)
			r.until(func() bool { mustGet(t, c, 2); return c.Stats().Down })
			rows.setPrice(1, 90)
			o.end(t, s)
			r.until(func() bool { return writer.Invalidate(t.Context(), 1) == nil })
			equal(t, "the price in another process", mustGet(t, writer, 1).Price, 90)
			r.until(func() bool { mustGet(t, c, 2); return !c.Stats().Down })
			rows.go_ <- struct{}{}
			price(t, "what the slow reader gets, which began before", slow, 100)
			equal(t, "the price in Redis", mustGet(t, writer, 1).Price, 90)
		})
	}
}

// Whatever Redis is asked and does before, while and after it is down, an Invalidate that returned nil holds.
func TestNoReadIsStaleThroughOutages(t *testing.T) {
	for _, o := range outages[:2] {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			s := o.start(t)
			r := rigOf(t, s.Addr)
			c, _ := process(r, newTable(product{2, "desk", 200}).load, impatient)
			noStaleReadWhile(t, r, impatient, func() {
				for range 3 {
					o.begin(t, s)
					r.until(func() bool { mustGet(t, c, 2); return c.Stats().Down })
					o.end(t, s)
					r.until(func() bool { mustGet(t, c, 2); return !c.Stats().Down })
				}
			})
		})
	}
}

// command sends one command on a connection of its own.
func command(s *testserver.RedisServer, line string) *redis.Cmd {
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, ReadTimeout: time.Minute})
	defer rdb.Close()
	var args []any
	for _, word := range strings.Fields(line) {
		args = append(args, word)
	}
	return rdb.Do(context.Background(), args...)
}

func commands(line string) func(t *testing.T, s *testserver.RedisServer) {
	return func(t *testing.T, s *testserver.RedisServer) {
		t.Helper()
		if err := command(s, line).Err(); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}
