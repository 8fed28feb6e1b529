package recipes

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/asidecache/aside"
)

// PgxShop uses pgx.
type PgxShop struct {
	pool     *pgxpool.Pool
	products *aside.Cache[int64, Product]
}

// ProductByID is the loader.
func (s *PgxShop) ProductByID(ctx context.Context, id int64) (Product, error) {
	rows, err := s.pool.Query(ctx, `SELECT id, name, category, cents FROM products WHERE id = $1`, id)
	if err != nil {
		return Product{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Product])
}

// SetPrice writes.
func (s *PgxShop) SetPrice(ctx context.Context, id, cents int64) error {
	return aside.InTx(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE products SET cents = $1 WHERE id = $2`, cents, id); err != nil {
				return refused(err)
			}
			return s.products.Invalidate(ctx, id)
		})
	})
}

// refused says of a statement that a constraint refused (SQLSTATE class 23) that nothing was written. Postgres commits no
// transaction in which a statement has failed.
func refused(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "23") {
		return aside.RolledBack(err)
	}
	return err
}
