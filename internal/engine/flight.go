package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/protocol"
	"github.com/asidecache/aside/internal/redisstore"
)

// A flight is one search for one entry, from its lease to its fill, shared by the callers of this
// process that miss it at the same time. It is open at first: a caller that misses the entry joins
// it. It is closed when it could serve no caller that arrives from then on: when its load begins
// without the right to fill, when its fill is about to be sent, and when its last caller leaves
// before its load has begun. When it has its result, it lands, and the callers that joined it wake.
// If the last caller leaves, a load that has begun goes on, and a wait ends.
//
// Sharing is where a cache that is coherent in Redis becomes incoherent in the process: a caller
// that starts after an Invalidate has returned must not get the result of a load that began before
// that Invalidate. Nothing in the process needs to know of that Invalidate (it may have happened in
// another one), so the rule is about order alone, and a counter gives it:
//
//	A caller may use a flight's result if the flight's load began after the caller arrived, or if the caller arrived before
//	the flight sent the command that decided it: the look that hit, or the fill that Redis accepted.
//
// In the first case the load began later than any Invalidate that the caller may know of. In the second, Redis executed
// the command after the caller arrived, and found the entry not invalidated since the load began. It is the sending that
// counts: a caller that arrives while the command is under way may know of an Invalidate that overtook its reply.
//
// If a caller may not use a result, since its fill was refused, the caller asks again, and finds a
// flight that began later. So a caller waits for two flights at most.
//
// A caller that finds the last flight closed begins a flight of its own at once. If this flight has
// to load without a lease, it waits for the one before to land: loads that fill nothing do not run
// side by side, however many callers come.
type flight struct {
	of      *flights
	name    string
	wanted  context.Context // ends when no caller is left
	queued  atomic.Bool     // it waits for a place, or left without one
	before  *flight         // of this name, if it had not landed when this one set out
	landed  chan struct{}   // closed when the rest may be read
	callers int             // guarded by of.mu, as these are until it has landed:
	loads   bool            // its load has begun
	closed  bool            // it would not serve a caller that arrives from now on
	began   uint64          // ticks of the Cache's clock: when its load began
	unwant  func()          // ends wanted; nil if a caller stays to the end

	sealed   uint64        // just before the last command was sent that could decide
	decided  bool          // that command did
	onRedis  time.Duration // how long it waited for Redis
	row      any           // of the owner's want
	adopted  *document.Entry
	decoding redisstore.Decoding // of what was loaded, for the joiners
	Loaded
}

// serves is the rule above.
func (f *flight) serves(arrived uint64) bool {
	if f.err != nil && !f.Absent() {
		return true // an error is no value: it cannot be stale
	}
	return protocol.Serves(arrived, f.began, f.sealed, f.decided)
}

// A clock orders arrivals, begins and seals in this process.
type clock struct{ ticks atomic.Uint64 }

func (c *clock) Tick() uint64 { return c.ticks.Add(1) }

// flights are those of one Cache that use Redis, or those that do not.
type flights struct {
	clock *clock
	group singleflight.Group // collapses the callers of one flight
	mu    sync.Mutex         // guards last, and parts of the flights
	last  map[string]*flight // of each name, until it lands
}

func (g *flights) init(c *clock) { g.clock, g.last = c, make(map[string]*flight) }

// join returns the flight that a caller waits for, and what tells that it has landed. It is the
// last flight of that name if that might serve the caller. Else the caller begins a flight of its
// own.
func (g *flights) join(
	ctx context.Context, name string, arrived uint64, fly func(*flight),
) (f *flight, own bool, landed <-chan singleflight.Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.last[name]
	f, own = last, last == nil || !protocol.MayServe(arrived, last.began, last.closed)
	if own {
		f = &flight{of: g, name: name, wanted: context.WithoutCancel(ctx), before: last, landed: make(chan struct{})}
		if ctx.Done() != nil {
			f.wanted, f.unwant = context.WithCancel(f.wanted)
		}
		g.last[name] = f
		g.group.Forget(name) // of the last one, which may still be under way
	}
	f.callers++
	return f, own, g.group.DoChan(name, func() (any, error) { fly(f); return nil, nil })
}

// leave is called by a caller that waits no more. A load that has not begun when the last caller leaves does not begin.
func (f *flight) leave() {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	if f.callers--; f.callers == 0 && f.unwant != nil {
		f.closed = f.closed || !f.loads
		f.unwant()
	}
}

// begin notes that the load begins. If its result may not be filled, no command will decide it: a caller that arrives from now
// on would wait for it in vain.
func (f *flight) begin(mayFill bool) {
	if f == nil {
		return
	}
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	f.loads, f.closed = true, f.closed || !mayFill
	f.began = f.of.clock.Tick()
}

// close is called before the fill is sent: it would not serve a caller that arrives from now on.
func (f *flight) close() {
	if f == nil {
		return
	}
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	f.closed = true
}

// seal is called just before each command that may decide.
func (f *flight) seal() {
	if f != nil {
		f.sealed = f.of.clock.Tick()
	}
}

// sealAt is seal for a command that was sent for others as well, just after that tick.
func (f *flight) sealAt(tick uint64) {
	if f != nil {
		f.sealed = tick
	}
}

// land ends the flight.
func (f *flight) land() {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	if f.of.last[f.name] == f {
		delete(f.of.last, f.name)
	}
	f.before = nil
	if f.unwant != nil {
		f.unwant()
	}
	close(f.landed)
}
