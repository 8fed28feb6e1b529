package asidepg_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside/asidepg"
	"github.com/asidecache/aside/internal/testserver"
)

func TestNewNamesTheSettingThatIsWrong(t *testing.T) {
	const dsn = "postgres://localhost/db"
	good := asidepg.Config{Slot: "aside", Publication: "aside"}
	for name, c := range map[string]struct {
		dsn    string
		change func(*asidepg.Config)
		want   string
	}{
		"dsn":         {"postgres://localhost:port/db", func(*asidepg.Config) {}, "dsn"},
		"no slot":     {dsn, func(c *asidepg.Config) { c.Slot = "" }, "Slot"},
		"slot":        {dsn, func(c *asidepg.Config) { c.Slot = "Aside-1" }, "Slot"},
		"long slot":   {dsn, func(c *asidepg.Config) { c.Slot = strings.Repeat("a", 60) }, "59"},
		"publication": {dsn, func(c *asidepg.Config) { c.Publication = "" }, "Publication"},
		"behind":      {dsn, func(c *asidepg.Config) { c.MaxBehind = -1 }, "MaxBehind"},
		"parallel":    {dsn, func(c *asidepg.Config) { c.Parallel = -1 }, "Parallel"},
	} {
		t.Run(name, func(t *testing.T) {
			config := good
			c.change(&config)
			_, err := asidepg.New(c.dsn, config)
			wantError(t, err, "asidepg: ", c.want)
		})
	}
	_, err := asidepg.New(dsn, good)
	fatal(t, err)
}

func TestRunNeedsHandlers(t *testing.T) {
	feed := func() *asidepg.Feed {
		f, err := asidepg.New("postgres://127.0.0.1:1/db", asidepg.Config{Slot: "aside", Publication: "aside"})
		fatal(t, err)
		return f
	}
	handle := func(context.Context, asidepg.Change) error { return nil }
	f := feed()
	f.On("public.products", handle)
	wantError(t, f.Run(t.Context()), "no OnGap")
	f = feed()
	f.OnGap(func(context.Context) error { return nil })
	wantError(t, f.Run(t.Context()), "neither On nor OnMessage")
	f.On("products", handle)
	wantError(t, f.Run(t.Context()), `On("products")`, "schema.table", "public.products")
}

// What the server lacks is an error of Run that says what to type.
func TestRunSaysWhatToType(t *testing.T) {
	for name, c := range map[string]struct {
		set  string // typed before Run
		on   string // besides public.products
		want string
		fix  string // what the error has after "type: ", if it is all of it
	}{
		"a publication": {
			set: `DROP PUBLICATION aside`, want: "there is no publication",
			fix: `CREATE PUBLICATION "aside" FOR TABLE public.products WITH (publish_via_partition_root = true)`},
		"the operations of the publication": {
			set: `ALTER PUBLICATION aside SET (publish = 'insert, update')`, want: "leaves out",
			fix: `ALTER PUBLICATION "aside" SET (publish = 'insert, update, delete, truncate')`},
		"a table": {on: "public.nothing", want: `On("public.nothing"): there is no such table`},
		"a table in the publication": {
			set: `CREATE TABLE "Other" (id int PRIMARY KEY)`, on: "public.Other", want: `On("public.Other"): the table is not in the publication`,
			fix: `ALTER PUBLICATION "aside" ADD TABLE "public"."Other"`},
		"rows that a filter leaves out": {
			set: `ALTER PUBLICATION aside SET TABLE products WHERE (id > 1)`, want: "row filter",
			fix: `ALTER PUBLICATION "aside" DROP TABLE public.products; ALTER PUBLICATION "aside" ADD TABLE public.products`},
		"columns that a list leaves out": {
			set: `ALTER PUBLICATION aside SET TABLE products (id, category_id)`, want: "column list"},
		"a replica identity": {
			set: `CREATE TABLE other (id int); ALTER PUBLICATION aside ADD TABLE other`, on: "public.other", want: "no replica identity",
			fix: `ALTER TABLE public.other REPLICA IDENTITY FULL`},
		"a replica identity that is NOTHING": {
			set: `ALTER TABLE products REPLICA IDENTITY NOTHING`, want: "no replica identity"},
		"a partitioned table in the publication": {
			set: `CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id)`, on: "public.parts", want: "not in the publication",
			fix: `ALTER PUBLICATION "aside" ADD TABLE public.parts; ALTER PUBLICATION "aside" SET (publish_via_partition_root = true)`},
		"a partitioned table under its own name": {
			set: `CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
				ALTER PUBLICATION aside ADD TABLE parts; ALTER PUBLICATION aside SET (publish_via_partition_root = false)`,
			on: "public.parts", want: "under the names of its partitions",
			fix: `ALTER PUBLICATION "aside" SET (publish_via_partition_root = true)`},
		"a partition under its own name": {
			set: `CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
				ALTER PUBLICATION aside ADD TABLE parts`,
			on: "public.parts_1", want: `use On("public.parts")`},
		"the replica identity of a partition": {
			set: `CREATE TABLE parts (id int) PARTITION BY LIST (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
				ALTER TABLE parts REPLICA IDENTITY FULL; ALTER PUBLICATION aside ADD TABLE parts`,
			on: "public.parts", want: "that of its partition public.parts_1 is not",
			fix: `ALTER TABLE public.parts_1 REPLICA IDENTITY FULL`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if c.set != "" {
				r.exec(c.set)
			}
			f := r.feed()
			if c.on != "" {
				f.On(c.on, r.changed)
			}
			err := runs(t, f)
			wantError(t, err, "asidepg: ", c.want)
			if c.fix == "" || err == nil {
				return
			}
			_, typed, _ := strings.Cut(err.Error(), "type: ")
			equal(t, "what to type", typed, c.fix)
			r.exec(typed) // and then it works, which is more than that it can be read
			r.start(f)
			r.untilSeen("gap")
		})
	}
}

// runs returns what Run does, which is to return an error at once.
func runs(t *testing.T, f *asidepg.Feed) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return f.Run(ctx)
}

func TestRunNamesAllThatIsWrongWithTheTables(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	f := r.feed()
	f.On("public.one", r.changed)
	f.On("public.two", r.changed)
	wantError(t, runs(t, f), `On("public.one")`, `On("public.two")`)
}

func TestRunSaysThatTheRoleMayNotReplicate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	role := strings.Replace(r.slot, "slot", "role", 1)
	r.exec(`CREATE ROLE ` + role + ` LOGIN`)
	t.Cleanup(func() { _, _ = shared.Get(t), r }) // the role goes with the server
	u, err := url.Parse(r.dsn)
	fatal(t, err)
	u.User = url.User(role)
	standing := func() *asidepg.Feed {
		f, err := asidepg.New(u.String(), asidepg.Config{Slot: r.slot, Publication: "aside"})
		fatal(t, err)
		f.On("public.products", r.changed)
		f.OnGap(r.gap)
		return f
	}
	wantError(t, runs(t, standing()), "type: ALTER ROLE", role, "REPLICATION")
	r.started(r.feed()) // and where it would have to stand by
	wantError(t, runs(t, standing()), "type: ALTER ROLE", role, "REPLICATION")
	r.exec(`ALTER ROLE ` + role + ` REPLICATION`)
	f := standing()
	r.start(f)
	r.until("the feed to stand by", func() bool { return f.Stats().Holder != "" })
}

func TestRunSaysThatTheSlotIsNotItsOwn(t *testing.T) {
	t.Parallel()
	t.Run("but of another plugin", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.exec(`SELECT pg_create_logical_replication_slot('` + r.slot + `', 'test_decoding')`)
		wantError(t, runs(t, r.feed()), "test_decoding", "pg_drop_replication_slot('"+r.slot+"')")
	})
	t.Run("but of another database", func(t *testing.T) {
		t.Parallel()
		r, other := newRig(t), newRig(t)
		other.exec(`SELECT pg_create_logical_replication_slot('` + r.slot + `', 'pgoutput')`)
		wantError(t, runs(t, r.feed()), "another one")
	})
	t.Run("but for transactions that are prepared", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.exec(`SELECT pg_create_logical_replication_slot('` + r.slot + `', 'pgoutput', false, true)`)
		wantError(t, runs(t, r.feed()), "two_phase", "pg_drop_replication_slot('"+r.slot+"')")
	})
}

func TestRunSaysThatTheDatabaseDoesNotExist(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u, err := url.Parse(r.dsn)
	fatal(t, err)
	u.Path = "/nowhere"
	f, err := asidepg.New(u.String(), asidepg.Config{Slot: r.slot, Publication: "aside"})
	fatal(t, err)
	f.On("public.products", r.changed)
	f.OnGap(r.gap)
	wantError(t, runs(t, f), "nowhere")
}

func TestRunSaysWhatTheServerLacks(t *testing.T) {
	t.Parallel()
	server := testserver.PostgresWith(t, "max_replication_slots=1", "max_wal_senders=5")
	r := rigOn(t, server.DSN)
	wantError(t, runs(t, r.feed()), "type: ALTER SYSTEM SET wal_level = 'logical' and restart Postgres")
	server.Stop()
	server.Start("wal_level=logical")
	r.db.Reset()
	r.exec(`SELECT pg_create_physical_replication_slot('other')`)
	wantError(t, runs(t, r.feed()), "type: ALTER SYSTEM SET max_replication_slots")
	r.exec(`SELECT pg_drop_replication_slot('other')`)
	r.start(r.feed())
	r.untilReadingSoon()
}

// While the slot is made, there are two.
func (r *rig) untilReadingSoon() { r.t.Helper(); r.untilSeen("gap") }

// Each commit would wait for the feed, and the feed for the commit.
func TestAFeedIsNoSynchronousStandby(t *testing.T) {
	t.Parallel()
	server := testserver.PostgresWith(t, settings...)
	r := rigOn(t, server.DSN)
	stop := r.started(r.feed())
	stop()
	r.exec(`ALTER SYSTEM SET synchronous_standby_names = '*'`)
	r.exec(`SELECT pg_reload_conf()`)
	r.until("the setting", func() bool { return query[string](r, `SHOW synchronous_standby_names`) == "*" })
	r.until("an error of Run", func() bool {
		err := runs(t, r.feed())
		return err != nil && strings.Contains(err.Error(), "synchronous_standby_names")
	})
}
