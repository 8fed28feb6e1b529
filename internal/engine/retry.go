package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asidecache/aside/internal/durations"
	"github.com/asidecache/aside/internal/redisstore"
)

// How a Cache sends again what is pending in the ledger of its client.
//
// One goroutine tries. It belongs to the Cache that noticed first. If that Cache is closed, the
// goroutine stops, and leaves the trying to the next Cache of the client that reads or fails (left,
// resume). So no goroutine belongs to a client, which nobody closes for us, and what is pending is
// tried as long as any Cache is open.
//
//	retry         begins, unless somebody tries already
//	sendAgain     waits 50 ms, 100 ms and so on up to a second between the tries
//	sendPending   one try: rounds, until nothing waits or one has failed
//	sendRound     one round: hold all of the group, what has failed first; release it
//
// A probe that finds Redis back sends what is pending as well, before anything is read from it again.

const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// retry begins to try again in the background, unless somebody does already.
func (c *Core) retry(begin bool) {
	if begin && !c.background.Start(c.sendAgain) {
		c.ledger.stop() // the Cache is closed
	}
}

// sendAgain tries until nothing that failed is pending. It runs in the background.
func (c *Core) sendAgain() {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		select {
		case <-time.After(durations.Jittered(pause, 0.2)):
		case <-c.background.Closing.Done():
			c.ledger.stop() // Shutdown tries once more, see unconfirmed
			return
		}
		if !c.sendPending(c.background.Closing) {
			return
		}
	}
}

// sendPending sends what failed and is still pending, and what is to be repeated after it, and
// reports whether there is more. Only one goroutine sends at a time: else each probe of a Redis
// that has just come back would begin a SCAN of its own.
//
// What is invalidated during a round may have to be repeated in another one. That follows at once, if nothing has failed.
func (c *Core) sendPending(ctx context.Context) (more bool) {
	select {
	case c.ledger.sending <- struct{}{}:
		return c.sendRounds(ctx)
	default:
		return true
	}
}

// sendRounds is sendPending for the goroutine that has put something into sending.
func (c *Core) sendRounds(ctx context.Context) (more bool) {
	l := c.ledger
	defer func() { <-l.sending }()
	for { // each round is about what has come to be repeated since the one before
		r, more := l.beginRound()
		if r == nil {
			return more
		}
		failed, err := c.sendRound(ctx, r)
		if l.endRound(r, failed, redisstore.IsForbidden(err)); len(failed) > 0 || ctx.Err() != nil {
			return true
		}
	}
}

// sendRound is remove for the group of a round. What has failed is held first. The rest is to be
// repeated because of that, and is held only if all of that is held. What an ACL protects is tried
// by itself.
func (c *Core) sendRound(ctx context.Context, r *retryRound) (failed []subject, err error) {
	l := c.ledger
	_, _, refused := l.sorted(r)
	didNot, why := c.remove(ctx, refused) // it would fail the script that has others in it
	for range mostTries {
		first, repeated, _ := l.sorted(r)
		if len(first)+len(repeated) == 0 {
			return didNot, why
		}
		if len(repeated) == 0 && c.isOneStep(groupOf(first)) { // nothing can be made from it in between
			failed, err = c.remove(ctx, first)
			return append(failed, didNot...), err
		}
		// What is to be repeated may be made from what has failed, so what has failed is held
		// first. Else the one could be made again from the other as soon as it is released.
		g := c.newGrip(len(r.group))
		g.hold(ctx, first)
		if g.err == nil {
			g.hold(ctx, repeated)
		} else {
			g.failed = append(g.failed, repeated...)
		}
		g.removeFound(ctx, slices.Concat(first, repeated))
		for g.err == nil {
			joining := l.joining(r)
			if len(joining) == 0 {
				break
			}
			g.hold(ctx, joining)
			g.removeFound(ctx, joining)
		}
		if wasGone := g.release(ctx); !wasGone || g.err != nil {
			return append(g.failed, didNot...), cmp.Or(g.err, g.kept)
		}
		l.holdWasGone(r)
	}
	return r.group, errHoldsGone
}

// mayNotRead reports whether a pending invalidation keeps an entry from being read from the cache.
// A Cache that was closed may have left that behind: then this Cache begins to try here.
func (c *Core) mayNotRead(name string) bool {
	if c.entries.barring.Load() > 0 {
		c.retry(c.ledger.resume())
		if c.entries.has(name) {
			return true
		}
	}
	if !c.Tagged || c.tags.barring.Load() == 0 { // two loads of counters are all that a hit pays for this
		return false
	}
	c.retry(c.ledger.resume())
	return true // nobody knows which entries have the tags
}

// probe asks whether the primary of name is back. If so, what is pending is sent before anything is read
// from it again: its entries are those from before the outage.
func (c *Core) probe(ctx context.Context, name string, k redisstore.Kind) error {
	err := c.Store.Probe(ctx, name, k)
	if !redisstore.Unreachable(err) && c.ledger.any() {
		c.sendPending(ctx)
	}
	return err
}

// pendingCount is how many invalidations of this Cache's entries, and of tags, have failed and are pending.
func (c *Core) pendingCount() int { return c.entries.failedCount() + c.tags.failedCount() }

// unconfirmed is what Close says of invalidations that are lost with the process.
func (c *Core) unconfirmed(ctx context.Context) error {
	if c.pendingCount() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.Config.LoadTimeout)
	defer cancel()
	select { // another Cache of the client may be sending just this: it is closed at the same time, or tries again
	case c.ledger.sending <- struct{}{}:
		c.sendRounds(ctx)
	case <-ctx.Done():
	}
	n := c.pendingCount()
	if n == 0 {
		return nil
	}
	return fmt.Errorf("aside: cache %q closed with %d invalidations that Redis has not confirmed", c.Name, n)
}

// givenUp drops an InvalidateAll that can never be made.
func (c *Core) givenUp(err error) bool {
	if !errors.Is(err, errManyNodes) {
		return false
	}
	c.Config.Logger.Error("aside: InvalidateAll cannot be tried again, and is given up", "cache", c.Name, "error", err)
	return true
}
