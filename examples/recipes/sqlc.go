package recipes

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/examples/recipes/sqlcdb"
)

// SqlcShop uses what sqlc generates.
type SqlcShop struct {
	pool     *pgxpool.Pool
	queries  *sqlcdb.Queries
	products *aside.Cache[int64, sqlcdb.Product]
}

// NewSqlcShop makes one: a query that reads is a loader as it is.
func NewSqlcShop(pool *pgxpool.Pool, rdb redis.UniversalClient, opts ...aside.Option) (*SqlcShop, error) {
	q := sqlcdb.New(pool)
	products, err := aside.New(rdb, "product", q.GetProduct, opts...)
	return &SqlcShop{pool, q, products}, err
}

// SetPrice writes.
func (s *SqlcShop) SetPrice(ctx context.Context, id, cents int64) error {
	return aside.InTx(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			err := s.queries.WithTx(tx).SetPrice(ctx, sqlcdb.SetPriceParams{ID: id, Cents: cents})
			if err != nil {
				return refused(err)
			}
			return s.products.Invalidate(ctx, id)
		})
	})
}
