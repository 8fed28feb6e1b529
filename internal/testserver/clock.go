package testserver

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// A Clock is the wall clock of the servers that are started with it. It agrees with
// the machine's until Set is called. The nil Clock is the machine's.
type Clock struct {
	t       testing.TB
	library string // that the servers load
	file    string // that the library reads
}

//go:embed testdata/clock.c
var clockSource string

// ErrNoClock says that servers cannot have a Clock on this machine: it takes Linux and
// a C compiler, gcc.
var ErrNoClock = errors.New("testserver: a clock of its own for a server takes Linux and gcc")

// NewClock returns a Clock, or ErrNoClock.
func NewClock(t testing.TB) (*Clock, error) {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil || runtime.GOOS != "linux" {
		return nil, ErrNoClock
	}
	dir := t.TempDir()
	c := &Clock{t: t, library: filepath.Join(dir, "clock.so"), file: filepath.Join(dir, "ahead")}
	source := filepath.Join(dir, "clock.c")
	if err := os.WriteFile(source, []byte(clockSource), 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command(gcc, "-O2", "-shared", "-fPIC", "-o", c.library, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("testserver: gcc: %w\n%s", err, out)
	}
	c.Set(0)
	return c, nil
}

// Set has the clock be ahead of the machine's by so much, behind it if negative. Servers
// that run see it at once, as a step.
func (c *Clock) Set(ahead time.Duration) {
	c.t.Helper()
	file, err := os.OpenFile(c.file, os.O_CREATE|os.O_WRONLY, 0o600) // in place: the servers have it in their memory
	if err == nil {
		_, err = file.Write(binary.NativeEndian.AppendUint64(nil, uint64(ahead)))
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// environ is the environment of a server, nil for that of this process.
func (c *Clock) environ() []string {
	if c == nil {
		return nil
	}
	return append(os.Environ(), "LD_PRELOAD="+c.library, "ASIDE_TEST_CLOCK="+c.file)
}

// Redis is the function of that name, for a server with this clock.
func (c *Clock) Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	return startRedis(t, c, func() []string { return args })
}

// Cluster is the function of that name, for nodes with this clock.
func (c *Clock) Cluster(t testing.TB, primaries int, args ...string) *RedisCluster {
	t.Helper()
	return newCluster(t, c, primaries, args)
}
