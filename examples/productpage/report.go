package main

import (
	"fmt"
	"io"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// report prints the table.
func report(out io.Writer, without, with *result) {
	english := message.NewPrinter(language.English) // 12,345
	row := func(what string, cell func(r *result) string) {
		fmt.Fprintf(out, "%-28s%15s%15s\n", what, cell(without), cell(with))
	}
	count := func(what string, n func(r *result) int) {
		row(what, func(r *result) string { return english.Sprintf("%d", n(r)) })
	}
	latency := func(what string, q float64) {
		row(what, func(r *result) string {
			return fmt.Sprintf("%.3f ms", float64(r.latency.quantile(q))/float64(time.Millisecond))
		})
	}

	fmt.Fprintf(out, "%-28s%15s%15s\n", "", "without cache", "with cache")
	count("reads", func(r *result) int { return r.reads })
	count("reads a second", func(r *result) int { return int(float64(r.reads) / r.took.Seconds()) })
	row("hit ratio", func(r *result) string {
		if r.lookups == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f %%", 100*float64(r.answered)/float64(r.lookups))
	})
	count("database queries", func(r *result) int { return int(r.queries) })
	latency("latency p50", 0.50)
	latency("latency p95", 0.95)
	latency("latency p99", 0.99)
	count("writes acknowledged", func(r *result) int { return r.writes })
	count("writes not acknowledged", func(r *result) int { return r.unacknowledged })
	count("reads failed", func(r *result) int { return r.failed })
	count("stale reads", func(r *result) int { return r.stale })
}
