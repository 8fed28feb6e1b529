package main

import "fmt"

// A model is a transition system. S must be small and comparable, since each state that can be reached is kept.
type model[S comparable] struct {
	initial S
	// next emits every state that one step leads to from s. The format says what happens, with a %d for who does it.
	next func(s S, emit func(format string, who int, to S))
	// wrong says what s breaks, "" if none.
	wrong func(s S) string
}

// A finding is what came of exploring a model.
type finding struct {
	states int
	broken string   // the promise that a state broke; "" if none did
	trace  []string // the steps that lead there, none shorter
}

// explore visits every state that can be reached, breadth first, until one breaks a promise.
func (m model[S]) explore() finding {
	seen := map[S]int{m.initial: 0}
	states, parents := []S{m.initial}, []int{0}
	for i := 0; i < len(states); i++ {
		if len(states) > 6_000_000 {
			return finding{states: len(states), broken: "too many states"}
		}
		if broken := m.wrong(states[i]); broken != "" {
			return finding{states: len(states), broken: broken, trace: m.retrace(states, parents, i)}
		}
		m.next(states[i], func(_ string, _ int, to S) {
			if _, ok := seen[to]; !ok {
				seen[to] = len(states)
				states, parents = append(states, to), append(parents, i)
			}
		})
	}
	return finding{states: len(states)}
}

// retrace names the steps from the initial state to state i.
func (m model[S]) retrace(states []S, parents []int, i int) (trace []string) {
	if i == 0 {
		return nil
	}
	trace = m.retrace(states, parents, parents[i])
	step := ""
	m.next(states[parents[i]], func(format string, who int, to S) {
		if step == "" && to == states[i] {
			step = fmt.Sprintf(format, who)
		}
	})
	return append(trace, step)
}
