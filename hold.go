package aside

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/asidecache/aside/internal/watch"
)

// The side of a Cache that takes part in InTx.

// errUnknownHold says that the library's next version, or somebody else, holds the entry.
var errUnknownHold = errors.New("it is held in an unknown format")

// heldFor is how long a hold of what o is about lasts: WithHold, and then WithReplicaLag.
func (c *Cache[K, V]) heldFor(o *owed) time.Duration { return saturated(c.config.hold, o.longestLag()) }

// placeHolds places the holds of names, and notes which were placed.
func (c *Cache[K, V]) placeHolds(ctx context.Context, t *tx, names []string) error {
	c.n.invalidations.Add(uint64(len(names)))
	confirmed, failed, first := c.runHolds(ctx, names, t.token, c.heldFor(c.owed), 0)
	t.with(c, func(p *part) { confirm(p.names, confirmed) })
	if first == nil {
		return nil
	}
	c.n.invalidationErrors.Add(uint64(len(failed)))
	return fmt.Errorf("aside: %d of %d keys not held, the first is %q: %w", len(failed), len(names), failed[0], first)
}

// runHolds has token hold names for life, or no longer if that is 0, and notes the lag. It returns what attempt does.
func (c *Cache[K, V]) runHolds(
	ctx context.Context, names []string, token string, life, lag time.Duration,
) (confirmed, failed []string, first error) {
	return c.attempt(ctx, names, func(name string) step { return holdStep(name, token, life, lag) })
}

// renew keeps the holds from expiring while the transaction runs. It places them anew every third of their life, so that one
// that was evicted is back before long, and what has failed after a twelfth: so a Redis that does not answer now and then
// lets none expire.
func (c *Cache[K, V]) renew(ctx context.Context, t *tx) (stop func()) {
	running := make(chan struct{}, 1)
	renewed := time.Now()
	end := every(c.config.hold/12, func() {
		if time.Since(renewed) < c.config.hold/3 {
			return
		}
		select {
		case running <- struct{}{}:
		default:
			return // stopped just now
		}
		defer func() { <-running }()
		if start := time.Now(); c.renewAll(ctx, t) {
			renewed = start
		}
	})
	return func() {
		end()
		running <- struct{}{} // for good: a renewal after the release would hold the keys for WithHold
	}
}

// renewAll places all holds of a transaction anew, and reports whether it could.
func (c *Cache[K, V]) renewAll(ctx context.Context, t *tx) (ok bool) {
	ok = true
	names, tags := t.held(c)
	c.store.chunks(names, func(chunk []string) []string {
		if t.over() {
			return chunk
		}
		_, failed, err := c.runHolds(ctx, chunk, t.token, c.heldFor(c.owed), 0)
		ok = ok && err == nil
		return failed
	})
	if len(tags) > 0 && !t.over() {
		ok = c.renewTags(ctx, t, tags) == nil && ok
	}
	return ok
}

// finish is what a Cache does when a transaction ends.
func (c *Cache[K, V]) finish(ctx context.Context, t *tx, p *part) {
	if names := slices.Collect(maps.Keys(p.names)); len(names) > 0 {
		if t.committed {
			c.release(ctx, t.token, names)
		} else {
			c.prolong(ctx, t.token, names)
		}
	}
	if tags := slices.Collect(maps.Keys(p.tags)); len(tags) > 0 {
		if t.committed {
			c.releaseTags(ctx, t.token, tags)
		} else {
			c.prolongTags(ctx, t, tags)
		}
	}
	if p.all {
		c.finishAll(ctx, t.committed)
	}
}

// release ends the holds of names after a commit. A hold whose placing was not confirmed may be there all the same, so it
// is ended too. Where the end is not confirmed an invalidation is owed: the hold may be gone, and the entry filled.
func (c *Cache[K, V]) release(ctx context.Context, token string, names []string) {
	c.oweHolds(ctx, names, token, 0, c.owed.longestLag())
	watch.Tell(ctx, watch.Invalidation{Cache: c.name, Names: names})
}

// prolong holds names whose outcome is unknown for WithHold from now on. Those that Redis does not confirm are invalidated
// as soon as it is there, and again when a COMMIT has landed if ever.
func (c *Cache[K, V]) prolong(ctx context.Context, token string, names []string) {
	failed := c.oweHolds(ctx, names, token, c.heldFor(c.owed), 0)
	if len(failed) > 0 {
		c.afterHold(func() { _ = c.invalidate(ctx, failed) }) // is owed if it fails
	}
}

// oweHolds is runHolds, after which what was not confirmed is invalidated in the background.
func (c *Cache[K, V]) oweHolds(ctx context.Context, names []string, token string, life, lag time.Duration) (failed []string) {
	number := c.owed.incur(names)
	confirmed, failed, err := c.runHolds(ctx, names, token, life, lag)
	c.owed.settle(confirmed, number)
	if err != nil {
		c.retry(c.owed.fail(failed))
		c.config.logger.Warn("aside: a transaction ended, and its keys are not invalidated yet", "cache", c.name, "error", err)
	}
	return failed
}

// finishAll is InvalidateAll after the transaction in which it was called, and once more if its outcome is unknown.
func (c *Cache[K, V]) finishAll(ctx context.Context, committed bool) {
	defer watch.Tell(ctx, watch.Invalidation{Cache: c.name})
	if err := c.invalidateAll(ctx); err != nil {
		c.config.logger.Warn("aside: a transaction ended, and its cache is not invalidated yet", "cache", c.name, "error", err)
	}
	if !committed {
		c.afterHold(func() { c.finishAll(ctx, true) })
	}
}

// afterHold calls fn when a COMMIT whose answer was lost has landed if ever, unless the Cache is closed before.
func (c *Cache[K, V]) afterHold(fn func()) {
	c.background.start(func() {
		select {
		case <-time.After(c.config.hold):
			fn()
		case <-c.background.closing.Done():
		}
	})
}

// tagged reports whether entries of the Cache may have tags.
func (c *Cache[K, V]) tagged() bool { return c.tagsFunc != nil }

// placeTagHolds holds tags, and invalidates what has them.
func (c *Cache[K, V]) placeTagHolds(ctx context.Context, t *tx, tags []string) error {
	if err := c.holdAndRemoveTags(ctx, t, tags); err != nil {
		c.n.invalidationErrors.Add(uint64(len(tags)))
		return fmt.Errorf("aside: %d tags not held, the first is %q: %w", len(tags), tags[0], err)
	}
	return nil
}

// holdAndRemoveTags removes what has the tags once they are held: what is filled later was marked before, or is refused.
func (c *Cache[K, V]) holdAndRemoveTags(ctx context.Context, t *tx, tags []string) error {
	if err := c.runTagHolds(ctx, tags, t.token, c.heldFor(c.owedTags), 0); err != nil {
		return err
	}
	t.with(c, func(p *part) { confirm(p.tags, tags) })
	return c.removeTags(ctx, tags)
}

// renewTags places the holds of tags anew. Where one was gone, evicted or deleted, loads may have been filled meanwhile that
// saw the rows from before.
func (c *Cache[K, V]) renewTags(ctx context.Context, t *tx, tags []string) error {
	replies := c.tagHolds(ctx, tags, t.token, c.heldFor(c.owedTags), 0)
	if err := firstError(replies); err != nil {
		return err
	}
	wasGone := func(r reply) bool { return r.at == 2 }
	if slices.ContainsFunc(replies, wasGone) && !t.over() {
		return c.removeTags(ctx, tags)
	}
	return nil
}

// runTagHolds has token hold tags for life, or no longer if that is 0, and notes the lag.
func (c *Cache[K, V]) runTagHolds(ctx context.Context, tags []string, token string, life, lag time.Duration) error {
	return firstError(c.tagHolds(ctx, tags, token, life, lag))
}

func (c *Cache[K, V]) tagHolds(ctx context.Context, tags []string, token string, life, lag time.Duration) []reply {
	var steps []step
	for chunk := range slices.Chunk(tags, chunkSize) {
		steps = append(steps, holdTagsStep(chunk, token, life, lag))
	}
	return c.store.runAlone(ctx, steps...)
}

// releaseTags ends the holds of tags after a commit. A hold that is gone, evicted or deleted, has let loads be filled that
// saw the rows from before: that is why what has the tags is invalidated once more.
func (c *Cache[K, V]) releaseTags(ctx context.Context, token string, tags []string) {
	if err := c.removeTags(ctx, tags); err != nil {
		c.oweTagsOfTx(tags, err)
		return
	}
	_ = c.runTagHolds(ctx, tags, token, 0, 0) // or they expire
	watch.Tell(ctx, watch.Invalidation{Cache: c.name, Tags: tags})
}

// prolongTags is what prolong is for names.
func (c *Cache[K, V]) prolongTags(ctx context.Context, t *tx, tags []string) {
	if err := c.holdAndRemoveTags(ctx, t, tags); err != nil {
		c.oweTagsOfTx(tags, err)
		c.afterHold(func() { _ = c.invalidateTags(ctx, tags) }) // is owed if it fails
	}
}

func (c *Cache[K, V]) oweTagsOfTx(tags []string, err error) {
	c.oweTags(tags)
	c.config.logger.Warn("aside: a transaction ended, and its tags are not invalidated yet", "cache", c.name, "error", err)
}
