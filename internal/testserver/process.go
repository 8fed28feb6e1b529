package testserver

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	loopback = "127.0.0.1"

	// patience bounds every wait for a server. It is generous: a busy machine
	// is no finding, and a server that exits ends the wait at once.
	patience  = 20 * time.Second
	pollEvery = 10 * time.Millisecond

	// attempts is how many ports a server may try: another process can take
	// one between freePort's look and the server's bind.
	attempts = 5

	// busOffset is where a node of a Cluster listens for the others, above its port: only Redis 7 lets it be chosen.
	busOffset = 10_000
)

// missing ends the test because a binary is missing.
func missing(t testing.TB, binary string) {
	t.Helper()
	if os.Getenv("ASIDE_TEST_SERVERS") == "required" {
		t.Fatalf("testserver: %s is not installed and ASIDE_TEST_SERVERS=required", binary)
	}
	t.Skipf("testserver: %s is not installed", binary)
}

// FreeAddr returns a loopback address that nobody listens on. Its port and that of a
// Cluster's bus, which is busOffset above it, are below the range that the kernel
// takes local ports of outgoing connections from (32768 and up on Linux, 49152 and
// up elsewhere). Port 0 would give one inside that range. There any connection of
// the machine can occupy it while a killed server waits for its Restart, and one
// that has ended does so for a further minute (TIME_WAIT).
func FreeAddr() (addr string, err error) {
	const low, high = 12_000, 22_000
	for range 100 {
		addr = net.JoinHostPort(loopback, strconv.Itoa(low+rand.IntN(high-low)))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("testserver: no free port: %w", err)
}

// freePort returns the port of a FreeAddr.
func freePort(t testing.TB) string {
	t.Helper()
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// A process is one child process. Its output is in a file, so that no goroutine
// has to copy it.
type process struct {
	cmd     *exec.Cmd
	log     string
	end     syscall.Signal // what ends it at once
	exited  chan struct{}  // closed once the child has been reaped
	stopped bool
}

// start runs cmd with its output appended to the file log. end is the signal
// that ends it at once.
func start(cmd *exec.Cmd, log string, end syscall.Signal) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own copy
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	dieWithParent(cmd.SysProcAttr, end)

	p := &process{cmd: cmd, log: log, end: end, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel takes the thread that forked, not the process, for the
		// parent whose death kills the child. This goroutine keeps that thread
		// for as long as the child runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in cmd.ProcessState
		}
	}()
	return p, <-started
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func (p *process) running() bool { return !p.stopped && !p.hasExited() }

// stop returns when the child no longer executes anything: the signal alone
// lets it answer another command or two.
func (p *process) stop() error {
	if p.stopped {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.pid(), &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return err
		case !status.Stopped():
			return errors.New("it exited")
		default:
			p.stopped = true
			return nil
		}
	}
}

func (p *process) cont() error {
	p.stopped = false
	return p.cmd.Process.Signal(syscall.SIGCONT)
}

// kill returns when the child is gone and its ports are closed.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(p.end) // fails only if it has exited
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// tail returns the end of what the child wrote.
func (p *process) tail() string {
	const most = 4 << 10
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-most):])
}

// await polls until check returns nil. When it gives up, because a process that
// it depends on exited or patience is over, the error shows their logs.
func await(what string, check func() error, on ...*process) error {
	deadline := time.Now().Add(patience)
	for {
		lacks := check()
		if lacks == nil {
			return nil
		}
		hopeless := time.Now().After(deadline)
		for _, p := range on {
			hopeless = hopeless || p.hasExited()
		}
		if hopeless {
			err := fmt.Errorf("testserver: waiting for %s: %w", what, lacks)
			for _, p := range on {
				err = fmt.Errorf("%w\n--- %s, pid %d:\n%s", err, p.cmd.Path, p.pid(), p.tail())
			}
			return err
		}
		time.Sleep(pollEvery)
	}
}
