package main

import (
	"database/sql"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func aLoadSeesNothingStale(t *testing.T, a *app) {
	var out strings.Builder
	err := a.runLoad(t.Context(), &out, loadConfig{duration: time.Second, rate: 1000})
	t.Log("\n" + out.String())
	if err != nil {
		t.Error(err)
	}
}

func newTestLedger(t *testing.T, a *app) *ledger {
	t.Helper()
	l, err := newLedger(t.Context(), a.db)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// stale reads the product 1 through the cache and returns what the ledger says of that.
func stale(t *testing.T, a *app, l *ledger) int {
	t.Helper()
	n, err := l.read([]int64{1}, func() ([]Product, error) {
		p, err := a.cached.ProductByID(t.Context(), 1)
		return []Product{p}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func setPrice(t *testing.T, catalog Catalog, l *ledger) error {
	return l.write(l.products[1], func() (int64, error) {
		p, err := catalog.SetPrice(t.Context(), 1, 100)
		return p.Version, err
	})
}

func renameCategory(t *testing.T, catalog Catalog, l *ledger) error {
	category := l.seeded[0].CategoryID
	return l.write(l.categories[category], func() (int64, error) {
		renamed, err := catalog.RenameCategory(t.Context(), category, "New")
		return renamed.Version, err
	})
}

func TestTheLedgerCatchesAWriteThatDidNotInvalidate(t *testing.T) {
	for name, write := range map[string]func(t *testing.T, catalog Catalog, l *ledger) error{
		"SetPrice":       setPrice,
		"RenameCategory": renameCategory,
	} {
		t.Run(name, func(t *testing.T) {
			a := startApp(t, config{})
			l := newTestLedger(t, a)
			if n := stale(t, a, l); n != 0 {
				t.Errorf("%d stale before any write", n)
			}
			if err := write(t, a.db, l); err != nil {
				t.Fatal(err)
			}
			if n := stale(t, a, l); n != 1 {
				t.Errorf("%d stale after a write that did not invalidate, want 1", n)
			}
			if err := write(t, a.cached, l); err != nil {
				t.Fatal(err)
			}
			if n := stale(t, a, l); n != 0 {
				t.Errorf("%d stale after a write that did invalidate", n)
			}
		})
	}
}

func TestALoadThatForgetsToInvalidateFindsStaleReads(t *testing.T) {
	a := startApp(t, config{})
	var err error
	for range 10 { // a busy machine may take more than one to write what is read again
		err = a.runLoad(t.Context(), io.Discard, loadConfig{duration: 6 * time.Second, rate: 300, noInvalidate: true})
		if err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "stale reads") {
		t.Errorf("error %v, want stale reads", err)
	}
	l := newTestLedger(t, a)
	if n := stale(t, a, l); n != 0 {
		t.Errorf("%d stale after the load, which ends with InvalidateAll", n)
	}
}

func TestTheLedgerCountsAProductThatIsMissing(t *testing.T) {
	a := startApp(t, config{})
	l := newTestLedger(t, a)
	n, err := l.read([]int64{1, 2, 3}, func() ([]Product, error) {
		return []Product{l.seeded[0], l.seeded[2]}, nil
	})
	if n != 1 || err != nil {
		t.Errorf("%d stale, error %v; want 1", n, err)
	}
}

func TestTheLedgerLeavesWritesUnderWayOpen(t *testing.T) {
	a := startApp(t, config{})
	l := newTestLedger(t, a)
	stale(t, a, l) // the version 1 is cached

	// Committed but not yet acknowledged: both versions may be seen.
	err := l.write(l.products[1], func() (int64, error) {
		p, err := a.db.SetPrice(t.Context(), 1, 100)
		if n := stale(t, a, l); n != 0 {
			t.Errorf("%d stale while the write was not acknowledged", n)
		}
		return p.Version, errors.Join(err, errors.New("the answer to the COMMIT is lost"))
	})
	if err == nil {
		t.Fatal("the write was acknowledged")
	}
	if n := stale(t, a, l); n != 0 {
		t.Errorf("%d stale after a write that was never acknowledged", n)
	}

	// A read that started before the acknowledgement may still return the old version.
	n, err := l.read([]int64{1}, func() ([]Product, error) {
		old := l.seeded[0]
		return []Product{old}, setPrice(t, a.cached, l)
	})
	if n != 0 || err != nil {
		t.Errorf("%d stale, error %v; the read started first", n, err)
	}
}

func TestALoadThatSawSomethingStaleFails(t *testing.T) {
	for _, test := range []struct {
		tally tally
		want  string
	}{
		{tally{reads: 10}, ""},
		{tally{reads: 10, gaveUp: 3}, ""},
		{tally{reads: 10, stale: 2}, "2 stale reads"},
		{tally{reads: 10, failed: 1, err: sql.ErrConnDone}, "1 reads failed"},
	} {
		got := ""
		if err := test.tally.verdict(); err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, test.want) || (test.want == "") != (got == "") {
			t.Errorf("verdict %q, want %q", got, test.want)
		}
	}
}

func TestQuantilesAreRightToTwoPercent(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	for _, test := range []struct {
		q    float64
		want time.Duration
	}{{0, 0}, {0.5, 500 * time.Microsecond}, {0.99, 990 * time.Microsecond}, {1, time.Millisecond}} {
		got := h.quantile(test.q)
		if got < test.want*98/100 || got > test.want*102/100 {
			t.Errorf("quantile %v is %v, want %v", test.q, got, test.want)
		}
	}
}
