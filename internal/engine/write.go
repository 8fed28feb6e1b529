package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/asidecache/aside/internal/keys"
	"github.com/asidecache/aside/internal/redisstore"
	"github.com/asidecache/aside/internal/watch"
)

// What one call invalidates, of any number of caches.
//
//	Invalidate      divides its changes by client: each client is one write
//	invalidate      renders the tags, takes each subject once, and tells observers how it went
//	holdOrRemove    inside InTx the subjects are held (intx.go), outside they are removed (removal.go)
//
// One of the caches that a write is about sends it all. The others are told what became of it.

// A write is what one call invalidates through one client.
type write struct {
	ledger *ledger
	parts  []*writePart
}

// A writePart is what a write is about in one Cache.
type writePart struct {
	Change
	subjects []subject
}

// writesOf divides changes by client, in their order. Changes of one Cache become one part.
func writesOf(changes []Change) (writes []*write) {
	for _, ch := range changes {
		if ch.Of == nil || len(ch.Names)+len(ch.Tags) == 0 && ch.Err == nil {
			continue
		}
		i := slices.IndexFunc(writes, func(w *write) bool { return w.ledger == ch.Of.ledger })
		if i < 0 {
			i, writes = len(writes), append(writes, &write{ledger: ch.Of.ledger})
		}
		writes[i].add(ch)
	}
	return writes
}

func (w *write) add(ch Change) {
	i := slices.IndexFunc(w.parts, func(p *writePart) bool { return p.Of == ch.Of })
	if i < 0 {
		i, w.parts = len(w.parts), append(w.parts, &writePart{Change: Change{Of: ch.Of}})
	}
	p := w.parts[i]
	p.Names, p.Tags, p.Err = append(p.Names, ch.Names...), append(p.Tags, ch.Tags...), cmp.Or(p.Err, ch.Err)
}

// invalidate does what an invalidation means under ctx: inside InTx, or outside.
func (w *write) invalidate(ctx context.Context) error {
	start, held := time.Now(), ModeOf(ctx).inTx()
	var subjects []subject
	for _, p := range w.parts {
		p.Names = unique(p.Names)
		p.subjects = append(p.Of.entries.subjects(p.Names), p.Of.tags.subjects(keys.Tags(p.Tags))...)
		subjects = append(subjects, p.subjects...)
	}
	subjects = unique(subjects) // two caches of one scope may name one tag
	var err error
	if len(subjects) > 0 {
		// A request that was cancelled has written its row all the same. Redis bounds the wait.
		err = w.holdOrRemove(context.WithoutCancel(ctx), subjects)
	}
	for _, p := range w.parts {
		err = Join([]error{p.Err, err})
	}
	for _, p := range w.parts {
		p.Of.Teller.invalidate(ctx, InvalidateInfo{Names: p.Names, Tags: p.Tags, Held: held, Took: time.Since(start), Err: err})
		if len(p.Names) > 0 {
			watch.Tell(ctx, watch.Invalidation{Cache: p.Of.Name, Names: p.Names})
		}
		if len(p.Tags) > 0 {
			watch.Tell(ctx, watch.Invalidation{Cache: p.Of.Name, Tags: p.Tags})
		}
	}
	return err
}

func (w *write) holdOrRemove(ctx context.Context, subjects []subject) error {
	if r := runOf(ctx); r != nil {
		if open, err := r.hold(ctx, w); open {
			return err
		}
	}
	return w.lead().invalidate(ctx, subjects)
}

// lead is the Cache that sends it: the one with the longest WithRedisTimeout. A shorter one would give up
// on entries whose own Cache would have waited for them.
func (w *write) lead() *Core {
	return slices.MaxFunc(w.parts, func(a, b *writePart) int { return cmp.Compare(a.Of.Config.Timeout, b.Of.Config.Timeout) }).Of
}

// invalidate removes subjects, and remembers those that it could not.
func (c *Core) invalidate(ctx context.Context, subjects []subject) error {
	began, number := time.Now(), c.ledger.add(subjects) // before anything is sent: see ledger
	failed, err := c.removeUp(ctx, subjects)
	c.ended(subjects, failed, err, number, began)
	return notInvalidated(failed, subjects, err)
}

// ended tells the ledger how the first attempt for subjects ended.
func (c *Core) ended(subjects, failed []subject, err error, number uint64, began time.Time) {
	c.retry(c.ledger.done(subjects, failed, redisstore.IsForbidden(err), number, began))
}

// errKnownDown says that nothing was sent.
var errKnownDown = errors.New("the server is known to be down: it is tried in the background")

// removeUp is remove for what lies on a primary that is not known to be down. The rest fails at once: it is
// sent by the retry, so the caller need not wait for a timeout that is known to come.
func (c *Core) removeUp(ctx context.Context, subjects []subject) (failed []subject, err error) {
	up := make([]subject, 0, len(subjects))
	for _, s := range subjects {
		if c.isUp(s) {
			up = append(up, s)
		} else {
			failed, err = append(failed, s), errKnownDown
		}
	}
	if len(up) > 0 {
		didNot, why := c.remove(ctx, up)
		failed, err = append(failed, didNot...), cmp.Or(why, err)
	}
	return failed, err
}

// isUp reports whether an invalidation of s is worth sending.
func (c *Core) isUp(s subject) bool {
	name := s.name
	if s.of.books != nil {
		name = s.of.books.Journal
	}
	return name == "" || !c.Store.Breaker.DownFor(name, redisstore.Writes)
}

// Join joins errors. One alone stays as it is.
func Join(errs []error) error {
	errs = only(errs, func(err error) bool { return err != nil })
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// A Change is what a write has changed of one Cache. The zero Change is none.
type Change struct {
	Of    *Core
	Names []string
	Tags  []string // as they were given
	Err   error    // of the first key that cannot be rendered
}

// Invalidate is that of package aside.
func Invalidate(ctx context.Context, changes ...Change) error {
	var errs []error
	for _, w := range writesOf(changes) {
		errs = append(errs, w.invalidate(ctx))
	}
	return Join(errs)
}

// InvalidateAll is InvalidateAll of caches of one client, and tells of each.
func InvalidateAll(ctx context.Context, caches []*Core) error {
	start := time.Now()
	err := withCause(ctx, invalidateAllOrLater(ctx, caches))
	for _, c := range caches {
		c.Teller.invalidate(ctx, InvalidateInfo{All: true, Took: time.Since(start), Err: err})
		watch.Tell(ctx, watch.Invalidation{Cache: c.Name})
	}
	return err
}

// invalidateAllOrLater is invalidateAll outside InTx. Inside, it leaves that to the end of InTx.
func invalidateAllOrLater(ctx context.Context, caches []*Core) error {
	lead := caches[0]
	if err := lead.alone(context.WithoutCancel(ctx)); errors.Is(err, errManyNodes) {
		return err // nothing is pending: it would fail for ever, and no key be read from the cache
	}
	if r := runOf(ctx); r != nil {
		open := false
		for _, c := range caches {
			open = r.use(c, func(p *part) { p.all = true })
		}
		if open { // it is removed once the transaction has ended: until then its rows may be those from before
			return r.tx.late()
		}
	}
	return lead.invalidateAll(ctx, caches)
}

// invalidateAll removes what caches have, and remembers what it could not.
func (c *Core) invalidateAll(ctx context.Context, caches []*Core) error {
	all := make([]subject, len(caches))
	by := make(map[*account]*Core, len(caches))
	for i, other := range caches {
		all[i], by[other.entries] = subject{other.entries, ""}, other
	}
	all = unique(all)
	began, number := time.Now(), c.ledger.add(all)
	failed, err := c.removeAll(ctx, accountsOf(all), func(a *account, entries int) { by[a].Teller.removed(ctx, entries) })
	failed, err = c.tellRest(ctx, all, failed, err)
	c.ended(all, failed, err, number, began)
	return notInvalidated(failed, all, err)
}
