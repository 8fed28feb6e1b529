package history

import "container/heap"

// What obliges does so later for two kinds of reads.
//
// A row that is loaded from a standby (Config.Lag) is read as the standby has it, also where nothing is cached. So what obliges
// does so Lag later: by then the standby has the version, and the hold that WithReplicaLag has left behind is over. If a fault may
// have deleted that hold meanwhile, an old row may be cached, until the TTL is over (LagLost). InvalidateAll leaves such
// a hold only where there is an entry, so what it does to these rows is not relied upon either.
//
// Near copies know nothing of what others than the library delete (Foreign). Where processes have them, that obliges after
// Config.Near, when none of the copies is young enough any more.

// oblige says what must be read, now or later.
func (c *Checker) oblige(k *register, h happened, d doubt) {
	wait := int64(0)
	if k.lags {
		wait = c.cfg.Lag.Nanoseconds()
	}
	if h.Kind == Invalidated && h.Flag&Foreign != 0 {
		wait = max(wait, c.cfg.Near.Nanoseconds())
	}
	if wait == 0 {
		c.obliges(k, d)
		return
	}
	d.from += wait
	d.unheld = h.Kind == Invalidated && h.Flag&Everything != 0
	heap.Push(&c.pending, happened{Event: Event{Kind: late, Key: h.Key, End: d.from}, process: h.process, doubt: &d})
}

// obligesLate does so when the time has come.
func (c *Checker) obligesLate(k *register, h happened) {
	d := *h.doubt
	if k.lags && (d.unheld || k.wipes.since(d.since) || k.tagWipes.since(d.since)) {
		c.result.Doubtful[LagLost]++
		gone := Event{Kind: bound, Key: h.Key, Version: d.version, End: h.End + k.times(c.cfg.Lost).Nanoseconds()}
		heap.Push(&c.pending, happened{Event: gone, process: h.process})
		return
	}
	c.obliges(k, d)
}

// lateBy is after how long a version may be missed because of the standby.
func (c *Checker) lateBy(k *register) int64 {
	if k.lags {
		return c.cfg.Lag.Nanoseconds()
	}
	return 0
}
