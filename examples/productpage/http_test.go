package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/asidecache/aside"
	"golang.org/x/sync/errgroup"
)

// A client talks to an app over HTTP.
type client struct {
	t   *testing.T
	url string
}

func serve(t *testing.T, h http.Handler) *client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &client{t: t, url: server.URL}
}

func serveApp(t *testing.T, a *app) *client {
	return serve(t, a.handler())
}

// do sends a request, fails the test unless it is answered with status, and decodes the answer into into unless that is
// nil.
func (c *client) do(method, path, body string, status int, into any) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if res.StatusCode != status {
		c.t.Fatalf("%s %s: %s, want status %d\n%s", method, path, res.Status, status, got)
	}
	if into == nil {
		return
	}
	if err := json.NewDecoder(bytes.NewReader(got)).Decode(into); err != nil {
		c.t.Fatalf("%s %s: %v\n%s", method, path, err, got)
	}
}

func (c *client) get(path string) Product {
	c.t.Helper()
	var p Product
	c.do("GET", path, "", http.StatusOK, &p)
	return p
}

func (c *client) list(path string) []Product {
	c.t.Helper()
	var list []Product
	c.do("GET", path, "", http.StatusOK, &list)
	return list
}

func (c *client) category(id int64) Category {
	c.t.Helper()
	var category Category
	c.do("GET", fmt.Sprintf("/categories/%d", id), "", http.StatusOK, &category)
	return category
}

// everywhere reads a product by each of the four methods.
func (c *client) everywhere(p Product) map[string]Product {
	c.t.Helper()
	return map[string]Product{
		"by id":       c.get(fmt.Sprintf("/products/%d", p.ID)),
		"by slug":     c.get(fmt.Sprintf("/shops/%s/products/%s", p.Shop, p.Slug)),
		"in the list": pick(c.list(fmt.Sprintf("/categories/%d/products", p.CategoryID)), p.ID),
		"in a batch":  pick(c.list(fmt.Sprintf("/products?ids=1,%d,2", p.ID)), p.ID),
	}
}

// pick returns the product id of list, or none.
func pick(list []Product, id int64) Product {
	for _, p := range list {
		if p.ID == id {
			return p
		}
	}
	return Product{}
}

func everyReadIsServedFromTheCache(t *testing.T, a *app) {
	c := serveApp(t, a)
	want := c.everywhere(c.get("/products/7"))
	category := c.category(7)
	queries := a.db.Queries()
	for method, got := range c.everywhere(want["by id"]) {
		if got != want[method] || got.ID != 7 {
			t.Errorf("%s: %+v, before that %+v", method, got, want[method])
		}
	}
	if got := c.category(7); got != category || got.ID != 7 {
		t.Errorf("%+v, before that %+v", got, category)
	}
	if again := a.db.Queries() - queries; again != 0 {
		t.Errorf("%d database queries for what was read before", again)
	}
}

func everyReadSeesAPriceSetBefore(t *testing.T, a *app) {
	c := serveApp(t, a)
	for _, price := range []int64{111, 222} {
		c.everywhere(c.get("/products/7")) // so that all of it is cached
		var written Product
		c.do("PUT", "/products/7/price", fmt.Sprintf(`{"cents": %d}`, price), http.StatusOK, &written)
		if written.Cents != price {
			t.Fatalf("the write answered %+v, want %d cents", written, price)
		}
		for method, got := range c.everywhere(written) {
			if got != written {
				t.Errorf("%s: %+v, written was %+v", method, got, written)
			}
		}
	}
}

func bothListsSeeAProductMoved(t *testing.T, a *app) {
	c := serveApp(t, a)
	before := c.get("/products/7")
	c.everywhere(before)
	c.list("/categories/1/products")
	var after Product
	c.do("PUT", "/products/7/category", `{"category_id": 1}`, http.StatusOK, &after)
	if after.CategoryID != 1 || after.Category == before.Category {
		t.Fatalf("moved to %+v", after)
	}
	for method, got := range c.everywhere(after) {
		if got != after {
			t.Errorf("%s: %+v, written was %+v", method, got, after)
		}
	}
	if left := pick(c.list(fmt.Sprintf("/categories/%d/products", before.CategoryID)), 7); left != (Product{}) {
		t.Errorf("the list that it left still has %+v", left)
	}
}

func everyReadSeesAProductAddedWhoseAbsenceWasRemembered(t *testing.T, a *app) {
	c := serveApp(t, a)
	absent := func() {
		c.do("GET", "/products/5000", "", http.StatusNotFound, nil)
		c.do("GET", "/shops/rome/products/new", "", http.StatusNotFound, nil)
		if list := c.list("/products?ids=5000"); len(list) != 0 {
			t.Fatalf("a product that does not exist: %+v", list)
		}
	}
	absent()
	c.list("/categories/3/products")
	queries := a.db.Queries()
	absent()
	if again := a.db.Queries() - queries; again != 0 {
		t.Errorf("%d database queries for an absence that is known", again)
	}

	add := `{"id": 5000, "shop": "rome", "slug": "new", "name": "New", "category_id": 3, "cents": 5}`
	var added Product
	c.do("POST", "/products", add, http.StatusOK, &added)
	for method, got := range c.everywhere(added) {
		if got != added || got.ID != 5000 {
			t.Errorf("%s: %+v, written was %+v", method, got, added)
		}
	}
	c.do("POST", "/products", add, http.StatusConflict, nil)
}

func TestABatchKeepsTheOrderAskedFor(t *testing.T) {
	c := serveApp(t, startApp(t, config{}))
	var ids []int64
	for _, p := range c.list("/products?ids=9,3,4711,5") {
		ids = append(ids, p.ID)
	}
	if want := []int64{9, 3, 5}; fmt.Sprint(ids) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", ids, want)
	}
}

func whatDoesNotExistIsNotFound(t *testing.T, a *app) {
	c := serveApp(t, a)
	c.do("GET", "/categories/99", "", http.StatusNotFound, nil)
	c.do("GET", "/categories/99/products", "", http.StatusNotFound, nil)
	c.do("PUT", "/categories/99/name", `{"name": "New"}`, http.StatusNotFound, nil)
	c.do("PUT", "/products/5000/price", `{"cents": 1}`, http.StatusNotFound, nil)
	c.do("PUT", "/products/5000/category", `{"category_id": 1}`, http.StatusNotFound, nil)
	c.do("PUT", "/products/1/category", `{"category_id": 99}`, http.StatusNotFound, nil)
	c.do("POST", "/products", `{"id": 6000, "shop": "rome", "slug": "x", "name": "X", "category_id": 99, "cents": 1}`, http.StatusNotFound, nil)
}

func TestABadRequestIsRefused(t *testing.T) {
	c := serveApp(t, startApp(t, config{}))
	for _, path := range []string{
		"/products/x", "/categories/x/products", "/products", "/products?ids=1,,2",
		"/products?ids=" + strings.Repeat("1,", maxIDs) + "1",
	} {
		c.do("GET", path, "", http.StatusBadRequest, nil)
	}
	for _, body := range []string{"", "{", `{}`, `{"cents": -1}`, `{"cents": "1"}`} {
		c.do("PUT", "/products/1/price", body, http.StatusBadRequest, nil)
	}
	for _, body := range []string{
		`{"id": 6000, "shop": "rome", "slug": "x", "name": "X", "category_id": 1}`,
		`{"shop": "rome", "slug": "x", "name": "X", "category_id": 1, "cents": 1}`,
		`{"id": 6000, "category_id": 1, "cents": 1}`,
		`{"id": 6000, "shop": "rome", "slug": "x\u0000", "name": "X", "category_id": 1, "cents": 1}`,
	} {
		c.do("POST", "/products", body, http.StatusBadRequest, nil)
	}
	for _, body := range []string{`{}`, `{"name": "\u0000"}`} {
		c.do("PUT", "/categories/1/name", body, http.StatusBadRequest, nil)
	}
}

// No database has a product by such a name, and Postgres would call each an error.
func whatIsNoTextIsNotFound(t *testing.T, a *app) {
	c := serveApp(t, a)
	for _, path := range []string{
		"/shops/berlin/products/teapot%00", "/shops/berlin/products/%ff", "/shops/%00/products/teapot-1",
		"/shops/berlin/teapot%00", "/shops/berlin/%ff",
	} {
		c.do("GET", path, "", http.StatusNotFound, nil)
	}
}

func TestAFlagThatMakesNoSenseIsRefused(t *testing.T) {
	for _, args := range []string{
		"-rate NaN", "-rate -1", "-rate +Inf", "-rate 1e12", "-load -1s", "-query -1ms", "-cores 0", "serve", "-what", "-near -1",
	} {
		if _, err := parseFlags(strings.Fields(args)); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
	cfg, err := parseFlags(strings.Fields("-rate 0 -query 0 -load 1s"))
	if err != nil || cfg.load.rate != 0 || cfg.cost.capacity() != 0 {
		t.Errorf("rate %v, capacity %v, error %v", cfg.load.rate, cfg.cost.capacity(), err)
	}
}

func TestARedisThatIsNotThereIsNamed(t *testing.T) {
	server := miniredis.RunT(t)
	nobody := server.Addr()
	server.Close()
	_, err := newApp(t.Context(), config{redis: nobody, load: loadConfig{duration: time.Second}})
	if err == nil || !strings.Contains(err.Error(), "no Redis answers at "+nobody) {
		t.Errorf("a load: error %v", err)
	}
	a := startApp(t, config{redis: nobody, options: []aside.Option{}})
	serveApp(t, a).get("/products/1") // a shop opens all the same
}

// Four queries at a time, each for so long: with more there would be a shop that no cache helps.
func TestADatabaseHasItsCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &SQLCatalog{cost: newCost(10*time.Millisecond, 4), queries: new(atomic.Int64)}
		start := time.Now()
		var all errgroup.Group
		for range 40 {
			all.Go(func() error {
				_, err := ask(t.Context(), c, func(context.Context) (int, error) { return 0, nil })
				return err
			})
		}
		if err := all.Wait(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 100*time.Millisecond || c.Queries() != 40 {
			t.Errorf("%d queries took %v, want 40 in 100ms", c.Queries(), took)
		}
		if c.cost.capacity() != 400 {
			t.Errorf("a capacity of %v a second", c.cost.capacity())
		}
	})
}

// failing is a Catalog that cannot be read.
type failing struct {
	Catalog
	err error
}

func (f failing) ProductByID(context.Context, int64) (Product, error) { return Product{}, f.err }

func TestErrorsHaveTheirStatus(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
	}{
		{aside.ErrOverloaded, http.StatusServiceUnavailable},
		{errors.Join(aside.ErrOverloaded, context.DeadlineExceeded), http.StatusServiceUnavailable},
		{context.DeadlineExceeded, http.StatusGatewayTimeout},
		{aside.ErrNotFound, http.StatusNotFound},
		{errors.New("the database is on fire"), http.StatusInternalServerError},
	} {
		c := serve(t, apiHandler(failing{err: fmt.Errorf("product 1: %w", test.err)}, nil, nil))
		c.do("GET", "/products/1", "", test.status, nil)
	}
}

func TestStatsCountWhatTheCachesDid(t *testing.T) {
	a := startApp(t, config{})
	c := serveApp(t, a)
	c.get("/products/1")
	c.get("/products/1")
	var stats struct {
		DatabaseQueries int64
		Caches          map[string]aside.Stats
	}
	c.do("GET", "/stats", "", http.StatusOK, &stats)
	if stats.DatabaseQueries != a.db.Queries() {
		t.Errorf("%d database queries, want %d", stats.DatabaseQueries, a.db.Queries())
	}
	if got := stats.Caches["product"]; got.Hits != 1 || got.Misses != 1 {
		t.Errorf("%d hits and %d misses, want 1 of each", got.Hits, got.Misses)
	}
}

func TestPagesAreServedAndWrittenWithoutRedis(t *testing.T) {
	redis := miniredis.RunT(t)
	a := startApp(t, config{redis: redis.Addr(), options: []aside.Option{}}) // no need to wait long for one that is gone
	c := serveApp(t, a)
	c.everywhere(c.get("/products/7"))
	redis.Close()

	var written Product
	c.do("PUT", "/products/7/price", `{"cents": 333}`, http.StatusOK, &written)
	c.do("PUT", "/categories/7/name", `{"name": "New"}`, http.StatusOK, nil)
	for method, got := range c.everywhere(written) {
		if got.Cents != 333 || got.Category != "New" {
			t.Errorf("%s: %+v, want 333 cents and the category New", method, got)
		}
	}
	if owed := a.cached.products.Stats().PendingInvalidations; owed == 0 {
		t.Error("nothing is owed for writes that Redis did not hear of")
	}
}

// With the Redis inside the process, too: the button of the dashboard has nothing else.
func TestARedisThatIsKilledIsMissedAndComesBack(t *testing.T) {
	a := startApp(t, config{options: []aside.Option{}})
	c := serveApp(t, a)
	c.everywhere(c.get("/products/7"))
	a.line.kill()
	queries := a.db.Queries()
	var written Product
	c.do("PUT", "/products/7/price", `{"cents": 333}`, http.StatusOK, &written)
	for method, got := range c.everywhere(written) {
		if got != written {
			t.Errorf("%s: %+v, written was %+v", method, got, written)
		}
	}
	if a.db.Queries() == queries {
		t.Error("no read asked the database")
	}
	a.line.restore()
	for hits := a.cached.products.Stats().Hits; a.cached.products.Stats().Hits == hits; { // until the cache has found out
		if got := c.get("/products/7"); got != written {
			t.Fatalf("%+v, written was %+v", got, written)
		}
	}
}

func TestWritesWithoutRedisReachItWhenItIsBack(t *testing.T) {
	redis := miniredis.RunT(t)
	a := startApp(t, config{redis: redis.Addr()})
	serveApp(t, a).get("/products/7")
	redis.SetError("LOADING")
	if _, err := a.cached.SetPrice(t.Context(), 7, 333); err != nil {
		t.Fatal(err)
	}
	redis.SetError("")
	if err := a.cached.Close(); err != nil { // which pays what is owed
		t.Fatal(err)
	}
	if redis.Exists("product:7") {
		t.Error("the old entry is still there")
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	a := startApp(t, config{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.serve(ctx, listener) }()

	c := &client{t: t, url: "http://" + listener.Addr().String()}
	c.get("/products/1")
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
