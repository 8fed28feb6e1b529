package main

import (
	"fmt"
	"io"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

var english = message.NewPrinter(language.English) // 12,345

// report prints the table, between lines that say how it was measured.
func report(out io.Writer, cfg loadConfig, cost cost, without, with *result) {
	fmt.Fprintf(out, "%s; %d writes a second\n", describe(cfg.rate, cost), writeRate)
	fmt.Fprintf(out, "each column is %v of this load; each page is read once before the cache is measured\n", cfg.duration/2)
	row := func(what string, cell func(r *result) string) {
		fmt.Fprintf(out, "%-28s%15s%15s\n", what, cell(without), cell(with))
	}
	count := func(what string, n func(r *result) int) {
		row(what, func(r *result) string { return english.Sprintf("%d", n(r)) })
	}
	latency := func(what string, q float64) {
		row(what, func(r *result) string { return english.Sprintf("%.1f ms", milliseconds(r.latency.quantile(q))) })
	}

	fmt.Fprintf(out, "%-28s%15s%15s\n", "", "without cache", "with cache")
	count("reads offered", func(r *result) int { return r.offered() })
	count("reads answered", func(r *result) int { return r.reads })
	count("given up after "+patience.String(), func(r *result) int { return r.gaveUp })
	count("reads failed", func(r *result) int { return r.failed })
	count("database queries", func(r *result) int { return int(r.queries) })
	row("hit ratio", func(r *result) string {
		if ratio, ok := r.lookups.ratio(); ok {
			return fmt.Sprintf("%.1f %%", 100*ratio)
		}
		return "-"
	})
	latency("latency p50", 0.50)
	latency("latency p95", 0.95)
	latency("latency p99", 0.99)
	count("writes acknowledged", func(r *result) int { return r.writes })
	count("writes not acknowledged", func(r *result) int { return r.unacknowledged })
	count("stale reads", func(r *result) int { return r.tally.stale })
	count("hits verified", func(r *result) int { return r.verified.all })
	count("stale among them", func(r *result) int { return r.verified.stale })
	fmt.Fprintln(out, "latency is exact to 2 %, and a read that was given up is in it with the time that it waited")
}

// describe says how many reads come, and how many the database can take.
func describe(rate float64, cost cost) string {
	reads, queries := "as many reads as go", "any number of queries"
	if rate > 0 {
		reads = english.Sprintf("%.0f reads a second", rate)
	}
	if capacity := cost.capacity(); capacity > 0 {
		queries = english.Sprintf("%.0f queries a second", capacity)
	}
	return reads + " at a database that can serve " + queries
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
