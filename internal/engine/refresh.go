package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/redisstore"
)

// A refresh loads while the present value is served. It fills like any load: its fill replaces the
// document that it started from and no other, so it is refused after an Invalidate or a newer load.
//
// The claim keeps other processes from refreshing the same document at the same time. It saves loads, nothing depends
// on it.

// due reports whether a read of e should start a refresh: e is past its TTL, or close to it, by XFetch.
func (c *Core) due(e *document.Entry, now time.Time) bool {
	ms := now.UnixMilli()
	claimed := e.Claim > ms && e.Claim <= ms+longestClaimed(c.claimLife()).Milliseconds()
	if !e.Ours || claimed {
		return false
	}
	left := float64(e.Fresh - ms)
	if c.inVain(e, left) {
		return false
	}
	if left <= 0 {
		return true
	}
	reach := float64(e.Took) * c.Config.Beta
	if left > reach*farthest {
		return false // nearly always: no random number is needed
	}
	return reach*rand.ExpFloat64() >= left
}

// inVain reports whether a refresh would end when the entry has expired, so that its fill would be
// refused. What is not served stale expires at the end of its TTL, or a moment after that, as
// clocks differ.
func (c *Core) inVain(e *document.Entry, left float64) bool {
	return (c.Config.Stale == 0 || e.State == document.Absent) && left <= float64(e.Took) && left > -clockSkew
}

// clockSkew is how many ms past its TTL an entry is taken for one that is about to expire, not for one that others keep stale.
const clockSkew = 1000

// farthest bounds the exponential draws of XFetch: one in 10^13 is greater.
const farthest = 30

// refreshing holds the names that this process refreshes, so that the reads of a hot entry do not all ask for the claim.
type refreshing struct{ names sync.Map }

func (r *refreshing) begin(name string) bool {
	_, already := r.names.LoadOrStore(name, true)
	return !already
}

func (r *refreshing) end(name string) { r.names.Delete(name) }

// StartRefresh refreshes the documents of the wants in the background, if they are not being
// refreshed already. It begins as many as find a place. The rest is left to a later read.
func (c *Core) StartRefresh(ctx context.Context, wants []*Want, many bool) {
	if len(c.places) == cap(c.places) {
		return
	}
	wants = only(wants, func(w *Want) bool { return c.fillable(w.Name) && c.refreshing.begin(w.Name) })
	if len(wants) == 0 {
		return
	}
	begun := false
	defer func() {
		if !begun { // also if the user's code in refreshCtx has ended this goroutine
			for _, w := range wants {
				c.refreshing.end(w.Name)
			}
		}
	}()
	loadCtx, err := c.refreshCtx(ctx)
	if err != nil {
		c.refreshFailed(wants[0].Name, err)
		return
	}
	f := c.newFetch(context.Background(), loadCtx, redisstore.NewBudget(c.Config.Timeout))
	f.many, f.refreshes, begun = many, true, true
	f.begin(wants)
	if f.seat(); len(f.seated) > 0 { // from here on, Close waits for it
		go f.refresh(wants)
	}
}

// refreshCtx is the ctx of a refresh that a read with ctx starts. By default it has no values: the refresh may outlive the request,
// whose framework may use its ctx again for another one.
func (c *Core) refreshCtx(ctx context.Context) (made context.Context, err error) {
	if c.LoadCtx == nil {
		return context.Background(), nil
	}
	defer func() {
		if p := recover(); p != nil { // the read has its value, and need not fail
			err = panicked(p)
		}
	}()
	if made, err = c.ctxOfLoad(ctx); err == nil {
		made = withInside(made, nil) // no load waits for it
	}
	return made, err
}

// ctxOfLoad is the ctx of a load whose first caller has ctx: with its values, or those that WithLoadContext takes from them, and
// without its end.
func (c *Core) ctxOfLoad(ctx context.Context) (context.Context, error) {
	if c.LoadCtx != nil {
		in := insideOf(ctx)
		if ctx = c.LoadCtx(ctx); ctx == nil {
			return nil, errNoLoadCtx
		}
		ctx = withInside(ctx, in)
	}
	return context.WithoutCancel(ctx), nil
}

var errNoLoadCtx = errors.New("aside: the function of WithLoadContext returned nil")

// refresh claims the documents, loads what it got, and fills.
func (f *fetch) refresh(wants []*Want) {
	f.loop()
	for _, w := range wants {
		if w.err != nil && w.err != errClosed && !w.Absent() {
			f.refreshFailed(w.Name, w.err)
		}
	}
}

func (c *Core) refreshFailed(name string, err error) {
	if c.logged.now() {
		c.Config.Logger.Warn("aside: a refresh failed", "cache", c.Name, "name", name, "error", err)
	}
}

const (
	shortestBackoff = 100 * time.Millisecond
	longestBackoff  = 10 * time.Second
	longestClaim    = time.Hour
)

// claimLife is for how long a refresh claims its document.
func (c *Core) claimLife() time.Duration { return min(c.Config.LoadTimeout, longestClaim) }

// longestClaimed is how long a claim, or the backoff in its place, may have to go where refreshes
// claim for life. A claim that has longer was made before a clock was set back.
func longestClaimed(life time.Duration) time.Duration { return max(life, longestBackoff) }

// nextBackoff doubles the time that a failed refresh puts off the next one by.
func nextBackoff(e *document.Entry) time.Duration {
	last := time.Duration(e.Backoff) * time.Millisecond
	return min(max(2*last, shortestBackoff), longestBackoff)
}
