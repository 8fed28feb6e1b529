package asidepg_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/asidecache/aside/asidepg"
	"github.com/asidecache/aside/internal/testserver"
)

func TestMain(m *testing.M) {
	logging.Disable()
	if plan := os.Getenv(planVar); plan != "" {
		beChild(plan)
		return
	}
	_ = flag.Set("test.parallel", "8") // unless the command line says otherwise: the tests wait most of the time
	code := m.Run()
	shared.Stop()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// settings are of every server here.
var settings = []string{"wal_level=logical", "max_replication_slots=40", "max_wal_senders=40", "max_connections=200", "max_prepared_transactions=10"}

// shared is the server of the tests that have nothing but a database of their own.
var shared = testserver.Shared[*testserver.OwnPostgres]{Start: func(t testing.TB) *testserver.OwnPostgres {
	return testserver.PostgresWith(t, settings...)
}}

// A rig is a database with tables, a publication of all of them, and what the handlers of feeds have been called with.
type rig struct {
	t      *testing.T
	dsn    string
	db     *pgxpool.Pool
	slot   string
	logged *logged

	mu     sync.Mutex // guards the rest
	events []string
	marks  map[string]bool // messages of sync
}

const ddl = `
	CREATE TABLE products (id bigint PRIMARY KEY, category_id bigint NOT NULL, name text, note text);
	ALTER TABLE products REPLICA IDENTITY FULL;
	CREATE PUBLICATION aside FOR TABLE products WITH (publish_via_partition_root = true);`

// newRig is a rig with the table public.products, on the shared server.
func newRig(t *testing.T) *rig {
	t.Helper()
	server := shared.Get(t)
	name := "db_" + strings.ToLower(rand.Text())
	admin := connect(t, server.DSN)
	_, err := admin.Exec(t.Context(), `CREATE DATABASE `+name)
	must(err)
	t.Cleanup(func() {
		ctx := context.Background()
		_, err := admin.Exec(ctx, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1 AND NOT active`, name)
		_, err2 := admin.Exec(ctx, `DROP DATABASE `+name+` WITH (FORCE)`)
		if err = errors.Join(err, err2); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(server.DSN)
	must(err)
	u.Path = "/" + name
	return rigOn(t, u.String())
}

// rigOn is a rig on a database that is empty.
func rigOn(t *testing.T, dsn string) *rig {
	t.Helper()
	r := &rig{t: t, dsn: dsn, db: connect(t, dsn), slot: "slot_" + strings.ToLower(rand.Text()), logged: new(logged), marks: make(map[string]bool)}
	r.exec(ddl)
	return r
}

func connect(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(dsn)
	must(err)
	config.MaxConns = 10
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	must(err)
	t.Cleanup(db.Close)
	return db
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	if len(args) > 0 {
		_, err := r.db.Exec(r.t.Context(), sql, args...)
		fatal(r.t, err)
		return
	}
	_, err := r.db.Exec(r.t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	fatal(r.t, err)
}

// query returns the only value of a query.
func query[T any](r *rig, sql string, args ...any) (value T) {
	r.t.Helper()
	fatal(r.t, r.db.QueryRow(r.t.Context(), sql, args...).Scan(&value))
	return value
}

// feed is a feed with handlers for products, for gaps and for messages of the prefix "aside", all of which note events.
func (r *rig) feed(change ...func(*asidepg.Config)) *asidepg.Feed {
	r.t.Helper()
	f := r.bareFeed(change...)
	f.On("public.products", r.changed)
	f.OnGap(r.gap)
	f.OnMessage("aside", func(_ context.Context, m asidepg.Message) error {
		r.note("message " + string(m.Content))
		return nil
	})
	return f
}

func (r *rig) bareFeed(change ...func(*asidepg.Config)) *asidepg.Feed {
	r.t.Helper()
	config := asidepg.Config{Slot: r.slot, Publication: "aside", Parallel: 1, Logger: slog.New(slog.NewTextHandler(r.logged, nil))}
	for _, c := range change {
		c(&config)
	}
	f, err := asidepg.New(r.dsn, config)
	fatal(r.t, err)
	return f
}

// changed notes a change of products: UPDATE 1 [2 3] is product 1, which moved from category 2 to 3.
func (r *rig) changed(_ context.Context, c asidepg.Change) error {
	r.note(fmt.Sprint(c.Op, " ", c.Int64s("id"), " in ", c.Int64s("category_id")))
	return nil
}

func (r *rig) gap(context.Context) error {
	r.note("gap")
	return nil
}

func (r *rig) note(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(event, "message mark ") {
		r.marks[event] = true
		return
	}
	r.events = append(r.events, event)
}

// seen is what has been noted since the last call of forget.
func (r *rig) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *rig) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}

// start runs a feed until the test ends, or until stop, which returns when Run has.
func (r *rig) start(f *asidepg.Feed) (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				r.t.Errorf("Run: %v", err)
			}
		case <-time.After(time.Minute):
			r.t.Error("Run does not end")
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// started is start of a feed that makes its slot, and forgets the gap of that.
func (r *rig) started(f *asidepg.Feed) (stop func()) {
	r.t.Helper()
	stop = r.start(f)
	r.untilReading(f)
	r.forget()
	return stop
}

// untilReading waits until the feed reads its slot.
func (r *rig) untilReading(f *asidepg.Feed) {
	r.t.Helper()
	r.until("the feed to read its slot", func() bool {
		return f.Stats().Holds && r.isRead()
	})
}

// isRead reports whether a feed reads the slot.
func (r *rig) isRead() bool {
	return query[bool](r, `SELECT EXISTS (SELECT FROM pg_replication_slots s
		JOIN pg_stat_replication a ON a.pid = s.active_pid WHERE s.slot_name = $1 AND confirmed_flush_lsn IS NOT NULL)`, r.slot)
}

// sync waits until everything that has been committed is handled.
func (r *rig) sync() {
	r.t.Helper()
	mark := "message mark " + rand.Text()
	r.exec(`SELECT pg_logical_emit_message(true, 'aside', $1)`, strings.TrimPrefix(mark, "message "))
	r.until("a mark", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.marks[mark]
	})
}

func (r *rig) untilSeen(event string) {
	r.t.Helper()
	r.until(event, func() bool { return slices.Contains(r.seen(), event) })
}

func (r *rig) until(what string, reached func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !reached(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("waited in vain for %s\nseen: %q\nlog:\n%s", what, r.seen(), r.logged)
		}
	}
}

// want compares what has been noted, and forgets it.
func (r *rig) want(what string, events ...string) {
	r.t.Helper()
	if got := r.seen(); !slices.Equal(got, events) {
		r.t.Errorf("%s: the handlers saw\n%q, want\n%q\nlog:\n%s", what, got, events, r.logged)
	}
	r.forget()
}

// untilConfirmed waits until the feed has confirmed whatever has been committed.
func (r *rig) untilConfirmed() {
	r.t.Helper()
	end := query[string](r, `SELECT pg_current_wal_insert_lsn()::text`)
	r.until("the position to be confirmed", func() bool { return r.isConfirmed(end) })
}

func (r *rig) isConfirmed(at string) bool {
	r.t.Helper()
	return query[bool](r, `SELECT confirmed_flush_lsn >= $2::pg_lsn FROM pg_replication_slots WHERE slot_name = $1`, r.slot, at)
}

// untilSettled waits until the slot has passed the statements that made the tables: until then a feed that takes the slot may
// take them for later than the slot, which is a gap.
func (r *rig) untilSettled() {
	r.t.Helper()
	r.until("the slot to be past the tables", func() bool {
		r.exec(`CHECKPOINT`)
		r.untilConfirmed()
		return query[bool](r, `SELECT min(age(a.xmin)) > max(age(s.catalog_xmin)) FROM pg_replication_slots s,
			(SELECT xmin FROM pg_attribute WHERE attrelid = 'products'::regclass UNION ALL SELECT xmin FROM pg_publication UNION ALL SELECT xmin FROM pg_publication_rel) a
			WHERE s.slot_name = $1`, r.slot)
	})
}

// A logged is what a feed has logged.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (r *rig) wantLogged(text string) {
	r.t.Helper()
	r.until("the log to have "+text, func() bool { return strings.Contains(r.logged.String(), text) })
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must is for what only a broken set-up can fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func sprint[T any](v T) string { return fmt.Sprint(v) }
