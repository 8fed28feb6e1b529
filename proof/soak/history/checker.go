package history

import (
	"container/heap"
	"math"
	"time"
)

// A Checker decides the reads of many processes. It is a check of a regular register for each key, linear in the length
// of the history: a read that began at s must return at least the floor at s, which is the largest version that was
// obligatory by then, and nothing that was not written before the read ended.
//
// A version becomes obligatory
//
//   - by InTx: from its COMMIT on, known from its acknowledgement or from an observer who read the row in the database. The
//     second covers writers that were killed, and COMMITs whose answers got lost. Nothing but three cases excuses it: the
//     hold could not be placed and the writer went on (Unheld), a fault removed the hold from Redis before the COMMIT
//     (HoldLost: any DEL counts, a FLUSHALL, an eviction and an empty restart too), or a fault kept its process or Redis
//     from renewing the hold until it was over (Outlived; so is a COMMIT that lands long after InTx returned an error). Then what follows obliges:
//   - by an invalidation that is confirmed: what had been committed when it began. So these oblige:
//     plain writes, releases of holds, retries in the background that got through, DEL and FLUSHALL
//     by anybody, and an empty restart of Redis.
//   - in one process: by an invalidation that failed, since its process must not read the key from the cache.
//   - by the bound of the TTL, after its COMMIT: whatever went wrong.
//
// What obliged may be undone by a failover (see losses), and obliges again once it is over and the TTL with it. Stale reads
// until then are counted apart. If the failover was planned, they must end with it. What is done by tag may also miss an
// entry that the index of the tag has lost, with the same bound. That the journal is deleted excuses nothing.
//
// Rows whose writer knows SQL alone are invalidated by a feed (asidepg), and oblige by that as by any invalidation that is confirmed. Whatever
// the feed does, they oblige as soon as its own figure of how far it is behind says that it has come that far (Fed).
//
// Rows that are loaded from a standby, and invalidations that near copies are not told of, oblige later: see late.go. After a failover of
// the server that near copies are told by, or a step of its clock, near copies may be old for Δ (OfNear).
//
// Redis paused, hung, refused, cut off, delayed, or executing commands twice excuses nothing: neither a stale read
// after one of these, nor an error of a read.
//
// A row that is made from another one, which its loader reads through a cache, has the versions of its source. It obliges as its
// source does, by what was done to both: in one call, by a tag that both have, in one InTx, or to the source first. What may lose
// the hold of the source, or what is done to it, may do so for what is made from it. Bound and Lost are twice as long then: the
// TTLs add up.
//
// The events of a process arrive late, most of all when it was stopped. So a read is decided once every process has told
// what it did before the read ended.
type Checker struct {
	cfg     Config
	keys    []register
	streams map[int]*stream
	died    map[int]int64 // when a process that has ended was last heard of
	pending events        // not applied yet, by End
	until   int64         // up to which everything is known
	horizon int64         // before which floors are forgotten

	faults span
	recent []happened // faults, for the print of a violation
	result Result
}

// Config says what the processes do.
type Config struct {
	Keys    int
	Hold    time.Duration         // of WithHold
	Brief   time.Duration         // of WithHold, where a Held is Brief
	Bound   time.Duration         // after which no stale value is left
	Lost    time.Duration         // the same, after a failover has brought it back
	Lag     time.Duration         // of WithReplicaLag, of the rows that are Lagging
	Near    time.Duration         // the age of WithNear, 0 if there are no near copies
	Window  time.Duration         // for how long floors are remembered; no read should take longer
	Faults  bool                  // there are some, so that overlapping loads say nothing
	Tagged  func(key uint16) bool // of the rows that have tags, which are counted
	Made    func(key uint16) (from uint16, made bool)
	Lagging func(key uint16) bool // of the rows that are loaded from a standby, and what is made from them; nil: none
	Fed     func(key uint16) bool // of the rows that a feed invalidates, and what is made from them; nil: none
	Fault   func(number int64) string
	Process func(number int) string
}

// A span is an interval that may be open. Only the last one counts.
type span struct {
	open int
	end  int64
}

// since reports whether it was open at t or later.
func (s *span) since(t int64) bool { return s.open > 0 || s.end >= t }

func (s *span) begin() { s.open++ }

func (s *span) close(t int64) {
	s.open--
	s.end = max(s.end, t)
}

// A stream is what one process has told.
type stream struct {
	number int
	until  int64
	ended  bool
	reads  []Event
	barred map[way]*stairs
}

// A way is how a process has invalidated a key.
type way struct {
	key   uint16
	byTag bool
}

// NewChecker returns a Checker for keys 0 to cfg.Keys-1. Those that are not made from others, which come first, have the versions of
// initial.
func NewChecker(cfg Config, initial []int64) *Checker {
	c := &Checker{cfg: cfg, streams: make(map[int]*stream), died: make(map[int]int64), result: newResult()}
	for i := range cfg.Keys {
		from, made := cfg.Made(uint16(i))
		if made {
			c.keys[from].makes = append(c.keys[from].makes, uint16(i))
		} else {
			from = uint16(i)
		}
		c.keys = append(c.keys, newRegister(initial[from]))
		c.keys[i].made = made
		c.keys[i].lags = cfg.Lagging != nil && cfg.Lagging(uint16(i))
	}
	return c
}

// Open says that a process is about to start, and will tell everything from at on.
func (c *Checker) Open(process int, at int64) {
	c.streams[process] = &stream{number: process, until: at, barred: make(map[way]*stairs)}
}

// Close says that a process has ended and told everything that it ever will.
func (c *Checker) Close(process int) {
	s := c.streams[process]
	s.ended = true
	c.died[process] = s.until
	c.advance()
}

// Take takes a frame of a process.
func (c *Checker) Take(process int, f Frame) {
	s := c.streams[process]
	for _, e := range f.Events {
		switch e.Kind {
		case Read, ReadError, LoadError, Load:
			s.reads = append(s.reads, e)
		default:
			heap.Push(&c.pending, happened{Event: e, process: process})
		}
	}
	s.until = f.Until
	c.advance()
}

// Finish decides what is left and returns the result. All processes must be closed.
func (c *Checker) Finish() Result {
	c.advance()
	return c.result
}

// Violated reports whether a read has been found that returned less than it had to.
func (c *Checker) Violated() bool { return c.result.Violations > 0 }

// advance applies and decides what is complete.
func (c *Checker) advance() {
	until := int64(math.MaxInt64)
	for _, s := range c.streams {
		if !s.ended {
			until = min(until, s.until)
		}
	}
	if until == c.until {
		return
	}
	c.until = until
	for len(c.pending) > 0 && c.pending[0].End <= until {
		c.apply(heap.Pop(&c.pending).(happened))
	}
	waiting := 0
	for number, s := range c.streams {
		c.decide(s)
		waiting += len(s.reads)
		if s.ended && len(s.reads) == 0 {
			delete(c.streams, number)
		}
	}
	c.result.Waiting = max(c.result.Waiting, waiting)
	c.forget()
}

// decide decides the reads of a process that are complete.
func (c *Checker) decide(s *stream) {
	n := 0
	for n < len(s.reads) && s.reads[n].End <= c.until {
		c.read(s, s.reads[n])
		n++
	}
	if n == len(s.reads) {
		s.reads = s.reads[:0]
	} else if n > 0 {
		s.reads = append(s.reads[:0], s.reads[n:]...)
	}
}

// forget drops what no read can need any more.
func (c *Checker) forget() {
	horizon := c.until - c.cfg.Window.Nanoseconds()
	if c.until == math.MaxInt64 || horizon < c.horizon+time.Second.Nanoseconds() {
		return
	}
	c.horizon = horizon
	for i := range c.keys {
		c.keys[i].forget(horizon)
		c.keys[i].loads.settle(c.until, &c.result)
	}
	for _, s := range c.streams {
		for _, b := range s.barred {
			b.forget(horizon)
		}
	}
}

// A happened is an event and the process that told of it.
type happened struct {
	Event
	process int
	doubt   *doubt // of late
}

// events are a heap, by their ends.
type events []happened

func (h events) Len() int           { return len(h) }
func (h events) Less(i, j int) bool { return h[i].End < h[j].End }
func (h events) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)        { *h = append(*h, x.(happened)) }

func (h *events) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
