package near_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/testserver"
)

// childAddr is the address of the Redis that a child process reads from, in its environment.
const childAddr = "ASIDE_NEAR_CHILD"

// child reads product 1 again and again, and answers each line of its input with what it read last, and whether that was a copy.
func child() {
	rdb := redis.NewClient(&redis.Options{Addr: os.Getenv(childAddr)})
	log := near.Join(near.Config{Client: rdb, Key: logKey})
	copies := near.NewCopies[int, string](log, prefix, 10, time.Hour)
	read := func() string {
		if row, _, ok := copies.Get(1); ok {
			return row + " near"
		}
		noted := copies.Note(name(1))
		row, err := rdb.Get(context.Background(), name(1)).Result()
		if err != nil {
			return "error: " + err.Error()
		}
		copies.Put(1, noted, row, false, nil, in(time.Hour))
		return row + " far"
	}
	asked := make(chan bool)
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			asked <- true
		}
		os.Exit(0)
	}()
	for {
		select {
		case <-asked:
			fmt.Println(read())
		default:
			read()
		}
	}
}

// A forked is a child process.
type forked struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *os.File
	out *bufio.Scanner
}

func fork(t *testing.T, addr string) *forked {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childAddr+"="+addr)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &forked{t, cmd, in.(*os.File), bufio.NewScanner(out)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *forked) ask() {
	f.t.Helper()
	_, err := f.in.WriteString("\n")
	must(f.t, err)
}

func (f *forked) answer() (row string, isNear bool) {
	f.t.Helper()
	if !f.out.Scan() {
		f.t.Fatal("the child has ended")
	}
	row, how, _ := strings.Cut(f.out.Text(), " ")
	return row, how == "near"
}

func (f *forked) signal(s syscall.Signal) {
	f.t.Helper()
	must(f.t, f.cmd.Process.Signal(s))
}

// Another process that reads from its memory all the time is stopped while it does, and killed.
func TestProcessesThatAreStoppedOrKilled(t *testing.T) {
	s := testserver.Redis(t)
	r := rigAt(t, s.Addr)
	r.set(1, "v0")
	f := fork(t, s.Addr)
	warm := func() {
		t.Helper()
		r.until("the child reads from its memory", func() bool { f.ask(); _, isNear := f.answer(); return isNear })
	}
	w := r.process()
	warm()
	version := 0
	write := func() string {
		t.Helper()
		version++
		row := fmt.Sprint("v", version)
		w.mustWrite(1, row)
		return row
	}
	check := func(want string) {
		t.Helper()
		if row, _ := f.answer(); row != want {
			t.Errorf("the child reads %s, want %s", row, want)
		}
	}
	for range 20 {
		row := write()
		f.ask()
		check(row)
	}
	for range 3 {
		warm()
		f.signal(syscall.SIGSTOP)
		row := write()
		f.ask() // it reads as soon as it goes on
		f.signal(syscall.SIGCONT)
		check(row)
	}
	warm()
	f.signal(syscall.SIGKILL)
	began := time.Now()
	write()
	if took := time.Since(began); took > 10*near.Delta {
		t.Errorf("a process that was killed is waited for for %v", took)
	}
	low := w.tap.count("low")
	write()
	if n := w.tap.count("low"); n != low {
		t.Error("a process that was killed is waited for again")
	}
}
