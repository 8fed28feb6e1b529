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
)

var breaks = []string{"", breakForget, breakEarly, breakNoHold, breakRelease}

// write writes again and again.
func (w *worker) write(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		keys := []int{w.pick(random)}
		if random.IntN(5) == 0 {
			keys[0] = w.Keys + random.IntN(w.Slots)
		}
		switch n := random.IntN(100); {
		case n < 40:
			w.plain(ctx, keys[0])
		case n < 90:
			if random.IntN(4) == 0 {
				keys = random.Perm(w.Keys)[:min(3, w.Keys)]
			}
			slices.Sort(keys) // so that two transactions cannot wait for each other
			w.inTx(ctx, random, keys)
		default:
			w.invalidate(ctx, keys[0], 0)
		}
		pause(ctx, time.Duration(random.ExpFloat64()*float64(w.Pause)))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// plain writes, and invalidates after the COMMIT.
func (w *worker) plain(ctx context.Context, key int) {
	ctx = context.WithoutCancel(ctx)
	var version int64
	err := pgx.BeginFunc(ctx, w.db, func(tx pgx.Tx) (err error) {
		if w.Break == breakEarly {
			_ = w.rows.Invalidate(ctx, key)
		}
		if version, err = update(ctx, tx, key); err == nil {
			w.tell(history.Write, key, version, 0, 0)
		}
		return err
	})
	if err != nil {
		return
	}
	w.tell(history.Commit, key, version, 0, 0)
	switch w.Break {
	case breakForget, breakEarly:
		w.tell(history.Invalidated, key, version, 0, history.Now())
	default:
		w.invalidate(ctx, key, version)
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

// invalidate is one recorded invalidation; version is what it is for, 0 if nothing was written.
func (w *worker) invalidate(ctx context.Context, key int, version int64) {
	start := history.Now()
	err := w.rows.Invalidate(context.WithoutCancel(ctx), key)
	if err == nil {
		w.tell(history.Invalidated, key, version, 0, start)
		return
	}
	w.tell(history.Barred, key, version, 0, start)
	w.tell(history.Failed, key, version, 0, start)
	w.owing.add(debt{key, start})
}

// A draft is one of the writes of a transaction.
type draft struct {
	key       int
	version   int64
	held      bool
	heldFrom  int64
	committed int64
}

var errRollBack = errors.New("rolled back on purpose")

// inTx writes rows inside InTx.
func (w *worker) inTx(ctx context.Context, random *rand.Rand, keys []int) {
	ctx = context.WithoutCancel(ctx)
	drafts := make([]draft, len(keys))
	for i, key := range keys {
		drafts[i].key = key
	}
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
			w.get(inside, keys[0])
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
		w.tell(history.Held, d.key, d.version, 0, d.heldFrom)
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
	d.held = w.rows.Invalidate(inside, d.key) == nil
}

// released tells that InTx has returned nil: what it held is invalidated, or owed.
func (w *worker) released(drafts []draft) {
	confirmed := w.rows.Stats().Owed == 0
	for _, d := range drafts {
		if confirmed && w.Break != breakNoHold {
			w.tell(history.Invalidated, d.key, d.version, 0, d.committed)
			continue
		}
		w.tell(history.Barred, d.key, d.version, 0, d.committed)
		w.owing.add(debt{d.key, d.committed})
	}
}

// owing are invalidations that Redis has not confirmed, and that the cache tries again.
type owing struct {
	mu    sync.Mutex
	debts []debt
}

type debt struct {
	key   int
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
		if w.rows.Stats().Owed == 0 {
			for _, d := range debts {
				w.tell(history.Invalidated, d.key, 0, 0, d.start)
			}
		} else {
			for _, d := range debts {
				w.owing.add(d)
			}
		}
		pause(ctx, 20*time.Millisecond)
	}
}
