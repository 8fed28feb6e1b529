package history

import (
	"slices"
	"time"
)

// Losses are the failovers of the primary of a key.
//
// Replication is asynchronous: when a replica is promoted, what the primary has confirmed since the replica last heard of
// it is undone, invalidations and holds among it. And as long as the old primary runs and has not heard of the promotion,
// it serves those clients that have not, either. Both is over when all nodes agree (LossEnd). What is stale in Redis then
// was stored before, or will be under a lease that came back, by a load that began before. So it is gone when such a load
// must have filled, and the value has expired: Config.Lost later.
//
// A planned failover loses nothing, since the primary stops to write until the replica has everything. Nothing stale is
// left after it.
type losses struct {
	all []loss // in order; they do not overlap
}

type loss struct {
	begin, end int64 // end is 0 while it lasts
	until      int64 // when nothing is left of it
	planned    bool
	doubtful   []doubt // while it lasts
}

// A doubt is a version that would have become obligatory, and that does no earlier than at.
type doubt struct {
	at, version int64
}

func (l *losses) begin(h happened) {
	l.all = append(l.all, loss{begin: h.End, planned: h.Flag&Planned != 0})
}

func (l *losses) close(h happened, life time.Duration, sure *stairs) {
	last := &l.all[len(l.all)-1]
	last.end, last.until = h.End, h.End
	if !last.planned {
		last.until += life.Nanoseconds()
	}
	for _, d := range last.doubtful {
		sure.raise(max(d.at, last.until), d.version)
	}
	last.doubtful = nil
}

// doubt reports whether a failover may undo what obliges version from at on, and was done in Redis from since on. If so,
// it obliges once nothing is left of that.
func (l *losses) doubt(since, at, version int64, sure *stairs) bool {
	var open *loss
	least := int64(0)
	for i := range l.all {
		switch f := &l.all[i]; {
		case f.end == 0:
			open = f
		case f.end >= since:
			least = max(least, max(at, f.end)+f.until-f.end)
		}
	}
	switch {
	case open != nil:
		open.doubtful = append(open.doubtful, doubt{max(at, least), version})
	case least != 0:
		sure.raise(least, version)
	default:
		return false
	}
	return true
}

// excuse says which kind of failover may be to blame for a stale read that began at t, and how long ago it was over.
// It is empty if none.
func (l *losses) excuse(t int64) (why Excuse, ago time.Duration) {
	for _, f := range l.all {
		switch {
		case t < f.begin || f.end != 0 && t >= f.until:
		case !f.planned:
			why, ago = Lost, 0
			if f.end != 0 {
				ago = time.Duration(max(0, t-f.end))
			}
		case why == "":
			why = Switched
		}
	}
	return why, ago
}

// forget drops what has no bearing on t and later.
func (l *losses) forget(t int64) {
	l.all = slices.DeleteFunc(l.all, func(f loss) bool { return f.end != 0 && f.until < t })
}
