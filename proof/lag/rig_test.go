package lag_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

func TestMain(m *testing.M) {
	logging.Disable()
	_ = flag.Set("test.parallel", "8") // unless the command line says otherwise: the tests wait most of the time
	code := m.Run()
	shared.Stop()
	os.Exit(code)
}

// servers are shared by all tests.
type servers struct {
	redis            string
	primary, standby *pgxpool.Pool
}

var shared = testserver.Shared[*servers]{Start: func(t testing.TB) *servers {
	s := &servers{redis: testserver.Redis(t).Addr}
	primary, standby := testserver.PostgresStandby(t, delay)
	s.primary, s.standby = open(t, primary), open(t, standby)
	_, err := s.primary.Exec(t.Context(), `CREATE TABLE item (id bigint PRIMARY KEY, version bigint NOT NULL)`)
	must(err)
	await(t, "the standby to have the table", func() (has bool) {
		must(s.standby.QueryRow(t.Context(), `SELECT to_regclass('item') IS NOT NULL`).Scan(&has))
		return has
	})
	return s
}}

func open(t testing.TB, s *testserver.PostgresServer) *pgxpool.Pool {
	db, err := pgxpool.New(t.Context(), s.DSN)
	must(err)
	t.Cleanup(db.Close)
	return db
}

// An item is the row as it is cached.
type item struct{ Version int64 }

const increment = `UPDATE item SET version = version + 1 WHERE id = $1`

// A row is written through one cache, and read through another, whose loads are from the standby.
type row struct {
	*servers
	t              *testing.T
	id             int64
	name           string // of its cache: InvalidateAll is about this row alone
	rdb            *redis.Client
	writer, reader *aside.Cache[int64, item]
}

var lastID atomic.Int64

func newRow(t *testing.T, opts ...aside.Option) *row {
	t.Helper()
	r := &row{servers: shared.Get(t), t: t, id: lastID.Add(1)}
	r.name = fmt.Sprint("item", r.id)
	r.writer, r.reader = r.newCache(opts), r.newCache(opts)
	r.rdb = r.newClient()
	_, err := r.primary.Exec(t.Context(), `INSERT INTO item VALUES ($1, 1)`, r.id)
	must(err)
	r.await("the standby to have the row", func() bool { return r.on(r.standby) == 1 })
	if version := r.get(); version != 1 {
		t.Fatalf("version %d is read at first", version)
	}
	return r
}

func (r *row) newClient() *redis.Client {
	rdb := redis.NewClient(&redis.Options{Addr: r.redis})
	r.t.Cleanup(func() { rdb.Close() })
	return rdb
}

func (r *row) newCache(opts []aside.Option) *aside.Cache[int64, item] {
	patient := aside.WithRedisTimeout(10 * time.Second) // a busy machine is no finding
	c, err := aside.New(r.newClient(), r.name, r.load, append(opts, patient)...)
	must(err)
	r.t.Cleanup(func() { c.Close() })
	return c
}

func (r *row) load(_ context.Context, _ int64) (item, error) { return item{r.on(r.standby)}, nil }

// on is the version that a server has, 0 if none.
func (r *row) on(db *pgxpool.Pool) (version int64) {
	must(db.QueryRow(context.Background(), `SELECT coalesce(max(version), 0) FROM item WHERE id = $1`, r.id).Scan(&version))
	return version
}

func (r *row) update(ctx context.Context) error {
	_, err := r.primary.Exec(ctx, increment, r.id)
	return err
}

func (r *row) get() (version int64) {
	i, err := r.reader.Get(r.t.Context(), r.id)
	must(err)
	return i.Version
}

func (r *row) key() string { return fmt.Sprintf("%s:%d", r.name, r.id) }

// cached is the version of the value that Redis holds, 0 if it holds none.
func (r *row) cached() int64 {
	doc, _ := r.rdb.Get(r.t.Context(), r.key()).Result()
	var d struct{ Value item }
	if strings.Contains(doc, `"value":`) {
		must(json.Unmarshal([]byte(doc), &d))
	}
	return d.Value.Version
}

// whileBehind writes the row, reads it until it is cached, and has that version checked, and the one that is committed.
// It tries again if the standby had caught up before the first read, which would show nothing.
func (r *row) whileBehind(write func(*row), check func(cached, want int64)) {
	r.t.Helper()
	for range 5 {
		write(r)
		want := r.on(r.primary)
		behind := r.get() < want
		r.await("a cached value", func() bool { return r.get() > 0 && r.cached() > 0 })
		if cached := r.cached(); behind {
			check(cached, want)
			return
		}
		r.await("the standby to catch up", func() bool { return r.on(r.standby) == want })
		r.t.Log("the standby was not behind")
		must(r.rdb.Del(r.t.Context(), r.key()).Err())
	}
	r.t.Error("the standby was never behind")
}

func (r *row) await(what string, reached func() bool) {
	r.t.Helper()
	await(r.t, what, reached)
}

func await(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// must is for what only a broken set-up can fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
