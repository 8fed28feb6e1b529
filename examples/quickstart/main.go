// Command quickstart tells in a dozen lines what aside does. It needs no server: Redis and the database run inside it.
// The database is ramsql, because it compiles in two seconds, and SQLite in thirty.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

type Product struct {
	ID    int64
	Name  string
	Price float64
	Stars float64
}

// Repository is the one you have already. It knows nothing of the cache.
type Repository struct {
	db      *sql.DB
	queries atomic.Int64 // for the table below only
}

func (r *Repository) ProductByID(ctx context.Context, id int64) (Product, error) {
	r.queries.Add(1)
	p := Product{ID: id}
	err := r.db.QueryRowContext(ctx, `SELECT products.name, products.price, ratings.stars FROM products
		JOIN ratings ON ratings.product_id = products.id WHERE products.id = $1`, id).Scan(&p.Name, &p.Price, &p.Stars)
	return p, err
}

func (r *Repository) SetPrice(ctx context.Context, id int64, price float64) error {
	_, err := r.db.ExecContext(ctx, `UPDATE products SET price = $2 WHERE id = $1`, id, price)
	return err
}

func main() {
	log.SetFlags(0)   // aside logs through slog, once when Redis goes down
	logging.Disable() // and go-redis each time that it cannot connect
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

var options = []aside.Option{aside.WithTTL(5 * time.Minute)}

func run(ctx context.Context, out io.Writer) error {
	server, db, err := embedded()
	if err != nil {
		return err
	}
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	repo := &Repository{db: db}
	products, err := aside.New(rdb, "product", repo.ProductByID, options...)
	if err != nil {
		return err
	}
	defer products.Close()

	fmt.Fprintf(out, "%-31s%-25s%11s%19s\n", "", "answer", "time a read", "database queries")
	read := func(what string, id int64, times int) {
		queries, start, answer := repo.queries.Load(), time.Now(), ""
		for range times {
			p, err := products.Get(ctx, id) // in place of repo.ProductByID(ctx, id)
			answer = fmt.Sprintf("%s %.2f, %.1f stars", p.Name, p.Price, p.Stars)
			if errors.Is(err, sql.ErrNoRows) {
				answer = "not found"
			} else if err != nil {
				answer = err.Error()
			}
		}
		took := time.Since(start).Seconds() * 1000 / float64(times)
		fmt.Fprintf(out, "%-31s%-25s%8.2f ms%19d\n", what, answer, took, repo.queries.Load()-queries)
	}
	read("the first read: a miss", 1234, 1)
	read("1000 more: hits", 1234, 1000)
	if err := repo.SetPrice(ctx, 1234, 19.90); err != nil {
		return err
	}
	if err := products.Invalidate(ctx, 1234); err != nil {
		return err
	}
	read("after SetPrice and Invalidate", 1234, 1)
	read("1000 more: hits", 1234, 1000)
	read("a product that does not exist", 999, 1)
	read("1000 more: absent hits", 999, 1000)
	server.Close()
	read("Redis killed: a read notices", 1234, 1)
	read("20 more: without Redis", 1234, 20)
	return nil
}
