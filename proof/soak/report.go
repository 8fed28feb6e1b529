package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/asidecache/aside/proof/soak/history"
)

// report prints what a run has found; the last line is the count.
func report(out io.Writer, p plan, faults []fault, r history.Result, took time.Duration, name func(int) string) {
	for _, text := range r.Printed {
		fmt.Fprintln(out, text)
	}
	count := func(k history.Kind) int64 { return r.Counts[k] }
	tagged := func(k history.Kind) int64 { return r.Tagged[k] }
	fmt.Fprintf(out, "Redis: %s%s\n%d processes with %d readers and %d writers each, %d x %d keys, seed %d, %v\n",
		p.redis, map[bool]string{true: ", with near copies"}[p.near], p.processes, p.readers, p.writers, sorts, p.keys, p.seed, took.Round(time.Second))
	fmt.Fprintf(out, "reads          %12d   %.0f a second; %d of rows with tags\n",
		count(history.Read), float64(count(history.Read))/took.Seconds(), tagged(history.Read))
	if p.near {
		fmt.Fprintf(out, "near hits      %12d   of them\n", r.Near)
	}
	if p.verify > 0 {
		fmt.Fprintf(out, "verified       %12d   hits; %d called stale\n", r.Verified, r.CalledStale)
	}
	fmt.Fprintf(out, "loads          %12d   %d of rows with tags\n", count(history.Load), tagged(history.Load))
	if len(faults) == 0 {
		fmt.Fprintf(out, "               %12d   pairs of them overlapped, %d without an invalidation or a hold\n",
			r.Overlaps, r.Unexplained)
	}
	fmt.Fprintf(out, "writes         %12d   %d COMMITs acknowledged, %d seen in the database\n",
		count(history.Write), count(history.Commit), count(history.Observed))
	fmt.Fprintf(out, "invalidations  %12d   confirmed, late ones and foreign ones too; %d by tag; %d failed\n",
		count(history.Invalidated), r.ByTag, count(history.Failed))
	fmt.Fprintf(out, "feed           %12v   behind at most, by its own figure\n", r.Behind.Round(time.Millisecond))
	fmt.Fprintf(out, "faults         %12d   %s\n", len(faults), tally(faults))
	slowest(out, "under a fault", r.Slowest, faults, name)
	slowest(out, "without a fault", r.Undisturbed, faults, name)
	fmt.Fprintf(out, "read errors    %12d   of Redis; %d of the loader\n", count(history.ReadError), count(history.LoadError))
	excuses(out, "stale reads that the documentation allows", r.Stale)
	doubtful(out, "failovers", "commits and invalidations that one may have undone", history.Lost, r)
	doubtful(out, "indexes", "commits and invalidations by tag that may have missed what one had lost", history.Unindexed, r)
	doubtful(out, "near copies", "commits and invalidations that they may not have been told of", history.NearLate, r)
	excuses(out, "writes in InTx that did not oblige at their COMMIT", r.Excused)
	fmt.Fprintf(out, "not decided    %12d   reads of more than a minute; at most %d reads waited for news\n", r.TooOld, r.Waiting)
}

// A sum is what the last line says.
type sum struct {
	operations, reads, faults, violations int64
}

func sumOf(r history.Result, faults int) sum {
	reads := r.Counts[history.Read]
	return sum{
		operations: reads + r.Counts[history.Write] + r.Counts[history.Invalidated] + r.Counts[history.Failed],
		reads:      reads - r.TooOld,
		faults:     int64(faults),
		violations: r.Violations,
	}
}

func (s *sum) add(other sum) {
	s.operations += other.operations
	s.reads += other.reads
	s.faults += other.faults
	s.violations += other.violations
}

func (s sum) String() string {
	return fmt.Sprintf("soak: %d operations, %d of them checked reads, %d faults, %d violations",
		s.operations, s.reads, s.faults, s.violations)
}

func slowest(out io.Writer, title string, r history.Slow, faults []fault, name func(int) string) {
	var during []string
	for _, number := range r.Faults {
		during = append(during, faults[number].String())
	}
	fmt.Fprintf(out, "slowest read   %12v   %s, of %s %s\n",
		r.Took().Round(time.Millisecond), title, name(r.Process), strings.Join(during, ", "))
}

// doubtful prints what a kind of loss may have done.
func doubtful(out io.Writer, title, what string, why history.Excuse, r history.Result) {
	if n := r.Doubtful[why]; n > 0 {
		fmt.Fprintf(out, "%-14s %12d   %s; the last read that was stale for it began %v after it, and none may %v after\n",
			title, n, what, r.Latest[why].Round(time.Millisecond), limit(why))
	}
}

// limit is how long after a loss a read may be stale for it: of what is made from another, twice the TTL.
func limit(why history.Excuse) time.Duration {
	if why == history.NearLate {
		return nearAge
	}
	return 2 * lost
}

func excuses(out io.Writer, title string, counts map[history.Excuse]int64) {
	var sum int64
	for _, n := range counts {
		sum += n
	}
	fmt.Fprintf(out, "excused        %12d   %s\n", sum, title)
	for _, why := range history.Sorted(counts) {
		fmt.Fprintf(out, "               %12d   - %s\n", counts[why], why)
	}
}

// tally is how often there was each kind of fault.
func tally(faults []fault) string {
	counts := make(map[string]int)
	for _, f := range faults {
		counts[f.kind.name]++
	}
	var parts []string
	for name, n := range counts {
		parts = append(parts, fmt.Sprintf("%s %d", name, n))
	}
	slices.SortFunc(parts, func(a, b string) int { return cmp.Compare(a, b) })
	return strings.Join(parts, ", ")
}
