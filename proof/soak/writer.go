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
	breakRenew   = "renew"   // the proxies lose each hold that is placed again, as renewals are
	breakOrder   = "order"   // what is made from a row is invalidated before the row

	// Those that only tags can show.
	breakUntagged = "untagged" // the loader's values are not all given their tag
	breakIndex    = "index"    // the proxies lose one in ten entries of indexes
	breakBlind    = "blind"    // the proxies hide from loads which tags are held

	breakLag    = "lag"    // what is loaded from a standby is cached without WithReplicaLag
	breakUntold = "untold" // one of the processes has no WithNear, and tells the near copies of the others nothing
	breakUnfed  = "unfed"  // the feed calls one change in four handled that it has not invalidated
)

var breaks = []string{
	"", breakForget, breakEarly, breakNoHold, breakRelease, breakRenew, breakOrder,
	breakUntagged, breakIndex, breakBlind, breakLag, breakUntold, breakUnfed,
}

// write writes again and again.
func (w *worker) write(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		switch n := random.IntN(100); {
		case n < 39:
			w.plain(ctx, w.drafts(random, 12), false)
		case n < 40:
			w.plain(ctx, w.drafts(random, 3), true)
		case n < 41:
			w.everythingInTx(ctx, w.drafts(random, 3))
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
	keys := []int{w.pick(random, w.first(random))}
	if random.IntN(several) == 0 {
		keys = slices.Concat(w.some(random, 0, 2), w.some(random, w.Rows.size(), 2), w.some(random, 2*w.Rows.size(), 1))
	} else if random.IntN(5) == 0 {
		keys[0] = w.first(random) + w.Rows.Keys + random.IntN(w.Rows.Processes)
	}
	slices.Sort(keys) // so that two transactions cannot wait for each other
	drafts := make([]draft, len(keys))
	for i, key := range keys {
		drafts[i].key = key
		if w.Rows.tagged(key) && random.IntN(2) == 0 {
			drafts[i].flag = history.ByTag
		}
		drafts[i].both = drafts[i].byTag() || random.IntN(2) == 0
		drafts[i].by = families[random.IntN(len(families))]
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
	if w.update(ctx, drafts) != nil {
		return
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

// update writes rows, and holds nothing.
func (w *worker) update(ctx context.Context, drafts []draft) error {
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
		return err
	}
	for i, d := range drafts {
		drafts[i].committed = w.tell(history.Commit, d.key, d.version, 0, 0)
	}
	return nil
}

// everythingInTx writes rows and invalidates everything, in InTx. That holds nothing: it is done when the transaction has ended.
func (w *worker) everythingInTx(ctx context.Context, drafts []draft) {
	ctx = context.WithoutCancel(ctx)
	first, failed := rand.IntN(2) == 0, false
	err := aside.InTx(ctx, func(inside context.Context) error {
		if first {
			failed = w.every().InvalidateAll(inside) != nil
		}
		if err := w.update(ctx, drafts); err != nil {
			return err
		}
		if !first {
			failed = w.every().InvalidateAll(inside) != nil
		}
		return nil
	})
	if err != nil || failed {
		return
	}
	all := draft{key: history.AllKeys, flag: history.Everything}
	if start := drafts[len(drafts)-1].committed; w.owes() || w.Break == breakForget || w.Break == breakEarly {
		w.barred(all, start)
	} else {
		w.tell(history.Invalidated, all.key, 0, all.flag, start)
	}
}

// every is all caches that are read.
func (w *worker) every() (all aside.Caches) {
	for _, first := range w.Rows.firsts() {
		all = append(all, w.cache(first))
	}
	return all
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

// invalidate is recorded invalidations, of all tags at once, or of all in one call; the versions are 0 if nothing was written.
func (w *worker) invalidate(ctx context.Context, drafts []draft) {
	ctx = context.WithoutCancel(ctx)
	if rand.IntN(4) == 0 && w.Break != breakOrder {
		w.together(ctx, drafts)
		return
	}
	var tags []draft
	for _, d := range drafts {
		switch {
		case d.byTag():
			tags = append(tags, d)
		case d.both && (rand.IntN(2) == 0 || w.Break == breakOrder):
			w.oneByOne(ctx, d)
		default:
			w.together(ctx, []draft{d})
		}
	}
	if tags != nil {
		start := history.Now()
		err := w.invalidateTags(ctx, tags...)
		w.invalidated(tags, w.andMade(tags), start, err)
	}
}

// together invalidates drafts in one call.
func (w *worker) together(ctx context.Context, drafts []draft) {
	var changes []aside.Change
	for _, d := range drafts {
		changes = append(changes, w.changes(d, usual)...)
	}
	start := history.Now()
	err := aside.Invalidate(ctx, changes...)
	w.invalidated(drafts, w.andMade(drafts), start, err)
}

// changes are those of a draft. Their order says nothing.
func (w *worker) changes(d draft, of family) []aside.Change {
	if d.byTag() {
		return []aside.Change{w.of(of, d.key).Tags(w.Rows.tag(d.key))}
	}
	source := w.of(of, d.key).Keys(d.key)
	if !d.both {
		return []aside.Change{source}
	}
	made := w.Rows.made(d.key)
	return []aside.Change{w.of(of, made).Keys(made), source}
}

// oneByOne invalidates a row and then what is made from it.
func (w *worker) oneByOne(ctx context.Context, d draft) {
	made := d
	made.key = w.Rows.made(d.key)
	order := []draft{d, made}
	if w.Break == breakOrder {
		slices.Reverse(order)
	}
	start := history.Now()
	var errs [2]error
	for i, d := range order {
		errs[i] = w.cache(d.key).Invalidate(ctx, d.key)
		if i == 0 {
			time.Sleep(rand.N(5 * time.Millisecond))
		}
	}
	w.invalidated([]draft{d}, []draft{d}, start, errs[0])
	w.invalidated(nil, []draft{made}, start, errors.Join(errs[:]...))
}

// andMade adds what is made from them, to those that are invalidated with it.
func (w *worker) andMade(drafts []draft) []draft {
	all := slices.Clone(drafts)
	for _, d := range drafts {
		if d.both {
			d.key = w.Rows.made(d.key)
			all = append(all, d)
		}
	}
	return all
}

// invalidateTags asks any cache: one without tags also invalidates those of the others.
func (w *worker) invalidateTags(ctx context.Context, drafts ...draft) error {
	var tags []string
	for _, d := range drafts {
		tags = append(tags, w.Rows.tag(d.key))
	}
	return w.cache(rand.IntN(w.Rows.all())).InvalidateTags(ctx, tags...)
}

// invalidateAll is a recorded invalidation of all rows, for the sake of those that were written: in one scan, or of the sources
// first.
func (w *worker) invalidateAll(ctx context.Context, drafts []draft) {
	all := w.every()
	start := history.Now()
	var err error
	if rand.IntN(2) == 0 {
		err = all.InvalidateAll(ctx)
	} else {
		err = errors.Join(all[:sorts].InvalidateAll(ctx), all[sorts:].InvalidateAll(ctx))
	}
	w.invalidated(drafts, []draft{{key: history.AllKeys, flag: history.Everything}}, start, err)
}

// invalidated tells what has become of an invalidation of some rows, for the sake of those that were written.
func (w *worker) invalidated(written, rows []draft, start int64, err error) {
	for _, d := range rows {
		if err == nil {
			w.tell(history.Invalidated, d.key, d.version, d.flag, start)
			continue
		}
		w.barred(d, start)
	}
	if err != nil {
		for _, d := range written {
			w.tell(history.Failed, d.key, d.version, 0, start)
		}
	}
}

// barred tells that an invalidation is not confirmed yet. Its process reads the row from the loader then, unless that of a row that
// is made from another is confirmed and only that of the other is not: another process may have made it from what it knew.
func (w *worker) barred(d draft, start int64) {
	if d.key == history.AllKeys || !w.Rows.isMade(d.key) || d.byTag() {
		w.tell(history.Barred, d.key, d.version, d.flag, start)
	}
	w.owing.add(debt{d, start})
}

// A family is the Caches that are read, or those of the same names with the shorter WithHold.
type family int

const (
	usual family = iota
	short
)

func (w *worker) of(f family, key int) *aside.Cache[int, row] {
	name := w.Rows.cache(key)
	if f == short {
		return w.briefs[name]
	}
	return w.caches[name]
}

// families are who may hold a row: the end of the short holds ends none of the others.
var families = [][]family{{usual}, {usual}, {short}, {usual, short}, {short, usual}}

// A draft is one of the writes of a transaction.
type draft struct {
	key       int
	version   int64
	flag      uint8 // ByTag, or not
	both      bool  // what is made from the row is invalidated with it
	by        []family
	held      bool
	heldFrom  int64
	committed int64
}

// brief is a flag of its Held.
func (d draft) brief() uint8 {
	if slices.Contains(d.by, usual) {
		return 0
	}
	return history.Brief
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
		if random.IntN(100) == 0 {
			if err := w.holdMany(inside, random); err != nil {
				return err // the holds of the rows may have expired
			}
		}
		w.linger(random)
		if rollBack {
			return errRollBack
		}
		if leave = random.IntN(100) == 0; leave {
			return w.leave(tx, drafts)
		}
		if err := w.commit(ctx, tx, drafts); err != nil {
			return err
		}
		if random.IntN(5) == 0 { // what comes after the COMMIT is under the hold as well
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

// holdMany holds thousands of keys that nobody reads, for a short WithHold: those of the rows must be renewed meanwhile.
func (w *worker) holdMany(inside context.Context, random *rand.Rand) error {
	const many = 3000
	keys := make([]int, many)
	first := firstUnread + random.IntN(10*many)
	for i := range keys {
		keys[i] = first + i
	}
	return w.briefs[w.Rows.cache(0)].Invalidate(inside, keys...)
}

// firstUnread is more than there can be rows.
const firstUnread = 1 << 20

// linger has some transactions last longer than their holds, which are renewed meanwhile.
func (w *worker) linger(random *rand.Rand) {
	switch n := random.IntN(400); {
	case n == 0, n < 100 && w.Break == breakRenew:
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
		for _, d := range w.andMade([]draft{*d}) {
			w.tell(history.Held, d.key, d.version, d.flag|d.brief(), d.heldFrom)
		}
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

// invalidateOne asks the Caches of a draft.
func (w *worker) invalidateOne(ctx context.Context, d draft) error {
	var errs []error
	for _, of := range d.by {
		errs = append(errs, aside.Invalidate(ctx, w.changes(d, of)...))
	}
	return errors.Join(errs...)
}

// released tells that InTx has returned nil: what it held is invalidated, or owed.
func (w *worker) released(drafts []draft) {
	confirmed := !w.owes()
	for _, d := range w.andMade(drafts) {
		if confirmed && w.Break != breakNoHold {
			w.tell(history.Invalidated, d.key, d.version, d.flag, d.committed)
			continue
		}
		w.barred(d, d.committed)
	}
}

// owes reports whether Redis has yet to confirm an invalidation that has failed: of a key of either cache, or of a tag.
func (w *worker) owes() bool {
	for _, c := range w.caches {
		if c.Stats().PendingInvalidations > 0 {
			return true
		}
	}
	return false
}

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
		w.tellStats()
		pause(ctx, 20*time.Millisecond)
	}
}

// tellStats tells how many hits came from near copies, and how many were verified, since the last time.
func (w *worker) tellStats() {
	now := make(map[history.Kind]int64)
	for _, c := range w.caches {
		s := c.Stats()
		now[history.NearHits] += int64(s.NearHits)
		now[history.Verified] += int64(s.Verified.Match + s.Verified.Unstable + s.Verified.Overtaken + s.Verified.Stale)
	}
	for kind, n := range now {
		if more := n - w.told[kind]; more > 0 {
			w.rec.Add(history.Event{Kind: kind, Version: more, End: history.Now()})
		}
	}
	w.told = now
}
