package main

import "fmt"

// A model is a transition system. S must be small and comparable, since each state that can be reached is kept.
type model[S comparable] struct {
	initial S
	// next emits every state that one step leads to from s.
	next func(s S, emit func(step label, to S))
	// wrong says what s breaks, "" if none.
	wrong func(s S) string
}

// A label says what a step is. It is made for each of millions of steps, and seldom printed.
type label struct {
	who    string
	number int
	does   string
	how    string // the rest of the sentence
}

func (l label) String() string {
	if l.number == nobody {
		return l.who + " " + l.does + l.how
	}
	return fmt.Sprintf("%s %d %s%s", l.who, l.number, l.does, l.how)
}

const nobody = -1

// A finding is what came of exploring a model.
type finding struct {
	states int
	broken string   // the promise that a state broke; "" if none did
	trace  []string // the steps that lead there, none shorter
}

const maxStates = 10_000_000

// explore visits every state that can be reached, breadth first, until one breaks a promise.
func (m model[S]) explore() finding {
	seen := map[S]bool{m.initial: true}
	states, parents := []S{m.initial}, []int32{0}
	for i := 0; i < len(states); i++ {
		if len(states) > maxStates {
			return finding{states: len(states), broken: "there are more states than fit into memory"}
		}
		if broken := m.wrong(states[i]); broken != "" {
			return finding{states: len(states), broken: broken, trace: m.retrace(states, parents, i)}
		}
		m.next(states[i], func(_ label, to S) {
			if !seen[to] {
				seen[to] = true
				states, parents = append(states, to), append(parents, int32(i))
			}
		})
	}
	return finding{states: len(states)}
}

// retrace names the steps from the initial state to state i.
func (m model[S]) retrace(states []S, parents []int32, i int) (trace []string) {
	if i == 0 {
		return nil
	}
	trace = m.retrace(states, parents, int(parents[i]))
	step := ""
	m.next(states[parents[i]], func(l label, to S) {
		if step == "" && to == states[i] {
			step = l.String()
		}
	})
	return append(trace, step)
}
