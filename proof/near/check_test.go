package main

import "testing"

// The command explores all of them; here a few show that it tells what breaks from what holds.

func TestTheShortestWayToBreakIsFound(t *testing.T) {
	for _, name := range []string{"B10 the writer does not wait", "B17 READERS is believed however young it is; it is evicted alone", "B31 InTx without NOTE at the hold"} {
		if f := find(t, broken, name).explore(100_000); f.broken == "" || len(f.trace) == 0 {
			t.Errorf("%s: nothing breaks in %d states", name, f.states)
		}
	}
}

func TestWhatHoldsIsExploredToTheEnd(t *testing.T) {
	name := "V15 S as briefed, nothing is lost"
	if f := find(t, ours, name).explore(300_000); f.broken != "" || f.full {
		t.Errorf("%s: %s, to the end: %v", name, f.broken, !f.full)
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
