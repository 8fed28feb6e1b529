package history

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Result is what a Checker has counted.
type Result struct {
	Counts      map[Kind]int64
	Stale       map[Excuse]int64         // reads that were allowed to be stale
	Excused     map[Excuse]int64         // writes by InTx that did not oblige at their COMMIT
	TooOld      int64                    // reads that took so long that they could not be decided
	Slowest     Slow                     // read
	Undisturbed Slow                     // slowest read during which there was no fault
	Tagged      map[Kind]int64           // of Counts, those of rows that have tags
	ByTag       int64                    // of Counts[Invalidated], those by tag
	Near        int64                    // reads that were served from near copies
	Verified    int64                    // hits that WithVerify has compared with the loader
	CalledStale int64                    // and called stale
	Behind      time.Duration            // the most by which a feed said that it was behind
	Doubtful    map[Excuse]int64         // versions that became obligatory by what a loss may have undone
	Latest      map[Excuse]time.Duration // after the end of a loss, when the last read began that it excuses
	Overlaps    int64                    // pairs of loads of a key that overlapped, see loads
	Unexplained int64                    // those of them for which there is no reason
	Waiting     int                      // most reads that waited to be decided
	Violations  int64
	Printed     []string // the first violations
}

// A Slow is a slow read.
type Slow struct {
	Event
	Process int
	Faults  []int64 // that were under way
}

// Took is how long it took.
func (s Slow) Took() time.Duration { return time.Duration(s.End - s.Start) }

func newResult() Result {
	return Result{
		Counts: make(map[Kind]int64), Stale: make(map[Excuse]int64), Excused: make(map[Excuse]int64),
		Tagged: make(map[Kind]int64), Doubtful: make(map[Excuse]int64), Latest: make(map[Excuse]time.Duration),
	}
}

func (r *Result) count(k Kind) { r.Counts[k]++ }

// read decides one read.
func (c *Checker) read(s *stream, r Event) {
	c.result.count(r.Kind)
	if c.cfg.Tagged(r.Key) {
		c.result.Tagged[r.Kind]++
	}
	if r.Kind == ReadError {
		c.violation(s.number, r, "a read returned an error that was not the loader's")
	}
	if r.Kind == Load && !c.cfg.Faults {
		k := &c.keys[r.Key]
		k.loads.recent = append(k.loads.recent, happened{Event: r, process: s.number})
	}
	if r.Kind != Read {
		return
	}
	c.time(s, r)
	if r.Start < c.horizon {
		c.result.TooOld++
		return
	}
	k := &c.keys[r.Key]
	if why := k.judge(s, r); why != "" {
		c.violation(s.number, r, why)
	} else if why, ago := k.lost(s, r); why != "" {
		c.result.Stale[why]++
		c.result.Latest[why] = max(c.result.Latest[why], ago)
	} else if r.Version < k.committed.at(r.Start) {
		c.result.Stale[c.excuseOf(k, r)]++
	}
	if r.Version != k.last {
		k.last = r.Version
		k.note(happened{Event: r, process: s.number})
	}
}

// time notes the slowest reads.
func (c *Checker) time(s *stream, r Event) {
	if slow := (Slow{Event: r, Process: s.number}); slow.Took() > c.result.Slowest.Took() {
		slow.Faults = c.during(r)
		c.result.Slowest = slow
	}
	if slow := (Slow{Event: r, Process: s.number}); slow.Took() > c.result.Undisturbed.Took() && !c.faults.since(r.Start-aftermath) {
		c.result.Undisturbed = slow
	}
}

// aftermath is how long after a fault a command may still arrive that it has held up.
const aftermath = 3 * int64(time.Second)

// during are the faults that were under way during a read, as far as they are remembered.
func (c *Checker) during(r Event) (numbers []int64) {
	for i, f := range c.recent {
		over := slices.ContainsFunc(c.recent[i:], func(e happened) bool {
			return e.Kind == FaultEnd && e.Version == f.Version && e.End < r.Start
		})
		if f.Kind == FaultBegin && f.End < r.End && !over {
			numbers = append(numbers, f.Version)
		}
	}
	return numbers
}

// judge says what is wrong with a read, or nothing.
func (k *register) judge(s *stream, r Event) string {
	if least := k.sure.at(r.Start); r.Version < least {
		return fmt.Sprintf("stale: version %d or later was obligatory", least)
	}
	for _, byTag := range []bool{false, true} {
		if least := s.least(r, byTag); r.Version < least { // unless it was confirmed since, and a loss has undone that
			if why, _ := k.losses.excuse(r.Start, byTag); why == "" {
				return fmt.Sprintf("stale: version %d or later was obligatory in this process", least)
			}
		}
	}
	switch w := k.find(r.Version); {
	case w == nil || w.begun > r.End:
		return "nobody had written this version"
	case w.flag&RolledBack != 0:
		return "this version was rolled back"
	}
	return ""
}

// lost says which loss excuses a read, if one must.
func (k *register) lost(s *stream, r Event) (why Excuse, ago time.Duration) {
	if r.Version >= max(k.floor.at(r.Start), s.least(r, false), s.least(r, true)) {
		return "", 0
	}
	if why, ago = k.losses.excuse(r.Start, true); why == "" {
		why = Lost // of a hold, whose transaction has ended since
	}
	return why, ago
}

// least is what must be read in its process, from invalidations that were not confirmed.
func (s *stream) least(r Event, byTag bool) int64 {
	if b := s.barred[way{r.Key, byTag}]; b != nil {
		return b.at(r.Start)
	}
	return 0
}

// excuseOf says which committed version a read was allowed to miss, and why.
func (c *Checker) excuseOf(k *register, r Event) Excuse {
	for _, w := range k.writes[k.above(r.Version):] {
		if w.committed == 0 || w.committed > r.Start {
			continue
		}
		if last, ended := c.died[w.process]; ended && last < r.Start && w.flag&InTx == 0 {
			return Died
		}
		switch {
		case r.Start < w.committed+c.lateBy(k):
			return Lagging
		case w.excuse == "":
			return LagLost
		}
		return w.excuse
	}
	return Pending
}

// maxPrinted is how many violations are printed; they tend to come in swarms.
const maxPrinted = 5

func (c *Checker) violation(process int, r Event, why string) {
	c.result.Violations++
	if len(c.result.Printed) < maxPrinted {
		c.result.Printed = append(c.result.Printed, c.explain(process, r, why))
	}
}

// explain prints what led to a violation, in the order of its ends.
func (c *Checker) explain(process int, r Event, why string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "VIOLATION: key %d, %s\n", r.Key, why)
	all := slices.Concat(c.recent, c.keys[r.Key].log, []happened{{Event: r, process: process}})
	slices.SortStableFunc(all, func(a, b happened) int { return int(min(max(a.End-b.End, -1), 1)) })
	for _, h := range all {
		if h.End < r.Start-3*time.Second.Nanoseconds() || h.End > r.End+time.Second.Nanoseconds() {
			continue
		}
		mark := "   "
		if h.Event == r && h.process == process {
			mark = "-->"
		}
		fmt.Fprintf(&out, "%s %s\n", mark, c.line(h, r.Start))
	}
	return out.String()
}

// line prints one event, its times in milliseconds after zero.
func (c *Checker) line(h happened, zero int64) string {
	at := fmt.Sprintf("%12s..%9.3f ms", "", float64(h.End-zero)/1e6)
	if h.Start != 0 {
		at = fmt.Sprintf("%12.3f..%9.3f ms", float64(h.Start-zero)/1e6, float64(h.End-zero)/1e6)
	}
	switch h.Kind {
	case FaultBegin, FaultEnd:
		return fmt.Sprintf("%s  %s: %s", at, h.Kind, c.cfg.Fault(h.Version))
	case Write:
		how := "plain"
		if h.Flag&InTx != 0 {
			how = "InTx"
		} else if h.Flag&SQL != 0 {
			how = "SQL alone"
		}
		return fmt.Sprintf("%s  %-8s write %d (%s), COMMIT comes next", at, c.cfg.Process(h.process), h.Version, how)
	}
	return fmt.Sprintf("%s  %-8s %s%s %d", at, c.cfg.Process(h.process), h.Kind, flagText(h.Event), h.Version)
}

func flagText(e Event) string {
	switch e.Kind {
	case Held:
		return named(e.Flag, "by tag", "briefly")
	case Invalidated, Barred, WipeBegin, WipeEnd:
		return named(e.Flag, "by tag", "one server after the other", "by others", "everything")
	case LossBegin, LossEnd:
		return named(e.Flag, "planned", "books of tags", "index", "near copies", "twice")
	}
	return ""
}

// named is the names of the bits that are set.
func named(flags uint8, names ...string) string {
	var set []string
	for i, name := range names {
		if flags&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	if set == nil {
		return ""
	}
	return " (" + strings.Join(set, ", ") + ")"
}

// Sorted returns the excuses of a count, the most frequent first.
func Sorted(counts map[Excuse]int64) []Excuse {
	return slices.SortedFunc(maps.Keys(counts), func(a, b Excuse) int { return int(counts[b] - counts[a]) })
}
