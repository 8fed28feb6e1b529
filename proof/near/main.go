// Command near explores a model of near copies: values in the memory of processes. No value from
// before an Invalidate may be served after that has returned. In the library's own protocol, and in
// what it could as well be, it must find nothing; in the designs that are known to be broken it
// must find how they break, and prints the shortest way. docs/near.md tells the protocol.
//
//	go run ./proof/near                # a minute or two
//	go run ./proof/near -lists broken  # half a minute
//	go run ./proof/near -lists deep    # many minutes, and up to ten gigabytes
//
// The entry's own protocol is trusted: proof/model checks that. Modelled are NEWS whose reply is late or lost, that come twice or
// late, GETs under way, leases by each reader's own clock, messages that are late or lost, LOG that is trimmed, evicted or flushed,
// failovers, clocks that are set or drift, and processes that stop for ever at any step.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
)

func main() {
	only := flag.String("only", "", "explore only designs whose names contain this")
	most := flag.Int("most", 40_000_000, "give up beyond so many states")
	lists := flag.String("lists", "ours,broken", "which lists: ours, deep, broken")
	raw := flag.Bool("raw", false, "keep states as they are, to check what normal does to them")
	rising := flag.Bool("rising", false, "ids never repeat")
	flag.BoolVar(&countSteps, "labels", false, "print how often each step was taken")
	flag.Parse()
	ok := true
	for list := range strings.SplitSeq(*lists, ",") {
		designs, must := ours, false
		switch list {
		case "deep":
			designs = deep
		case "broken":
			designs, must = broken, true
		}
		fmt.Printf("\n## %s\n\n", list)
		explored, states, bad := 0, 0, 0
		for _, d := range designs {
			if !strings.Contains(d.name, *only) {
				continue
			}
			d.raw, d.rising = *raw, *rising
			f := d.explore(*most)
			report(&d, f)
			explored++
			states += f.states
			if (f.broken != "") != must || f.full {
				bad++
			}
		}
		fmt.Printf("\n%s: %d designs, %d states, %d not as expected or not to the end\n", list, explored, states, bad)
		ok = ok && bad == 0
	}
	if !ok {
		os.Exit(1)
	}
}

var countSteps bool

func report(d *design, f finding) {
	outcome := f.broken
	switch {
	case outcome != "":
		outcome = fmt.Sprintf("BROKEN in %d steps: %s", len(f.trace), outcome)
	case f.full:
		outcome = fmt.Sprintf("nothing breaks, NOT to the end (depth %d)", f.depth)
	default:
		outcome = fmt.Sprintf("holds, to the end (depth %d)", f.depth)
	}
	fmt.Printf("%s: %s (%d states, %d transitions, %.1f s)\n", d.name, outcome, f.states, f.transitions, f.took.Seconds())
	for i, step := range f.trace {
		fmt.Printf("  %2d. %s\n", i+1, step)
	}
	if countSteps {
		var all []string
		for l, n := range f.fired {
			all = append(all, fmt.Sprintf("%10d %v", n, l))
		}
		slices.Sort(all)
		fmt.Println(strings.Join(all, "\n"))
	}
}
