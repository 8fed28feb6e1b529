package asidepg

import (
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
)

// Stats tells where a feed is. Numbers are of this process, since New.
type Stats struct {
	Slot   string
	Holds  bool   // this process reads the slot, or makes it
	Holder string // the process that reads the slot: its application_name, address and pid; "" if nobody does

	// Behind bounds how old a change may be that has not been handled: every change that was committed longer than this ago has
	// been, by whichever process holds the slot. It is measured once a second, so that it is seldom below that, and by this process's
	// clock alone. Before the feed has caught up for the first time, it is the age of the transaction that is being handled, by the clock of
	// Postgres, or the time since Run began if that is longer. Zero before Run.
	Behind time.Duration

	// BytesBehind is how much of the log has not been handled, as of the last second.
	BytesBehind int64

	Transactions int64 // that have been handled, with the changes below or without
	Changes      int64 // rows and messages that handlers were called for
	Gaps         int64
	Failures     int64 // errors of handlers, and of the connection
	Failing      bool  // something is being tried again
	LastError    error // the last failure, also when it is over
}

// stats is what Stats are made from.
type stats struct {
	mu      sync.Mutex // guards the rest
	s       Stats
	failed  int       // things that are being tried again
	began   time.Time // when Run did
	current time.Time // everything that was committed before has been handled
	caught  bool      // current is not just when Run began
	oldest  time.Time // the commit of the transaction that is being handled, zero if none
	probes  []probe   // those whose end the position has not reached
}

// A probe is where the log ended at a time.
type probe struct {
	at  time.Time
	end pglogrepl.LSN
}

const mostProbes = 1000

func (s *stats) locked(use func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	use()
}

func (s *stats) read(slot string) (now Stats) {
	s.locked(func() {
		now = s.s
		now.Slot, now.Failing = slot, s.failed > 0
		if s.began.IsZero() {
			return
		}
		now.Behind = time.Since(s.current)
		if !s.caught && !s.oldest.IsZero() {
			now.Behind = max(now.Behind, time.Since(s.oldest))
		}
	})
	return now
}

// start is of Run.
func (s *stats) start() {
	s.locked(func() {
		s.began = time.Now()
		s.current, s.caught, s.probes = s.began, false, nil
	})
}

// rest is of the end of Run.
func (s *stats) rest() {
	s.locked(func() { s.s.Holds, s.s.Holder, s.oldest = false, "", time.Time{} })
}

// see is a look at a slot that this process does not hold.
func (s *stats) see(asked time.Time, now slot) {
	s.locked(func() {
		s.s.Holds, s.s.Holder = false, now.holder
		if now.exists {
			s.probe(asked, now.end, now.confirmed)
		}
	})
}

// hold is a look at a slot that it holds.
func (s *stats) hold(asked time.Time, now slot, handled pglogrepl.LSN) {
	s.locked(func() {
		s.s.Holds, s.s.Holder = true, now.holder
		s.probe(asked, now.end, handled)
	})
}

// probe notes where the log ended, and forgets the probes that the position has passed.
func (s *stats) probe(asked time.Time, end, handled pglogrepl.LSN) {
	s.s.BytesBehind = behind(end, handled)
	s.probes = append(s.probes, probe{asked, end})
	s.reach(handled)
	if len(s.probes) > mostProbes { // to leave some out keeps the bound
		for i := range len(s.probes) / 2 {
			s.probes[i] = s.probes[2*i+1]
		}
		s.probes = s.probes[:len(s.probes)/2]
	}
}

func (s *stats) reach(handled pglogrepl.LSN) {
	for len(s.probes) > 0 && s.probes[0].end <= handled {
		s.current, s.caught = s.probes[0].at, true
		s.probes = s.probes[1:]
	}
}

func (s *stats) begin(committed time.Time) { s.locked(func() { s.oldest = committed }) }

func (s *stats) commit(handled pglogrepl.LSN) {
	s.locked(func() {
		s.oldest = time.Time{}
		s.s.Transactions++
		s.reach(handled)
	})
}

func (s *stats) idle(handled pglogrepl.LSN) { s.locked(func() { s.reach(handled) }) }
func (s *stats) change()                    { s.locked(func() { s.s.Changes++ }) }
func (s *stats) gap()                       { s.locked(func() { s.s.Gaps++ }) }
func (s *stats) failing(by int)             { s.locked(func() { s.failed += by }) }

func (s *stats) fail(err error) {
	s.locked(func() {
		s.s.Failures++
		s.s.LastError = err
	})
}
