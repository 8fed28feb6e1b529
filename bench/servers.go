package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/asidecache/aside/internal/testserver"
)

// A host starts servers for as long as the process lives. It is what of a testing.TB the starters of tests need.
type host struct {
	testing.TB
	cleanups []func()
}

func (h *host) Helper()                  {}
func (h *host) Name() string             { return "bench" }
func (h *host) Context() context.Context { return context.Background() }
func (h *host) Logf(string, ...any)      {}
func (h *host) Cleanup(f func())         { h.cleanups = append(h.cleanups, f) }

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "aside-bench-")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (h *host) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	h.close()
	os.Exit(1)
}

func (h *host) Fatalf(format string, args ...any) { h.Fatal(fmt.Sprintf(format, args...)) }
func (h *host) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (h *host) Skip(args ...any)                  { h.Fatal(args...) }
func (h *host) Skipf(format string, args ...any)  { h.Fatalf(format, args...) }

func (h *host) redis() *testserver.RedisServer       { return testserver.Redis(h) }
func (h *host) postgres() *testserver.PostgresServer { return testserver.Postgres(h) }

// close stops the servers.
func (h *host) close() {
	cleanups := h.cleanups
	h.cleanups = nil
	for _, cleanup := range slices.Backward(cleanups) {
		cleanup()
	}
}
