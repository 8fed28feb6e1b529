package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/asidecache/aside/proof/soak/history"
)

// A process is a worker.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	wanted atomic.Bool // that it ends, however
	exited chan struct{}
	blame  func(end string)
}

// spawn starts a worker in a slot, and has its frames read until it has ended.
func (s *soak) spawn(slot int) {
	s.mu.Lock()
	number := len(s.names)
	s.names = append(s.names, fmt.Sprintf("p%d.%d", slot, number))
	s.mu.Unlock()
	from, to, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	proc := &process{cmd: exec.Command(self(), "worker", s.job(slot, number)), exited: make(chan struct{})}
	proc.blame = func(end string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ends = append(s.ends, fmt.Sprintf("VIOLATION: process %s %s\n", s.names[number], end))
	}
	proc.cmd.Stderr = os.Stderr
	proc.cmd.ExtraFiles = []*os.File{to}
	proc.cmd.SysProcAttr = new(syscall.SysProcAttr)
	dieWithParent(proc.cmd.SysProcAttr)
	if proc.stdin, err = proc.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	s.news <- news{process: number, opened: history.Now()}
	if err := proc.start(); err != nil {
		s.t.Fatal(err)
	}
	to.Close()
	s.slots[slot] = proc
	s.pipes.Go(func() {
		defer from.Close()
		for {
			frame, err := history.ReadFrame(from)
			if err != nil {
				break
			}
			s.news <- news{process: number, frame: frame}
		}
		s.news <- news{process: number, closed: true}
	})
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

func (s *soak) job(slot, number int) string {
	p := s.plan
	j := job{
		DSN: s.dsn, Redis: s.addrs(), Via: make(map[string]string), Seed: p.seed<<20 + uint64(number), Rows: p.rows(),
		Slot: slot, Readers: p.readers, Writers: p.writers, Pause: p.pause, Near: p.near, Verify: p.verify, Feed: s.feed, Break: p.mistake,
	}
	for i, addr := range s.addrs() {
		j.Via[addr] = s.proxies[slot][i].Addr
	}
	text, err := json.Marshal(j)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// start starts the process on a thread of its own: see dieWithParent.
func (p *process) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.exited)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			err = p.cmd.Wait()
		}
		if err != nil && !p.wanted.Load() {
			p.blame(fmt.Sprintf("ended by itself: %v", err))
		}
	}()
	return <-started
}

func (p *process) stop() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }

func (p *process) cont() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// kill returns when the process is gone.
func (p *process) kill() {
	p.wanted.Store(true)
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// finish has the process end what it does, and return. If it does not, it prints what its goroutines wait for.
func (p *process) finish() {
	p.stdin.Close()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.wanted.Store(true)
		p.blame(fmt.Sprintf("did not end within %v: a call has not returned", patience))
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.exited
	}
}

// patience is longer than any call may take: several loads, one after the other.
const patience = 30 * time.Second
