package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/asidecache/aside/internal/durations"
)

// A transaction, as the reads and writes under its ctx see it: which runs of InTx it has, and what was invalidated in them. How it
// holds that, and what becomes of the holds in the end, is in intx.go.

// A run is one call of InTx: the one that begins a tx, or one inside it.
type run struct {
	tx    *tx
	outer *run // nil if it began the tx
	known bool // its function returned nil, or RolledBack; guarded by tx.mu
}

// isKnown reports whether it is known what became of all that was written in r. r.tx.mu is held.
func (r *run) isKnown() bool {
	return r.known && (r.outer == nil || r.outer.isKnown())
}

// A tx is one run of InTx, with those inside it.
type tx struct {
	mu     sync.Mutex // guards the rest
	parts  []*part
	runs   []*run // in which something was invalidated
	tagged bool   // InvalidateTags was called
	ended  bool
	isLate bool // holds were once not renewed in time
}

// A part is what was invalidated of one Cache.
type part struct {
	*Core
	entries, tags *holds
	all           bool   // InvalidateAll was called
	stop          func() // ends the renewals; nil before the first hold is to be placed
}

func (c *Core) newPart() *part {
	holder := rand.Text()
	p := &part{
		Core:    c,
		entries: newHolds(c.entries, holder, durations.Saturated(c.Config.Hold, c.entries.longestLag())),
		tags:    newHolds(c.tags, holder, durations.Saturated(c.Config.Hold, c.tags.longestLag())),
	}
	p.entries.must = true
	return p
}

// due are the holds that are to be renewed.
func (p *part) due(hs *holds) []string { return hs.placedBy(time.Now().Add(-p.Config.Hold / 3)) }

// late reports whether some hold has not been renewed for another third of WithHold since it was due. What is left is the time
// in which a COMMIT may land.
func (p *part) late() bool {
	limit := time.Now().Add(-2 * (p.Config.Hold / 3))
	return p.entries.anyPlacedBy(limit) || p.tags.anyPlacedBy(limit)
}

// use calls fn with the part of c, for something that is invalidated in r. If the tx has ended, it
// does not: then what goes on under its ctx is outside.
func (r *run) use(c *Core, fn func(p *part)) bool {
	t := r.tx
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	if !slices.Contains(t.runs, r) {
		t.runs = append(t.runs, r)
	}
	i := slices.IndexFunc(t.parts, func(p *part) bool { return p.Core == c })
	if i < 0 {
		i, t.parts = len(t.parts), append(t.parts, c.newPart())
	}
	fn(t.parts[i])
	return true
}

// errLate says that a hold may have expired, or is about to.
var errLate = errors.New("aside: the holds of this transaction were not renewed within a third of WithHold: " +
	"they are too many for that, or Redis did not answer")

// late returns errLate once holds were not renewed in time.
func (t *tx) late() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isLate = t.isLate || slices.ContainsFunc(t.parts, (*part).late); t.isLate {
		err = errLate
	}
	return err
}

// has reports whether name was invalidated in the tx, or may have been by a tag.
func (t *tx) has(c *Core, name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.parts { // which may be that of another Cache of the same name
		if p.entries.has(name) || p.all && p.Core.entries.of == prefixOf(name) {
			return true
		}
	}
	return c.Tagged && t.tagged
}

// over reports whether the tx has ended.
func (t *tx) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended
}

// isKnown reports whether it is known what became of all that was written in t. t.mu is held.
func (t *tx) isKnown() bool {
	return !slices.ContainsFunc(t.runs, func(r *run) bool { return !r.isKnown() })
}

type modeKey struct{}

// A Mode is what a ctx says of the reads under it.
type Mode struct {
	bypass bool
	run    *run // nil if none
}

func ModeOf(ctx context.Context) *Mode {
	m, _ := ctx.Value(modeKey{}).(*Mode)
	return m
}

// inTx reports whether reads must neither fill nor be shared: what goes on under the ctx of a tx that has ended is outside.
func (m *Mode) inTx() bool { return m != nil && m.run != nil && !m.run.tx.over() }

// wrote reports whether name was invalidated in the transaction that the read is of.
func (m *Mode) wrote(c *Core, name string) bool { return m.inTx() && m.run.tx.has(c, name) }

// runOf is the run of InTx that ctx is of, nil if none.
func runOf(ctx context.Context) *run {
	if m := ModeOf(ctx); m != nil {
		return m.run
	}
	return nil
}

// Bypass is that of package aside.
func Bypass(ctx context.Context) context.Context {
	return context.WithValue(ctx, modeKey{}, &Mode{bypass: true, run: runOf(ctx)})
}
