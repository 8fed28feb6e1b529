package main

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// A ledger tells stale reads. It knows of each product the version of its last acknowledged write: one that returned
// nil, so that its Invalidate has returned too. A read that starts later must see that version or a newer one.
//
// What a read may see of a write under way, or of one that failed, is open, and the ledger counts neither as stale.
type ledger struct {
	entries    map[int64]*ledgerEntry // by product
	ids        []int64                // of all products, in order
	categories map[int64][]int64      // the ids of the products of each category
}

type ledgerEntry struct {
	product Product    // as it was at first; its address and its category do not change
	writing sync.Mutex // held from before a write until it is acknowledged: the writes of one product are serialised
	acked   atomic.Int64
}

// newLedger begins with the versions that catalog, the database, has now.
func newLedger(ctx context.Context, catalog Catalog) (*ledger, error) {
	l := &ledger{entries: make(map[int64]*ledgerEntry), categories: make(map[int64][]int64)}
	for i := range categories {
		id := int64(i + 1)
		products, err := catalog.ProductsInCategory(ctx, id)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		for _, p := range products {
			e := &ledgerEntry{product: p}
			e.acked.Store(p.Version)
			l.entries[p.ID] = e
			l.ids = append(l.ids, p.ID)
			l.categories[id] = append(l.categories[id], p.ID)
		}
	}
	slices.Sort(l.ids)
	return l, nil
}

// write runs a write of the product id and notes it once it is acknowledged.
func (l *ledger) write(id int64, write func() (Product, error)) error {
	e := l.entries[id]
	e.writing.Lock()
	defer e.writing.Unlock()
	p, err := write()
	if err == nil {
		e.acked.Store(p.Version)
	}
	return err
}

// read runs a read of the products ids and returns how many of them it saw stale. A product that the read did not
// return at all is stale: each of them exists.
func (l *ledger) read(ids []int64, read func() ([]Product, error)) (stale int, err error) {
	acked := make(map[int64]int64, len(ids))
	for _, id := range ids { // before the read starts
		acked[id] = l.entries[id].acked.Load()
	}
	products, err := read()
	if err != nil {
		return 0, err
	}
	for _, p := range products {
		if p.Version >= acked[p.ID] {
			delete(acked, p.ID)
		}
	}
	return len(acked), nil
}
