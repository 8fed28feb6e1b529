package aside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The side of a Cache that takes part in InTx.

// errUnknownHold says that the library's next version, or somebody else, holds the entry.
var errUnknownHold = errors.New("it is held in an unknown format")

// placeHolds places the holds of names, and notes which were placed.
func (c *Cache[K, V]) placeHolds(ctx context.Context, t *tx, names []string) error {
	c.n.invalidations.Add(uint64(len(names)))
	var failed []string
	var first error
	for i, err := range c.runHolds(ctx, t.token, names, c.config.hold+c.config.lag) {
		if err == nil {
			t.with(c, func(p *part) { p.names[names[i]] = true })
		} else if failed = append(failed, names[i]); first == nil {
			first = err
		}
	}
	if first == nil {
		return nil
	}
	c.n.invalidationErrors.Add(uint64(len(failed)))
	return fmt.Errorf("aside: %d of %d keys not held, the first is %q: %w", len(failed), len(names), failed[0], first)
}

// runHolds has token hold names for life, or no longer if that is 0, and returns how that went for each of them.
func (c *Cache[K, V]) runHolds(ctx context.Context, token string, names []string, life time.Duration) []error {
	steps := make([]step, len(names))
	for i, name := range names {
		steps[i] = holdStep(name, token, life)
	}
	b := newBudget(c.config.timeout)
	errs := make([]error, len(names))
	for i, r := range c.store.run(ctx, &b, steps) {
		switch {
		case r.err != nil && isWrongType(r.err):
			c.foreign(names[i]) // not an entry, so nothing is cached
		case r.err != nil:
			errs[i] = r.err
		case !r.ok:
			errs[i] = errUnknownHold
		}
	}
	return errs
}

// renew keeps the holds from expiring while the transaction runs. It places them anew, so that one that was evicted is
// back before long.
func (c *Cache[K, V]) renew(ctx context.Context, t *tx) (stop func()) {
	var running sync.Mutex
	end := every(c.config.hold/3, func() {
		running.Lock()
		defer running.Unlock()
		for chunk := range slices.Chunk(t.held(c), chunkSize) { // none once the tx has ended
			c.runHolds(ctx, t.token, chunk, c.config.hold+c.config.lag)
		}
	})
	return func() {
		end()
		running.Lock() // a renewal after the release would hold the keys for WithHold
		defer running.Unlock()
	}
}

// release ends the holds after a commit. One that fails leaves its hold to expire.
func (c *Cache[K, V]) release(ctx context.Context, token string, names []string) {
	c.runHolds(ctx, token, names, c.config.lag)
}

// settle invalidates what could not be held, now that the transaction has ended.
func (c *Cache[K, V]) settle(ctx context.Context, names []string, all bool) {
	var err error
	if all {
		err = c.invalidateAll(ctx)
	} else {
		err = c.invalidate(ctx, names)
	}
	if err != nil {
		c.config.logger.Warn("aside: a transaction ended, and its keys are not invalidated yet", "cache", c.name, "error", err)
	}
}
