package engine

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/redisstore"
)

// What a read may expect of Redis, and what a document means for it.

// A found is what Redis has for a read.
type found struct {
	Entry  document.Entry // none if it was not asked
	Doc    []byte
	Shared *redisstore.Decoding // nil if doc is the caller's own
}

// Find looks up the document of a name, if it may be read from Redis. It returns no error: what Redis does not
// answer is a miss, whose load goes on without Redis.
func (c *Core) Find(ctx context.Context, m *Mode, b *redisstore.Budget, name string) (f found) {
	if !c.usable(name) || m.wrote(c, name) {
		return f
	}
	l := c.Store.Look(ctx, b, name)
	if l.Err != nil && ctx.Err() == nil { // a caller that has left says nothing of Redis
		c.lookFailed(name, b, l.Err)
	}
	return found{document.Parse(l.Doc), l.Doc, l.Shared}
}

// lookFailed has the rest of a call do without Redis.
func (c *Core) lookFailed(name string, b *redisstore.Budget, err error) {
	b.Spend()
	if redisstore.IsWrongType(err) {
		c.foreign(name)
	}
}

// ErrUnusable says that a document is no answer: there is none, it is no value, or it cannot be read.
var ErrUnusable = errors.New("aside: unusable document")

// Answers reports whether a document answers a read, if its value can be decoded, and opens it if it is sealed.
// A document that this version of the library would lay out in another way (e.Ours is false) answers as long
// as it is fresh: a script could not find the field in which its refresh is claimed. Others may share the
// document.
func (c *Core) Answers(name string, e *document.Entry, shared *redisstore.Decoding) bool {
	return (e.State == document.Present || e.State == document.Absent) && e.Version == c.version &&
		(e.Ours || time.Now().UnixMilli() <= e.Fresh) &&
		(c.seal == nil && !e.Sealed || c.opens(name, e, shared))
}

// Hit notes that a document has answered a read, and reports whether a refresh is due.
func (c *Core) Hit(m *Mode, r *Reading, e *document.Entry, now time.Time) (due bool) {
	c.Count(r, outcomeOf(e, now))
	c.streak.hit()
	c.keepWarm(r.Name, e)
	return c.due(e, now) && !m.inTx()
}

// AsksAtOnce reports whether a read asks for the lease of a name at once, without a look. Redis
// answers with the document if there is one. That saves a round trip where reads keep missing, and
// takes Redis longer where they hit. A place must be free, which a read that hits does not need,
// and a large value is looked at by one reader at a time.
func (c *Core) AsksAtOnce(name string) bool {
	return c.streak.misses() && len(c.places) <= cap(c.places)/2 && c.fillable(name) && !c.Store.Large.Has(name)
}

// A streak tells whether reads keep missing: more than nine in ten for a while, without those that join another's load. Where reads
// hit, it is only read.
type streak struct{ n atomic.Int32 }

const (
	longStreak    = 50
	longestStreak = 2 * longStreak
)

func (s *streak) misses() bool { return s.n.Load() >= longStreak }

func (s *streak) miss() {
	if s.n.Load() < longestStreak {
		s.n.Add(1)
	}
}

func (s *streak) hit() {
	if s.n.Load() > 0 {
		s.n.Store(max(0, s.n.Load()-9)) // what others count meanwhile may be lost
	}
}

// outcomeOf is the kind of a hit.
func outcomeOf(e *document.Entry, now time.Time) Outcome {
	switch {
	case e.State == document.Absent:
		return AbsentHit
	case now.UnixMilli() > e.Fresh:
		return StaleHit
	default:
		return Hit
	}
}

// Unusable returns the document of e if a lease should replace it: it is neither missing nor in a state that passes.
func (c *Core) Unusable(e *document.Entry, doc []byte) []byte {
	switch e.State {
	case document.Unknown, document.Present, document.Absent:
		c.n.unusable.Add(1)
		return doc
	default:
		return nil
	}
}

// Bypassed reports whether a read goes to the loader and nowhere else.
func (c *Core) Bypassed(m *Mode) bool {
	return m != nil && m.bypass || c.background.Closing.Err() != nil
}

// usable reports whether a name may be read from Redis: Redis answers, and no pending invalidation
// keeps the name from being read.
func (c *Core) usable(name string) bool {
	return c.Store.Breaker.Up(name, redisstore.Reads) && !c.mayNotRead(name)
}

// fillable reports whether Redis may be asked to store what is loaded for a name.
func (c *Core) fillable(name string) bool {
	return c.usable(name) && c.Store.Breaker.Up(name, redisstore.Writes) &&
		(!c.Tagged || c.Store.Breaker.Up(c.Store.Books.Journal, redisstore.Writes))
}
