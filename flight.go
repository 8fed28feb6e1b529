package aside

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/asidecache/aside/internal/protocol"
)

// A flight is one search for one entry, from its lease to its fill, shared by the callers of this process that miss it
// at the same time.
//
// Sharing is where a cache that is coherent in Redis becomes incoherent in the process: a caller that starts after an
// Invalidate has returned must not get what a load found that began before. Nothing in the process needs to know of that
// Invalidate (it may have happened in another one), so the rule is about order alone, and a counter gives it:
//
//	A caller may use a flight's result if the flight began after the caller arrived, or if the caller arrived before
//	the flight sent the command that decided it: the look that hit, or the fill that Redis accepted.
//
// In the first case the load began later than any Invalidate that the caller may know of. In the second, Redis executed
// the command after the caller arrived, and found the entry not invalidated since the load began. It is the sending that
// counts: a caller that arrives while the command is under way may know of an Invalidate that overtook its reply.
//
// Who may not use a result asks again, and finds a flight that began later. So a caller waits for two flights at most.
type flight[V any] struct {
	began     uint64        // ticks of the Cache's clock
	sealed    uint64        // just before the last command was sent that could decide
	decided   bool          // that command did
	onRedis   time.Duration // the time that Redis took of it
	abandoned bool          // its owner left before it had a place for the load
	decoding  decoding      // of what was loaded, for the joiners
	loaded[V]
}

// serves is the rule.
func (f *flight[V]) serves(arrived uint64) bool {
	if f.abandoned {
		return false
	}
	if f.err != nil && !f.absent() {
		return true // an error is no value: it cannot be stale
	}
	return protocol.Serves(arrived, f.began, f.sealed, f.decided)
}

// A clock orders arrivals, begins and seals in this process.
type clock struct{ ticks atomic.Uint64 }

func (c *clock) tick() uint64 { return c.ticks.Add(1) }

// miss finds the value of a key that the look did not give: through a flight that this caller owns or joins.
func (c *Cache[K, V]) miss(ctx context.Context, arrived uint64, w *want[K, V], b budget) (V, error) {
	var zero V
	for {
		flights := &c.flights
		if b.spent() || !c.usable(w.name) {
			flights, b.left = &c.direct, 0 // nobody in these waits for Redis
		}
		f, own, err := c.join(ctx, flights, w, b)
		switch {
		case err != nil:
			return zero, err
		case own:
			return f.value, raised(f.err)
		case f.serves(arrived):
			return c.share(ctx, f, w)
		default:
			b.left -= f.onRedis
		}
	}
}

// join starts a flight or joins the one under way, and waits for its end or that of ctx. It tells whether the flight is
// the caller's own.
func (c *Cache[K, V]) join(ctx context.Context, flights *singleflight.Group, w *want[K, V], b budget) (*flight[V], bool, error) {
	own, queued := false, new(atomic.Bool)
	fly := func() (any, error) {
		own = true
		f := &flight[V]{began: c.clock.tick()}
		c.fly(ctx, flights, f, w, b, queued)
		f.data = c.unshared(f.data) // which joiners decode when the owner may be modifying the value
		return f, nil
	}
	if ctx.Done() == nil { // it cannot end, so nobody leaves early
		f, _, _ := flights.Do(w.name, fly)
		return f.(*flight[V]), own, nil
	}
	select {
	case r := <-flights.DoChan(w.name, fly):
		f := r.Val.(*flight[V])
		if !own || !f.abandoned {
			return f, own, nil
		}
		return nil, true, c.overloaded(ctx)
	case <-ctx.Done():
		if queued.Load() || c.places.queues(w.name) {
			return nil, false, c.overloaded(ctx)
		}
		return nil, false, ctx.Err()
	}
}

// fly runs a flight. It must not panic or end its goroutine: singleflight would take the process with it, or leave the
// joiners waiting. All of the user's code in it runs guarded, but for the Observer and the logger.
func (c *Cache[K, V]) fly(
	ctx context.Context, flights *singleflight.Group, f *flight[V], w *want[K, V], b budget, queued *atomic.Bool,
) {
	defer func() {
		if p := recover(); p != nil {
			f.err = &panicError{value: p}
		}
	}()
	search := fetch[K, V]{
		Cache:  c,
		ctx:    context.WithoutCancel(ctx),
		queue:  ctx,
		budget: b,
		queued: queued,
		seal:   func() { f.sealed = c.clock.tick() },
		// Who asks from now on would not be served by the fill that is about to be sent, so let them begin anew.
		close: func() { flights.Forget(w.name) },
	}
	search.run([]*want[K, V]{w})
	f.decided, f.abandoned = w.decided, queued.Load()
	f.onRedis = b.left - search.budget.left
	f.loaded = w.loaded
}

// share gives a joiner what a hit would have: the owner has the flight's own value.
func (c *Cache[K, V]) share(ctx context.Context, f *flight[V], w *want[K, V]) (v V, err error) {
	ok := f.err != nil
	if !ok {
		v, ok = c.decodeFor(&f.decoding, f.data)
	}
	if !ok && c.config.shared {
		v, ok = f.value, true
	}
	if !ok {
		return c.loadHere(ctx, w.key) // it has no encoding to be shared by
	}
	c.n.joins.Add(1)
	return v, raised(f.err)
}

// raised lets a loader's panic go on in a caller, and hands all other errors through.
func raised(err error) error {
	if p := (*panicError)(nil); errors.As(err, &p) {
		panic(p.value)
	}
	return err
}
