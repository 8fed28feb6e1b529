package main

import (
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/testserver"
)

// TestMain is a worker, too: the processes of a soak are the program that runs it.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "worker" {
		workerMain(os.Args[2])
		return
	}
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}

// postgres is for one run after the other: it takes longer to start than most mistakes to be found.
var postgres = testserver.Shared[*testserver.OwnPostgres]{Start: startPostgres}

// soaked runs a few seconds and returns the report.
func soaked(t *testing.T, args ...string) (violations int64, text string) {
	p, err := parse(append([]string{"-for", "6s", "-pause", "30ms"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	p.out, p.postgres = &out, postgres.Get
	return p.run(t), out.String()
}

func TestEachMistakeIsFound(t *testing.T) {
	for _, mistake := range breaks[1:] {
		near := noNear
		if mistake == breakUntold {
			near = onlyNear
		}
		t.Run(mistake, func(t *testing.T) { // it ends when the mistake is found; a busy machine may take long to do what shows it
			_, text := soaked(t, "-redis", "single", "-faults", "none", "-break", mistake, "-near", near, "-for", "90s", "-pause", "10ms")
			if !strings.Contains(text, "VIOLATION: key") {
				t.Errorf("no violations in\n%s", text)
			}
		})
	}
}

func TestTheLibraryMakesNone(t *testing.T) {
	for _, near := range []string{noNear, onlyNear} {
		if violations, text := soaked(t, "-redis", "single", "-near", near); violations > 0 || strings.Contains(text, " 0 operations") {
			t.Errorf("%d violations in\n%s", violations, text)
		}
	}
}

// The checker counts a verdict on what is invalidated as a violation.
func TestVerificationCallsNothingStaleThatIsInvalidated(t *testing.T) {
	for _, near := range []string{noNear, onlyNear} {
		for _, faults := range []string{"none", "all"} {
			violations, text := soaked(t, "-redis", "single", "-faults", faults, "-near", near, "-verify", "200")
			found := regexp.MustCompile(`verified +(\d+) +hits`).FindStringSubmatch(text)
			if found == nil {
				t.Fatal(text)
			}
			if verified, _ := strconv.Atoi(found[1]); violations > 0 || verified < 100 {
				t.Errorf("%d violations, or few hits were verified, in\n%s", violations, text)
			}
		}
	}
}

// Whether a read meets what a failover lost is up to the machine: that such a read is told from others is the checker's
// test, and that it happens, one of the library's.
func TestFailoversLoseNothingForLongerThanTheTTL(t *testing.T) {
	violations, text := soaked(t, "-redis", "cluster", "-near", "off", "-faults", "failover", "-readers", "2", "-pause", "100ms", "-for", "10s", "-seed", "3")
	if undone := regexp.MustCompile(`failovers +[1-9]`); violations > 0 || !undone.MatchString(text) {
		t.Errorf("%d violations, or nothing that could be lost, in\n%s", violations, text)
	}
}

func TestASeedReplaysTheSameSchedule(t *testing.T) {
	p := plan{length: time.Minute, seed: 5, cluster: true, near: true, clocked: true, faults: kindNames(), processes: 3, keys: 16}
	describe := func(p plan) (all []string) {
		for _, m := range moments(schedule(p)) {
			all = append(all, m.String())
		}
		return all
	}
	first := describe(p)
	if len(first) < 30 {
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
	p := plan{length: 10 * time.Minute, seed: 6, near: true, clocked: true, faults: kindNames(), processes: 3, keys: 16}
	ends := make(map[string]time.Duration)
	for _, f := range schedule(p) {
		for _, lock := range f.locks() {
			if f.at < ends[lock] {
				t.Fatalf("%v begins at %v, but one that it must not meet ends at %v", f, f.at, ends[lock])
			}
			ends[lock] = f.ends
		}
		if f.ends > p.length-calmEnd {
			t.Fatalf("%v ends at %v, in the calm at the end", f, f.ends)
		}
	}
}

func TestFlagsThatCannotBeAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-faults", "earthquake"}, {"-break", "everything"}, {"-redis", "ring"}, {"-processes", "0"}, {"-keys", "0"},
		{"-redis", ""}, {"-near", "far"},
	} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
