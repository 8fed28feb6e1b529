package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// A worker is one goroutine of the load.
type worker struct {
	ledger *ledger
	reads  Catalog
	writes Catalog
	rand   *rand.Rand
	zipf   *rand.Zipf
	result result
}

func newWorker(l *ledger, reads, writes Catalog, seed uint64) *worker {
	r := rand.New(rand.NewPCG(seed, 0))
	zipf := rand.NewZipf(r, 1.2, 1, uint64(len(l.seeded)-1))
	return &worker{ledger: l, reads: reads, writes: writes, rand: r, zipf: zipf}
}

// product draws a product. The first is drawn most often.
func (w *worker) product() Product {
	return w.ledger.seeded[w.zipf.Uint64()]
}

// repeat calls fn until ctx ends, so many times a second on average, at random moments as visitors come; at rate 0
// without a pause.
func (w *worker) repeat(ctx context.Context, rate float64, fn func()) {
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if rate > 0 {
			next = next.Add(time.Duration(w.rand.ExpFloat64() / rate * float64(time.Second)))
		}
		timer.Reset(time.Until(next))
		select {
		case <-timer.C:
			fn()
		case <-ctx.Done():
			return
		}
	}
}

// read makes one read of one kind.
func (w *worker) read(ctx context.Context) {
	p := w.product()
	switch kind := w.rand.IntN(100); {
	case kind < 50:
		w.check([]int64{p.ID}, func() ([]Product, error) {
			p, err := w.reads.ProductByID(ctx, p.ID)
			return []Product{p}, err
		})
	case kind < 80:
		w.check([]int64{p.ID}, func() ([]Product, error) {
			p, err := w.reads.ProductBySlug(ctx, p.Shop, p.Slug)
			return []Product{p}, err
		})
	case kind < 90:
		w.check(w.ledger.lists[p.CategoryID], func() ([]Product, error) {
			return w.reads.ProductsInCategory(ctx, p.CategoryID)
		})
	default:
		const batchSize = 10
		ids := make([]int64, batchSize)
		for i := range ids {
			ids[i] = w.product().ID
		}
		w.check(ids, func() ([]Product, error) {
			return w.reads.ProductsByID(ctx, ids)
		})
	}
}

// check counts what came of a read of the products ids.
func (w *worker) check(ids []int64, read func() ([]Product, error)) {
	stale, err := w.ledger.read(ids, func() ([]Product, error) {
		start := time.Now()
		products, err := read()
		w.result.latency.add(time.Since(start))
		return products, err
	})
	w.result.stale += stale
	if err != nil {
		w.result.failed++
		w.result.err = err
		return
	}
	w.result.reads++
}

// write sets the price of a product, or now and then renames its category, to what it is called already.
func (w *worker) write(ctx context.Context) {
	p := w.product()
	var err error
	if w.rand.IntN(100) < 96 {
		err = w.ledger.write(w.ledger.products[p.ID], func() (int64, error) {
			changed, err := w.writes.SetPrice(ctx, p.ID, 100+w.rand.Int64N(9900))
			return changed.Version, err
		})
	} else {
		err = w.ledger.write(w.ledger.categories[p.CategoryID], func() (int64, error) {
			renamed, err := w.writes.RenameCategory(ctx, p.CategoryID, p.Category)
			return renamed.Version, err
		})
	}
	if err != nil {
		w.result.unacknowledged++
		return
	}
	w.result.writes++
}
