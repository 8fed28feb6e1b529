package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// tests builds the library's tests and runs them.
type tests struct {
	dir     string // for what is built
	run     string // the tests to run in the place of the catchers
	library string // the tests of the library as it is, but for its scripts, which mutate as they are told
}

// A build takes seconds, so the mutants of the scripts share one, in which the environment says what to replace.
const (
	scriptsFile  = "scripts.go"
	mutateScript = `package aside

import (
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
)

func mutatedScript(source string) *redis.Script {
	if old := os.Getenv("MUTANT_OLD"); old != "" {
		source = strings.Replace(source, old, os.Getenv("MUTANT_NEW"), 1)
	}
	return redis.NewScript(source)
}
`
)

// buildLibrary builds library.
func (t *tests) buildLibrary(ctx context.Context) error {
	source, err := os.ReadFile(scriptsFile)
	if err != nil {
		return fmt.Errorf("this must be run from the root of the repository: %w", err)
	}
	mutable := strings.ReplaceAll(string(source), "redis.NewScript(", "mutatedScript(")
	t.library, err = t.build(ctx, "library", map[string][]byte{
		scriptsFile: []byte(mutable), "mutated_script.go": []byte(mutateScript),
	})
	return err
}

// hang is how long a test may take: all that catch a mutant take far less without it.
const hang = 40 * time.Second

// pass checks that the catchers are there and pass on the library as it is.
func (t tests) pass(ctx context.Context, selected []mutant) error {
	passed := make(map[string]bool)
	var errs []error
	for _, m := range selected {
		if passed[m.catcher] {
			continue
		}
		out, err := test(ctx, t.library, m.catcher)
		passed[m.catcher] = true
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s fails without a mutant:\n%s", m.catcher, out))
		case strings.Contains(out, "no tests to run"), strings.Contains(out, "--- SKIP"):
			errs = append(errs, fmt.Errorf("there is no %s, or it skips here", m.catcher))
		}
	}
	return errors.Join(errs...)
}

// try tells what became of a mutant, and whether it was caught.
func (t tests) try(ctx context.Context, i int, m mutant) (outcome string, caught bool) {
	mutated, err := m.source()
	if err != nil {
		return err.Error(), false
	}
	binary, env := t.library, []string{"MUTANT_OLD=" + m.old, "MUTANT_NEW=" + m.new}
	if m.file != scriptsFile {
		env = nil
		if binary, err = t.build(ctx, fmt.Sprint("mutant", i), map[string][]byte{m.file: mutated}); err != nil {
			return err.Error(), false
		}
		defer os.Remove(binary)
	}
	run := m.catcher
	if t.run != "" {
		run = t.run
	}
	out, err := test(ctx, binary, run, env...)
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

// build compiles the tests of the library with some of its files replaced.
func (t tests) build(ctx context.Context, name string, replaced map[string][]byte) (binary string, err error) {
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for file, source := range replaced {
		path, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		copied := filepath.Join(t.dir, name+"_"+filepath.Base(file))
		if err := os.WriteFile(copied, source, 0o600); err != nil {
			return "", err
		}
		overlay.Replace[path] = copied
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	overlayFile := filepath.Join(t.dir, name+".json")
	if err := os.WriteFile(overlayFile, text, 0o600); err != nil {
		return "", err
	}
	binary = filepath.Join(t.dir, name+".test")
	args := []string{"test", "-c", "-vet=off", "-gcflags=-l", "-ldflags=-s -w", "-overlay", overlayFile, "-o", binary, "."}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s does not compile: %w\n%s", name, err, out)
	}
	return binary, nil
}

var errHung = errors.New("the test hangs")

// test runs the tests that run names: on miniredis alone, in virtual time, unless it says otherwise.
func test(ctx context.Context, binary, run string, env ...string) (out string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*hang) // if its own timeout does not end it
	defer cancel()
	var output bytes.Buffer
	args := []string{"-test.v", "-test.timeout=" + hang.String(), "-test.run=" + anchored(run)}
	if !strings.HasSuffix(run, "/redis") {
		args = append(args, "-test.skip=.*/^(redis|cluster)$|.*/.*/^(redis|cluster)$")
	}
	cmd := exec.CommandContext(ctx, binary, args...)
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
