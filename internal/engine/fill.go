package engine

import (
	"context"
	"time"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/durations"
	"github.com/asidecache/aside/internal/redisstore"
)

// documents is the part of a fetch that asks Redis: for leases, for time while a load runs under one, and for fills.
//
// A want that needs Redis goes through these steps:
//
//	asked     its lease is asked for, or its claim if it is refreshed; Redis may answer with a document instead
//	leased    it is being loaded, and its lease is renewed
//	filled    what was loaded replaces the document that the load started from; or
//	returned  nothing is to be stored, or the fill failed: the lease is given back, so that nobody waits for it
//
// The flight rule rests on the order in which a fill goes out. The indexes of its tags come first,
// and it is barred if one was invalidated. Then the flight is closed, so that nobody joins any
// more. Then near copies note their generations, and the flight is sealed. Then the fill is sent.
type documents struct {
	*Core
	ctx       context.Context // of the loads: not cancelled with the callers
	budget    redisstore.Budget
	flight    *flight       // whose search this is; nil if nobody can join it
	refreshes bool          // documents that are served meanwhile; else what is missing
	window    time.Duration // how long after its lease a fill may come

	leased  map[*Want]struct{} // and being loaded
	ticker  *time.Ticker       // nil before the first lease
	renewal <-chan time.Time   // of the ticker
}

func (c *Core) newDocuments(ctx context.Context, b redisstore.Budget) documents {
	return documents{
		Core: c, ctx: ctx, budget: b, leased: make(map[*Want]struct{}),
		window: durations.Saturated(c.Config.LoadTimeout, durations.Times(c.Config.Timeout, 4)),
	}
}

// fillAndLease fills what has ended and asks for the leases of others, in one round trip, and returns what Redis answers about the
// leases.
func (d *documents) fillAndLease(ended, asked []*Want) []redisstore.Reply {
	filled := d.toFill(ended)
	ops := append(d.fillOps(filled), d.leaseOps(asked)...)
	// A caller that arrives while the fill is under way may know of an Invalidate that Redis executed
	// before the fill. Redis refuses that fill, but the caller would have joined.
	if len(filled) > 0 {
		d.flight.close()
	}
	for _, w := range filled {
		d.edge.WillFill(w)
	}
	if len(ops) == 0 {
		return nil
	}
	d.flight.seal()
	replies := d.send(ops, asked)
	d.stored(filled, ops, replies)
	return replies[len(filled):]
}

// send runs the ops. The last ones ask for the leases of asked. Loads may begin under these leases,
// so send reads a mark with them.
func (d *documents) send(ops []redisstore.Op, asked []*Want) []redisstore.Reply {
	if !d.Tagged || len(asked) == 0 {
		return d.Store.Run(d.ctx, &d.budget, ops)
	}
	// The mark is read in the round trip of the leases, so before any of the loads begins: an
	// invalidation of a tag that it does not show is found by the fill.
	last := len(ops)
	replies := d.Store.Run(d.ctx, &d.budget, append(ops, d.Store.MarkOp()))
	snapshot := tagSnapshotOf(replies[last])
	for _, w := range asked {
		w.snapshot = &snapshot
	}
	return replies[:last]
}

// leaseOps ask for the leases of wants, or for the claims of what is to be refreshed.
func (d *documents) leaseOps(wants []*Want) []redisstore.Op {
	ops := make([]redisstore.Op, len(wants))
	for i, w := range wants {
		w.rounds++
		if d.refreshes {
			ops[i] = redisstore.ClaimOp(w.Name, w.Source, d.claimLife(), longestClaimed(d.claimLife()))
		} else {
			ops[i] = d.Store.LeaseOp(w.Name, w.Unusable)
		}
	}
	return ops
}

// keep has the leases of wants renewed while they are being loaded.
func (d *documents) keep(wants []*Want) {
	for _, w := range wants {
		if w.leased() {
			d.leased[w] = struct{}{}
		}
	}
	if d.ticker == nil && len(d.leased) > 0 { // most loads end before a first tick, and stop it
		d.ticker = time.NewTicker(d.Store.Lease / 4)
		d.renewal = d.ticker.C
	}
}

// renew renews the leases once, beside what the fetch does meanwhile. Nothing waits for the answer, and
// a renewal that fails does no harm: the lease may expire, another process loads as well, and the fill
// of this one is refused.
func (d *documents) renew() {
	var ops []redisstore.Op
	for w := range d.leased {
		if d.Store.Breaker.Up(w.Name, redisstore.Writes) {
			ops = append(ops, d.Store.RenewOp(w.Name, w.Source.Prefix()))
		}
	}
	if ops != nil {
		go d.Store.RunAlone(d.ctx, ops...)
	}
}

// letGo ends the renewal of what is loaded.
func (d *documents) letGo(wants []*Want) {
	for _, w := range wants {
		delete(d.leased, w)
	}
}

// stop ends all renewals.
func (d *documents) stop() {
	if d.ticker != nil {
		d.ticker.Stop()
	}
}

// toFill returns which of the wants that are loaded are to be filled, or their leases given back.
func (d *documents) toFill(wants []*Want) []*Want {
	filled := only(wants, func(w *Want) bool {
		return w.Source != nil && !d.budget.Spent() && d.Store.Breaker.Up(w.Name, redisstore.Writes)
	})
	for _, w := range filled {
		w.barred = w.lagged // what is made of a lagging replica's row is as old as that
	}
	d.index(filled)
	if d.budget.Spent() { // by the indexes
		d.returnLeases(wants)
		return nil
	}
	return filled
}

// fillOps are what becomes of the documents that the loads started from.
func (d *documents) fillOps(wants []*Want) []redisstore.Op {
	ops := make([]redisstore.Op, len(wants))
	for i, w := range wants {
		ops[i] = d.fillOp(w)
	}
	return ops
}

// fillOp is what becomes of the document that the load started from.
func (d *documents) fillOp(w *Want) redisstore.Op {
	// A load that takes longer than the window must not fill: what the index and the journal keep for
	// it may have expired. The server compares, by its own clock.
	prefix := w.Source.Prefix()
	latest := w.since + d.window.Milliseconds()
	h := document.Header{Took: w.took, Version: d.version, Absent: w.Absent()}
	switch {
	case w.barred && w.leased(): // nobody is told: those who wait ask for the lease, and load later rows
		return redisstore.ReleaseOp(w.Name, prefix, 0)
	case w.barred: // the document that was to be refreshed stays, if it is still there
		return redisstore.BackoffOp(w.Name, w.Source, shortestBackoff)
	case w.Absent() && d.Config.AbsentTTL > 0:
		life := durations.Jittered(d.Config.AbsentTTL, d.Config.Jitter)
		return d.storeOp(w, h, life, life, latest)
	case w.stores():
		fresh := durations.Jittered(w.Life, d.Config.Jitter)
		h.Tags = w.Tags
		return d.storeOp(w, h, fresh, durations.Saturated(fresh, d.Config.Stale), latest)
	case !w.leased() && w.err != nil && !w.Absent():
		return redisstore.BackoffOp(w.Name, w.Source, nextBackoff(w.Source)) // a failed refresh leaves the value that is there
	default:
		return redisstore.ReleaseOp(w.Name, prefix, redisstore.ReturnedLife)
	}
}

// storeOp stores a value or an absence for life, sealed if the Cache seals. It is fresh for the
// first part of that life. What cannot be sealed is not stored.
func (d *documents) storeOp(w *Want, h document.Header, fresh, life time.Duration, latest int64) redisstore.Op {
	now, prefix := time.Now(), w.Source.Prefix()
	h.Fresh = now.Add(fresh)
	w.Fresh = time.UnixMilli(h.Fresh.UnixMilli()) // as a reader of the document has it: a near copy ends no later
	if d.seal == nil {
		isJSON := !h.Absent && embeddable(d.Config.Codec, w.Data)
		return d.Store.FillOp(w.Name, prefix, h, w.Data, isJSON, life, latest)
	}
	sealed, ok := d.sealed(w.Name, h.Absent, w.Data, now.Add(life))
	if !ok {
		return redisstore.ReleaseOp(w.Name, prefix, redisstore.ReturnedLife)
	}
	h.Sealed = true
	return d.Store.FillOp(w.Name, prefix, h, sealed, false, life, latest)
}

// stored takes what Redis answered to fillOps.
func (d *documents) stored(wants []*Want, ops []redisstore.Op, replies []redisstore.Reply) {
	var failed []*Want
	for i, w := range wants {
		r := replies[i]
		if ops[i].Verb == redisstore.ScriptFill || w.barred {
			if w.decided = r.OK && !w.barred; w.decided && ops[i].Verb == redisstore.ScriptFill {
				if d.Verifier != nil {
					w.FilledAs = witnessOfFill(ops[i].Args[1].([]byte))
				}
				d.edge.Filled(w)
			}
			d.tellFill(w, r)
		}
		if redisstore.IsOver(r.Err) && len(w.Data) >= redisstore.LargeBytes {
			d.Store.Weigh(redisstore.Late{Kind: redisstore.Writes, Names: []string{w.Name}, Size: len(w.Data)})
		}
		// Redis may have executed it all the same. Then there is no lease to be returned, and the
		// document is right: it compared.
		if r.Err != nil {
			failed = append(failed, w)
		}
	}
	d.returnLeases(failed)
}

// tellFill tells of a fill.
func (d *documents) tellFill(w *Want, r redisstore.Reply) {
	d.Teller.fill(d.ctx, FillInfo{
		Name: w.Name, Bytes: len(w.Data), Absent: w.Absent(), Refused: r.Err == nil && (w.barred || !r.OK), Err: r.Err,
	})
}

// returnLeases returns leases under which nothing was stored, so that nobody waits for them. What a call has no more time for is
// done in the background.
func (d *documents) returnLeases(wants []*Want) {
	var ops []redisstore.Op
	for _, w := range wants {
		if w.leased() && d.Store.Breaker.Up(w.Name, redisstore.Writes) {
			ops = append(ops, redisstore.ReleaseOp(w.Name, w.Source.Prefix(), redisstore.ReturnedLife))
		}
	}
	switch ctx, store := d.ctx, d.Store; {
	case ops == nil:
	case d.budget.Spent():
		d.background.Start(func() { store.RunAlone(ctx, ops...) })
	default:
		store.Run(ctx, &d.budget, ops)
	}
}
