package near_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"

	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/pipe"
	"github.com/asidecache/aside/internal/testserver"
)

func TestMain(m *testing.M) {
	if os.Getenv(childAddr) != "" {
		child()
		return
	}
	code := m.Run()
	sharedRedis.Stop()
	sharedCluster.Stop()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// A rig is a Redis. The rows of these tests are its strings: to change one is what a database and the removal of a document are
// elsewhere, in one step. So each GET finds the row as it is, and what is stale comes from near copies.
type rig struct {
	t       *testing.T
	virtual bool // time is synctest's
	dial    func() redis.UniversalClient
	raw     redis.UniversalClient
}

const (
	logKey = "aside-near"
	prefix = "product:"
)

func name(id int) string { return prefix + strconv.Itoa(id) }

// onEveryRedis runs a test on miniredis in virtual time, on a real Redis and on a real Cluster.
func onEveryRedis(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Run("miniredis", func(t *testing.T) { onMiniredis(t, test) })
	t.Run("redis", func(t *testing.T) { test(t, realRig(t)) })
	t.Run("cluster", func(t *testing.T) { test(t, clusterRig(t)) })
}

func onMiniredis(t *testing.T, test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		m.ClockTTL(true)
		r := &rig{t: t, virtual: true}
		r.dial = func() redis.UniversalClient {
			c := redis.NewClient(&redis.Options{
				Addr: "127.0.0.1:1", // never dialled; a name would be looked up
				Dialer: func(context.Context, string, string) (net.Conn, error) {
					c, err := m.Dial()
					if err != nil {
						return nil, err
					}
					return pipe.Buffered(c), nil
				},
				DisableIdentity:          true,
				PoolSize:                 4096, // nobody waits for a connection, with a timer that bubbles share
				MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
			})
			t.Cleanup(func() { c.Close() })
			return c
		}
		r.raw = r.dial()
		r.must(near.Load(context.Background(), r.raw))
		test(t, r)
	})
}

var (
	sharedRedis   = testserver.Shared[*testserver.RedisServer]{Start: func(t testing.TB) *testserver.RedisServer { return testserver.Redis(t) }}
	sharedCluster = testserver.Shared[*testserver.RedisCluster]{Start: func(t testing.TB) *testserver.RedisCluster { return testserver.Cluster(t, 3) }}
)

func realRig(t *testing.T) *rig { return rigAt(t, sharedRedis.Get(t).Addr) }

func rigAt(t *testing.T, addr string) *rig {
	return rigOf(t, func() redis.UniversalClient { return redis.NewClient(&redis.Options{Addr: addr}) })
}

func clusterRig(t *testing.T) *rig {
	addrs := sharedCluster.Get(t).Addrs()
	return rigOf(t, func() redis.UniversalClient { return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs}) })
}

func rigOf(t *testing.T, dial func() redis.UniversalClient, before ...func()) *rig {
	for _, fn := range before {
		fn()
	}
	r := &rig{t: t, dial: func() redis.UniversalClient {
		c := dial()
		t.Cleanup(func() { c.Close() })
		return c
	}}
	r.raw = r.dial()
	r.must(near.Load(context.Background(), r.raw))
	r.flush()
	return r
}

func (r *rig) flush() {
	r.t.Helper()
	if c, ok := r.raw.(*redis.ClusterClient); ok {
		r.must(c.ForEachMaster(context.Background(), func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() }))
		return
	}
	r.must(r.raw.FlushAll(context.Background()).Err())
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// set changes a row.
func (r *rig) set(id int, row string) {
	r.t.Helper()
	r.must(r.raw.Set(context.Background(), name(id), row, 0).Err())
}

// until waits for what happens by itself in another goroutine.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	for range 20_000 {
		if is() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	r.t.Fatal("waited in vain until " + what)
}

// pass lets time pass, which takes none in a bubble.
func (r *rig) pass(d time.Duration) { time.Sleep(d) }

// A process is a process with near copies of up to 1000 products, for up to a minute.
type process struct {
	r      *rig
	rdb    redis.UniversalClient
	log    *near.Log
	copies *near.Copies[int, string]
	tap    *tap
}

func (r *rig) process() *process {
	rdb := r.dial()
	p := &process{r: r, rdb: rdb, tap: newTap(rdb)}
	p.log = near.Join(near.Config{Client: rdb, Key: logKey})
	p.copies = near.NewCopies[int, string](p.log, prefix, 1000, time.Minute)
	r.t.Cleanup(func() { p.leave() })
	return p
}

// reader is a process that has a lease, and for which a LOG of any age waits no longer.
func (r *rig) reader() *process {
	p := r.process()
	p.lease()
	return p
}

// lease waits until the process has a lease, and LOG knows all readers.
func (p *process) lease() {
	p.r.t.Helper()
	p.r.until("there is a lease", func() bool { p.copies.Get(-1); return p.log.Reading() })
	p.r.until("LOG is old enough", func() bool {
		born, err := p.r.raw.ZScore(context.Background(), logKey, "").Result()
		now, err2 := p.r.raw.Time(context.Background()).Result()
		p.copies.Get(-1)
		return err == nil && err2 == nil && now.UnixMilli() > int64(-born)+near.Delta.Milliseconds()
	})
	p.r.until("there is a lease", func() bool { p.copies.Get(-1); return p.log.Reading() })
}

func (p *process) leave() {
	if p.log != nil {
		p.copies.Detach()
		_ = p.log.Leave(context.Background())
		p.log = nil
	}
}

func (p *process) get(id int) (row string) {
	p.r.t.Helper()
	row, _ = p.look(id)
	return row
}

// look is a near read, and reports whether a copy was served.
func (p *process) look(id int) (row string, isNear bool) {
	p.r.t.Helper()
	if row, _, ok := p.copies.Get(id); ok {
		return row, true
	}
	noted := p.copies.Note(name(id))
	row, err := p.rdb.Get(context.Background(), name(id)).Result()
	if err == redis.Nil {
		row, err = "", nil
	}
	p.r.must(err)
	p.copies.Put(id, noted, row, false, nil, in(time.Hour))
	return row, false
}

// warm has a copy of a row.
func (p *process) warm(id int) {
	p.r.t.Helper()
	p.get(id)
	if _, isNear := p.look(id); !isNear {
		p.r.t.Fatalf("no copy of %d is served", id)
	}
}

// write changes a row, and tells of it.
func (p *process) write(id int, row string) error {
	p.r.t.Helper()
	p.r.must(p.rdb.Set(context.Background(), name(id), row, 0).Err())
	return p.log.Tell(context.Background(), near.About{Names: []string{name(id)}})
}

func (p *process) mustWrite(id int, row string) {
	p.r.t.Helper()
	p.r.must(p.write(id, row))
}

// writing writes in the background.
func (p *process) writing(id int, row string) *call {
	c := &call{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = p.write(id, row)
	}()
	return c
}

type call struct {
	done chan struct{}
	err  error
}

func (c *call) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *call) wait() error {
	select {
	case <-c.done:
		return c.err
	case <-time.After(time.Minute):
		return errors.New("the call does not return")
	}
}

// shows fails unless a near read finds the row.
func (p *process) shows(id int, row string) {
	p.r.t.Helper()
	if got := p.get(id); got != row {
		p.r.t.Errorf("product %d is %q, want %q", id, got, row)
	}
}

// records are those in LOG, by age.
func (r *rig) records() []redis.Z {
	r.t.Helper()
	all, err := r.raw.ZRangeByScoreWithScores(context.Background(), logKey, &redis.ZRangeBy{Min: "1e14", Max: "+inf"}).Result()
	r.must(err)
	return all
}

// lose removes a record that is about a product, as a failover may. It reports whether there was one.
func (r *rig) lose(id int) (lost bool) {
	for _, z := range r.records() {
		if record := z.Member.(string); strings.HasSuffix(record, "="+name(id)) {
			r.must(r.raw.ZRem(context.Background(), logKey, record).Err())
			lost = true
		}
	}
	return lost
}

// A tap is on the client of a process: it counts its scripts, and holds them up.
type tap struct {
	mu     sync.Mutex
	counts map[string]int
	gates  map[string]*gate // by "before news" and the like
	after  map[string]func()
	fails  map[string]error
	twice  map[string]bool
}

// A gate holds up one script.
type gate struct{ reached, open chan struct{} }

func (g *gate) wait() {
	select {
	case <-g.reached:
	case <-time.After(time.Minute): // time goes on in a bubble with a reader, so nothing else would end a test that is stuck
		panic("waited in vain for a script")
	}
}

func (g *gate) release() { close(g.open) }

func newTap(rdb redis.UniversalClient) *tap {
	tp := &tap{counts: map[string]int{}, gates: map[string]*gate{}, after: map[string]func(){}, fails: map[string]error{}, twice: map[string]bool{}}
	rdb.AddHook(tp)
	return tp
}

// hold holds up the next script: "before news" it is sent, or "after news" was answered.
func (tp *tap) hold(when string) *gate {
	g := &gate{make(chan struct{}), make(chan struct{})}
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.gates[when] = g
	return g
}

func (tp *tap) pass(when string) {
	tp.mu.Lock()
	g := tp.gates[when]
	delete(tp.gates, when)
	tp.mu.Unlock()
	if g != nil {
		close(g.reached)
		<-g.open
	}
}

// then calls fn whenever the script has been answered.
func (tp *tap) then(verb string, fn func()) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.after[verb] = fn
}

// fail has the script fail from now on, nil: no longer.
func (tp *tap) fail(verb string, err error) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.fails[verb] = err
}

// again has each run of the script executed twice.
func (tp *tap) again(verb string) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.twice[verb] = true
}

func (tp *tap) count(verb string) int {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return tp.counts[verb]
}

func (tp *tap) DialHook(next redis.DialHook) redis.DialHook { return next }

func (tp *tap) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (tp *tap) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		verb := near.Verb(cmd.Args())
		if verb == "" {
			verb = cmd.Name()
		}
		tp.mu.Lock()
		tp.counts[verb]++
		after, err, twice := tp.after[verb], tp.fails[verb], tp.twice[verb]
		tp.mu.Unlock()
		if err != nil {
			cmd.SetErr(err)
			return err
		}
		tp.pass("before " + verb)
		err = next(ctx, cmd)
		if twice && err == nil {
			err = next(ctx, cmd)
		}
		if after != nil {
			after()
		}
		tp.pass("after " + verb)
		return err
	}
}

// in is the end of what is fresh for so long.
func in(d time.Duration) time.Time { return time.Now().Add(d) }
