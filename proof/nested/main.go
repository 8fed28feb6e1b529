// Command nested explores a model of caches over caches: a page is made from a list, and the list from a row, each through a
// cache of its own. It checks what a write must do so that nothing is served that was made from the old row. What holds is
// what the library does, and what it could do as well; what breaks are the designs that look right and are not.
//
//	go run ./proof/nested                # a minute or two
//	go run ./proof/nested -lists broken  # seconds
//	go run ./proof/nested -lists deep    # many minutes, and a few gigabytes
package main

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

func main() {
	only := flag.String("only", "", "explore only designs whose names contain this")
	most := flag.Int("most", 40_000_000, "give up beyond so many states")
	limit := flag.Duration("limit", 4*time.Minute, "give up after so long, for one design")
	lists := flag.String("lists", "good,broken", "which lists")
	workers := flag.Int("workers", 2, "designs at a time")
	flag.BoolVar(&countSteps, "labels", false, "print how often each step was taken")
	flag.BoolVar(&raw, "raw", false, "keep states as they are, and read the row in a step of its own")
	flag.Parse()
	ok := true
	for _, list := range strings.Split(*lists, ",") {
		all, must := good, false
		switch list {
		case "broken":
			all, must = broken, true
		case "deep":
			all = deep
		}
		fmt.Printf("\n## %s\n\n", list)
		results := make([]string, len(all))
		done := make([]chan bool, len(all))
		sem := make(chan bool, *workers)
		var mu sync.Mutex
		bad := 0
		var states, transitions int
		for i := range all {
			done[i] = make(chan bool)
			go func() {
				defer close(done[i])
				d := all[i]
				if !strings.Contains(d.name, *only) {
					return
				}
				sem <- true
				f := d.explore(*most, *limit)
				<-sem
				var b strings.Builder
				outcome := f.broken
				switch {
				case outcome != "":
					outcome = fmt.Sprintf("BROKEN in %d steps: %s", len(f.trace), outcome)
				case f.full:
					outcome = fmt.Sprintf("nothing breaks, NOT to the end (depth %d)", f.depth)
				default:
					outcome = fmt.Sprintf("holds, to the end (depth %d)", f.depth)
				}
				mark := ""
				if (f.broken != "") != must {
					mark = " <<<<<"
				}
				fmt.Fprintf(&b, "%s: %s (%d states, %d transitions, %.1f s)%s\n", d.name, outcome, f.states, f.transitions, f.took.Seconds(), mark)
				for i, step := range f.trace {
					fmt.Fprintf(&b, "  %2d. %s\n", i+1, step)
				}
				if countSteps {
					var all []string
					for l, n := range f.fired {
						all = append(all, fmt.Sprintf("%10d %v", n, l))
					}
					sort.Strings(all)
					fmt.Fprintln(&b, strings.Join(all, "\n"))
				}
				mu.Lock()
				states += f.states
				transitions += f.transitions
				if mark != "" || f.full {
					bad++
				}
				mu.Unlock()
				results[i] = b.String()
			}()
		}
		for i := range all {
			<-done[i]
			fmt.Print(results[i])
		}
		fmt.Printf("\n%s: %d states, %d transitions, %d not as expected or not to the end\n", list, states, transitions, bad)
		ok = ok && bad == 0
	}
	if !ok {
		os.Exit(1)
	}
}
