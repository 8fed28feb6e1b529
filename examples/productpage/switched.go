package main

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/asidecache/aside"
)

// A switched is the Catalog that the demo serves: the cached one, until somebody switches the cache off, to see what the
// database bears, or the invalidation, to see what a team gets that forgets it. Nobody needs one outside of a demo.
//
// Its ledger knows of every write, so that any read can be checked.
type switched struct {
	db     *SQLCatalog
	cached *CachedCatalog
	nearby *CachedCatalog // the same entries, with near copies; nil if there are none
	ledger *ledger

	uncached atomic.Bool
	near     atomic.Bool // reads look into the memory of the process first

	// forgetful changes under writing, which each write holds for reading until it has ended: none that forgets to
	// invalidate commits after remember.
	writing   sync.RWMutex
	forgetful atomic.Bool
}

// forget has the writes that begin from now on forget to invalidate.
func (s *switched) forget() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.forgetful.Store(true)
}

// remember ends that, and invalidates what was forgotten: that is all that there is, since nobody knows what was written.
func (s *switched) remember(ctx context.Context) error {
	s.writing.Lock()
	s.forgetful.Store(false)
	s.writing.Unlock()
	return s.cached.InvalidateAll(ctx)
}

func (s *switched) reads() Catalog {
	if s.uncached.Load() {
		return s.db
	}
	return s.cache()
}

// cache is the one that reads go through while it is on. Writes go through the one without near copies: which of them invalidates makes no
// difference.
func (s *switched) cache() *CachedCatalog {
	if s.near.Load() {
		return s.nearby
	}
	return s.cached
}

// write runs a write of what e is about; e is nil for what the ledger does not follow.
func (s *switched) write(e *ledgerEntry, write func(Catalog) (version int64, err error)) error {
	s.writing.RLock()
	defer s.writing.RUnlock()
	catalog := Catalog(s.cached)
	if s.forgetful.Load() {
		catalog = s.db
	}
	if e == nil {
		e = new(ledgerEntry)
	}
	return s.ledger.write(e, func() (int64, error) { return write(catalog) })
}

func (s *switched) ProductByID(ctx context.Context, id int64) (Product, error) {
	return s.reads().ProductByID(ctx, id)
}

func (s *switched) ProductBySlug(ctx context.Context, shop, slug string) (Product, error) {
	return s.reads().ProductBySlug(ctx, shop, slug)
}

func (s *switched) ProductsByID(ctx context.Context, ids []int64) ([]Product, error) {
	return s.reads().ProductsByID(ctx, ids)
}

func (s *switched) ProductsInCategory(ctx context.Context, categoryID int64) ([]Product, error) {
	return s.reads().ProductsInCategory(ctx, categoryID)
}

// CategoryByID is one read, for which the handler wants a function: that of a Cache is the same as that of the repository.
func (s *switched) CategoryByID(ctx context.Context, id int64) (Category, error) {
	get := s.cache().categories.Get
	if s.uncached.Load() {
		get = s.db.CategoryByID
	}
	return get(ctx, id)
}

func (s *switched) AddProduct(ctx context.Context, p Product) (added Product, err error) {
	err = s.write(nil, func(c Catalog) (int64, error) {
		added, err = c.AddProduct(ctx, p)
		return added.Version, err
	})
	return added, err
}

func (s *switched) SetPrice(ctx context.Context, id, cents int64) (Product, error) {
	e := s.ledger.products[id]
	return s.setPrice(ctx, e, id, func() int64 { return cents })
}

// saveProduct writes a product with the price that it has, as an editor does who changed something else.
func (s *switched) saveProduct(ctx context.Context, id int64) (Product, error) {
	e := s.ledger.products[id]
	return s.setPrice(ctx, e, id, func() int64 { return e.cents })
}

func (s *switched) setPrice(ctx context.Context, e *ledgerEntry, id int64, cents func() int64) (changed Product, err error) {
	err = s.write(e, func(c Catalog) (int64, error) {
		changed, err = c.SetPrice(ctx, id, cents())
		if err == nil && e != nil {
			e.cents = changed.Cents
		}
		return changed.Version, err
	})
	return changed, err
}

// setPriceBySQL changes the price past every cache, and returns the new one.
func (s *switched) setPriceBySQL(ctx context.Context, id int64) (cents int64, err error) {
	e := s.ledger.products[id]
	err = s.ledger.write(e, func() (version int64, err error) {
		version, cents, err = s.db.raisePrice(ctx, id)
		if err == nil {
			e.cents = cents
		}
		return version, err
	})
	return cents, err
}

func (s *switched) MoveProduct(ctx context.Context, id, categoryID int64) (before, after Product, err error) {
	e := s.ledger.products[id]
	if e != nil {
		e.moved.Store(true)
	}
	err = s.write(e, func(c Catalog) (int64, error) {
		before, after, err = c.MoveProduct(ctx, id, categoryID)
		return after.Version, err
	})
	return before, after, err
}

func (s *switched) RenameCategory(ctx context.Context, id int64, name string) (Category, error) {
	e := s.ledger.categories[id]
	return s.rename(ctx, e, id, func() string { return name })
}

// saveCategory writes a category under the name that it has.
func (s *switched) saveCategory(ctx context.Context, id int64) (Category, error) {
	e := s.ledger.categories[id]
	return s.rename(ctx, e, id, func() string { return e.name })
}

func (s *switched) rename(ctx context.Context, e *ledgerEntry, id int64, name func() string) (renamed Category, err error) {
	err = s.write(e, func(c Catalog) (int64, error) {
		renamed, err = c.RenameCategory(ctx, id, name())
		if err == nil && e != nil {
			e.name = renamed.Name
		}
		return renamed.Version, err
	})
	return renamed, err
}

// A source is where the answer to one read came from. A read under noting(ctx, &s) fills it in.
type source struct {
	Key  string // the entry in Redis, if a cache was asked
	From string
}

// What a page says of where an answer came from. A further outcome of a read gets its word in noteSource.
const (
	fromMemory   = "memory"
	fromRedis    = "Redis"
	fromDatabase = "database"
)

type sourceKey struct{}

func noting(ctx context.Context, s *source) context.Context {
	s.From = fromDatabase
	return context.WithValue(ctx, sourceKey{}, s)
}

// noteSource is the Observer of every cache. It is called on the goroutine of the read, before that returns.
var noteSource = aside.Observer{Read: func(ctx context.Context, r aside.ReadInfo) {
	s, ok := ctx.Value(sourceKey{}).(*source)
	if !ok {
		return
	}
	s.Key = r.Name
	switch r.Outcome {
	case aside.Miss:
	case aside.NearHit:
		s.From = fromMemory
	default:
		s.From = fromRedis
	}
}}
