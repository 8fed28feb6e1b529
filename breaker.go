package aside

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A breaker knows which parts of Redis are down, so that reads do not wait for them. It is for reads and fills alone:
// an invalidation is always tried.
//
// A Redis has one circuit, a Cluster one for each primary: what fails there is one of them, while the others go on.
//
// A circuit opens after three failures in a row to reach Redis. Then it is probed in the background, at least once a
// second, with a command that a server which is loading, or has become a read-only replica, refuses. The first success
// closes it.
type breaker struct {
	nodeOf  func(name string) string // the primary that serves a name
	cluster bool                     // there may be several
	probe   func(ctx context.Context, name string) error
	start   func(func()) bool // runs a probing in the background
	closing context.Context   // ends with the Cache
	changed func(down bool, err error)

	circuits sync.Map     // *circuit by primary
	failing  atomic.Int32 // circuits whose last command failed
	open     atomic.Int32 // circuits
	answered atomic.Bool  // Redis has, once
}

const (
	failuresToOpen = 3
	firstProbe     = 50 * time.Millisecond
	longestPause   = time.Second
)

type circuit struct {
	open     atomic.Bool
	mu       sync.Mutex // guards the changes of open, and the rest
	failures int        // in a row
	readOnly bool       // one of them was the refusal of a replica
	probed   bool       // a goroutine probes
}

func newBreaker(rdb redis.UniversalClient) *breaker {
	b := &breaker{nodeOf: func(string) string { return "" }}
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		b.cluster = true
		b.nodeOf = func(name string) string {
			if !b.answered.Load() {
				return "" // the client does not know the nodes yet, and would ask for them
			}
			node, err := cluster.MasterForKey(b.closing, name)
			if err != nil {
				return ""
			}
			return node.Options().Addr
		}
	}
	return b
}

// up reports whether commands for name are worth sending.
func (b *breaker) up(name string) bool {
	return b.open.Load() == 0 || !b.circuit(name).open.Load()
}

// down reports whether any part of Redis is known to be down.
func (b *breaker) down() bool { return b.open.Load() > 0 }

func (b *breaker) circuit(name string) *circuit {
	node := b.nodeOf(name)
	c, ok := b.circuits.Load(node)
	if !ok {
		c, _ = b.circuits.LoadOrStore(node, new(circuit))
	}
	return c.(*circuit)
}

// report tells how the commands of one round trip ended: one failure, however many they are, of each circuit in which
// none of them succeeded.
func (b *breaker) report(names []string, replies []reply, write bool) {
	failed := make(map[*circuit]int, 1) // the first failure
	for i, r := range replies {
		c := b.circuit(names[i])
		if r.err == nil {
			b.succeeded(names[i], write)
			failed[c] = -1
		} else if _, other := failed[c]; !other && unreachable(r.err) {
			failed[c] = i
		}
	}
	for c, i := range failed {
		if i >= 0 {
			b.failed(c, names[i], replies[i].err, write)
		}
	}
}

func (b *breaker) failed(c *circuit, name string, err error, write bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures++; c.failures == 1 {
		b.failing.Add(1)
	}
	c.readOnly = c.readOnly || write && strings.Contains(err.Error(), "READONLY")
	if c.failures < failuresToOpen || c.open.Load() {
		return
	}
	if c.probed = c.probed || b.start(func() { b.probing(c, name) }); !c.probed {
		return // the Cache is closed
	}
	c.open.Store(true)
	if b.open.Add(1) == 1 {
		b.changed(true, err)
	}
}

// succeeded tells that the server of name did what it was asked for.
func (b *breaker) succeeded(name string, write bool) {
	if !b.answered.Load() {
		b.answered.Store(true)
	}
	if b.failing.Load() > 0 { // nearly never
		b.close(b.circuit(name), write)
		if unknown, ok := b.circuits.Load(""); ok { // from before the nodes were known
			b.close(unknown.(*circuit), write)
		}
	}
}

// close closes a circuit. What a replica shows by answering a read is not that it takes writes.
func (b *breaker) close(c *circuit, write bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures == 0 || c.readOnly && !write {
		return
	}
	c.failures, c.readOnly = 0, false
	b.failing.Add(-1)
	if c.open.CompareAndSwap(true, false) && b.open.Add(-1) == 0 {
		b.changed(false, nil)
	}
}

// wantsProbe reports whether the circuit is open. If not, whoever probes ends.
func (c *circuit) wantsProbe() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probed = c.open.Load()
	return c.probed
}

// probing asks the server of name until it answers, or something else has closed the circuit. A probe that hangs does
// not keep the next one waiting.
func (b *breaker) probing(c *circuit, name string) {
	for pause := firstProbe; c.wantsProbe(); pause = min(2*pause, longestPause) {
		select {
		case <-time.After(jittered(pause, 0.2)):
		case <-b.closing.Done():
			return
		}
		b.start(func() {
			if err := b.probe(b.closing, name); !unreachable(err) && b.closing.Err() == nil {
				b.close(c, true)
			}
		})
	}
}

// jittered draws from [d*(1-fraction), d].
func jittered(d time.Duration, fraction float64) time.Duration {
	return d - time.Duration(rand.Float64()*fraction*float64(d))
}

// unreachable reports whether err, of a command that was sent, says that Redis cannot serve at all. Other errors of a server
// are answers: it is there, and most commands get what they want (a read under OOM, for one).
func unreachable(err error) bool {
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
	return false
}
