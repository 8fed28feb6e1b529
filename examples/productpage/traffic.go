package main

import (
	"context"
	"sync"
	"time"
)

const (
	closedReaders = 16 // of a load at rate 0
	writeRate     = 5  // a second
)

// A traffic is the load on a site: reads at a rate, whatever becomes of those before, and a few writes. It ends with its
// context, and wait returns when nothing of it is under way any more.
type traffic struct {
	site    *switched
	meter   *meter
	forgive time.Duration // as in arrivals
	wg      sync.WaitGroup
}

// start begins reads at a rate, or at rate 0 as many as go, and the writes. Those that are under way when ctx ends are
// finished.
func (t *traffic) start(ctx context.Context, rate float64) {
	whole := context.WithoutCancel(ctx)
	if rate > 0 {
		t.wg.Go(func() { t.openReads(ctx, whole, rate) })
	} else {
		for seed := range uint64(closedReaders) {
			t.wg.Go(func() { t.closedReads(ctx, whole, seed) })
		}
	}
	t.wg.Go(func() {
		editor := newVisitor(t.site, 1<<32)
		arrivals(ctx, editor.rand, writeRate, t.forgive, func(time.Time) {
			edit := editor.edit()
			t.wg.Go(func() { t.meter.write(whole, edit) })
		})
	})
}

func (t *traffic) openReads(ctx, whole context.Context, rate float64) {
	v := newVisitor(t.site, 0)
	arrivals(ctx, v.rand, rate, t.forgive, func(due time.Time) {
		visit := v.visit()
		t.wg.Go(func() { t.meter.read(whole, t.site.ledger, due, visit) })
	})
}

func (t *traffic) closedReads(ctx, whole context.Context, seed uint64) {
	v := newVisitor(t.site, seed)
	for ctx.Err() == nil {
		t.meter.read(whole, t.site.ledger, time.Now(), v.visit())
	}
}

func (t *traffic) wait() { t.wg.Wait() }
