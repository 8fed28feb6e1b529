package asidetest_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

type Product struct {
	ID       int64
	Name     string
	Category int64
	Cents    int
}

// A DB is a database with transactions: what they write is seen by others when they commit.
type DB struct {
	mu   sync.Mutex
	rows map[int64]Product
}

func NewDB() *DB {
	return &DB{rows: map[int64]Product{
		1: {1, "kettle", 7, 3990},
		2: {2, "teapot", 7, 2490},
		3: {3, "lamp", 8, 9990},
	}}
}

// A Tx is a transaction.
type Tx struct {
	db   *DB
	rows map[int64]Product
}

// Begin begins one; what it does not Commit is gone.
func (db *DB) Begin() *Tx {
	db.mu.Lock()
	defer db.mu.Unlock()
	return &Tx{db, maps.Clone(db.rows)}
}

func (tx *Tx) Put(p Product)   { tx.rows[p.ID] = p }
func (tx *Tx) Delete(id int64) { delete(tx.rows, id) }
func (tx *Tx) SetCents(id int64, cents int) {
	p := tx.rows[id]
	p.Cents = cents
	tx.Put(p)
}

func (tx *Tx) Commit() {
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	tx.db.rows = tx.rows
}

func (db *DB) ProductByID(_ context.Context, id int64) (Product, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if p, ok := db.rows[id]; ok {
		return p, nil
	}
	return Product{}, sql.ErrNoRows
}

func (db *DB) ProductsInCategory(_ context.Context, category int64) (list []Product, err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, p := range db.rows {
		if p.Category == category {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b Product) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// A Shop is a service with two caches.
type Shop struct {
	db       *DB
	products *aside.Cache[int64, Product]
	lists    *aside.Cache[int64, []Product]
}

func NewShop(t testing.TB, rdb redis.UniversalClient, opts ...aside.Option) *Shop {
	db := NewDB()
	products, err := aside.New(rdb, "product", db.ProductByID, opts...)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := aside.New(rdb, "list", db.ProductsInCategory, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { products.Close(); lists.Close() })
	return &Shop{db, products, lists}
}

func newShop(t testing.TB, opts ...aside.Option) *Shop {
	return NewShop(t, asidetest.Redis(t).Client(), append([]aside.Option{patient}, opts...)...)
}

// patient is for tests in real time of what a Redis does that works: a busy machine is no outage.
var patient = aside.WithRedisTimeout(time.Minute)

// SetPrice writes as one should.
func (s *Shop) SetPrice(ctx context.Context, id int64, cents int) error {
	return aside.InTx(ctx, func(ctx context.Context) error {
		tx := s.db.Begin()
		tx.SetCents(id, cents)
		if err := s.products.Invalidate(ctx, id); err != nil {
			return err
		}
		if err := s.lists.Invalidate(ctx, tx.rows[id].Category); err != nil {
			return err
		}
		tx.Commit()
		return nil
	})
}

// Add writes a row that may be remembered as absent.
func (s *Shop) Add(ctx context.Context, p Product) error {
	tx := s.db.Begin()
	tx.Put(p)
	tx.Commit()
	return errors.Join(s.products.Invalidate(ctx, p.ID), s.lists.Invalidate(ctx, p.Category))
}
