package main

import (
	"context"
	"errors"
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

func TestTheLedgerCatchesAWriteThatDidNotInvalidate(t *testing.T) {
	a := startApp(t, config{})
	l := newTestLedger(t, a)
	write := func(catalog Catalog, cents int64) {
		t.Helper()
		err := l.write(1, func() (Product, error) { return catalog.SetPrice(t.Context(), 1, cents) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := stale(t, a, l); n != 0 {
		t.Errorf("%d stale before any write", n)
	}
	write(a.db, 100)
	if n := stale(t, a, l); n != 1 {
		t.Errorf("%d stale after a write that did not invalidate, want 1", n)
	}
	write(a.cached, 200)
	if n := stale(t, a, l); n != 0 {
		t.Errorf("%d stale after a write that did invalidate", n)
	}
}

func TestTheLedgerCountsAProductThatIsMissing(t *testing.T) {
	a := startApp(t, config{})
	l := newTestLedger(t, a)
	n, err := l.read([]int64{1, 2, 3}, func() ([]Product, error) {
		return []Product{l.entries[1].product, l.entries[3].product}, nil
	})
	if n != 1 || err != nil {
		t.Errorf("%d stale, error %v; want 1", n, err)
	}
}

func TestTheLedgerLeavesWritesUnderWayOpen(t *testing.T) {
	a := startApp(t, config{})
	l := newTestLedger(t, a)
	stale(t, a, l) // the version 1 is cached

	// Committed but not yet invalidated: both versions may be seen.
	err := l.write(1, func() (Product, error) {
		p, err := a.db.SetPrice(t.Context(), 1, 100)
		if n := stale(t, a, l); n != 0 {
			t.Errorf("%d stale while the write was not acknowledged", n)
		}
		return p, errors.Join(err, ErrNotInvalidated)
	})
	if err == nil {
		t.Fatal("the write was acknowledged")
	}
	if n := stale(t, a, l); n != 0 {
		t.Errorf("%d stale after a write that was never acknowledged", n)
	}

	// A read that started before the acknowledgement may still return the old version.
	n, err := l.read([]int64{1}, func() ([]Product, error) {
		old := l.entries[1].product
		err := l.write(1, func() (Product, error) { return a.cached.SetPrice(t.Context(), 1, 200) })
		return []Product{old}, err
	})
	if n != 0 || err != nil {
		t.Errorf("%d stale, error %v; the read started first", n, err)
	}
}

func TestALoadThatSawSomethingStaleFails(t *testing.T) {
	for _, test := range []struct {
		result result
		want   string
	}{
		{result{reads: 10}, ""},
		{result{reads: 10, stale: 2}, "2 stale reads"},
		{result{reads: 10, failed: 1, err: context.DeadlineExceeded}, "1 reads failed"},
	} {
		got := ""
		if err := test.result.verdict(); err != nil {
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
