package aside

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asidecache/aside/internal/watch"
)

// Invalidate says that the rows of keys have changed: it removes what is cached for them, and voids the loads under way.
//
// Outside InTx, call it after the change is committed. When it returns nil, no Get that starts later, in any process,
// returns what was loaded before Invalidate was called. It waits for Redis to confirm, in one round trip to each server
// concerned for each 500 keys, and at most WithRedisTimeout for each of those; if a server confirms none of them, the rest of
// its keys is left to the background. It is sent even if ctx has ended, and does not end with it: the rows have changed, whoever is still
// listening. It is sent even if Redis is known to be down.
//
// An error says that Redis did not confirm all of them. Those are tried again in the background until they succeed, and
// until then the caches of this process that have this name and were given the same client read them from the loader; others
// may serve what is cached.
//
// Inside InTx, it holds the keys until the transaction has ended: nothing is cached for them, and this process and all
// others load. An error says that a hold could not be placed while there is still time to roll back. If it is ignored,
// the keys are invalidated when InTx ends after a commit, and held then if the outcome is unknown.
func (c *Cache[K, V]) Invalidate(ctx context.Context, keys ...K) error {
	if len(keys) == 0 {
		return nil
	}
	start := time.Now()
	names, err := c.namesOf(keys)
	if len(names) > 0 {
		err = errors.Join(err, c.holdOrRemove(context.WithoutCancel(ctx), names))
	}
	if observe := c.config.observer.Invalidate; observe != nil {
		observe(ctx, InvalidateInfo{Cache: c.name, Names: names, Took: time.Since(start), Err: err})
	}
	watch.Tell(ctx, watch.Invalidation{Cache: c.name, Names: names})
	return err
}

// namesOf returns each name once. It leaves out the keys that cannot be rendered, under which nothing is cached, and returns the
// first error.
func (c *Cache[K, V]) namesOf(keys []K) (names []string, first error) {
	names = make([]string, 0, len(keys))
	seen := make(map[string]bool)
	for _, key := range keys {
		name, err := c.nameOf(key)
		if err == nil && !seen[name] {
			names = append(names, name)
			seen[name] = true
		}
		first = cmp.Or(first, err)
	}
	return names, first
}

// holdOrRemove does what an invalidation is where ctx is of: inside InTx, or outside.
func (c *Cache[K, V]) holdOrRemove(ctx context.Context, names []string) error {
	if t := txOf(ctx); t != nil {
		return c.hold(ctx, t, names)
	}
	return c.invalidate(ctx, names)
}

// invalidate removes the entries of names, and remembers those that it could not.
func (c *Cache[K, V]) invalidate(ctx context.Context, names []string) error {
	number := c.owed.incur(names) // before anything is sent: see owed
	failed, err := c.remove(ctx, names, number)
	c.n.invalidations.Add(uint64(len(names)))
	c.n.invalidationErrors.Add(uint64(len(failed)))
	if err == nil {
		return nil
	}
	c.retry(c.owed.fail(failed))
	return fmt.Errorf("aside: %d of %d keys not invalidated, the first is %q: %w", len(failed), len(names), failed[0], err)
}

// remove sends one attempt for names, which settles what is owed for them up to number. It returns the names that Redis
// did not confirm, and the first error.
func (c *Cache[K, V]) remove(ctx context.Context, names []string, number uint64) (failed []string, first error) {
	lag := c.owed.longestLag()
	confirmed, failed, first := c.attempt(ctx, names, func(name string) step { return invalidateStep(name, lag) })
	c.owed.settle(confirmed, number)
	return failed, first
}

// attempt runs a step on each of names, in chunks that have WithRedisTimeout each. It returns the names that Redis confirmed,
// those that it did not, and the first error.
func (c *Cache[K, V]) attempt(
	ctx context.Context, names []string, stepOn func(name string) step,
) (confirmed, failed []string, first error) {
	left := c.store.chunks(names, func(chunk []string) []string {
		did, didNot, err := c.attemptOnce(ctx, chunk, stepOn)
		confirmed, failed, first = append(confirmed, did...), append(failed, didNot...), cmp.Or(first, err)
		return didNot
	})
	return confirmed, append(failed, left...), first
}

// attemptOnce is attempt for one chunk. A hold, or a lag, that an unknown hold has kept from being noted is not confirmed.
func (c *Cache[K, V]) attemptOnce(
	ctx context.Context, names []string, stepOn func(name string) step,
) (confirmed, failed []string, first error) {
	steps := make([]step, len(names))
	for i, name := range names {
		steps[i] = stepOn(name)
	}
	for i, r := range c.store.runAlone(ctx, steps...) {
		err := r.err
		switch {
		case isWrongType(err):
			c.foreign(names[i]) // not an entry, so nothing is cached
			err = nil
		case err == nil && !r.ok && steps[i].script == scriptHold:
			err = errUnknownHold
		}
		if err == nil {
			confirmed = append(confirmed, names[i])
		} else if failed = append(failed, names[i]); first == nil {
			first = err
		}
	}
	return confirmed, failed, first
}

// chunkSize is how many names one pipeline is about, where there may be very many.
const chunkSize = 500
