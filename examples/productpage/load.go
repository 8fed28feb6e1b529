package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/asidecache/aside"
)

const (
	readers   = 16
	writers   = 2
	writeRate = 50 // a second, of all writers together
)

// A loadConfig says what load to run.
type loadConfig struct {
	duration     time.Duration
	rate         float64 // reads a second, of all readers together; 0 for as many as go
	noInvalidate bool    // writes bypass the cache, so that there are stale reads for the ledger to find
}

// runLoad reads and writes, half of the time without the cache and then with it, and prints what that took. A few
// products are read, and written, far more often than the others. It fails if a read failed or was stale.
func (a *app) runLoad(ctx context.Context, out io.Writer, cfg loadConfig) error {
	l, err := newLedger(ctx, a.db)
	if err != nil {
		return err
	}
	writes := Catalog(a.cached) // in both halves: what Redis has from an earlier run must not become stale
	if cfg.noInvalidate {
		writes = a.db
		defer a.cached.InvalidateAll(context.WithoutCancel(ctx))
	}
	without := a.measure(ctx, cfg, l, a.db, writes)
	with := a.measure(ctx, cfg, l, a.cached, writes)
	if err := ctx.Err(); err != nil {
		return err
	}
	report(out, without, with)
	return errors.Join(without.verdict(), with.verdict())
}

// A result is what some load has taken.
type result struct {
	took           time.Duration
	reads          int // that returned an answer
	latency        histogram
	failed         int
	stale          int // products in answers
	writes         int // that were acknowledged
	unacknowledged int
	err            error // of the first that failed

	queries  int64 // that the reads took of the database
	lookups  uint64
	answered uint64 // lookups that Redis had an entry for
}

func (r *result) add(other *result) {
	r.reads += other.reads
	r.latency.merge(&other.latency)
	r.failed += other.failed
	r.stale += other.stale
	r.writes += other.writes
	r.unacknowledged += other.unacknowledged
	if r.err == nil {
		r.err = other.err
	}
}

func (r *result) verdict() error {
	var failed, stale error
	if r.failed > 0 {
		failed = fmt.Errorf("%d reads failed, the first with: %w", r.failed, r.err)
	}
	if r.stale > 0 {
		stale = fmt.Errorf("%d stale reads", r.stale)
	}
	return errors.Join(failed, stale)
}

// measure runs the workers for half of the time.
func (a *app) measure(ctx context.Context, cfg loadConfig, l *ledger, reads, writes Catalog) *result {
	queries, stats, start := a.db.Queries(), total(a.cached.Stats()), time.Now()
	until, cancel := context.WithTimeout(ctx, cfg.duration/2)
	defer cancel()

	var wg sync.WaitGroup
	workers := make([]*worker, readers+writers)
	for i := range workers {
		w := newWorker(l, reads, writes, uint64(i))
		workers[i] = w
		if i < readers {
			wg.Go(func() { w.repeat(until, cfg.rate/readers, func() { w.read(ctx) }) })
		} else {
			wg.Go(func() { w.repeat(until, writeRate/writers, func() { w.write(ctx) }) })
		}
	}
	wg.Wait()

	r := &result{took: time.Since(start)}
	for _, w := range workers {
		r.add(&w.result)
	}
	r.queries = a.db.Queries() - queries
	now := total(a.cached.Stats())
	r.answered = now.Hits + now.StaleHits + now.AbsentHits - stats.Hits - stats.StaleHits - stats.AbsentHits
	r.lookups = r.answered + now.Misses - stats.Misses
	return r
}

// total adds up what measure needs.
func total(stats map[string]aside.Stats) (sum aside.Stats) {
	for _, s := range stats {
		sum.Hits += s.Hits
		sum.StaleHits += s.StaleHits
		sum.AbsentHits += s.AbsentHits
		sum.Misses += s.Misses
	}
	return sum
}
