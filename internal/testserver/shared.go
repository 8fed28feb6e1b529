package testserver

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// A Shared is one server for all tests of a process that neither stop nor reconfigure it: some servers take seconds to
// start. The first test that asks for it starts it.
type Shared[S any] struct {
	Start func(t testing.TB) S

	once   sync.Once
	life   life
	server S
}

// Get returns the server. If it could not be started, every test that asks for it fails or skips for the same reason.
func (s *Shared[S]) Get(t testing.TB) S {
	t.Helper()
	s.once.Do(func() {
		done := make(chan struct{})
		go func() { // which Fatal and Skip end
			defer close(done)
			s.server = s.Start(&s.life)
		}()
		<-done
	})
	switch {
	case s.life.failed != "":
		t.Fatal(s.life.failed)
	case s.life.skipped != "":
		t.Skip(s.life.skipped)
	}
	return s.server
}

// Stop ends the server. It is for TestMain, after the last test.
func (s *Shared[S]) Stop() {
	for _, cleanup := range slices.Backward(s.life.cleanups) {
		cleanup()
	}
	s.life.cleanups = nil
}

// life is the part of a testing.TB that starting a server needs, lasting as long as the process does.
type life struct {
	testing.TB
	failed, skipped string
	cleanups        []func()
}

func (l *life) Helper()                  {}
func (l *life) Name() string             { return "shared" }
func (l *life) Context() context.Context { return context.Background() }
func (l *life) Logf(string, ...any)      {}
func (l *life) Cleanup(f func())         { l.cleanups = append(l.cleanups, f) }

func (l *life) TempDir() string {
	dir, err := os.MkdirTemp("", "aside-test-")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (l *life) Fatal(args ...any)                 { l.end(&l.failed, fmt.Sprint(args...)) }
func (l *life) Fatalf(format string, args ...any) { l.end(&l.failed, fmt.Sprintf(format, args...)) }
func (l *life) Error(args ...any)                 { l.failed = fmt.Sprint(args...) }
func (l *life) Errorf(format string, args ...any) { l.failed = fmt.Sprintf(format, args...) }
func (l *life) Skip(args ...any)                  { l.end(&l.skipped, fmt.Sprint(args...)) }
func (l *life) Skipf(format string, args ...any)  { l.end(&l.skipped, fmt.Sprintf(format, args...)) }

func (l *life) end(why *string, message string) {
	*why = message
	runtime.Goexit()
}
