package asidepg_test

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/asidecache/aside/asidepg"
)

// A change whose old row the stream does not have, or only in part.
func TestColumnsOutsideTheReplicaIdentity(t *testing.T) {
	for _, c := range []struct {
		name, identity, write string
		ids, categories       string // what a handler gets, "" if asking fails the change
	}{
		{"of an insert are known", "DEFAULT", `INSERT INTO products VALUES (2, 20)`, "[2]", "[20]"},
		{"of the old row of an update are not", "DEFAULT", `UPDATE products SET category_id = 20`, "[1]", ""},
		{"of the old row of an update are not, even if the identity has changed", "DEFAULT", `UPDATE products SET id = 2, category_id = 20`, "[1 2]", ""},
		{"of a deleted row are not", "DEFAULT", `DELETE FROM products`, "[1]", ""},
		{"of the old row of an update are known with FULL", "FULL", `UPDATE products SET category_id = 20`, "[1]", "[10 20]"},
		{"of a deleted row are known with FULL", "FULL", `DELETE FROM products`, "[1]", "[10]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.exec(`INSERT INTO products VALUES (1, 10); ALTER TABLE products REPLICA IDENTITY ` + c.identity)
			f := r.bareFeed()
			f.OnGap(r.gap)
			f.On("public.products", func(_ context.Context, ch asidepg.Change) error {
				r.note("ids " + sprint(ch.Int64s("id")))
				r.note("categories " + sprint(ch.Int64s("category_id")))
				return nil // what it returns does not count
			})
			r.started(f)
			r.exec(c.write)
			after := query[string](r, `SELECT pg_current_wal_insert_lsn()::text`)
			r.untilSeen("ids " + c.ids)
			if c.categories != "" {
				r.untilSeen("categories " + c.categories)
				r.until("the transaction to be handled", func() bool { return f.Stats().Transactions == 1 })
				return
			}
			r.until("a second try", func() bool { return f.Stats().Failures >= 2 })
			equal(t, "transactions that are handled", f.Stats().Transactions, 0)
			equal(t, "whether it is confirmed", query[bool](r, `SELECT confirmed_flush_lsn > $2::pg_lsn FROM pg_replication_slots WHERE slot_name = $1`, r.slot, after), false)
			r.wantLogged("column category_id")
			r.wantLogged("ALTER TABLE public.products REPLICA IDENTITY FULL")
		})
	}
}

// NULL is what Postgres writes for a column that it leaves out of an old row.
func TestAnUnknownColumnIsNotNull(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO products VALUES (1, 10, 'lamp'); ALTER TABLE products REPLICA IDENTITY DEFAULT`)
	f := r.bareFeed()
	f.OnGap(r.gap)
	f.On("public.products", func(_ context.Context, c asidepg.Change) error {
		if name, ok := c.Old.Text("name"); ok {
			r.note("name " + name)
		}
		return nil
	})
	r.started(f)
	r.exec(`DELETE FROM products`)
	r.until("a failure", func() bool { return f.Stats().Failures > 0 })
	r.want("a deleted row's name")
	r.wantLogged("column name")
}

// A long value is stored out of line. If an update leaves it as it is, Postgres does not write it again.
func TestALongValueThatIsUnchanged(t *testing.T) {
	const long = `INSERT INTO products SELECT 1, 10, 'lamp', string_agg(md5(i::text), '') FROM generate_series(1, 1000) i`
	length := func(texts []string) (lengths []int) {
		for _, text := range texts {
			lengths = append(lengths, len(text))
		}
		return lengths
	}
	feed := func(r *rig) *asidepg.Feed {
		f := r.bareFeed()
		f.OnGap(r.gap)
		f.On("public.products", func(_ context.Context, c asidepg.Change) error {
			r.note("note " + sprint(length(c.Strings("note"))))
			return nil
		})
		return f
	}
	t.Run("is in the old row with REPLICA IDENTITY FULL", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.exec(long)
		f := feed(r)
		r.started(f)
		r.exec(`UPDATE products SET name = 'desk'`)
		r.until("the change to be handled", func() bool { return f.Stats().Transactions == 1 })
		r.want("one note of 32000 bytes", "note [32000]")
	})
	t.Run("is unknown without, in the new row too", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.exec(long + `; ALTER TABLE products REPLICA IDENTITY DEFAULT`)
		f := r.bareFeed()
		f.OnGap(r.gap)
		f.On("public.products", func(_ context.Context, c asidepg.Change) error {
			if note, ok := c.New.Text("note"); ok {
				r.note(strconv.Itoa(len(note)))
			}
			return nil
		})
		r.started(f)
		r.exec(`UPDATE products SET name = 'desk'`)
		r.until("a failure", func() bool { return f.Stats().Failures > 0 })
		r.want("a note that is not in the stream")
		r.wantLogged("column note")
	})
}

func TestOnceTheReplicaIdentityIsFullAGapTakesThePlaceOfTheChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO products VALUES (1, 10), (2, 10); ALTER TABLE products REPLICA IDENTITY DEFAULT`)
	f := r.feed()
	r.started(f)
	r.exec(`UPDATE products SET category_id = 20`)
	r.exec(`UPDATE products SET category_id = 30`)
	r.until("two failures", func() bool { return f.Stats().Failures >= 2 })
	r.forget()
	r.exec(`ALTER TABLE products REPLICA IDENTITY FULL`)
	r.exec(`UPDATE products SET category_id = 40 WHERE id = 1`)
	r.untilSeen("UPDATE [1] in [30 40]")
	gaps := 0
	for _, event := range r.seen() {
		if event == "gap" {
			gaps++
		}
	}
	equal(t, "gaps for four changes that lack a column", gaps, 1)
	r.until("the end of what failed", func() bool { return !f.Stats().Failing })
}

func TestAColumnThatDoesNotExistFailsTheChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.bareFeed()
	f.OnGap(r.gap)
	f.On("public.products", func(_ context.Context, c asidepg.Change) error {
		c.Int64s("categroy_id")
		return nil
	})
	r.started(f)
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	r.until("a failure", func() bool { return f.Stats().Failures > 0 })
	r.wantLogged("table public.products has no column categroy_id")
}

func TestAValueThatCannotBeParsedFailsTheChange(t *testing.T) {
	for name, ask := range map[string]func(c asidepg.Change){
		"by Int64s": func(c asidepg.Change) { c.Int64s("name") },
		"by Int64":  func(c asidepg.Change) { c.New.Int64("name") },
		"by the user": func(c asidepg.Change) {
			asidepg.Values(c, "name", func(string) (int, error) { return 0, errors.New("no name") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			f := r.bareFeed()
			f.OnGap(r.gap)
			f.On("public.products", func(_ context.Context, c asidepg.Change) error { ask(c); return nil })
			r.started(f)
			r.exec(`INSERT INTO products VALUES (1, 10, 'lamp')`)
			r.until("a failure", func() bool { return f.Stats().Failures > 0 })
			r.wantLogged("column name of public.products")
		})
	}
}
