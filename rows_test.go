package aside_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"database/sql"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

type product struct {
	ID    int
	Name  string
	Price int
}

// A table is a source of truth that counts how often it is read.
type table struct {
	mu    sync.Mutex
	rows  map[int]product
	loads atomic.Int64
	err   error // what every load returns, if not nil
}

func (t *table) load(_ context.Context, id int) (product, error) {
	t.loads.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return product{}, t.err
	}
	p, ok := t.rows[id]
	if !ok {
		return product{}, sql.ErrNoRows
	}
	return p, nil
}

func (t *table) loadMany(_ context.Context, ids []int) (map[int]product, error) {
	t.loads.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return nil, t.err
	}
	found := make(map[int]product)
	for _, id := range ids {
		if p, ok := t.rows[id]; ok {
			found[id] = p
		}
	}
	return found, nil
}

func (t *table) setPrice(id, price int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.rows[id]
	p.ID, p.Price = id, price
	t.rows[id] = p
}

func (t *table) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

func newTable(rows ...product) *table {
	t := &table{rows: make(map[int]product)}
	for _, p := range rows {
		t.rows[p.ID] = p
	}
	return t
}

// A slowTable is a table whose loads can be held up after they have read.
type slowTable struct {
	*table
	read    chan struct{} // receives when a load has read its row
	go_     chan struct{} // is received from before the load returns it
	flowing chan struct{} // closed when loads are no longer held up
}

func (t *slowTable) load(ctx context.Context, id int) (product, error) {
	p, err := t.table.load(ctx, id)
	select {
	case t.read <- struct{}{}:
		<-t.go_
	case <-t.flowing:
	}
	return p, err
}

// flow lets the loads under way and all later ones go.
func (t *slowTable) flow() {
	close(t.flowing)
	close(t.go_)
}

func newSlowTable(rows ...product) *slowTable {
	return &slowTable{newTable(rows...), make(chan struct{}), make(chan struct{}), make(chan struct{})}
}

// A batchTable is a table that notes which keys it is asked for together, and can be held up after it has read.
type batchTable struct {
	*slowTable
	fast  bool
	mu    sync.Mutex
	asked []string
}

func (t *batchTable) loadMany(ctx context.Context, ids []int) (map[int]product, error) {
	t.mu.Lock()
	t.asked = append(t.asked, fmt.Sprint(ids))
	t.mu.Unlock()
	rows, err := t.table.loadMany(ctx, ids)
	if !t.fast {
		t.read <- struct{}{}
		<-t.go_
	}
	return rows, err
}

// batches tells what has been asked for, call by call.
func (t *batchTable) batches() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.asked, " ")
}

// newBatchTable has rows with the prices 100·id.
func newBatchTable(fast bool, ids ...int) *batchTable {
	t := &batchTable{slowTable: newSlowTable(), fast: fast}
	for _, id := range ids {
		t.setPrice(id, 100*id)
	}
	return t
}

// A gauge is a table whose loads take until they may end, and that knows how many ran at a time.
type gauge struct {
	*table
	wait func(ctx context.Context) // how long a load takes

	mu      sync.Mutex
	loading map[int]int // by key
	all     int
	mostOne int // of one key
	mostAll int
}

func (g *gauge) load(ctx context.Context, id int) (product, error) {
	g.change(id, 1)
	defer g.change(id, -1)
	g.wait(ctx)
	return g.table.load(ctx, id)
}

func (g *gauge) change(id, by int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loading[id] += by
	g.all += by
	g.mostOne, g.mostAll = max(g.mostOne, g.loading[id]), max(g.mostAll, g.all)
}

// longLoad has another process load the ids, for 7 s each.
func longLoad(r *rig, ids ...int) (done <-chan manyResult) {
	rows := newBatchTable(true, ids...)
	holder, _ := process(r, rows.table.load, aside.WithBatch(func(ctx context.Context, ids []int) (map[int]product, error) {
		time.Sleep(7 * time.Second)
		return rows.loadMany(ctx, ids)
	}))
	done = gettingMany(context.Background(), holder, ids...)
	synctest.Wait()
	return done
}

// slowly makes a load take a second.
func slowly[K, V any](load func(context.Context, K) (V, error)) func(context.Context, K) (V, error) {
	return func(ctx context.Context, key K) (V, error) {
		time.Sleep(time.Second)
		return load(ctx, key)
	}
}

func anyRow(_ context.Context, id int) (product, error) { return product{id, "lamp", id}, nil }

// stale are options under which a value expires exactly after a minute, and is served for an hour more.
var stale = []aside.Option{
	aside.WithTTL(time.Minute), aside.WithJitter(0), aside.WithStale(time.Hour), aside.WithEarlyRefresh(0),
}

var categories = aside.WithTags(byCategory)

var nearby = aside.WithNear(1000, time.Minute)

var sealed = aside.WithSeal(gcm(1))

// gcm is AES-GCM with a key that this number stands for.
func gcm(number byte) cipher.AEAD { return gcmOf(bytes.Repeat([]byte{number}, 32)) }

func gcmOf(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// OddTags would be lost among others if those were separated carelessly.
var oddTags = []string{"", "a b", "a\u00a0b", "渋谷\u3000東京", "a\u0085b", "\u2003", "a\xa0b", "a\u2028b"}

// idsFrom are n ids.
func idsFrom(first, n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = first + i
	}
	return ids
}

// A page is a product page of about 1 KB as JSON.
type page struct {
	ID          int
	Name        string
	Description string
	Price       int64
	Currency    string
	Tags        []string
	Variants    []variant
	InStock     bool
}

type variant struct {
	SKU   string
	Color string
	Size  int
}

func newPage(id int) page {
	p := page{
		ID: id, Name: "Desk lamp", Description: strings.Repeat("A lamp for the desk. ", 24), Price: 4999, Currency: "EUR",
		Tags: []string{"lamp", "desk", "office", "led"}, InStock: true,
	}
	for i := range 6 {
		p.Variants = append(p.Variants, variant{SKU: fmt.Sprintf("LAMP-%04d-%d", id, i), Color: "green", Size: i})
	}
	return p
}

// newProductCache makes a cache of pages, with a loader of one and one of many.
func newProductCache(tb testing.TB, rdb redis.UniversalClient, opts ...aside.Option) *aside.Cache[int, page] {
	tb.Helper()
	load := func(_ context.Context, id int) (page, error) { return newPage(id), nil }
	batch := func(_ context.Context, ids []int) (map[int]page, error) {
		found := make(map[int]page, len(ids))
		for _, id := range ids {
			found[id] = newPage(id)
		}
		return found, nil
	}
	opts = append(opts, aside.WithBatch(batch), aside.WithLogger(slog.New(slog.DiscardHandler)))
	c, err := aside.New(rdb, "test", load, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

var productVersion = aside.VersionOf[product]()

// byHand is a document that a person or another program may have written, of a product.
func byHand(fresh time.Duration, value string) string {
	return fmt.Sprintf(`{ "value": %s, "color":"red", "v": %d, "fresh":%d, "id":"by hand" }`,
		value, productVersion, time.Now().Add(fresh).UnixMilli())
}

// filledWith is a document as the library stores it.
func filledWith(t *testing.T, r *rig, p product, opts ...aside.Option) string {
	t.Helper()
	c, _ := steady(r, newTable(p).load, opts...)
	mustGet(t, c, p.ID)
	name := fmt.Sprintf("test:%d", p.ID)
	defer r.del(name)
	return r.get(name)
}

// A stdCodec is encoding/json.
type stdCodec struct{}

func (stdCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (stdCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

type gobCodec struct{}

func (gobCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (gobCodec) Unmarshal(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}

// rawCodec stores a string or bytes as they are, and reads whatever it is given. What is empty may be nil.
type rawCodec struct{ reading func() }

func (c rawCodec) Marshal(v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		return append([]byte(nil), s...), nil
	}
	return v.([]byte), nil
}

func (c rawCodec) Unmarshal(data []byte, v any) error {
	if c.reading != nil {
		c.reading()
	}
	switch v := v.(type) {
	case *string:
		*v = string(data)
	case *[]byte:
		*v = bytes.Clone(data)
	}
	return nil
}

type brokenCodec struct{}

func (brokenCodec) Marshal(any) ([]byte, error) { return nil, errors.New("broken") }
func (brokenCodec) Unmarshal([]byte, any) error { return errors.New("broken") }

// A kept value is what its codec was given, in a field that cannot be copied, so that each caller decodes it.
type kept struct{ data []byte }

// keepingCodec keeps what it is given, as its contract allows.
type keepingCodec struct{}

func (keepingCodec) Marshal(v any) ([]byte, error) { return v.(kept).data, nil }

func (keepingCodec) Unmarshal(data []byte, v any) error {
	v.(*kept).data = data
	return nil
}

// In these tests each product is of the category that its name says.
func byCategory(_ int, p product) []string { return []string{p.Name} }

// breaking returns ways not to return.
func breaking() map[string]func() {
	return map[string]func(){"panics": func() { panic("hook") }, "calls runtime.Goexit": runtime.Goexit}
}

// get returns the document under name, "" if there is none.
func (r *rig) get(name string) (doc string) {
	r.t.Helper()
	var err error
	r.until(func() bool { // go-redis follows a slot that moves three times, and a busy machine may need more of that
		doc, err = r.raw.Get(context.Background(), name).Result()
		return !redis.HasErrorPrefix(err, "MOVED")
	})
	if err != nil && err != redis.Nil {
		r.t.Fatalf("GET %s: %v", name, err)
	}
	return doc
}

// put stores a document under name, without a TTL.
func (r *rig) put(name, doc string) {
	r.t.Helper()
	if err := r.raw.Set(context.Background(), name, doc, 0).Err(); err != nil {
		r.t.Fatalf("SET %s: %v", name, err)
	}
}

// del is what a foreign program does to invalidate.
func (r *rig) del(name string) {
	r.t.Helper()
	if err := r.raw.Del(context.Background(), name).Err(); err != nil {
		r.t.Fatalf("DEL %s: %v", name, err)
	}
}

// held reports whether a hold is all that is cached under name.
func (r *rig) held(name string) bool { return strings.HasPrefix(r.get(name), `{"hold":`) }

// deadLease is what a process that was killed leaves behind.
func deadLease(r *rig, name string, life time.Duration) {
	r.t.Helper()
	if err := r.raw.Set(context.Background(), name, fmt.Sprintf(`{"lease":"dead-1-2.3","life":%d}`, life.Milliseconds()), life).Err(); err != nil {
		r.t.Fatal(err)
	}
}

// heldTags counts the tags that are held.
func heldTags(t *testing.T, r *rig) int64 {
	t.Helper()
	n, err := r.raw.ZCount(t.Context(), "aside-tags", fmt.Sprint("(", time.Now().UnixMilli()), "(1e14").Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// keysWith are the keys of all servers that match a pattern.
func keysWith(r *rig, pattern string) (keys []string) {
	r.t.Helper()
	var mu sync.Mutex
	r.onServers(func(ctx context.Context, c *redis.Client) error {
		some, err := c.Keys(ctx, pattern).Result()
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, some...)
		return err
	})
	return keys
}
