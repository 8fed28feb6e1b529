package main

import (
	"database/sql"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

// startFed is an app with a feed, on real servers.
func startFed(t *testing.T, change ...func(*config)) *app {
	t.Helper()
	postgres := testserver.PostgresWith(t, "wal_level=logical")
	cfg := config{redis: testserver.Redis(t).Addr, postgres: postgres.DSN, feed: true}
	for _, c := range change {
		c(&cfg)
	}
	return startApp(t, cfg)
}

// until waits until a read sees what it should. How long that takes is no finding.
func until(t *testing.T, what string, seen func() bool) {
	t.Helper()
	for give := time.Now().Add(time.Minute); !seen(); time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			t.Fatalf("%s was never seen", what)
		}
	}
}

func TestTheFeedInvalidatesWhatPlainSQLHasWritten(t *testing.T) {
	a := startFed(t)
	for _, statement := range []string{
		`UPDATE prices SET cents = 4711 WHERE product_id = 7`,
		`UPDATE products SET category_id = 1 WHERE id = 7`,
		`UPDATE products SET slug = 'tray-7b' WHERE id = 7`,
		`UPDATE categories SET name = 'Tea things', version = version + 1 WHERE id = 1`,
		`INSERT INTO reviews (product_id, stars) VALUES (7, 1)`,
		`DELETE FROM reviews WHERE product_id = 5`,
		`INSERT INTO products (id, shop, slug, name, category_id, version) VALUES (5000, 'rome', 'new', 'New', 2, 1)`,
		`INSERT INTO prices (product_id, cents) VALUES (5000, 100)`,
	} {
		sameAsInDatabase(t, a) // and all of it is cached now
		before := inDatabase(t, a)
		if _, err := a.db.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		want := inDatabase(t, a)
		if want == before && !strings.HasPrefix(statement, "INSERT INTO products") { // which no page shows without a price
			t.Errorf("%s: no page shows it", statement)
		}
		until(t, statement, func() bool { return shown(t, a.handler()) == want })
	}
}

func TestTheFeedFindsTheWritesThatForgetToInvalidate(t *testing.T) {
	a := startFed(t)
	l := newLive(a)
	defer l.close()
	sameAsInDatabase(t, a)
	if err := l.forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := a.site.SetPrice(t.Context(), 7, 4711)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the price", func() bool {
		seen, err := a.site.ProductByID(t.Context(), 7)
		return err == nil && seen.Cents == p.Cents
	})
	if !told(l, "Writes forget to invalidate. The feed") {
		t.Errorf("the page does not tell of the feed: %+v", l.notes)
	}
	if err := l.writeSQL(t.Context()); err != nil || !told(l, "By plain SQL, ") {
		t.Errorf("plain SQL: %v, %+v", err, l.notes)
	}
	until(t, "how far the feed is behind", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.samples) > 0 && l.samples[len(l.samples)-1].Behind != nil
	})
}

func TestWhatADemoOfTheFeedLeavesBehindIsNoSlot(t *testing.T) {
	postgres := testserver.PostgresWith(t, "wal_level=logical")
	redis := testserver.Redis(t).Addr
	slots := func() (n int) {
		db, err := sql.Open("pgx", postgres.DSN)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.QueryRow(`SELECT count(*) FROM pg_replication_slots`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range 2 { // the second finds the tables and the publication
		a, err := newApp(t.Context(), config{redis: redis, postgres: postgres.DSN, feed: true})
		if err != nil {
			t.Fatal(err)
		}
		if n := slots(); n == 0 {
			t.Error("no slot is read")
		}
		a.close()
		if n := slots(); n != 0 {
			t.Errorf("%d slots are left", n)
		}
	}
}

func TestAFeedWithoutWhatItNeedsIsRefused(t *testing.T) {
	if _, err := parseFlags([]string{"-feed"}); err == nil || !strings.Contains(err.Error(), "-postgres") {
		t.Errorf("-feed on the embedded database: error %v", err)
	}
	postgres := testserver.PostgresWith(t, "wal_level=replica")
	_, err := newApp(t.Context(), config{postgres: postgres.DSN, feed: true})
	if err == nil || !strings.Contains(err.Error(), "wal_level") {
		t.Errorf("a feed without wal_level = logical: error %v", err)
	}
	c := &client{t: t, url: serveLive(t, startApp(t, config{}))}
	c.do("POST", "/live/sql/write", "", http.StatusBadRequest, nil)
}

func TestTheDashboardOfAFeedInABrowser(t *testing.T) {
	a := startFed(t, func(cfg *config) {
		cfg.cost, cfg.options = newCost(time.Millisecond, 4), []aside.Option{aside.WithRedisTimeout(10 * time.Second)}
	})
	b := openBrowser(t, serveLive(t, a))
	b.open("/live")
	b.click(`[data-do="load/quiet"]`)
	b.await(figure("checked") + " > 0")
	b.await(says("behind", "ms"))
	b.click("#sql")
	b.await(newest("By plain SQL"))
	b.click("#invalidate")
	b.await(newest("Writes forget to invalidate. The feed"))
}
