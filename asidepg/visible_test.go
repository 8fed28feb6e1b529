package asidepg_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidepg"
	"github.com/asidecache/aside/internal/testserver"
)

func TestASnapshotSeesWhatHasEnded(t *testing.T) {
	const wrapped = 1 << 32
	for _, c := range []struct {
		snapshot string
		xid      uint32
		want     bool
	}{
		{"100:100:", 99, true},
		{"100:100:", 100, false},
		{"100:100:", 101, false},
		{"90:100:90,95", 89, true},
		{"90:100:90,95", 90, false},
		{"90:100:90,95", 91, true},
		{"90:100:90,95", 95, false},
		// A cluster that has used 2^32 ids and more.
		{fmt.Sprintf("%d:%d:", wrapped+100, wrapped+100), 99, true},
		{fmt.Sprintf("%d:%d:", wrapped+100, wrapped+100), 100, false}, // as xid8, 100 is far below
		{fmt.Sprintf("%d:%d:%d", wrapped+90, wrapped+100, wrapped+95), 95, false},
		{fmt.Sprintf("%d:%d:", 5*wrapped+100, 5*wrapped+100), 101, false},
		// The ids begin again: 4294967290 is older than 10.
		{fmt.Sprintf("%d:%d:", wrapped+10, wrapped+10), 4294967290, true},
		{fmt.Sprintf("%d:%d:%d", wrapped-6, wrapped+10, wrapped-6), 4294967290, false},
		{fmt.Sprintf("%d:%d:", uint64(wrapped-6), uint64(wrapped-6)), 5, false}, // and 5 newer than 4294967290
		{fmt.Sprintf("%d:%d:", uint64(wrapped-6), uint64(wrapped-6)), 4294967289, true},
		{"4294967295:4294967295:", 4294967295, false},
		{"2147483648:2147483648:", 1, true},
		{"2147483658:2147483658:", 1, false}, // more than half of all ids ago: none is that old, so it is not
	} {
		got, err := asidepg.Sees(c.snapshot, c.xid)
		if err != nil || got != c.want {
			t.Errorf("%s sees %d: %v, %v, want %v", c.snapshot, c.xid, got, err, c.want)
		}
	}
}

func TestWhatIsNoSnapshotSeesNothing(t *testing.T) {
	for _, text := range []string{"", "1", "1:2", "1:2:3:4", "a:2:", "1:b:", "1:2:c", "1:2:3,,4x", ":200:", "100::"} {
		if sees, err := asidepg.Sees(text, 1); err == nil || sees {
			t.Errorf("%q: %v, %v", text, sees, err)
		}
	}
}

// A cluster that has used 2^32 ids: snapshots have another upper half, and the stream has none.
func TestAClusterThatHasUsedAllIdsOnce(t *testing.T) {
	t.Parallel()
	server := testserver.PostgresWith(t, settings...)
	server.Stop()
	if out, err := server.Run("pg_resetwal", "--epoch=3", "-D", server.Data); err != nil {
		t.Fatal(err, out)
	}
	server.Start()
	r := rigOn(t, server.DSN)
	equal(t, "whether ids are past 2^33", query[bool](r, `SELECT pg_current_xact_id()::text::numeric > 8589934592`), true)
	f := r.feed()
	r.started(f)
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	r.sync()
	r.want("a row", "INSERT [1] in [10]")
}

// The ids begin again while the feed runs: the stream goes from 4294967295 to 3.
func TestIdsBeginAgain(t *testing.T) {
	t.Parallel()
	server := testserver.PostgresWith(t, append(settings, "autovacuum=off")...)
	r := rigOn(t, server.DSN)
	r.exec(`VACUUM FREEZE`) // else what is there would be of the future
	server.Stop()
	const pages = 256 << 10 // of the last file of the commit log
	fatal(t, os.WriteFile(filepath.Join(server.Data, "pg_xact", "0FFF"), make([]byte, pages), 0o666))
	if out, err := server.Run("pg_resetwal", "--next-transaction-id=4294967200", "--oldest-transaction-id=4294967100", "-D", server.Data); err != nil {
		t.Fatal(err, out)
	}
	server.Start()
	r.db.Reset()
	f := r.feed()
	r.started(f)
	first := query[string](r, `SELECT pg_current_xact_id()::text`)
	for i := range 200 {
		r.exec(`INSERT INTO products VALUES ($1, 10)`, i)
	}
	last := query[string](r, `SELECT pg_current_xact_id()::text`)
	if len(first) != 10 || first[:7] != "4294967" || last < "4294967296" || len(last) != 10 {
		t.Fatalf("ids went from %s to %s, which is not past 2^32", first, last)
	}
	r.until("all rows", func() bool { return len(r.seen()) >= 200 })
	for i, event := range r.seen() {
		if want := "INSERT [" + sprint(i) + "] in [10]"; event != want {
			t.Fatalf("event %d is %q, want %q", i, event, want)
		}
	}
}

// synchronous is a rig whose commits wait for a standby to have applied them, which pause holds up.
type synchronous struct {
	*rig
	standby *rig
}

func newSynchronous(t *testing.T) *synchronous {
	t.Helper()
	server := testserver.PostgresWith(t, settings...)
	r := rigOn(t, server.DSN)
	standby := server.Standby("standby", "max_standby_streaming_delay=-1")
	r.exec(`ALTER SYSTEM SET synchronous_standby_names = 'standby'`)
	r.exec(`ALTER SYSTEM SET synchronous_commit = remote_apply`)
	r.exec(`SELECT pg_reload_conf()`)
	r.until("the standby", func() bool {
		return query[bool](r, `SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = 'standby' AND sync_state = 'sync')`)
	})
	return &synchronous{rig: r, standby: &rig{t: t, dsn: standby.DSN, db: connect(t, standby.DSN), logged: new(logged)}}
}

// pause holds up what is committed from now on: it is in the log, and no other session sees it.
func (s *synchronous) pause()  { s.standby.exec(`SELECT pg_wal_replay_pause()`) }
func (s *synchronous) resume() { s.standby.exec(`SELECT pg_wal_replay_resume()`) }

// committing commits an UPDATE, and returns when it has got as far as it gets while the standby pauses.
func (s *synchronous) committing(sql string) (committed <-chan error) {
	s.t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := s.db.Exec(context.Background(), sql)
		done <- err
	}()
	s.until("the commit to wait for the standby", func() bool {
		return query[bool](s.rig, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')`)
	})
	return done
}

type product struct {
	ID   int64
	Name string
}

// With a synchronous standby, a commit is in the stream a round trip before anybody sees it. A feed that does not wait
// invalidates too early: the next read caches the old row, and nothing invalidates it again.
func TestACommitIsHandledWhenItCanBeSeen(t *testing.T) {
	for _, gated := range []bool{false, true} {
		t.Run(fmt.Sprint("gated ", gated), func(t *testing.T) {
			t.Parallel()
			s := newSynchronous(t)
			products := s.products(testserver.Redis(t).Addr)
			s.exec(`INSERT INTO products VALUES (1, 10, 'old')`)

			f := s.bareFeed()
			if !gated {
				asidepg.Ungate(f)
			}
			f.OnGap(func(ctx context.Context) error { return products.InvalidateAll(ctx) })
			f.On("public.products", func(ctx context.Context, c asidepg.Change) error {
				err := products.Invalidate(ctx, c.Int64s("id")...)
				s.note("invalidated")
				return err
			})
			var hidden, began atomic.Int64
			asidepg.Step(f, func(step string) {
				switch step {
				case "hidden":
					hidden.Add(1)
				case "begin":
					began.Add(1)
				}
			})
			s.started(f)
			s.until("the feed to have caught up", func() bool { return f.Stats().BytesBehind == 0 })
			s.forget()

			equal(t, "what is cached at first", get(t, products), "old")
			s.pause()
			committed := s.committing(`UPDATE products SET name = 'new' WHERE id = 1`)
			s.until("the commit in the stream", func() bool { return began.Load() > 0 })
			if gated {
				s.until("three looks", func() bool { return hidden.Load() >= 3 })
				s.want("handlers that have run while nobody sees the commit")
			} else {
				s.untilSeen("invalidated")
			}
			equal(t, "what is read while nobody sees the commit", get(t, products), "old")
			s.resume()
			fatal(t, <-committed)
			if gated {
				s.untilSeen("invalidated")
				equal(t, "what is read after the invalidation", get(t, products), "new")
				return
			}
			s.until("the feed to have caught up", func() bool { return f.Stats().BytesBehind == 0 })
			equal(t, "what is read for the rest of the TTL, without the gate", get(t, products), "old")
		})
	}
}

// products is a cache of products, in a Redis.
func (r *rig) products(redisAddr string) *aside.Cache[int64, product] {
	r.t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: redisAddr, DialerRetries: 1})
	r.t.Cleanup(func() { rdb.Close() })
	load := func(ctx context.Context, id int64) (p product, err error) {
		err = r.db.QueryRow(ctx, `SELECT id, coalesce(name, '') FROM products WHERE id = $1`, id).Scan(&p.ID, &p.Name)
		return p, err
	}
	products, err := aside.New(rdb, "product", load, aside.WithTTL(time.Hour))
	fatal(r.t, err)
	r.t.Cleanup(func() { products.Close() })
	return products
}

// get returns the name of product 1, as it is cached.
func get(t *testing.T, products *aside.Cache[int64, product]) string {
	t.Helper()
	p, err := products.Get(t.Context(), 1)
	fatal(t, err)
	return p.Name
}

func TestRedisIsDownForAWhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := testserver.Redis(t)
	products := r.products(server.Addr)
	r.exec(`INSERT INTO products VALUES (1, 10, 'old')`)
	f := r.bareFeed()
	f.OnGap(func(ctx context.Context) error { return products.InvalidateAll(ctx) })
	f.On("public.products", func(ctx context.Context, c asidepg.Change) error { return products.Invalidate(ctx, c.Int64s("id")...) })
	r.started(f)
	// Another process reads: the failed invalidation of the feed's own process does not keep it from what is cached.
	reader := r.products(server.Addr)
	r.until("a cached row", func() bool { return get(t, reader) == "old" && reader.Stats().Hits > 0 })
	server.Stop()
	r.exec(`UPDATE products SET name = 'new' WHERE id = 1`)
	r.until("two failures", func() bool { return f.Stats().Failures >= 2 })
	equal(t, "transactions that are handled", f.Stats().Transactions, 0)
	server.Continue()
	r.until("the transaction to be handled", func() bool { return f.Stats().Transactions == 1 })
	equal(t, "what the other process reads", get(t, reader), "new")
}
