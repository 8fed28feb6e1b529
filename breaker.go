package aside

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A breaker knows which parts of Redis are down, so that reads do not wait for them. It is for reads and fills alone:
// an invalidation is always tried.
//
// A Redis has one circuit. A Cluster has one for each 1,024 slots, since what fails there is a primary, which owns
// ranges of slots, while the others go on. The two or three circuits in which ranges of two primaries meet are down with
// either of them.
//
// A circuit opens after three failures in a row to reach Redis, and all of them do after three that no success anywhere
// has interrupted, so that a Cluster which is down as a whole is noticed as fast. Then it is probed in the background, at least once a
// second, with a command that a server which is loading, or has become a read-only replica, refuses. The first success
// closes it.
type breaker struct {
	circuits []circuit
	probe    func(ctx context.Context, name string) error // asks the server of name
	start    func(func()) bool                            // runs a probing in the background
	closing  context.Context                              // ends with the Cache
	changed  func(down bool, err error)
	failures atomic.Int32 // in a row, of all circuits
	open     atomic.Int32 // circuits
}

const (
	failuresToOpen = 3
	slotsOfCircuit = 1024
	firstProbe     = 50 * time.Millisecond
	longestPause   = time.Second
)

type circuit struct {
	open     atomic.Bool
	failures atomic.Int32 // in a row
	readOnly atomic.Bool  // one of them was the refusal of a replica
	mu       sync.Mutex   // guards the changes of open
}

func newBreaker(rdb redis.UniversalClient) *breaker {
	circuits := 1
	if _, cluster := rdb.(*redis.ClusterClient); cluster {
		circuits = slots / slotsOfCircuit
	}
	return &breaker{circuits: make([]circuit, circuits)}
}

// up reports whether commands for name are worth sending.
func (b *breaker) up(name string) bool {
	return b.open.Load() == 0 || !b.circuit(name).open.Load()
}

// down reports whether any part of Redis is known to be down.
func (b *breaker) down() bool { return b.open.Load() > 0 }

func (b *breaker) circuit(name string) *circuit {
	if len(b.circuits) == 1 {
		return &b.circuits[0]
	}
	return &b.circuits[slot(name)/slotsOfCircuit]
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
	var err error
	for c, i := range failed {
		if i >= 0 {
			err = replies[i].err
			b.failed(c, names[i], err, write)
		}
	}
	if err == nil || b.failures.Add(1) < failuresToOpen {
		return
	}
	for i := range b.circuits {
		b.trip(&b.circuits[i], nameIn(i), err)
	}
}

func (b *breaker) failed(c *circuit, name string, err error, write bool) {
	if write && strings.Contains(err.Error(), "READONLY") {
		c.readOnly.Store(true)
	}
	if c.failures.Add(1) >= failuresToOpen {
		b.trip(c, name, err)
	}
}

// trip opens a circuit and starts its probing.
func (b *breaker) trip(c *circuit, name string, err error) {
	if c.open.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open.Load() || !b.start(func() { b.probing(c, name) }) {
		return // or else the Cache is closed
	}
	c.failures.Store(failuresToOpen)
	c.open.Store(true)
	if b.open.Add(1) == 1 {
		b.changed(true, err)
	}
}

// succeeded tells that the server of name did what it was asked for. What a replica shows by answering reads is not
// that it takes writes.
func (b *breaker) succeeded(name string, write bool) {
	c := b.circuit(name)
	if c.readOnly.Load() && !write {
		return
	}
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
	if c.failures.Load() == 0 {
		return // nearly always
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures.Store(0)
	c.readOnly.Store(false)
	if c.open.CompareAndSwap(true, false) && b.open.Add(-1) == 0 {
		b.changed(false, nil)
	}
}

// nameIn makes a name whose slot is of circuit i.
func nameIn(i int) string {
	for n := 0; ; n++ {
		if name := strconv.Itoa(n); slot(name)/slotsOfCircuit == i {
			return name
		}
	}
}

// probing asks the server of name until it answers, or something else has closed the circuit. A probe that hangs does
// not keep the next one waiting.
func (b *breaker) probing(c *circuit, name string) {
	for pause := firstProbe; c.open.Load(); pause = min(2*pause, longestPause) {
		select {
		case <-time.After(jittered(pause, 0.2)):
		case <-b.closing.Done():
			return
		}
		b.start(func() {
			if err := b.probe(b.closing, name); !unreachable(err) && b.closing.Err() == nil {
				b.succeeded(name, true)
			}
		})
	}
}

// jittered draws from [d*(1-fraction), d].
func jittered(d time.Duration, fraction float64) time.Duration {
	return d - time.Duration(rand.Float64()*fraction*float64(d))
}

// unreachable reports whether err, of a command that was sent, says that Redis cannot serve at all. Other errors of a server are answers: it is
// there, and most commands get what they want (a read under OOM, for one).
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

const slots = 16384

// slot is the Cluster's hash slot of a key: the CRC16 (XMODEM) of what stands between the first { and the next }, or of
// the whole key, as the Cluster specification has it.
func slot(key string) int {
	if _, after, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(after, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}
