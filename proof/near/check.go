package main

import (
	"fmt"
	"time"

	"github.com/asidecache/aside/proof/states"
)

// A label says what a step is.
type label struct {
	who    string
	number int // nobody: there is one of them
	does   string
}

const nobody = -1

func (l label) String() string {
	if l.number == nobody {
		return l.who + " " + l.does
	}
	return fmt.Sprintf("%s %d %s", l.who, l.number, l.does)
}

// A finding is what came of exploring a design.
type finding struct {
	states, transitions, depth int
	broken                     string // the promise that a state broke; "" if none did
	trace                      []string
	full                       bool // there were more states than the bound
	took                       time.Duration
	fired                      map[label]int
}

// explore visits every state that can be reached, breadth first, until one breaks a promise.
func (d *design) explore(most int) finding {
	start := time.Now()
	f := finding{fired: map[label]int{}}
	var seen states.Set[State]
	first := d.normal(d.initial())
	seen.Add(&first, 0)
	levelEnd := 1
	for i := 0; i < seen.Len(); i++ {
		if i == levelEnd {
			f.depth++
			levelEnd = seen.Len()
		}
		s := *seen.At(i)
		if broken := d.wrong(&s); broken != "" {
			f.broken, f.trace = broken, d.retrace(&seen, i)
			break
		}
		if seen.Len() > most {
			f.full = true
			break
		}
		d.next(s, func(l label, to State) {
			f.transitions++
			if countSteps {
				f.fired[l]++
			}
			to = d.normal(to)
			seen.Add(&to, i)
		})
	}
	f.states, f.took = seen.Len(), time.Since(start)
	return f
}

// retrace names the steps from the initial state to state i.
func (d *design) retrace(seen *states.Set[State], i int) []string {
	if i == 0 {
		return nil
	}
	parent := seen.Parent(i)
	trace := d.retrace(seen, parent)
	step, to := "", *seen.At(i)
	d.next(*seen.At(parent), func(l label, t State) {
		if step == "" && d.normal(t) == to {
			step = l.String()
		}
	})
	return append(trace, step)
}
