package aside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// A loaded is what one load found for one key, ready to be handed out and stored.
type loaded[V any] struct {
	value V
	data  []byte        // value as the codec has it; nil if there is none or it could not be encoded
	life  time.Duration // how long it is fresh, before jitter; negative: not to be stored
	tags  []string      // rendered
	took  time.Duration // of the load
	err   error         // what the callers get
}

// absent reports whether there is no row, as err says then.
func (l *loaded[V]) absent() bool { return isAbsence(l.err) }

// loadGuarded loads one key for whoever waits for it.
func (c *Cache[K, V]) loadGuarded(ctx context.Context, key K, refresh bool) loaded[V] {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.config.loadTimeout)
	defer cancel()
	l, err := guarded(ctx, func() loaded[V] {
		v, err := c.call(ctx, key, refresh)
		return c.ready(key, v, err)
	})
	if err != nil {
		l.err = c.loadEnded(err)
	}
	c.countLoad(l.err)
	l.took = time.Since(start)
	return l
}

// loadBatch loads many keys in one call; its results are in their order.
func (c *Cache[K, V]) loadBatch(ctx context.Context, keys []K, refresh bool) []loaded[V] {
	ctx, cancel := context.WithTimeout(ctx, c.config.loadTimeout)
	defer cancel()
	batch, err := guarded(ctx, func() ended[[]loaded[V]] {
		rows, err := c.callBatch(ctx, keys, refresh)
		results := make([]loaded[V], len(keys))
		for i, key := range keys {
			v, err := pick(c, rows, key, err)
			results[i] = c.ready(key, v, err)
		}
		return ended[[]loaded[V]]{results, err}
	})
	if err == nil {
		c.countLoad(batch.err)
		return batch.value
	}
	err = c.loadEnded(err)
	c.countLoad(err)
	results := make([]loaded[V], len(keys))
	for i := range results {
		results[i].err = err
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
	err = errNoReturn // until it does
	defer func() { c.countLoad(err) }()
	v, err := c.call(ctx, key, false)
	if err = c.judge(v, err); err != nil {
		return zero, err
	}
	return v, nil
}

// place waits for a place for a load on the caller's goroutine.
func (c *Cache[K, V]) place(ctx context.Context) (release func(), err error) {
	var queued atomic.Bool
	if err := c.places.acquire(ctx, "", &queued); err != nil {
		return nil, c.overloaded(ctx)
	}
	return func() { c.places.release(1) }, nil
}

// overloaded counts a read whose ctx ended before there was a place for its load.
func (c *Cache[K, V]) overloaded(ctx context.Context) error {
	c.n.overloaded.Add(1)
	return fmt.Errorf("%w: none of %d places came free: %w", ErrOverloaded, c.config.maxLoads, ctx.Err())
}

// call calls the loader.
func (c *Cache[K, V]) call(ctx context.Context, key K, refresh bool) (v V, err error) {
	defer c.watch(ctx, 1, refresh, &err)()
	return c.load1(ctx, key)
}

// callBatch calls the batch loader, which gets keys of its own: it may sort them.
func (c *Cache[K, V]) callBatch(ctx context.Context, keys []K, refresh bool) (rows map[K]V, err error) {
	defer c.watch(ctx, len(keys), refresh, &err)()
	return c.batch(ctx, slices.Clone(keys))
}

// watch counts a load, and tells the Observer of it once the func that it returns is called, a load that does not return
// too: err is what it returned.
func (c *Cache[K, V]) watch(ctx context.Context, keys int, refresh bool, err *error) (done func()) {
	start := time.Now()
	*err = errNoReturn // until it does
	c.n.loads.Add(1)
	c.n.loading.Add(1)
	if refresh {
		c.n.refreshes.Add(1)
	}
	return func() {
		c.n.loading.Add(-1)
		if observe := c.config.observer.Load; observe != nil {
			observe(ctx, LoadInfo{Cache: c.name, Keys: keys, Took: time.Since(start), Refresh: refresh, Err: *err})
		}
	}
}

// countLoad counts a load that has failed.
func (c *Cache[K, V]) countLoad(err error) {
	if err != nil && !c.isNotFound(err) {
		c.n.loadErrors.Add(1)
	}
}

// errNoReturn is what the Observer is told of a load that panicked or called runtime.Goexit.
var errNoReturn = errors.New("aside: the loader did not return")

// ready turns what the loader returned into what the callers get and what is stored. It runs the user's code.
func (c *Cache[K, V]) ready(key K, v V, err error) loaded[V] {
	if err = c.judge(v, err); err != nil {
		return loaded[V]{err: err}
	}
	l := loaded[V]{value: v, life: c.lifeOf(key, v)}
	if c.tagsFunc != nil {
		l.tags = renderTags(c.tagsFunc(key, v))
	}
	if l.data, err = c.encode(&v); err != nil {
		l.data = nil
		if c.logged.now() {
			c.config.logger.Error("aside: a value cannot be encoded, so it is not cached", "cache", c.name, "key", key, "error", err)
		}
	}
	return l
}

// encode gives a codec the value itself, but encoding/json a pointer: else it would not find the methods of *V. What it
// returns may be memory of the value, which belongs to the owner as soon as he has it. What makes a codec panic has no
// encoding.
func (c *Cache[K, V]) encode(v *V) (data []byte, err error) {
	defer codecPanicked(&err)
	if _, ok := c.config.codec.(jsonCodec); ok {
		if data, err = c.config.codec.Marshal(v); c.nilPointer && string(data) == "null" {
			err = errors.New("aside: a pointer to what is null in JSON would come back as a nil pointer, which means that there is no row")
		}
		return data, err
	}
	if data, err = c.config.codec.Marshal(*v); data == nil {
		data = []byte{} // nil would be none
	}
	return data, err
}

// codecPanicked makes an error of a codec's panic, deferred by what calls it.
func codecPanicked(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("aside: the codec panicked: %v", p)
	}
}

// pick is what a batch load says of one key. A not found speaks for the keys that it did not return.
func pick[K comparable, V any](c *Cache[K, V], rows map[K]V, key K, err error) (V, error) {
	v, ok := rows[key]
	switch {
	case ok && (err == nil || c.isNotFound(err)):
		return v, c.judge(v, nil)
	case err == nil && key != key: // NaN
		return v, fmt.Errorf("aside: a batch loader cannot return the row of key %v, which is not equal to itself", key)
	case err == nil:
		return v, c.absent
	default:
		return v, c.judge(v, err)
	}
}

// judge turns every way to say that there is no row into an error that answers for all of them.
func (c *Cache[K, V]) judge(v V, err error) error {
	switch {
	case err == nil && c.isNil(v):
		return c.absent
	case err == c.absent: // another Cache's does not answer for this one's WithNotFound
		return err
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

// loadEnded says of a load that did not return why.
func (c *Cache[K, V]) loadEnded(err error) error {
	var p *panicError
	switch {
	case errors.As(err, &p):
		c.config.logger.Error("aside: the loader panicked", "cache", c.name, "panic", p.value, "stack", string(p.stack))
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("aside: a load of cache %q took longer than %v: %w", c.name, c.config.loadTimeout, err)
	}
	return err
}
