package aside

import (
	"context"
	"sync"

	"github.com/asidecache/aside/internal/engine"
)

// An AnyCache is a Cache with any K and V.
type AnyCache interface {
	Name() string
	Stats() Stats
	InvalidateAll(ctx context.Context) error
	Shutdown(ctx context.Context) error
}

// Caches are several caches of a service, whatever their K and V.
//
//	all := aside.Caches{products, lists, counts}
//	defer all.Shutdown(ctx)
type Caches []AnyCache

// Stats returns those of each cache by its name. If two have one name, it returns those of the
// later one.
func (cs Caches) Stats() map[string]Stats {
	stats := make(map[string]Stats, len(cs))
	for _, c := range cs {
		stats[c.Name()] = c.Stats()
	}
	return stats
}

// InvalidateAll is InvalidateAll of each cache. Those that share a client are removed together, in one scan instead of one for
// each (which is made twice, see there), and one may be made from another. Its error joins theirs.
func (cs Caches) InvalidateAll(ctx context.Context) error {
	var errs []error
	together := make(map[*engine.Peers][]*engine.Core)
	var order []*engine.Peers
	for _, c := range cs {
		a, ok := c.(interface{ engine() *engine.Core })
		if !ok {
			errs = append(errs, c.InvalidateAll(ctx)) // one of somebody else's making
			continue
		}
		p := a.engine().Peers
		if together[p] == nil {
			order = append(order, p)
		}
		together[p] = append(together[p], a.engine())
	}
	for _, p := range order {
		errs = append(errs, engine.InvalidateAll(ctx, together[p]))
	}
	return engine.Join(errs)
}

// Shutdown is Shutdown of each cache, side by side. Its error joins theirs.
func (cs Caches) Shutdown(ctx context.Context) error {
	errs := make([]error, len(cs))
	var group sync.WaitGroup
	for i, c := range cs {
		group.Go(func() { errs[i] = c.Shutdown(ctx) })
	}
	group.Wait()
	return engine.Join(errs)
}

// Must returns v, and panics if err is not nil: for New where a constructor returns no error.
//
//	products := aside.Must(aside.New(rdb, "product", repo.ProductByID))
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Name is the name that was given to New.
func (c *Cache[K, V]) Name() string { return c.core.Name }

func (c *Cache[K, V]) engine() *engine.Core { return c.core }
