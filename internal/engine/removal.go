package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside/internal/durations"
	"github.com/asidecache/aside/internal/redisstore"
)

// How a group of entries, tags and whole caches is removed. A group is what one call has named, or
// one InTx, or a round of the ledger.
//
// One entry may be made from another, by a loader that reads other caches. If the two were removed
// one after the other, the first might be made again in between from the old row of the second. So
// a group is removed in one atomic step if one server has all of it and a script can name it. Else
// all of it is held first, and then released. What is held cannot be filled by a load, whether it
// began before the hold or after. When the first hold is released, the old rows are gone.
//
//	hold     each entry, which removes it, and each tag with its record
//	remove   what has the tags, and what the whole caches have
//	release  all, and see whether it was held all the time
//
// If a hold was evicted or deleted, its release finds that out: then all is held and released
// again. Each hold has an id that the server made. A command that comes late or twice may place a
// hold again, but only an unbroken hold keeps its id.
//
// (proof/nested has the rules, and 60 designs that break.)

// isOneStep reports whether a script can remove all of the group, or it is one entry.
func (c *Core) isOneStep(g group) bool {
	if len(g.tags)+len(g.all) > 0 {
		return false
	}
	return len(g.entries) <= 1 || len(g.entries) <= redisstore.ChunkSize && c.Store.Together()
}

// mostTries is how often a group is held and released in one attempt, if holds are gone again and again.
const mostTries = 3

// errHoldsGone says that Redis keeps no hold for as long as a removal takes.
var errHoldsGone = errors.New("the server lost the holds under which it was removed: it may be short of memory, and evict them")

// remove is one attempt to remove what is invalidated together. It returns what Redis did not confirm, and the first error.
func (c *Core) remove(ctx context.Context, subjects []subject) (failed []subject, err error) {
	if len(subjects) == 0 {
		return nil, nil
	}
	if g := groupOf(subjects); c.isOneStep(g) { // one round trip, and nearly every Invalidate ends here
		failed, err = c.attempt(ctx, c.removeTasks(g.entries))
		if apart := !c.isOneStep(g) || redisstore.IsForbidden(err) && len(subjects) > 1; !apart {
			return c.tellRest(ctx, subjects, failed, err)
		} // else Redis has said that the keys must share a slot, or refuses one of them: they were removed one by one
	}
	for range mostTries { // each with a holder of its own: a release that comes late ends no newer hold
		grip := c.newGrip(len(subjects))
		grip.hold(ctx, subjects)
		grip.removeFound(ctx, subjects)
		if !grip.release(ctx) || grip.err != nil {
			return grip.failed, cmp.Or(grip.err, grip.kept)
		}
	}
	return subjects, errHoldsGone
}

// tellRest has near copies of subjects forgotten, except those of what has failed.
func (c *Core) tellRest(ctx context.Context, subjects, failed []subject, err error) ([]subject, error) {
	if !slices.ContainsFunc(subjects, subject.hasNear) {
		return failed, err
	}
	// What has failed is still in Redis, so other processes would copy it again: they are told once it is
	// gone. This process forgets its own copies at once, and then reads none while it is pending.
	dropNear(failed)
	isFailed := setOf(failed)
	didNot, why := c.tell(ctx, only(subjects, func(s subject) bool { return !isFailed[s] }))
	return append(failed, didNot...), cmp.Or(err, why)
}

// A grip is what one removal holds. It is used once: newGrip, hold and removeFound (a round does so again and again), release.
type grip struct {
	*Core
	holder string
	life   time.Duration // of each hold
	holds  []*holds
	held   map[subject]bool
	failed []subject // not confirmed
	err    error     // the first
	kept   error     // of entries that may not be touched
}

func (c *Core) newGrip(size int) *grip {
	// Redis does some 100,000 holds a second; this is for ten times as long.
	life := durations.Saturated(c.Store.Lease, durations.Times(100*time.Microsecond, size))
	return &grip{Core: c, holder: rand.Text(), life: life, held: make(map[subject]bool, size)}
}

// hold places the holds of subjects. A whole cache cannot be held.
func (g *grip) hold(ctx context.Context, subjects []subject) {
	var tasks []task
	for _, part := range byAccount(subjects) {
		hs := newHolds(part.of, g.holder, g.life)
		hs.note(part.names)
		g.holds = append(g.holds, hs)
		tasks = append(tasks, g.placeTasks(hs, part.names, part.of.longestLag())...)
	}
	failed, err := g.attempt(ctx, tasks)
	g.note(failed, err)
	for _, s := range subjects {
		g.held[s] = true
	}
	for _, s := range failed {
		delete(g.held, s)
	}
}

// note takes how an attempt ended. An entry that may not be touched (an ACL, or something else under its
// name) is reported in the end, and does not stop the rest from being removed.
func (g *grip) note(failed []subject, err error) {
	if kept := (*keptEntriesError)(nil); errors.As(err, &kept) {
		g.kept, err = err, nil
	}
	g.failed, g.err = append(g.failed, failed...), cmp.Or(g.err, err)
}

// removeFound is for those of subjects that are held: it removes what has the tags, and what the whole caches have. That may take
// long, so the holds are renewed.
func (g *grip) removeFound(ctx context.Context, subjects []subject) {
	held := only(subjects, func(s subject) bool { return g.held[s] })
	found := groupOf(held)
	if len(found.tags)+len(found.all) == 0 && !slices.ContainsFunc(held, subject.hasNear) {
		return
	}
	defer renewing(g.life/4, func(*atomic.Bool) { g.renew(ctx) })()
	g.note(g.removeTagged(ctx, found.tags))
	g.note(g.removeAll(ctx, found.all, g.tellRemoved(ctx)))
	g.note(g.tell(ctx, held)) // before anything is released
	dropNear(g.failed)
}

// renew places the holds again.
func (g *grip) renew(ctx context.Context) {
	var tasks []task
	for _, hs := range g.holds {
		tasks = append(tasks, g.renewTasks(hs, g.heldBy(hs), func([]string) {})...)
	}
	_, _ = g.attempt(ctx, tasks) // what was not renewed is found to be gone in the end
}

// heldBy are the names that are held by some of the holds.
func (g *grip) heldBy(hs *holds) []string {
	return only(hs.names(), func(name string) bool { return g.held[subject{hs.of, name}] })
}

// release ends the holds, and reports whether one was gone.
func (g *grip) release(ctx context.Context) (wasGone bool) {
	var tasks []task
	for _, hs := range g.holds {
		tasks = append(tasks, g.releaseTasks(hs, g.heldBy(hs), 0)...)
	}
	g.note(g.attempt(ctx, tasks))
	return slices.ContainsFunc(g.holds, (*holds).wasGone)
}

// removeAll removes every entry of accounts that was there, as a value or as a lease, when it was called: SCAN returns each key
// that is there all the time, and one that comes later began later. It does so twice, see InvalidateAll, and tells of how many.
func (c *Core) removeAll(ctx context.Context, accounts []*account, tell func(a *account, entries int)) (failed []subject, err error) {
	entries := only(accounts, func(a *account) bool { return a.books == nil })
	for range 2 {
		if len(entries) > 0 && len(failed) == 0 {
			if why := c.removeEntries(ctx, entries, tell); why != nil && !c.givenUp(why) {
				err = why
				for _, a := range entries {
					failed = append(failed, subject{a, ""})
				}
			}
		}
		for _, a := range accounts {
			all := subject{a, ""}
			if a.books == nil || slices.Contains(failed, all) {
				continue
			}
			if why := c.removeEveryTag(ctx, *a.books); why != nil && !c.givenUp(why) {
				failed, err = append(failed, all), cmp.Or(err, why)
			}
		}
	}
	return failed, err
}
