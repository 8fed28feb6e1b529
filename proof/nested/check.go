package main

import (
	"fmt"
	"time"

	"github.com/asidecache/aside/proof/states"
)

// A label says what a step is.
type label struct {
	who  string
	n    int8 // -1: there is one of them
	does string
	key  int8 // -1: none
	how  string
}

const keyNames = "SLP"

func (d *design) show(l label) string {
	t := l.who
	if l.n >= 0 {
		t += fmt.Sprint(" ", l.n)
	}
	t += " " + l.does
	if l.key >= 0 {
		t += " " + d.keyName(int(l.key))
	}
	return t + l.how
}

func (d *design) keyName(k int) string {
	if d.keys == 2 {
		return string("SP"[k])
	}
	if d.keys == 4 {
		return string("SKLP"[k])
	}
	return string(keyNames[k])
}

// A finding is what came of exploring a design.
type finding struct {
	states, transitions, depth int
	broken                     string
	trace                      []string
	full                       bool
	took                       time.Duration
	fired                      map[string]int
}

// explore visits every state that can be reached, breadth first, until one breaks the promise.
func (d *design) explore(most int, limit time.Duration) finding {
	start := time.Now()
	f := finding{fired: map[string]int{}}
	var seen states.Set[State]
	var first State
	d.start(&first)
	first = d.normal(first)
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
		if seen.Len() > most || i&0xFFFF == 0 && time.Since(start) > limit {
			f.full = true
			break
		}
		d.next(s, func(l label, to State) {
			f.transitions++
			if countSteps {
				f.fired[l.who+" "+l.does]++
			}
			to = d.normal(to)
			seen.Add(&to, i)
		})
	}
	f.states, f.took = seen.Len(), time.Since(start)
	return f
}

var countSteps bool

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
			step = d.show(l)
		}
	})
	return append(trace, step)
}
