package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
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

// A group is divided by how it is removed.
type group struct {
	entries []subject
	tags    []subject
	all     []*account
}

func groupOf(subjects []subject) (g group) {
	for _, s := range subjects {
		switch {
		case s.name == "":
			g.all = append(g.all, s.of)
		case s.of.books != nil:
			g.tags = append(g.tags, s)
		default:
			g.entries = append(g.entries, s)
		}
	}
	return g
}

// isOneStep reports whether a script can remove all of the group, or it is one entry.
func (c *Core) isOneStep(g group) bool {
	if len(g.tags)+len(g.all) > 0 {
		return false
	}
	return len(g.entries) <= 1 || len(g.entries) <= redisstore.ChunkSize && c.Store.Together()
}

// mostTries is how often a group is held and released in one attempt, if holds are gone again and again.
const mostTries = 3

// errUnknownHold says that the library's next version, or somebody else, holds the entry.
var errUnknownHold = errors.New("it is held in an unknown format")

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
		grip.removeFound(ctx)
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

// removeTasks remove entries. Entries whose replicas lag, so that nothing may be cached for them
// afterwards, come first: what is made from an entry that is removed later meets the lag.
func (c *Core) removeTasks(entries []subject) []task {
	tasks := make([]task, 0, len(entries))
	for _, lagging := range []bool{true, false} {
		for i, e := range entries {
			if lag := e.of.longestLag(); lag > 0 == lagging {
				tasks = append(tasks, task{Op: c.Store.InvalidateOp(e.name, lag), about: entries[i : i+1], holds: lagging})
			}
		}
	}
	return tasks
}

// A grip is what one removal holds. It is used once: newGrip, hold (once or twice), removeFound, release.
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

// removeFound removes what has the tags that are held, and what the whole caches have. That may take long, so the holds are renewed.
func (g *grip) removeFound(ctx context.Context) {
	held := slices.Collect(maps.Keys(g.held))
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

// An accountPart is those of some subjects that are of one account.
type accountPart struct {
	of    *account
	names []string
}

// byAccount sorts out entries and tags.
func byAccount(subjects []subject) (parts []accountPart) {
	at := make(map[*account]int)
	for _, s := range subjects {
		if s.name == "" {
			continue
		}
		i, ok := at[s.of]
		if !ok {
			i = len(parts)
			at[s.of], parts = i, append(parts, accountPart{of: s.of})
		}
		parts[i].names = append(parts[i].names, s.name)
	}
	return parts
}

// indexesOf names the indexes of tags.
func indexesOf(tags []subject) []string {
	indexes := make([]string, len(tags))
	for i, s := range tags {
		indexes[i] = s.of.books.Index(s.name)
	}
	return indexes
}

// A task is an op of a removal, with what it is about.
type task struct {
	redisstore.Op
	about []subject
	told  bool                                     // the user knows that something else lies under the name
	holds bool                                     // it has failed if a hold that this version does not know was in its way
	done  func(r redisstore.Reply, sent time.Time) // takes what Redis has confirmed; nil if nothing is to be taken
}

// Key and Size are what chunks asks of a task.
func (t task) Key() string { return t.Name }
func (t task) Size() int   { return len(t.about) }

// attempt runs tasks in chunks, and each chunk has WithRedisTimeout. As soon as a chunk is
// answered, attempt calls done of the tasks that Redis has confirmed. It returns what was not
// confirmed, and the first error.
func (c *Core) attempt(ctx context.Context, tasks []task) (failed []subject, first error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	left := redisstore.Chunks(c.Store, tasks, func(chunk []task) []task {
		failed, err := c.attemptOnce(ctx, chunk)
		first = cmp.Or(first, err)
		return failed
	})
	for _, t := range left {
		failed = append(failed, t.about...)
	}
	return failed, first
}

// attemptOnce is attempt for one chunk.
func (c *Core) attemptOnce(ctx context.Context, tasks []task) (failed []task, first error) {
	ops := make([]redisstore.Op, len(tasks))
	for i, t := range tasks {
		ops[i] = t.Op
	}
	sent := time.Now() // holds are counted from here: Redis placed them later
	for i, r := range c.Store.RunAlone(ctx, ops...) {
		t, err := tasks[i], r.Err
		switch {
		case redisstore.IsWrongType(err) && t.Verb <= redisstore.LastOfEntries:
			if !t.told {
				c.foreign(t.Name)
			}
			r, err = redisstore.Reply{}, nil // not an entry, so nothing is cached, and nothing is held
		case err == nil && !r.OK && t.Verb == redisstore.ScriptHold && t.holds:
			err = errUnknownHold
		}
		if err != nil {
			failed = append(failed, t)
			if first == nil || redisstore.IsForbidden(first) {
				first = err // what Redis says of one key that an ACL protects tells less than another error
			}
		} else if t.done != nil {
			t.done(r, sent)
		}
	}
	return failed, first
}

// notInvalidated is the error of a removal.
func notInvalidated(failed, of []subject, err error) error {
	return notDone("invalidated", failed, of, err)
}

// notHeld is the error of placing holds.
func notHeld(failed, of []subject, err error) error { return notDone("held", failed, of, err) }

func notDone(done string, failed, of []subject, err error) error {
	g := groupOf(failed)
	switch {
	case err == nil:
		return nil
	case len(g.entries) > 0:
		return fmt.Errorf("aside: %d of %d keys not %s, the first is %q: %w",
			len(g.entries), len(groupOf(of).entries), done, g.entries[0].name, err)
	case len(g.tags) > 0:
		return fmt.Errorf("aside: %d tags not %s, the first is %q: %w", len(g.tags), done, g.tags[0].name, err)
	case len(g.all) > 0:
		return fmt.Errorf("aside: not all of cache %q is %s: %w", strings.TrimSuffix(g.all[0].of, ":"), done, err)
	default: // entries with a tag that may not be touched
		return fmt.Errorf("aside: not all is %s: %w", done, err)
	}
}

// sortedOut returns the names of entries and of tags.
func sortedOut(subjects []subject) (entries, tags []string) {
	g := groupOf(subjects)
	return namesOf(g.entries), namesOf(g.tags)
}

func accountsOf(all []subject) []*account {
	accounts := make([]*account, len(all))
	for i, s := range all {
		accounts[i] = s.of
	}
	return accounts
}

// milliseconds writes a duration as Redis has it.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
