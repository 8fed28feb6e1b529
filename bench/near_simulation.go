package main

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"
)

// A simulation of near copies in virtual time: n processes, all of which have copies and write, and one Redis, which executes one command
// after the other. What a process does when is a copy of the rules of package near; docs/near.md has them. Processes themselves
// take no time, nothing is lost, and the record of what was invalidated is old enough.
type simulation struct {
	costs nearCosts
	trip  time.Duration // to Redis and back

	now    time.Duration
	events events
	busy   time.Duration // until when Redis is
	last   int           // record
	made   []time.Duration
	all    []*simulated
	rng    *rand.Rand

	counting             bool
	commands, toldReader int
	used                 time.Duration
	waits                []time.Duration
}

// nearCosts are what commands cost Redis.
type nearCosts struct{ news, note, low, message time.Duration }

// These are the constants of package near.
const (
	simDelta      = time.Second
	simBeat       = 300 * time.Millisecond
	simShare      = 300 * time.Microsecond
	simFirstPause = 400 * time.Microsecond
	simLongest    = 10 * time.Millisecond
	simInARow     = 8
	simMostTold   = 16 // records within a pace that messages tell of
)

// A simulated is one process: its reader and its writer.
type simulated struct {
	*simulation
	position int // as Redis has it

	asking           bool // a NEWS is under way
	applied, brought int
	due, soonest     time.Duration
	heard            []int // messages while it was

	queued  []time.Duration // invalidations that no record has yet, by when they began
	noting  bool
	waiting []*simRecord
	lowing  bool // a LOW is under way, or will be
	allowed time.Duration
}

type simRecord struct {
	record     int
	began      []time.Duration
	due, pause time.Duration
	made       time.Duration
}

type event struct {
	at  time.Duration
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

var eventSeq int

func (s *simulation) at(when time.Duration, do func()) {
	eventSeq++
	heap.Push(&s.events, event{max(when, s.now), eventSeq, do})
}

// send has Redis execute a command, and calls replied with the reply.
func (s *simulation) send(cost time.Duration, execute func(), replied func()) {
	s.at(s.now+s.trip/2, func() {
		s.busy = max(s.busy, s.now) + cost
		if s.counting {
			s.commands++
			s.used += cost
		}
		s.at(s.busy, func() {
			execute()
			s.at(s.now+s.trip/2, replied)
		})
	})
}

// simulate runs n processes with so many invalidations a second for length, after two seconds that are not counted.
func simulate(costs nearCosts, trip time.Duration, n int, perSecond float64, length time.Duration) *simulation {
	const before = 2 * time.Second
	s := &simulation{costs: costs, trip: trip, rng: rand.New(rand.NewPCG(1, uint64(n)))}
	for range n {
		p := &simulated{simulation: s}
		p.due = time.Duration(s.rng.Int64N(int64(simBeat)))
		s.all = append(s.all, p)
		s.at(p.due, p.look)
	}
	var arrive func()
	arrive = func() {
		s.all[s.rng.IntN(n)].invalidate()
		s.at(s.now+time.Duration(s.rng.ExpFloat64()/perSecond*float64(time.Second)), arrive)
	}
	s.at(0, arrive)
	s.at(before, func() { s.counting = true })
	for s.now < before+length {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.do()
	}
	slices.Sort(s.waits)
	return s
}

// look sends NEWS when that is due.
func (p *simulated) look() {
	if p.asking || p.now < p.due {
		return
	}
	p.asking = true
	sent, position := p.now, max(p.applied, p.brought)
	var last int
	var fresh bool
	p.send(p.costs.news, func() {
		p.position = max(p.position, position)
		last, fresh = p.last, p.last > position
	}, func() {
		p.asking = false
		p.applied, p.brought = last, 0
		p.soonest, p.due = sent+time.Duration(len(p.all))*simShare, sent+simBeat
		if fresh {
			p.due = p.soonest
		}
		for _, record := range p.heard {
			p.take(record)
		}
		p.heard = p.heard[:0]
		p.wake()
	})
}

func (p *simulated) wake() { p.at(p.due, p.look) }

// hear is a message. What a process has written itself does not hurry it.
func (p *simulated) hear(record int, own bool) {
	switch {
	case p.asking:
		p.heard = append(p.heard, record)
	case p.take(record) && !own:
		p.due = min(p.due, max(p.soonest, p.now))
		p.wake()
	}
}

func (p *simulated) take(record int) (isNew bool) {
	if record <= max(p.applied, p.brought) {
		return false
	}
	p.brought = record
	if p.asking || len(p.heard) > 0 {
		p.due = min(p.due, max(p.soonest, p.now))
	}
	return true
}

func (p *simulated) invalidate() {
	p.queued = append(p.queued, p.now)
	p.note()
}

// note sends one NOTE at a time, for all that have gathered.
func (p *simulated) note() {
	if p.noting || len(p.queued) == 0 {
		return
	}
	p.noting = true
	rec := &simRecord{began: p.queued, pause: simFirstPause * 3 / 2}
	p.queued = nil
	p.send(p.costs.note, func() {
		p.last++
		rec.record = p.last
		p.made = append(p.made, p.now)
		if at := len(p.made) - 1 - simMostTold; at >= 0 && p.now-p.made[at] < time.Duration(len(p.all))*simShare {
			return
		}
		sending := time.Duration(len(p.all)) * p.costs.message
		p.busy += sending
		if p.counting {
			p.toldReader += len(p.all)
			p.used += sending
		}
		for _, other := range p.all {
			p.at(p.now+p.trip/2, func() { other.hear(rec.record, other == p) })
		}
	}, func() {
		p.noting = false
		rec.made, rec.due = p.now, p.now+simFirstPause
		p.waiting = append(p.waiting, rec)
		p.ask()
		p.note()
	})
}

// ask sends LOW when the first record is due, if the pace allows it.
func (p *simulated) ask() {
	if p.lowing || len(p.waiting) == 0 {
		return
	}
	p.lowing = true
	each := time.Duration(len(p.all)) * simShare
	due := p.waiting[0].due
	for _, rec := range p.waiting {
		due = min(due, rec.due)
	}
	p.at(max(due, p.allowed-(simInARow-1)*each), func() {
		p.allowed = max(p.allowed, p.now) + each
		asked, sent := slices.Clone(p.waiting), p.now
		lowest := 0
		p.send(p.costs.low, func() { lowest = p.lowest() }, func() {
			for _, rec := range asked {
				if rec.record <= lowest || sent-rec.made >= simDelta {
					p.end(rec)
					continue
				}
				rec.due, rec.pause = p.now+rec.pause, min(rec.pause*3/2, simLongest)
			}
			p.lowing = false
			p.ask()
		})
	})
}

// lowest is the position of the last of the other processes.
func (p *simulated) lowest() int {
	low := p.last
	for _, other := range p.all {
		if other != p {
			low = min(low, other.position)
		}
	}
	return low
}

func (p *simulated) end(rec *simRecord) {
	p.waiting = slices.DeleteFunc(p.waiting, func(other *simRecord) bool { return other == rec })
	if p.counting {
		for _, began := range rec.began {
			p.waits = append(p.waits, p.now-began)
		}
	}
}

// wait is a quantile of how long invalidations waited.
func (s *simulation) wait(q float64) time.Duration {
	if len(s.waits) == 0 {
		return 0
	}
	return s.waits[int(q*float64(len(s.waits)-1))]
}
