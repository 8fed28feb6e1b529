package main

import (
	"context"
	"database/sql"
)

func (c *SQLCatalog) AddProduct(ctx context.Context, p Product) (stored Product, err error) {
	err = c.inTx(ctx, func(tx *sql.Tx) error {
		if err := categoryExists(ctx, tx, p.CategoryID); err != nil {
			return err
		}
		inserted, err := tx.ExecContext(ctx, `
			INSERT INTO products (id, shop, slug, name, category_id, version) VALUES ($1, $2, $3, $4, $5, 1)
			ON CONFLICT DO NOTHING`, p.ID, p.Shop, p.Slug, p.Name, p.CategoryID)
		if err != nil {
			return err
		}
		if n, err := inserted.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return ErrExists
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO prices (product_id, cents) VALUES ($1, $2)`, p.ID, p.Cents)
		if err != nil {
			return err
		}
		stored, err = productIn(ctx, tx, p.ID)
		return err
	})
	return stored, err
}

func (c *SQLCatalog) SetPrice(ctx context.Context, id, cents int64) (Product, error) {
	_, after, err := c.change(ctx, id, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE prices SET cents = $1 WHERE product_id = $2`, cents, id)
		return err
	})
	return after, err
}

func (c *SQLCatalog) MoveProduct(ctx context.Context, id, categoryID int64) (before, after Product, err error) {
	return c.change(ctx, id, func(tx *sql.Tx) error {
		if err := categoryExists(ctx, tx, categoryID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE products SET category_id = $1 WHERE id = $2`, categoryID, id)
		return err
	})
}

// change runs fn in a transaction that begins with counting the version of a product. That locks its row, whatever table
// fn writes to: the writes of one product come one after the other, and what change returns is what the product was and
// has become. Without the lock, SetPrice could return a category that MoveProduct has just emptied of the product, and
// the list to be invalidated would be the wrong one.
func (c *SQLCatalog) change(ctx context.Context, id int64, fn func(*sql.Tx) error) (before, after Product, err error) {
	err = c.inTx(ctx, func(tx *sql.Tx) (err error) {
		if _, err = tx.ExecContext(ctx, `UPDATE products SET version = version + 1 WHERE id = $1`, id); err != nil {
			return err
		}
		if before, err = productIn(ctx, tx, id); err != nil {
			return err
		}
		if err = fn(tx); err != nil {
			return err
		}
		after, err = productIn(ctx, tx, id)
		return err
	})
	return before, after, err
}

// inTx commits what fn did, unless fn fails.
func (c *SQLCatalog) inTx(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func productIn(ctx context.Context, tx *sql.Tx, id int64) (Product, error) {
	return scan(tx.QueryRowContext(ctx, selectProducts+`p.id = $1`, id))
}

func categoryExists(ctx context.Context, tx *sql.Tx, id int64) error {
	return tx.QueryRowContext(ctx, `SELECT id FROM categories WHERE id = $1`, id).Scan(&id)
}
