package aside

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
)

// GetMany returns the values of keys, by key; keys without a row are not in the map, and a key may be given twice.
//
// It costs one round trip when Redis has all of them. The others are loaded together, with one call of the batch loader
// if there is one (see WithBatch), or else with the loader, up to 16 keys at a time, and after them those whose value the
// codec could not decode; what other callers are loading already is waited for. All that Get says of ctx, Redis, panics
// and ownership holds for GetMany too.
//
// All keys share one WithRedisTimeout. What Redis does not answer in that time is loaded and not stored, every time anew; if it
// has given leases late, the next reads of their keys wait for those to expire. So give it more than a few thousand keys in
// several calls.
//
// If loads fail, it returns the first error together with the values that it has: then a key that is not in the map may
// or may not have a row.
func (c *Cache[K, V]) GetMany(ctx context.Context, keys []K) (map[K]V, error) {
	found := make(map[K]V, len(keys))
	keys, names, err := c.distinct(keys)
	if err != nil || len(keys) == 0 {
		return found, err
	}
	untold := names
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case c.bypassed(modeOf(ctx)):
		return found, c.loadManyHere(ctx, keys, names, found)
	default:
		untold, err = c.getMany(ctx, modeOf(ctx), keys, names, found)
	}
	c.observeUntold(ctx, keys, names, untold, found, err)
	return found, raised(err)
}

// distinct returns each of the keys once, and their names.
func (c *Cache[K, V]) distinct(keys []K) (once []K, names []string, err error) {
	once, names = make([]K, 0, len(keys)), make([]string, 0, len(keys))
	seen := make(map[K]struct{}, len(keys))
	for _, key := range keys {
		if _, again := seen[key]; again {
			continue
		}
		seen[key] = struct{}{}
		name, err := c.nameOf(key)
		if err != nil {
			return nil, nil, err
		}
		once, names = append(once, key), append(names, name)
	}
	return once, names, nil
}

// getMany returns, with the first error, the names that it has not told the Observer of.
func (c *Cache[K, V]) getMany(
	ctx context.Context, m *mode, keys []K, names []string, found map[K]V,
) (untold []string, err error) {
	b := newBudget(c.config.timeout)
	replies := c.lookMany(ctx, m, &b, names)
	if err := ctx.Err(); err != nil {
		return names, err
	}
	missing, hits := c.sortOut(keys, names, replies)
	if m.inTx() {
		missing = append(missing, c.takeMany(ctx, m, hits, found)...)
		return nil, c.loadManyHere(ctx, keysOf(missing), namesOf(missing), found)
	}
	wait := c.fetchMany(ctx, &b, missing, len(hits) > 0)
	unusable := c.takeMany(ctx, m, hits, found) // which takes the time that Redis and the loader need for the others
	if err = wait(); err != nil {
		return namesOf(append(missing, unusable...)), err
	}
	err = c.collect(ctx, missing, found)
	if len(unusable) > 0 && ctx.Err() != nil { // nobody waits for them
		return namesOf(unusable), cmp.Or(err, ctx.Err())
	}
	if late := c.fetchMany(ctx, &b, unusable, false)(); late != nil {
		return namesOf(unusable), graver(err, late)
	}
	return nil, graver(err, c.collect(ctx, unusable, found))
}

// graver returns the error that counts if there are two: the first, unless the second is a panic, which goes on whatever else
// has failed.
func graver(first, second error) error {
	if p := (*panicError)(nil); first == nil || errors.As(second, &p) && !errors.As(first, &p) {
		return second
	}
	return first
}

// lookMany reads the documents of those names that may be read from Redis.
func (c *Cache[K, V]) lookMany(ctx context.Context, m *mode, b *budget, names []string) []reply {
	asked := only(names, func(name string) bool { return c.usable(name) && !m.wrote(c, name) })
	var answers []reply
	if len(asked) > 0 {
		answers = c.store.lookMany(ctx, b, asked)
	}
	if len(asked) == len(names) {
		return answers
	}
	replies := make([]reply, len(names))
	for i, name := range names {
		if len(asked) > 0 && name == asked[0] {
			replies[i] = answers[0]
			asked, answers = asked[1:], answers[1:]
		} else {
			replies[i].err = errNotAsked
		}
	}
	return replies
}

// errNotAsked stands for the answer of Redis about a name that may not be read from it.
var errNotAsked = errors.New("aside: not asked")

// A manyHit is one of the keys of a GetMany for which Redis has an answer, if its value can be decoded.
type manyHit[K comparable] struct {
	key   K
	name  string
	doc   []byte
	entry entry
}

// sortOut makes wants of the keys for which Redis has no answer.
func (c *Cache[K, V]) sortOut(keys []K, names []string, replies []reply) (missing []*want[K, V], hits []manyHit[K]) {
	hits = make([]manyHit[K], 0, len(keys))
	for i, r := range replies {
		e := parse(r.doc)
		if c.answers(&e) {
			hits = append(hits, manyHit[K]{keys[i], names[i], r.doc, e})
			continue
		}
		w := c.missed(keys[i], names[i], c.unusable(&e, r.doc))
		if r.err != nil {
			c.lost(w, r.err)
		}
		missing = append(missing, w)
	}
	return missing, hits
}

// missed counts a miss, and makes a want of it.
func (c *Cache[K, V]) missed(key K, name string, unusable []byte) *want[K, V] {
	c.n.misses.Add(1)
	return &want[K, V]{key: key, name: name, unusable: unusable}
}

// takeMany puts what Redis has into found, starts the refreshes that are due, and returns wants of what cannot be decoded.
func (c *Cache[K, V]) takeMany(ctx context.Context, m *mode, hits []manyHit[K], found map[K]V) (unusable []*want[K, V]) {
	var due []*want[K, V]
	now := time.Now()
	for i := range hits {
		h := &hits[i]
		v, err := c.take(&h.entry, nil)
		if err == errUnusable {
			unusable = append(unusable, c.missed(h.key, h.name, c.unusable(&h.entry, h.doc)))
			continue
		}
		if err == nil {
			found[h.key] = v
		}
		c.observeRead(ctx, h.name, c.outcome(&h.entry, now), err)
		if c.due(&h.entry, now) && !m.inTx() {
			source := h.entry // which need not keep the other hits in memory
			due = append(due, &want[K, V]{key: h.key, name: h.name, source: &source})
		}
	}
	if due != nil {
		c.startRefresh(ctx, due, true)
	}
	return unusable
}

// fetchMany begins to bring the wants, and returns a func that waits for them while ctx lasts. The work goes on without the
// caller, as that of a flight does, but is shared with nobody in this process: callers who want the same entries meet at
// their leases. Unless it is to be done beside what the caller does meanwhile, or his ctx may end before it, it is done here.
func (c *Cache[K, V]) fetchMany(ctx context.Context, b *budget, wants []*want[K, V], beside bool) (wait func() error) {
	if len(wants) == 0 {
		return func() error { return nil }
	}
	var queued atomic.Bool
	f := fetch[K, V]{
		Cache: c, ctx: context.WithoutCancel(ctx), queue: ctx, budget: *b, queued: &queued, many: true,
		seal: func() {}, close: func() {},
	}
	done := make(chan ended[bool], 1)
	run := func() { settled(func() bool { f.run(wants); return true }, done) }
	if (beside || ctx.Done() != nil) && c.background.start(run) {
		runtime.Gosched() // so that its first command is on its way before the caller goes on
	} else {
		run()
	}
	return func() (err error) {
		select {
		case o := <-done:
			*b, err = f.budget, o.err
		case <-ctx.Done():
			err = ctx.Err()
		}
		if queued.Load() {
			return c.overloaded(ctx)
		}
		return err
	}
}

// collect puts what was fetched into found.
func (c *Cache[K, V]) collect(ctx context.Context, wants []*want[K, V], found map[K]V) error {
	var first error
	failed := 0
	for _, w := range wants {
		switch {
		case w.err == nil:
			found[w.key] = w.value
		case !w.absent():
			failed++
			first = graver(first, w.err)
		}
		c.observeRead(ctx, w.name, Miss, w.err)
	}
	if failed > 1 && c.batch == nil {
		return fmt.Errorf("%w (and %d more keys of %d failed to load)", first, failed-1, len(wants))
	}
	return first
}

// loadManyHere loads on the caller's goroutine, with its ctx, which may hold what no other goroutine may use. It tells the
// Observer of the reads, also if the loader panics.
func (c *Cache[K, V]) loadManyHere(ctx context.Context, keys []K, names []string, found map[K]V) (err error) {
	err = errNoReturn // until it does
	defer func() { c.observeUntold(ctx, keys, names, names, found, err) }()
	if c.batch != nil && len(keys) > 0 {
		err = c.loadBatchHere(ctx, keys, found)
	} else {
		err = c.loadEachHere(ctx, keys, found)
	}
	return err
}

func (c *Cache[K, V]) loadEachHere(ctx context.Context, keys []K, found map[K]V) error {
	for _, key := range keys {
		v, err := c.loadHere(ctx, key)
		switch {
		case err == nil:
			found[key] = v
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
	err = errNoReturn // until it does
	defer func() { c.countLoad(err) }()
	rows, err := c.callBatch(ctx, keys, false)
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

// observeUntold tells the Observer of reads that nobody has told it of: all that is known is err, and what was found.
func (c *Cache[K, V]) observeUntold(ctx context.Context, keys []K, names, untold []string, found map[K]V, err error) {
	if c.config.observer.Read == nil || len(untold) == 0 {
		return
	}
	if err == nil {
		err = c.absent
	}
	keyOf := make(map[string]K, len(names))
	for i, name := range names {
		keyOf[name] = keys[i]
	}
	for _, name := range untold {
		got := err
		if _, ok := found[keyOf[name]]; ok {
			got = nil
		}
		c.observeRead(ctx, name, Miss, got)
	}
}

func (c *Cache[K, V]) observeRead(ctx context.Context, name string, outcome Outcome, err error) {
	if observe := c.config.observer.Read; observe != nil {
		observe(ctx, ReadInfo{Cache: c.name, Name: name, Outcome: outcome, Err: err})
	}
}
