package main

import (
	"context"
	"database/sql"
)

var schema = []string{
	`CREATE TABLE IF NOT EXISTS categories (
		id      BIGINT PRIMARY KEY,
		name    TEXT NOT NULL,
		version BIGINT NOT NULL
	)`,
	`CREATE TABLE IF NOT EXISTS products (
		id          BIGINT PRIMARY KEY,
		shop        TEXT NOT NULL,
		slug        TEXT NOT NULL,
		name        TEXT NOT NULL,
		category_id BIGINT NOT NULL REFERENCES categories,
		version     BIGINT NOT NULL,
		UNIQUE (shop, slug)
	)`,
	`CREATE INDEX IF NOT EXISTS products_category ON products (category_id)`,
	`CREATE TABLE IF NOT EXISTS prices (
		product_id BIGINT PRIMARY KEY REFERENCES products,
		cents      BIGINT NOT NULL
	)`,
	`CREATE TABLE IF NOT EXISTS reviews (
		product_id BIGINT NOT NULL REFERENCES products,
		stars      BIGINT NOT NULL
	)`,
	`CREATE INDEX IF NOT EXISTS reviews_product ON reviews (product_id)`,
}

// categories has the categories with ids from 1; productsSeeded products are spread over them, with
// ids from 1 as well.
var categories = []string{
	"Teapot", "Kettle", "Mug", "Plate", "Bowl", "Jug", "Tray", "Spoon", "Knife", "Fork",
	"Pan", "Pot", "Sieve", "Ladle", "Whisk", "Grater", "Board", "Scale", "Timer", "Apron",
}

const productsSeeded = 1000

// seeds fill the tables. $1 is productsSeeded.
var seeds = []string{
	`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
	INSERT INTO products (id, shop, slug, name, category_id, version)
	SELECT i, CASE i % 3 WHEN 0 THEN 'paris' ELSE 'berlin' END, lower(c.name) || '-' || i, c.name || ' ' || i, c.id, 1
	FROM n JOIN categories c ON c.id = 1 + (i - 1) % (SELECT count(*) FROM categories)`,

	`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
	INSERT INTO prices (product_id, cents) SELECT i, 990 + i % 50 * 100 FROM n`,

	`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6)
	INSERT INTO reviews (product_id, stars)
	SELECT p.id, 5 - (p.id * i) % 7 % 3 FROM products p JOIN n ON i <= 1 + p.id % 6 WHERE p.id <= $1`,
}

// setUp creates the tables, and fills them if there are no products. It reports whether it did.
func (c *SQLCatalog) setUp(ctx context.Context) (seeded bool, err error) {
	err = c.inTx(ctx, func(tx *sql.Tx) error {
		for _, create := range schema {
			if _, err := tx.ExecContext(ctx, create); err != nil {
				return err
			}
		}
		var products int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM products`).Scan(&products); err != nil || products > 0 {
			return err
		}
		for i, name := range categories {
			if _, err := tx.ExecContext(ctx, `INSERT INTO categories (id, name, version) VALUES ($1, $2, 1)`, i+1, name); err != nil {
				return err
			}
		}
		for _, seed := range seeds {
			if _, err := tx.ExecContext(ctx, seed, productsSeeded); err != nil {
				return err
			}
		}
		seeded = true
		return nil
	})
	return seeded, err
}
