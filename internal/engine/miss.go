package engine

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/asidecache/aside/internal/redisstore"
)

// What a caller of Get does whose look gave no answer: it joins a flight or begins one, and gets a result that the rule of flights
// lets it use. flight.go has the rule.

// Miss finds what the look did not give: through a flight that this caller owns or joins. The value is then in the want's row.
func (c *Core) Miss(ctx context.Context, m *Mode, arrived uint64, r *Reading, w *Want, b redisstore.Budget) error {
	if m.inTx() {
		return c.LoadHere(ctx, w)
	}
	switch c.loadsAbove(ctx, w.Name) {
	case 0:
	case 1:
		return c.LoadHere(ctx, w) // it would wait for itself
	default:
		return c.cycle()
	}
	loadCtx, err := c.ctxOfLoad(ctx)
	if err != nil {
		return err
	}
	for {
		flights := &c.flights
		if b.Spent() || !c.fillable(w.Name) {
			flights, b.Left = &c.direct, 0 // nobody in these waits for Redis
		}
		f, own, landed := flights.join(ctx, w.Name, arrived, func(f *flight) { c.fly(loadCtx, f, w, b) })
		if own && flights == &c.flights {
			c.streak.miss()
		}
		err := c.await(ctx, f, own, landed)
		switch {
		case err == errImpatient || err == nil && f.err == errClosed:
			return c.LoadHere(ctx, w)
		case err != nil:
			return err
		case f.lagged:
			insideOf(ctx).lags()
		}
		switch {
		case own:
			return repanic(f.err)
		case f.serves(arrived):
			return c.share(ctx, f, r, w)
		default:
			b.Left -= f.onRedis
		}
	}
}

// errImpatient says that a read inside a load has waited for others for long enough.
var errImpatient = errors.New("aside: the load of others takes too long")

// await waits until a flight has landed or ctx ends. Inside a load, it waits for another's flight
// only as long as the patience lasts.
func (c *Core) await(ctx context.Context, f *flight, own bool, landed <-chan singleflight.Result) error {
	var tired <-chan time.Time
	patience := c.patience(ctx)
	if !own && insideOf(ctx) != nil {
		tired = time.After(patience)
	}
	select {
	case <-landed:
		return nil
	case <-tired:
		f.leave()
		insideOf(ctx).waited(patience)
		return errImpatient
	case <-ctx.Done():
		defer f.leave()
		if f.queued.Load() {
			return c.overloaded(ctx)
		}
		return EndOf(ctx)
	}
}

// fly runs a flight. It must not panic or end its goroutine: singleflight would end the process, or
// leave the callers waiting. All of the user's code in it runs guarded.
func (c *Core) fly(loadCtx context.Context, f *flight, w *Want, b redisstore.Budget) {
	defer f.land()
	makeRoom(0)
	search := c.newFetch(f.wanted, loadCtx, b)
	search.flight, search.queued = f, &f.queued
	if f.before != nil {
		search.before = f.before.landed
	}
	search.run([]*Want{w})
	f.decided = w.decided
	f.onRedis = b.Left - search.budget.Left
	f.Loaded, f.row, f.adopted = w.Loaded, w.Row, w.Adopted
	f.lagged = f.lagged || w.lags
	f.Data = c.unshared(f.Data) // which joiners decode when the owner may be modifying the value
}

// share gives a joiner what a hit would give it. The flight's own value is for the owner.
func (c *Core) share(ctx context.Context, f *flight, r *Reading, w *Want) error {
	switch {
	case f.err != nil || c.edge.Share(w, f.Data, &f.decoding) == nil:
	case c.Config.Shared:
		w.Row = f.row
	default:
		return c.loadOwn(ctx, w) // it has no encoding to be shared by
	}
	w.Adopted = f.adopted
	c.joined(r, f)
	return repanic(f.err)
}
