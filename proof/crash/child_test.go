package crash_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A plan is what a child is told in its environment.
type plan struct {
	Way   string // of writing; a reader has none
	DSN   string
	Redis string
	Row   int64
	Hold  time.Duration
	Near  bool // all processes keep near copies
}

const planVar = "ASIDE_CRASH_PLAN"

func beChild(told string) {
	var p plan
	must(json.Unmarshal([]byte(told), &p))
	if p.Way == "" {
		beReader(p)
	} else {
		beWriter(p)
	}
}

// A child is another process, which runs this test binary. It ends when its standard input does, with the test at the
// latest.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  *bufio.Scanner // of its standard output
	stderr bytes.Buffer   // to be read after end
	ended  bool
}

func startChild(t *testing.T, p plan) *child {
	t.Helper()
	told, err := json.Marshal(p)
	must(err)
	self, err := os.Executable()
	must(err)
	c := &child{t: t, cmd: exec.Command(self)}
	c.cmd.Env = append(os.Environ(), planVar+"="+string(told))
	c.cmd.Stderr = &c.stderr
	c.stdin, err = c.cmd.StdinPipe()
	must(err)
	stdout, err := c.cmd.StdoutPipe()
	must(err)
	c.lines = bufio.NewScanner(stdout)
	must(c.cmd.Start())
	t.Cleanup(func() { c.kill() })
	return c
}

// kill returns when the process is gone.
func (c *child) kill() {
	if c.ended {
		return
	}
	c.ended = true
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// stop returns when the process no longer executes anything.
func (c *child) stop() {
	c.t.Helper()
	must(c.cmd.Process.Signal(syscall.SIGSTOP))
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(c.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		must(err)
		if !status.Stopped() {
			c.t.Fatalf("the process has exited: %s", c.stderr.String())
		}
		return
	}
}

// next returns the next line that the process writes.
func (c *child) next() string {
	c.t.Helper()
	if !c.lines.Scan() {
		c.kill()
		c.t.Fatalf("a process ended: %v\n%s", c.cmd.ProcessState, c.stderr.String())
	}
	return c.lines.Text()
}

// goOn answers a line.
func (c *child) goOn() {
	_, err := fmt.Fprintln(c.stdin)
	must(err)
}

// now is the time by the one clock that all processes of the machine share and nobody sets.
func now() int64 {
	var ts unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return ts.Nano()
}

// A read is what one Get returned, and when.
type read struct {
	begin, end int64
	version    int64
}

func (r read) String() string { return fmt.Sprintf("%d %d %d", r.begin, r.end, r.version) }

func parseRead(line string) (r read, err error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return r, fmt.Errorf("%q is no read", line)
	}
	var errs [3]error
	for i, p := range []*int64{&r.begin, &r.end, &r.version} {
		*p, errs[i] = strconv.ParseInt(fields[i], 10, 64)
	}
	return r, errors.Join(errs[:]...)
}

// A reader is a child that reads all the time.
type reader struct {
	*child
	done chan struct{} // closed once all that it wrote has been read

	mu    sync.Mutex // guards the rest
	reads []read
	err   error // of a line
}

func startReader(t *testing.T, p plan) *reader {
	t.Helper()
	r := &reader{child: startChild(t, p), done: make(chan struct{})}
	go r.collect()
	return r
}

func (r *reader) collect() {
	defer close(r.done)
	for r.lines.Scan() {
		read, err := parseRead(r.lines.Text())
		r.mu.Lock()
		r.err = errors.Join(r.err, err)
		r.reads = append(r.reads, read)
		r.mu.Unlock()
	}
}

// since is how many reads began after a time.
func (r *reader) since(at int64) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.reads) - 1; i >= 0 && r.reads[i].end > at; i-- { // they stand in the order of their ends, almost
		if r.reads[i].begin > at {
			n++
		}
	}
	return n
}

// finish has the reader end by itself, and returns all its reads.
func (r *reader) finish() []read {
	r.t.Helper()
	must(r.stdin.Close())
	<-r.done
	err := r.cmd.Wait()
	r.ended = true
	if err = errors.Join(err, r.err); err != nil {
		r.t.Fatalf("a reader ended: %v\n%s", err, r.stderr.String())
	}
	return r.reads
}
