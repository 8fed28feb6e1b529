package aside_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/asidecache/aside"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

// tests are all tests, and then the end of the servers that they share.
type tests struct{ *testing.M }

func (m tests) Run() int {
	logging.Disable() // go-redis tells of each connection that it cannot make
	defer sharedRedis.Stop()
	defer sharedClockedRedis.Stop()
	defer sharedCluster.Stop()
	return m.M.Run()
}

// logger shows what the library logs with the test that it belongs to.
func logger(t *testing.T) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

type testWriter struct{ t *testing.T }

var _ io.Writer = testWriter{}

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

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

func newTable(rows ...product) *table {
	t := &table{rows: make(map[int]product)}
	for _, p := range rows {
		t.rows[p.ID] = p
	}
	return t
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

// mustGet reads a key that must be there.
func mustGet[K comparable, V any](t *testing.T, c *aside.Cache[K, V], key K) V {
	t.Helper()
	v, err := c.Get(context.Background(), key)
	if err != nil {
		t.Fatalf("Get(%v): %v", key, err)
	}
	return v
}

func mustInvalidate[K comparable, V any](t *testing.T, c *aside.Cache[K, V], keys ...K) {
	t.Helper()
	if err := c.Invalidate(context.Background(), keys...); err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestGetLoadsOnceThenHits(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		for range 3 {
			equal(t, "the product", mustGet(t, c, 1), product{1, "lamp", 100})
		}
		equal(t, "the number of loads", rows.loads.Load(), 1)
		s := c.Stats()
		equal(t, "Hits", s.Hits, 2)
		equal(t, "Misses", s.Misses, 1)
		equal(t, "Fills", s.Fills, 1)
	})
}

func TestInvalidateShowsTheNewRowAtOnce(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, _ := process(r, rows.load)
		reader, _ := process(r, rows.load)
		mustGet(t, reader, 1)
		rows.setPrice(1, 90)
		equal(t, "the price before Invalidate", mustGet(t, reader, 1).Price, 100)
		mustInvalidate(t, writer, 1)
		equal(t, "the price after it", mustGet(t, reader, 1).Price, 90)
	})
}

func TestAbsenceIsRememberedUntilInvalidate(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		gone := errors.New("gone")
		rows := newTable()
		c, _ := process(r, rows.load, aside.WithNotFound(gone))
		for i := range 3 {
			_, err := c.Get(t.Context(), 7)
			for _, sentinel := range []error{aside.ErrNotFound, sql.ErrNoRows, gone} {
				if !errors.Is(err, sentinel) {
					t.Errorf("read %d: %v does not answer for %v", i, err, sentinel)
				}
			}
		}
		equal(t, "the number of loads", rows.loads.Load(), 1)
		rows.setPrice(7, 1)
		mustInvalidate(t, c, 7)
		equal(t, "the price after the insert", mustGet(t, c, 7).Price, 1)
	})
}

// Also if it was made by another Cache, or by hand.
func TestANotFoundOfTheLoaderAnswersForAllErrorsThatMeanIt(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		gone := errors.New("gone")
		other, err := aside.New(r.dial(t), "other", func(context.Context, int) (int, error) { return 0, sql.ErrNoRows })
		equal(t, "the error", err, nil)
		defer other.Close()
		for name, load := range map[string]aside.Loader[int, int]{
			"bare":            func(context.Context, int) (int, error) { return 0, aside.ErrNotFound },
			"wrapped":         func(context.Context, int) (int, error) { return 0, fmt.Errorf("it is: %w", aside.ErrNotFound) },
			"another Cache's": other.Get,
		} {
			r.flush()
			c, _ := process(r, load, aside.WithNotFound(gone))
			for _, when := range []string{"loaded", "remembered"} {
				if _, err := c.Get(t.Context(), 1); !errors.Is(err, gone) || !errors.Is(err, sql.ErrNoRows) {
					t.Errorf("%s, %s: %v", name, when, err)
				}
			}
		}
	})
}
