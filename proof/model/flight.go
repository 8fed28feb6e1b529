package main

import (
	"slices"

	"github.com/asidecache/aside/internal/protocol"
)

// The model of joiners: the callers of one process share flights, while writers elsewhere
// invalidate the entry and other processes fill it.

const (
	callerCount  = 3
	flightCount  = 3
	flightWrites = 2
)

// A flightDesign is a rule for joining, ours or a broken one.
type flightDesign struct {
	serves     func(arrived, began, sealed uint64, decided bool) bool
	lateForget bool // a flight can be joined until its fill is answered
	lateBegin  bool // a flight counts as begun when its load has ended
	noClose    bool // a flight can be joined while its load runs that nothing will decide
	lateSeal   bool // and is sealed only then
	noRedis    bool // Redis is down: there is nothing but loads
	callers    int
}

type flightState struct {
	version uint8 // of the row
	floor   uint8 // no call that begins now may return an older one
	doc     document
	other   flight // of another process, which waits for nobody
	writers [flightWrites]flightWriter
	flights [flightCount]flight
	callers [callerCount]caller
	open    uint8 // the flight that can be joined, counted from 1; 0 for none
	last    uint8 // the flight that began last and has not landed, counted from 1
	now     uint8 // of the clock
}

type flightWriter struct {
	at      uint8 // steps: change the row, remove the document, return
	version uint8
}

type flight struct {
	stage   flightStage
	direct  bool  // it loads without a lease
	before  uint8 // the flight that it waits for if it does, counted from 1
	began   uint8 // when its load did; 0 if it has not
	sealed  uint8
	decided bool
	token   uint8
	version uint8 // of the value that it found
}

type flightStage uint8

const (
	grounded flightStage = iota
	asking               // the command that asks for the lease is under way
	hasLease
	loading
	hasAnswer // the lease script had a value, and its answer is under way
	loaded
	filling // the fill is under way
	filled  // Redis has executed it, and the answer is under way
	landed
)

type caller struct {
	stage   callerStage
	arrived uint8
	needs   uint8 // the oldest version that it may return
	flight  uint8
	own     bool
	got     uint8
}

type callerStage uint8

const (
	away callerStage = iota
	arrived
	waits
	left
)

func (d *flightDesign) model() model[flightState] {
	return model[flightState]{
		next: d.next,
		wrong: func(s flightState) string {
			for _, c := range s.callers {
				if c.stage == left && c.got < c.needs {
					return "a Get returns a value from before an invalidation that returned before it began"
				}
				if c.stage == waits && !c.own {
					f := s.flights[c.flight-1]
					if f.direct && f.stage == loading && f.began < c.arrived {
						return "a Get waits for a load that it may not use, whatever comes"
					}
				}
			}
			return ""
		},
	}
}

func (d *flightDesign) next(s flightState, emitAll func(label, flightState)) {
	emit := func(step label, to flightState) { emitAll(step, to.normal()) }
	if s.doc.kind != missing {
		t := s
		t.doc = document{}
		emit(label{"the document", nobody, "expires or is evicted", ""}, t)
	} else if !d.noRedis {
		t := s
		t.doc.lease(s.freshToken())
		t.other = flight{token: t.doc.token, version: s.version}
		emit(label{"another process", nobody, "takes the lease, and reads the row", ""}, t)
	}
	if s.doc.is(s.other.token) {
		t := s
		t.doc.fill(s.other.token, s.freshToken(), s.other.version)
		emit(label{"another process", nobody, "fills", ""}, t)
	}
	for i := range s.writers {
		s.writerStep(i, emit)
	}
	for i := range s.flights {
		d.flightStep(s, i, emit)
	}
	for i := range d.callers {
		d.callerStep(s, i, emit)
	}
}

func (s flightState) writerStep(i int, emit func(label, flightState)) {
	w := &s.writers[i]
	does := [...]string{"changes the row", "removes the document", "returns"}
	switch w.at {
	case 0:
		if i > 0 && s.writers[i-1].at == 0 {
			return // they are alike: let them start in their order
		}
		s.version++
		w.version = s.version
	case 1:
		s.doc.invalidate()
	case 2:
		s.floor = max(s.floor, w.version)
	default:
		return
	}
	w.at++
	emit(label{"writer", i, does[w.at-1], ""}, s)
}

func (s *flightState) tick() uint8 {
	s.now++
	return s.now
}

func (d *flightDesign) flightStep(s flightState, i int, emit func(label, flightState)) {
	f := &s.flights[i]
	does := ""
	switch f.stage {
	case asking:
		if d.noRedis {
			if f.before != 0 && s.flights[f.before-1].stage != landed {
				return
			}
			f.stage, f.direct, does = loading, true, "begins to load without a lease"
			d.begin(&s, i)
			break
		}
		switch {
		case s.doc.lease(s.freshToken()):
			f.stage, f.token, does = hasLease, s.doc.token, "is given the lease"
		case s.doc.kind == present:
			f.stage, f.version, does = hasAnswer, s.doc.version, "is answered with a value"
		default:
			if t := s; f.before == 0 || s.flights[f.before-1].stage == landed {
				t.flights[i].stage, t.flights[i].direct = loading, true
				d.begin(&t, i)
				emit(label{"flight", i, "is told of another's lease, and begins to load without one", ""}, t)
			}
			f.sealed, does = s.tick(), "is told of another's lease, and asks again"
		}
	case hasAnswer:
		f.stage, f.decided, does = landed, true, "has the answer, and ends"
	case hasLease:
		f.stage, does = loading, "begins to load"
		d.begin(&s, i)
	case loading:
		f.stage, f.version, does = loaded, s.version, "reads the row"
	case loaded:
		if f.direct {
			d.forget(&s, i)
			f.stage, does = landed, "ends without a fill"
			break
		}
		if d.lateBegin {
			f.began = s.tick()
		}
		if !d.lateForget {
			d.forget(&s, i)
		}
		f.stage, f.sealed, does = filling, s.tick(), "sends its fill"
	case filling:
		f.decided = s.doc.fill(f.token, s.freshToken(), f.version)
		f.stage, does = filled, "has its fill executed"
	case filled:
		d.forget(&s, i)
		if d.lateSeal {
			f.sealed = s.tick()
		}
		f.stage, does = landed, "has the answer, and ends"
	default:
		return
	}
	if f.stage == landed {
		d.forget(&s, i)
		if int(s.last) == i+1 {
			s.last = 0
		}
	}
	emit(label{"flight", i, does, ""}, s)
}

// begin is the beginning of a load. Without a lease, nothing will decide it, so nobody joins it from now on.
func (d *flightDesign) begin(s *flightState, i int) {
	f := &s.flights[i]
	if f.direct && !d.noClose {
		d.forget(s, i)
	}
	f.began = s.tick()
}

func (d *flightDesign) forget(s *flightState, i int) {
	if int(s.open) == i+1 {
		s.open = 0
	}
}

func (d *flightDesign) callerStep(s flightState, i int, emit func(label, flightState)) {
	c := &s.callers[i]
	does := ""
	switch c.stage {
	case away:
		if i > 0 && s.callers[i-1].stage == away {
			return // they are alike as well
		}
		*c = caller{stage: arrived, arrived: s.tick(), needs: s.floor}
		does = "calls Get, and misses"
	case arrived:
		if last := s.last; last != 0 && protocol.MayServe(uint64(c.arrived), uint64(s.flights[last-1].began), s.open != last) {
			c.stage, c.flight, does = waits, last, "joins the flight"
			break
		}
		free := slices.IndexFunc(s.flights[:], func(f flight) bool { return f.stage == grounded })
		if free < 0 {
			return
		}
		s.flights[free] = flight{stage: asking, before: s.last, sealed: s.tick()}
		s.open, s.last = uint8(free+1), uint8(free+1)
		c.stage, c.flight, c.own, does = waits, s.open, true, "begins a flight, which asks for the lease"
	case waits:
		f := s.flights[c.flight-1]
		if f.stage != landed {
			return
		}
		if c.own || d.serves(uint64(c.arrived), uint64(f.began), uint64(f.sealed), f.decided) {
			*c = caller{stage: left, needs: c.needs, got: f.version}
			does = "returns what the flight found"
		} else {
			c.stage, c.flight, does = arrived, 0, "may not use what the flight found"
		}
	default:
		return
	}
	emit(label{"caller", i, does, ""}, s)
}

func (s *flightState) freshToken() uint8 {
	return unused(func(n uint8) bool {
		return n == s.doc.token || n == s.other.token ||
			slices.ContainsFunc(s.flights[:], func(f flight) bool { return f.token == n })
	})
}

// normal gives states that nothing will ever tell apart one form: of times only the order counts, of tokens whether they
// are the same, and of a flight that has landed what those who wait for it need.
func (s flightState) normal() flightState {
	for i := range s.flights {
		f := &s.flights[i]
		awaited, joined := false, int(s.last) == i+1
		for _, c := range s.callers {
			awaited = awaited || int(c.flight) == i+1
			joined = joined || int(c.flight) == i+1 && !c.own
		}
		if f.before != 0 && (f.stage != asking || s.flights[f.before-1].stage == landed) {
			f.before = 0
		}
		if f.stage == landed && !awaited {
			*f = flight{}
		}
		if !joined {
			f.began, f.sealed = 0, 0 // nobody will compare them
		}
		if f.stage == landed || f.token != s.doc.token {
			f.token = min(f.token, 1) * lost
		}
	}
	if s.other.token != s.doc.token {
		s.other = flight{}
	}
	s.doc.waited = false // nobody is to be told of a release
	var tokens renaming
	tokens.rename(&s.doc.token)
	tokens.rename(&s.other.token)
	for i := range s.flights {
		tokens.rename(&s.flights[i].token)
	}
	for i := range s.callers {
		c := &s.callers[i]
		if c.own {
			c.arrived = 0 // what it began is its own
		}
		if c.stage == left && c.got >= c.needs {
			*c = caller{stage: left}
		}
	}
	s.rankTimes()
	return s
}

func (s *flightState) rankTimes() {
	var times []*uint8
	for i := range s.flights {
		times = append(times, &s.flights[i].began, &s.flights[i].sealed)
	}
	for i := range s.callers {
		times = append(times, &s.callers[i].arrived)
	}
	slices.SortFunc(times, func(a, b *uint8) int { return int(*a) - int(*b) })
	rank, before := uint8(0), uint8(0)
	for _, time := range times {
		if *time != before {
			before = *time
			rank++
		}
		if *time != 0 {
			*time = rank
		}
	}
	s.now = rank
}
