package asidetest

import (
	"context"
	"fmt"

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
	if !ok && !c.before.absent { // with WithAbsentTTL(0), absences are not
		return fmt.Errorf("key %v is not cached: %s", c.key, uncached(c.cache.Stats()))
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
	got, err := c.get(ctx)
	if err != nil {
		return changed, fmt.Errorf("to Get key %v failed: %w", c.key, err)
	}
	differences := differ(got, now)
	if len(differences) == 0 {
		return changed, nil
	}
	if err := c.stable(ctx, now); err != nil {
		return changed, err
	}
	cache, name := c.identify(ctx)
	if fresh, ok, err := c.hit(ctx); err == nil && ok && len(differ(got, fresh)) == 0 {
		return changed, nil // so it is the codec
	}
	return changed, fmt.Errorf("the cache returns an old value of %s (key %v)%s\n\tcache:  %v\n\tloader: %v\n\tlikely: %s",
		name, c.key, list(differences, "cache", "loader"), got, now, w.mistake(cache, name, c))
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
