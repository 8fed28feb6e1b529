package recipes

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// A Search is a filter and a page.
type Search struct {
	Categories []int64
	MaxCents   *int64
	Page, Size int
}

// Search is a method with a filter.
func (s *PgxShop) Search(ctx context.Context, f Search) ([]Product, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT id, name, category, cents FROM products
		WHERE (cardinality($1::bigint[]) = 0 OR category = ANY($1)) AND ($2::bigint IS NULL OR cents <= $2)
		ORDER BY id LIMIT $3 OFFSET $4`, append([]int64{}, f.Categories...), f.MaxCents, f.Size, f.Page*f.Size)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Product])
}

func (s *PgxShop) newSearches(rdb redis.UniversalClient, opts ...aside.Option) (*aside.Cache[aside.Filter[Search], []Product], error) {
	found := aside.WithTags(func(aside.Filter[Search], []Product) []string { return []string{"products"} })
	return aside.New(rdb, "search", aside.ByFilter(s.Search), append(opts, found)...)
}

// Add writes a product, which may be in any search.
func (s *PgxShop) Add(ctx context.Context, searches *aside.Cache[aside.Filter[Search], []Product], p Product) error {
	return aside.InTx(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO products (id, name, category, cents) VALUES ($1, $2, $3, $4)`, p.ID, p.Name, p.Category, p.Cents)
			if err != nil {
				return refused(err)
			}
			return aside.Invalidate(ctx, s.products.Keys(p.ID), searches.Tags("products"))
		})
	})
}

// A Quote is the key of Shipping, which has three arguments.
type Quote struct {
	Country string
	Grams   int
	Express bool
}

// A Price is what Shipping returns, which has three results.
type Price struct {
	Cents    int64
	Currency string
}

// Shipping is a method with three arguments and three results.
func Shipping(_ context.Context, country string, grams int, express bool) (cents int64, currency string, err error) {
	cents = 500 + int64(grams)/10
	if express {
		cents *= 2
	}
	if country == "CH" {
		return cents, "CHF", nil
	}
	return cents, "EUR", nil
}

func newShipping(rdb redis.UniversalClient, opts ...aside.Option) (*aside.Cache[Quote, Price], error) {
	return aside.New(rdb, "shipping", func(ctx context.Context, q Quote) (p Price, err error) {
		p.Cents, p.Currency, err = Shipping(ctx, q.Country, q.Grams, q.Express)
		return p, err
	}, opts...)
}

// Categories is a method without an argument.
func (s *PgxShop) Categories(ctx context.Context) ([]int64, error) {
	rows, err := s.pool.Query(ctx, `SELECT DISTINCT category FROM products ORDER BY category`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

func (s *PgxShop) newCategories(rdb redis.UniversalClient, opts ...aside.Option) (*aside.Cache[string, []int64], error) {
	return aside.New(rdb, "categories", func(ctx context.Context, _ string) ([]int64, error) {
		return s.Categories(ctx)
	}, opts...) // categories.Get(ctx, "all")
}

type tenantKey struct{}

// forTenant returns a ctx as a middleware makes it.
func forTenant(ctx context.Context, tenant string) context.Context {
	return context.WithValue(ctx, tenantKey{}, tenant)
}

func tenantOf(ctx context.Context) string {
	tenant, _ := ctx.Value(tenantKey{}).(string)
	return tenant
}

// Greeting is a method that takes its tenant out of ctx.
func Greeting(ctx context.Context, id int64) (string, error) {
	return "welcome to " + tenantOf(ctx), nil
}

// Greetings has the tenant in its key, and puts it into the ctx of the load.
type Greetings struct {
	cache *aside.Cache[aside.Pair[string, int64], string]
}

func newGreetings(rdb redis.UniversalClient, opts ...aside.Option) (*Greetings, error) {
	cache, err := aside.New(rdb, "greeting", aside.ByPair(func(ctx context.Context, tenant string, id int64) (string, error) {
		return Greeting(forTenant(ctx, tenant), id)
	}), opts...)
	return &Greetings{cache}, err
}

// Greeting is a drop-in for the method: only here is the tenant taken out of ctx.
func (g *Greetings) Greeting(ctx context.Context, id int64) (string, error) {
	return g.cache.Get(ctx, aside.PairOf(tenantOf(ctx), id))
}

// Exists is a check that finds a bool in any case, so that there is no absence to remember.
func (s *PgxShop) Exists(ctx context.Context, id int64) (found bool, err error) {
	err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM products WHERE id = $1)`, id).Scan(&found)
	return found, err
}

// ProductsByIDs returns products in the order of ids, without those that there are not.
func (s *PgxShop) ProductsByIDs(ctx context.Context, ids []int64) ([]Product, error) {
	found, err := s.products.GetMany(ctx, ids)
	if err != nil {
		return nil, err
	}
	list := make([]Product, 0, len(ids))
	for _, id := range ids {
		if p, ok := found[id]; ok {
			list = append(list, p)
		}
	}
	return list, nil
}

// Rename writes without InTx. The write has happened when Invalidate fails, so its error is not returned: a caller would try the
// write again.
func (s *PgxShop) Rename(ctx context.Context, id int64, name string) error {
	if _, err := s.pool.Exec(ctx, `UPDATE products SET name = $1 WHERE id = $2`, name, id); err != nil {
		return err
	}
	if err := s.products.Invalidate(ctx, id); err != nil {
		slog.WarnContext(ctx, "the product is invalidated in the background", "id", id, "error", err)
	}
	return nil
}

// SetPriceWithoutRedis writes even if Redis is down: it goes on when no hold can be placed. InTx then invalidates after the COMMIT.
func (s *PgxShop) SetPriceWithoutRedis(ctx context.Context, id, cents int64) error {
	return aside.InTx(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE products SET cents = $1 WHERE id = $2`, cents, id); err != nil {
				return refused(err)
			}
			if err := s.products.Invalidate(ctx, id); err != nil {
				slog.WarnContext(ctx, "the product is invalidated after the COMMIT", "id", id, "error", err)
			}
			return nil
		})
	})
}

// Reprice reads, modifies and writes: what it reads must be the row, and not a copy, so it reads under Bypass. A lock in the
// database (SELECT ... FOR UPDATE in the transaction) is what keeps two of these apart.
func (s *PgxShop) Reprice(ctx context.Context, id int64, percent int64) error {
	p, err := s.products.Get(aside.Bypass(ctx), id)
	if err != nil {
		return err
	}
	return s.SetPrice(ctx, id, p.Cents*(100+percent)/100)
}
