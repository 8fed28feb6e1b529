package aside_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// What a service has before it has a cache: rows, and a repository that reads and writes them.

type Product struct {
	ID         int64
	Shop, Slug string
	CategoryID int64
	Cents      int64
}

type Repository struct {
	mu      sync.Mutex
	rows    map[int64]Product
	queries int // that the reading methods have sent
}

func NewRepository() *Repository {
	return &Repository{rows: map[int64]Product{
		1: {1, "de", "kettle", 7, 3990},
		2: {2, "de", "teapot", 7, 2490},
		3: {3, "fr", "teapot", 8, 2590},
	}}
}

// query returns the products for which where holds, by their ids.
func (r *Repository) query(where func(Product) bool) (list []Product) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queries++
	for _, p := range r.rows {
		if where(p) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b Product) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (r *Repository) ProductByID(_ context.Context, id int64) (Product, error) {
	return one(r.query(func(p Product) bool { return p.ID == id }))
}

func (r *Repository) ProductBySlug(_ context.Context, shop, slug string) (Product, error) {
	return one(r.query(func(p Product) bool { return p.Shop == shop && p.Slug == slug }))
}

func (r *Repository) ProductsInCategory(_ context.Context, category int64) ([]Product, error) {
	return r.query(func(p Product) bool { return p.CategoryID == category }), nil
}

func (r *Repository) CountInCategory(_ context.Context, category int64) (int, error) {
	return len(r.query(func(p Product) bool { return p.CategoryID == category })), nil
}

func (r *Repository) ProductsByID(_ context.Context, ids []int64) (map[int64]Product, error) {
	found := make(map[int64]Product)
	for _, p := range r.query(func(p Product) bool { return slices.Contains(ids, p.ID) }) {
		found[p.ID] = p
	}
	return found, nil
}

// ListProducts returns the products in no order.
func (r *Repository) ListProducts(ctx context.Context, ids []int64) ([]Product, error) {
	found, err := r.ProductsByID(ctx, ids)
	return slices.Collect(maps.Values(found)), err
}

func one(list []Product) (Product, error) {
	if len(list) == 0 {
		return Product{}, sql.ErrNoRows
	}
	return list[0], nil
}

// Save inserts or updates a product. It returns what the row was, and what it has become.
func (r *Repository) Save(_ context.Context, p Product) (before, after Product, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, r.rows[p.ID] = r.rows[p.ID], p
	return before, p, nil
}

func (r *Repository) SetPrice(ctx context.Context, id, cents int64) error {
	r.mu.Lock()
	p, ok := r.rows[id]
	r.mu.Unlock()
	if !ok {
		return sql.ErrNoRows
	}
	p.Cents = cents
	_, _, err := r.Save(ctx, p)
	return err
}

// embeddedRedis stands in for your Redis.
func embeddedRedis() (rdb *redis.Client, server *miniredis.Miniredis, stop func()) {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	rdb = redis.NewClient(&redis.Options{Addr: server.Addr()})
	hurry := aside.PatientByDefault() // what the examples print is the same on a busy machine
	return rdb, server, func() { rdb.Close(); server.Close(); hurry() }
}

// The whole use: wrap the method that reads, call Get in its place, and Invalidate where the row is written.
func Example() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()

	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithTTL(5*time.Minute))
	if err != nil {
		panic(err)
	}
	defer products.Close()

	for range 100 {
		if _, err := products.Get(ctx, 2); err != nil {
			panic(err)
		}
	}
	fmt.Println("100 reads,", repo.queries, "query")

	if err := repo.SetPrice(ctx, 2, 1990); err != nil {
		panic(err)
	}
	if err := products.Invalidate(ctx, 2); err != nil {
		panic(err)
	}
	p, err := products.Get(ctx, 2)
	fmt.Println(p.Cents, err)
	// Output:
	// 100 reads, 1 query
	// 1990 <nil>
}

// How is a method cached that reads by two columns? With a struct for a key.
func ExampleNew_twoColumns() {
	rdb, server, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()

	type ShopSlug struct{ Shop, Slug string }
	bySlug, err := aside.New(rdb, "product_by_slug", func(ctx context.Context, k ShopSlug) (Product, error) {
		return repo.ProductBySlug(ctx, k.Shop, k.Slug)
	})
	if err != nil {
		panic(err)
	}
	defer bySlug.Close()

	p, err := bySlug.Get(ctx, ShopSlug{"fr", "teapot"})
	fmt.Println(p.ID, err)
	fmt.Println(server.Keys())
	// Output:
	// 3 <nil>
	// [product_by_slug:fr,teapot]
}

// What does New say to what it cannot do?
func ExampleNew_refused() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	load := func(context.Context, float64) (chan int, error) { return nil, nil }
	_, err := aside.New(rdb, "refused", load, aside.WithTTL(0))
	fmt.Println(err)
	// Output:
	// aside: cache "refused": a chan int would not survive JSON: chan int (chan int) cannot be encoded; give a codec with WithCodec, or tag the field json:"-"
	// WithTTL(0s) must be at least 1ms
	// a key of type float64 cannot be rendered: float64 is a float64; give a rendering with WithKey
}

// What if there is no row? The error is that of the loader, and the absence is remembered.
func ExampleCache_Get_absent() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithAbsentTTL(time.Minute))
	if err != nil {
		panic(err)
	}
	defer products.Close()

	for range 3 {
		_, err := products.Get(ctx, 999)
		fmt.Println(errors.Is(err, sql.ErrNoRows), errors.Is(err, aside.ErrNotFound), repo.queries)
	}

	if _, _, err := repo.Save(ctx, Product{ID: 999, Slug: "tray"}); err != nil {
		panic(err)
	}
	if err := products.Invalidate(ctx, 999); err != nil { // after an INSERT, too
		panic(err)
	}
	p, err := products.Get(ctx, 999)
	fmt.Println(p.Slug, err)
	// Output:
	// true true 1
	// true true 1
	// true true 1
	// tray <nil>
}

// What if the repository has an error of its own for a row that does not exist?
func ExampleWithNotFound() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	ctx := context.Background()
	errNoSuchUser := errors.New("no such user")
	loads := 0
	users, err := aside.New(rdb, "user", func(_ context.Context, id int) (string, error) {
		loads++
		return "", fmt.Errorf("user %d: %w", id, errNoSuchUser)
	}, aside.WithNotFound(errNoSuchUser))
	if err != nil {
		panic(err)
	}
	defer users.Close()

	_, loaded := users.Get(ctx, 7)
	_, remembered := users.Get(ctx, 7)
	fmt.Println(loaded, errors.Is(loaded, errNoSuchUser))
	fmt.Println(remembered, errors.Is(remembered, errNoSuchUser))
	fmt.Println(loads, "load")
	// Output:
	// user 7: no such user true
	// aside: not found: cache "user" has no row for "user:7" true
	// 1 load
}

// What if that error is a type, as ent's and a gRPC status are?
func ExampleWithNotFoundFunc() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	ctx := context.Background()
	users, err := aside.New(rdb, "user", func(_ context.Context, id int) (string, error) {
		return "", fmt.Errorf("shop 3: %w", NoSuchUser{id})
	}, aside.WithNotFoundFunc(
		func(err error) bool { return errors.As(err, new(NoSuchUser)) },
		func(id int) error { return NoSuchUser{id} }))
	if err != nil {
		panic(err)
	}
	defer users.Close()

	_, loaded := users.Get(ctx, 7)
	_, remembered := users.Get(ctx, 7)
	for _, err := range []error{loaded, remembered} {
		var none NoSuchUser
		fmt.Println(err, errors.As(err, &none), none.ID)
	}
	// Output:
	// shop 3: no user 7 true 7
	// no user 7 true 7
}

// NoSuchUser is a repository's error.
type NoSuchUser struct{ ID int }

func (e NoSuchUser) Error() string { return fmt.Sprint("no user ", e.ID) }

// How are many rows read at once? One round trip for those that Redis has, one batch load for the others.
func ExampleCache_GetMany() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithBatch(repo.ProductsByID))
	if err != nil {
		panic(err)
	}
	defer products.Close()

	if _, err := products.Get(ctx, 1); err != nil {
		panic(err)
	}
	found, err := products.GetMany(ctx, []int64{1, 2, 3, 999})
	fmt.Println(slices.Sorted(maps.Keys(found)), err) // 999 does not exist, so it is not in the map
	fmt.Println(repo.queries, "queries")
	// Output:
	// [1 2 3] <nil>
	// 2 queries
}

// Which entries does a write invalidate? All that show the row, as it was and as it has become.
func ExampleCache_Invalidate() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	products, err1 := aside.New(rdb, "product", repo.ProductByID)
	lists, err2 := aside.New(rdb, "category_products", repo.ProductsInCategory)
	counts, err3 := aside.New(rdb, "category_count", repo.CountInCategory)
	if err := errors.Join(err1, err2, err3); err != nil {
		panic(err)
	}
	defer products.Close()
	defer lists.Close()
	defer counts.Close()

	show := func() {
		for _, category := range []int64{7, 8} {
			list, err1 := lists.Get(ctx, category)
			n, err2 := counts.Get(ctx, category)
			fmt.Println(category, len(list), n, errors.Join(err1, err2))
		}
	}
	show()

	before, after, err := repo.Save(ctx, Product{2, "de", "teapot", 8, 2490}) // from category 7 into 8
	if err != nil {
		panic(err)
	}
	err = errors.Join( // each is tried, whatever became of the others
		products.Invalidate(ctx, after.ID),
		lists.Invalidate(ctx, before.CategoryID, after.CategoryID),
		counts.Invalidate(ctx, before.CategoryID, after.CategoryID),
	)
	if err != nil {
		panic(err) // committed, but the old entries may be served until they expire
	}
	show()
	// Output:
	// 7 2 2 <nil>
	// 8 1 1 <nil>
	// 7 1 1 <nil>
	// 8 2 2 <nil>
}

// What if Redis does not confirm an Invalidate? Call it again, as often as you like.
func ExampleCache_Invalidate_failed() {
	rdb, server, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithLogger(silent))
	if err != nil {
		panic(err)
	}
	defer products.Close()

	server.SetError("MISCONF Redis cannot write to its disk")
	fmt.Println(products.Invalidate(ctx, 2))
	server.SetError("")
	fmt.Println(products.Invalidate(ctx, 2))
	// Output:
	// aside: 1 of 1 keys not invalidated, the first is "product:2": MISCONF Redis cannot write to its disk
	// <nil>
}

// How is a row read that must be as of now? Under Bypass, which neither uses nor fills the cache.
func ExampleBypass() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	products, err := aside.New(rdb, "product", repo.ProductByID)
	if err != nil {
		panic(err)
	}
	defer products.Close()

	if _, err := products.Get(ctx, 2); err != nil {
		panic(err)
	}
	if err := repo.SetPrice(ctx, 2, 1990); err != nil { // by a program that invalidates nothing
		panic(err)
	}
	cached, err1 := products.Get(ctx, 2)
	now, err2 := products.Get(aside.Bypass(ctx), 2)
	fmt.Println(cached.Cents, err1)
	fmt.Println(now.Cents, err2)
	// Output:
	// 2490 <nil>
	// 1990 <nil>
}

// What do readers see when Redis fails? What the loader returns.
func Example_outage() {
	rdb, server, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithLogger(silent))
	if err != nil {
		panic(err)
	}
	defer products.Close()

	server.SetError("LOADING Redis is loading the dataset in memory")
	for range 4 {
		p, err := products.Get(ctx, 2)
		fmt.Println(p.Cents, err, products.Stats().Down)
	}
	server.SetError("")
	for products.Stats().Down { // until the next probe, at most a second
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println("back")
	// Output:
	// 2490 <nil> false
	// 2490 <nil> false
	// 2490 <nil> true
	// 2490 <nil> true
	// back
}

// What does Redis hold? One string for each entry. Whoever deletes it has invalidated the entry.
func Example_redisCLI() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	products, err := aside.New(rdb, "product", repo.ProductByID)
	if err != nil {
		panic(err)
	}
	defer products.Close()
	if _, err := products.Get(ctx, 2); err != nil {
		panic(err)
	}

	doc := rdb.Get(ctx, "product:2").Val() // redis-cli GET product:2
	_, value, _ := strings.Cut(doc, `"value":`)
	fmt.Println(doc[:7], "...", value)

	rdb.Del(ctx, "product:2") // redis-cli DEL product:2
	_, err = products.Get(ctx, 2)
	fmt.Println(repo.queries, "queries", err)
	// Output:
	// {"id":" ... {"ID":2,"Shop":"de","Slug":"teapot","CategoryID":7,"Cents":2490}}
	// 2 queries <nil>
}

// How long a value is fresh may depend on it.
func ExampleWithTTLFunc() {
	rdb, server, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithJitter(0),
		aside.WithTTLFunc(func(id int64, p Product) time.Duration {
			switch {
			case p.Shop == "fr":
				return -1 // not stored
			case p.Cents > 3000:
				return time.Hour
			default:
				return aside.DefaultTTL // that of WithTTL
			}
		}))
	if err != nil {
		panic(err)
	}
	defer products.Close()
	if _, err := products.GetMany(ctx, []int64{1, 2, 3}); err != nil {
		panic(err)
	}
	for _, name := range server.Keys() {
		fmt.Println(name, server.TTL(name))
	}
	// Output:
	// product:1 1h0m0s
	// product:2 5m0s
}

// What if the database fails while Redis still has the value? Within WithStale it is served, and refreshed when the
// database is back.
func ExampleWithStale() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	ctx := context.Background()
	var dbErr error
	prices, err := aside.New(rdb, "price", func(context.Context, int) (int, error) { return 2490, dbErr },
		aside.WithTTL(time.Millisecond), aside.WithStale(time.Hour), aside.WithLogger(silent))
	if err != nil {
		panic(err)
	}
	if _, err := prices.Get(ctx, 2); err != nil {
		panic(err)
	}
	time.Sleep(10 * time.Millisecond)
	dbErr = errors.New("the database is down")
	cents, err := prices.Get(ctx, 2)
	fmt.Println(cents, err)
	prices.Close() // waits for the refresh
	fmt.Println(prices.Stats().StaleHits, prices.Stats().LoadErrors)
	// Output:
	// 2490 <nil>
	// 1 1
}

// What if the type of the key cannot be rendered? Say how.
func ExampleWithKey() {
	rdb, server, stop := embeddedRedis()
	defer stop()
	ctx := context.Background()
	type point struct{ lat, lon float64 }
	weather, err := aside.New(rdb, "weather", func(context.Context, point) (string, error) { return "rain", nil },
		aside.WithKey(func(p point) string { return fmt.Sprintf("%.2f/%.2f", p.lat, p.lon) }))
	if err != nil {
		panic(err)
	}
	defer weather.Close()
	today, err := weather.Get(ctx, point{52.52, 13.405})
	fmt.Println(today, err, server.Keys())
	// Output:
	// rain <nil> [weather:52.52/13.40]
}

// How are entries named in Redis?
func Example_keys() {
	rdb, server, stop := embeddedRedis()
	defer stop()
	ctx := context.Background()
	type locale string
	named(ctx, rdb, -12)
	named(ctx, rdb, true)
	named(ctx, rdb, locale("de-AT"))
	named(ctx, rdb, "50% off: tea")
	named(ctx, rdb, [2]int{3, 4})
	named(ctx, rdb, [4]byte{0xca, 0xfe, 0xba, 0xbe})
	named(ctx, rdb, struct{ shop, slug string }{"de", "cups,large"})
	named(ctx, rdb, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	for _, name := range server.Keys() {
		fmt.Println(name)
	}
	// Output:
	// k:-12
	// k:2026-01-02T00%3A00%3A00Z
	// k:3,4
	// k:50%25%20off%3A%20tea
	// k:cafebabe
	// k:de,cups%2Clarge
	// k:de-AT
	// k:true
}

// named has an entry of key stored.
func named[K comparable](ctx context.Context, rdb redis.UniversalClient, key K) {
	c, err := aside.New(rdb, "k", func(context.Context, K) (int, error) { return 1, nil })
	if err != nil {
		panic(err)
	}
	defer c.Close()
	if _, err := c.Get(ctx, key); err != nil {
		panic(err)
	}
}

// How is it known what a cache does? By its counters.
func ExampleCache_Stats() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	products, err := aside.New(rdb, "product", repo.ProductByID)
	if err != nil {
		panic(err)
	}
	defer products.Close()
	for _, id := range []int64{1, 1, 1, 2, 999, 999} {
		if _, err := products.Get(ctx, id); err != nil && !errors.Is(err, aside.ErrNotFound) {
			panic(err)
		}
	}
	s := products.Stats()
	fmt.Println("hits", s.Hits, "absent hits", s.AbsentHits, "misses", s.Misses, "loads", s.Loads)
	// Output:
	// hits 2 absent hits 1 misses 3 loads 3
}

// How do metrics and traces learn of each read? From an Observer.
func ExampleWithObserver() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithObserver(aside.Observer{
		Read: func(_ context.Context, r aside.ReadInfo) {
			fmt.Printf("read %s: %s\n", r.Name, r.Outcome)
		},
		Load: func(_ context.Context, l aside.LoadInfo) {
			fmt.Printf("load of %d key: %v\n", l.Keys, l.Err)
		},
		Invalidate: func(_ context.Context, i aside.InvalidateInfo) {
			fmt.Println("invalidate", i.Names, i.Err)
		},
	}))
	if err != nil {
		panic(err)
	}
	defer products.Close()
	for range 2 {
		if _, err := products.Get(ctx, 2); err != nil {
			panic(err)
		}
	}
	if err := products.Invalidate(ctx, 2); err != nil {
		panic(err)
	}
	// Output:
	// load of 1 key: <nil>
	// read product:2: miss
	// read product:2: hit
	// invalidate [product:2] <nil>
}

// Does anybody write without telling the cache? A hit is compared with the database, and a second later it is known.
func ExampleWithVerify() {
	rdb, _, stop := embeddedRedis()
	defer stop()
	repo, ctx := NewRepository(), context.Background()
	found := make(chan aside.VerifyInfo, 1)
	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithLogger(silent), aside.WithVerify(10),
		aside.WithObserver(aside.Observer{Verify: func(_ context.Context, v aside.VerifyInfo) { found <- v }}))
	if err != nil {
		panic(err)
	}
	defer products.Close()

	if _, err := products.Get(ctx, 2); err != nil { // from the database
		panic(err)
	}
	if err := repo.SetPrice(ctx, 2, 1990); err != nil { // and nobody calls Invalidate
		panic(err)
	}
	if _, err := products.Get(ctx, 2); err != nil { // from Redis
		panic(err)
	}
	v := <-found
	fmt.Println(v.Cache, v.Name, v.Verdict, products.Stats().Verified.Stale)
	// Output: product product:2 stale 1
}
