package aside_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
	"github.com/asidecache/aside/internal/pipe"
	"github.com/asidecache/aside/internal/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

// tests are all tests, and then the end of the servers that they share.
type tests struct{ *testing.M }

func (m tests) Run() int {
	logging.Disable() // go-redis tells of each connection that it cannot make
	defer sharedRedis.Stop()
	defer sharedClockedRedis.Stop()
	defer sharedCluster.Stop()
	return m.M.Run()
}

// patient has commands be held up without a timeout.
var patient = aside.WithRedisTimeout(time.Minute)

// impatient is the default, for caches that process would make patient.
var impatient = aside.WithRedisTimeout(redisTimeout)

const redisTimeout = 250 * time.Millisecond // the default of WithRedisTimeout

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

// eachKind runs a test with clients whose calls end in different ways, in virtual time.
func eachKind(t *testing.T, test func(t *testing.T, s *asidetest.Server, rdb *redis.Client)) {
	for name, kind := range map[string]struct{ enabled, hooked bool }{
		"plain": {}, "with a hook": {hooked: true},
		"ContextTimeoutEnabled": {enabled: true}, "ContextTimeoutEnabled, with a hook": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := asidetest.Redis(t)
				rdb := s.Client(func(o *redis.Options) { o.ContextTimeoutEnabled = kind.enabled })
				if kind.hooked {
					rdb.AddHook(through(new(tap).send))
				}
				test(t, s, rdb)
				rdb.Close()
				time.Sleep(time.Minute) // for what go-redis goes on with
			})
		})
	}
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

// rigOf is a server that is not shared, or not known to be.
func rigOf(t *testing.T, addr string) *rig {
	dial := func(t *testing.T) redis.UniversalClient {
		return closed(t, redis.NewClient(&redis.Options{Addr: addr}))
	}
	return &rig{t: t, dial: dial, raw: dial(t)}
}

// freshRig is a Redis that has never seen a script.
func freshRig(t *testing.T) *rig { return rigOf(t, testserver.Redis(t).Addr) }

// ownCluster is a Cluster that a test may reconfigure.
func ownCluster(t *testing.T, args ...string) (*rig, *testserver.RedisCluster) {
	s := testserver.Cluster(t, 3, args...)
	dial := func(t *testing.T) redis.UniversalClient {
		return closed(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.Addrs()}))
	}
	return &rig{t: t, dial: dial, raw: dial(t)}, s
}

// nowhere returns a client that never gets a connection, and is never refused one.
func nowhere(t *testing.T) *redis.Client {
	t.Cleanup(func() { time.Sleep(time.Minute) }) // for what was left behind
	return closed(t, redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:1",
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}))
}

func emptied(r *rig) *rig {
	r.flush()
	return r
}

func closed[C interface{ Close() error }](t *testing.T, c C) C {
	t.Cleanup(func() { c.Close() })
	return c
}

// flush removes everything.
func (r *rig) flush() {
	r.t.Helper()
	r.onServers(func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
}

// onServers does something on each server, side by side.
func (r *rig) onServers(do func(ctx context.Context, c *redis.Client) error) {
	r.t.Helper()
	var err error
	switch rdb := r.raw.(type) {
	case *redis.ClusterClient:
		err = rdb.ForEachMaster(context.Background(), do)
	case *redis.Client:
		err = do(context.Background(), rdb)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// serverOf is the primary of a Cluster that serves a name.
func (r *rig) serverOf(name string) string {
	r.t.Helper()
	node, err := r.raw.(*redis.ClusterClient).MasterForKey(context.Background(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return node.Options().Addr
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

// steady is process for tests of what a Redis does that works: on a busy machine, one that is only slow must not look
// like one that hangs.
func steady[K comparable, V any](r *rig, load aside.Loader[K, V], opts ...aside.Option) (*aside.Cache[K, V], *tap) {
	r.t.Helper()
	return process(r, load, append([]aside.Option{patient}, opts...)...)
}

// inWeather makes a cache with a client of its own, which hangs no longer than the test.
func inWeather[K comparable, V any](r *rig, load aside.Loader[K, V], opts ...aside.Option) (*aside.Cache[K, V], *tap) {
	r.t.Helper()
	rdb, w := r.tapped()
	w.over = make(chan struct{})
	c := newCache(r.t, rdb, load, opts...)
	r.t.Cleanup(func() {
		close(w.over)
		time.Sleep(time.Minute) // for what was abandoned
	})
	return c, w
}

// tapped makes a client with a tap on it.
func (r *rig) tapped() (redis.UniversalClient, *tap) {
	r.t.Helper()
	rdb, tap := r.dial(r.t), new(tap)
	rdb.AddHook(through(tap.send))
	return rdb, tap
}

func newCache[K comparable, V any](t *testing.T, rdb redis.UniversalClient, load aside.Loader[K, V], opts ...aside.Option) *aside.Cache[K, V] {
	t.Helper()
	return open(t, rdb, "test", load, opts...)
}

// open makes a cache of that name.
func open[K comparable, V any](t *testing.T, rdb redis.UniversalClient, name string, load aside.Loader[K, V], opts ...aside.Option) *aside.Cache[K, V] {
	t.Helper()
	c, err := aside.New(rdb, name, load, append([]aside.Option{aside.WithLogger(logger(t))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A tap is a hook of a Redis client that counts commands and can hold them up, so that a test plays an interleaving as
// it was written.
type tap struct {
	over chan struct{} // closed at the end of the test; nil if nothing hangs until then

	mu      sync.Mutex
	cmds    []sending // in order
	trips   int       // round trips
	gates   []*gate
	fail    map[string]error        // answers in the place of Redis, by verb
	weather func(verb string) error // see become
	seen    map[string][]any        // the last command of each verb
}

// A sending is one command and when it was sent.
type sending struct {
	verb string
	at   time.Time
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
func (g *gate) wait()    { <-g.reached }
func (g *gate) release() { close(g.open) }

func release(gates ...*gate) {
	for _, g := range gates {
		g.release()
	}
}

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

// become has weather decide what becomes of each round trip, by the verb of its first command. It may take its time, and an error
// is the answer. nil lets all pass again.
func (p *tap) become(weather func(verb string) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = weather
}

// refuse has Redis answer the verbs, or any if none is given, with err.
func (p *tap) refuse(err error, verbs ...string) { p.meet(verbs, func() error { return err }) }

// hang has Redis not answer the verbs, or any if none is given.
func (p *tap) hang(verbs ...string) { p.meet(verbs, func() error { <-p.over; return errDown }) }

func (p *tap) meet(verbs []string, what func() error) {
	p.become(func(verb string) error {
		if verbs == nil || slices.Contains(verbs, verb) {
			return what()
		}
		return nil
	})
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
	p.cmds, p.trips = nil, 0
}

// count returns the verbs sent and the round trips made since reset.
func (p *tap) count() (verbs []string, trips int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.cmds {
		verbs = append(verbs, s.verb)
	}
	return verbs, p.trips
}

// sentSince returns the commands sent since the last call.
func (p *tap) sentSince() []sending {
	p.mu.Lock()
	defer p.mu.Unlock()
	sent := p.cmds
	p.cmds = nil
	return sent
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

// note returns what decides about cmds, or their answer if it is known.
func (p *tap) note(cmds ...redis.Cmder) (weather func(verb string) error, answer error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = make(map[string][]any)
	}
	p.trips++
	for _, cmd := range cmds {
		verb := aside.Verb(cmd)
		p.cmds = append(p.cmds, sending{verb, time.Now()})
		p.seen[verb] = slices.Clone(cmd.Args())
		if err := p.fail[verb]; err != nil {
			return nil, refuse(err, cmd)
		}
	}
	return p.weather, nil
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

// send is the hook.
func (p *tap) send(_ context.Context, cmds []redis.Cmder, send sender) error {
	if internal(cmds[0]) {
		return send(cmds...)
	}
	weather, err := p.note(cmds...)
	if err != nil {
		return err
	}
	if weather != nil {
		if err := weather(aside.Verb(cmds[0])); err != nil {
			return refuse(err, cmds...)
		}
	}
	p.pass(false, cmds...)
	defer p.pass(true, cmds...)
	return send(cmds...)
}

// A through is a hook of a Redis client that all commands go through: those of a pipeline together, any other by itself. It sends
// them as often as it likes, together or one by one. One that it does not send has the answer that it sets.
type through func(ctx context.Context, cmds []redis.Cmder, send sender) error

type sender = func(cmds ...redis.Cmder) error

func (fn through) DialHook(next redis.DialHook) redis.DialHook { return next }

func (fn through) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return fn(ctx, []redis.Cmder{cmd}, func(cmds ...redis.Cmder) error { return next(ctx, cmds[0]) })
	}
}

func (fn through) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return fn(ctx, cmds, func(cmds ...redis.Cmder) error { return next(ctx, cmds) })
	}
}

// onEachServer has all commands to a server go through fn: in a Cluster, those to each of its nodes.
func onEachServer(rdb redis.UniversalClient, fn through) {
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(fn) })
		return
	}
	rdb.AddHook(fn)
}

// onKey does something before each command on a key; an error stands for its answer.
func onKey(key string, do func() error) through {
	return func(_ context.Context, cmds []redis.Cmder, send sender) error {
		for _, cmd := range cmds {
			if !slices.Contains(cmd.Args(), any(key)) {
				continue
			}
			if err := do(); err != nil {
				return refuse(err, cmd)
			}
		}
		return send(cmds...)
	}
}

// refusing has commands on some keys be refused while it is set.
func refusing(rdb redis.UniversalClient, keys ...string) *atomic.Bool {
	refuses := new(atomic.Bool)
	for _, key := range keys {
		rdb.AddHook(onKey(key, func() error {
			if refuses.Load() {
				return redisError("OOM")
			}
			return nil
		}))
	}
	return refuses
}

// endsHold reports whether a command ends a hold: it is the script that places one, for no time.
func endsHold(cmd redis.Cmder) bool {
	return aside.Verb(cmd) == "hold" && fmt.Sprint(cmd.Args()[5]) == "0"
}

// beforeScans does something before each SCAN of one node.
func beforeScans(do func()) through {
	return func(_ context.Context, cmds []redis.Cmder, send sender) error {
		if cmds[0].Name() == "scan" {
			do()
		}
		return send(cmds...)
	}
}

// refuse has err be the answer to cmds.
func refuse(err error, cmds ...redis.Cmder) error {
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
	return err
}

// crossSlot is what the node of a Cluster says to a script of several keys, nil to any other command.
func crossSlot(cmd redis.Cmder) error {
	args := cmd.Args()
	if strings.HasPrefix(strings.ToLower(args[0].(string)), "eval") && args[2].(int) > 1 {
		return redisError("CROSSSLOT Keys in request don't hash to the same slot")
	}
	return nil
}

// internal reports whether the client, not the library, sends cmd: to greet a server, or to learn the slots.
func internal(cmd redis.Cmder) bool {
	return slices.Contains([]string{"hello", "client", "cluster", "command", "ping", "select"}, aside.Verb(cmd))
}

// A redisError is an answer of a server.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

const outOfMemory = redisError("OOM command not allowed when used memory > 'maxmemory'.")
