package aside

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// A loaded is what one load found for one key, ready to be handed out and stored.
type loaded[V any] struct {
	value  V
	data   []byte        // value as the codec has it; nil if there is none or it could not be encoded
	life   time.Duration // how long it is fresh, before jitter; negative: not to be stored
	absent bool          // there is no row, and err says so
	err    error         // what the callers get
}

// loadGuarded loads one key for whoever waits for it.
func (c *Cache[K, V]) loadGuarded(ctx context.Context, key K, refresh bool) loaded[V] {
	ctx, cancel := context.WithTimeout(ctx, c.config.loadTimeout)
	defer cancel()
	l, err := guarded(ctx, func() loaded[V] {
		v, err := callOf(c, ctx, 1, refresh, func() (V, error) { return c.load1(ctx, key) })
		return c.ready(key, v, err)
	})
	if err != nil {
		return loaded[V]{err: c.loadFailed(err)}
	}
	return l
}

// loadBatch loads many keys in one call; its results are in their order.
func (c *Cache[K, V]) loadBatch(ctx context.Context, keys []K, refresh bool) []loaded[V] {
	ctx, cancel := context.WithTimeout(ctx, c.config.loadTimeout)
	defer cancel()
	results, err := guarded(ctx, func() []loaded[V] {
		rows, err := callOf(c, ctx, len(keys), refresh, func() (map[K]V, error) { return c.batch(ctx, keys) })
		results := make([]loaded[V], len(keys))
		for i, key := range keys {
			results[i] = c.readyIn(rows, key, err)
		}
		return results
	})
	if err != nil {
		results = make([]loaded[V], len(keys))
		for i := range results {
			results[i].err = c.loadFailed(err)
		}
	}
	return results
}

// loadHere loads one key on the caller's goroutine, with its ctx, for this caller alone.
func (c *Cache[K, V]) loadHere(ctx context.Context, key K) (V, error) {
	var zero V
	release, err := c.place(ctx)
	if err != nil {
		return zero, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, c.config.loadTimeout)
	defer cancel()
	v, err := callOf(c, ctx, 1, false, func() (V, error) { return c.load1(ctx, key) })
	if err = c.judge(v, err); err != nil {
		return zero, err
	}
	return v, nil
}

// place waits for a place for a load on the caller's goroutine.
func (c *Cache[K, V]) place(ctx context.Context) (release func(), err error) {
	var queued atomic.Bool
	if err := c.places.acquire(ctx, 1, "", &queued); err != nil {
		return nil, c.overloaded(ctx)
	}
	return func() { c.places.release(1) }, nil
}

// overloaded counts a read whose ctx ended before there was a place for its load.
func (c *Cache[K, V]) overloaded(ctx context.Context) error {
	c.n.overloaded.Add(1)
	return fmt.Errorf("%w: none of %d places came free: %w", ErrOverloaded, c.config.maxLoads, ctx.Err())
}

// callOf calls the loader, counts, and observes.
func callOf[K comparable, V, R any](
	c *Cache[K, V], ctx context.Context, keys int, refresh bool, load func() (R, error),
) (R, error) {
	start := time.Now()
	c.n.loads.Add(1)
	c.n.loading.Add(1)
	defer c.n.loading.Add(-1) // after a panic too
	result, err := load()
	if err != nil && !c.isNotFound(err) {
		c.n.loadErrors.Add(1)
	}
	if observe := c.config.observer.Load; observe != nil {
		observe(ctx, LoadInfo{Cache: c.name, Keys: keys, Took: time.Since(start), Refresh: refresh, Err: err})
	}
	return result, err
}

// ready turns what the loader returned into what the callers get and what is stored. It runs the user's code.
func (c *Cache[K, V]) ready(key K, v V, err error) loaded[V] {
	if err = c.judge(v, err); err != nil {
		return loaded[V]{err: err, absent: isAbsence(err)}
	}
	l := loaded[V]{value: v, life: c.lifeOf(key, v)}
	if l.data, err = c.encode(&v); err != nil {
		l.data = nil
		c.config.logger.Error("aside: a value cannot be encoded, so it is not cached", "cache", c.name, "key", key, "error", err)
	}
	return l
}

// encode gives a codec the value itself, but encoding/json a pointer: else it would not find the methods of *V.
func (c *Cache[K, V]) encode(v *V) ([]byte, error) {
	if _, ok := c.config.codec.(jsonCodec); ok {
		return c.config.codec.Marshal(v)
	}
	return c.config.codec.Marshal(*v)
}

// readyIn is ready for one key of a batch.
func (c *Cache[K, V]) readyIn(rows map[K]V, key K, err error) loaded[V] {
	v, ok := rows[key]
	if !ok && err == nil {
		err = ErrNotFound
	}
	return c.ready(key, v, err)
}

// judge turns every way to say that there is no row into an error that answers for all of them.
func (c *Cache[K, V]) judge(v V, err error) error {
	switch {
	case err == nil && c.isNil(v):
		return c.absent
	case err != nil && c.isNotFound(err):
		return &notFoundError{cause: err, also: c.config.notFound}
	default:
		return err
	}
}

func (c *Cache[K, V]) isNotFound(err error) bool {
	for _, sentinel := range c.notFound {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// isAbsence reports whether err was made by judge.
func isAbsence(err error) bool {
	_, ok := err.(*notFoundError)
	return ok
}

// lifeOf is the TTL of a value, before jitter.
func (c *Cache[K, V]) lifeOf(key K, v V) time.Duration {
	if c.ttlFunc != nil {
		if d := c.ttlFunc(key, v); d != 0 {
			return d
		}
	}
	return c.config.ttl
}

// loadFailed says of a load that did not return why.
func (c *Cache[K, V]) loadFailed(err error) error {
	var p *panicError
	switch {
	case errors.As(err, &p):
		c.config.logger.Error("aside: the loader panicked", "cache", c.name, "panic", p.value, "stack", string(p.stack))
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("aside: a load of cache %q took longer than %v: %w", c.name, c.config.loadTimeout, err)
	}
	c.n.loadErrors.Add(1)
	return err
}
