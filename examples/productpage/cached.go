package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"

	"github.com/asidecache/aside"
	"github.com/redis/go-redis/v9"
)

// CachedCatalog is a Catalog whose reads go through Redis, and all that the cache adds to the repository. To do it with
// one of yours:
//
//   - Each reading method becomes a Cache in NewCachedCatalog. A method that takes a ctx and a key
//     is its loader as it stands. ByPair makes a loader of one with two arguments, and BatchOf of
//     one that returns many rows.
//   - Each reading method here is a call of Get, in one line. Where a caller wants a function rather than a Catalog, give
//     it the method value: switched.go has categories.Get for (*SQLCatalog).CategoryByID.
//   - One method, invalidate, knows which entries show a row.
//   - Each write runs in InTx, in which hold is called before the COMMIT, and by no read afterwards can the old row be seen.
//
// The repository begins and commits its own transactions, and it alone knows what they change: the arguments of MoveProduct
// do not tell the list that the product leaves, and what a read before it tells may have changed meanwhile. So it calls
// hold itself, with the rows as they are locked. It needs a hook for that, and nothing else. Where the caller has the
// transaction in hand, hold is called there, and where the arguments say it all, as for RenameCategory, before the write.
// Tags alone would not do: no entry from before the write says of the list that the product joins that it will be in it.
type CachedCatalog struct {
	db *SQLCatalog // not embedded: a method added to Catalog must not compile here before somebody has thought about it

	products   *aside.Cache[int64, Product]
	bySlug     *aside.Cache[aside.Pair[string, string], Product]
	lists      *aside.Cache[int64, []Product]
	categories *aside.Cache[int64, Category]
	all        aside.Caches
}

// NewCachedCatalog wraps db. The options are for every cache.
func NewCachedCatalog(rdb redis.UniversalClient, db *SQLCatalog, opts ...aside.Option) (*CachedCatalog, error) {
	with := func(more ...aside.Option) []aside.Option { return slices.Concat(opts, more) }
	products, err1 := aside.New(rdb, "product", db.ProductByID, with(
		aside.WithBatch(aside.BatchOf(db.ProductsByID, func(p Product) int64 { return p.ID })),
		aside.WithTags(func(_ int64, p Product) []string { return ofCategory(p.CategoryID) }))...)
	bySlug, err2 := aside.New(rdb, "product_by_slug", aside.ByPair(db.ProductBySlug), with(
		aside.WithTags(func(_ aside.Pair[string, string], p Product) []string { return ofCategory(p.CategoryID) }))...)
	lists, err3 := aside.New(rdb, "category_products", db.ProductsInCategory, with(
		aside.WithTags(func(id int64, _ []Product) []string { return ofCategory(id) }))...)
	categories, err4 := aside.New(rdb, "category", db.CategoryByID, with(
		aside.WithTags(func(id int64, _ Category) []string { return ofCategory(id) }))...)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	c := &CachedCatalog{products: products, bySlug: bySlug, lists: lists, categories: categories,
		all: aside.Caches{products, bySlug, lists, categories}}
	c.db = db.BeforeCommit(c.hold)
	return c, nil
}

// ofCategory is the tag of every entry that shows something of a category.
func ofCategory(id int64) []string { return []string{"category:" + strconv.FormatInt(id, 10)} }

func (c *CachedCatalog) ProductByID(ctx context.Context, id int64) (Product, error) {
	return c.products.Get(ctx, id)
}

func (c *CachedCatalog) ProductBySlug(ctx context.Context, shop, slug string) (Product, error) {
	return c.bySlug.Get(ctx, aside.PairOf(shop, slug))
}

func (c *CachedCatalog) ProductsByID(ctx context.Context, ids []int64) ([]Product, error) {
	found, err := c.products.GetMany(ctx, ids)
	return slices.Collect(maps.Values(found)), err
}

func (c *CachedCatalog) ProductsInCategory(ctx context.Context, categoryID int64) ([]Product, error) {
	return c.lists.Get(ctx, categoryID)
}

func (c *CachedCatalog) AddProduct(ctx context.Context, p Product) (added Product, err error) {
	err = aside.InTx(ctx, func(ctx context.Context) error {
		added, err = c.db.AddProduct(ctx, p)
		return err
	})
	return added, err
}

func (c *CachedCatalog) SetPrice(ctx context.Context, id, cents int64) (changed Product, err error) {
	err = aside.InTx(ctx, func(ctx context.Context) error {
		changed, err = c.db.SetPrice(ctx, id, cents)
		return err
	})
	return changed, err
}

func (c *CachedCatalog) MoveProduct(ctx context.Context, id, categoryID int64) (before, after Product, err error) {
	err = aside.InTx(ctx, func(ctx context.Context) error {
		before, after, err = c.db.MoveProduct(ctx, id, categoryID)
		return err
	})
	return before, after, err
}

// RenameCategory has a tag invalidated: nobody knows by which keys the pages of a whole category are cached.
func (c *CachedCatalog) RenameCategory(ctx context.Context, id int64, name string) (renamed Category, err error) {
	err = aside.InTx(ctx, func(ctx context.Context) error {
		if err := goOn(ctx, c.categories.InvalidateTags(ctx, ofCategory(id)...)); err != nil {
			return err
		}
		renamed, err = c.db.RenameCategory(ctx, id, name)
		return err
	})
	return renamed, err
}

// hold is called inside InTx, before the COMMIT, with the row locked: one call, which waits once.
func (c *CachedCatalog) hold(ctx context.Context, changed ...Product) error {
	return goOn(ctx, c.invalidate(ctx, changed...))
}

// invalidate is the one place that knows under which keys a product is cached. A developer who
// caches it in another way adds that here, and every write is right again. It is given the products
// as they were and as they will be: a product that is added has had its absence remembered, and one
// that is moved changes two lists.
func (c *CachedCatalog) invalidate(ctx context.Context, changed ...Product) error {
	var ids, categories []int64
	var slugs []aside.Pair[string, string]
	for _, p := range changed {
		ids = append(ids, p.ID)
		slugs = append(slugs, aside.PairOf(p.Shop, p.Slug))
		categories = append(categories, p.CategoryID)
	}
	return aside.Invalidate(ctx,
		c.products.Keys(ids...), c.bySlug.Keys(slugs...), c.lists.Keys(categories...), c.categories.Keys(categories...))
}

// goOn decides what becomes of a write when Redis cannot hold what it changes. Here it goes on: the shop must be able to
// change a price while its cache is down. The cache invalidates once the transaction has ended, again and again until it
// is confirmed, and until then this process reads from the database; others may serve old pages, until their TTL at worst.
//
// A shop that would rather not write than show an old price anywhere returns err: the write is rolled back.
func goOn(ctx context.Context, err error) error {
	if err != nil {
		slog.WarnContext(ctx, "written without Redis: other processes may serve old pages until it is back", "error", err)
	}
	return nil
}

// InvalidateAll is for writes that went past the CachedCatalog.
func (c *CachedCatalog) InvalidateAll(ctx context.Context) error { return c.all.InvalidateAll(ctx) }

// Stats returns the counters of each cache, by its name.
func (c *CachedCatalog) Stats() map[string]aside.Stats { return c.all.Stats() }

// Close waits for the background work of the caches.
func (c *CachedCatalog) Close() error { return c.all.Shutdown(context.Background()) }
