package main

import (
	"crypto/rand"
	"database/sql"

	"github.com/alicebob/miniredis/v2"
	_ "github.com/proullon/ramsql/driver"
)

// embedded stands in for your Redis and your database. No table has an index, so the query joins all of their rows: the
// kind that is worth caching. (ramsql finds a PRIMARY KEY by pointers that the race detector rejects.)
func embedded() (*miniredis.Miniredis, *sql.DB, error) {
	db, err := sql.Open("ramsql", rand.Text()) // each name is a database of its own
	if err != nil {
		return nil, nil, err
	}
	_, err = db.Exec(`
		CREATE TABLE products (id BIGINT, name TEXT, price FLOAT);
		CREATE TABLE ratings (product_id BIGINT, stars FLOAT)`)
	for id := 1000; id < 3000 && err == nil; id++ {
		_, err = db.Exec(`
			INSERT INTO products (id, name, price) VALUES ($1, 'Teapot', 24.90);
			INSERT INTO ratings (product_id, stars) VALUES ($1, $2)`, id, 3+float64(id%3))
	}
	if err != nil {
		return nil, nil, err
	}
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true) // else nothing ever expires
	return server, db, server.Start()
}
