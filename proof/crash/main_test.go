package crash_test

import (
	"context"
	"crypto/rand"
	"flag"
	"net/url"
	"os"
	"strconv"
	"strings"
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
	if told := os.Getenv(planVar); told != "" {
		beChild(told)
		return
	}
	_ = flag.Set("test.parallel", "8") // unless the command line says otherwise: the tests wait most of the time
	code := m.Run()
	shared.Stop()
	os.Exit(code)
}

// An item is the row that is written and cached.
type item struct {
	ID      int64
	Version int64
}

const firstVersion, nextVersion = 1, 2 // before the write and after it

// ddl makes the table. At COMMIT a transaction that has written a row takes the advisory lock of its id, so that whoever
// holds the lock keeps the COMMIT in flight.
const ddl = `
	CREATE TABLE item (id bigint PRIMARY KEY, version bigint NOT NULL, note text NOT NULL DEFAULT '');
	CREATE FUNCTION lock_id() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_xact_lock(NEW.id); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER at_commit AFTER UPDATE ON item DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION lock_id();`

func selectItem(db *pgxpool.Pool) aside.Loader[int64, item] {
	return func(ctx context.Context, id int64) (i item, err error) {
		err = db.QueryRow(ctx, `SELECT id, version FROM item WHERE id = $1`, id).Scan(&i.ID, &i.Version)
		return i, err
	}
}

// servers are those that all tests share, and the clients of the test process.
type servers struct {
	dsn   string
	redis string
	db    *pgxpool.Pool
	rdb   *redis.Client
	cache *aside.Cache[int64, item]
}

var shared = testserver.Shared[*servers]{Start: func(t testing.TB) *servers {
	s := &servers{redis: testserver.Redis(t).Addr, dsn: ownSchema(t, testserver.Postgres(t).DSN)}
	s.db = openDB(t.Context(), s.dsn, 16)
	t.Cleanup(s.db.Close)
	_, err := s.db.Exec(t.Context(), ddl)
	must(err)
	s.rdb = redis.NewClient(&redis.Options{Addr: s.redis})
	t.Cleanup(func() { s.rdb.Close() })
	s.cache = newCache(s.rdb, selectItem(s.db), append(plan{Near: true}.near(0), patient)...)
	return s
}}

// ownSchema makes a schema in a database that others may use too, and returns dsn for it.
func ownSchema(t testing.TB, dsn string) string {
	db := openDB(t.Context(), dsn, 1)
	name := "crash_test_" + strings.ToLower(rand.Text())
	_, err := db.Exec(t.Context(), `CREATE SCHEMA `+name)
	must(err)
	t.Cleanup(func() {
		_, _ = db.Exec(context.Background(), `DROP SCHEMA `+name+` CASCADE`)
		db.Close()
	})
	return withParam(dsn, "search_path", name)
}

func withParam(dsn, name, value string) string {
	u, err := url.Parse(dsn)
	must(err)
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// openDB bounds the connections of a process: Postgres takes 100 of them all by default.
func openDB(ctx context.Context, dsn string, connections int) *pgxpool.Pool {
	db, err := pgxpool.New(ctx, withParam(dsn, "pool_max_conns", strconv.Itoa(connections)))
	must(err)
	return db
}

// near are the options of a process that keeps so many near copies, for longer than a test takes.
func (p plan) near(entries int) []aside.Option {
	if !p.Near {
		return nil
	}
	return []aside.Option{aside.WithNear(entries, time.Hour)}
}

func newCache(rdb *redis.Client, load aside.Loader[int64, item], opts ...aside.Option) *aside.Cache[int64, item] {
	c, err := aside.New(rdb, "item", load, opts...)
	must(err)
	return c
}

// must is for what only a broken set-up can fail, in all processes.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
