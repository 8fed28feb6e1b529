package asidepg_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/asidecache/aside/asidepg"
)

func TestAForeignWriteReachesItsHandler(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.started(r.feed())
	r.exec(`INSERT INTO products VALUES (1, 10, 'lamp')`)
	r.exec(`UPDATE products SET name = 'desk lamp' WHERE id = 1`)
	r.exec(`UPDATE products SET category_id = 20 WHERE id = 1`)
	r.exec(`UPDATE products SET id = 2 WHERE id = 1`)
	r.exec(`DELETE FROM products WHERE id = 2`)
	r.sync()
	r.want("five statements of psql",
		"INSERT [1] in [10]",
		"UPDATE [1] in [10]",
		"UPDATE [1] in [10 20]", // a move has two lists
		"UPDATE [1 2] in [20]",
		"DELETE [2] in [20]")
}

func TestTransactionsComeInTheOrderOfTheirCommits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.started(r.feed())
	first, err := r.db.Begin(t.Context())
	fatal(t, err)
	_, err = first.Exec(t.Context(), `INSERT INTO products VALUES (1, 10)`)
	fatal(t, err)
	r.exec(`INSERT INTO products VALUES (2, 10)`)
	r.exec(`INSERT INTO products VALUES (3, 10)`)
	fatal(t, first.Commit(t.Context()))
	r.sync()
	r.want("a transaction that began first and committed last", "INSERT [2] in [10]", "INSERT [3] in [10]", "INSERT [1] in [10]")
}

func TestWhatIsRolledBackReachesNoHandler(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.started(r.feed())
	r.exec(`BEGIN; INSERT INTO products VALUES (1, 10); ROLLBACK`)
	r.exec(`BEGIN;
		INSERT INTO products VALUES (2, 10);
		SAVEPOINT a; INSERT INTO products VALUES (3, 10); ROLLBACK TO a;
		SAVEPOINT b; INSERT INTO products VALUES (4, 10); RELEASE b;
		SELECT pg_logical_emit_message(true, 'aside', 'kept');
		SAVEPOINT c; SELECT pg_logical_emit_message(true, 'aside', 'undone'); ROLLBACK TO c;
		COMMIT`)
	r.sync()
	r.want("savepoints", "INSERT [2] in [10]", "INSERT [4] in [10]", "message kept")
}

func TestAPreparedTransactionCountsWhenItIsCommitted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.started(r.feed())
	name := r.slot
	r.exec(`BEGIN; INSERT INTO products VALUES (1, 10); PREPARE TRANSACTION '` + name + `_1'`)
	r.exec(`BEGIN; INSERT INTO products VALUES (2, 10); PREPARE TRANSACTION '` + name + `_2'`)
	r.sync()
	r.want("two that are prepared")
	r.exec(`ROLLBACK PREPARED '` + name + `_1'`)
	r.exec(`COMMIT PREPARED '` + name + `_2'`)
	r.sync()
	r.want("one that is committed", "INSERT [2] in [10]")
}

func TestCopyReachesItsHandler(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.started(r.feed())
	_, err := r.db.CopyFrom(t.Context(), pgx.Identifier{"products"}, []string{"id", "category_id"},
		pgx.CopyFromRows([][]any{{int64(1), int64(10)}, {int64(2), int64(20)}}))
	fatal(t, err)
	r.sync()
	r.want("a COPY of two rows", "INSERT [1] in [10]", "INSERT [2] in [20]")
}

// A transaction of 100,000 rows is 100 MB in the stream. The feed holds a few of them at a time.
func TestAHugeTransactionNeedsLittleMemory(t *testing.T) {
	r := newRig(t) // alone: it measures memory
	var rows, peak, sum atomic.Int64
	f := r.bareFeed(func(c *asidepg.Config) { c.Parallel = 16 })
	f.OnGap(r.gap)
	f.On("public.products", func(_ context.Context, c asidepg.Change) error {
		if rows.Add(1)%5000 == 0 {
			peak.Store(max(peak.Load(), heap()))
		}
		for _, id := range c.Int64s("id") {
			sum.Add(id)
		}
		return nil
	})
	r.started(f)
	before := heap()
	r.exec(`INSERT INTO products SELECT i, i % 100, '', repeat('x', 1000) FROM generate_series(1, 100000) i`)
	r.until("all rows", func() bool { return rows.Load() == 100_000 && f.Stats().Transactions == 1 })
	equal(t, "the sum of the ids", sum.Load(), 100_000*100_001/2)
	if grown := peak.Load() - before; grown > 32<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestChangesOfOneTransactionAreHandledSideBySide(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.bareFeed(func(c *asidepg.Config) { c.Parallel = 4 })
	f.OnGap(r.gap)
	var inside atomic.Int64
	together, after := make(chan struct{}), make(chan struct{})
	f.On("public.products", func(ctx context.Context, c asidepg.Change) error {
		switch n := inside.Add(1); {
		case n == 4:
			close(together)
		case n == 5: // the first of the next transaction
			close(after)
		}
		<-together // that all four are in here is what the test shows
		return nil
	})
	r.started(f)
	r.exec(`INSERT INTO products SELECT i, 10 FROM generate_series(1, 4) i`)
	<-together
	r.exec(`INSERT INTO products VALUES (5, 10)`)
	<-after
}

func TestNoMoreChangesThanParallelAreHandledAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.bareFeed(func(c *asidepg.Config) { c.Parallel = 2 })
	f.OnGap(r.gap)
	var inside, looks atomic.Int64
	asidepg.Step(f, func(step string) {
		if step == "look" {
			looks.Add(1)
		}
	})
	release := make(chan struct{})
	f.On("public.products", func(ctx context.Context, c asidepg.Change) error {
		inside.Add(1)
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
	r.started(f)
	r.exec(`INSERT INTO products SELECT i, 10 FROM generate_series(1, 100) i`)
	r.until("two handlers", func() bool { return inside.Load() == 2 })
	looks.Store(0)
	r.until("a second or two", func() bool { return looks.Load() == 2 })
	equal(t, "handlers that run", inside.Load(), 2)
	equal(t, "rows that have been read, of which one waits", f.Stats().Changes, 3)
	close(release)
	r.until("all rows", func() bool { return inside.Load() == 100 })
}

func TestATransactionIsHandledAfterTheOneBeforeIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.bareFeed(func(c *asidepg.Config) { c.Parallel = 16 })
	f.OnGap(r.gap)
	release := make(chan struct{})
	f.On("public.products", func(ctx context.Context, c asidepg.Change) error {
		if slices.Contains(c.Int64s("id"), 1) {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return r.changed(ctx, c)
	})
	stop := r.started(f)
	r.exec(`INSERT INTO products SELECT i, 10 FROM generate_series(1, 3) i`)
	r.exec(`INSERT INTO products VALUES (4, 10)`)
	r.until("two rows of the first transaction", func() bool { return len(r.seen()) == 2 })
	close(release)
	r.until("all rows", func() bool { return len(r.seen()) == 4 })
	stop()
	equal(t, "the last that was handled", r.seen()[3], "INSERT [4] in [10]")
	equal(t, "the one before", r.seen()[2], "INSERT [1] in [10]")
}

func TestAMessageReachesItsHandler(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.started(r.feed())
	r.exec(`SELECT pg_logical_emit_message(true, 'other', 'not ours')`)
	r.exec(`BEGIN; SELECT pg_logical_emit_message(true, 'aside', 'product:1234'); INSERT INTO products VALUES (1, 10); COMMIT`)
	r.exec(`BEGIN; SELECT pg_logical_emit_message(false, 'aside', 'at once'); ROLLBACK`)
	r.sync()
	r.want("messages", "message product:1234", "INSERT [1] in [10]", "message at once")
}

func TestAFeedOfMessagesNeedsNoTable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`ALTER PUBLICATION aside DROP TABLE products`)
	f := r.bareFeed()
	f.OnGap(r.gap)
	f.OnMessage("aside", func(_ context.Context, m asidepg.Message) error {
		r.note("message " + string(m.Content))
		return nil
	})
	r.started(f)
	r.exec(`SELECT pg_logical_emit_message(true, 'aside', 'product:1')`)
	r.sync()
	r.want("a message", "message product:1")
}

func TestEachHandlerOfATableIsCalled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.feed()
	f.On("public.products", func(_ context.Context, c asidepg.Change) error {
		r.note("the second")
		return nil
	})
	r.started(f)
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	r.sync()
	r.want("one row", "INSERT [1] in [10]", "the second")
}

func TestAChangeTellsBothRows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.bareFeed()
	f.OnGap(r.gap)
	show := func(row asidepg.Row) string {
		if !row.Exists() {
			return "none"
		}
		id, _ := row.Int64("id")
		name, ok := row.Text("name")
		return fmt.Sprint(id, " ", name, " ", ok)
	}
	f.On("public.products", func(_ context.Context, c asidepg.Change) error {
		upper := asidepg.Values(c, "name", func(s string) (string, error) { return strings.ToUpper(s), nil })
		r.note(fmt.Sprintf("%s %s: %s, %s; %v %v %v", c.Table, c.Op, show(c.Old), show(c.New), c.Strings("name"), upper, c.Committed.IsZero()))
		return nil
	})
	r.started(f)
	r.exec(`INSERT INTO products VALUES (1, 10, NULL)`)
	r.exec(`UPDATE products SET name = 'lamp' WHERE id = 1`)
	r.exec(`UPDATE products SET name = 'desk' WHERE id = 1`)
	r.exec(`DELETE FROM products WHERE id = 1`)
	r.until("four changes", func() bool { return len(r.seen()) == 4 })
	r.want("old and new",
		"public.products INSERT: none, 1  false; [] [] false",
		"public.products UPDATE: 1  false, 1 lamp true; [lamp] [LAMP] false",
		"public.products UPDATE: 1 lamp true, 1 desk true; [lamp desk] [LAMP DESK] false",
		"public.products DELETE: 1 desk true, none; [desk] [DESK] false")
}
