package aside_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/pipe"
	"github.com/asidecache/aside/internal/testserver"
)

// A rig is a Redis that a test runs against. Each client that it makes stands for a process of its own.
type rig struct {
	t       *testing.T
	virtual bool // time is synctest's: a sleep takes none
	shared  bool // a real server that nobody stops
	dial    func(t *testing.T) redis.UniversalClient
	raw     redis.UniversalClient // for looking and meddling
	setTime func(time.Time)       // stops the clock of the server there; nil for a real one
	clock   *testserver.Clock     // of a real server that has one of its own; else nil
}

// onEveryRedis runs a test of behaviour on miniredis in virtual time, on a real Redis and on a real Cluster.
func onEveryRedis(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Run("miniredis", func(t *testing.T) { onMiniredis(t, test) })
	t.Run("redis", func(t *testing.T) { test(t, realRig(t)) })
	t.Run("cluster", func(t *testing.T) { test(t, clusterRig(t)) })
}

// onMiniredis runs a test on miniredis in virtual time.
func onMiniredis(t *testing.T, test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		m.ClockTTL(true)
		dial := func(t *testing.T) redis.UniversalClient {
			return closed(t, redis.NewClient(&redis.Options{
				Addr: "127.0.0.1:1", // never dialled; a name would be looked up
				Dialer: func(context.Context, string, string) (net.Conn, error) {
					c, err := m.Dial()
					if err != nil {
						return nil, err
					}
					return pipe.Buffered(c), nil
				},
				DisableIdentity: true,
				// Who waits for a connection of go-redis does so with a timer out of a pool that all bubbles share, which
				// synctest forbids: let nobody wait.
				PoolSize: 4096,
				// Its timers would let time pass for ever in a test that is stuck, which synctest else ends at once.
				MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			}))
		}
		test(t, &rig{t: t, virtual: true, dial: dial, raw: dial(t), setTime: m.SetTime})
	})
}

// What stops or reconfigures a server starts its own.
var (
	sharedRedis   = testserver.Shared[*testserver.RedisServer]{Start: startRedis}
	sharedCluster = testserver.Shared[*testserver.RedisCluster]{Start: func(t testing.TB) *testserver.RedisCluster { return testserver.Cluster(t, 3) }}
)

// suiteRules are those of the user of Redis who the processes of tests are, "" for the default user.
var suiteRules = os.Getenv(suiteEnv)

const suiteEnv = "ASIDE_TEST_RULES"

// startRedis starts a server that has that user.
func startRedis(t testing.TB) *testserver.RedisServer {
	s := testserver.Redis(t)
	if suiteRules == "" {
		return s
	}
	admin := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer admin.Close()
	args := []any{"ACL", "SETUSER", "suite", "on", ">secret"}
	for rule := range strings.FieldsSeq(suiteRules) {
		args = append(args, rule)
	}
	if err := admin.Do(context.Background(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

func realRig(t *testing.T) *rig {
	s := sharedRedis.Get(t)
	admin := closed(t, redis.NewClient(&redis.Options{Addr: s.Addr}))
	dial := func(t *testing.T) redis.UniversalClient {
		if suiteRules == "" {
			return closed(t, redis.NewClient(&redis.Options{Addr: s.Addr}))
		}
		return closed(t, redis.NewClient(&redis.Options{
			Addr: s.Addr, Username: "suite", Password: "secret", DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}))
	}
	if suiteRules != "" {
		t.Cleanup(func() { equal(t, "what Redis refused", refusedBy(t, admin), "") })
		equal(t, "the error of ACL LOG RESET", admin.Do(context.Background(), "ACL", "LOG", "RESET").Err(), nil)
	}
	return emptied(&rig{t: t, shared: true, dial: dial, raw: admin})
}

func clusterRig(t *testing.T) *rig {
	s := sharedCluster.Get(t)
	dial := func(t *testing.T) redis.UniversalClient {
		return closed(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.Addrs()}))
	}
	return emptied(&rig{t: t, shared: true, dial: dial, raw: dial(t)})
}

func emptied(r *rig) *rig {
	r.flush()
	return r
}

func closed[C interface{ Close() error }](t *testing.T, c C) C {
	t.Cleanup(func() { c.Close() })
	return c
}

// get returns the document under name, "" if there is none.
func (r *rig) get(name string) string {
	r.t.Helper()
	doc, err := r.raw.Get(context.Background(), name).Result()
	for range 10 { // go-redis follows a slot that moves three times, which a busy machine may need more of
		if redis.HasErrorPrefix(err, "MOVED") {
			doc, err = r.raw.Get(context.Background(), name).Result()
		}
	}
	if err != nil && err != redis.Nil {
		r.t.Fatalf("GET %s: %v", name, err)
	}
	return doc
}

// put stores a document under name, without a TTL.
func (r *rig) put(name, doc string) {
	r.t.Helper()
	if err := r.raw.Set(context.Background(), name, doc, 0).Err(); err != nil {
		r.t.Fatalf("SET %s: %v", name, err)
	}
}

// del is what a foreign program does to invalidate.
func (r *rig) del(name string) {
	r.t.Helper()
	if err := r.raw.Del(context.Background(), name).Err(); err != nil {
		r.t.Fatalf("DEL %s: %v", name, err)
	}
}

// flush removes everything.
func (r *rig) flush() {
	r.t.Helper()
	flush := func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() }
	var err error
	switch rdb := r.raw.(type) {
	case *redis.ClusterClient:
		err = rdb.ForEachMaster(context.Background(), flush)
	case *redis.Client:
		err = flush(context.Background(), rdb)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// until waits for something that happens by itself in another goroutine.
func (r *rig) until(done func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			r.t.Fatal("it did not happen within a minute")
		}
		if r.virtual {
			synctest.Wait()
		}
		time.Sleep(time.Millisecond)
	}
}

// untilMisses waits until n reads of c have missed, and the last one had the time to join a flight: in virtual time for
// certain. Where it had not, it begins a flight of its own, and the test passes without having shown anything.
func (r *rig) untilMisses(c interface{ Stats() aside.Stats }, n uint64) {
	r.t.Helper()
	r.until(func() bool { return c.Stats().Misses >= n })
	if r.virtual {
		synctest.Wait()
	}
}

// process makes a cache with a client of its own, as another process would, and a tap on that client.
func process[K comparable, V any](r *rig, load aside.Loader[K, V], opts ...aside.Option) (*aside.Cache[K, V], *tap) {
	r.t.Helper()
	rdb, tap := r.tapped()
	if r.shared { // a busy machine is no outage
		opts = append([]aside.Option{patient}, opts...)
	}
	return newCache(r.t, rdb, load, opts...), tap
}

// tapped makes a client with a tap on it.
func (r *rig) tapped() (redis.UniversalClient, *tap) {
	r.t.Helper()
	rdb, tap := r.dial(r.t), new(tap)
	rdb.AddHook(tap)
	return rdb, tap
}

func newCache[K comparable, V any](t *testing.T, rdb redis.UniversalClient, load aside.Loader[K, V], opts ...aside.Option) *aside.Cache[K, V] {
	t.Helper()
	c, err := aside.New(rdb, "test", load, append([]aside.Option{aside.WithLogger(logger(t))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A tap is a hook of a Redis client that counts commands and can hold them up, so that a test plays an interleaving as
// it was written.
type tap struct {
	mu    sync.Mutex
	verbs []string // of the commands sent, in order; see aside.Verb
	trips int      // round trips
	gates []*gate
	fail  map[string]error // answers in the place of Redis, by verb
	seen  map[string][]any // the last command of each verb
}

// A gate holds up the next command of a verb.
type gate struct {
	verb    string
	after   bool          // hold its reply, not the command
	reached chan struct{} // closed when it is held
	open    chan struct{} // closed to let it go
}

// before holds up the next command of verb until open is closed.
func (p *tap) before(verb string) *gate { return p.gate(verb, false) }

// after lets the next command of verb be executed, and holds up its reply until open is closed.
func (p *tap) after(verb string) *gate { return p.gate(verb, true) }

func (p *tap) gate(verb string, after bool) *gate {
	g := &gate{verb: verb, after: after, reached: make(chan struct{}), open: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gates = append(p.gates, g)
	return g
}

// wait blocks until a command is held.
func (g *gate) wait() { <-g.reached }

func (g *gate) release() { close(g.open) }

// answer has every command of verb fail with err, nil ends that.
func (p *tap) answer(verb string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail == nil {
		p.fail = make(map[string]error)
	}
	p.fail[verb] = err
}

// down has every command fail as if nothing listened.
func (p *tap) down() {
	for _, verb := range []string{"get", "mget", "exists", "srem", "lease", "fill", "renew", "release", "claim", "invalidate"} {
		p.answer(verb, errDown)
	}
}

var errDown = errors.New("connection refused")

// again sends the last command of verb once more, as a network or a client that lost the reply might, and returns what
// Redis says to it.
func (p *tap) again(r *rig, verb string) (any, error) {
	p.mu.Lock()
	args := slices.Clone(p.seen[verb])
	p.mu.Unlock()
	if args == nil {
		r.t.Fatalf("no %s was sent", verb)
	}
	return r.raw.Do(context.Background(), args...).Result()
}

// noGates has nothing held up from now on.
func (p *tap) noGates() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gates = nil
}

// reset forgets what was counted.
func (p *tap) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verbs, p.trips = nil, 0
}

// count returns the verbs sent and the round trips made since reset.
func (p *tap) count() ([]string, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.verbs), p.trips
}

// sent counts the commands of verb since reset.
func (p *tap) sent(verb string) (n int) {
	verbs, _ := p.count()
	for _, v := range verbs {
		if v == verb {
			n++
		}
	}
	return n
}

func (p *tap) note(cmds ...redis.Cmder) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = make(map[string][]any)
	}
	p.trips++
	for _, cmd := range cmds {
		verb := aside.Verb(cmd)
		p.verbs = append(p.verbs, verb)
		p.seen[verb] = slices.Clone(cmd.Args())
		if err := p.fail[verb]; err != nil {
			cmd.SetErr(err)
			return err
		}
	}
	return nil
}

// pass waits at the gates that are for cmds.
func (p *tap) pass(after bool, cmds ...redis.Cmder) {
	for _, cmd := range cmds {
		if g := p.take(aside.Verb(cmd), after); g != nil {
			close(g.reached)
			<-g.open
		}
	}
}

func (p *tap) take(verb string, after bool) *gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, g := range p.gates {
		if g.verb == verb && g.after == after {
			p.gates = slices.Delete(p.gates, i, i+1)
			return g
		}
	}
	return nil
}

func (p *tap) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p *tap) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if internal(cmd) {
			return next(ctx, cmd)
		}
		if err := p.note(cmd); err != nil {
			return err
		}
		p.pass(false, cmd)
		defer p.pass(true, cmd)
		return next(ctx, cmd)
	}
}

func (p *tap) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if internal(cmds[0]) {
			return next(ctx, cmds)
		}
		if err := p.note(cmds...); err != nil {
			return err
		}
		p.pass(false, cmds...)
		defer p.pass(true, cmds...)
		return next(ctx, cmds)
	}
}

// internal reports whether the client, not the library, sends cmd: to greet a server, or to learn the slots.
func internal(cmd redis.Cmder) bool {
	return slices.Contains([]string{"hello", "client", "cluster", "command", "ping", "select"}, aside.Verb(cmd))
}
