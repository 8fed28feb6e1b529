package aside_test

//lint:file-ignore SA4006 A recipe is the lines that matter; what checks errors stands around them.

import (
	"context"
	"database/sql"
	"errors"
	"expvar"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// The blocks of Go code in the README, in CONTRIBUTING and in docs are copies of what stands here: TestEverySnippetIsCompiled
// compares them.

// ShopSlug is where a product is on the web.
type ShopSlug = aside.Pair[string, string]

// A Shop is a repository behind its caches.
type Shop struct {
	products *aside.Cache[int64, Product]
	bySlug   *aside.Cache[ShopSlug, Product]
	lists    *aside.Cache[int64, []Product]
	counts   *aside.Cache[int64, int]
}

func (s *Shop) invalidate(ctx context.Context, before, after Product) error {
	return aside.Invalidate(ctx,
		s.products.Keys(before.ID, after.ID),
		s.bySlug.Keys(aside.PairOf(before.Shop, before.Slug), aside.PairOf(after.Shop, after.Slug)),
		s.lists.Keys(before.CategoryID, after.CategoryID),
		s.counts.Keys(before.CategoryID, after.CategoryID),
	)
}

// A Search is a filter.
type Search struct {
	Categories []int64
	MaxCents   *int
}

// recipes are what docs/recipes.md and docs/tags.md show, each with what it has read in the end.
var recipes = map[string]struct {
	run  func(ctx context.Context, s *Shop, rdb *redis.Client, repo *Repository) (read any, err error)
	want string
}{
	"by id":              {byID, "{2 de teapot 7 2490}"},
	"by two columns":     {byTwoColumns, "{2 de teapot 7 2490}"},
	"list":               {listByCategory, "[{1 de kettle 7 3990} {2 de teapot 7 2490}]"},
	"many by ids":        {manyByIDs, "map[1:{1 de kettle 7 3990} 2:{2 de teapot 7 2490} 3:{3 fr teapot 8 2590}]"},
	"count":              {count, "2"},
	"many, in any order": {manyInAnyOrder, "map[1:{1 de kettle 7 3990} 2:{2 de teapot 7 2490} 3:{3 fr teapot 8 2590}]"},
	"by a tag":           {tagged, "2 2"},
	"by a filter":        {byFilter, "[{1 de kettle 7 3990} {2 de teapot 7 2490}]"},
}

// A move from one category to another.
var (
	before = Product{2, "de", "teapot", 7, 2490}
	after  = Product{2, "de", "tea-pot", 8, 1990}
)

func threeLines(ctx context.Context, rdb *redis.Client, repo *Repository) (Product, error) {
	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithTTL(5*time.Minute))
	p, err := products.Get(ctx, 1234)
	err = products.Invalidate(ctx, 1234)
	return p, err
}

func byID(ctx context.Context, s *Shop, rdb *redis.Client, repo *Repository) (any, error) {
	const id = 2
	products, err := aside.New(rdb, "product", repo.ProductByID)
	p, err := products.Get(ctx, id)
	err = products.Invalidate(ctx, id) // after INSERT, UPDATE, DELETE
	s.products = products
	return p, err
}

func byTwoColumns(ctx context.Context, s *Shop, rdb *redis.Client, repo *Repository) (any, error) {
	bySlug, err := aside.New(rdb, "product_by_slug", aside.ByPair(repo.ProductBySlug))
	p, err := bySlug.Get(ctx, aside.PairOf("de", "teapot"))
	err = bySlug.Invalidate(ctx, aside.PairOf(before.Shop, before.Slug), aside.PairOf(after.Shop, after.Slug))
	s.bySlug = bySlug
	return p, err
}

func listByCategory(ctx context.Context, s *Shop, rdb *redis.Client, repo *Repository) (any, error) {
	const categoryID = 7
	lists, err := aside.New(rdb, "category_products", repo.ProductsInCategory)
	list, err := lists.Get(ctx, categoryID)
	err = lists.Invalidate(ctx, before.CategoryID, after.CategoryID)
	s.lists = lists
	return list, err
}

func manyByIDs(ctx context.Context, _ *Shop, rdb *redis.Client, repo *Repository) (any, error) {
	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithBatch(repo.ProductsByID))
	found, err := products.GetMany(ctx, []int64{1, 2, 3}) // rows that do not exist are not in the map
	err = products.Invalidate(ctx, 1, 2, 3)
	return found, err
}

func manyInAnyOrder(ctx context.Context, _ *Shop, rdb *redis.Client, repo *Repository) (any, error) {
	products, err := aside.New(rdb, "product", repo.ProductByID,
		aside.WithBatch(aside.BatchOf(repo.ListProducts, func(p Product) int64 { return p.ID })))
	found, err := products.GetMany(ctx, []int64{1, 2, 3})
	return found, err
}

func tagged(ctx context.Context, _ *Shop, rdb *redis.Client, repo *Repository) (any, error) {
	ofCategory := func(id int64) string { return fmt.Sprintf("category:%d", id) }
	products, err := aside.New(rdb, "product", repo.ProductByID,
		aside.WithTags(func(_ int64, p Product) []string { return []string{ofCategory(p.CategoryID)} }))
	lists, err := aside.New(rdb, "category_products", repo.ProductsInCategory,
		aside.WithTags(func(id int64, _ []Product) []string { return []string{ofCategory(id)} }))
	err = lists.InvalidateTags(ctx, ofCategory(7)) // of all caches on this Redis, whichever one is asked
	p, err := products.Get(ctx, 2)
	list, err := lists.Get(ctx, 7)
	return fmt.Sprint(p.ID, len(list)), err
}

// A searching is a Repository with a method whose argument is a filter.
type searching struct{ *Repository }

func (r searching) Search(ctx context.Context, s Search) (found []Product, err error) {
	for _, category := range s.Categories {
		list, err := r.ProductsInCategory(ctx, category)
		if err != nil {
			return nil, err
		}
		found = append(found, list...)
	}
	return found, nil
}

func byFilter(ctx context.Context, _ *Shop, rdb *redis.Client, rows *Repository) (any, error) {
	repo := searching{rows}
	searches, err := aside.New(rdb, "search", aside.ByFilter(repo.Search),
		aside.WithTags(func(aside.Filter[Search], []Product) []string { return []string{"products"} }))
	found, err := searches.Get(ctx, aside.FilterOf(Search{Categories: []int64{7}}))
	err = searches.InvalidateTags(ctx, "products") // no write knows all filters that find its row
	return found, err
}

func count(ctx context.Context, s *Shop, rdb *redis.Client, repo *Repository) (any, error) {
	const categoryID = 7
	counts, err := aside.New(rdb, "category_count", repo.CountInCategory)
	n, err := counts.Get(ctx, categoryID)
	err = counts.Invalidate(ctx, before.CategoryID, after.CategoryID)
	s.counts = counts
	return n, err
}

func TestTheRecipesOfTheDocsRead(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t).(*redis.Client)
		s, repo := new(Shop), NewRepository()
		for name, recipe := range recipes {
			read, err := recipe.run(t.Context(), s, rdb, repo)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			equal(t, name, fmt.Sprint(read), recipe.want)
		}
		if _, err := threeLines(t.Context(), rdb, repo); err != nil {
			t.Error(err)
		}
		// What every entry shows, after a write that changes all of them.
		show := func() string {
			p, err1 := s.products.Get(t.Context(), 2)
			_, err2 := s.bySlug.Get(t.Context(), aside.PairOf("de", "teapot"))
			_, err3 := s.bySlug.Get(t.Context(), aside.PairOf("de", "tea-pot"))
			left, err4 := s.lists.Get(t.Context(), 7)
			joined, err5 := s.lists.Get(t.Context(), 8)
			n, err6 := s.counts.Get(t.Context(), 8)
			if err := errors.Join(err1, err4, err5, err6); err != nil {
				t.Error(err)
			}
			return fmt.Sprint(p.Cents, err2 == nil, err3 == nil, len(left), len(joined), n)
		}
		equal(t, "before the write", show(), "2490 true false 2 1 1")
		if _, _, err := repo.Save(t.Context(), after); err != nil {
			t.Fatal(err)
		}
		if err := s.invalidate(t.Context(), before, after); err != nil {
			t.Fatal(err)
		}
		equal(t, "after it", show(), "1990 false true 1 2 2")
	})
}

// A fakeDB stands for a *sql.DB with one row. (The examples run such writes, on SQLite and on Postgres.)
type fakeDB struct{ price int64 }

// A fakeTx stands for a *sql.Tx.
type fakeTx struct {
	db    *fakeDB
	price int64
	lost  error
}

func (db *fakeDB) BeginTx(context.Context, *sql.TxOptions) (*fakeTx, error) {
	return &fakeTx{db: db, price: db.price}, nil
}

func (tx *fakeTx) Rollback() error { return sql.ErrTxDone }

func (tx *fakeTx) Commit() error {
	tx.db.price = tx.price
	return tx.lost
}

func setPrice(_ context.Context, tx *fakeTx, _, price int64) error {
	tx.price = price
	return nil
}

func TestTheTransactionOfTheREADME(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		db := &fakeDB{price: 100}
		products := newCache(t, rdb, func(context.Context, int64) (int64, error) { return db.price, nil })
		id, price := int64(2), int64(90)
		equal(t, "the price before", mustGet(t, products, id), 100)
		ctx := t.Context()
		err := aside.InTx(ctx, func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if err := setPrice(ctx, tx, id, price); err != nil {
				return err
			}
			if err := products.Invalidate(ctx, id); err != nil { // nothing is cached for id from here to the end of InTx
				return err
			}
			return tx.Commit()
		})
		equal(t, "the error", err, nil)
		equal(t, "the price after", mustGet(t, products, id), 90)
	})
}

func TestTheCallForSeveralCachesOfTheREADME(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		ctx, rdb, repo := t.Context(), r.dial(t), NewRepository()
		products := open(t, rdb, "product", repo.ProductByID)
		lists := open(t, rdb, "category_products", repo.ProductsInCategory)
		id, before, after := int64(2), int64(7), int64(8)
		mustGet(t, products, id)
		equal(t, "the list before", len(mustGet(t, lists, before)), 2)
		equal(t, "the other list before", len(mustGet(t, lists, after)), 1)
		if _, _, err := repo.Save(ctx, Product{2, "de", "teapot", after, 1990}); err != nil {
			t.Fatal(err)
		}
		err := aside.Invalidate(ctx, products.Keys(id), lists.Keys(before, after))
		equal(t, "the error", err, nil)
		equal(t, "the price after", mustGet(t, products, id).Cents, 1990)
		equal(t, "the list after", len(mustGet(t, lists, before)), 1)
		equal(t, "the other list after", len(mustGet(t, lists, after)), 2)
	})
}

// A write that Redis did not confirm has happened all the same: its method returns no error.
func TestTheErrorThatIsLoggedAfterTheCommit(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		repo := NewRepository()
		rdb, tap := r.tapped()
		products := open(t, rdb, "product", repo.ProductByID, aside.WithLogger(silent))
		lists := open(t, rdb, "category_products", repo.ProductsInCategory, aside.WithLogger(silent))
		var log strings.Builder
		slog := slog.New(slog.NewTextHandler(&log, nil))
		changed := func(ctx context.Context, id int64) error {
			if err := aside.Invalidate(ctx, products.Keys(id), lists.Keys(before.CategoryID, after.CategoryID)); err != nil {
				slog.ErrorContext(ctx, "written, but other processes may serve the old product for a while", "error", err)
			}
			return nil
		}
		equal(t, "the error", changed(t.Context(), 2), nil)
		equal(t, "the log of a write that is confirmed", log.String(), "")
		tap.down()
		equal(t, "the error while Redis fails", changed(t.Context(), 2), nil)
		if !strings.Contains(log.String(), "written, but") {
			t.Errorf("logged %q", log.String())
		}
	})
}

func TestTheTransactionOfTheDocsInWhichNothingWasWritten(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		ctx, repo := t.Context(), NewRepository()
		products := newCache(t, r.dial(t), repo.ProductByID)
		id, price, errPrice := int64(2), int64(0), errors.New("not a price")
		mustGet(t, products, id)
		err := aside.InTx(ctx, func(ctx context.Context) error {
			if err := products.Invalidate(ctx, id); err != nil {
				return err
			}
			if price <= 0 {
				return aside.RolledBack(errPrice) // before anything was written
			}
			return repo.SetPrice(ctx, id, price)
		})
		equal(t, "the error", err, errPrice)
		fills := products.Stats().Fills
		mustGet(t, products, id)
		equal(t, "fills of the first read after it", products.Stats().Fills-fills, 1)
	})
}

func TestTheCachesOfTheDocs(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		ctx, rdb, repo := t.Context(), r.dial(t), NewRepository()
		products := open(t, rdb, "product", repo.ProductByID)
		bySlug := open(t, rdb, "product_by_slug", aside.ByPair(repo.ProductBySlug))
		lists := open(t, rdb, "category_products", repo.ProductsInCategory)
		counts := open(t, rdb, "category_count", repo.CountInCategory)
		mustGet(t, products, 2)
		mustGet(t, lists, 7)
		if err := repo.SetPrice(ctx, 2, 1990); err != nil {
			t.Fatal(err)
		}
		all := aside.Caches{products, bySlug, lists, counts}
		err := all.InvalidateAll(ctx) // one scan for those that share a client
		pending := all.Stats()["product"].PendingInvalidations
		err = all.Shutdown(ctx) // waits for their background work until ctx ends
		equal(t, "pending", pending, 0)
		equal(t, "what is cached", r.get("product:2")+r.get("category_products:7"), "")
		equal(t, "the price", mustGet(t, products, 2).Cents, 1990)
		equal(t, "the error of Shutdown", err, nil)
	})
}

func TestTheHandlerOfTheDocsFindsNoRow(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		products := newCache(t, rdb, NewRepository().ProductByID)
		handler := func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			_, err := products.Get(ctx, 999)
			if errors.Is(err, sql.ErrNoRows) { // or aside.ErrNotFound: both hold, whatever the loader returned
				http.NotFound(w, r)
				return
			}
		}
		w := httptest.NewRecorder()
		handler(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		equal(t, "the status", w.Code, http.StatusNotFound)
	})
}

func TestTheObserverOfTheDocs(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		repo, down := NewRepository(), false
		alert := func(_ string, _, on bool) { down = on }

		reads := new(expvar.Map)
		observer := aside.Observer{
			Read: func(_ context.Context, r aside.ReadInfo) { reads.Add(string(r.Outcome), 1) },
			Down: func(d aside.DownInfo) { alert(d.Cache, d.Writes, d.Err != nil) },
		}
		products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithObserver(observer))

		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { products.Close() })
		for range 3 {
			if _, err := products.Get(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, "the counts", reads.String(), `{"hit": 2, "miss": 1}`)
		equal(t, "Down", down, false)
	})
}

func TestInvalidateThatOvertakesAFill(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		reader, tap := process(r, rows.load, patient)
		writer, _ := process(r, rows.load)
		fill := tap.before("fill") // the next one is held up
		slow := getting(reader, 1)
		fill.wait()
		rows.setPrice(1, 90)
		mustInvalidate(t, writer, 1)
		fill.release()
		price(t, "what the reader gets, which began before", slow, 100)
		equal(t, "what anybody gets afterwards", mustGet(t, writer, 1).Price, 90)
	})
}
