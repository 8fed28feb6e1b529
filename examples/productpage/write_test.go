package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// shown is all that h shows of the product 7, of one that is added, and of some categories.
func shown(t *testing.T, h http.Handler) string {
	t.Helper()
	c := serve(t, h)
	var all strings.Builder
	for _, path := range []string{
		"/products/7", "/shops/berlin/products/tray-7", "/products?ids=5,6,7,5000",
		"/products/5000", "/shops/rome/products/new",
		"/categories/1", "/categories/2", "/categories/3", "/categories/7",
		"/categories/1/products", "/categories/2/products", "/categories/3/products", "/categories/7/products",
	} {
		res, err := http.Get(c.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode >= http.StatusInternalServerError {
			t.Errorf("%s: %s", path, res.Status)
		}
		fmt.Fprintf(&all, "%s: %s %s\n", path, res.Status, body)
	}
	return all.String()
}

// inDatabase is what the database shows without the cache.
func inDatabase(t *testing.T, a *app) string {
	t.Helper()
	return shown(t, apiHandler(a.db, a.db.CategoryByID, nil))
}

func sameAsInDatabase(t *testing.T, a *app) {
	t.Helper()
	if got, want := shown(t, a.handler()), inDatabase(t, a); got != want {
		t.Errorf("the cache shows\n%s\nand the database\n%s", got, want)
	}
}

// writes are one of each kind.
var writes = []struct {
	name  string
	write func(ctx context.Context, c Catalog) error
}{
	{"AddProduct", func(ctx context.Context, c Catalog) error {
		_, err := c.AddProduct(ctx, Product{ID: 5000, Shop: "rome", Slug: "new", Name: "New", CategoryID: 3, Cents: 5})
		return err
	}},
	{"SetPrice", func(ctx context.Context, c Catalog) error {
		_, err := c.SetPrice(ctx, 7, 111)
		return err
	}},
	{"MoveProduct", func(ctx context.Context, c Catalog) error {
		_, _, err := c.MoveProduct(ctx, 7, 3)
		return err
	}},
	{"RenameCategory", func(ctx context.Context, c Catalog) error {
		_, err := c.RenameCategory(ctx, 3, "New")
		return err
	}},
}

// Between the hold and the COMMIT, everything is read: what is loaded then is the row from before, and must not be there
// afterwards.
func whatIsReadWhileAWriteCommitsIsNotRemembered(t *testing.T, a *app) {
	for _, w := range writes {
		before := shown(t, a.handler())
		beforeCommit, called := a.cached.db.beforeCommit, 0
		a.cached.db = a.db.BeforeCommit(func(ctx context.Context, changed ...Product) error {
			err := beforeCommit(ctx, changed...)
			if got := shown(t, a.handler()); got != before {
				t.Errorf("%s: before the COMMIT\n%s\nand before the write\n%s", w.name, got, before)
			}
			called++
			return err
		})
		if err := w.write(t.Context(), a.cached); err != nil || called != 1 {
			t.Fatalf("%s: error %v, %d calls before the COMMIT, want 1", w.name, err, called)
		}
		a.cached.db = a.db.BeforeCommit(beforeCommit)
		if shown(t, a.handler()) == before {
			t.Errorf("%s: nothing has changed", w.name)
		}
		sameAsInDatabase(t, a)
	}
}

// Each moves the product from where the other has put it.
func movesOfOneProductAtOnceLeaveEveryListRight(t *testing.T, a *app) {
	shown(t, a.handler())
	var movers errgroup.Group
	for mover := range 3 {
		movers.Go(func() error {
			for i := range 10 {
				category := int64(1 + (mover+i)%3)
				before, after, err := a.cached.MoveProduct(t.Context(), 7, category)
				if err != nil {
					return err
				}
				for _, id := range []int64{before.CategoryID, after.CategoryID} {
					if _, err := a.cached.ProductsInCategory(t.Context(), id); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := movers.Wait(); err != nil {
		t.Fatal(err)
	}
	sameAsInDatabase(t, a)
}

func everyReadSeesACategoryRenamed(t *testing.T, a *app) {
	c := serveApp(t, a)
	c.everywhere(c.get("/products/7"))
	c.category(7)
	other := c.get("/products/8")
	var renamed Category
	c.do("PUT", "/categories/7/name", `{"name": "New"}`, http.StatusOK, &renamed)
	if renamed.Name != "New" {
		t.Fatalf("the write answered %+v, want the name New", renamed)
	}
	for method, got := range c.everywhere(c.get("/products/7")) {
		if got.Category != "New" || got.CategoryVersion != renamed.Version {
			t.Errorf("%s: %+v, the category is %+v", method, got, renamed)
		}
	}
	if got := c.category(7); got != renamed {
		t.Errorf("%+v, written was %+v", got, renamed)
	}
	queries := a.db.Queries()
	if got := c.get("/products/8"); got != other || a.db.Queries() != queries {
		t.Errorf("%+v of another category, before that %+v; %d queries", got, other, a.db.Queries()-queries)
	}
}

func aCategoryCountsItsProducts(t *testing.T, a *app) {
	c := serveApp(t, a)
	left, joined := c.category(7).Products, c.category(3).Products
	c.do("PUT", "/products/7/category", `{"category_id": 3}`, http.StatusOK, nil)
	if got := c.category(7).Products; got != left-1 {
		t.Errorf("%d products where one has left, before %d", got, left)
	}
	if got := c.category(3).Products; got != joined+1 {
		t.Errorf("%d products where one has joined, before %d", got, joined)
	}
	c.do("POST", "/products", `{"id": 5000, "shop": "rome", "slug": "new", "name": "New", "category_id": 3, "cents": 5}`, http.StatusOK, nil)
	if got := c.category(3).Products; got != joined+2 {
		t.Errorf("%d products where one was added, too, before %d", got, joined)
	}
}
