package aside

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// A refresh loads while the present value is served. It fills like any load: its fill replaces the document that it
// started from and no other, so an Invalidate refuses it, and so does a newer load.
//
// The claim keeps other processes from refreshing the same document at the same time. It saves loads, nothing depends
// on it.

// due reports whether a read of e should start a refresh: e is past its TTL, or close to it, by XFetch.
func (c *Cache[K, V]) due(e *entry, now time.Time) bool {
	ms := now.UnixMilli()
	if !e.ours || e.claim > ms {
		return false
	}
	left := float64(e.fresh - ms)
	if left <= 0 {
		return true
	}
	reach := float64(e.took) * c.config.beta
	if left > reach*farthest {
		return false // nearly always: no random number is needed
	}
	return reach*rand.ExpFloat64() >= left
}

// farthest bounds the exponential draws of XFetch: one in 10^13 is greater.
const farthest = 30

// refreshing holds the names that this process refreshes, so that the reads of a hot entry do not all ask for the claim.
type refreshing struct{ names sync.Map }

func (r *refreshing) begin(name string) bool {
	_, already := r.names.LoadOrStore(name, true)
	return !already
}

func (r *refreshing) end(name string) { r.names.Delete(name) }

// startRefresh refreshes the documents of the wants in the background. What already is being refreshed is left out, and
// so is everything when there is no place for a load: a refresh can wait.
func (c *Cache[K, V]) startRefresh(ctx context.Context, wants []*want[K, V], many bool) {
	wants = only(wants, func(w *want[K, V]) bool { return c.refreshing.begin(w.name) })
	if len(wants) == 0 {
		return
	}
	f := fetch[K, V]{Cache: c, ctx: context.WithoutCancel(ctx), budget: newBudget(c.config.timeout), many: many}
	f.seal, f.close = func() {}, func() {}
	places := c.places.tryAcquire(1)
	end := func() {
		c.places.release(places)
		for _, w := range wants {
			c.refreshing.end(w.name)
		}
	}
	if places == 0 || !c.background.start(func() { defer end(); f.refresh(wants) }) {
		end()
	}
}

// refresh claims the documents, loads what it got, and fills.
func (f *fetch[K, V]) refresh(wants []*want[K, V]) {
	steps := make([]step, len(wants))
	for i, w := range wants {
		steps[i] = claimStep(w.name, w.source, min(f.config.loadTimeout, longestClaim))
	}
	var claimed []*want[K, V]
	for i, r := range f.runMarked(steps) {
		if r.ok {
			wants[i].since = r.at
			claimed = append(claimed, wants[i])
		}
	}
	if len(claimed) == 0 {
		return
	}
	f.load(claimed, true)
	f.budget = newBudget(f.config.timeout) // nobody waits
	f.fill(claimed)
	for _, w := range claimed {
		if w.err != nil && !w.absent() && f.logged.now() {
			f.config.logger.Warn("aside: a refresh failed", "cache", f.name, "name", w.name, "error", w.err)
		}
	}
}

const (
	shortestBackoff = 100 * time.Millisecond
	longestBackoff  = 10 * time.Second
	longestClaim    = time.Hour
)

// nextBackoff doubles the time that a failed refresh puts off the next one by.
func nextBackoff(e *entry) time.Duration {
	last := time.Duration(e.backoff) * time.Millisecond
	return min(max(2*last, shortestBackoff), longestBackoff)
}
