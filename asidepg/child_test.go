package asidepg_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/asidecache/aside/asidepg"
)

// A plan is what a child is told in its environment: to run a feed, and to stand still at a step.
type childPlan struct {
	DSN, Slot string
	Step      string
	Time      int // which of the steps of this name, from 1
}

const planVar = "ASIDE_PG_PLAN"

// beChild runs a feed that writes each event to standard output, and then the step at which it stands still.
func beChild(told string) {
	var p childPlan
	must(json.Unmarshal([]byte(told), &p))
	f, err := asidepg.New(p.DSN, asidepg.Config{Slot: p.Slot, Publication: "aside"})
	must(err)
	var mu sync.Mutex
	tell := func(event string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(event)
	}
	f.On("public.products", func(_ context.Context, c asidepg.Change) error {
		tell(fmt.Sprint(c.Op, " ", c.Int64s("id"), " in ", c.Int64s("category_id")))
		return nil
	})
	f.OnGap(func(context.Context) error { tell("gap"); return nil })
	var counting sync.Mutex
	left := p.Time
	asidepg.Step(f, func(step string) {
		counting.Lock()
		if step == p.Step {
			left--
		}
		here := step == p.Step && left == 0
		counting.Unlock()
		if here {
			tell("step " + step)
			select {}
		}
	})
	must(f.Run(context.Background()))
}

// A child is a process with a feed.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
	events []string // so far
}

func startChild(t *testing.T, p childPlan) *child {
	t.Helper()
	told, err := json.Marshal(p)
	must(err)
	self, err := os.Executable()
	must(err)
	c := &child{t: t, cmd: exec.Command(self)}
	c.cmd.Env = append(os.Environ(), planVar+"="+string(told))
	c.cmd.Stderr = &c.stderr
	stdout, err := c.cmd.StdoutPipe()
	must(err)
	c.lines = bufio.NewScanner(stdout)
	must(c.cmd.Start())
	t.Cleanup(c.kill)
	return c
}

// until reads what the process tells up to a line.
func (c *child) until(line string) {
	c.t.Helper()
	for c.lines.Scan() {
		if c.lines.Text() == line {
			return
		}
		c.events = append(c.events, c.lines.Text())
	}
	c.kill()
	c.t.Fatalf("the process ended before %q: %v, after %q\n%s", line, c.cmd.ProcessState, c.events, c.stderr.String())
}

// kill is SIGKILL. It returns when the process is gone.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// The process that holds the slot is killed at each step. Another one takes over, and sees whatever the killed one has not
// handled to the end.
func TestAFeedThatIsKilledLosesNothing(t *testing.T) {
	const insert, truncate = `INSERT INTO products VALUES (1, 10)`, `TRUNCATE products`
	for _, c := range []struct {
		step   string
		time   int
		before string // typed before the feed has a slot, and after: what the next feed must see is its last event
		after  string
		want   string
	}{
		{"make slot", 1, insert, "", "gap"},
		{"slot made", 1, insert, "", "gap"},
		{"gap", 1, insert, "", "gap"},
		{"gap handled", 1, insert, "", "gap"},
		{"name slot", 1, insert, "", "gap"},
		{"held", 1, "", insert, "INSERT [1] in [10]"},
		{"begin", 1, "", insert, "INSERT [1] in [10]"},
		{"visible", 1, "", insert, "INSERT [1] in [10]"},
		{"handler", 1, "", insert, "INSERT [1] in [10]"},
		{"handled", 1, "", insert, "INSERT [1] in [10]"},
		{"gap", 2, "", truncate, "gap"},
		{"gap handled", 2, "", truncate, "gap"},
		{"handled", 1, "", truncate, "gap"},
		{"altered", 1, "", `ALTER TABLE products ADD extra int DEFAULT 1`, "gap"},
		{"gap", 2, "", `ALTER TABLE products ADD extra int DEFAULT 1`, "gap"},
		{"gap handled", 2, "", `ALTER TABLE products ADD extra int DEFAULT 1`, "gap"},
	} {
		t.Run(fmt.Sprint(strings.Fields(c.before + c.after)[0], " at ", c.step, " ", c.time), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if c.before != "" {
				r.exec(c.before)
			}
			killed := startChild(t, childPlan{r.dsn, r.slot, c.step, c.time})
			if c.after != "" {
				r.until("the slot", r.hasSlot)
				if c.step != "held" {
					r.untilSettled()
				}
				r.exec(c.after)
			}
			killed.until("step " + c.step)
			killed.kill()
			next := r.feed()
			r.start(next)
			r.untilReading(next)
			r.sync()
			if seen := r.seen(); !slices.Contains(seen, c.want) {
				t.Errorf("the next feed sees %q, and not %q", seen, c.want)
			}
		})
	}
}

// Once the slot has its name, the gap has been handled, and the next process needs none.
func TestAFeedThatIsKilledWhenItsSlotIsNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	killed := startChild(t, childPlan{r.dsn, r.slot, "drop temporary slot", 1})
	killed.until("step drop temporary slot")
	equal(t, "what the killed feed has handled", strings.Join(killed.events, " "), "gap")
	r.exec(`INSERT INTO products VALUES (1, 10)`)
	killed.kill()
	next := r.feed()
	r.start(next)
	r.untilReading(next)
	r.sync()
	if seen := r.seen(); !slices.Contains(seen, "INSERT [1] in [10]") {
		t.Errorf("the next feed sees %q", seen)
	}
}

// Processes with feeds are killed one after the other while rows are written.
func TestProcessesThatAreKilledTakeOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const rows, processes = 300, 4
	var mu sync.Mutex // guards what follows
	seen, killed := make(map[string]bool), 0
	run := func(step string, time int) *child {
		c := startChild(t, childPlan{r.dsn, r.slot, step, time})
		return c
	}
	first := run("handled", 20)
	r.until("the slot", r.hasSlot)
	r.untilSettled()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range rows {
			_, err := r.db.Exec(context.Background(), `INSERT INTO products VALUES ($1, 10)`, i)
			must(err)
		}
	}()
	children := []*child{first}
	for range processes - 1 {
		children = append(children, run("handled", 30)) // which stand by
	}
	done := make(chan struct{})
	for _, c := range children {
		go func() {
			defer func() { done <- struct{}{} }()
			for c.lines.Scan() {
				line := c.lines.Text()
				mu.Lock()
				seen[line] = true
				if strings.HasPrefix(line, "step") {
					killed++
					_ = c.cmd.Process.Kill()
				}
				mu.Unlock()
			}
		}()
	}
	for range children {
		<-done
	}
	<-written
	next := r.feed()
	r.start(next)
	r.untilReading(next)
	r.sync()
	for _, event := range r.seen() {
		seen[event] = true
	}
	for i := range rows {
		if !seen["INSERT ["+sprint(i)+"] in [10]"] {
			t.Errorf("row %d was lost", i)
		}
	}
	equal(t, "processes that were killed", killed, processes)
}
