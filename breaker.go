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
// A Redis has one circuit. A Cluster has one for each 1,024 slots, since what fails there is a primary, which owns
// ranges of slots, while the others go on.
//
// A circuit opens after three failures in a row to reach Redis. Then it is probed in the background, at least once a
// second, with a command that a server which is loading, or has become a read-only replica, refuses. The first success
// closes it.
type breaker struct {
	circuits []circuit
	probe    func(ctx context.Context, name string) error // asks the server of name
	start    func(func()) bool                            // runs a probing in the background
	closing  context.Context                              // ends with the Cache
	changed  func(down bool, err error)
	open     atomic.Int32 // circuits
}

const (
	failuresToOpen = 3
	slotsOfCircuit = 1024
	firstProbe     = 50 * time.Millisecond
	longestPause   = 800 * time.Millisecond // between two probes; a probe itself takes up to WithRedisTimeout
)

type circuit struct {
	open     atomic.Bool
	failures atomic.Int32 // in a row
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

// report tells how a command for name ended.
func (b *breaker) report(name string, err error) {
	c := b.circuit(name)
	if unreachable(err) {
		b.failed(c, name, err)
	} else if err == nil {
		b.succeeded(c)
	}
}

func (b *breaker) failed(c *circuit, name string, err error) {
	if c.failures.Add(1) < failuresToOpen || c.open.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open.Load() {
		return
	}
	if !b.start(func() { b.probing(c, name) }) {
		return // the Cache is closed
	}
	c.open.Store(true)
	if b.open.Add(1) == 1 {
		b.changed(true, err)
	}
}

func (b *breaker) succeeded(c *circuit) {
	if c.failures.Load() == 0 {
		return // nearly always
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures.Store(0)
	if c.open.CompareAndSwap(true, false) && b.open.Add(-1) == 0 {
		b.changed(false, nil)
	}
}

// probing asks the server of name until it answers, or something else has closed the circuit.
func (b *breaker) probing(c *circuit, name string) {
	for pause := firstProbe; c.open.Load(); pause = min(2*pause, longestPause) {
		select {
		case <-time.After(jittered(pause, 0.2)):
		case <-b.closing.Done():
			return
		}
		if !unreachable(b.probe(b.closing, name)) && b.closing.Err() == nil {
			b.succeeded(c)
		}
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
