package main

import (
	"context"
	"database/sql"
)

// BeforeCommit returns a SQLCatalog on the same database, each of whose writes calls hook as the last thing in its
// transaction, with the ctx of the write and each product that it changes, as it was and as it will be. If hook fails,
// the transaction is rolled back, and the write returns the error.
func (c *SQLCatalog) BeforeCommit(hook func(ctx context.Context, changed ...Product) error) *SQLCatalog {
	return &SQLCatalog{db: c.db, cost: c.cost, queries: c.queries, beforeCommit: hook}
}

func (c *SQLCatalog) AddProduct(ctx context.Context, p Product) (added Product, err error) {
	err = c.write(ctx, func(tx *sql.Tx) (changed []Product, err error) {
		added, err = add(ctx, tx, p)
		return []Product{added}, err
	})
	return added, err
}

func add(ctx context.Context, tx *sql.Tx, p Product) (added Product, err error) {
	if err := categoryExists(ctx, tx, p.CategoryID); err != nil {
		return Product{}, err
	}
	inserted, err := tx.ExecContext(ctx, `
		INSERT INTO products (id, shop, slug, name, category_id, version) VALUES ($1, $2, $3, $4, $5, 1)
		ON CONFLICT DO NOTHING`, p.ID, p.Shop, p.Slug, p.Name, p.CategoryID)
	if err != nil {
		return Product{}, err
	}
	if n, err := inserted.RowsAffected(); err != nil {
		return Product{}, err
	} else if n == 0 {
		return Product{}, ErrExists
	}
	if _, err = tx.ExecContext(ctx, `INSERT INTO prices (product_id, cents) VALUES ($1, $2)`, p.ID, p.Cents); err != nil {
		return Product{}, err
	}
	return productIn(ctx, tx, p.ID)
}

func (c *SQLCatalog) SetPrice(ctx context.Context, id, cents int64) (Product, error) {
	_, after, err := c.change(ctx, id, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE prices SET cents = $1 WHERE product_id = $2`, cents, id)
		return err
	})
	return after, err
}

// raisePrice is what somebody types into psql. The version is that of the ledger.
func (c *SQLCatalog) raisePrice(ctx context.Context, id int64) (version, cents int64, err error) {
	err = c.db.QueryRowContext(ctx, `
		WITH product AS (UPDATE products SET version = version + 1 WHERE id = $1 RETURNING version)
		UPDATE prices SET cents = 990 + (cents - 990 + 310) % 5000 FROM product WHERE product_id = $1 RETURNING version, cents`, id).Scan(&version, &cents)
	return version, cents, err
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

func (c *SQLCatalog) RenameCategory(ctx context.Context, id int64, name string) (renamed Category, err error) {
	err = c.write(ctx, func(tx *sql.Tx) (changed []Product, err error) {
		_, err = tx.ExecContext(ctx, `UPDATE categories SET name = $1, version = version + 1 WHERE id = $2`, name, id)
		if err != nil {
			return nil, err
		}
		renamed, err = scanCategory(tx.QueryRowContext(ctx, selectCategory, id))
		return nil, err // the rows of products are as they were
	})
	return renamed, err
}

// change runs fn in a transaction that begins with counting the version of a product. That locks its row, whatever table
// fn writes to: the writes of one product come one after the other, and what change returns is what the product was and
// has become. Without the lock, SetPrice could return a category that MoveProduct has just emptied of the product, and
// the list to be invalidated would be the wrong one.
func (c *SQLCatalog) change(ctx context.Context, id int64, fn func(*sql.Tx) error) (before, after Product, err error) {
	err = c.write(ctx, func(tx *sql.Tx) (changed []Product, err error) {
		if _, err = tx.ExecContext(ctx, `UPDATE products SET version = version + 1 WHERE id = $1`, id); err != nil {
			return nil, err
		}
		if before, err = productIn(ctx, tx, id); err != nil {
			return nil, err
		}
		if err = fn(tx); err != nil {
			return nil, err
		}
		after, err = productIn(ctx, tx, id)
		return []Product{before, after}, err
	})
	return before, after, err
}

// write is inTx for a fn that returns what it changed, which the hook is told before the COMMIT. All writes but that of
// the schema go through it, so that none can forget to tell.
func (c *SQLCatalog) write(ctx context.Context, fn func(*sql.Tx) (changed []Product, err error)) error {
	done, err := c.cost.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	return c.inTx(ctx, func(tx *sql.Tx) error {
		changed, err := fn(tx)
		if err != nil || c.beforeCommit == nil {
			return err
		}
		return c.beforeCommit(ctx, changed...)
	})
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
