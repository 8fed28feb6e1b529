package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/asidecache/aside"
	"github.com/redis/go-redis/v9"
)

// CachedCatalog is a Catalog whose reads go through Redis. Each reading method is wrapped by a cache of its own; the
// batch shares that of the single product. Each write goes to the database, and when it has committed, every entry that
// shows the product is invalidated.
//
// A write that fails with ErrNotInvalidated has been committed. A process that dies between the commit and the
// Invalidate, or a COMMIT whose answer is lost, leaves the old entries to their TTL.
type CachedCatalog struct {
	db Catalog // not embedded: a method added to Catalog must not compile here before somebody has thought about it

	byID       *aside.Cache[int64, Product]
	bySlug     *aside.Cache[ShopSlug, Product]
	byCategory *aside.Cache[int64, []Product]
}

// ErrNotInvalidated says that a write has been committed while Redis did not confirm that the old entries are gone: they
// may be served until their TTL.
var ErrNotInvalidated = errors.New("committed, but not invalidated")

// NewCachedCatalog wraps db. The options are for every cache.
func NewCachedCatalog(rdb redis.UniversalClient, db Catalog, opts ...aside.Option) (*CachedCatalog, error) {
	batch := slices.Concat(opts, []aside.Option{aside.WithBatch(db.ProductsByID)})
	byID, err1 := aside.New(rdb, "product", db.ProductByID, batch...)
	bySlug, err2 := aside.New(rdb, "product_by_slug", db.ProductBySlug, opts...)
	byCategory, err3 := aside.New(rdb, "category_products", db.ProductsInCategory, opts...)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return &CachedCatalog{db: db, byID: byID, bySlug: bySlug, byCategory: byCategory}, nil
}

func (c *CachedCatalog) ProductByID(ctx context.Context, id int64) (Product, error) {
	return c.byID.Get(ctx, id)
}

func (c *CachedCatalog) ProductBySlug(ctx context.Context, key ShopSlug) (Product, error) {
	return c.bySlug.Get(ctx, key)
}

func (c *CachedCatalog) ProductsByID(ctx context.Context, ids []int64) (map[int64]Product, error) {
	return c.byID.GetMany(ctx, ids)
}

func (c *CachedCatalog) ProductsInCategory(ctx context.Context, categoryID int64) ([]Product, error) {
	return c.byCategory.Get(ctx, categoryID)
}

// AddProduct invalidates, too: that there is no such product may be remembered.
func (c *CachedCatalog) AddProduct(ctx context.Context, p Product) (Product, error) {
	p, err := c.db.AddProduct(ctx, p)
	if err != nil {
		return Product{}, err
	}
	return p, c.invalidate(ctx, p)
}

func (c *CachedCatalog) SetPrice(ctx context.Context, id, cents int64) (Product, error) {
	p, err := c.db.SetPrice(ctx, id, cents)
	if err != nil {
		return Product{}, err
	}
	return p, c.invalidate(ctx, p)
}

// MoveProduct changes two lists: the one that the product left, and the one that it joined.
func (c *CachedCatalog) MoveProduct(ctx context.Context, id, categoryID int64) (before, after Product, err error) {
	before, after, err = c.db.MoveProduct(ctx, id, categoryID)
	if err != nil {
		return Product{}, Product{}, err
	}
	return before, after, c.invalidate(ctx, before, after)
}

// invalidate is the one place that knows under which keys a product is cached. Whoever caches it in another way adds
// the key here, and every write is right again.
func (c *CachedCatalog) invalidate(ctx context.Context, products ...Product) error {
	var ids, categories []int64
	var slugs []ShopSlug
	for _, p := range products {
		ids = append(ids, p.ID)
		slugs = append(slugs, p.ShopSlug())
		categories = append(categories, p.CategoryID)
	}
	// Each is tried, whatever became of the others.
	err := errors.Join(
		c.byID.Invalidate(ctx, ids...),
		c.bySlug.Invalidate(ctx, slugs...),
		c.byCategory.Invalidate(ctx, categories...),
	)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotInvalidated, err)
	}
	return nil
}

// Stats returns the counters of each cache, by its name.
func (c *CachedCatalog) Stats() map[string]aside.Stats {
	return map[string]aside.Stats{
		"product":           c.byID.Stats(),
		"product_by_slug":   c.bySlug.Stats(),
		"category_products": c.byCategory.Stats(),
	}
}

// Close waits for the background work of the caches.
func (c *CachedCatalog) Close() error {
	return errors.Join(c.byID.Close(), c.bySlug.Close(), c.byCategory.Close())
}
