package asidepg_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/asidecache/aside/asidepg"
	"github.com/asidecache/aside/internal/testserver"
)

func TestAHandlerThatFailsIsTriedAgain(t *testing.T) {
	for name, fail := range map[string]func() error{
		"by an error":          func() error { return errors.New("no luck") },
		"by a panic":           func() error { panic("no luck") },
		"by runtime.Goexit":    func() error { runtime.Goexit(); return nil },
		"by a broken promise":  func() error { return context.Canceled },
		"by an error of aside": func() error { return context.DeadlineExceeded },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			f := r.bareFeed()
			f.OnGap(r.gap)
			var well atomic.Bool
			f.On("public.products", func(ctx context.Context, c asidepg.Change) error {
				if slices.Contains(c.Int64s("id"), 2) && !well.Load() {
					r.note("failed")
					return fail()
				}
				return r.changed(ctx, c)
			})
			r.started(f)
			r.exec(`INSERT INTO products VALUES (1, 10)`)
			r.exec(`INSERT INTO products VALUES (2, 10)`)
			end := query[string](r, `SELECT pg_current_wal_insert_lsn()::text`)
			r.exec(`INSERT INTO products VALUES (3, 10)`)
			r.until("three tries", func() bool { return f.Stats().Failures >= 3 })
			equal(t, "whether Stats says so", f.Stats().Failing, true)
			equal(t, "transactions that are handled", f.Stats().Transactions, 1)
			equal(t, "whether it is confirmed", r.isConfirmed(end), false)
			well.Store(true)
			r.untilSeen("INSERT [3] in [10]")
			got := slices.DeleteFunc(r.seen(), func(e string) bool { return e == "failed" })
			equal(t, "what is handled", strings.Join(got, ", "), "INSERT [1] in [10], INSERT [2] in [10], INSERT [3] in [10]")
			r.untilConfirmed()
			equal(t, "whether Stats still says so", f.Stats().Failing, false)
			r.wantLogged("succeeds again")
			r.wantLogged("a handler of public.products")
		})
	}
}

// What a handler has not handled when the feed is stopped is handled by the next.
func TestAFeedThatIsStoppedWhileAHandlerFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.bareFeed()
	f.OnGap(r.gap)
	f.On("public.products", func(ctx context.Context, c asidepg.Change) error { return errors.New("no luck") })
	stop := r.started(f)
	r.untilSettled()
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	r.until("a failure", func() bool { return f.Stats().Failures > 0 })
	stop()
	equal(t, "whether a feed that does not run is failing", f.Stats().Failing, false)
	r.start(r.feed())
	r.sync()
	r.want("the next", "INSERT [1] in [10]")
}

// A feed that is stopped confirms what it has handled, so that the next one does not begin with what is known.
func TestAFeedThatIsStoppedHasConfirmed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.started(r.feed())
	r.untilSettled()
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	r.untilSeen("INSERT [1] in [10]")
	r.sync()
	stop()
	equal(t, "whether the slot is free", query[bool](r, `SELECT NOT active FROM pg_replication_slots WHERE slot_name = $1`, r.slot), true)
	r.forget()
	r.start(r.feed())
	r.sync()
	r.want("the next")
}

func TestOneOfSeveralFeedsHoldsTheSlot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const n = 5
	var feeds []*asidepg.Feed
	var stops []func()
	for range n { // at once, and the slot does not exist
		f := r.feed()
		feeds, stops = append(feeds, f), append(stops, r.start(f))
	}
	holder := -1
	alone := func() bool { // the one that has made it need not be the one that reads it
		holds := func(f *asidepg.Feed) bool { return f.Stats().Holds }
		holder = slices.IndexFunc(feeds, holds)
		return holder >= 0 && !slices.ContainsFunc(feeds[holder+1:], holds) && r.isRead()
	}
	r.until("one to read the slot", alone)
	r.want("the feeds, of which one has made the slot", "gap")
	r.untilSettled()
	for i := range n {
		if i > 0 {
			stops[holder]()
			r.exec(`INSERT INTO products VALUES ($1, 10)`, i)
			r.until("another one to read the slot", alone)
			r.sync()
			r.want("a handover", "INSERT ["+sprint(i)+"] in [10]")
		}
		r.until("the others to know that they do not", alone)
	}
}

func TestAFeedThatStandsBySaysWhoHoldsTheSlot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	holder, other := r.feed(), r.feed()
	r.started(holder)
	r.start(other)
	r.until("the other to know", func() bool { return other.Stats().Holder != "" })
	equal(t, "whether it holds the slot", other.Stats().Holds, false)
	r.until("the same name", func() bool { return other.Stats().Holder == holder.Stats().Holder })
	if !strings.Contains(other.Stats().Holder, "asidepg") {
		t.Errorf("the holder is %q", other.Stats().Holder)
	}
}

func TestPostgresIsRestarted(t *testing.T) {
	t.Parallel()
	server := testserver.PostgresWith(t, settings...)
	r := rigOn(t, server.DSN)
	f := r.feed()
	r.started(f)
	for i, end := range []func(){server.Stop, server.Kill} {
		r.exec(`INSERT INTO products VALUES ($1, 10)`, 2*i)
		end()
		r.until("the feed to notice", func() bool { return f.Stats().Failing })
		server.Start()
		r.db.Reset()
		r.exec(`INSERT INTO products VALUES ($1, 10)`, 2*i+1)
		r.untilSeen("INSERT [" + sprint(2*i+1) + "] in [10]")
		r.until("the end of what failed", func() bool { return !f.Stats().Failing })
	}
	r.sync()
	seen := slices.Compact(r.seen()) // at least once
	for i := range 4 {
		if !slices.Contains(seen, "INSERT ["+sprint(i)+"] in [10]") {
			t.Errorf("row %d is lost: %q", i, seen)
		}
	}
	equal(t, "whether there was a gap", slices.Contains(seen, "gap"), false)
}

func TestAFeedWaitsForAServerThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	server := testserver.PostgresWith(t, settings...)
	r := rigOn(t, server.DSN)
	server.Stop()
	f := r.feed()
	r.start(f)
	r.until("a failure", func() bool { return f.Stats().Failures > 1 })
	server.Start()
	r.db.Reset()
	r.untilSeen("gap")
}

// The connection that asks is lost while the stream is not, and the other way round.
func TestALostConnectionIsMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.feed()
	r.started(f)
	for i, kind := range []string{"walsender", "client backend"} {
		pids := query[int](r, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name LIKE 'asidepg%' AND backend_type = $1`, kind)
		equal(t, "sessions of the kind "+kind, pids, 1)
		r.exec(`INSERT INTO products VALUES ($1, 10)`, i)
		r.untilSeen("INSERT [" + sprint(i) + "] in [10]")
	}
	equal(t, "whether there was a gap", slices.Contains(r.seen(), "gap"), false)
}

// Other databases write, and this one does not: Postgres must be able to remove the log.
func TestAQuietDatabaseMovesItsSlot(t *testing.T) {
	t.Parallel()
	r, busy := newRig(t), newRig(t)
	r.started(r.feed())
	for range 3 {
		busy.exec(`INSERT INTO products SELECT coalesce(max(id), 0) + 1, 10 FROM products`)
		r.untilConfirmed()
	}
	r.want("the quiet one")
}

// Where Postgres does not say how far it has read, the feed's own messages do.
func TestAFeedMovesItsSlotByMessages(t *testing.T) {
	t.Parallel()
	r, busy := newRig(t), newRig(t)
	f := r.feed()
	asidepg.Deafen(f)
	r.started(f)
	busy.exec(`INSERT INTO products VALUES (1, 10)`)
	end := query[string](r, `SELECT pg_current_wal_insert_lsn()::text`)
	r.until("the position to be confirmed", func() bool { return r.isConfirmed(end) })
	r.want("the quiet one")
}

// The end of the log is then behind the header of a file in which nothing is written. A message for that would have a server
// that is idle begin a file each archive_timeout.
func TestAnIdleServerIsLeftAlone(t *testing.T) {
	t.Parallel()
	server := testserver.PostgresWith(t, settings...)
	r := rigOn(t, server.DSN)
	f := r.feed()
	var looks, nudges atomic.Int64
	asidepg.Step(f, func(step string) {
		switch step {
		case "look":
			looks.Add(1)
		case "nudge":
			nudges.Add(1)
		}
	})
	r.started(f)
	r.exec(`SELECT pg_switch_wal()`)
	looks.Store(0)
	r.until("some looks", func() bool { return looks.Load() > 6 })
	equal(t, "messages", nudges.Load(), 0)
	equal(t, "bytes behind", f.Stats().BytesBehind, 0)
}

func TestStatsSayHowFarTheFeedIsBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.bareFeed()
	equal(t, "how far a feed is behind that does not run", f.Stats().Behind, 0)
	f.OnGap(r.gap)
	release := make(chan struct{})
	f.On("public.products", func(ctx context.Context, c asidepg.Change) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
	r.started(f)
	r.until("the feed to have caught up", func() bool { return f.Stats().BytesBehind == 0 })
	r.exec(`INSERT INTO products SELECT i, 10 FROM generate_series(1, 100) i`)
	at := f.Stats()
	r.until("the feed to fall behind", func() bool { s := f.Stats(); return s.Behind > at.Behind && s.BytesBehind > 1000 })
	equal(t, "the slot", f.Stats().Slot, r.slot)
	close(release)
	behind := f.Stats().Behind
	r.until("the feed to catch up", func() bool { s := f.Stats(); return s.Behind < behind && s.Transactions == 1 && s.BytesBehind < 1000 })
	equal(t, "changes", f.Stats().Changes, 100)
	equal(t, "gaps", f.Stats().Gaps, 1)
	equal(t, "failures", f.Stats().Failures, 0)
}

func TestRunCannotRunTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.feed()
	r.started(f)
	err := f.Run(t.Context())
	wantError(t, err, "running already")
}

func TestAFeedCanBeRunAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.feed()
	stop := r.started(f)
	stop()
	f.On("public.products", func(context.Context, asidepg.Change) error { r.note("also"); return nil })
	r.start(f)
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	r.sync()
	r.want("the second run", "INSERT [1] in [10]", "also")
}

func TestHandlersHaveReturnedWhenRunHas(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.bareFeed(func(c *asidepg.Config) { c.Parallel = 4 })
	f.OnGap(r.gap)
	var inside atomic.Int64
	began := make(chan struct{})
	once := sync.OnceFunc(func() { close(began) })
	f.On("public.products", func(ctx context.Context, c asidepg.Change) error {
		inside.Add(1)
		defer inside.Add(-1)
		once()
		<-ctx.Done()
		return ctx.Err()
	})
	stop := r.started(f)
	r.exec(`INSERT INTO products SELECT i, 10 FROM generate_series(1, 10) i`)
	<-began
	stop()
	equal(t, "handlers that run", inside.Load(), 0)
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %q, want %q in it", err, part)
		}
	}
}
