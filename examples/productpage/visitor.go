package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// A visitor draws what is read and written, a few products far more often than the others. It belongs to one goroutine.
type visitor struct {
	site *switched
	rand *rand.Rand
	zipf *rand.Zipf
}

func newVisitor(site *switched, seed uint64) *visitor {
	r := rand.New(rand.NewPCG(seed, 0))
	return &visitor{site: site, rand: r, zipf: rand.NewZipf(r, 1.2, 1, uint64(len(site.ledger.seeded)-1))}
}

// product draws a product. The first is drawn most often.
func (v *visitor) product() Product {
	return v.site.ledger.seeded[v.zipf.Uint64()]
}

// A visit is one read, and the ids of the products that it must return.
type visit struct {
	ids  []int64
	read func(ctx context.Context) ([]Product, error)
}

// visit draws a read.
func (v *visitor) visit() visit {
	p := v.product()
	switch kind := v.rand.IntN(100); {
	case kind < 50:
		return v.byID(p)
	case kind < 80:
		return v.bySlug(p)
	case kind < 90:
		return v.list(p.CategoryID)
	default:
		return v.batch()
	}
}

func (v *visitor) byID(p Product) visit {
	return visit{[]int64{p.ID}, func(ctx context.Context) ([]Product, error) {
		p, err := v.site.ProductByID(ctx, p.ID)
		return []Product{p}, err
	}}
}

func (v *visitor) bySlug(p Product) visit {
	return visit{[]int64{p.ID}, func(ctx context.Context) ([]Product, error) {
		p, err := v.site.ProductBySlug(ctx, p.Shop, p.Slug)
		return []Product{p}, err
	}}
}

func (v *visitor) list(category int64) visit {
	return visit{v.site.ledger.lists[category], func(ctx context.Context) ([]Product, error) {
		return v.site.ProductsInCategory(ctx, category)
	}}
}

func (v *visitor) batch() visit {
	const size = 10
	ids := make([]int64, size)
	for i := range ids {
		ids[i] = v.product().ID
	}
	return visit{ids, func(ctx context.Context) ([]Product, error) {
		return v.site.ProductsByID(ctx, ids)
	}}
}

// An edit is one write.
type edit func(ctx context.Context) error

// edit draws a write: of a product, or now and then of a category, with all its pages. Nothing gets another price or name, so
// that what somebody at the page writes stays; versions tell what is stale.
func (v *visitor) edit() edit {
	p := v.product()
	if v.rand.IntN(100) < 98 {
		return func(ctx context.Context) error {
			_, err := v.site.saveProduct(ctx, p.ID)
			return err
		}
	}
	return func(ctx context.Context) error {
		_, err := v.site.saveCategory(ctx, p.CategoryID)
		return err
	}
}

// arrivals calls fn so many times a second on average, at random moments as visitors come, until ctx ends. It does not wait for
// what has come before: that is up to fn, which is told the moment at which it should have been called. After a pause of more
// than forgive, in which the machine did something else, those who should have come meanwhile do not all come at once.
func arrivals(ctx context.Context, r *rand.Rand, rate float64, forgive time.Duration, fn func(due time.Time)) {
	due := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due = due.Add(time.Duration(r.ExpFloat64() / rate * float64(time.Second)))
		if now := time.Now(); now.Sub(due) > forgive {
			due = now
		}
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
			fn(due)
		case <-ctx.Done():
			return
		}
	}
}
