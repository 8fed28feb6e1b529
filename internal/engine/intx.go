package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside/internal/redisstore"
	"github.com/asidecache/aside/internal/watch"
)

// The life of a transaction, as the cache sees it:
//
//	begin     InTx makes a tx; an InTx inside it makes a run of the same tx
//	hold      each Invalidate notes what it names, and holds it: reads inside, and fills everywhere, stop
//	renew     while fn runs, each hold is placed again every third of WithHold
//	end       fn has returned or panicked; from here on, what goes on under its ctx is outside
//	release   the outcome is known: the holds end, which invalidates once more
//	prolong   it is unknown: all is held for WithHold from now on, and expires, since a COMMIT whose answer
//	          was lost may land until then
//
// No step needs to know of a driver, or whether the transaction has begun: what counts is that the hold is
// placed before the COMMIT, and ends after it.

// InTx is that of package aside.
func InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	if outer := runOf(ctx); outer != nil && !outer.tx.over() {
		return (&run{tx: outer.tx, outer: outer}).call(ctx, fn)
	}
	t := new(tx)
	defer t.end(context.WithoutCancel(ctx)) // after a panic as well, with an outcome that is unknown
	return (&run{tx: t}).call(ctx, fn)
}

// call calls fn with a ctx by which invalidations know the run.
func (r *run) call(ctx context.Context, fn func(ctx context.Context) error) error {
	m := ModeOf(ctx)
	err := fn(context.WithValue(ctx, modeKey{}, &Mode{bypass: m != nil && m.bypass, run: r}))
	r.tx.mu.Lock()
	defer r.tx.mu.Unlock()
	var rolledBack *rolledBackError
	r.known = err == nil || errors.As(err, &rolledBack)
	// An inner run passes the error of RolledBack on as it is, so that the outer run learns of it
	// if fn returns it. The outermost run returns the error that RolledBack was given. If fn has
	// wrapped it, it stays wrapped.
	if r.outer == nil && err == error(rolledBack) && rolledBack != nil {
		return rolledBack.err
	}
	return err
}

// RolledBack is that of package aside.
func RolledBack(err error) error { return &rolledBackError{err} }

type rolledBackError struct{ err error }

func (e *rolledBackError) Error() string {
	if e.err == nil {
		return "aside: rolled back"
	}
	return e.err.Error()
}

func (e *rolledBackError) Unwrap() error { return e.err }

// hold places the holds of what is invalidated in r, all together, and removes what has the tags. If Redis is known to be down,
// nothing is sent: a hold that arrives late would outlive its transaction. It reports whether the tx is still open.
func (r *run) hold(ctx context.Context, w *write) (open bool, err error) {
	var tasks []task
	var placed []*holds
	var subjects []subject
	for _, wp := range w.parts {
		names, tags := sortedOut(wp.subjects)
		// They are noted before anything is sent: reads inside go to the loader from here on.
		if open = r.use(wp.Of, func(p *part) {
			p.entries.note(names)
			p.tags.note(tags)
			r.tx.tagged = r.tx.tagged || len(tags) > 0
			p.keep(ctx)
			tasks = append(tasks, p.placeTasks(p.entries, names, 0)...)
			tasks = append(tasks, p.placeTasks(p.tags, tags, 0)...)
			placed = append(placed, p.entries, p.tags)
		}); !open {
			return false, nil
		}
		subjects = append(subjects, wp.subjects...)
	}
	subjects = unique(subjects)
	c := w.lead()
	// All or nothing: a transaction whose holds are placed in part is no more protected than one without,
	// and the caller learns it from the same error. What was noted is invalidated in the end.
	if slices.ContainsFunc(subjects, func(s subject) bool { return !c.isUp(s) }) {
		return true, notHeld(subjects, subjects, errKnownDown)
	}
	failed, err := c.attempt(ctx, tasks)
	if err == nil {
		failed, err = c.removeTagged(ctx, groupOf(subjects).tags)
	}
	if err == nil {
		failed, err = c.tell(ctx, subjects)
	}
	if err != nil {
		dropNear(subjects)
		for _, hs := range placed {
			hs.lost() // so that all is removed at the end
		}
		return true, notHeld(failed, subjects, err)
	}
	return true, r.tx.late()
}

// keep has the holds of p renewed. It begins before the first is placed, since the removal of what
// has tags may take longer than a hold lasts.
func (p *part) keep(ctx context.Context) {
	if p.stop == nil {
		p.stop = p.renew(ctx)
	}
}

// renew keeps the holds from expiring while the transaction runs. It places them again every third
// of their life, so a hold that was evicted is back before long. What has failed is tried again
// after a twelfth, so no hold expires if Redis does not answer now and then.
func (p *part) renew(ctx context.Context) (stop func()) {
	return renewing(p.Config.Hold/12, func(stopping *atomic.Bool) { p.renewDue(ctx, stopping) })
}

// renewDue places the holds again that are due, the oldest first. If the hold of a tag was gone
// (evicted or deleted), loads that saw the old rows may have been filled meanwhile.
func (p *part) renewDue(ctx context.Context, stopping *atomic.Bool) {
	var lost []string
	gone := p.entries.isGone() || p.tags.isGone()
	tasks := p.placeTasks(p.entries, p.due(p.entries), 0)
	tasks = append(tasks, p.renewTasks(p.tags, p.due(p.tags), func(tags []string) { lost = append(lost, tags...) })...)
	redisstore.Chunks(p.Store, tasks, func(chunk []task) []task {
		if stopping.Load() {
			return chunk
		}
		failed, _ := p.attemptOnce(ctx, chunk)
		return failed
	})
	if lost != nil && !stopping.Load() {
		p.placeTagsAgain(ctx, lost)
	}
	if now := p.entries.isGone() || p.tags.isGone(); now && !gone {
		_, _ = p.tell(ctx, p.subjects()) // copies may have been made meanwhile
	}
}

// subjects are all that p holds.
func (p *part) subjects() []subject {
	return append(p.entries.of.subjects(p.entries.names()), p.tags.of.subjects(p.tags.names())...)
}

// placeTagsAgain makes another record of tags, and removes what has them.
func (p *part) placeTagsAgain(ctx context.Context, tags []string) {
	if _, err := p.attempt(ctx, p.placeTasks(p.tags, tags, 0)); err == nil {
		_, _ = p.removeTagged(ctx, p.tags.of.subjects(tags))
	}
}

// end ends the holds, those of one client together.
func (t *tx) end(ctx context.Context) {
	t.mu.Lock()
	t.ended = true
	parts := t.parts
	t.mu.Unlock()
	for len(parts) > 0 {
		ledger := parts[0].ledger
		t.endOn(ctx, only(parts, func(p *part) bool { return p.ledger == ledger }))
		parts = only(parts, func(p *part) bool { return p.ledger != ledger })
	}
}

// endOn ends the holds of the caches of one client. What is unknown is held once more, and left to expire; all else is released
// together.
func (t *tx) endOn(ctx context.Context, parts []*part) {
	var e ending
	for _, p := range parts { // renewals go on meanwhile: where there are very many, the last of them would expire before
		of := t.outcomeOf(p)
		p.prolong(ctx, of.left)
		e.add(of)
	}
	stop := func() {
		for _, p := range parts {
			if p.stop != nil {
				p.stop()
			}
		}
	}
	lead := slices.MaxFunc(parts, func(a, b *part) int { return cmp.Compare(a.Config.Timeout, b.Config.Timeout) })
	lead.release(ctx, &e, stop)
	for _, p := range parts {
		p.tellEnded(ctx, &e)
	}
}

// An ending is what becomes of the holds of a tx, or of a part of it.
type ending struct {
	released []released
	left     []subject // to expire
	all      []subject // whole caches
	unknown  bool
}

// A released is what is released of some holds.
type released struct {
	*holds
	names []string
}

func (e *ending) add(of ending) {
	e.released, e.all, e.unknown = append(e.released, of.released...), append(e.all, of.all...), e.unknown || of.unknown
}

// subjects are all that is released, and the whole caches.
func (e *ending) subjects() []subject {
	all := slices.Clone(e.all)
	for _, r := range e.released {
		all = append(all, r.of.subjects(r.names)...)
	}
	return unique(all)
}

// outcomeOf tells what becomes of the holds of p. If any run of the tx has an unknown outcome, all
// are left to expire: what is released could be made again from a row that was written in that run,
// and the COMMIT of that may still land.
func (t *tx) outcomeOf(p *part) (e ending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.unknown = !t.isKnown()
	for _, hs := range []*holds{p.entries, p.tags} {
		if e.unknown {
			e.left = append(e.left, hs.of.subjects(hs.names())...)
		} else {
			e.released = append(e.released, released{hs, hs.names()})
		}
	}
	if p.all {
		e.all = []subject{{p.Core.entries, ""}}
	}
	return e
}

// release ends holds after a commit. A hold whose placing was not confirmed may be there all the
// same, so it is ended as well. If a hold was gone, or was not placed, what was filled meanwhile
// may be made from old rows: then all is held and released again.
func (c *Core) release(ctx context.Context, e *ending, stopRenewals func()) {
	subjects := e.subjects()
	if len(subjects) == 0 {
		stopRenewals()
		return
	}
	began, number := time.Now(), c.ledger.add(subjects)
	failed, err := c.removeAll(ctx, accountsOf(e.all), c.tellRemoved(ctx)) // while the rest is held
	failed, err = c.tellRest(ctx, e.all, failed, err)
	stopRenewals() // it waits for a renewal that runs: behind the release, that would hold again what is released
	var tasks []task
	for _, r := range e.released {
		tasks = append(tasks, c.releaseTasks(r.holds, r.names, r.of.longestLag())...)
	}
	didNot, why := c.attempt(ctx, tasks)
	failed, err = append(failed, didNot...), cmp.Or(err, why)
	if err == nil && slices.ContainsFunc(e.released, func(r released) bool { return len(r.names) > 0 && r.wasGone() }) {
		failed, err = c.remove(ctx, subjects)
	}
	c.ended(subjects, failed, err, number, began)
	c.warnPending(failed, err)
}

// prolong holds what is left of p for WithHold from now on. What Redis does not confirm is
// invalidated as soon as Redis is there, and again when the COMMIT has landed, if it ever lands.
func (p *part) prolong(ctx context.Context, left []subject) {
	if len(left) == 0 {
		return
	}
	began, number := time.Now(), p.ledger.add(left)
	names, tags := sortedOut(left)
	tasks := append(p.placeTasks(p.entries, names, 0), p.placeTasks(p.tags, tags, 0)...)
	failed, err := p.attempt(ctx, tasks)
	if err == nil {
		failed, err = p.removeTagged(ctx, groupOf(left).tags)
	}
	if err == nil && (p.entries.isGone() || p.tags.isGone()) {
		failed, err = p.tell(ctx, left)
	}
	p.ended(left, failed, err, number, began)
	p.warnPending(failed, err)
	if len(failed) > 0 {
		p.afterHold(func(ctx context.Context) { _ = p.invalidate(ctx, failed) }) // is pending if it fails
	}
}

// warnPending logs what was not confirmed at the end of a transaction.
func (c *Core) warnPending(failed []subject, err error) {
	if err != nil {
		c.Config.Logger.Warn("aside: a transaction ended, and what it wrote is not invalidated yet",
			"cache", c.Name, "pending", len(failed), "error", err)
	}
}

// tellEnded tells asidetest what has come to an end, and has an InvalidateAll of an unknown outcome made once more.
func (p *part) tellEnded(ctx context.Context, e *ending) {
	for _, r := range e.released {
		switch {
		case len(r.names) == 0:
		case r.holds == p.entries:
			watch.Tell(ctx, watch.Invalidation{Cache: p.Name, Names: r.names, Ended: true})
		case r.holds == p.tags:
			watch.Tell(ctx, watch.Invalidation{Cache: p.Name, Tags: r.names, Ended: true})
		}
	}
	if p.all {
		watch.Tell(ctx, watch.Invalidation{Cache: p.Name, Ended: true})
	}
	if e.unknown && p.all {
		p.afterHold(func(ctx context.Context) {
			_ = p.invalidateAll(ctx, []*Core{p.Core})
			watch.Tell(ctx, watch.Invalidation{Cache: p.Name})
		})
	}
}

// afterHold calls fn after WithHold, unless the Cache is closed before. By then a COMMIT whose
// answer was lost has landed, if it ever lands.
func (c *Core) afterHold(fn func(ctx context.Context)) {
	c.background.Start(func() {
		select {
		case <-time.After(c.Config.Hold):
			fn(context.Background())
		case <-c.background.Closing.Done():
		}
	})
}
