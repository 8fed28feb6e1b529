package history

import (
	"slices"
	"time"
)

// Losses are what may undo, or hide an entry from, what was done to invalidate or hold a key. First, the failovers of its
// primary:
//
// Replication is asynchronous: when a replica is promoted, what the primary has confirmed since the replica last heard of
// it is undone, invalidations and holds among it. And as long as the old primary runs and has not heard of the promotion,
// it serves those clients that have not, either. Both is over when all nodes agree (LossEnd). What is stale in Redis then
// was stored before, or will be under a lease that came back, by a load that began before. So it is gone when such a load
// must have filled, and the value has expired: Config.Lost later.
//
// A planned failover loses nothing, since the primary stops to write until the replica has everything. Nothing stale is
// left after it.
//
// Others concern only what is done by tag. The node of the journal and of the held tags may fail
// over (OfBooks), which is as above. The index may lose the entry, or a failover may bring an entry
// back that is not in it (OfIndex). An invalidation of the tag then does not find the entry, even
// long after: until it has expired. It was filled by a load that had entered it into the index
// before the end, so the bound is the same.
//
// Near copies are told by records on one server (OfNear). If a failover loses them, or who may serve copies, or if the clock of
// the server steps, a process may serve an old copy until its right to is over, which it is Δ later; or, after a second failover within
// that time (Twice), until the copy is too old.
type losses struct {
	all []loss // in the order of their beginnings
}

type loss struct {
	fault      int64
	flag       uint8
	begin, end int64   // end is 0 while it lasts
	until      int64   // when nothing is left of it
	doubtful   []doubt // while it lasts
}

// A doubt is a version that would be obligatory from some time on, by what was done in Redis between since and done.
type doubt struct {
	since, done, from int64
	version           int64
	byTag             bool
	unheld            bool  // nothing may have been left for the lag of a standby
	at                int64 // from when on it is, as far as is known
}

// concerns reports whether what is done by tag, or else to the entry itself, may come to nothing.
func (f *loss) concerns(byTag bool) bool { return byTag || f.flag&(OfBooks|OfIndex) == 0 }

// undoes reports whether what d is about may come to nothing. A hold may be undone until the version is obligatory. But it has
// asked the index, which does not matter any more.
func (f *loss) undoes(d doubt) bool {
	switch {
	case !f.concerns(d.byTag):
		return false
	case f.flag&OfIndex != 0:
		return f.begin <= d.done && (f.end == 0 || f.until >= d.since)
	case f.flag&OfNear != 0:
		return f.begin <= d.from && (f.end == 0 || f.until >= d.since)
	default:
		return f.begin <= d.from && (f.end == 0 || f.end >= d.since)
	}
}

// cleared is when nothing is left of the loss, once it is over, that d is about.
func (f *loss) cleared(d doubt) int64 {
	if f.flag&(OfIndex|OfNear) != 0 {
		return f.until
	}
	return max(d.from, f.end) + f.until - f.end
}

func (l *losses) begin(h happened) {
	l.all = append(l.all, loss{fault: h.Version, flag: h.Flag, begin: h.End})
}

func (l *losses) close(h happened, life time.Duration, sure *stairs) {
	i := slices.IndexFunc(l.all, func(f loss) bool { return f.end == 0 && f.fault == h.Version && f.flag == h.Flag })
	over := &l.all[i]
	over.end, over.until = h.End, h.End+life.Nanoseconds()
	for _, d := range over.doubtful {
		d.at = max(d.at, over.cleared(d))
		l.decide(d, sure)
	}
	over.doubtful = nil
}

// decide says from when on a version is obligatory, or leaves that to a loss that is not over.
func (l *losses) decide(d doubt, sure *stairs) {
	if i := slices.IndexFunc(l.all, func(f loss) bool { return f.end == 0 && f.undoes(d) }); i >= 0 {
		l.all[i].doubtful = append(l.all[i].doubtful, d)
		return
	}
	sure.raise(d.at, d.version)
}

// oblige says that a version is obligatory, once nothing is left of what may undo it. It returns why it may not be so at once,
// or nothing.
func (l *losses) oblige(d doubt, sure *stairs) (why Excuse) {
	d.at = d.from
	for _, f := range l.all {
		if !f.undoes(d) {
			continue
		}
		if why = f.excuse(why); f.end != 0 {
			d.at = max(d.at, f.cleared(d))
		}
	}
	l.decide(d, sure)
	return why
}

// excuse says which kind of loss may be to blame for a stale read that began at t, and how long ago it was over. It is
// empty if none.
func (l *losses) excuse(t int64, byTag bool) (why Excuse, ago time.Duration) {
	for _, f := range l.all {
		if t < f.begin || f.end != 0 && t >= f.until || !f.concerns(byTag) {
			continue
		}
		if latest := f.excuse(why); latest != why || f.flag&Planned == 0 {
			why, ago = latest, 0
			if f.end != 0 {
				ago = time.Duration(max(0, t-f.end))
			}
		}
	}
	return why, ago
}

// excuse is the excuse of the latest loss, where an earlier one has the other. A planned failover explains the least.
func (f *loss) excuse(other Excuse) Excuse {
	switch {
	case f.flag&Planned != 0 && other != "":
		return other
	case f.flag&Planned != 0:
		return Switched
	case f.flag&OfIndex != 0:
		return Unindexed
	case f.flag&OfNear != 0 && other != "" && other != Switched:
		return other // it explains less
	case f.flag&OfNear != 0:
		return NearLate
	default:
		return Lost
	}
}

// forget drops what has no bearing on t and later.
func (l *losses) forget(t int64) {
	l.all = slices.DeleteFunc(l.all, func(f loss) bool { return f.end != 0 && f.until < t })
}
