package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// A ledger tells stale reads. It knows of each product, and of each category, the version of its last acknowledged write:
// one that returned nil, so that it has committed and its holds are released. A read that starts later must see that
// version or a newer one.
//
// What a read may see of a write under way, or of one that failed, is open, and the ledger counts neither as stale.
type ledger struct {
	seeded     []Product              // by id, as they were at first
	products   map[int64]*ledgerEntry // by id
	categories map[int64]*ledgerEntry // the same
	lists      map[int64][]int64      // the ids of the products of each category
}

// A ledgerEntry is about a product or a category.
type ledgerEntry struct {
	writing sync.Mutex // held from before a write until it is acknowledged: the writes of one row are serialised
	acked   atomic.Int64
	moved   atomic.Bool // a product: it may have left the category that it was in at first

	cents int64  // of a product, as last acknowledged; guarded by writing
	name  string // of a category, the same
}

func productEntry(p Product) *ledgerEntry {
	e := &ledgerEntry{cents: p.Cents}
	e.acked.Store(p.Version)
	return e
}

func categoryEntry(p Product) *ledgerEntry {
	e := &ledgerEntry{name: p.Category}
	e.acked.Store(p.CategoryVersion)
	return e
}

// newLedger begins with the versions that catalog, the database, has now.
func newLedger(ctx context.Context, catalog Catalog) (*ledger, error) {
	l := &ledger{
		products:   make(map[int64]*ledgerEntry),
		categories: make(map[int64]*ledgerEntry),
		lists:      make(map[int64][]int64),
	}
	for i := range categories {
		id := int64(i + 1)
		products, err := catalog.ProductsInCategory(ctx, id)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		for _, p := range products {
			l.seeded = append(l.seeded, p)
			l.products[p.ID] = productEntry(p)
			l.categories[id] = categoryEntry(p)
			l.lists[id] = append(l.lists[id], p.ID)
		}
	}
	slices.SortFunc(l.seeded, func(a, b Product) int { return cmp.Compare(a.ID, b.ID) })
	return l, nil
}

// write runs a write of what e is about, and notes the version that it returns once it is acknowledged.
func (l *ledger) write(e *ledgerEntry, write func() (version int64, err error)) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	version, err := write()
	if err == nil {
		e.acked.Store(version)
	}
	return err
}

// read runs a read of the products ids and returns how many of them it saw stale, or with a category that is. A product
// that the read did not return at all is stale, as each of them exists, unless it may have left the list that was read.
func (l *ledger) read(ids []int64, read func() ([]Product, error)) (stale int, err error) {
	missing := make(map[int64]bool, len(ids))
	acked := make(map[*ledgerEntry]int64)
	for _, id := range ids { // before the read starts
		missing[id] = true
		acked[l.products[id]] = l.products[id].acked.Load()
	}
	for _, e := range l.categories {
		acked[e] = e.acked.Load()
	}
	products, err := read()
	if err != nil {
		return 0, err
	}
	for _, p := range products {
		if p.Version >= acked[l.products[p.ID]] && p.CategoryVersion >= acked[l.categories[p.CategoryID]] {
			delete(missing, p.ID)
		}
	}
	maps.DeleteFunc(missing, func(id int64, _ bool) bool { return l.products[id].moved.Load() })
	return len(missing), nil
}
