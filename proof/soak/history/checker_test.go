package history

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A story is a history of one key whose first version is 1, in seconds. Reads are by process 2 unless they say otherwise.
type story struct {
	name   string
	events []told
	want   string // part of the violation; none: there must be none
	stale  Excuse // of the stale reads that must be counted
	none   Excuse // of the write that must not oblige at its COMMIT
}

type told struct {
	process int
	Event
}

func at(kind Kind, process int, version int64, times ...float64) told {
	e := Event{Kind: kind, Version: version, End: nanos(times[len(times)-1])}
	if len(times) > 1 {
		e.Start = nanos(times[0])
	}
	return told{process, e}
}

func nanos(seconds float64) int64 { return int64(seconds * 1e9) }

func flagged(flag uint8, t told) told {
	t.Flag = flag
	return t
}

// The prefixes of many stories.
func plain(version int64, t float64) []told {
	return []told{at(Write, 1, version, t), at(Commit, 1, version, t+0.1)}
}

func inTx(version int64, t float64) []told {
	return []told{flagged(InTx, at(Write, 1, version, t)), at(Held, 1, version, t+0.1, t+0.2)}
}

func planned(t told) told { return flagged(Planned, t) }

func byTag(t told) told { return flagged(ByTag, t) }

// during is a fault that loses something.
func during(flag uint8, fault int64, from, to float64) []told {
	return []told{flagged(flag, at(LossBegin, 0, fault, from)), flagged(flag, at(LossEnd, 0, fault, to))}
}

func inTxByTag(version int64, t float64) []told {
	return []told{flagged(InTx, at(Write, 1, version, t)), byTag(at(Held, 1, version, t+0.1, t+0.2))}
}

func and(parts ...any) (all []told) {
	for _, p := range parts {
		switch p := p.(type) {
		case told:
			all = append(all, p)
		case []told:
			all = append(all, p...)
		}
	}
	return all
}

func ofAllKeys(t told) told {
	t.Key = AllKeys
	return t
}

const exit = bound + 1 // in a story: the process is killed

var stories = []story{
	{name: "nothing was written", events: and(at(Read, 2, 1, 1, 2))},
	{name: "a version from nowhere", events: and(at(Read, 2, 7, 1, 2)), want: "nobody had written"},
	{name: "a version from the future", events: and(at(Read, 2, 2, 1, 2), plain(2, 3)), want: "nobody had written"},
	{name: "a read during the write may see either", events: and(plain(2, 1), at(Read, 2, 2, 0.5, 1.05), at(Read, 2, 1, 0.5, 3))},
	{
		name: "a plain write whose Invalidate has not returned", stale: Pending,
		events: and(plain(2, 1), at(Invalidated, 1, 2, 1.2, 3), at(Read, 2, 1, 2.9, 4)),
	},
	{
		name: "a plain write whose Invalidate has returned", want: "version 2 or later was obligatory",
		events: and(plain(2, 1), at(Invalidated, 1, 2, 1.2, 3), at(Read, 2, 1, 3.1, 4)),
	},
	{
		name: "an invalidation that began before the COMMIT was known obliges nothing", stale: Pending,
		events: and(plain(2, 1), at(Invalidated, 1, 2, 1.05, 3), at(Read, 2, 1, 3.1, 4)),
	},
	{
		name: "a failed invalidation", stale: FailedI,
		events: and(plain(2, 1), at(Barred, 1, 2, 1.2, 2), at(Failed, 1, 2, 1.2, 2.1), at(Read, 2, 1, 3, 4)),
	},
	{
		name: "a failed invalidation binds its own process", want: "obligatory in this process",
		events: and(plain(2, 1), at(Barred, 1, 2, 1.2, 2), at(Failed, 1, 2, 1.2, 2.1), at(Read, 1, 1, 3, 4)),
	},
	{
		name: "a failed invalidation that somebody's later one makes up for", want: "version 2 or later",
		events: and(plain(2, 1), at(Failed, 1, 2, 1.2, 2), at(Invalidated, 3, 0, 3, 4), at(Read, 2, 1, 5, 6)),
	},
	{
		name: "a plain writer that died", stale: Died,
		events: and(plain(2, 1), at(exit, 1, 0, 1.5), at(Read, 2, 1, 3, 4)),
	},
	{
		name: "a plain writer that died, after the bound of the TTL", want: "version 2 or later",
		events: and(plain(2, 1), at(exit, 1, 0, 1.5), at(Read, 2, 1, 12, 13)),
	},
	{
		name: "InTx, before the COMMIT is acknowledged", events: and(inTx(2, 1), at(Read, 2, 1, 1.9, 4), at(Commit, 1, 2, 2)),
	},
	{
		name: "InTx, after the COMMIT", want: "version 2 or later",
		events: and(inTx(2, 1), at(Commit, 1, 2, 2), at(Read, 2, 1, 2.1, 4)),
	},
	{
		name: "InTx, the process died inside the COMMIT and the database has the row", want: "version 2 or later",
		events: and(inTx(2, 1), at(exit, 1, 0, 1.5), at(Observed, 0, 2, 2), at(Read, 2, 1, 2.1, 4)),
	},
	{
		name: "InTx, the process died inside the COMMIT and nobody knows", events: and(inTx(2, 1), at(exit, 1, 0, 1.5), at(Read, 2, 1, 2.1, 4)),
	},
	{
		name: "InTx, rolled back", want: "was rolled back",
		events: and(flagged(InTx|RolledBack, at(Write, 1, 2, 1)), at(Read, 2, 2, 2, 4)),
	},
	{
		name: "InTx without a hold", stale: Unheld, none: Unheld,
		events: and(flagged(InTx, at(Write, 1, 2, 1)), at(Commit, 1, 2, 2), at(Read, 2, 1, 2.1, 4)),
	},
	{
		name: "InTx, the hold was wiped before the COMMIT", stale: HoldLost, none: HoldLost,
		events: and(inTx(2, 1), at(WipeBegin, 0, 0, 1.5), at(WipeEnd, 0, 0, 1.6), at(Commit, 1, 2, 2), at(Read, 2, 1, 2.1, 4)),
	},
	{
		name: "InTx, the hold was wiped, and then released", none: HoldLost, want: "version 2 or later",
		events: and(inTx(2, 1), at(WipeBegin, 0, 0, 1.5), at(WipeEnd, 0, 0, 1.6), at(Commit, 1, 2, 2),
			at(Invalidated, 1, 2, 2, 3), at(Read, 2, 1, 3.1, 4)),
	},
	{
		name: "InTx, a wipe before the hold excuses nothing", want: "version 2 or later",
		events: and(at(WipeBegin, 0, 0, 0.5), at(WipeEnd, 0, 0, 0.6), inTx(2, 1), at(Commit, 1, 2, 2), at(Read, 2, 1, 2.1, 4)),
	},
	{
		name: "InTx, the hold ran out under a fault", stale: Outlived, none: Outlived,
		events: and(inTx(2, 1), at(FaultBegin, 0, 0, 1.5), at(Commit, 1, 2, 7), at(FaultEnd, 0, 0, 8), at(Read, 2, 1, 7.1, 9)),
	},
	{
		name: "InTx, a hold that was not renewed without a fault", want: "version 2 or later",
		events: and(inTx(2, 1), at(Commit, 1, 2, 7), at(Read, 2, 1, 7.1, 9)),
	},
	{
		name: "InTx returned an error, and the COMMIT landed", want: "version 2 or later",
		events: and(inTx(2, 1), at(Left, 1, 2, 1.5), at(Commit, 1, 2, 2), at(Read, 2, 1, 2.1, 3)),
	},
	{
		name: "InTx returned an error, and the COMMIT landed after the hold", stale: Outlived, none: Outlived,
		events: and(inTx(2, 1), at(Left, 1, 2, 1.5), at(Commit, 1, 2, 5.5), at(Read, 2, 1, 5.6, 7)),
	},
	{
		name: "an invalidation that a failover may undo", stale: Lost,
		events: and(plain(2, 1), at(LossBegin, 0, 0, 1.5), at(Invalidated, 1, 2, 1.6, 1.7), at(LossEnd, 0, 0, 2), at(Read, 2, 1, 4.9, 5)),
	},
	{
		name: "an invalidation that a failover may undo, after the bound", want: "version 2 or later",
		events: and(plain(2, 1), at(LossBegin, 0, 0, 1.5), at(Invalidated, 1, 2, 1.6, 1.7), at(LossEnd, 0, 0, 2), at(Read, 2, 1, 5.1, 6)),
	},
	{
		name: "an invalidation that began during a failover", stale: Lost,
		events: and(plain(2, 1), at(LossBegin, 0, 0, 1.5), at(LossEnd, 0, 0, 2), at(Invalidated, 1, 2, 1.9, 2.1), at(Read, 2, 1, 2.2, 3)),
	},
	{
		name: "an invalidation after a failover", want: "version 2 or later",
		events: and(plain(2, 1), at(LossBegin, 0, 0, 1.5), at(LossEnd, 0, 0, 2), at(Invalidated, 1, 2, 2.1, 2.2), at(Read, 2, 1, 2.3, 3)),
	},
	{
		name: "an invalidation that was confirmed before a failover", want: "version 2 or later",
		events: and(plain(2, 1), at(Invalidated, 1, 2, 1.2, 1.3), at(LossBegin, 0, 0, 1.5), at(Read, 2, 1, 1.6, 3), at(LossEnd, 0, 0, 2)),
	},
	{
		name: "during a planned failover", stale: Switched,
		events: and(plain(2, 1), planned(at(LossBegin, 0, 0, 1.5)), at(Invalidated, 1, 2, 1.6, 1.7), at(Read, 2, 1, 1.8, 3), planned(at(LossEnd, 0, 0, 2))),
	},
	{
		name: "after a planned failover", want: "version 2 or later",
		events: and(plain(2, 1), planned(at(LossBegin, 0, 0, 1.5)), at(Invalidated, 1, 2, 1.6, 1.7), planned(at(LossEnd, 0, 0, 2)), at(Read, 2, 1, 2.1, 3)),
	},
	{
		name: "a planned failover does not end what another one has begun", stale: Lost,
		events: and(plain(2, 1), at(LossBegin, 0, 0, 1.5), at(Invalidated, 1, 2, 1.6, 2.6), at(LossEnd, 0, 0, 2),
			planned(at(LossBegin, 0, 0, 2.1)), planned(at(LossEnd, 0, 0, 2.7)), at(Read, 2, 1, 5.5, 6)),
	},
	{
		name: "InTx, a failover may undo the hold", stale: Lost,
		events: and(inTx(2, 1), at(LossBegin, 0, 0, 1.5), at(LossEnd, 0, 0, 1.6), at(Commit, 1, 2, 2), at(Read, 2, 1, 4.9, 5)),
	},
	{
		name: "InTx, a failover may undo the hold, after the bound", want: "version 2 or later",
		events: and(inTx(2, 1), at(LossBegin, 0, 0, 1.5), at(LossEnd, 0, 0, 1.6), at(Commit, 1, 2, 2), at(Read, 2, 1, 5.1, 6)),
	},
	{
		name: "InTx, a failover after the COMMIT", want: "version 2 or later",
		events: and(inTx(2, 1), at(Commit, 1, 2, 2), at(LossBegin, 0, 0, 2.1), at(LossEnd, 0, 0, 2.2), at(Read, 2, 1, 2.3, 5)),
	},
	{
		name: "a failed invalidation, in its process, during a failover", stale: Lost,
		events: and(plain(2, 1), at(Barred, 1, 2, 1.2, 2), at(LossBegin, 0, 0, 2.1), at(LossEnd, 0, 0, 2.2), at(Read, 1, 1, 3, 4)),
	},
	{
		name: "a failed invalidation, in its process, after the bound of a failover", want: "obligatory in this process",
		events: and(plain(2, 1), at(Barred, 1, 2, 1.2, 2), at(LossBegin, 0, 0, 2.1), at(LossEnd, 0, 0, 2.2), at(Read, 1, 1, 6, 7)),
	},
	{
		name: "by tag, whose index had lost the entry before", stale: Unindexed,
		events: and(during(OfIndex, 0, 0.5, 0.6), plain(2, 1), byTag(at(Invalidated, 1, 2, 1.2, 1.3)), at(Read, 2, 1, 3.5, 4)),
	},
	{
		name: "by tag, whose index had lost the entry before, after the bound", want: "version 2 or later",
		events: and(during(OfIndex, 0, 0.5, 0.6), plain(2, 1), byTag(at(Invalidated, 1, 2, 1.2, 1.3)), at(Read, 2, 1, 3.7, 4)),
	},
	{
		name: "by tag, whose index loses the entry meanwhile", stale: Unindexed,
		events: and(plain(2, 1), during(OfIndex, 0, 1.3, 1.4), byTag(at(Invalidated, 1, 2, 1.2, 1.5)), at(Read, 2, 1, 4.3, 5)),
	},
	{
		name: "by tag, whose index loses the entry afterwards", want: "version 2 or later",
		events: and(plain(2, 1), byTag(at(Invalidated, 1, 2, 1.2, 1.3)), during(OfIndex, 0, 1.4, 1.5), at(Read, 2, 1, 1.6, 2)),
	},
	{
		name: "by tag, long after its index had lost the entry", want: "version 2 or later",
		events: and(during(OfIndex, 0, 0.1, 0.2), plain(2, 3), byTag(at(Invalidated, 1, 2, 3.3, 3.4)), at(Read, 2, 1, 3.5, 4)),
	},
	{
		name: "by tag, whose index has lost the entry twice", stale: Unindexed,
		events: and(plain(2, 1), flagged(OfIndex, at(LossBegin, 0, 7, 1.2)), flagged(OfIndex, at(LossBegin, 0, 8, 1.3)),
			byTag(at(Invalidated, 1, 2, 1.2, 1.4)), flagged(OfIndex, at(LossEnd, 0, 7, 1.5)),
			flagged(OfIndex, at(LossEnd, 0, 8, 2)), at(Read, 2, 1, 4.9, 5)),
	},
	{
		name: "an index that has lost the entry does not matter to who invalidates the entry", want: "version 2 or later",
		events: and(during(OfIndex, 0, 0.5, 0.6), plain(2, 1), at(Invalidated, 1, 2, 1.2, 1.3), at(Read, 2, 1, 1.4, 2)),
	},
	{
		name: "by tag, and a failover may undo the record", stale: Lost,
		events: and(plain(2, 1), during(OfBooks, 0, 1.3, 1.4), byTag(at(Invalidated, 1, 2, 1.2, 1.35)), at(Read, 2, 1, 4.3, 5)),
	},
	{
		name: "by tag, after a failover that may have undone records", want: "version 2 or later",
		events: and(plain(2, 1), during(OfBooks, 0, 1.3, 1.4), byTag(at(Invalidated, 1, 2, 1.5, 1.6)), at(Read, 2, 1, 1.7, 5)),
	},
	{
		name: "a failover that may undo records does not matter to who invalidates the entry", want: "version 2 or later",
		events: and(plain(2, 1), during(OfBooks, 0, 1.3, 1.4), at(Invalidated, 1, 2, 1.2, 1.35), at(Read, 2, 1, 1.5, 5)),
	},
	{
		name: "InTx by tag, the holds of tags were wiped", stale: HoldLost, none: HoldLost,
		events: and(inTxByTag(2, 1), byTag(at(WipeBegin, 0, 0, 1.5)), byTag(at(WipeEnd, 0, 0, 1.6)), at(Commit, 1, 2, 2), at(Read, 2, 1, 2.1, 4)),
	},
	{
		name: "InTx by tag, the entry was wiped", want: "version 2 or later",
		events: and(inTxByTag(2, 1), at(WipeBegin, 0, 0, 1.5), at(WipeEnd, 0, 0, 1.6), at(Commit, 1, 2, 2), at(Read, 2, 1, 2.1, 4)),
	},
	{
		name: "InTx, the holds of tags were wiped", want: "version 2 or later",
		events: and(inTx(2, 1), byTag(at(WipeBegin, 0, 0, 1.5)), byTag(at(WipeEnd, 0, 0, 1.6)), at(Commit, 1, 2, 2), at(Read, 2, 1, 2.1, 4)),
	},
	{
		name: "InTx by tag, whose index had lost the entry before", stale: Unindexed,
		events: and(during(OfIndex, 0, 0.5, 0.6), inTxByTag(2, 1), at(Commit, 1, 2, 2), at(Read, 2, 1, 3.5, 4)),
	},
	{
		name: "InTx by tag, whose index loses the entry under the hold", want: "version 2 or later",
		events: and(inTxByTag(2, 1), during(OfIndex, 0, 1.5, 1.6), at(Commit, 1, 2, 2), at(Read, 2, 1, 3.5, 4)),
	},
	{
		name: "InTx by tag, a failover may undo the hold", stale: Lost,
		events: and(inTxByTag(2, 1), during(OfBooks, 0, 1.5, 1.6), at(Commit, 1, 2, 2), at(Read, 2, 1, 4.9, 5)),
	},
	{
		name: "a failed invalidation by tag, in its process, when a retry may have missed the entry", stale: Unindexed,
		events: and(plain(2, 1), byTag(at(Barred, 1, 2, 1.2, 2)), during(OfIndex, 0, 2.1, 2.2), at(Read, 1, 1, 3, 4)),
	},
	{
		name: "a failed invalidation of the entry, in its process, when the index lost it", want: "obligatory in this process",
		events: and(plain(2, 1), at(Barred, 1, 2, 1.2, 2), during(OfIndex, 0, 2.1, 2.2), at(Read, 1, 1, 3, 4)),
	},
	{
		name: "all keys, and it fails", want: "obligatory in this process",
		events: and(plain(2, 1), ofAllKeys(at(Barred, 1, 0, 1.2, 2)), at(Failed, 1, 2, 1.2, 2.1), at(Read, 1, 1, 3, 4)),
	},
	{
		name: "an error of Redis", want: "error that was not the loader's", events: and(at(ReadError, 2, 0, 1, 2)),
	},
}

func TestVerdicts(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			r := tell(s.events)
			if s.want == "" && r.Violations != 0 || s.want != "" && r.Violations != 1 {
				t.Errorf("%d violations: %v", r.Violations, r.Printed)
			} else if s.want != "" && !strings.Contains(r.Printed[0], s.want) {
				t.Errorf("the violation does not say %q:\n%s", s.want, r.Printed[0])
			}
			if s.stale != "" && r.Stale[s.stale] != 1 || s.stale == "" && len(r.Stale) > 0 {
				t.Errorf("stale reads: %v, want one that is %q", r.Stale, s.stale)
			}
			if s.none != "" && r.Excused[s.none] != 1 || s.none == "" && len(r.Excused) > 0 {
				t.Errorf("writes that do not oblige: %v, want %q", r.Excused, s.none)
			}
		})
	}
}

// tell gives a story to a Checker, one event a frame, but what a process did only when the next thing happens to it: news
// come late, and in an order of their own.
func tell(events []told) Result { return tellOf(newTestChecker(), events) }

func tellOf(c *Checker, events []told) Result {
	for process := range 4 {
		c.Open(process, 0)
	}
	open := map[int]bool{0: true, 1: true, 2: true, 3: true}
	for process := 3; process >= 0; process-- {
		for _, e := range events {
			if e.process != process {
				continue
			}
			if e.Kind == exit {
				c.Close(process)
				open[process] = false
				continue
			}
			c.Take(process, Frame{Until: e.End, Events: []Event{e.Event}})
		}
	}
	for process := range open {
		if open[process] {
			c.Take(process, Frame{Until: nanos(100)})
			c.Close(process)
		}
	}
	return c.Finish()
}

func newTestChecker() *Checker {
	return NewChecker(Config{
		Keys: 1, Made: func(uint16) (uint16, bool) { return 0, false }, Brief: time.Second, Tagged: func(uint16) bool { return true }, Hold: 5 * time.Second, Bound: 10 * time.Second, Lost: 3 * time.Second, Window: time.Minute,
		Fault:   func(n int64) string { return fmt.Sprint("fault ", n) },
		Process: func(n int) string { return fmt.Sprint("p", n) },
	}, []int64{1})
}

func TestAViolationIsPrintedWithWhatLedToIt(t *testing.T) {
	r := tell(and(inTx(2, 1), at(FaultBegin, 0, 3, 1.5), at(Commit, 1, 2, 2), at(Read, 2, 1, 2.1, 4)))
	text := r.Printed[0]
	last := -1
	for _, part := range []string{"write 2 (InTx)", "held 2", "fault begins: fault 3", "committed 2", "--> ", "p2       read 1"} {
		i := strings.Index(text, part)
		if i < last {
			t.Fatalf("%q is not there, or not in order:\n%s", part, text)
		}
		last = i
	}
}

func TestAReadWaitsForTheNewsOfAProcessThatWasStopped(t *testing.T) {
	c := newTestChecker()
	c.Open(1, 0)
	c.Open(2, 0)
	c.Take(2, Frame{Until: nanos(9), Events: []Event{at(Read, 2, 1, 3, 4).Event}})
	if n := c.result.Counts[Read]; n != 0 {
		t.Fatalf("%d reads were decided while a process could still tell of an earlier COMMIT", n)
	}
	c.Take(1, Frame{Until: nanos(9), Events: []Event{
		at(Write, 1, 2, 1).Event, at(Commit, 1, 2, 1.1).Event, at(Invalidated, 1, 2, 1.2, 2).Event,
	}})
	if c.result.Violations != 1 {
		t.Fatalf("%d violations after the news have come, want 1", c.result.Violations)
	}
}

func TestMemoryDoesNotGrowWithTheHistory(t *testing.T) {
	c := newTestChecker()
	c.Open(1, 0)
	sizes := func() int {
		k := c.keys[0]
		return len(k.floor.steps) + len(k.sure.steps) + len(k.losses.all) + len(k.committed.steps) + len(k.writes) + len(k.log) + len(c.pending) + len(c.streams[1].reads)
	}
	most := 0
	for i := range int64(20_000) {
		v, now := i+2, float64(i)*0.1
		c.Take(1, Frame{Until: nanos(now + 0.05), Events: []Event{
			at(Write, 1, v, now).Event, at(Commit, 1, v, now+0.01).Event,
			at(Invalidated, 1, v, now+0.02, now+0.03).Event, at(Read, 1, v, now+0.04, now+0.05).Event,
		}})
		if i == 2000 {
			most = sizes()
		}
	}
	if now := sizes(); now > 2*most {
		t.Errorf("it remembers %d things after 20000 writes, and %d after 2000", now, most)
	}
	if c.result.Violations != 0 {
		t.Errorf("%d violations", c.result.Violations)
	}
}

func TestReadsThatTookLongerThanTheWindowAreNotDecided(t *testing.T) {
	c := newTestChecker()
	c.Open(1, 0)
	for i := range int64(2000) {
		v, now := i+2, float64(i)*0.1
		c.Take(1, Frame{Until: nanos(now + 0.05), Events: []Event{
			at(Write, 1, v, now).Event, at(Commit, 1, v, now+0.01).Event, at(Invalidated, 1, v, now+0.02, now+0.03).Event,
		}})
	}
	c.Take(1, Frame{Until: nanos(201), Events: []Event{at(Read, 1, 1, 0.001, 200).Event}})
	if c.result.TooOld != 1 || c.result.Violations != 0 {
		t.Errorf("%d too old and %d violations, want 1 and 0", c.result.TooOld, c.result.Violations)
	}
}

func TestOverlappingLoadsAreCounted(t *testing.T) {
	for _, s := range []struct {
		name                  string
		events                []told
		overlaps, unexplained int64
	}{
		{"one after the other", and(at(Load, 1, 1, 1, 2), at(Load, 2, 1, 2, 3)), 0, 0},
		{"side by side", and(at(Load, 1, 1, 1, 2), at(Load, 2, 1, 1.5, 3)), 1, 1},
		{"an invalidation between them", and(at(Load, 1, 1, 1, 2), at(Invalidated, 1, 0, 1.1, 1.2), at(Load, 2, 1, 1.5, 3)), 1, 0},
		{"an invalidation after them", and(at(Load, 1, 1, 1, 2), at(Load, 2, 1, 1.5, 3), at(Invalidated, 1, 0, 3, 4)), 1, 1},
		{"a hold", and(inTx(2, 0.1), at(Load, 1, 1, 1, 2), at(Load, 2, 1, 1.5, 3)), 1, 0},
		{"a hold that was released", and(inTx(2, 0.1), at(Invalidated, 1, 2, 0.5, 0.6), at(Load, 1, 1, 1, 2), at(Load, 2, 1, 1.5, 3)), 1, 1},
	} {
		t.Run(s.name, func(t *testing.T) {
			r := tell(append(s.events, at(Read, 2, 1, 80, 90)))
			if r.Overlaps != s.overlaps || r.Unexplained != s.unexplained {
				t.Errorf("%d overlaps, %d unexplained, want %d and %d", r.Overlaps, r.Unexplained, s.overlaps, s.unexplained)
			}
		})
	}
}
