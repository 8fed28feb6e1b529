package recipes

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
	"github.com/asidecache/aside/examples/recipes/ent"
	"github.com/asidecache/aside/internal/testserver"
)

// patient is for a busy machine, which is no outage.
var patient = aside.WithRedisTimeout(time.Minute)

// A database is a Postgres with three products.
type database struct {
	pool *pgxpool.Pool
	sql  *sql.DB
}

func openDatabase(t *testing.T) *database {
	t.Helper()
	dsn := testserver.Postgres(t).DSN
	pool, err := pgxpool.New(t.Context(), dsn)
	must(t, err)
	t.Cleanup(pool.Close)
	db, err := sql.Open("pgx", dsn)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	_, err = pool.Exec(t.Context(), `
		DROP TABLE IF EXISTS products;
		CREATE TABLE products (id bigint PRIMARY KEY, name text NOT NULL, category bigint NOT NULL, cents bigint NOT NULL CHECK (cents >= 0));
		INSERT INTO products VALUES (1, 'kettle', 7, 3990), (2, 'teapot', 7, 2490), (3, 'lamp', 8, 9990)`)
	must(t, err)
	return &database{pool, db}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func cacheOf(t *testing.T, load aside.Loader[int64, Product], opts ...aside.Option) *aside.Cache[int64, Product] {
	t.Helper()
	c, _ := asidetest.New(t, load, append(opts, patient)...)
	return c
}

func (d *database) pgx(t *testing.T) *PgxShop {
	s := &PgxShop{pool: d.pool}
	s.products = cacheOf(t, s.ProductByID)
	return s
}

func (d *database) plain(t *testing.T) *SQLShop {
	s := &SQLShop{db: d.sql}
	s.products = cacheOf(t, s.ProductByID)
	return s
}

func (d *database) gorm(t *testing.T) *GormShop {
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: d.sql}))
	must(t, err)
	db.Logger = db.Logger.LogMode(1) // silent
	s := &GormShop{db: db}
	s.products = cacheOf(t, s.ProductByID, aside.WithNotFound(gorm.ErrRecordNotFound))
	return s
}

func (d *database) ent(t *testing.T) *EntShop {
	s := &EntShop{client: ent.NewClient(ent.Driver(entsql.OpenDB(dialect.Postgres, d.sql)))}
	s.products = cacheOf(t, s.ProductByID, NotFound)
	return s
}

func (d *database) bun(t *testing.T) *BunShop {
	s := &BunShop{db: bun.NewDB(d.sql, pgdialect.New())}
	s.products = cacheOf(t, s.ProductByID)
	return s
}

func (d *database) sqlc(t *testing.T) *SqlcShop {
	s, err := NewSqlcShop(d.pool, asidetest.Redis(t).Client(), patient)
	must(t, err)
	t.Cleanup(func() { s.products.Close() })
	return s
}

// A way to write, with one library.
type way struct {
	setPrice func(ctx context.Context, id, cents int64) error
	get      func(ctx context.Context, id int64) error
	entries  asidetest.Entries
}

func ways(t *testing.T, d *database) map[string]way {
	of := func(c *aside.Cache[int64, Product], setPrice func(ctx context.Context, id, cents int64) error) way {
		return way{setPrice, func(ctx context.Context, id int64) error { _, err := c.Get(ctx, id); return err }, asidetest.Of(c, 1)}
	}
	p, s, g, e, b, q := d.pgx(t), d.plain(t), d.gorm(t), d.ent(t), d.bun(t), d.sqlc(t)
	return map[string]way{
		"pgx":          of(p.products, p.SetPrice),
		"database/sql": of(s.products, s.SetPrice),
		"GORM":         of(g.products, g.SetPrice),
		"ent":          of(e.products, e.SetPrice),
		"bun":          of(b.products, b.SetPrice),
		"sqlc": {q.SetPrice, func(ctx context.Context, id int64) error { _, err := q.products.Get(ctx, id); return err },
			asidetest.Of(q.products, 1)},
		"without Redis": of(p.products, p.SetPriceWithoutRedis),
		"Rename": of(p.products, func(ctx context.Context, id, cents int64) error {
			return p.Rename(ctx, id, "kettle "+string(rune('a'+cents%26)))
		}),
		"Reprice": of(p.products, func(ctx context.Context, id, cents int64) error { return p.Reprice(ctx, id, 10) }),
	}
}

func TestEachWriteIsCoherentAndEachAbsenceIsKnown(t *testing.T) {
	d := openDatabase(t)
	cents := int64(1000)
	for name, w := range ways(t, d) {
		t.Run(name, func(t *testing.T) {
			cents++
			asidetest.Coherent(t, func(ctx context.Context) error { return w.setPrice(ctx, 1, cents) }, w.entries)
			if err := w.get(t.Context(), 404); !errors.Is(err, aside.ErrNotFound) {
				t.Errorf("a product that there is not: %v", err)
			}
		})
	}
	products := d.ent(t).products
	for range 2 { // the loader's, and one that is remembered
		if _, err := products.Get(t.Context(), 404); !ent.IsNotFound(err) {
			t.Errorf("of ent: %v", err)
		}
	}
	if products.Stats().AbsentHits != 1 {
		t.Error("the absence is not remembered")
	}
}

func TestAHookOfGormIsCoherentWithinInTx(t *testing.T) {
	g := openDatabase(t).gorm(t)
	must(t, g.InvalidateSaved())
	asidetest.Coherent(t, func(ctx context.Context) error {
		return g.Save(ctx, &Product{1, "kettle", 7, 100})
	}, asidetest.Of(g.products, 1))
	asidetest.Coherent(t, func(ctx context.Context) error {
		return aside.InTx(ctx, func(ctx context.Context) error {
			return errors.Join(g.db.WithContext(ctx).Delete(&Product{ID: 2}).Error, g.db.WithContext(ctx).Create(&Product{ID: 4}).Error)
		})
	}, asidetest.Of(g.products, 2, 4))
}

func TestTheHoldMayComeBeforeBEGIN(t *testing.T) {
	s := openDatabase(t).plain(t)
	asidetest.Coherent(t, func(ctx context.Context) error {
		return aside.InTx(ctx, func(ctx context.Context) error {
			if err := s.products.Invalidate(ctx, 1); err != nil {
				return err
			}
			return s.SetPrice(ctx, 1, 100)
		})
	}, asidetest.Of(s.products, 1))
}

// The database refuses the price. Nothing was written, so nothing stays uncached.
func TestAWriteThatTheDatabaseRefusesLeavesItsKeyCacheable(t *testing.T) {
	d := openDatabase(t)
	s := d.plain(t)
	broken := errors.New("the stock is short")
	for what, write := range map[string]func(ctx context.Context) error{
		"refused after Invalidate": func(ctx context.Context) error {
			return s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
				must(t, s.products.Invalidate(ctx, 1))
				_, err := tx.ExecContext(ctx, `UPDATE products SET cents = -1 WHERE id = 1`)
				return err
			})
		},
		"given up after Invalidate": func(ctx context.Context) error {
			return s.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
				must(t, s.products.Invalidate(ctx, 1))
				return broken
			})
		},
	} {
		err := write(t.Context())
		var pg *pgconn.PgError
		if !errors.As(err, &pg) && err != broken {
			t.Errorf("%s: the error is %v", what, err)
		}
		hits := s.products.Stats().Hits
		for range 2 {
			_, err := s.products.Get(t.Context(), 1)
			must(t, err)
		}
		if s.products.Stats().Hits != hits+1 {
			t.Errorf("%s: the key is not cached", what)
		}
	}
	if err := d.pgx(t).SetPrice(t.Context(), 1, -1); !errors.As(err, new(*pgconn.PgError)) {
		t.Errorf("pgx: the error is %v", err)
	}
}

func TestAWriteGoesOnWithoutRedis(t *testing.T) {
	d := openDatabase(t)
	s := &PgxShop{pool: d.pool}
	products, server := asidetest.New(t, s.ProductByID, patient)
	s.products = products
	server.Fail("LOADING it")
	if s.SetPrice(t.Context(), 1, 200) == nil {
		t.Error("SetPrice goes on without Redis")
	}
	must(t, s.SetPriceWithoutRedis(t.Context(), 1, 100))
	must(t, s.Rename(t.Context(), 1, "pot"))
	p, err := s.products.Get(t.Context(), 1)
	if want := (Product{1, "pot", 7, 100}); err != nil || p != want {
		t.Errorf("the product is %v, %v, want %v", p, err, want)
	}
	server.Up()
}

func TestASearchIsInvalidatedByItsTag(t *testing.T) {
	d := openDatabase(t)
	rdb := asidetest.Redis(t).Client()
	s := &PgxShop{pool: d.pool}
	var err error
	s.products, err = aside.New(rdb, "product", s.ProductByID, patient)
	must(t, err)
	searches, err := s.newSearches(rdb, patient)
	must(t, err)
	t.Cleanup(func() { s.products.Close(); searches.Close() })
	cents := int64(4000)
	f := aside.FilterOf(Search{Categories: []int64{7}, MaxCents: &cents, Size: 10})
	asidetest.Coherent(t, func(ctx context.Context) error {
		return s.Add(ctx, searches, Product{4, "cup", 7, 490})
	}, asidetest.Of(searches, f), asidetest.Of(s.products, 4))
	found, err := searches.Get(t.Context(), f)
	if err != nil || len(found) != 3 {
		t.Errorf("the search finds %v, %v", found, err)
	}
}

func TestTheOtherKeys(t *testing.T) {
	d := openDatabase(t)
	rdb := asidetest.Redis(t).Client()
	s := d.pgx(t)
	shipping, err := newShipping(rdb, patient)
	must(t, err)
	categories, err := s.newCategories(rdb, patient)
	must(t, err)
	exists, err := aside.New(rdb, "exists", s.Exists, patient)
	must(t, err)
	t.Cleanup(func() { shipping.Close(); categories.Close(); exists.Close() })
	for range 2 { // a miss, a hit
		if p, err := shipping.Get(t.Context(), Quote{"CH", 1000, true}); err != nil || p != (Price{1200, "CHF"}) {
			t.Errorf("shipping costs %v, %v", p, err)
		}
		if all, err := categories.Get(t.Context(), "all"); err != nil || !slices.Equal(all, []int64{7, 8}) {
			t.Errorf("the categories are %v, %v", all, err)
		}
		for id, want := range map[int64]bool{1: true, 404: false} {
			if found, err := exists.Get(t.Context(), id); err != nil || found != want {
				t.Errorf("%d exists: %v, %v", id, found, err)
			}
		}
	}
	if shipping.Stats().Hits != 1 || categories.Stats().Hits != 1 || exists.Stats().Hits != 2 {
		t.Error("the second read is no hit")
	}
	list, err := s.ProductsByIDs(t.Context(), []int64{3, 404, 1})
	if err != nil || len(list) != 2 || list[0].ID != 3 || list[1].ID != 1 {
		t.Errorf("the list is %v, %v", list, err)
	}
}

// What a loader takes out of ctx, the next caller gets, whoever that is.
func TestATenantHiddenInCtxIsServedToOthersAndOneInTheKeyIsNot(t *testing.T) {
	a, b := forTenant(t.Context(), "a"), forTenant(t.Context(), "b")
	hidden, _ := asidetest.New(t, Greeting, patient)
	_, err := hidden.Get(a, 1)
	must(t, err)
	if got, _ := hidden.Get(b, 1); got != "welcome to a" {
		t.Errorf("b gets %q, and the page says that it gets what a got", got)
	}
	greetings, err := newGreetings(asidetest.Redis(t).Client(), patient)
	must(t, err)
	t.Cleanup(func() { greetings.cache.Close() })
	for range 2 {
		for ctx, want := range map[context.Context]string{a: "welcome to a", b: "welcome to b"} {
			if got, err := greetings.Greeting(ctx, 1); err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		}
	}
}

// The page shows the code that these tests run.
func TestThePageShowsThisCode(t *testing.T) {
	page, err := os.ReadFile("../../docs/recipes.md")
	must(t, err)
	var code strings.Builder
	for _, file := range []string{"pgx.go", "sql.go", "gorm.go", "ent.go", "sqlc.go", "bun.go", "keys.go", "recipes_test.go"} {
		text, err := os.ReadFile(file)
		must(t, err)
		code.Write(text)
	}
	blocks := strings.Split(string(page), "```go\n")[1:]
	if len(blocks) < 10 {
		t.Errorf("the page has %d blocks", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		for part := range strings.SplitSeq(strings.TrimSpace(block), "\n\n") {
			if !strings.Contains(code.String(), part) {
				t.Errorf("the page has code that is none of the recipes':\n%s", part)
			}
		}
	}
}
