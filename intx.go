package aside

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"sync"
)

// InTx runs fn, in which a transaction is run, so that the cache is coherent with its commit.
//
// Invalidate with the ctx that fn is given holds the keys: from then on until InTx returns, nothing is cached for them,
// in any process. Call it before the commit, and begin, commit or roll back within fn:
//
//	err := aside.InTx(ctx, func(ctx context.Context) error {
//		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//			if err := setPrice(ctx, tx, id, price); err != nil {
//				return err
//			}
//			return products.Invalidate(ctx, id)
//		})
//	})
//
// That fn returns nil means that the transaction has committed: the holds are released, and the next Get loads the
// committed row. If fn returns an error or panics, the transaction may have committed all the same (a COMMIT whose answer
// was lost), so the holds are renewed once more and left to expire: nothing is cached for the keys for WithHold, and
// nothing is stale. So it is when the process dies at any point. While fn runs, the holds are renewed.
//
// InTx returns fn's error and nothing else, and re-panics fn's panic. What it does with the holds at the end takes as
// long as Invalidate, InvalidateTags and InvalidateAll take, and a WithRedisTimeout more if they are being renewed just then,
// and does not end with ctx. Where Redis does not confirm that, the keys are invalidated in the
// background, as by an Invalidate that has failed.
//
// Inside, a read of a key that was invalidated there goes to the loader, with this ctx, on the caller's goroutine. Reads
// of other keys may hit, and no read fills the cache or shares its load: the loader may see uncommitted rows.
//
// One InTx may invalidate keys of several caches. An InTx inside another joins it: the holds last until the outer one
// ends.
func InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	if t := txOf(ctx); t != nil && !t.over() {
		return fn(ctx)
	}
	t := &tx{token: rand.Text(), parts: make(map[member]*part)}
	defer t.end(context.WithoutCancel(ctx)) // after a panic too
	inside := &mode{tx: t}
	if m := modeOf(ctx); m != nil {
		inside.bypass = m.bypass
	}
	err := fn(context.WithValue(ctx, modeKey{}, inside))
	t.committed = err == nil
	return err
}

// A tx is one run of InTx.
type tx struct {
	token     string // of its holds
	committed bool

	mu     sync.Mutex // guards the rest
	parts  map[member]*part
	tagged bool // InvalidateTags was called
	ended  bool
}

// A member is a Cache that takes part in a tx.
type member interface {
	// finish releases the holds of p after a commit, and leaves them to expire if the outcome is unknown. Then all are
	// placed anew: one may have expired or been evicted, or never have been placed.
	finish(ctx context.Context, t *tx, p *part)
	// tagged reports whether entries may have tags.
	tagged() bool
	// owns reports whether an entry is of a cache of this name.
	owns(name string) bool
}

// A part is what was invalidated of one Cache.
type part struct {
	names map[string]bool // whether the hold was placed
	tags  map[string]bool // the same
	all   bool            // InvalidateAll was called
	stop  func()          // ends the renewals
}

// with calls use with the part of m, unless the tx has ended: then what goes on under its ctx is outside.
func (t *tx) with(m member, use func(p *part)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	p := t.parts[m]
	if p == nil {
		p = &part{names: make(map[string]bool), tags: make(map[string]bool)}
		t.parts[m] = p
	}
	use(p)
	return true
}

// has reports whether name was invalidated in the tx, or may have been by a tag.
func (t *tx) has(m member, name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for by, p := range t.parts { // which may be another Cache of the same name
		if _, has := p.names[name]; has || p.all && by.owns(name) {
			return true
		}
	}
	return m.tagged() && t.tagged
}

// held returns the names and tags of m whose holds were placed.
func (t *tx) held(m member) (names, tags []string) {
	t.with(m, func(p *part) { names, tags = placed(p.names), placed(p.tags) })
	return names, tags
}

// over reports whether the tx has ended.
func (t *tx) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended
}

// note adds what is invalidated to holds, as not placed yet.
func note(holds map[string]bool, added []string) {
	for _, a := range added {
		if _, ok := holds[a]; !ok {
			holds[a] = false
		}
	}
}

// confirm notes that holds were placed.
func confirm(holds map[string]bool, confirmed []string) {
	for _, c := range confirmed {
		holds[c] = true
	}
}

// placed returns the holds that were placed.
func placed(holds map[string]bool) []string {
	return only(slices.Collect(maps.Keys(holds)), func(h string) bool { return holds[h] })
}

// end finishes the parts, the caches side by side.
func (t *tx) end(ctx context.Context) {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	var group sync.WaitGroup
	for m, p := range t.parts {
		group.Go(func() {
			if p.stop != nil {
				p.stop()
			}
			m.finish(ctx, t, p)
		})
	}
	group.Wait()
}

// hold places the holds of names.
func (c *Cache[K, V]) hold(ctx context.Context, t *tx, names []string) error {
	// They are noted before anything is sent: reads inside go to the loader from here on.
	if !t.with(c, func(p *part) { note(p.names, names); c.keepHolds(ctx, t, p) }) {
		return c.invalidate(ctx, names)
	}
	return c.placeHolds(ctx, t, names)
}

// holdTags places the holds of tags.
func (c *Cache[K, V]) holdTags(ctx context.Context, t *tx, tags []string) error {
	open := t.with(c, func(p *part) {
		note(p.tags, tags)
		t.tagged = true
		c.keepHolds(ctx, t, p) // from here on: to remove what has the tags may take longer than a hold lasts
	})
	if !open {
		return c.invalidateTags(ctx, tags)
	}
	return c.placeTagHolds(ctx, t, tags)
}

// keepHolds has the holds of p renewed, from when the first is to be placed.
func (c *Cache[K, V]) keepHolds(ctx context.Context, t *tx, p *part) {
	if p.stop == nil {
		p.stop = c.renew(ctx, t)
	}
}

type modeKey struct{}

// A mode is what a ctx says of the reads under it.
type mode struct {
	bypass bool
	tx     *tx
}

func modeOf(ctx context.Context) *mode {
	m, _ := ctx.Value(modeKey{}).(*mode)
	return m
}

// inTx reports whether reads must neither fill nor be shared: what goes on under the ctx of a tx that has ended is outside.
func (m *mode) inTx() bool { return m != nil && m.tx != nil && !m.tx.over() }

// wrote reports whether name was invalidated in the transaction that the read is of.
func (m *mode) wrote(c member, name string) bool { return m.inTx() && m.tx.has(c, name) }

// txOf is the run of InTx that ctx is of, nil if none.
func txOf(ctx context.Context) *tx {
	if m := modeOf(ctx); m != nil {
		return m.tx
	}
	return nil
}
