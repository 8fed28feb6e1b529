package asidetest_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// A recorder is a TB that notes the failures of an assertion under test, and fails nothing.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	stopped  bool
}

func (r *recorder) Error(args ...any)                 { r.note(fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.note(fmt.Sprintf(format, args...)) }
func (r *recorder) Fatal(args ...any)                 { r.stop(fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) { r.stop(fmt.Sprintf(format, args...)) }

func (r *recorder) note(failure string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, failure)
}

func (r *recorder) stop(failure string) {
	r.note(failure)
	r.stopped = true
	runtime.Goexit()
}

// record runs an assertion, and returns its failures.
func record(t *testing.T, assertion func(t testing.TB)) *recorder {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		assertion(r)
	}()
	<-done
	if testing.Verbose() {
		t.Logf("%d failures: %s", len(r.failures), strings.Join(r.failures, "\n"))
	}
	return r
}

// passes fails the test if the assertion has failed.
func passes(t *testing.T, assertion func(t testing.TB)) {
	t.Helper()
	if r := record(t, assertion); len(r.failures) > 0 {
		t.Errorf("a correct variant fails: %s", strings.Join(r.failures, "\n"))
	}
}

// finds fails the test if the assertion has not failed once, with all of these words.
func finds(t *testing.T, assertion func(t testing.TB), words ...string) {
	t.Helper()
	r := record(t, assertion)
	if len(r.failures) != 1 {
		t.Fatalf("%d failures, want 1: %s", len(r.failures), strings.Join(r.failures, "\n"))
	}
	for _, word := range words {
		if !strings.Contains(r.failures[0], word) {
			t.Errorf("the failure does not say %q: %s", word, r.failures[0])
		}
	}
}
