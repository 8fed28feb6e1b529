package aside

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Invalidate says that the rows of keys have changed: it removes what is cached for them, and voids the loads under way.
// Call it after the change is committed.
//
// When it returns nil, no Get that starts later, in any process, returns what was loaded before Invalidate was called.
// It waits for Redis to confirm, at most WithRedisTimeout, in one round trip to each server concerned. It is sent even if
// ctx has ended, and does not end with it: the rows have changed, whoever is still listening.
//
// An error says which keys Redis did not confirm: what is cached for them may be served until its TTL. It is returned
// whether or not Redis is known to be down; every Invalidate is tried.
func (c *Cache[K, V]) Invalidate(ctx context.Context, keys ...K) error {
	if len(keys) == 0 {
		return nil
	}
	start := time.Now()
	names, err := c.namesOf(keys)
	if len(names) > 0 {
		err = errors.Join(err, c.invalidate(context.WithoutCancel(ctx), names))
	}
	if observe := c.config.observer.Invalidate; observe != nil {
		observe(ctx, InvalidateInfo{Cache: c.name, Names: names, Took: time.Since(start), Err: err})
	}
	return err
}

// namesOf leaves out the keys that cannot be rendered, under which nothing is cached, and returns the first error.
func (c *Cache[K, V]) namesOf(keys []K) (names []string, first error) {
	names = make([]string, 0, len(keys))
	for _, key := range keys {
		if name, err := c.nameOf(key); err == nil {
			names = append(names, name)
		} else if first == nil {
			first = err
		}
	}
	return names, first
}

func (c *Cache[K, V]) invalidate(ctx context.Context, names []string) error {
	steps := make([]step, len(names))
	for i, name := range names {
		steps[i] = step{name: name, script: scriptInvalidate}
	}
	b := newBudget(c.config.timeout)
	var failed []error
	for i, r := range c.store.run(ctx, &b, steps) {
		switch {
		case r.err == nil:
		case isWrongType(r.err):
			c.foreign(names[i]) // not an entry, so nothing is cached
		default:
			failed = append(failed, fmt.Errorf("%q: %w", names[i], r.err))
		}
	}
	c.n.invalidations.Add(uint64(len(names)))
	c.n.invalidationErrors.Add(uint64(len(failed)))
	if failed == nil {
		return nil
	}
	return fmt.Errorf("aside: %d of %d keys not invalidated, the first is %w", len(failed), len(names), failed[0])
}
