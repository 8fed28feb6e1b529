package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

var stampedeWorkload = workload{
	name:  "stampede",
	title: "Stampede",
	about: "1,000 goroutines in 4 processes read one key that is not cached, all at once; a load takes 50 ms. Loads of " +
		"all processes, how long the last caller waited beyond the load, and what it cost Redis. " +
		"Callers give up after 2 s: those who did are errors.",
	run: runStampede,
}

const (
	stampedeChild      = "stampede-child" // the first argument of a child
	stampedeProcesses  = 4
	stampedeGoroutines = 1000 / stampedeProcesses
	stampedeLoad       = 50 * time.Millisecond
	stampedePatience   = 2 * time.Second
)

// A rush asks a child to read one key with all of its goroutines. It answers "ready" when they stand by, and after
// another line with what became of them.
type rush struct {
	Library, Codec string
	ID             int64
}

// An aftermath is that of one process, or of all of them.
type aftermath struct {
	Loads    int
	Errors   int
	Last     time.Duration // of the slowest caller
	commands int           // that Redis ran
}

func runStampede(r *run) error {
	children, err := startChildren(r.addr)
	defer children.stop()
	if err != nil {
		return err
	}
	all := r.variants(variant.byDefault)
	peers := make([]opened, len(all)) // opened in the children
	for i, v := range all {
		peers[i].variant = v
	}
	for _, o := range peers { // connections first
		if _, err := r.stampede(children, o.variant); err != nil {
			return err
		}
	}
	reps, _ := r.slots(7, 0)
	figures, err := interleave(reps, peers, func(o opened) (aftermath, error) { return r.stampede(children, o.variant) })
	if err != nil {
		return err
	}
	t := &table{columns: []string{"library", "codec", "loads", "last caller +ms, best", "median", "errors", "commands run",
		"commands sent", "does not promise"}}
	for i, o := range peers {
		sent, err := r.tappedStampede(children, o.variant)
		if err != nil {
			return err
		}
		of := func(pick func(aftermath) float64) series { return seriesOf(figures[i], pick) }
		last := of(func(a aftermath) float64 { return (a.Last - stampedeLoad).Seconds() * 1e3 })
		loads := of(func(a aftermath) float64 { return float64(a.Loads) })
		errs := of(func(a aftermath) float64 { return float64(a.Errors) })
		ran := of(func(a aftermath) float64 { return float64(a.commands) })
		t.add(o.name, o.codec, figure(loads.median()), figure(last.min()), figure(last.median()), figure(errs.median()),
			figure(ran.median()), figure(float64(sent)), o.caveat())
	}
	r.report.print(t)
	return nil
}

func (r *run) stampede(children crew, v variant) (aftermath, error) {
	before, err := commandsRun(r.ctx, r.admin)
	if err != nil {
		return aftermath{}, err
	}
	sum, err := children.rush(rush{v.name, v.codec, freshID()})
	if err != nil {
		return sum, err
	}
	time.Sleep(20 * time.Millisecond) // for those who fill after they have returned
	after, err := commandsRun(r.ctx, r.admin)
	sum.commands = after - before
	return sum, err
}

// tappedStampede is one more, for what went over the wire.
func (r *run) tappedStampede(children crew, v variant) (sent int, err error) {
	w, err := tap(r.addr)
	if err != nil {
		return 0, err
	}
	if _, err := r.stampede(children, v); err != nil {
		return 0, err
	}
	return w.stop(r.ctx, r.admin)
}

// A child is this program once more.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

type crew []*child

func startChildren(addr string) (crew, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var children crew
	for range stampedeProcesses {
		cmd := exec.Command(self, stampedeChild, addr)
		cmd.Stderr = os.Stderr
		in, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		if err := slices.MaxFunc([]error{err1, err2, cmd.Start()}, errFirst); err != nil {
			return children, err
		}
		children = append(children, &child{cmd, in, bufio.NewScanner(out)})
	}
	return children, nil
}

func errFirst(a, b error) int {
	return map[bool]int{true: 1, false: 0}[a != nil] - map[bool]int{true: 1, false: 0}[b != nil]
}

// stop ends the children by the end of their input.
func (c crew) stop() {
	for _, child := range c {
		child.in.Close()
		_ = child.cmd.Wait() // it has nothing to say
	}
}

func (c crew) rush(order rush) (sum aftermath, err error) {
	line, err := json.Marshal(order)
	if err != nil {
		return sum, err
	}
	for _, say := range []string{string(line), "go"} {
		for _, child := range c {
			if _, err := fmt.Fprintln(child.in, say); err != nil {
				return sum, err
			}
		}
		for _, child := range c {
			if !child.out.Scan() {
				return sum, fmt.Errorf("a child process ended: %v", child.out.Err())
			}
			if say != "go" {
				continue
			}
			var one aftermath
			if err := json.Unmarshal(child.out.Bytes(), &one); err != nil {
				return sum, err
			}
			sum.Loads += one.Loads
			sum.Errors += one.Errors
			sum.Last = max(sum.Last, one.Last)
		}
	}
	return sum, nil
}

// stampedeProcess is a child's life.
func stampedeProcess(addr string, in io.Reader, out io.Writer) error {
	peers := map[string]opened{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var order rush
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			return err
		}
		o, ok := peers[order.Library+order.Codec]
		if !ok {
			var err error
			if o, err = openNamed(addr, order); err != nil {
				return err
			}
			peers[order.Library+order.Codec] = o
		}
		wait := standBy(o, order.ID)
		fmt.Fprintln(out, "ready")
		if !lines.Scan() {
			return lines.Err()
		}
		if err := json.NewEncoder(out).Encode(wait()); err != nil {
			return err
		}
	}
	return nil
}

func openNamed(addr string, order rush) (opened, error) {
	i := slices.IndexFunc(libraries, func(l library) bool { return l.name == order.Library })
	if i < 0 {
		return opened{}, fmt.Errorf("no library %q", order.Library)
	}
	v := variant{libraries[i], order.Codec}
	s := newSource(1<<10, stampedeLoad)
	p, err := v.openOn(addr, s)
	return opened{v, p, s}, err
}

// standBy has the goroutines wait. What it returns lets them go, and waits for them.
func standBy(o opened, id int64) func() aftermath {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var sum aftermath
	var start time.Time
	begin := make(chan struct{})
	loads := o.source.loads.Load()
	for range stampedeGoroutines {
		wg.Go(func() {
			<-begin
			ctx, cancel := context.WithTimeout(context.Background(), stampedePatience)
			defer cancel()
			p, err := o.peer.Get(ctx, id)
			took := time.Since(start)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || p.ID != id {
				sum.Errors++
			}
			sum.Last = max(sum.Last, took)
		})
	}
	return func() aftermath {
		start = time.Now()
		close(begin)
		wg.Wait()
		sum.Loads = int(o.source.loads.Load() - loads)
		return sum
	}
}
