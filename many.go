package aside

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// GetMany returns the values of keys, by key; keys without a row are not in the map, and a key may be given twice.
//
// It costs one round trip when Redis has all of them. The others are loaded together, with one call of the batch loader
// if there is one (see WithBatch), or else with the loader, up to 16 keys at a time; what other callers are loading
// already is waited for. All that Get says of ctx, Redis, panics and ownership holds for GetMany too.
//
// If loads fail, it returns the first error together with the values that it has: then a key that is not in the map may
// or may not have a row.
func (c *Cache[K, V]) GetMany(ctx context.Context, keys []K) (map[K]V, error) {
	found := make(map[K]V, len(keys))
	wants, err := c.wantsOf(keys)
	if err != nil || len(wants) == 0 {
		return found, err
	}
	missing := wants
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case c.bypassed(modeOf(ctx)):
		err = c.loadManyHere(ctx, wants, found)
	default:
		missing, err = c.getMany(ctx, modeOf(ctx), wants, found)
	}
	c.observeMisses(ctx, missing, err)
	return found, raised(err)
}

// getMany returns, with the first error, the wants that it has not told the Observer of.
func (c *Cache[K, V]) getMany(
	ctx context.Context, m *mode, wants []*want[K, V], found map[K]V,
) ([]*want[K, V], error) {
	b := newBudget(c.config.timeout)
	missing, err := c.lookMany(ctx, m, &b, wants, found)
	if err != nil || len(missing) == 0 {
		return missing, err
	}
	c.n.misses.Add(uint64(len(missing)))
	if m.inTx() {
		return missing, c.loadManyHere(ctx, missing, found)
	}
	if err := c.fetchMany(ctx, b, missing); err != nil {
		return missing, err
	}
	return nil, c.collect(ctx, missing, found)
}

// wantsOf makes a want of each key, once.
func (c *Cache[K, V]) wantsOf(keys []K) ([]*want[K, V], error) {
	all := make([]want[K, V], 0, len(keys))
	wants := make([]*want[K, V], 0, len(keys))
	seen := make(map[K]struct{}, len(keys))
	for _, key := range keys {
		if _, again := seen[key]; again {
			continue
		}
		seen[key] = struct{}{}
		name, err := c.nameOf(key)
		if err != nil {
			return nil, err
		}
		all = append(all, want[K, V]{key: key, name: name})
		wants = append(wants, &all[len(all)-1])
	}
	return wants, nil
}

// lookMany puts what Redis has into found, starts the refreshes that are due, and returns the wants that are missing.
func (c *Cache[K, V]) lookMany(
	ctx context.Context, m *mode, b *budget, wants []*want[K, V], found map[K]V,
) (missing []*want[K, V], err error) {
	var due []*want[K, V]
	names, asked := make([]string, 0, len(wants)), make([]*want[K, V], 0, len(wants))
	for _, w := range wants {
		if c.usable(w.name) && !m.wrote(c, w.name) {
			names, asked = append(names, w.name), append(asked, w)
		} else {
			w.direct = true
			missing = append(missing, w)
		}
	}
	if len(names) == 0 {
		return missing, nil
	}
	replies := c.store.lookMany(ctx, b, names)
	if err := ctx.Err(); err != nil {
		return wants, err
	}
	now := time.Now()
	for i, w := range asked {
		e, answered := c.take(ctx, w, replies[i], found, now)
		if !answered {
			missing = append(missing, w)
		} else if c.due(&e, now) {
			w.source = &e
			due = append(due, w)
		}
	}
	if due != nil && !m.inTx() {
		c.startRefresh(ctx, due, true)
	}
	return missing, nil
}

// take puts what Redis replied for a want into found, and reports whether that was an answer.
func (c *Cache[K, V]) take(ctx context.Context, w *want[K, V], r reply, found map[K]V, now time.Time) (e entry, answered bool) {
	if r.err != nil {
		c.lost(w, r.err)
		return e, false
	}
	e = parse(r.doc)
	v, err := c.read(&e, nil)
	if errors.Is(err, errUnusable) {
		w.unusable = c.unusable(&e, r.doc)
		return e, false
	}
	if err == nil {
		found[w.key] = v
	}
	c.observeRead(ctx, w.name, c.outcome(&e, now), err)
	return e, true
}

// fetchMany brings the wants while ctx lasts. The work goes on without the caller, as that of a flight does, but is
// shared with nobody in this process: callers who want the same entries meet at their leases.
func (c *Cache[K, V]) fetchMany(ctx context.Context, b budget, wants []*want[K, V]) error {
	var queued atomic.Bool
	f := fetch[K, V]{
		Cache: c, ctx: context.WithoutCancel(ctx), queue: ctx, budget: b, queued: &queued, many: true,
		seal: func() {}, close: func() {},
	}
	done := make(chan ended[bool], 1)
	run := func() {
		settled(func() bool { f.run(wants); return true }, func(o ended[bool]) { done <- o })
	}
	switch {
	case ctx.Done() != nil && c.background.start(run):
	case c.background.enter(): // ctx cannot end, so nobody leaves early
		func() {
			defer c.background.leave()
			run()
		}()
	default: // the Cache was closed just now
		for _, w := range wants {
			w.direct = true
		}
		run()
	}
	select {
	case o := <-done:
		return o.err
	case <-ctx.Done():
		if queued.Load() {
			return c.overloaded(ctx)
		}
		return ctx.Err()
	}
}

// collect puts what was fetched into found.
func (c *Cache[K, V]) collect(ctx context.Context, wants []*want[K, V], found map[K]V) error {
	var first error
	failed := 0
	for _, w := range wants {
		switch {
		case w.abandoned:
			return c.overloaded(ctx)
		case w.err == nil:
			found[w.key] = w.value
		case !w.absent:
			if failed++; first == nil {
				first = w.err
			}
		}
		c.observeRead(ctx, w.name, Miss, w.err)
	}
	if failed > 1 && c.batch == nil {
		return fmt.Errorf("%w (and %d more keys of %d failed to load)", first, failed-1, len(wants))
	}
	return first
}

// loadManyHere loads on the caller's goroutine, with its ctx, which may hold what no other goroutine may use.
func (c *Cache[K, V]) loadManyHere(ctx context.Context, wants []*want[K, V], found map[K]V) error {
	if c.batch != nil {
		return c.loadBatchHere(ctx, keysOf(wants), found)
	}
	for _, w := range wants {
		v, err := c.loadHere(ctx, w.key)
		switch {
		case err == nil:
			found[w.key] = v
		case !isAbsence(err):
			return err
		}
	}
	return nil
}

func (c *Cache[K, V]) loadBatchHere(ctx context.Context, keys []K, found map[K]V) error {
	release, err := c.place(ctx)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, c.config.loadTimeout)
	defer cancel()
	rows, err := c.callBatch(ctx, keys, false)
	c.countLoad(err)
	for _, key := range keys {
		if v, err := pick(c, rows, key, err); err == nil {
			found[key] = v
		}
	}
	if c.isNotFound(err) {
		return nil
	}
	return err
}

func (c *Cache[K, V]) observeMisses(ctx context.Context, wants []*want[K, V], err error) {
	for _, w := range wants {
		c.observeRead(ctx, w.name, Miss, err)
	}
}

func (c *Cache[K, V]) observeRead(ctx context.Context, name string, outcome Outcome, err error) {
	if observe := c.config.observer.Read; observe != nil {
		observe(ctx, ReadInfo{Cache: c.name, Name: name, Outcome: outcome, Err: err})
	}
}
