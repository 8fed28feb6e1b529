package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A fault is one entry of the schedule.
type fault struct {
	number   int64
	kind     kind
	at, ends time.Duration
	target   int // a process or a row, or -1 for the proxies of all processes
	luck     int // whatever else is up to chance
}

func (f fault) String() string {
	s := f.kind.name
	switch {
	case f.kind.hits == aRow, f.kind.hits == aTaggedRow:
		s += fmt.Sprintf(" of key %d", f.target)
	case f.kind.hits == aProcess, f.kind.hits == aProxy && f.target >= 0:
		s += fmt.Sprintf(" at process %d", f.target)
	}
	return fmt.Sprintf("%s for %v", s, (f.ends - f.at).Round(time.Millisecond))
}

const (
	calmBegin = 500 * time.Millisecond // for the processes to start
	calmEnd   = 2 * time.Second        // so that what comes after the last fault is checked as well
	meanGap   = 700 * time.Millisecond // between the beginnings of faults
)

// schedule draws the faults of a run, in the order of their beginnings. What it returns depends on its arguments alone.
// No two faults of one kind of target overlap on it; a process may be stopped while Redis is down, and a connection cut.
func schedule(p plan) []fault {
	random := rand.New(rand.NewPCG(p.seed, 0))
	kinds := slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool {
		return !slices.Contains(p.faults, k.name) || !p.cluster && k.clusterOnly || !p.near && k.nearOnly || !p.clocked && k.needsClock
	})
	for _, k := range slices.Clone(kinds) {
		if k.clusterOnly {
			kinds = append(kinds, k, k) // there are few of them, and a Cluster has a part of the time only
		}
	}
	if len(kinds) == 0 {
		return nil
	}
	var all []fault
	busy := make(map[string]time.Duration)
	for at := calmBegin; ; at += time.Duration(random.ExpFloat64() * float64(meanGap)) {
		f := draw(random, kinds, p, at)
		if at > p.length-calmEnd {
			return all
		}
		if f.ends > p.length-calmEnd || slices.ContainsFunc(f.locks(), func(lock string) bool { return busy[lock] > at }) {
			continue
		}
		for _, lock := range f.locks() {
			busy[lock] = f.ends + 50*time.Millisecond
		}
		f.number = int64(len(all))
		all = append(all, f)
	}
}

func draw(random *rand.Rand, kinds []kind, p plan, at time.Duration) fault {
	f := fault{kind: kinds[random.IntN(len(kinds))], at: at, luck: random.IntN(1 << 20)}
	f.ends = at + f.kind.shortest + time.Duration(random.Float64()*float64(f.kind.longest-f.kind.shortest))
	switch f.kind.hits {
	case aProcess:
		f.target = random.IntN(p.processes)
	case aProxy:
		f.target = random.IntN(p.processes+1) - 1
	case aRow:
		f.target = random.IntN(p.rows().all())
	case aTaggedRow:
		f.target = p.rows().size() + random.IntN(2*p.rows().size())
	}
	return f
}

// locks name what two faults must not both be at.
func (f fault) locks() []string {
	switch f.kind.hits {
	case aProcess:
		return []string{fmt.Sprintf("process %d", f.target)}
	case aProxy:
		return []string{"proxies"}
	case theServer:
		return []string{"server"}
	case theServerAndKeys:
		return []string{"server", "keys"}
	default:
		return []string{"keys"}
	}
}

// A moment is the beginning or the end of a fault.
type moment struct {
	fault
	begins bool
}

func (m moment) when() time.Duration {
	if m.begins {
		return m.at
	}
	return m.ends
}

// moments are all beginnings and ends in order.
func moments(faults []fault) []moment {
	var all []moment
	for _, f := range faults {
		all = append(all, moment{f, true}, moment{f, false})
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.when(), b.when()) })
	return all
}
