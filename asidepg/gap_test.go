package asidepg_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidecache/aside/asidepg"
	"github.com/asidecache/aside/internal/testserver"
)

func TestANewSlotIsAGap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	f := r.feed()
	stop := r.start(f)
	r.untilReading(f)
	r.sync()
	r.want("a feed that has made its slot", "gap")
	r.untilSettled()
	stop()
	r.exec(`INSERT INTO products VALUES (2, 10)`)
	r.start(r.feed())
	r.sync()
	r.want("one that has found it", "INSERT [2] in [10]")
}

func TestASlotThatWasDroppedIsAGap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.started(r.feed())
	stop()
	r.exec(`SELECT pg_drop_replication_slot('` + r.slot + `')`)
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	f := r.feed()
	r.start(f)
	r.untilReading(f)
	r.sync()
	r.want("a feed whose slot was dropped", "gap")
}

// Between the time when the new slot begins and the gap, a write counts for one of the two at least.
func TestAWriteWhileTheSlotIsMadeIsNotLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.feed()
	asidepg.Step(f, func(step string) {
		if step == "gap handled" {
			r.exec(`INSERT INTO products VALUES (1, 10)`)
		}
	})
	r.start(f)
	r.untilReading(f)
	r.sync()
	r.want("a row that was inserted right after the gap", "gap", "INSERT [1] in [10]")
}

// A transaction whose commit is earlier than the slot, and that nobody sees yet, is in no stream. So the gap is told when it can be seen.
func TestTheGapOfANewSlotWaitsForTransactionsThatWereOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	var open atomic.Bool
	tx, err := r.db.Begin(ctx)
	fatal(t, err)
	defer tx.Rollback(context.Background())
	f := r.bareFeed()
	f.On("public.products", r.changed)
	f.OnGap(func(context.Context) error {
		if open.Load() {
			r.note("the gap came too early")
		}
		return r.gap(ctx)
	})
	asidepg.Step(f, func(step string) {
		if step == "slot made" {
			_, err := tx.Exec(ctx, `INSERT INTO products VALUES (1, 10)`)
			must(err)
			open.Store(true)
		}
	})
	r.start(f)
	r.until("the open transaction", open.Load)
	time.Sleep(50 * time.Millisecond) // in which a feed that did not wait would have told the gap; nothing else depends on it
	open.Store(false)
	fatal(t, tx.Commit(ctx))
	r.untilSeen("INSERT [1] in [10]")
	r.want("a transaction that was open", "gap", "INSERT [1] in [10]")
}

func TestATruncateIsAGap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`CREATE TABLE other (id bigint PRIMARY KEY); ALTER PUBLICATION aside ADD TABLE other`)
	r.started(r.feed())
	r.exec(`BEGIN; INSERT INTO products VALUES (1, 10); TRUNCATE products; INSERT INTO products VALUES (2, 10); COMMIT`)
	r.exec(`TRUNCATE other`)
	r.sync()
	r.want("a TRUNCATE between two rows", "INSERT [1] in [10]", "gap", "INSERT [2] in [10]")
}

func TestAnAlteredTableIsAGap(t *testing.T) {
	for name, alter := range map[string]string{
		"whose rows are rewritten":                         `ALTER TABLE products ALTER category_id TYPE int`,
		"whose rows are rewritten and whose types are not": `ALTER TABLE products ALTER category_id TYPE bigint USING category_id + 1`,
		"which has another column":                         `ALTER TABLE products ADD extra int DEFAULT 1`,
		"which has a column less":                          `ALTER TABLE products DROP note`,
		"which is another table":                           `ALTER TABLE products RENAME TO was; CREATE TABLE products (LIKE was INCLUDING ALL); ALTER PUBLICATION aside ADD TABLE products`,
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				name string
				do   func(r *rig)
			}{
				{"while the feed reads", func(r *rig) {
					f := r.feed()
					r.started(f)
					r.sync()
					r.exec(alter)
					r.untilSeen("gap")
				}},
				{"before a row, while the feed reads", func(r *rig) {
					r.started(r.feed())
					r.exec(`INSERT INTO products VALUES (1, 10)`)
					r.sync()
					r.forget()
					r.exec(alter)
					r.exec(`INSERT INTO products VALUES (2, 10)`)
					r.untilSeen("gap")
				}},
				{"while no feed runs", func(r *rig) {
					stop := r.started(r.feed())
					r.sync()
					stop()
					r.exec(alter)
					r.start(r.feed())
					r.untilSeen("gap")
				}},
				{"while the feed reads, and is then replaced by another process", func(r *rig) {
					stop := r.started(r.feed())
					r.sync()
					r.exec(alter)
					stop()
					r.start(r.feed())
					r.untilSeen("gap")
				}},
			} {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					r := newRig(t)
					r.exec(`INSERT INTO products VALUES (0, 0)`)
					c.do(r)
				})
			}
		})
	}
}

// The row that tells of the ALTER TABLE is handled after the gap.
func TestAnAlteredTableIsAGapBeforeItsNextRow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.feed()
	r.started(f)
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	r.sync()
	r.forget()
	r.exec(`BEGIN; ALTER TABLE products ADD extra int DEFAULT 1; INSERT INTO products VALUES (2, 10); COMMIT`)
	r.sync()
	seen := r.seen()
	if len(seen) < 2 || seen[0] != "gap" {
		t.Errorf("seen: %q", seen)
	}
}

func TestAnAlteredTableIsOneGapOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.feed()
	r.started(f)
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	r.sync()
	r.untilConfirmed()
	r.forget()
	r.exec(`ALTER TABLE products ADD extra int DEFAULT 1`)
	r.untilSeen("gap")
	r.untilReading(f)
	r.exec(`INSERT INTO products VALUES (2, 10)`)
	r.sync()
	r.untilConfirmed()
	r.want("an ALTER TABLE", "gap", "INSERT [2] in [10]")
}

func TestATableThatWasOutOfThePublicationIsAGap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.started(r.feed())
	r.sync()
	stop()
	r.exec(`ALTER PUBLICATION aside DROP TABLE products`)
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	r.exec(`ALTER PUBLICATION aside ADD TABLE products`)
	r.start(r.feed())
	r.untilSeen("gap")
}

// With little to keep, Postgres invalidates a slot whose feed is away.
func TestASlotThatPostgresHasInvalidatedIsAGap(t *testing.T) {
	t.Parallel()
	server := testserver.PostgresWith(t, append(settings, "max_slot_wal_keep_size=1MB", "min_wal_size=32MB", "max_wal_size=32MB")...)
	r := rigOn(t, server.DSN)
	stop := r.started(r.feed())
	stop()
	for r.status() != "lost" {
		r.exec(`INSERT INTO products SELECT coalesce(max(id), 0) + 1, 10, '' FROM products`)
		r.exec(`SELECT pg_switch_wal()`)
		r.exec(`CHECKPOINT`)
	}
	f := r.feed()
	r.start(f)
	r.untilReading(f)
	r.sync()
	r.want("a slot that is lost", "gap")
	equal(t, "its status", r.status(), "reserved")
}

func (r *rig) status() string {
	return query[string](r, `SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1`, r.slot)
}

// A server that recovers from an archive takes a new timeline, as a standby does that is promoted.
func TestANewTimelineIsAGap(t *testing.T) {
	t.Parallel()
	server := testserver.PostgresWith(t, settings...)
	r := rigOn(t, server.DSN)
	f := r.feed()
	stop := r.started(f)
	r.untilSettled()
	promote := func() {
		server.Stop()
		fatal(t, os.WriteFile(filepath.Join(server.Data, "recovery.signal"), nil, 0o644))
		server.Start("restore_command=false")
		r.db.Reset()
		r.until("the end of the recovery", func() bool { return query[bool](r, `SELECT NOT pg_is_in_recovery()`) })
	}
	promote()
	r.untilSeen("gap")
	r.sync()
	r.want("a feed that was running", "gap")
	stop()
	promote()
	stop = r.start(r.feed())
	r.sync()
	r.want("one that was not", "gap")
	r.untilConfirmed()
	stop()
	r.start(r.feed())
	r.sync()
	r.want("one that comes later")
}

func TestAGapIsTriedAgainBeforeTheStream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.bareFeed()
	f.On("public.products", r.changed)
	var tries atomic.Int64
	f.OnGap(func(context.Context) error {
		if n := tries.Add(1); n < 3 {
			r.note("gap fails")
			return errors.New("not yet")
		}
		return r.gap(t.Context())
	})
	asidepg.Step(f, func(step string) {
		if step == "gap" {
			r.exec(`INSERT INTO products VALUES (1, 10)`)
		}
	})
	r.start(f)
	r.untilSeen("INSERT [1] in [10]")
	r.want("a gap that fails twice", "gap fails", "gap fails", "gap", "INSERT [1] in [10]")
	r.wantLogged("not yet")
}

// A feed that waits, for Redis as a rule, must not have Postgres keep its log for ever.
func TestAFeedThatIsTooFarBehindGivesUpItsSlot(t *testing.T) {
	for name, hangs := range map[string]bool{"because a handler fails": false, "because a handler hangs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			f := r.bareFeed(func(c *asidepg.Config) { c.MaxBehind = 1 << 20 })
			var stuck atomic.Bool
			stuck.Store(true)
			release := make(chan struct{})
			f.On("public.products", func(ctx context.Context, c asidepg.Change) error {
				switch {
				case !stuck.Load():
					return r.changed(ctx, c)
				case hangs:
					<-release
					return nil
				}
				return errors.New("Redis is down")
			})
			f.OnGap(r.gap)
			stop := r.started(f)
			r.exec(`INSERT INTO products VALUES (1, 10)`)
			r.until("the slot to be given up", func() bool {
				r.exec(`CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 1000); DROP TABLE filler`)
				return hangs && !r.hasSlot() || slices.Contains(r.seen(), "gap")
			})
			stuck.Store(false)
			close(release)
			r.untilSeen("gap")
			r.untilReading(f)
			r.exec(`INSERT INTO products VALUES (2, 10)`)
			r.untilSeen("INSERT [2] in [10]")
			stop()
			if !strings.Contains(r.logged.String(), "MaxBehind") {
				t.Errorf("the log does not say so:\n%s", r.logged)
			}
		})
	}
}

func (r *rig) hasSlot() bool {
	return query[bool](r, `SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`, r.slot)
}

func TestASlotThatIsMadeDoesNotKeepTheLogEither(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.bareFeed(func(c *asidepg.Config) { c.MaxBehind = 1 << 20 })
	f.On("public.products", r.changed)
	var down atomic.Bool
	down.Store(true)
	f.OnGap(func(context.Context) error {
		if down.Load() {
			return errors.New("Redis is down")
		}
		return r.gap(t.Context())
	})
	r.start(f)
	position := func() string {
		return query[string](r, `SELECT coalesce(min(restart_lsn::text), '') FROM pg_replication_slots WHERE slot_name = $1`, r.slot+"_new")
	}
	r.until("the temporary slot", func() bool { return position() != "" })
	first := position()
	r.until("another temporary slot", func() bool {
		r.exec(`CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 1000); DROP TABLE filler`)
		now := position()
		return now != "" && now != first
	})
	down.Store(false)
	r.untilSeen("gap")
}
