package history

import (
	"container/heap"
	"slices"
	"sort"
	"time"
)

// A register is what is known of one key.
type register struct {
	floor     stairs // what must be read, if no failover has undone it
	sure      stairs // what must be read, even so
	losses    losses
	committed stairs // what is known to be committed
	writes    []*write
	wipes     span // of holds of its entry
	tagWipes  span // of holds of its tag
	loads     loads
	log       []happened // the last ones, for the print of a violation
	last      int64      // version of the last read that was decided
	made      bool       // from another key
	lags      bool       // its loads are from a standby
	makes     []uint16   // what is made from this one
	fed       int64      // the version that the feeds have come to
}

// A write is one version. Versions of a key are written one after the other, under the lock of the row.
type write struct {
	version   int64
	begun     int64 // when its COMMIT could be sent
	flag      uint8
	process   int
	held      bool
	life      int64 // of the hold
	byTag     bool
	heldFrom  int64
	heldAt    int64 // when that was confirmed
	left      int64 // when InTx returned an error, 0 if it did not
	committed int64 // when that was known, 0 if never
	excuse    Excuse
}

// An Excuse says why a committed version is not obligatory.
type Excuse string

const (
	Pending   Excuse = "plain write, Invalidate has not returned yet"
	FailedI   Excuse = "plain write, Invalidate failed and is being tried again"
	Died      Excuse = "plain write, its process died before Invalidate was confirmed"
	Unheld    Excuse = "InTx, the hold could not be placed and the writer went on"
	Alone     Excuse = "made from a row that was invalidated without it, or not in time"
	HoldLost  Excuse = "InTx, the hold was deleted in Redis before the COMMIT (DEL, FLUSHALL, eviction, restart)"
	Outlived  Excuse = "InTx, the transaction outlived its hold, under a fault or after its process had given it up"
	Unindexed Excuse = "by tag, whose index may have lost the entry (DEL, eviction, or a node that was emptied or failed over)"
	Lost      Excuse = "a failover lost what had been confirmed, or the old primary still served"
	Lagging   Excuse = "its loads are from a standby, WithReplicaLag is not over"
	LagLost   Excuse = "its loads are from a standby, and what WithReplicaLag had left was deleted (DEL, FLUSHALL, eviction, restart), or there was nothing to leave it at"
	Unfed     Excuse = "plain SQL, and by its own figure the feed has not come that far"
	NearLate  Excuse = "near copy, after a failover of what near copies are told by, or a step of its clock"
	Switched  Excuse = "during a planned failover, the old primary still served"
)

func newRegister(v int64) register {
	var k register
	k.floor.raise(0, v)
	k.sure.raise(0, v)
	k.committed.raise(0, v)
	k.writes = []*write{{version: v, committed: 1}}
	k.fed = v
	return k
}

func (k *register) find(version int64) *write {
	if i := k.above(version - 1); i < len(k.writes) && k.writes[i].version == version {
		return k.writes[i]
	}
	return nil
}

// above is the index of the first write with a larger version.
func (k *register) above(version int64) int {
	n := len(k.writes)
	if n > 0 && k.writes[n-1].version <= version {
		return n
	}
	return sort.Search(n, func(i int) bool { return k.writes[i].version > version })
}

func (k *register) forget(horizon int64) {
	k.floor.forget(horizon)
	k.sure.forget(horizon)
	k.losses.forget(horizon)
	k.committed.forget(horizon)
	if i := k.above(k.sure.at(horizon) - 1); i > 0 {
		k.writes = slices.Delete(k.writes, 0, i)
	}
}

const logLength = 400

func (k *register) note(h happened) {
	if len(k.log) == logLength {
		k.log = slices.Delete(k.log, 0, logLength/2)
	}
	k.log = append(k.log, h)
}

// apply takes an event that is the earliest of those that were not applied yet.
func (c *Checker) apply(h happened) {
	c.result.count(h.Kind)
	switch h.Kind {
	case NearHits:
		c.result.Near += h.Version
	case Verified:
		c.result.Verified += h.Version
	case CalledStale:
		c.calledStale(&c.keys[h.Key], h)
	case FaultBegin, FaultEnd:
		c.fault(h)
	case Fed:
		c.fed(h)
	default:
		if h.Key == AllKeys {
			c.applyToAll(h)
			return
		}
		c.applyTo(&c.keys[h.Key], h)
		if h.concernsWhatIsMade() {
			for _, made := range c.keys[h.Key].makes {
				h.Key = made
				c.applyTo(&c.keys[made], h)
			}
		}
	}
}

// fed takes the word of a feed for every row that it invalidates.
func (c *Checker) fed(h happened) {
	c.result.Behind = max(c.result.Behind, time.Duration(h.Version))
	for i := range c.keys {
		k := &c.keys[i]
		if version := k.committed.at(h.Start); version > k.fed && c.cfg.Fed != nil && c.cfg.Fed(uint16(i)) {
			k.fed = version
			c.applyTo(k, happened{Event: Event{Kind: Fed, Key: uint16(i), Version: version, Start: h.Start, End: h.End}, process: h.process})
		}
	}
}

func (c *Checker) applyToAll(h happened) {
	for i := range c.keys {
		if c.keys[i].made && (h.Kind == Barred || h.Kind == Invalidated && h.Flag&Apart != 0) {
			continue
		}
		h.Key = uint16(i)
		c.applyTo(&c.keys[i], h)
	}
}

// concernsWhatIsMade reports whether what happened to a key is so for what is made from it as well.
// What was held or invalidated is told of each.
func (h happened) concernsWhatIsMade() bool {
	switch h.Kind {
	case Write, Left, Commit, Observed, WipeBegin, WipeEnd, LossBegin, LossEnd:
		return true
	}
	return false
}

// times is how many TTLs add up: two, of what is made from another.
func (k *register) times(d time.Duration) time.Duration {
	if k.made {
		return 2 * d
	}
	return d
}

func (c *Checker) fault(h happened) {
	if h.Kind == FaultBegin {
		c.faults.begin()
	} else {
		c.faults.close(h.End)
	}
	if len(c.recent) == logLength {
		c.recent = slices.Delete(c.recent, 0, logLength/2)
	}
	c.recent = append(c.recent, h)
}

func (c *Checker) applyTo(k *register, h happened) {
	if h.Kind != bound && h.Kind != late {
		k.note(h)
	}
	if !c.cfg.Faults {
		k.loads.touch(h, c.cfg.Hold, c.lateBy(k))
	}
	switch h.Kind {
	case Write:
		w := &write{version: h.Version, begun: h.End, flag: h.Flag, process: h.process, excuse: Pending}
		switch {
		case h.Flag&SQL != 0:
			w.excuse = Unfed
		case k.made:
			w.excuse = Alone
		}
		k.writes = slices.Insert(k.writes, k.above(h.Version), w)
	case Held:
		if w := k.find(h.Version); w != nil {
			w.held, w.byTag, w.heldFrom, w.heldAt, w.life = true, h.Flag&ByTag != 0, h.Start, h.End, c.lifeOf(h)
		}
	case Left:
		if w := k.find(h.Version); w != nil {
			w.left = h.End
		}
	case Commit, Observed:
		c.commit(k, h)
	case Failed:
		if w := k.find(h.Version); w != nil && w.flag&InTx == 0 && !k.made {
			w.excuse = FailedI
		}
	case Invalidated:
		if h.Flag&ByTag != 0 {
			c.result.ByTag++
		}
		c.oblige(k, h, doubt{
			since: h.Start, done: h.End, from: h.End, version: k.committed.at(h.Start), byTag: h.Flag&ByTag != 0,
		})
	case Fed:
		d := doubt{since: h.Start, done: h.End, from: h.End, version: h.Version}
		if w := k.find(h.Version); w != nil {
			d.since = w.begun // it was invalidated at some time since
		}
		c.oblige(k, h, d)
	case late:
		c.obligesLate(k, h)
	case Barred:
		c.bar(k, h)
	case WipeBegin:
		k.wipesOf(h.Flag&ByTag != 0).begin()
	case WipeEnd:
		k.wipesOf(h.Flag&ByTag != 0).close(h.End)
	case LossBegin:
		k.losses.begin(h)
	case LossEnd:
		k.losses.close(h, c.lifeAfter(k, h), &k.sure)
	case bound:
		k.floor.raise(h.End, h.Version)
		k.sure.raise(h.End, h.Version)
	}
}

// lifeOf is that of a hold.
func (c *Checker) lifeOf(h happened) int64 {
	if h.Flag&Brief != 0 {
		return c.cfg.Brief.Nanoseconds()
	}
	return c.cfg.Hold.Nanoseconds()
}

// lifeAfter is for how long something may be left of a loss that is over. A planned one leaves
// nothing, except what was made from what it served. Nothing is made from near copies, and they
// last for as long as their process has the right to serve them.
func (c *Checker) lifeAfter(k *register, h happened) time.Duration {
	life := c.cfg.Lost
	switch {
	case h.Flag&Twice != 0:
		return c.cfg.Near
	case h.Flag&OfNear != 0:
		return nearDelta
	}
	if h.Flag&Planned == 0 {
		return k.times(life)
	}
	return k.times(life) - life
}

// nearDelta is Δ of the protocol of near copies: what their processes serve after they have lost the right to, if the clock of Redis
// steps or a failover loses what they were to be told.
const nearDelta = time.Second

func (k *register) wipesOf(byTag bool) *span {
	if byTag {
		return &k.tagWipes
	}
	return &k.wipes
}

// obliges says what must be read.
func (c *Checker) obliges(k *register, d doubt) {
	k.floor.raise(d.from, d.version)
	if why := k.losses.oblige(d, &k.sure); why != "" && d.version > 0 {
		c.result.Doubtful[why]++
	}
}

// commit takes the first news of a COMMIT.
func (c *Checker) commit(k *register, h happened) {
	w := k.find(h.Version)
	if w == nil || w.committed != 0 {
		return
	}
	w.committed = h.End
	k.committed.raise(h.End, h.Version)
	if w.flag&InTx != 0 {
		if w.excuse = c.excuse(k, w); w.excuse == "" {
			c.oblige(k, h, doubt{since: w.heldFrom, done: w.heldAt, from: h.End, version: h.Version, byTag: w.byTag})
		} else {
			c.result.Excused[w.excuse]++
		}
	}
	last := Event{Kind: bound, Key: h.Key, Version: h.Version, End: h.End + k.times(c.cfg.Bound).Nanoseconds() + c.lateBy(k)}
	heap.Push(&c.pending, happened{Event: last, process: h.process})
}

// excuse says why the COMMIT of a write in InTx obliges nobody, if it does not.
func (c *Checker) excuse(k *register, w *write) Excuse {
	switch {
	case !w.held && k.made:
		return Alone
	case !w.held:
		return Unheld
	case k.wipesOf(w.byTag).since(w.heldFrom):
		return HoldLost
	case w.committed > w.heldFrom+w.life && c.faults.since(w.heldFrom):
		return Outlived
	case w.left != 0 && w.committed > w.left+w.life*2/3: // the last renewal was a third of it ago
		return Outlived
	default:
		return ""
	}
}

func (c *Checker) bar(k *register, h happened) {
	s := c.streams[h.process]
	if s == nil {
		return // it has ended, and all its reads are decided
	}
	by := way{h.Key, h.Flag&ByTag != 0}
	b := s.barred[by]
	if b == nil {
		b = new(stairs)
		s.barred[by] = b
	}
	b.raise(h.End+c.lateBy(k), k.committed.at(h.Start))
}
