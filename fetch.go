package aside

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// A want is one entry that a call needs and its look did not give.
type want[K comparable, V any] struct {
	key      K
	name     string
	unusable []byte // the document that was found and could not be used: to be replaced if it is still that
	source   *entry // what a fill replaces: the lease, or the document that is refreshed; nil: nothing may be filled
	since    int64  // when the load began to have the right to, in ms since 1970, by the server's clock
	barred   bool   // from being filled: one of its tags was invalidated during the load

	waiting bool // somebody else has the lease
	waited  bool // at some time somebody else had
	direct  bool // load, and fill nothing
	done    bool // loaded is the result
	decided bool // by Redis: it gave the document, or accepted the fill
	rounds  int  // leases asked for
	loaded[V]
}

// maxRounds is how often a want asks for a lease before it loads without one: enough for a lease that expired and a
// document that was unusable, few enough to end under a stream of foreign writes.
const maxRounds = 8

// A fetch brings the entries that are wanted, each by the first of these that works: the document that Redis has by now,
// a load under this process's lease, the document that another process fills, a load without a lease.
type fetch[K comparable, V any] struct {
	*Cache[K, V]
	ctx    context.Context // of the loads: not cancelled with the callers
	queue  context.Context // of the caller: as long as somebody wants it, a load waits for a place
	budget budget
	queued *atomic.Bool  // it waits for a place, or left without one
	waited time.Time     // since when it waits for leases of others
	many   bool          // use the batch loader
	window time.Duration // how long after since a fill may come
	mark   mark          // of the load's beginning
	seal   func()        // called just before each command that may decide
	close  func()        // called just before seal for a fill
}

// run ends when all wants are done. Close waits for it, and if the Cache was closed just now, it fills nothing.
func (f *fetch[K, V]) run(wants []*want[K, V]) {
	open := f.background.enter()
	if open {
		defer f.background.leave()
	}
	for _, w := range wants {
		w.direct = w.direct || !open || f.budget.spent() || !f.usable(w.name) || f.tagsFunc != nil && !f.store.breaker.up(journalName)
	}
	for todo := wants; len(todo) > 0; todo = undone(wants) {
		waiting := only(todo, func(w *want[K, V]) bool { return w.waiting })
		if len(waiting) == len(todo) {
			f.await(waiting)
			continue
		}
		f.round(only(todo, func(w *want[K, V]) bool { return !w.waiting }))
	}
}

// round asks for the leases of the wants, loads what it may, and fills. The place for the load is taken first: no lease
// waits in a queue for one.
func (f *fetch[K, V]) round(wants []*want[K, V]) {
	flight := wants[0].name
	if f.many {
		flight = ""
	}
	if err := f.places.acquire(f.queue, flight, f.queued); err != nil {
		for _, w := range wants {
			w.done, w.err = true, err
		}
		return
	}
	defer f.places.release(1)
	f.acquire(only(wants, func(w *want[K, V]) bool { return !w.direct }))
	mine := only(wants, func(w *want[K, V]) bool { return w.direct || w.source != nil })
	if len(mine) == 0 {
		return
	}
	stop := f.keepLeases(mine)
	took := f.load(mine, false)
	f.lastTook.Store(took.Milliseconds())
	stop()
	f.fill(mine)
}

// acquire asks for leases. A want that Redis has a document for is done.
func (f *fetch[K, V]) acquire(wants []*want[K, V]) {
	if len(wants) == 0 {
		return
	}
	steps := make([]step, len(wants))
	for i, w := range wants {
		w.rounds++
		steps[i] = f.store.leaseStep(w.name, w.unusable)
	}
	f.seal()
	for i, r := range f.runMarked(steps) {
		if w := wants[i]; r.err == nil && r.ok {
			e := parse(r.doc)
			w.source, w.since = &e, e.leasedAt()
		} else {
			f.settle(w, r)
		}
	}
}

// settle takes what Redis holds for a want whose lease this process does not have.
func (f *fetch[K, V]) settle(w *want[K, V], r reply) {
	if r.err != nil {
		f.lost(w, r.err)
		return
	}
	e := parse(r.doc)
	switch e.state {
	case none:
		w.waiting = false // the holder died, or the entry was invalidated: ask for the lease
	case leased:
		f.wait(w)
	case held, returned:
		// Whoever waited for a lease that came back without a value loads at once: one after the other would each wait
		// for the failure of the one before.
		w.waiting, w.direct = false, true
	default:
		w.waiting = false
		if f.adopt(w, &e) {
			w.done, w.decided = true, true
		} else {
			w.unusable, w.direct = r.doc, w.rounds >= maxRounds
			f.n.unusable.Add(1)
		}
	}
}

// wait has a want wait for another process's lease.
func (f *fetch[K, V]) wait(w *want[K, V]) {
	if !w.waited {
		f.n.waits.Add(1)
	}
	w.waiting, w.waited = true, true
}

// lost has a want loaded without a fill: Redis failed, or the name belongs to somebody else.
func (c *Cache[K, V]) lost(w *want[K, V], err error) {
	w.waiting, w.direct = false, true
	if isWrongType(err) {
		c.foreign(w.name)
	}
}

// adopt takes a document as the result, if it can be used.
func (f *fetch[K, V]) adopt(w *want[K, V], e *entry) bool {
	data := e.value
	// The codec may modify what it is given, even if it then fails, and a lease must find the document as it is. It is called as
	// a loader is: it may call runtime.Goexit.
	e.value = f.unshared(data)
	got, err := guarded(context.Background(), func() ended[V] {
		v, err := f.read(e, nil)
		return ended[V]{v, err}
	})
	if err != nil || errors.Is(got.err, errUnusable) {
		return false
	}
	w.loaded = loaded[V]{value: got.value, data: data, err: got.err}
	f.lastTook.Store(e.took)
	return true
}

// await polls the documents of the wants until one of them is no longer leased by somebody else.
func (f *fetch[K, V]) await(wants []*want[K, V]) {
	if f.waited.IsZero() {
		f.waited = time.Now()
	}
	names := namesOf(wants)
	for {
		time.Sleep(pollPause(time.Since(f.waited), f.usual()))
		progress := false
		for _, w := range wants {
			if time.Since(f.waited) > f.config.loadTimeout || !f.store.breaker.up(w.name) {
				w.waiting, w.direct, progress = false, true, true
			}
		}
		if progress {
			return
		}
		f.seal()
		poll := f.budget // waiting for the load is no time spent on Redis, unless Redis fails
		for i, r := range f.store.lookMany(f.ctx, &poll, names) {
			f.settle(wants[i], r)
			progress = progress || !wants[i].waiting
		}
		if poll.spent() {
			f.budget.spend()
		}
		if progress {
			return
		}
	}
}

// usual is how long the last load took that this process knows of, its own or one that it waited for.
func (c *Cache[K, V]) usual() time.Duration {
	return time.Duration(c.lastTook.Load()) * time.Millisecond
}

const (
	shortestPoll = time.Millisecond
	longestPoll  = 100 * time.Millisecond
)

// pollPause is the time until the next poll of who has waited so long for a load, which usually takes that long as far as
// this process knows. Polls are a quarter of that apart, closer the nearer it comes, and a fiftieth about then: who waits for
// a load that takes its usual time learns of the fill soon after. Later they are a ninth of the time waited apart. In all,
// that is some ten polls, or ten a second.
func pollPause(waited, usual time.Duration) time.Duration {
	off := max(waited-usual, usual-waited)
	pause := max(min(off/2, max(waited/9, usual/4)), usual/50, shortestPoll)
	return time.Duration(float64(min(pause, longestPoll)) * (0.8 + 0.4*rand.Float64()))
}

// keepLeases renews the leases while the load runs, until stop is called.
func (f *fetch[K, V]) keepLeases(wants []*want[K, V]) (stop func()) {
	leases := only(wants, func(w *want[K, V]) bool { return w.source != nil })
	if len(leases) == 0 {
		return func() {}
	}
	return every(f.store.lease/4, func() {
		var steps []step
		for _, w := range leases {
			if f.store.breaker.up(w.name) {
				steps = append(steps, f.store.renewStep(w.name, w.source.prefix()))
			}
		}
		if steps != nil {
			f.store.runAlone(f.ctx, steps...)
		}
	})
}

// every calls fn again and again, each time d after the last has ended, until stop is called. stop does not wait for one
// that runs.
func every(d time.Duration, fn func()) (stop func()) {
	done := make(chan struct{})
	timer := time.AfterFunc(d, func() { // no goroutine for what ends sooner
		for {
			fn()
			select {
			case <-time.After(d):
			case <-done:
				return
			}
		}
	})
	return func() {
		timer.Stop()
		close(done)
	}
}

// load calls the loader for all wants, and returns how long that took.
func (f *fetch[K, V]) load(wants []*want[K, V], refresh bool) time.Duration {
	start := time.Now()
	switch {
	case f.batched():
		f.setWindow(1)
		for i, l := range f.loadBatch(f.ctx, keysOf(wants), refresh) {
			wants[i].loaded, wants[i].took = l, time.Since(start)
		}
	case len(wants) == 1:
		f.setWindow(1)
		wants[0].loaded = f.loadGuarded(f.ctx, wants[0].key, refresh)
	default:
		f.loadSideBySide(wants, refresh)
	}
	return time.Since(start)
}

// batched reports whether what is to be loaded is loaded in one call.
func (f *fetch[K, V]) batched() bool { return f.many && f.batch != nil }

// sideBySide is how many loads GetMany has under way without a batch loader.
const sideBySide = 16

// loadSideBySide has one load under way in the place that it holds, and more in places that are free. Each of those is given
// back as soon as no load is left for it: one slow load must not keep the places of those that went beside it.
func (f *fetch[K, V]) loadSideBySide(wants []*want[K, V], refresh bool) {
	places := 1 + f.places.tryAcquire(min(len(wants), sideBySide)-1)
	f.setWindow((len(wants) + places - 1) / places)
	var group errgroup.Group
	group.SetLimit(places)
	var left atomic.Int64
	left.Store(int64(len(wants)))
	for _, w := range wants {
		group.Go(func() error {
			w.loaded = f.loadGuarded(f.ctx, w.key, refresh)
			if n := left.Add(-1); 0 < n && n < int64(places) {
				f.places.release(1)
			}
			return nil
		})
	}
	_ = group.Wait() // each want has its own error
}

// setWindow bounds how late loads may be stored of which so many run one after the other, so that it is known by when their
// entries will have expired, whatever stands still in between.
func (f *fetch[K, V]) setWindow(waves int) {
	f.window = saturated(times(f.config.loadTimeout, waves), times(f.config.timeout, 4))
}

// fill stores what was loaded, and gives back the leases of what is not to be stored.
func (f *fetch[K, V]) fill(wants []*want[K, V]) {
	for _, w := range wants {
		w.done = true
	}
	filled := only(wants, func(w *want[K, V]) bool {
		return w.source != nil && !f.budget.spent() && f.store.breaker.up(w.name)
	})
	f.index(filled)
	if len(filled) == 0 || f.budget.spent() {
		return
	}
	steps := make([]step, len(filled))
	for i, w := range filled {
		steps[i] = f.fillStep(w)
	}
	f.close()
	f.seal()
	var failed []step
	for i, r := range f.store.run(f.ctx, &f.budget, steps) {
		w := filled[i]
		if steps[i].script == scriptFill || w.barred {
			w.decided = r.ok && !w.barred
			f.filled(w, r)
		}
		if r.err != nil && w.source.state == leased {
			failed = append(failed, releaseStep(w.name, w.source.prefix(), returnedLife))
		}
	}
	if failed != nil && !f.budget.spent() {
		f.store.run(f.ctx, &f.budget, failed) // Redis answered, with an error: let nobody wait for this lease
	}
}

// fillStep is what becomes of the document that the load started from.
func (f *fetch[K, V]) fillStep(w *want[K, V]) step {
	prefix := w.source.prefix()
	latest := w.since + f.window.Milliseconds()
	h := header{took: w.took, version: f.config.version, absent: w.absent()}
	switch {
	case w.absent() && f.config.absentTTL > 0:
		life := jittered(f.config.absentTTL, f.config.jitter)
		h.fresh = time.Now().Add(life)
		return f.store.fillStep(w.name, prefix, h, nil, false, life, latest)
	case w.barred && w.source.state == leased:
		return releaseStep(w.name, prefix, 0)
	case w.barred:
		return backoffStep(w.name, w.source, shortestBackoff)
	case f.stores(w):
		life := jittered(w.life, f.config.jitter)
		h.fresh = time.Now().Add(life)
		isJSON := embeddable(f.config.codec, w.data)
		return f.store.fillStep(w.name, prefix, h, w.data, isJSON, saturated(life, f.config.stale), latest)
	case w.source.state != leased && w.err != nil && !w.absent():
		return backoffStep(w.name, w.source, nextBackoff(w.source)) // a failed refresh leaves the value that is there
	default:
		return releaseStep(w.name, prefix, returnedLife)
	}
}

// stores reports whether the value of w is to be stored.
func (f *fetch[K, V]) stores(w *want[K, V]) bool { return w.err == nil && w.data != nil && w.life > 0 }

// saturated adds durations.
func saturated(ds ...time.Duration) (sum time.Duration) {
	for _, d := range ds {
		if d > forever-sum {
			return forever
		}
		sum += d
	}
	return sum
}

// times multiplies a duration.
func times(d time.Duration, n int) time.Duration {
	if d > forever/time.Duration(n) {
		return forever
	}
	return time.Duration(n) * d
}

// forever is 200 years: what is counted in microseconds since 1970 stays exact as a float64.
const forever = 200 * 365 * 24 * time.Hour

// filled tells of a fill.
func (f *fetch[K, V]) filled(w *want[K, V], r reply) {
	switch {
	case r.err != nil:
	case r.ok && !w.barred:
		f.n.fills.Add(1)
	default:
		f.n.refused.Add(1)
	}
	if observe := f.config.observer.Fill; observe != nil {
		observe(f.ctx, FillInfo{
			Cache: f.name, Name: w.name, Bytes: len(w.data), Absent: w.absent(), Refused: r.err == nil && (w.barred || !r.ok), Err: r.err,
		})
	}
}

func keysOf[K comparable, V any](wants []*want[K, V]) []K {
	keys := make([]K, len(wants))
	for i, w := range wants {
		keys[i] = w.key
	}
	return keys
}

func namesOf[K comparable, V any](wants []*want[K, V]) []string {
	names := make([]string, len(wants))
	for i, w := range wants {
		names[i] = w.name
	}
	return names
}

func undone[K comparable, V any](wants []*want[K, V]) []*want[K, V] {
	return only(wants, func(w *want[K, V]) bool { return !w.done })
}

func only[T any](all []T, keep func(T) bool) []T {
	var some []T
	for _, x := range all {
		if keep(x) {
			some = append(some, x)
		}
	}
	return some
}
