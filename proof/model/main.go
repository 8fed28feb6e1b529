// Command model explores a model of the protocol: every order in which the steps of a few processes and of Redis can
// happen, with commands that come late, twice or never, documents that expire or are evicted at any moment, and processes
// that stop or crash between any two steps. In the library's own protocol it must find nothing; in the designs that are
// known to be broken it must find how they break, and prints the shortest way.
//
//	go run ./proof/model          # about half a minute
//	go run ./proof/model -deep    # some minutes, and a few gigabytes
//
// There is one model for each part: one entry with its leases, fills, refreshes, holds (entry.go), the callers of one
// process that share flights (flight.go), and tags (tags.go). Each is explored to the end within its bounds, which are few
// processes and writes, but any number of loads, lost leases, evictions and repetitions.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	all := flag.Bool("deep", false, "explore the largest models as well")
	only := flag.String("only", "", "explore only designs whose names contain this")
	flag.Parse()
	if !run(*all, *only) {
		os.Exit(1)
	}
}

// run reports whether all is as it should be.
func run(all bool, only string) bool {
	selected := func(d design) bool { return strings.Contains(d.name, only) && (all || !d.deep) }
	states, violations, caught, missed := 0, 0, 0, 0
	fmt.Print("The library's protocol, in which nothing may break:\n\n")
	for _, d := range ours {
		if selected(d) {
			f := report(d)
			states += f.states
			if f.broken != "" {
				violations++
			}
		}
	}
	fmt.Print("\nBroken designs, each with the shortest way to break a promise:\n\n")
	for _, d := range broken {
		if selected(d) {
			if report(d).broken != "" {
				caught++
			} else {
				missed++
			}
		}
	}
	fmt.Printf("\n%d states explored, %d violations; %d broken designs caught, %d missed\n", states, violations, caught, missed)
	return violations == 0 && missed == 0
}

func report(d design) finding {
	start := time.Now()
	f := d.explore()
	outcome := f.broken
	if outcome == "" {
		outcome = "nothing breaks"
	}
	fmt.Printf("%s: %s (%d states, %.1f s)\n", d.name, outcome, f.states, time.Since(start).Seconds())
	for i, step := range f.trace {
		fmt.Printf("  %2d. %s\n", i+1, step)
	}
	return f
}
