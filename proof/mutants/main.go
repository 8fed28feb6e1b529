// Command mutants breaks each rule of the data path on purpose, one at a time, and shows that the tests notice. A mutant
// is the library with one piece of its source replaced; the test that is named as its catcher must fail on it, and pass
// on the library as it is.
//
//	go run ./proof/mutants                 # some minutes
//	go run ./proof/mutants -list
//	go run ./proof/mutants -only fill      # those whose rule, file or catcher matches
//	go run ./proof/mutants -only fill -run "Test.*"   # what else catches them
//	go run ./proof/mutants -only fill -times 20       # which catchers leave it to chance
//
// It is run from the root of the repository, which it leaves alone: the compiler is told to read a copy in the place of
// the file that is mutated.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"sync"
	"time"
)

func main() {
	list := flag.Bool("list", false, "list the mutants and their catchers")
	only := flag.String("only", "", "run only the mutants whose rule, file or catcher matches this `regexp`")
	run := flag.String("run", "", "run the tests that match this `regexp`, in the place of the catchers, and print all that fail")
	times := flag.Int("times", 0, "run each catcher `n` times, and name those that do not catch their mutant each time")
	flag.Parse()
	selected, err := choose(*only)
	if err == nil && *list {
		for _, m := range selected {
			fmt.Printf("%s\n\t%s: %s\n", m.rule, m.file, m.catcher)
		}
		return
	}
	ok := false
	if err == nil {
		ok, err = hunt(selected, *run, *times)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if !ok {
		os.Exit(1)
	}
}

func choose(only string) (selected []mutant, err error) {
	matcher, err := regexp.Compile("(?i)" + only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	for _, m := range mutants {
		if matcher.MatchString(m.rule) || matcher.MatchString(m.file) || matcher.MatchString(m.catcher) {
			selected = append(selected, m)
		}
	}
	return selected, nil
}

// hunt runs the catchers, and reports whether they caught all of the selected. With run it runs that on all of them, with
// times that often.
func hunt(selected []mutant, run string, times int) (ok bool, err error) {
	start := time.Now()
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	t := &tests{dir: dir, run: run, times: times}
	if err := t.buildShared(context.Background(), selected); err != nil {
		return false, err
	}
	fmt.Printf("built after %.0f s\n", time.Since(start).Seconds())
	if run == "" {
		if err := t.pass(context.Background(), selected); err != nil {
			return false, err
		}
	}
	fmt.Printf("the catchers pass, after %.0f s\n", time.Since(start).Seconds())
	survivors := t.mutate(context.Background(), selected)
	fmt.Printf("\n%d mutants, %d survivors (violations), %.0f s\n", len(selected), len(survivors), time.Since(start).Seconds())
	for _, m := range survivors {
		fmt.Printf("survived: %s\n\t%s: %s\n", m.rule, m.file, m.catcher)
	}
	return len(survivors) == 0, nil
}

// mutate tries the mutants, and returns those that survive.
func (t *tests) mutate(ctx context.Context, selected []mutant) (survivors []mutant) {
	var mu sync.Mutex // guards survivors and the output
	sideBySide(len(selected), func(i int) {
		m, start := selected[i], time.Now()
		outcome, caught := t.try(ctx, i, m)
		mu.Lock()
		defer mu.Unlock()
		if !caught {
			survivors = append(survivors, m)
		}
		fmt.Printf("%s\n\t%s: %s (%.1f s)\n", m.rule, m.file, outcome, time.Since(start).Seconds())
	})
	return survivors
}
