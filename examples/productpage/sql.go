package main

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
	"sync/atomic"
)

// SQLCatalog is the Catalog in the database, Postgres or SQLite: they understand every statement here alike. It knows
// nothing of the cache.
type SQLCatalog struct {
	db           *sql.DB
	cost         cost
	queries      *atomic.Int64
	beforeCommit func(ctx context.Context, changed ...Product) error // nil if nobody asked
}

func newSQLCatalog(db *sql.DB, cost cost) *SQLCatalog {
	return &SQLCatalog{db: db, cost: cost, queries: new(atomic.Int64)}
}

// Queries returns how many queries the reading methods have sent to the database.
func (c *SQLCatalog) Queries() int64 {
	return c.queries.Load()
}

// selectProducts is one statement, and so one snapshot, also for the list: no row of it is older than another.
const selectProducts = `
	SELECT p.id, p.shop, p.slug, p.name, c.id, c.name, c.version, r.cents, p.version,
		(SELECT count(*) FROM reviews v WHERE v.product_id = p.id),
		(SELECT CAST(coalesce(avg(v.stars), 0) AS DOUBLE PRECISION) FROM reviews v WHERE v.product_id = p.id)
	FROM products p
	JOIN categories c ON c.id = p.category_id
	JOIN prices r ON r.product_id = p.id
	WHERE `

func (c *SQLCatalog) ProductByID(ctx context.Context, id int64) (Product, error) {
	return ask(ctx, c, func(ctx context.Context) (Product, error) {
		return scan(c.db.QueryRowContext(ctx, selectProducts+`p.id = $1`, id))
	})
}

func (c *SQLCatalog) ProductBySlug(ctx context.Context, shop, slug string) (Product, error) {
	return ask(ctx, c, func(ctx context.Context) (Product, error) {
		return scan(c.db.QueryRowContext(ctx, selectProducts+`p.shop = $1 AND p.slug = $2`, shop, slug))
	})
}

func (c *SQLCatalog) ProductsByID(ctx context.Context, ids []int64) ([]Product, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	args := make([]any, len(ids))
	places := make([]string, len(ids))
	for i, id := range ids {
		args[i] = id
		places[i] = "$" + strconv.Itoa(i+1)
	}
	return ask(ctx, c, func(ctx context.Context) ([]Product, error) {
		return c.list(ctx, `p.id IN (`+strings.Join(places, ", ")+`)`, args...)
	})
}

func (c *SQLCatalog) ProductsInCategory(ctx context.Context, categoryID int64) ([]Product, error) {
	list, err := ask(ctx, c, func(ctx context.Context) ([]Product, error) {
		return c.list(ctx, `p.category_id = $1 ORDER BY p.id`, categoryID)
	})
	if err == nil && len(list) == 0 {
		return nil, sql.ErrNoRows
	}
	return list, err
}

const selectCategory = `
	SELECT c.id, c.name, c.version, (SELECT count(*) FROM products WHERE category_id = c.id)
	FROM categories c
	WHERE c.id = $1`

func (c *SQLCatalog) CategoryByID(ctx context.Context, id int64) (Category, error) {
	return ask(ctx, c, func(ctx context.Context) (Category, error) {
		return scanCategory(c.db.QueryRowContext(ctx, selectCategory, id))
	})
}

func (c *SQLCatalog) list(ctx context.Context, where string, args ...any) ([]Product, error) {
	rows, err := c.db.QueryContext(ctx, selectProducts+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Product
	for rows.Next() {
		p, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

type row interface{ Scan(...any) error }

func scan(r row) (p Product, err error) {
	err = r.Scan(&p.ID, &p.Shop, &p.Slug, &p.Name, &p.CategoryID, &p.Category, &p.CategoryVersion, &p.Cents, &p.Version,
		&p.Reviews, &p.Stars)
	return p, err
}

func scanCategory(r row) (c Category, err error) {
	err = r.Scan(&c.ID, &c.Name, &c.Version, &c.Products)
	return c, err
}
