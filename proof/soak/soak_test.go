package main

import (
	"reflect"
	"testing"
	"time"
)

func TestASeedReplaysTheSameSchedule(t *testing.T) {
	p := plan{length: time.Minute, seed: 5, faults: kindNames(), processes: 3, keys: 16}
	describe := func(p plan) (all []string) {
		for _, m := range moments(schedule(p)) {
			all = append(all, m.String())
		}
		return all
	}
	first := describe(p)
	if len(first) < 40 {
		t.Fatalf("a minute has %d moments", len(first))
	}
	if !reflect.DeepEqual(first, describe(p)) {
		t.Error("the same seed has another schedule")
	}
	p.seed++
	if reflect.DeepEqual(first, describe(p)) {
		t.Error("another seed has the same schedule")
	}
}

func TestFaultsOfOneTargetDoNotOverlap(t *testing.T) {
	p := plan{length: 10 * time.Minute, seed: 6, faults: kindNames(), processes: 3, keys: 16}
	ends := make(map[string]time.Duration)
	for _, f := range schedule(p) {
		if f.at < ends[f.lock()] {
			t.Fatalf("%v begins at %v, but one that it must not meet ends at %v", f, f.at, ends[f.lock()])
		}
		ends[f.lock()] = f.ends
		if f.ends > p.length-calmEnd {
			t.Fatalf("%v ends at %v, in the calm at the end", f, f.ends)
		}
	}
}

func TestFlagsThatCannotBeAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-faults", "earthquake"}, {"-break", "everything"}, {"-redis", "ring"}, {"-processes", "0"}, {"-keys", "0"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
