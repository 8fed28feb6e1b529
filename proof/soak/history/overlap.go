package history

import (
	"math"
	"slices"
	"time"
)

// loads count how often two loads of a key are under way at a time. One load per key is promised while a lease lives: a
// lease is voided by an invalidation, under a hold there are none, and faults take them away. What overlaps without one of
// these is counted; it is no violation, since a busy machine may also take longer to answer than a read waits for Redis.
type loads struct {
	recent  []happened // not counted yet, in no order
	touches []touch
}

// A touch is an interval in which loads may overlap.
type touch struct {
	from, to int64
	version  int64
}

// before is how long before a load its lease may have been taken: the time that a read spends on Redis.
const before = 250 * int64(time.Millisecond)

// patience is how long after a load everything is known that may have touched it.
const patience = 5 * int64(time.Second)

// touch notes an invalidation or a hold. Either lasts longer by the lag of a standby.
func (l *loads) touch(h happened, hold time.Duration, lag int64) {
	switch h.Kind {
	case Invalidated, Barred:
		l.touches = append(l.touches, touch{h.Start, h.End + lag, 0})
		for i, t := range l.touches {
			if h.Version != 0 && t.version == h.Version {
				l.touches[i].to = h.End + lag // the hold was released
			}
		}
	case Held:
		l.touches = append(l.touches, touch{h.Start, math.MaxInt64, h.Version})
	case Write:
		if h.Flag&RolledBack != 0 { // its hold is left to expire; how long the transaction lasts is not told
			l.touches = append(l.touches, touch{h.End - 2*hold.Nanoseconds(), h.End + 3*hold.Nanoseconds(), 0})
		}
	}
}

// settle counts the loads that are long past.
func (l *loads) settle(until int64, r *Result) {
	past := func(h happened) bool { return h.End+patience < until }
	for _, a := range l.recent {
		if !past(a) {
			continue
		}
		for _, b := range l.recent {
			if a.Start < b.Start && b.Start < a.End {
				r.Overlaps++
				if !l.touched(a.Start-before, b.Start) {
					r.Unexplained++
				}
			}
		}
	}
	l.recent = slices.DeleteFunc(l.recent, past)
	old := until - 3*patience
	l.touches = slices.DeleteFunc(l.touches, func(t touch) bool { return t.to < old || t.from < old-4*patience })
}

func (l *loads) touched(from, to int64) bool {
	return slices.ContainsFunc(l.touches, func(t touch) bool { return t.from <= to && t.to >= from })
}
