package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/proof/soak/history"
	"github.com/jackc/pgx/v5"
)

// The ways in which writers can be broken on purpose: the checker must find them.
const (
	breakForget  = "forget"  // plain writes are not invalidated, and the writer thinks that they are
	breakEarly   = "early"   // plain writes are invalidated before the COMMIT
	breakNoHold  = "nohold"  // writes in InTx invalidate with a ctx from outside
	breakRelease = "release" // the proxies lose one in ten invalidations, and answer all the same

	// Those that only tags can show.
	breakUntagged = "untagged" // the loader's values are not all given their tag
	breakIndex    = "index"    // the proxies lose one in ten entries of indexes
	breakRecord   = "record"   // the records of the journal
	breakHoldTags = "holdtags" // and one in three holds of tags
)

var breaks = []string{
	"", breakForget, breakEarly, breakNoHold, breakRelease, breakUntagged, breakIndex, breakRecord, breakHoldTags,
}

// write writes again and again.
func (w *worker) write(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		switch n := random.IntN(100); {
		case n < 39:
			w.plain(ctx, w.drafts(random, 12), false)
		case n < 40:
			w.plain(ctx, w.drafts(random, 3), true)
		case n < 90:
			w.inTx(ctx, random, w.drafts(random, 4))
		default:
			w.invalidate(ctx, w.drafts(random, 12))
		}
		pause(ctx, time.Duration(random.ExpFloat64()*float64(w.Pause)))
	}
}

// drafts draws a row to be written, or one in so many times some rows, with tags and without.
func (w *worker) drafts(random *rand.Rand, several int) []draft {
	keys := []int{w.pick(random)}
	if random.IntN(several) == 0 {
		keys = slices.Concat(w.some(random, 0, 2), w.some(random, w.Rows.half(), 2))
	} else if random.IntN(5) == 0 {
		keys[0] = w.half(random) + w.Rows.Keys + random.IntN(w.Rows.Processes)
	}
	slices.Sort(keys) // so that two transactions cannot wait for each other
	drafts := make([]draft, len(keys))
	for i, key := range keys {
		drafts[i].key = key
		if w.Rows.tagged(key) && random.IntN(2) == 0 {
			drafts[i].flag = history.ByTag
		}
	}
	return drafts
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// plain writes, and invalidates after the COMMIT: what was written, or everything.
func (w *worker) plain(ctx context.Context, drafts []draft, everything bool) {
	ctx = context.WithoutCancel(ctx)
	err := pgx.BeginFunc(ctx, w.db, func(tx pgx.Tx) (err error) {
		if w.Break == breakEarly {
			for _, d := range drafts {
				_ = w.invalidateOne(ctx, d)
			}
		}
		for i, d := range drafts {
			if drafts[i].version, err = update(ctx, tx, d.key); err != nil {
				return err
			}
			w.tell(history.Write, d.key, drafts[i].version, 0, 0)
		}
		return nil
	})
	if err != nil {
		return
	}
	for _, d := range drafts {
		w.tell(history.Commit, d.key, d.version, 0, 0)
	}
	switch {
	case w.Break == breakForget, w.Break == breakEarly:
		for _, d := range drafts {
			w.tell(history.Invalidated, d.key, d.version, d.flag, history.Now())
		}
	case everything:
		w.invalidateAll(ctx, drafts)
	default:
		w.invalidate(ctx, drafts)
	}
}

// update writes a row. Under the lock of the row the versions grow in the order of the commits, and one that is rolled
// back is never given again.
func update(ctx context.Context, tx pgx.Tx, key int) (version int64, err error) {
	if _, err = tx.Exec(ctx, "SELECT FROM rows WHERE id = $1 FOR UPDATE", key); err == nil {
		err = tx.QueryRow(ctx, "UPDATE rows SET version = nextval('versions') WHERE id = $1 RETURNING version", key).
			Scan(&version)
	}
	return version, err
}

func (w *worker) tell(kind history.Kind, key int, version int64, flag uint8, start int64) int64 {
	return w.rec.Tell(history.Event{Kind: kind, Key: uint16(key), Version: version, Flag: flag, Start: start})
}

// invalidate is recorded invalidations, of all tags at once; the versions are 0 if nothing was written.
func (w *worker) invalidate(ctx context.Context, drafts []draft) {
	ctx = context.WithoutCancel(ctx)
	var tags []draft
	for _, d := range drafts {
		if d.byTag() {
			tags = append(tags, d)
			continue
		}
		start := history.Now()
		err := w.cache(d.key).Invalidate(ctx, d.key)
		w.invalidated([]draft{d}, []draft{d}, start, err)
	}
	if tags != nil {
		start := history.Now()
		err := w.invalidateTags(ctx, tags...)
		w.invalidated(tags, tags, start, err)
	}
}

// invalidateTags asks either cache: one without tags invalidates those of the other, too.
func (w *worker) invalidateTags(ctx context.Context, drafts ...draft) error {
	var tags []string
	for _, d := range drafts {
		tags = append(tags, tag(d.key))
	}
	if rand.IntN(2) == 0 {
		return w.untagged.InvalidateTags(ctx, tags...)
	}
	return w.tagged.InvalidateTags(ctx, tags...)
}

// invalidateAll is a recorded invalidation of all rows, for the sake of those that were written.
func (w *worker) invalidateAll(ctx context.Context, drafts []draft) {
	start := history.Now()
	err := errors.Join(w.untagged.InvalidateAll(ctx), w.tagged.InvalidateAll(ctx))
	w.invalidated(drafts, []draft{{key: history.AllKeys}}, start, err)
}

// invalidated tells what has become of an invalidation of some rows, for the sake of those that were written.
func (w *worker) invalidated(written, rows []draft, start int64, err error) {
	for _, d := range rows {
		if err == nil {
			w.tell(history.Invalidated, d.key, d.version, d.flag, start)
			continue
		}
		w.tell(history.Barred, d.key, d.version, d.flag, start)
		w.owing.add(debt{d, start})
	}
	if err != nil {
		for _, d := range written {
			w.tell(history.Failed, d.key, d.version, 0, start)
		}
	}
}

// A draft is one of the writes of a transaction.
type draft struct {
	key       int
	version   int64
	flag      uint8 // ByTag, or not
	held      bool
	heldFrom  int64
	committed int64
}

func (d draft) byTag() bool { return d.flag&history.ByTag != 0 }

var errRollBack = errors.New("rolled back on purpose")

// inTx writes rows inside InTx.
func (w *worker) inTx(ctx context.Context, random *rand.Rand, drafts []draft) {
	ctx = context.WithoutCancel(ctx)
	rollBack, holdFirst, insist := random.IntN(250) == 0, random.IntN(3) == 0, random.IntN(4) == 0
	err := aside.InTx(ctx, func(inside context.Context) error {
		tx, err := w.db.Begin(ctx)
		if err != nil {
			return err
		}
		leave := false
		defer func() {
			if !leave {
				_ = tx.Rollback(ctx)
			}
		}()
		for i := range drafts {
			if err := w.draft(inside, tx, &drafts[i], holdFirst, rollBack, insist); err != nil {
				return err
			}
		}
		if random.IntN(5) == 0 {
			w.get(inside, drafts[0].key)
		}
		linger(random)
		if rollBack {
			return errRollBack
		}
		if leave = random.IntN(100) == 0; leave {
			return w.leave(tx, drafts)
		}
		if err := w.commit(ctx, tx, drafts); err != nil {
			return err
		}
		if random.IntN(5) == 0 { // what comes after the COMMIT is under the hold, too
			time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		}
		return nil
	})
	if err == nil {
		w.released(drafts)
	}
}

func (w *worker) commit(ctx context.Context, tx pgx.Tx, drafts []draft) error {
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	for i, d := range drafts {
		drafts[i].committed = w.tell(history.Commit, d.key, d.version, 0, 0)
	}
	return nil
}

var errUnknown = errors.New("the answer to COMMIT is lost on purpose")

// leave is a COMMIT that lands after its writer has been told that the connection is gone.
func (w *worker) leave(tx pgx.Tx, drafts []draft) error {
	for _, d := range drafts {
		w.tell(history.Left, d.key, d.version, 0, 0)
	}
	drafts = slices.Clone(drafts)
	go func() {
		time.Sleep(rand.N(300 * time.Millisecond))
		_ = w.commit(context.Background(), tx, drafts)
	}()
	return errUnknown
}

// linger has some transactions last longer than their holds, which are renewed meanwhile.
func linger(random *rand.Rand) {
	switch n := random.IntN(400); {
	case n == 0:
		time.Sleep(hold + hold/4)
	case n < 32:
		time.Sleep(time.Duration(3*n) * time.Millisecond)
	}
}

// draft writes and holds one row, in either order.
func (w *worker) draft(inside context.Context, tx pgx.Tx, d *draft, holdFirst, rollBack, insist bool) (err error) {
	if holdFirst {
		w.hold(inside, d)
	}
	if d.version, err = update(context.WithoutCancel(inside), tx, d.key); err != nil {
		return err
	}
	flag := uint8(history.InTx)
	if rollBack {
		flag |= history.RolledBack
	}
	w.tell(history.Write, d.key, d.version, flag, 0)
	if !holdFirst {
		w.hold(inside, d)
	}
	if d.held {
		w.tell(history.Held, d.key, d.version, d.flag, d.heldFrom)
	} else if !insist { // else it writes without Redis
		return errRollBack
	}
	return nil
}

func (w *worker) hold(inside context.Context, d *draft) {
	d.heldFrom = history.Now()
	if w.Break == breakNoHold {
		inside = context.Background()
	}
	d.held = w.invalidateOne(inside, *d) == nil
}

func (w *worker) invalidateOne(ctx context.Context, d draft) error {
	if d.byTag() {
		return w.invalidateTags(ctx, d)
	}
	return w.cache(d.key).Invalidate(ctx, d.key)
}

// released tells that InTx has returned nil: what it held is invalidated, or owed.
func (w *worker) released(drafts []draft) {
	confirmed := !w.owes()
	for _, d := range drafts {
		if confirmed && w.Break != breakNoHold {
			w.tell(history.Invalidated, d.key, d.version, d.flag, d.committed)
			continue
		}
		w.tell(history.Barred, d.key, d.version, d.flag, d.committed)
		w.owing.add(debt{d, d.committed})
	}
}

// owes reports whether Redis has yet to confirm an invalidation that has failed: of a key of either cache, or of a tag.
func (w *worker) owes() bool { return w.untagged.Stats().Owed+w.tagged.Stats().Owed > 0 }

// owing are invalidations that Redis has not confirmed, and that the cache tries again.
type owing struct {
	mu    sync.Mutex
	debts []debt
}

type debt struct {
	draft
	start int64
}

func (o *owing) add(d debt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.debts = append(o.debts, d)
}

func (o *owing) take() []debt {
	o.mu.Lock()
	defer o.mu.Unlock()
	debts := o.debts
	o.debts = nil
	return debts
}

// settle tells that invalidations which had failed are confirmed, once the cache owes none.
func (w *worker) settle(ctx context.Context) {
	for ctx.Err() == nil {
		debts := w.owing.take() // before the look: the cache owed each of these then
		if w.Break != "" {
			debts = nil
		}
		if !w.owes() {
			for _, d := range debts {
				w.tell(history.Invalidated, d.key, 0, d.flag, d.start)
			}
		} else {
			for _, d := range debts {
				w.owing.add(d)
			}
		}
		pause(ctx, 20*time.Millisecond)
	}
}
