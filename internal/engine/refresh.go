package engine

import (
	"context"

	"github.com/asidecache/aside/internal/redisstore"
)

// A refresh loads while the present value is served. It fills like any load: its fill replaces the
// document that it started from and no other, so it is refused after an Invalidate or a newer load.
//
// The claim keeps other processes from refreshing the same document at the same time. It saves loads, nothing depends
// on it.

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
