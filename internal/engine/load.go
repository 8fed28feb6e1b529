package engine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// loadAll loads wants in one call of a loader, for all callers that wait for them. What it found is
// in their order.
func (c *Core) loadAll(ctx context.Context, wants []*Want, batch, refresh bool) []Loaded {
	return c.loadFor(ctx, wants, batch, LoadInfo{Refresh: refresh})
}

// loadFor is loadAll for what info says.
func (c *Core) loadFor(ctx context.Context, wants []*Want, batch bool, info LoadInfo) []Loaded {
	ctx, cancel := context.WithTimeout(ctx, c.Config.LoadTimeout)
	defer cancel()
	ctx, loading, inside := c.enterLoad(ctx, info, namesIn(wants)...)
	// A loader that ignores its ctx is left behind when the time is over. It keeps its goroutine, and
	// nothing else: the place, the lease and the callers are free.
	load, err := isolated(ctx, func() outcome[[]Loaded] { return c.loadAndEncode(ctx, wants, batch) })
	if err != nil {
		load = outcome[[]Loaded]{make([]Loaded, len(wants)), c.loadEnded(err)}
		for i := range load.value {
			load.value[i].err = load.err
		}
	}
	loading.end(load.err)
	took := inside.took(loading.start)
	for i := range load.value {
		load.value[i].took, load.value[i].lagged, load.value[i].ctx = took, inside.lagged.Load(), ctx
	}
	return load.value
}

// loadAndEncode runs the user's code. It may be left behind, so it writes to nothing that anybody reads then.
func (c *Core) loadAndEncode(ctx context.Context, wants []*Want, batch bool) outcome[[]Loaded] {
	found := make([]Loaded, len(wants))
	take := func(i int, err error) {
		if found[i].err = err; err == nil {
			found[i] = c.edge.Encode(wants[i])
		}
	}
	if !batch {
		err := c.edge.LoadOne(ctx, wants[0]) // one by one, each in a place of its own
		take(0, err)
		return outcome[[]Loaded]{found, err}
	}
	errs := c.edge.LoadMany(ctx, wants)
	for i, err := range errs {
		take(i, err)
	}
	return outcome[[]Loaded]{found, failureOf(errs)}
}

// failureOf is the first error that is no absence.
func failureOf(errs []error) error {
	for _, err := range errs {
		if err != nil && !isAbsence(err) {
			return err
		}
	}
	return nil
}

// LoadHere loads on the caller's goroutine, with its ctx, for this caller alone. It needs no place: the caller may hold a
// connection to the database, for which loads that have places wait.
func (c *Core) LoadHere(ctx context.Context, w *Want) error {
	c.noteLag(ctx)
	ctx, cancel := context.WithTimeout(ctx, c.Config.LoadTimeout)
	defer cancel()
	ctx, loading, _ := c.enterLoad(ctx, LoadInfo{}, w.Name)
	err := ErrNoReturn // until it does
	defer func() { loading.end(err) }()
	err = c.edge.LoadOne(ctx, w)
	return err
}

// loadOwn is loadHere in a place, for which it waits.
func (c *Core) loadOwn(ctx context.Context, w *Want) error {
	var tired <-chan time.Time
	if insideOf(ctx) != nil {
		tired = time.After(c.patience(ctx))
	}
	select {
	case c.places <- struct{}{}:
		defer c.places.give()
	case <-tired:
	case <-c.background.Closing.Done():
	case <-ctx.Done():
		return c.overloaded(ctx)
	}
	return c.LoadHere(ctx, w)
}

// overloaded is the error of a read whose ctx ended before there was a place for its load.
func (c *Core) overloaded(ctx context.Context) error {
	return fmt.Errorf("%w: none of %d places came free: %w", ErrOverloaded, c.Config.MaxLoads, EndOf(ctx))
}

// loadEnded says of a load that did not return why.
func (c *Core) loadEnded(err error) error {
	var p *panicError
	switch {
	case errors.As(err, &p):
		c.Config.Logger.Error("aside: the loader panicked", "cache", c.Name, "panic", p.value, "stack", string(p.stack))
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("aside: a load of cache %q took longer than %v: %w", c.Name, c.Config.LoadTimeout, err)
	}
	return err
}

// loadLimiter are the loads that may run at a time, first come, first served: a load has put something in while it runs.
type loadLimiter chan struct{}

// try takes a place if one is free.
func (p loadLimiter) try() bool {
	select {
	case p <- struct{}{}:
		return true
	default:
		return false
	}
}

func (p loadLimiter) give() { <-p }
