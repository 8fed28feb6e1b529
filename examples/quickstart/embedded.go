package main

import (
	"database/sql"

	"github.com/alicebob/miniredis/v2"
	_ "modernc.org/sqlite"
)

// embedded stands in for your Redis and your database. The query that it is made for averages over many rows: the kind
// that is worth caching.
func embedded() (*miniredis.Miniredis, *sql.DB, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1) // each connection to :memory: is a database of its own
	_, err = db.Exec(`
		CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price REAL);
		CREATE TABLE reviews (product_id INTEGER, stars INTEGER);
		INSERT INTO products VALUES (1234, 'Teapot', 24.90);
		WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
		INSERT INTO reviews SELECT 1200 + i % 100, 3 + i % 3 FROM n`)
	if err != nil {
		return nil, nil, err
	}
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true) // else nothing ever expires
	return server, db, server.Start()
}
