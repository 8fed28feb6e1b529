package aside_test

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

func TestAClientThatWouldBreakThePromisesIsRefused(t *testing.T) {
	addrs := []string{"127.0.0.1:1"}
	refused := func(o redis.ClusterOptions) redis.UniversalClient {
		o.Addrs = addrs
		return closed(t, redis.NewClusterClient(&o))
	}
	cases := map[string]redis.UniversalClient{
		"nil":                 nil,
		"client is nil":       (*redis.Client)(nil),
		"Redis client is nil": (*redis.ClusterClient)(nil),
		"redis.Ring":          closed(t, redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": addrs[0]}})),
		"ReadOnly":            refused(redis.ClusterOptions{ReadOnly: true}),
		"RouteByLatency":      refused(redis.ClusterOptions{RouteByLatency: true}),
		"RouteRandomly": closed(t, redis.NewFailoverClusterClient(&redis.FailoverOptions{
			MasterName: "aside", SentinelAddrs: addrs, RouteRandomly: true,
		})),
	}
	if method, ok := autoPipeline(t, closed(t, redis.NewClient(&redis.Options{Addr: addrs[0]}))); ok {
		cases["the client is nil"] = reflect.Zero(method.Type().Out(0)).Interface().(redis.UniversalClient)
	}
	caching := redis.Options{Addr: addrs[0]}
	config := reflect.ValueOf(&caching).Elem().FieldByName("ClientSideCacheConfig")
	if newer(t, config.IsValid(), "ClientSideCacheConfig") {
		config.Set(reflect.New(config.Type().Elem()))
		cases["ClientSideCacheConfig"] = closed(t, redis.NewClient(&caching))
	}
	for setting, rdb := range cases {
		t.Run(setting, func(t *testing.T) {
			c, err := aside.New(rdb, "test", newTable().load)
			if c != nil || err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(setting, "the ")) {
				t.Errorf("New returned %v, which does not name %s", err, setting)
			}
		})
	}
}

// Clients of the user's own making, around the real one.
type (
	tracing  struct{ redis.UniversalClient }
	deep     struct{ *tracing }
	stub     struct{ redis.UniversalClient } // which something else does the work for
	delegate struct {
		stub
		work struct{ real *redis.Ring }
	}
	sharded struct {
		redis.UniversalClient
		shards []redis.Cmdable
	}
	byValue struct{ *redis.ClusterClient }
	looped  struct {
		redis.UniversalClient
		next *looped
	}

	// What only one of the clients of go-redis implements.
	ofCluster interface {
		redis.UniversalClient
		MasterForKey(ctx context.Context, key string) (*redis.Client, error)
	}
	ofRing interface {
		redis.UniversalClient
		SetAddrs(addrs map[string]string)
	}
	overCluster struct{ ofCluster }
	overRing    struct{ ofRing }
)

func TestAClientThatWouldBreakThePromisesIsFoundInWhatIsWrappedAroundIt(t *testing.T) {
	addrs := []string{"127.0.0.1:1"}
	ring := closed(t, redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": addrs[0]}}))
	cluster := closed(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, RouteRandomly: true}))
	good := closed(t, redis.NewClient(&redis.Options{Addr: addrs[0]}))
	loop := &looped{UniversalClient: good}
	loop.next = &looped{UniversalClient: ring, next: loop}
	within := &delegate{stub: stub{good}}
	within.work.real = ring
	round := &looped{UniversalClient: good}
	round.next = round
	refused := map[string]redis.UniversalClient{
		"embedded in a struct":                tracing{ring},
		"embedded behind a pointer":           &tracing{cluster},
		"embedded twice":                      deep{&tracing{cluster}},
		"in a field of a field":               within,
		"among several":                       sharded{good, []redis.Cmdable{good, cluster}},
		"embedded as what it is":              byValue{cluster},
		"in an interface for a Cluster":       overCluster{cluster},
		"in an interface for a Ring":          overRing{ring},
		"further on in a list that is a loop": loop,
	}
	if _, ok := autoPipeline(t, cluster); ok {
		refused["behind an AutoPipeliner"] = autoPipeliner(t, cluster)
	}
	for where, rdb := range refused {
		if c, err := aside.New(rdb, "test", newTable().load); c != nil || err == nil ||
			!strings.Contains(err.Error(), "redis.Ring") && !strings.Contains(err.Error(), "RouteRandomly") {
			t.Errorf("%s: New returned %v", where, err)
		}
	}
	for _, rdb := range []redis.UniversalClient{tracing{good}, deep{&tracing{good}}, sharded{UniversalClient: good}, round} {
		if _, err := aside.New(rdb, "test", newTable().load); err != nil {
			t.Errorf("%T with a good client: New returned %v", rdb, err)
		}
	}
}

// In a Cluster, round trips are counted at the nodes.
func TestManyKeysCostOneRoundTripToEachServer(t *testing.T) {
	cases := map[string]struct {
		rig     func(t *testing.T) *rig
		servers int
	}{
		"redis":   {realRig, 1},
		"cluster": {clusterRig, 3},
	}
	for name, topology := range cases {
		t.Run(name, func(t *testing.T) {
			r, p := topology.rig(t), new(tap)
			rdb := r.dial(t)
			onEachServer(rdb, p.send)
			rows := newTable()
			var ids []int
			for id := range 300 {
				ids = append(ids, id)
				rows.setPrice(id, 100)
			}
			c := newCache(t, rdb, rows.load, aside.WithBatch(rows.loadMany), patient)
			costs := func(what string, trips int, do func() error) {
				t.Helper()
				p.reset()
				if err := do(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				_, n := p.count()
				equal(t, "the number of round trips of "+what, n, trips*topology.servers)
			}
			getMany := func() error {
				found, err := c.GetMany(t.Context(), ids)
				equal(t, "the number of rows", len(found), len(ids))
				return err
			}
			if topology.servers > 1 { // or a server is sent EVALSHA too early, since another one has answered
				other, _ := process(r, rows.load, aside.WithBatch(rows.loadMany))
				mustGetMany(t, other, ids...)
				inTx(t, func(ctx context.Context) error { return other.Invalidate(ctx, ids...) })
				mustInvalidate(t, other, ids...)
				rows.loads.Store(0)
			}
			for range 2 { // before and after the servers know the scripts
				costs("misses", 3, getMany)
				costs("hits", 1, getMany)
				costs("Invalidate", min(2, topology.servers), func() error { return c.Invalidate(t.Context(), ids...) })
				costs("holds and releases", 2, func() error {
					return aside.InTx(t.Context(), func(ctx context.Context) error { return c.Invalidate(ctx, ids...) })
				})
				equal(t, "the document of the last", r.get("test:299"), "")
			}
			equal(t, "the number of batch loads", rows.loads.Load(), 2)
		})
	}
}

// A primary that dies names no successor, and by itself the client looks for one once a minute.
func TestAPrimaryThatDiesIsReplacedWithoutDelay(t *testing.T) {
	t.Parallel()
	r, s := ownCluster(t)
	s.Replicate()
	rows := newTable(product{1, "lamp", 100})
	c, _ := process(r, rows.load, impatient)
	mustGet(t, c, 1)
	i := slices.Index(s.Nodes, s.Primary("test:1"))
	s.Nodes[i].Kill()
	rows.setPrice(1, 90)
	if err := c.Invalidate(t.Context(), 1); err == nil {
		t.Error("nobody could have confirmed an Invalidate")
	}
	equal(t, "the price", mustGet(t, c, 1).Price, 90)
	s.Failover(i)
	over := time.Now()
	r.until(func() bool { return c.Stats().PendingInvalidations == 0 })
	hits := c.Stats().Hits
	r.until(func() bool { equal(t, "the price", mustGet(t, c, 1).Price, 90); return c.Stats().Hits > hits })
	if took := time.Since(over); took > 10*time.Second {
		t.Errorf("the replica was noticed after %v", took)
	}
}

// What the new primary has not heard of is undone, until the TTL of what that brings back. Nothing else bounds it, and nothing
// longer.
func TestAFailoverMayUndoAnInvalidateForTheTTL(t *testing.T) {
	t.Parallel()
	r, s := ownCluster(t)
	s.Replicate()
	rows := newTable(product{1, "lamp", 100})
	const ttl = 5 * time.Minute
	c, _ := process(r, rows.load, patient, aside.WithTTL(ttl))
	mustGet(t, c, 1)
	i := slices.Index(s.Nodes, s.Primary("test:1"))
	s.Detach(i)
	rows.setPrice(1, 90)
	mustInvalidate(t, c, 1)
	equal(t, "the price before the failover", mustGet(t, c, 1).Price, 90)
	s.Failover(i)
	r.until(func() bool { return mustGet(t, c, 1).Price == 100 }) // which only Redis still knows
	if left := r.raw.PTTL(t.Context(), "test:1").Val(); left <= 0 || left > ttl {
		t.Errorf("it stays for %v, and the TTL is %v", left, ttl)
	}
	mustInvalidate(t, c, 1)
	equal(t, "the price after the next Invalidate", mustGet(t, c, 1).Price, 90)
}

// go-redis does not pass on that Redis has too many clients: its connections break.
func TestARedisWithTooManyClientsIsDown(t *testing.T) {
	t.Parallel()
	r := freshRig(t)
	allow := func(n string) {
		equal(t, "the error of CONFIG SET", r.raw.ConfigSet(t.Context(), "maxclients", n).Err(), nil)
	}
	allow("1") // and r.raw is connected
	c, _ := process(r, newTable(product{1, "lamp", 100}).load, impatient)
	for range 3 {
		mustGet(t, c, 1)
	}
	equal(t, "Down", c.Stats().Down, true)
	allow("100")
	r.until(func() bool { return !c.Stats().Down })
}

func TestASentinelMayFailOver(t *testing.T) {
	t.Parallel()
	s := testserver.Sentinel(t)
	dial := func(t *testing.T) redis.UniversalClient {
		return closed(t, redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "aside", SentinelAddrs: []string{s.Addr}}))
	}
	r := &rig{t: t, dial: dial, raw: dial(t)}
	rows := newTable(product{1, "lamp", 100})
	writer, _ := process(r, rows.load, impatient)
	reader, _ := process(r, rows.load, impatient)
	for _, price := range []int{90, 80} {
		mustGet(t, reader, 1)
		s.Failover()
		for range 10 { // whatever they meet
			mustGet(t, writer, 1)
			mustGet(t, reader, 1)
		}
		rows.setPrice(1, price)
		r.until(func() bool { return writer.Invalidate(t.Context(), 1) == nil })
		equal(t, "the price after Invalidate", mustGet(t, writer, 1).Price, price)
		// The other client hears of the failover in its own time.
		r.until(func() bool { return mustGet(t, reader, 1).Price == price })
		hits := reader.Stats().Hits
		r.until(func() bool {
			equal(t, "the price in the other process", mustGet(t, reader, 1).Price, price)
			return reader.Stats().Hits > hits
		})
	}
}

// The journal lies elsewhere than the entry, and what cannot be marked there could not be filled.
func TestReadOfATaggedValueAsksForNoLeaseWhileTheJournalIsDown(t *testing.T) {
	r := clusterRig(t)
	id := 1
	for r.serverOf("test:"+strconv.Itoa(id)) == r.serverOf("aside-tags") {
		id++
	}
	c, tap := process(r, newTable(product{id, "lamps", 100}).load, categories)
	for _, verb := range []string{"mark", "srem"} {
		tap.answer(verb, errDown)
	}
	r.until(func() bool { mustGet(t, c, id); return c.Stats().WritesDown })
	tap.reset()
	mustGet(t, c, id)
	equal(t, "the number of leases", tap.sent("lease"), 0)
}

// A primary of three hangs: its keys are loaded, the others are read from Redis as if nothing had happened.
func TestKeysOfTheOtherPrimariesStillHit(t *testing.T) {
	t.Parallel()
	r, s := ownCluster(t, "--cluster-require-full-coverage", "no")
	victim := s.Nodes[0]
	rows := newTable()
	slots := map[int]int64{}
	var all, lost, kept []int
	for id := range 600 {
		rows.setPrice(id, 100)
		slots[id] = r.raw.ClusterKeySlot(t.Context(), "test:"+strconv.Itoa(id)).Val()
		all = append(all, id)
		if slots[id] <= 5460 {
			lost = append(lost, id)
		} else {
			kept = append(kept, id)
		}
	}
	slices.SortFunc(lost, func(a, b int) int { return cmp.Compare(slots[b], slots[a]) })
	keptHit := func(c *aside.Cache[int, product]) bool {
		t.Helper()
		before := c.Stats().Hits
		for _, id := range kept {
			mustGet(t, c, id)
		}
		return c.Stats().Hits-before == uint64(len(kept))
	}
	readAll := func(c *aside.Cache[int, product]) {
		t.Helper()
		found, err := c.GetMany(t.Context(), all)
		if len(found) != len(all) || err != nil {
			t.Errorf("GetMany found %d of %d, %v", len(found), len(all), err)
		}
	}
	unhurried := aside.WithRedisTimeout(3 * time.Second) // some hundred reads in a row are to hit
	c, _ := process(r, rows.load, unhurried, aside.WithBatch(rows.loadMany))
	other, _ := process(r, rows.load, unhurried, aside.WithBatch(rows.loadMany))
	for _, c := range []*aside.Cache[int, product]{c, other} {
		readAll(c)
		r.until(func() bool { return keptHit(c) }) // and the client has asked some node for what it wants to know of GET
	}

	victim.Stop()
	equal(t, "that all other keys hit before the outage is noticed", keptHit(c), true)
	for _, id := range lost[:3] { // the closest neighbours of the other keys
		equal(t, "the price", mustGet(t, c, id).Price, 100)
	}
	equal(t, "Down", c.Stats().Down, true)
	r.until(func() bool { return keptHit(c) }) // once it has found out which they are
	before := other.Stats().Hits
	readAll(other)
	equal(t, "the number of hits of a batch before the outage is noticed", other.Stats().Hits-before, uint64(len(kept)))
	r.until(func() bool { return keptHit(other) })
	if err := c.Invalidate(t.Context(), all...); err == nil {
		t.Error("Invalidate of all returned nil")
	}
	equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, len(lost))

	victim.Continue()
	r.until(func() bool { return c.Invalidate(t.Context(), all...) == nil && !c.Stats().Down })
	r.until(func() bool { // once what was sent before has arrived
		readAll(c)
		before := c.Stats().Hits
		readAll(c)
		return c.Stats().Hits-before == uint64(len(all))
	})
}

// A primary of three hangs, with more of the keys than one pipeline takes.
func TestAPrimaryThatHangsKeepsNeitherRetriesNorRenewalsFromTheOthers(t *testing.T) {
	t.Parallel()
	r, s := ownCluster(t, "--cluster-require-full-coverage", "no")
	victim := s.Nodes[0]
	var all, lost []int
	var kept []string
	for id := 0; len(lost) < 1001; id++ {
		all = append(all, id)
		if name := "test:" + strconv.Itoa(id); s.Primary(name) == victim {
			lost = append(lost, id)
		} else {
			kept = append(kept, name)
		}
	}
	ofKept := func(do func(p redis.Pipeliner, name string) *redis.IntCmd) (sum int) {
		cmds, _ := r.raw.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for _, name := range kept {
				do(p, name)
			}
			return nil
		})
		for _, cmd := range cmds {
			sum += int(cmd.(*redis.IntCmd).Val())
		}
		return sum
	}
	c, tap := process(r, newTable().load, aside.WithRedisTimeout(3*time.Second), aside.WithHold(15*time.Second))
	r.until(func() bool { return c.Invalidate(t.Context(), all...) == nil })
	inTx(t, func(ctx context.Context) error {
		err := c.Invalidate(ctx, all...)
		victim.Stop()
		ofKept(func(p redis.Pipeliner, name string) *redis.IntCmd { return p.Del(t.Context(), name) })
		r.until(func() bool { // they are held anew
			return len(kept) == ofKept(func(p redis.Pipeliner, name string) *redis.IntCmd { return p.Exists(t.Context(), name) })
		})
		tap.answer("hold", errDown)
		tap.answer("invalidate", errDown) // so that nothing is paid before Owed is looked at
		return err
	})
	equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, len(all))
	tap.answer("hold", nil)
	tap.answer("invalidate", nil)
	r.until(func() bool { return c.Stats().PendingInvalidations == len(lost) })
	victim.Continue()
	r.until(func() bool { return c.Stats().PendingInvalidations == 0 })
}
