package main

import (
	"testing"
	"time"
)

// The command explores all of them; here a few show that it tells what breaks from what holds.

func TestTheShortestWayToBreakIsFound(t *testing.T) {
	for _, name := range []string{"B1 one call, plain removals, depth 1", "I1 InTx, depth 1, S's hold is evicted, P is released first", "P1 no R3: a failed invalidation is sent again alone"} {
		if f := find(t, broken, name).explore(100_000, time.Minute); f.broken == "" || len(f.trace) == 0 {
			t.Errorf("%s: nothing breaks in %d states", name, f.states)
		}
	}
}

func TestWhatHoldsIsExploredToTheEnd(t *testing.T) {
	for _, name := range []string{"R1 depth 1, 2 loads", "R2 separate, sources first, depth 2", "R3 until held, depth 1"} {
		if f := find(t, good, name).explore(100_000, time.Minute); f.broken != "" || f.full {
			t.Errorf("%s: %s, to the end: %v", name, f.broken, !f.full)
		}
	}
}

func find(t *testing.T, all []design, name string) *design {
	for i := range all {
		if all[i].name == name {
			return &all[i]
		}
	}
	t.Fatalf("there is no design %q", name)
	return nil
}
