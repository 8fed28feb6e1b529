package redisstore

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/background"
	"github.com/asidecache/aside/internal/durations"
)

// A breaker knows what Redis cannot do at present, so that no call waits for it. It sheds reads and
// fills. An invalidation is always sent, but by the background, and its caller gets the error at
// once.
//
// All caches of a process that share a client and have the same WithRedisTimeout share a breaker.
//
// Each primary has two circuits, one for what is read and one for what is written. A server that pauses writes still answers
// reads, and its values are served.
//
// The life of a circuit: it is closed at first, and counts failures to reach Redis. A success ends
// the row of failures. The third failure in a row opens the circuit. A single failure opens it if
// it shows that nobody listens, see pool. From then on no call sends anything of its kind. The
// background sends invalidations that are pending, and a probe of that kind at least once a second.
// A probe first drops the connections that are dead, and then asks. The first probe that is
// answered closes the circuit. Nothing else closes it: an invalidation may be answered over a new
// connection while the reads would get the dead ones.
//
// A server that refuses writes with READONLY is a replica. It may have been the primary before.
// Invalidations are sent to another server now, so it must not answer reads: its reads are down for
// as long as its circuit for writes is open.
type breaker struct {
	breakers   *Breakers
	timeout    time.Duration            // WithRedisTimeout of its caches
	addrOf     func(name string) string // of the primary that serves a name
	cluster    bool                     // there may be several
	background background.Group         // in which it probes; ends with the last of the caches

	primaries sync.Map        // *primary by its address
	answered  atomic.Bool     // Redis has answered once
	Failing   [2]atomic.Int32 // how many circuits of a kind count a failure
	shut      atomic.Int32    // kinds of primaries that are down

	mu      sync.Mutex             // guards the circuits, and these
	down    [2]int                 // primaries that are down, by kind
	members []weak.Pointer[Member] // the caches that are open: one that nobody closes does not live on here
}

// A Kind is what a circuit is for.
type Kind int

const (
	Reads Kind = iota
	Writes
)

const (
	failuresToOpen = 3
	firstProbe     = 50 * time.Millisecond
	longestPause   = time.Second
)

// A primary is one server with what is known of it.
type primary struct {
	addr     string
	down     [2]atomic.Bool // by kind: what follows from the circuits
	circuits [2]circuit     // by kind
}

type circuit struct {
	failures atomic.Int32 // in a row; changes with mu held
	name     string       // what the last failure was about; a probe asks for it
	err      error        // the last failure
	readOnly bool         // one of the failures was the refusal of a replica
	open     bool
	probed   bool // a goroutine probes
}

// A Member is a Cache, as its breaker knows it.
type Member struct {
	Name   string
	Logger *slog.Logger // as it was given
	Tell   func(Change) // tells the user; it does not wait
	Probe  func(ctx context.Context, name string, k Kind) error
}

// Breakers are those of a client, one for each WithRedisTimeout. An answer that is too late for one
// of them need not be too late for another.
type Breakers struct {
	mu  sync.Mutex // guards the rest
	all []*breaker
}

// Join adds a Cache to the breaker of those with the same WithRedisTimeout, until it leaves.
func (s *Breakers) Join(c *Member, rdb redis.UniversalClient, timeout time.Duration) *breaker {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.all, func(b *breaker) bool { return b.timeout == timeout })
	if i < 0 {
		i, s.all = len(s.all), append(s.all, newBreaker(s, rdb, timeout))
	}
	s.all[i].add(c)
	return s.all[i]
}

// Leave takes out a Cache that is closed. With the last one its breaker ends. The channel is closed
// when its probes have ended.
func (s *Breakers) Leave(b *breaker, c *Member) (done <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !b.remove(c) {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	s.all = slices.DeleteFunc(s.all, func(other *breaker) bool { return other == b })
	done, _ = b.background.Close()
	return done
}

// others are all breakers except one.
func (s *Breakers) others(but *breaker) (others []*breaker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.all {
		if b != but {
			others = append(others, b)
		}
	}
	return others
}

// A Change is what the user is told: from now on Redis is down for reads or for writes, or it is back.
type Change struct {
	Kind   Kind
	Err    error    // the failure that showed it; nil: Redis is back
	Caches []string // those concerned, if this Cache is to log it for all that have its logger
}

func newBreaker(s *Breakers, rdb redis.UniversalClient, timeout time.Duration) *breaker {
	b := &breaker{breakers: s, timeout: timeout, addrOf: func(string) string { return "" }}
	b.background.Init()
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		b.cluster = true
		b.addrOf = func(name string) string {
			if !b.answered.Load() {
				return "" // the client does not know the nodes yet, and would ask for them
			}
			node, err := cluster.MasterForKey(b.background.Closing, name)
			if err != nil {
				return ""
			}
			return node.Options().Addr
		}
	}
	return b
}

// add adds a Cache.
func (b *breaker) add(c *Member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members = append(b.members, weak.Make(c))
}

// remove takes a Cache out, and reports whether it was the last one.
func (b *breaker) remove(c *Member) (last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members = slices.DeleteFunc(b.members, func(m weak.Pointer[Member]) bool { return m.Value() == nil || m.Value() == c })
	return len(b.members) == 0
}

// caches are those that are open. b.mu is held.
func (b *breaker) caches() (open []*Member) {
	for _, m := range b.members {
		if c := m.Value(); c != nil {
			open = append(open, c)
		}
	}
	return open
}

// changed has all caches told of a change, in the order of the changes. One of those that share a logger logs it. b.mu is held, so it
// does not wait.
func (b *breaker) changed(ch Change) {
	names := make(map[*slog.Logger][]string)
	open := b.caches()
	for _, c := range open {
		names[c.Logger] = append(names[c.Logger], c.Name)
	}
	for _, c := range open {
		ch.Caches = names[c.Logger]
		delete(names, c.Logger)
		c.Tell(ch)
	}
}

// probe asks whether the primary of name is back, on behalf of a Cache that is open. If there is none, the circuit need not be open.
func (b *breaker) probe(name string, k Kind) (back bool) {
	b.mu.Lock()
	open := b.caches()
	b.mu.Unlock()
	return len(open) == 0 || !Unreachable(open[0].Probe(b.background.Closing, name, k))
}

// Up reports whether commands of a kind are worth sending for name. What cannot be read need not be written.
func (b *breaker) Up(name string, k Kind) bool {
	if b.shut.Load() == 0 {
		return true // nearly always
	}
	p := b.primary(name)
	return !p.down[Reads].Load() && (k == Reads || !p.down[Writes].Load())
}

// DownFor reports whether commands of a kind are known to fail for name, whatever is known of the other kind.
func (b *breaker) DownFor(name string, k Kind) bool {
	return b.shut.Load() > 0 && b.primary(name).down[k].Load()
}

// AnyDown reports whether any primary is known to be down.
func (b *breaker) AnyDown(k Kind) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.down[k] > 0
}

// fails reports whether any circuit counts a failure.
func (b *breaker) fails() bool { return b.Failing[Reads].Load() > 0 || b.Failing[Writes].Load() > 0 }

func (b *breaker) primary(name string) *primary {
	addr := b.addrOf(name)
	p, ok := b.primaries.Load(addr)
	if !ok {
		p, _ = b.primaries.LoadOrStore(addr, &primary{addr: addr})
	}
	return p.(*primary)
}

// report takes how the commands of one round trip ended. It counts one failure, however many
// commands failed, for each primary at which none of them succeeded.
func (b *breaker) report(names []string, replies []Reply, k Kind) {
	failed := make(map[*primary]int, 1) // the first failure
	for i, r := range replies {
		p := b.primary(names[i])
		if r.Err == nil {
			b.succeeded(names[i], k)
			failed[p] = -1
		} else if _, other := failed[p]; !other && Unreachable(r.Err) {
			failed[p] = i
		}
	}
	for p, i := range failed {
		if i >= 0 {
			b.failed(p, k, names[i], replies[i].Err)
			b.tellPeers(k, names[i], replies[i].Err)
		}
	}
}

// tellPeers tells the other breakers of a failure if it is one for their caches as well. A failure
// that is no timeout is one for all of them. A timeout is one for those that wait less long.
func (b *breaker) tellPeers(k Kind, name string, err error) {
	_, ranOut := err.(TimeoutError)
	for _, other := range b.breakers.others(b) {
		if !ranOut || other.timeout < b.timeout {
			other.failed(other.primary(name), k, name, err)
		}
	}
}

func (b *breaker) failed(p *primary, k Kind, name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &p.circuits[k]
	if c.failures.Add(1) == 1 {
		b.Failing[k].Add(1)
	}
	c.name, c.err = name, err
	c.readOnly = c.readOnly || isReadOnly(err)
	if c.failures.Load() >= failuresToOpen || isRefused(err) {
		b.open(p, k)
	}
}

// open opens a circuit, unless all caches are closed: then nothing could close it again.
func (b *breaker) open(p *primary, k Kind) {
	c := &p.circuits[k]
	c.probed = c.probed || b.background.Start(func() { b.probing(p, k) })
	c.open = c.probed
	b.conclude(p, c.err)
}

// succeeded tells that the primary of name did what it was asked for.
func (b *breaker) succeeded(name string, k Kind) {
	if !b.answered.Load() {
		b.answered.Store(true)
	}
	if b.Failing[k].Load() > 0 { // nearly never
		b.endRows(b.primary(name), k)
	}
}

// endRows ends the row of failures of p. It also ends the rows of other primaries whose failed name
// is served elsewhere by now: p or another primary has taken over, or the primaries were not known
// before. Nothing else would end those rows.
func (b *breaker) endRows(p *primary, k Kind) {
	b.primaries.Range(func(_, other any) bool {
		o := other.(*primary)
		if c := &o.circuits[k]; c.failures.Load() > 0 && (o == p || b.addrOf(b.failedName(c)) != o.addr) {
			b.endRow(c, k)
		}
		return true
	})
}

func (b *breaker) failedName(c *circuit) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return c.name
}

// endRow ends the row of failures of a circuit that is closed.
func (b *breaker) endRow(c *circuit, k Kind) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !c.open {
		b.forgive(c, k)
	}
}

func (b *breaker) forgive(c *circuit, k Kind) {
	if c.failures.Swap(0) > 0 {
		b.Failing[k].Add(-1)
	}
	c.readOnly = false
}

// close closes a circuit whose probe was answered.
func (b *breaker) close(p *primary, k Kind) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.circuits[k].open = false
	b.forgive(&p.circuits[k], k)
	b.conclude(p, nil)
}

// conclude draws from the circuits of a primary what is down there.
func (b *breaker) conclude(p *primary, err error) {
	r, w := &p.circuits[Reads], &p.circuits[Writes]
	b.setDown(p, Change{Kind: Reads, Err: err}, r.open || w.open && w.readOnly)
	b.setDown(p, Change{Kind: Writes, Err: err}, w.open)
}

// setDown tells of a change if p is the first primary that is down, or the last one that was.
func (b *breaker) setDown(p *primary, c Change, down bool) {
	if p.down[c.Kind].Swap(down) == down {
		return
	}
	by := 1
	if !down {
		by = -1
	}
	b.shut.Add(int32(by))
	b.down[c.Kind] += by
	if down && b.down[c.Kind] == 1 || b.down[c.Kind] == 0 {
		b.changed(c)
	}
}

// probing probes until a probe is answered. A probe that hangs does not keep the next one waiting.
func (b *breaker) probing(p *primary, k Kind) {
	for pause := firstProbe; ; pause = min(2*pause, longestPause) {
		name, open := b.wantsProbe(&p.circuits[k])
		if !open {
			return
		}
		select {
		case <-time.After(durations.Jittered(pause, 0.2)):
		case <-b.background.Closing.Done():
			return
		}
		b.background.Start(func() {
			if b.probe(name, k) && b.background.Closing.Err() == nil {
				b.close(p, k)
			}
		})
	}
}

// wantsProbe returns what to ask for if the circuit is open. If it is not, its probing ends.
func (b *breaker) wantsProbe(c *circuit) (name string, open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.probed = c.open
	return c.name, c.open
}

// Unreachable reports whether err, of a command that was sent, says that Redis cannot serve at all. Other errors of a server
// are answers: it is there, and most commands get what they want (a read under OOM, for one).
func Unreachable(err error) bool {
	if err == nil || errors.Is(err, redis.Nil) || errors.Is(err, errHookPanicked) {
		return false
	}
	var answered redis.Error
	if !errors.As(err, &answered) {
		return true
	}
	for _, code := range []string{"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN"} {
		if redis.HasErrorPrefix(err, code) || strings.Contains(err.Error(), "-"+code) {
			return true
		}
	}
	return answersSetUp(err)
}

// isReadOnly reports whether a server has refused a write because it is a replica. Within a script, Redis before 7 puts the
// code inside the message.
func isReadOnly(err error) bool { return strings.Contains(err.Error(), "READONLY") }

// answersSetUp reports whether err answers a command that go-redis sends while it sets a connection up. go-redis returns such
// an error as if it answered the command that needed the connection, and gives the connection up: each further command would
// cost a new one. The library sends none of these commands itself.
//
// NOAUTH may also answer a command on a connection that is set up. It says that nothing can be read or written over it.
func answersSetUp(err error) bool {
	starts := func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) }
	names := func(command string) bool { return strings.Contains(err.Error(), command) }
	return slices.ContainsFunc(setUpErrors, starts) || starts("NOPERM") && slices.ContainsFunc(setUpCommands, names)
}

var (
	setUpErrors = []string{ // after "ERR ", if they begin with that
		"NOAUTH", "WRONGPASS", "AUTH <password> called without", "Client sent AUTH", // AUTH and HELLO
		"DB index is out of range", "SELECT is not allowed", // SELECT
		"max number of clients reached",
	}
	setUpCommands = []string{"'auth'", "'hello'", "'select'", "'client'", "'client|", "'readonly'"}
)
