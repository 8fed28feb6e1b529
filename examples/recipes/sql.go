package recipes

import (
	"context"
	"database/sql"

	"github.com/asidecache/aside"
)

// SQLShop uses database/sql, and has one place where transactions begin.
type SQLShop struct {
	db       *sql.DB
	products *aside.Cache[int64, Product]
}

// ProductByID is the loader.
func (s *SQLShop) ProductByID(ctx context.Context, id int64) (p Product, err error) {
	row := s.db.QueryRowContext(ctx, `SELECT id, name, category, cents FROM products WHERE id = $1`, id)
	return p, row.Scan(&p.ID, &p.Name, &p.Category, &p.Cents)
}

// inTx runs fn in a transaction. If fn fails and the server confirms the rollback, nothing was written, so that the keys are
// cached again at once. An error of Commit says nothing of that kind.
func (s *SQLShop) inTx(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error {
	return aside.InTx(ctx, func(ctx context.Context) error {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return aside.RolledBack(err)
		}
		defer tx.Rollback() // after a panic; otherwise it does nothing
		if err := fn(ctx, tx); err != nil {
			if tx.Rollback() == nil {
				return aside.RolledBack(err)
			}
			return err
		}
		return tx.Commit()
	})
}

// SetPrice writes.
func (s *SQLShop) SetPrice(ctx context.Context, id, cents int64) error {
	return s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE products SET cents = $1 WHERE id = $2`, cents, id); err != nil {
			return err
		}
		return s.products.Invalidate(ctx, id)
	})
}
