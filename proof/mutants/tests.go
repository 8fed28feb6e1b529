package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// tests builds the library's tests and runs them.
type tests struct {
	dir   string // for what is built
	run   string // the tests to run in the place of the catchers
	times int    // how often each mutant must be caught, of as many runs; 0 for once, of mostRuns

	// shared are the tests of the library as it is, except for the mutants that sleep in it: a binary for each package that has
	// catchers, by its directory.
	shared map[string]string

	took map[string]time.Duration // what each catcher takes without a mutant
}

// buildShared builds shared. A mutant that no longer applies, or does not compile, is an error.
func (t *tests) buildShared(ctx context.Context, selected []mutant) error {
	w := weaver{clauses: make(map[string]map[int][]byte)}
	var errs []error
	for i, m := range selected {
		if err := w.add(i+1, m); err != nil {
			errs = append(errs, fmt.Errorf("the mutant of %q: %w", m.rule, err))
		}
	}
	if errs != nil {
		return errors.Join(errs...)
	}
	files, err := w.files()
	if err != nil {
		return err
	}
	t.shared = make(map[string]string)
	for _, m := range selected {
		dir, _ := m.test()
		if t.shared[dir] != "" {
			continue
		}
		if t.shared[dir], err = t.build(ctx, dir, files); err != nil {
			return errors.Join(notGo(err.Error(), selected), err)
		}
	}
	return nil
}

// hang is how long a catcher may take with a mutant, beside what it takes without one. patience is for that.
const (
	hang     = 20 * time.Second
	patience = 3 * time.Minute
)

// pass checks that the catchers are there and pass on the library as it is.
func (t *tests) pass(ctx context.Context, selected []mutant) error {
	t.took = make(map[string]time.Duration)
	byCatcher := make(map[string]mutant)
	for _, m := range selected {
		byCatcher[m.catcher] = m
	}
	catchers := slices.Collect(maps.Values(byCatcher))
	var mu sync.Mutex // guards t.took and errs
	var errs []error
	sideBySide(len(catchers), func(i int) {
		dir, test := catchers[i].test()
		start := time.Now()
		out, err := t.test(ctx, dir, test, patience)
		mu.Lock()
		defer mu.Unlock()
		t.took[test] = time.Since(start)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s fails without a mutant:\n%s", catchers[i].catcher, out))
		case strings.Contains(out, "no tests to run"), strings.Contains(out, "--- SKIP"):
			errs = append(errs, fmt.Errorf("there is no %s, or it skips here", catchers[i].catcher))
		}
	})
	return errors.Join(errs...)
}

// sideBySide does n things, as many at a time as there are CPUs.
func sideBySide(n int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		group.Go(func() error { do(i); return nil })
	}
	_ = group.Wait()
}

// mostRuns is how often a mutant is tried. A catcher that plays a race on a real server may miss it once, where other work has the
// cores. The output says so: a catcher that misses often is to be made better.
const mostRuns = 3

// try tells what became of a mutant, and whether it was caught.
func (t *tests) try(ctx context.Context, i int, m mutant) (outcome string, caught bool) {
	if t.times > 0 {
		return t.tryEach(ctx, i, m)
	}
	for n := range mostRuns {
		if outcome, caught = t.tryOnce(ctx, i, m); caught && n > 0 {
			outcome += fmt.Sprintf(" in run %d", n+1)
		}
		if caught {
			break
		}
	}
	return outcome, caught
}

// tryEach counts the runs in which a mutant is caught, which must be all.
func (t *tests) tryEach(ctx context.Context, i int, m mutant) (outcome string, caught bool) {
	n := 0
	for range t.times {
		if _, caught := t.tryOnce(ctx, i, m); caught {
			n++
		}
	}
	return fmt.Sprintf("%s: caught %d of %d times", m.catcher, n, t.times), n == t.times
}

func (t *tests) tryOnce(ctx context.Context, i int, m mutant) (outcome string, caught bool) {
	dir, run := m.test()
	if t.run != "" {
		run = t.run
	}
	env := []string{fmt.Sprint(aliveVariable, "=", i+1), "MUTANT_OLD=" + m.old, "MUTANT_NEW=" + m.new}
	timeout := patience // for what may be all of the tests
	if t.run == "" {
		timeout = hang + 2*t.took[run]
	}
	out, err := t.test(ctx, dir, run, timeout, env...)
	switch failed := failures(out); {
	case err == nil:
		return "SURVIVED " + run, false
	case errors.Is(err, errHung):
		return run + " hangs", true
	case t.run != "":
		return strings.Join(failed, "|"), true
	case len(failed) == 0:
		return run + " crashes", true
	default:
		return run, true
	}
}

// build compiles the tests of one package of the library with some of the files replaced.
func (t *tests) build(ctx context.Context, dir string, replaced map[string][]byte) (binary string, err error) {
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for file, source := range replaced {
		path, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		overlay.Replace[path] = filepath.Join(t.dir, strings.ReplaceAll(file, string(filepath.Separator), "_"))
		if err := os.WriteFile(overlay.Replace[path], source, 0o600); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	overlayFile := filepath.Join(t.dir, "overlay.json")
	if err := os.WriteFile(overlayFile, text, 0o600); err != nil {
		return "", err
	}
	binary = filepath.Join(t.dir, "mutants_"+filepath.Base(dir)+".test")
	args := []string{"test", "-c", "-vet=off", "-gcflags=-l -e", "-ldflags=-s -w", "-overlay", overlayFile, "-o", binary, "./" + dir}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("the library with its mutants does not compile: %w\n%s", err, out)
	}
	return binary, nil
}

var errHung = errors.New("the test hangs")

// test runs the tests of a package that run names: on miniredis alone, in virtual time, unless it says otherwise.
func (t *tests) test(ctx context.Context, dir, run string, timeout time.Duration, env ...string) (out string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*timeout) // if its own timeout does not end it
	defer cancel()
	var output bytes.Buffer
	args := []string{"-test.v", "-test.timeout=" + timeout.String(), "-test.run=" + anchored(run)}
	if !onServers(run) {
		args = append(args, "-test.skip=.*/^(redis|cluster)$|.*/.*/^(redis|cluster)$")
	}
	cmd := exec.CommandContext(ctx, t.shared[dir], args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	out = output.String()
	if err != nil && (ctx.Err() != nil || strings.Contains(out, "panic: test timed out")) {
		err = errHung
	}
	return out, err
}

// onServers reports whether a name is that of a test on a real server.
func onServers(name string) bool {
	parts := strings.Split(name, "/")
	return slices.Contains(parts, "redis") || slices.Contains(parts, "cluster")
}

// anchored makes of the name of a test the -test.run that no other matches.
func anchored(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^(" + part + ")$"
	}
	return strings.Join(parts, "/")
}

// failures finds the tests that failed.
func failures(out string) (names []string) {
	for _, found := range failure.FindAllStringSubmatch(out, -1) {
		names = append(names, found[1])
	}
	return names
}

var failure = regexp.MustCompile(`--- FAIL: (\S+)`)
