package engine

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside/internal/background"
	"github.com/asidecache/aside/internal/durations"
)

// A sieve chooses the hits that are verified: those of the keys whose hash is small enough. So the same keys are followed for a
// while, and a hit of any other key pays for its hash alone.
//
// The sieve finds by itself how small. At first all hits pass. In each window it takes a quota of those that pass. If far more
// pass, it becomes narrower at once. If fewer do, it becomes wider when the window is over. Once in a minute it chooses other keys,
// so that each has its turn.
type sieve struct {
	background *background.Group
	quota      int           // how many hits are taken
	window     time.Duration // in so long

	seed  maphash.Seed
	salt  atomic.Uint64 // chooses the keys
	width atomic.Uint64 // the greatest hash that passes

	mu       sync.Mutex          // guards the rest
	opened   time.Time           // the window
	passed   int                 // hits in it
	taken    int                 // of these
	narrowed int                 // times in it
	before   int                 // hits that passed in the window before
	salted   time.Time           // when the keys were chosen
	widening bool                // a goroutine is at work
	busy     map[string]struct{} // the names that are being verified
}

const (
	mostBusy    = 1000 // hits that are being verified: most of them wait for their next round
	farMore     = 4    // times the quota
	followedFor = time.Minute
)

func (s *sieve) init(perSecond float64, b *background.Group) {
	s.background = b
	s.quota = int(math.Ceil(perSecond))
	s.window = time.Duration(min(float64(s.quota)/perSecond*float64(time.Second), float64(durations.Forever)))
	s.seed = maphash.MakeSeed()
	s.width.Store(math.MaxUint64)
	s.busy = make(map[string]struct{})
}

// Passes reports whether hits of a name may be verified at present. All hits are asked.
func (s *sieve) Passes(name string) bool {
	return (maphash.String(s.seed, name)^s.salt.Load())*0x9e3779b97f4a7c15 <= s.width.Load()
}

// take reports whether a hit that has passed is verified. If so, done ends that.
func (s *sieve) take(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open(time.Now())
	if s.passed++; s.passed > farMore*s.quota*(s.narrowed+1) {
		s.narrow()
	}
	if _, already := s.busy[name]; already || s.taken >= s.quota || len(s.busy) >= mostBusy {
		return false
	}
	if s.before > s.quota && rand.IntN(s.before) >= s.quota {
		return false // else it would be those that are read first in each window
	}
	s.taken++
	s.busy[name] = struct{}{}
	return true
}

func (s *sieve) done(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, name)
}

// open begins a window if the last one is over.
func (s *sieve) open(now time.Time) {
	if now.Sub(s.opened) < s.window {
		return
	}
	s.before = 0
	if now.Sub(s.opened)/2 < s.window {
		s.before = s.passed
	}
	s.opened, s.passed, s.taken, s.narrowed = now, 0, 0, 0
	if now.Sub(s.salted) >= followedFor {
		s.salted = now
		s.salt.Store(rand.Uint64())
	}
}

// narrow lets half of the keys pass that did, until there are too few hits of them.
func (s *sieve) narrow() {
	s.narrowed++
	s.width.Store(s.width.Load() / 2)
	s.widening = s.widening || s.background.Start(s.widen)
}

// widen lets more keys pass after each window in which too few hits did. It ends when all do.
func (s *sieve) widen() {
	for s.background.Pause(s.window) && s.widenOnce() {
	}
}

func (s *sieve) widenOnce() (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open(time.Now()); s.before < s.quota {
		s.width.Store(2*s.width.Load() + 1)
	}
	s.widening = s.width.Load() < math.MaxUint64
	return s.widening
}
