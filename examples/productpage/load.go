package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/asidecache/aside"
	"golang.org/x/sync/errgroup"
)

// A loadConfig says what load to run.
type loadConfig struct {
	duration     time.Duration
	rate         float64 // reads a second; 0 for as many as go
	noInvalidate bool    // writes bypass the cache, so that there are stale reads for the ledger to find
}

// runLoad reads and writes, half of the time without the cache and then with it, and prints what that took. It fails if a read
// failed or was stale.
func (a *app) runLoad(ctx context.Context, out io.Writer, cfg loadConfig) error {
	if cfg.noInvalidate {
		a.site.forget()
		defer a.site.remember(context.WithoutCancel(ctx))
	}
	a.site.uncached.Store(true)
	without := a.measure(ctx, cfg)
	a.site.uncached.Store(false)
	if err := a.warmUp(ctx); err != nil {
		return err
	}
	with := a.measure(ctx, cfg)
	if err := ctx.Err(); err != nil {
		return err
	}
	report(out, cfg, a.db.cost, without, with)
	return errors.Join(without.verdict(), with.verdict())
}

// warmUp reads each page once, as it has been read before in a shop that did not open a second ago.
func (a *app) warmUp(ctx context.Context) error {
	var all errgroup.Group
	all.SetLimit(4)
	for _, p := range a.site.ledger.seeded {
		if ctx.Err() != nil {
			break
		}
		all.Go(func() error {
			_, err1 := a.site.ProductByID(ctx, p.ID)
			_, err2 := a.site.ProductBySlug(ctx, p.Shop, p.Slug)
			return errors.Join(err1, err2)
		})
	}
	for id := range a.site.ledger.lists {
		all.Go(func() error {
			_, err := a.site.ProductsInCategory(ctx, id)
			return err
		})
	}
	return all.Wait()
}

// A result is a tally and what it took of the database.
type result struct {
	tally
	took    time.Duration
	queries int64
	lookups lookups
	verified
}

// measure runs the traffic for half of the time.
func (a *app) measure(ctx context.Context, cfg loadConfig) *result {
	before, queries, verified, start := a.lookups(), a.db.Queries(), a.verified(), time.Now()
	until, cancel := context.WithTimeout(ctx, cfg.duration/2)
	defer cancel()
	t := traffic{site: a.site, meter: new(meter), forgive: cfg.duration} // both halves are offered the same
	t.start(until, cfg.rate)
	<-until.Done()
	t.wait()
	return &result{t.meter.take(), time.Since(start), a.db.Queries() - queries, a.lookups().since(before), a.verified().since(verified)}
}

// lookups are how often all caches together were asked, had an entry, and had it in memory.
type lookups struct{ asked, answered, near uint64 }

func (a *app) lookups() (sum lookups) {
	for _, s := range a.caches() {
		sum = sum.plus(s.Stats())
	}
	return sum
}

func (l lookups) plus(s aside.Stats) lookups {
	answered := s.Hits + s.StaleHits + s.AbsentHits + s.NearHits
	return lookups{l.asked + answered + s.Misses, l.answered + answered, l.near + s.NearHits}
}

func (l lookups) since(before lookups) lookups {
	return lookups{l.asked - before.asked, l.answered - before.answered, l.near - before.near}
}

// ratio returns how many of 1 were answered, or false if nothing was asked.
func (l lookups) ratio() (float64, bool) { return l.share(l.answered), l.asked > 0 }

func (l lookups) share(n uint64) float64 { return float64(n) / float64(max(l.asked, 1)) }
