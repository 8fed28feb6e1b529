package engine

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/redisstore"
)

// maxRounds is how often a want asks for a lease before it loads without one: enough for a lease that expired and a
// document that was unusable, few enough to end under a stream of foreign writes.
const maxRounds = 8

// A fetch brings the entries that are wanted, each by the first of these that works: the document that Redis has by now,
// a load under this process's lease, the document that another process fills, a load without a lease.
//
// It is a loop on one goroutine; only loads run beside it. A want goes through these lists:
//
//	ready     it is to be loaded, and waits for a place
//	seated    it has a place, and asks for its lease: no lease waits in a queue for a place
//	          then it is loaded under the lease, or without one if it may not have one; or
//	waiting   somebody else has the lease: it becomes ready again, or is done, by what the poll of its name finds
//	ended     it is loaded, and is to be filled; then it is done
//
// All that are seated and ended at the same time share a round trip. A lease lives as long as its
// own load: wants that are loaded one by one take their leases, and fill, one by one.
type fetch struct {
	documents
	before   <-chan struct{} // closed when the flight before this one has landed: only one at a time loads without a lease
	queued   *atomic.Bool    // it waits for a place, or left without one
	patience patience        // with others
	many     bool            // use the batch loader

	// Only the goroutine of the fetch touches what follows. A load, or a poll, that has news sends
	// a func through events, and the loop runs it: so no state of the fetch needs a lock.

	ready, seated, ended []*Want
	waiting              map[*Want]struct{}
	loads                int             // under way
	slots                int             // loads that may be under way at a time
	held                 int             // places of those that are seated
	entered              bool            // Close waits for it
	events               chan func()     // ends of loads, and news of leases: for the loop to run
	closing              <-chan struct{} // closed when the Cache is; nil once that is known
	leaving              <-chan struct{} // closed when no caller is left; nil once that is known
	quit                 error           // why what has no place is given up; nil while callers are there, and the Cache is open
	gaveUp               error           // quit, if anything was
}

// A patience bounds how long a fetch waits for what others do, from when it first waits.
type patience struct {
	limit time.Duration
	tired <-chan time.Time // when it is over; nil while there was nothing to wait for
	over  bool
}

// begin starts the clock at the first wait, and not before: the time of the fetch's own loads does
// not count.
func (p *patience) begin() {
	if p.tired == nil {
		p.tired = time.After(p.limit)
	}
}

// sideBySide is how many loads GetMany has under way without a batch loader. WithMaxLoads bounds
// the loads of the whole Cache. This bound keeps one call of very many keys from taking all places.
const sideBySide = 16

// newFetch makes a fetch of what a caller with this ctx needs, whose loads have a ctx of their own.
func (c *Core) newFetch(ctx, loadCtx context.Context, b redisstore.Budget) *fetch {
	return &fetch{
		documents: c.newDocuments(loadCtx, b), leaving: ctx.Done(),
		queued: new(atomic.Bool), patience: patience{limit: c.patience(loadCtx)},
		waiting: make(map[*Want]struct{}),
	}
}

// run ends when all wants are done.
func (f *fetch) run(wants []*Want) {
	f.begin(wants)
	f.loop()
}

// loop is the whole of a fetch: wait until something can be done, ask Redis once for all of it,
// and begin the loads that Redis gave the right to.
func (f *fetch) loop() {
	defer f.end()
	for f.unfinished() {
		f.gather()
		f.exchange()
		f.load()
	}
}

// begin sorts out the wants that cannot wait for anybody: Redis cannot be asked about them, or they
// are being loaded by a load that this fetch is made for.
func (f *fetch) begin(wants []*Want) {
	for _, w := range wants {
		w.direct = w.direct || !f.refreshes && f.skipsRedis(w.Name)
		switch f.loadsAbove(f.ctx, w.Name) {
		case 0:
		case 1:
			w.direct = true // its caller would wait for itself
		default:
			w.got(Loaded{err: f.cycle()})
		}
	}
	f.ready = only(wants, func(w *Want) bool { return !w.done.Load() })

	// The sender of an event must never block: a fetch that has ended reads no more events, and a
	// poll sends while it holds the lock of all polls. A want has one event at a time: the end of
	// its load, or the news of its lease. A want that stopped waiting may get one more, which comes
	// too late.
	f.events = make(chan func(), 2*len(wants))
	f.closing = f.background.Closing.Done()
	f.slots = 1 // a batch loader is called once for all that is ready
	if !f.batched() {
		f.slots = min(len(wants), sideBySide)
	}
}

// skipsRedis reports whether a name is to be loaded without a lease.
func (f *fetch) skipsRedis(name string) bool {
	return f.budget.Spent() || !f.fillable(name)
}

func (f *fetch) end() {
	f.stop()
	if f.entered {
		f.background.Leave()
	}
}

func (f *fetch) unfinished() bool {
	return len(f.ready)+len(f.seated)+len(f.ended)+len(f.waiting)+f.loads > 0
}

// batched reports whether what is to be loaded is loaded in one call.
func (f *fetch) batched() bool { return f.many && f.Batches }

// gather waits until there is something to ask Redis for, or nothing left to do.
//
// It hears first and seats after that. A caller that has left, or a Cache that was closed, must not
// be given a place: its load would run for nobody.
func (f *fetch) gather() {
	for {
		f.hear()
		if f.quit != nil {
			f.giveUpRest(f.quit)
		}
		f.seat()
		if len(f.seated)+len(f.ended) > 0 || !f.unfinished() {
			return
		}
		f.await()
	}
}

// hear takes all that is there: what is ready at the same time shares a round trip.
func (f *fetch) hear() {
	if f.loads > 1 {
		runtime.Gosched() // several may have ended at the same time, and be about to say so
	}
	for {
		select {
		case happened := <-f.events:
			happened()
		case <-f.leaving:
			f.left()
		case <-f.closing:
			f.closed()
		default:
			return
		}
	}
}

// await waits for the next thing to happen.
func (f *fetch) await() {
	var place chan<- struct{} // nil takes none: a place must not be held by a fetch that cannot use it
	if f.needsPlace() {
		place = f.places
	}
	// The load that this is read for holds a place. If all places are held by loads that wait like
	// this one, none comes free. So a read inside a load is impatient here as well.
	if f.inside() && (place != nil || f.before != nil) {
		f.patience.begin()
	}
	select {
	case place <- struct{}{}:
		f.take(1)
	case happened := <-f.events:
		happened()
	case <-f.before:
		f.before = nil
	case <-f.renewal:
		f.renew()
	case <-f.patience.tired:
		f.tire()
	case <-f.leaving:
		f.left()
	case <-f.closing:
		f.closed()
	}
}

// needsPlace reports whether there is something to be loaded that only needs a place.
//
// What is loaded without a lease waits for the flight before as well. With a lease it need not:
// Redis gives a lease to one of them.
func (f *fetch) needsPlace() bool {
	return len(f.ready) > 0 && f.loads+len(f.seated) < f.slots && !(f.before != nil && f.ready[0].direct)
}

// seat gives what is ready the places that are free.
func (f *fetch) seat() {
	for f.needsPlace() && f.places.try() {
		f.take(1)
	}
	idle := f.loads+len(f.seated) == 0
	switch {
	case !f.needsPlace():
	case f.refreshes && idle:
		f.giveUp(f.ready, nil) // a refresh can wait
		f.ready = nil
	case f.inside() && f.patience.over && idle:
		f.take(0) // it is loaded in the place of the load that it is read for
	default:
		f.queued.Store(true)
	}
}

// take seats what is loaded in one place. places is how many are held for it: one or none. From
// here on Close waits.
func (f *fetch) take(places int) {
	f.queued.Store(false)
	f.held += places
	// Close waits for loads, and not for those that queue for a place: there may be very many.
	if f.entered = f.entered || f.background.Enter(); !f.entered {
		f.closed()
		f.giveUpRest(f.quit)
		f.giveBack()
		return
	}
	n := 1
	if f.batched() {
		n = len(f.ready)
	}
	f.seated, f.ready = append(f.seated, f.ready[:n]...), f.ready[n:]
}

// giveBack gives back the places that no load is begun in.
func (f *fetch) giveBack() {
	for ; f.held > 0; f.held-- {
		f.places.give()
	}
}

// left ends the wants that nobody needs any more. Loads under way go on, and fill: the database has
// begun the work, and the next caller will want the row.
func (f *fetch) left() {
	f.leaving, f.quit = nil, errNobody
	f.giveUp(f.seated, f.quit)
	f.seated = nil
	f.giveBack()
}

// errNobody says that no caller was left for a load that had not begun. The ctx of a caller is not asked why: its framework may use it
// again by now.
var errNobody = errors.New("aside: no caller is left")

// errClosed says that the Cache was closed before there was a place for the load: its caller goes on as a read of a closed Cache.
var errClosed = errors.New("aside: closed")

// closed gives up what has no place: its callers load it themselves.
func (f *fetch) closed() {
	f.closing, f.quit = nil, errClosed
	f.queued.Store(false)
}

// giveUpRest ends all wants that have no place.
func (f *fetch) giveUpRest(err error) {
	f.giveUp(slices.Concat(f.ready, slices.Collect(maps.Keys(f.waiting))), err)
	f.ready = nil
}

// giveUp ends wants without a result.
func (f *fetch) giveUp(wants []*Want, err error) {
	for _, w := range wants {
		f.stopWaiting(w)
		w.err, f.gaveUp = err, err
		f.finish(w)
	}
}

// finish ends a want.
func (f *fetch) finish(w *Want) {
	if f.refreshes {
		f.refreshing.end(w.Name)
	}
}

// exchange asks for the leases of what is seated, and fills what has ended.
//
// Other wants may be loading meanwhile. So the budget is charged only with the share of the slots
// that stand still. A GetMany of many keys without a batch loader asks Redis very often. If each
// round trip were charged in full, it would spend WithRedisTimeout on a Redis that is well, and
// would fill nothing of the rest.
func (f *fetch) exchange() {
	if f.refreshes {
		f.budget = redisstore.NewBudget(f.Config.Timeout) // nobody waits
	}
	left, still := f.budget.Left, f.slots-f.loads
	asked := only(f.seated, func(w *Want) bool { return !w.direct })
	f.answered(asked, f.fillAndLease(f.ended, asked))
	// Only now may another process refresh it: this one has filled, or has left a back-off.
	for _, w := range f.ended {
		f.finish(w)
	}
	f.ended = nil
	if !f.budget.Spent() {
		f.budget.Left = left - (left-f.budget.Left)*time.Duration(still)/time.Duration(f.slots)
	}
}

// answered takes what Redis answered to leaseOps. A want that Redis has a document for is done.
func (f *fetch) answered(wants []*Want, replies []redisstore.Reply) {
	for i, w := range wants {
		r := replies[i]
		switch {
		case f.refreshes && r.OK:
			w.since = r.At
		case f.refreshes:
			w.got(Loaded{}) // others refresh it, or it is gone
			f.finish(w)
		case r.Err == nil && r.OK:
			e := document.Parse(r.Doc)
			w.Source, w.since = &e, e.LeasedAt()
		default:
			f.settle(w, r)
		}
	}
}

// settle takes what Redis holds for a want whose lease this process does not have.
func (f *fetch) settle(w *Want, r redisstore.Reply) {
	if r.Err != nil {
		f.lost(w, r.Err)
		return
	}
	e := document.Parse(r.Doc)
	switch e.State {
	case document.None:
		// The holder died, or the entry was invalidated: ask for the lease.
	case document.Leased:
		f.wait(w)
	case document.Held, document.Returned:
		// Under a hold a transaction may commit at any moment. Nothing may be stored, so there is
		// nobody to wait for. What a lagging replica returns must not be stored elsewhere either.
		f.meets(w, e.Lagging)
		// All wants that waited for a lease that came back without a value load at once. If they
		// loaded one after the other, each would wait for the failure of the one before.
		w.direct = true
	default:
		if f.adopt(w, &e) {
			w.decided = true
			f.finish(w)
		} else {
			// The next lease says which bytes it replaces. Redis gives it only if they still lie
			// there, so a document of a newer version of the service is not thrown away unseen.
			w.Unusable, w.direct = r.Doc, w.rounds >= maxRounds
			f.n.unusable.Add(1)
		}
	}
}

// wait has a want wait for another process's lease, unless this fetch has waited for long enough.
func (f *fetch) wait(w *Want) {
	if !w.waited {
		f.n.waits.Add(1)
	}
	w.waited = true
	if f.patience.over {
		w.direct = true
		return
	}
	f.patience.begin()
	f.waiting[w] = struct{}{}
	self := new(waiter)
	// polls calls tell on a goroutine of its own. By the time the loop runs the event, the want may
	// have given up, or may wait for another lease already: then this news is not for it.
	self.tell = func(r redisstore.Reply, sealed uint64) {
		f.events <- func() {
			if w.waiter == self { // it still waits
				f.told(w, r, sealed)
			}
		}
	}
	w.waiter = self
	f.polls.wait(f.ctx, w.Name, self)
}

// told takes what a poll found for a want.
func (f *fetch) told(w *Want, r redisstore.Reply, sealed uint64) {
	w.waiter = nil
	delete(f.waiting, w)
	f.flight.sealAt(sealed) // the poll decides, and was sent then
	// Waiting for another's load is no time spent on Redis. Waiting for a Redis that hangs is.
	if errors.As(r.Err, new(redisstore.TimeoutError)) {
		f.budget.Spend()
	}
	if f.settle(w, r); !w.done.Load() {
		f.ready = append(f.ready, w)
	}
}

func (f *fetch) stopWaiting(w *Want) {
	if w.waiter != nil {
		f.polls.leave(w.Name, w.waiter)
		w.waiter = nil
		delete(f.waiting, w)
	}
}

// tire ends the wait for what others load.
func (f *fetch) tire() {
	f.patience.over = true
	if f.inside() {
		f.before = nil // the flight before may be waiting for the load that this is read for
	}
	insideOf(f.ctx).waited(f.patience.limit) // else the load above would seem slow, and be refreshed early
	for w := range f.waiting {
		f.stopWaiting(w)
		w.direct = true
		f.ready = append(f.ready, w)
	}
}

// inside reports whether what is wanted is read inside a load.
func (f *fetch) inside() bool { return insideOf(f.ctx) != nil }

// lost has a want loaded without a fill: Redis failed, or the name belongs to somebody else.
func (c *Core) lost(w *Want, err error) {
	w.direct = true
	if redisstore.IsWrongType(err) {
		c.foreign(w.Name)
	}
}

// adopt takes a document as the result, if it can be used.
func (f *fetch) adopt(w *Want, e *document.Entry) bool {
	if !f.Answers(w.Name, e, nil) {
		return false
	}
	data := e.Value
	// The codec may modify what it is given, even if it then fails, and a lease must find the document as it is. It is called as
	// a loader is: it may call runtime.Goexit.
	e.Value = f.unshared(data)
	got, err := isolated(context.Background(), func() error { return f.edge.Read(w, e) })
	switch {
	case err != nil && e.State == document.Absent: // WithNotFoundFunc's func panicked: no load would change that
		got = err
	case err != nil || got == ErrUnusable:
		return false
	}
	if !w.waited { // else the caller waited for another's load, which counts as a miss
		w.Adopted = e
	}
	w.got(Loaded{Data: data, err: got})
	f.lastTook.Store(e.Took)
	return true
}

// load begins to load what is seated, under a lease or without one. What may not be loaded yet
// waits.
func (f *fetch) load() {
	var mine []*Want
	for _, w := range f.seated {
		switch {
		case w.done.Load() || w.waiter != nil:
		case w.Source != nil || w.direct && f.before == nil:
			mine = append(mine, w)
		default: // ask once more, or wait for the flight before
			f.ready = append(f.ready, w)
		}
	}
	f.seated = nil
	switch {
	case len(mine) == 0:
	case f.batched():
		f.start(mine)
	default:
		for _, w := range mine {
			f.start([]*Want{w})
		}
	}
	f.giveBack()
}

// start has wants loaded in one of the places that are held, which is given back when that load has ended.
func (f *fetch) start(wants []*Want) {
	f.loads++
	f.flight.begin(wants[0].Source != nil)
	for _, w := range wants {
		f.meets(w, w.Source == nil && f.mayLag())
	}
	f.keep(wants)
	places := min(f.held, 1) // none for a read that is loaded in the place of the load around it
	f.held -= places
	// The loader runs beside the loop, which renews leases, hears that callers leave, and fills what
	// has ended. The place is given back before the loop hears of the end: the fill needs none, and
	// the next load need not wait for it.
	go func() {
		for i, l := range f.loadAll(f.ctx, wants, f.batched(), f.refreshes) {
			wants[i].got(l)
		}
		for range places {
			f.places.give()
		}
		f.events <- func() { f.landed(wants) }
	}()
}

// landed takes the end of a load.
func (f *fetch) landed(wants []*Want) {
	f.loads--
	f.letGo(wants) // before the fill is sent: a renewal behind it would find no lease, which is harmless, but costs
	f.lastTook.Store(wants[0].took.Milliseconds())
	f.ended = append(f.ended, wants...)
}
