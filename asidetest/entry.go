package asidetest

import (
	"context"
	"fmt"
	"time"

	"github.com/asidecache/aside/internal/watch"
)

// An entry is what Coherent watches, whatever the types of its cache.
type entry interface {
	// warm has the entry cached as the loader has it now.
	warm(ctx context.Context) error
	// begin and end stand around the write.
	begin()
	end()
	// read reads as anybody might.
	read(ctx context.Context)
	// judge says whether the write has changed the row, and what is wrong with the entry.
	judge(ctx context.Context, w *watched) (changed bool, err error)
	// identify invalidates the entry: what is told of that has its name.
	identify(ctx context.Context) (cache, name string)
	// made returns how many keys the write invalidated in the cache.
	made() int
}

// A cached is an entry with its types.
type cached[K comparable, V any] struct {
	subject[K, V]
	before        outcome[V] // what the loader returned before the write
	cachedSince   time.Time  // zero if it was not cached before the write: an absence with WithAbsentTTL(0)
	invalidations uint64     // of the cache: before the write, and from its end on during it
}

func (c *cached[K, V]) warm(ctx context.Context) (err error) {
	if c.before, err = c.load(ctx); err != nil {
		return err
	}
	got, ok, err := c.hit(ctx)
	if err != nil {
		return err
	}
	if len(differ(got, c.before)) > 0 { // the test may have written past the cache
		c.identify(ctx)
		if _, ok, err = c.hit(ctx); err != nil {
			return err
		}
	}
	if ok {
		c.cachedSince = time.Now()
	}
	if !ok && !c.before.absent { // with WithAbsentTTL(0), absences are not
		return fmt.Errorf("key %v is not cached: %s", c.key, uncached(c.cache))
	}
	return nil
}

func (c *cached[K, V]) begin() { c.invalidations = c.cache.Stats().Invalidations }

func (c *cached[K, V]) end() { c.invalidations = c.cache.Stats().Invalidations - c.invalidations }

func (c *cached[K, V]) made() int { return int(c.invalidations) }

func (c *cached[K, V]) read(ctx context.Context) {
	defer func() { _ = recover() }() // a loader that panics does so again when its value is compared
	_, _ = c.get(ctx)
}

func (c *cached[K, V]) judge(ctx context.Context, w *watched) (changed bool, err error) {
	now, err := c.load(ctx)
	if err != nil {
		return false, err
	}
	changed = len(differ(c.before, now)) > 0
	hitsBefore := hits(c.cache.Stats())
	got, err := c.get(ctx)
	if err != nil {
		return changed, fmt.Errorf("to Get key %v failed: %w%s", c.key, err, sharedHandle(err))
	}
	differences := differ(got, now)
	if len(differences) == 0 {
		isHit := hits(c.cache.Stats()) > hitsBefore
		return changed, c.unproved(ctx, w, isHit)
	}
	if err := c.stable(ctx, now); err != nil {
		return changed, err
	}
	cache, name := c.identify(ctx)
	if fresh, ok, err := c.hit(ctx); err == nil && ok { // which the codec has changed as it has changed got
		if differences = differ(got, fresh); len(differences) == 0 {
			return changed, nil // so it is the codec
		}
	}
	return changed, fmt.Errorf("the cache returns an old value of %s (key %v)%s\n\tcache:  %v\n\tloader: %v\n\tlikely: %s",
		name, c.key, list(withoutHints(differences), "cache", "loader"), got, now, w.mistake(cache, name, c))
}

// unproved returns an error if the entry is right, and would be whatever the write had done, since nothing was cached for it when
// Coherent looked.
func (c *cached[K, V]) unproved(ctx context.Context, w *watched, isHit bool) error {
	lag, ttl := watch.Bounds(c.cache)
	switch took := time.Since(c.cachedSince); {
	case isHit || c.cachedSince.IsZero():
		return nil
	case lag > 0:
		return fmt.Errorf("of key %v nothing was proved: %s", c.key, lagging(lag))
	case took >= ttl && !w.touches(c):
		return fmt.Errorf("of key %v nothing was proved: the write took %v, and the entry has expired meanwhile: give the cache a longer TTL",
			c.key, took.Round(time.Millisecond))
	}
	return nil
}

func (c *cached[K, V]) identify(ctx context.Context) (cache, name string) {
	ctx = watch.With(ctx, func(i watch.Invalidation) {
		if len(i.Names) > 0 {
			cache, name = i.Cache, i.Names[0]
		}
	})
	_ = c.cache.Invalidate(ctx, c.key) // if Redis fails, this process reads the key from the loader
	return cache, name
}
