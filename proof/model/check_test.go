package main

import (
	"slices"
	"testing"
)

// counting is a counter that goes up by one or two, and must not become five.
func counting(limit int) model[int] {
	return model[int]{
		next: func(n int, emit func(label, int)) {
			for by := 1; by <= 2 && n+by <= limit; by++ {
				emit(label{"counter", n, "adds", map[int]string{1: " one", 2: " two"}[by]}, n+by)
			}
		},
		wrong: func(n int) string {
			if n == 5 {
				return "five"
			}
			return ""
		},
	}
}

func TestExploreVisitsEachStateOnce(t *testing.T) {
	if f := counting(4).explore(); f.states != 5 || f.broken != "" || f.trace != nil {
		t.Errorf("explored %+v, want 5 states and nothing broken", f)
	}
}

func TestExploreFindsTheShortestWayToBreakAPromise(t *testing.T) {
	f := counting(9).explore()
	if f.broken != "five" || len(f.trace) != 3 {
		t.Errorf("explored %+v, want five, after three steps", f)
	}
	if !slices.Contains(f.trace, "counter 0 adds one") {
		t.Errorf("the trace %q does not begin at the beginning", f.trace)
	}
}

func TestAPromiseThatBreaksFailsTheRun(t *testing.T) {
	defer func(before []design) { ours = before }(ours)
	ours = broken[:1]
	if run(false, broken[0].name) {
		t.Error("a protocol that breaks a promise passes")
	}
}

func TestADesignThatShouldBreakAndDoesNotFailsTheRun(t *testing.T) {
	defer func(before []design) { broken = before }(broken)
	broken = []design{flights("2 callers, 2 writers", func(d *flightDesign) { d.noRedis = true })}
	if run(false, broken[0].name) {
		t.Error("a broken design that is not caught passes")
	}
}
