package proxy

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A rule is a fault of commands.
type rule struct {
	verbs  []Verb // that it is about; none: all
	every  int64  // it strikes each so many-th of them
	strike func(p *Proxy, c *conn, cmd Command, out *bufio.Writer) bool

	seen atomic.Int64
}

// apply reports whether the connection lives on.
func (r *rule) apply(p *Proxy, c *conn, cmd Command, out *bufio.Writer) bool {
	if len(r.verbs) > 0 && !slices.Contains(r.verbs, cmd.Verb) {
		return true
	}
	if r.seen.Add(1)%r.every != 0 {
		return true
	}
	return r.strike(p, c, cmd, out)
}

// add begins a rule and returns what ends it.
func (p *Proxy) add(r *rule) (end func()) {
	r.every = max(1, r.every)
	p.mu.Lock()
	defer p.mu.Unlock()
	rules := append(slices.Clone(*p.rules.Load()), r)
	p.rules.Store(&rules)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		rules := slices.DeleteFunc(slices.Clone(*p.rules.Load()), func(other *rule) bool { return other == r })
		p.rules.Store(&rules)
	}
}

// pause holds up one connection, after what came before has been sent. If its client gives up meanwhile, what it sent is
// executed all the same, as a slow network does it.
func pause(c *conn, out *bufio.Writer, d time.Duration) bool {
	if out.Flush() != nil {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.done: // cut
		return false
	}
}

// HoldUp holds up each nth command of a verb for at most d, while all other connections go on. With cut, the connection
// of its client ends at once, so that the client sends it again on another one, and both are executed.
func (p *Proxy) HoldUp(verb Verb, n int, d time.Duration, cut bool) (end func()) {
	return p.add(&rule{verbs: []Verb{verb}, every: int64(n), strike: func(p *Proxy, c *conn, cmd Command, out *bufio.Writer) bool {
		if cut {
			p.again(bytes.Clone(cmd.Raw), random(d))
			return false
		}
		return pause(c, out, random(d))
	}})
}

// random is at most d, and short more often than long.
func random(d time.Duration) time.Duration {
	share := rand.Float64()
	return time.Duration(share * share * float64(d))
}

// Delay holds up each nth command for d, and what comes after it on its connection.
func (p *Proxy) Delay(n int, d time.Duration) (end func()) {
	return p.add(&rule{every: int64(n), strike: func(p *Proxy, c *conn, cmd Command, out *bufio.Writer) bool {
		return pause(c, out, d)
	}})
}

// Resend has each nth script executed a second time, at most d later.
func (p *Proxy) Resend(n int, d time.Duration) (end func()) {
	return p.add(&rule{
		verbs: []Verb{Lease, Fill, Hold, Invalidate, Record, Index, Mark, Since, HoldTags, News, Note, Low, Script}, every: int64(n),
		strike: func(p *Proxy, c *conn, cmd Command, out *bufio.Writer) bool {
			p.again(bytes.Clone(cmd.Raw), random(d))
			return true
		},
	})
}

// CutAt ends the connection of each nth command: the command is executed, and its reply gets lost.
func (p *Proxy) CutAt(n int) (end func()) {
	return p.add(&rule{every: int64(n), strike: func(p *Proxy, c *conn, cmd Command, out *bufio.Writer) bool {
		c.mute.Store(true) // before the server can answer
		out.Write(cmd.Raw)
		out.Flush()
		return false
	}})
}

// SwallowAgain does as Swallow does with each hold, of an entry or of tags, that its holder has placed before: with renewals.
func (p *Proxy) SwallowAgain() (end func()) {
	var mu sync.Mutex
	placed := make(map[string]bool)
	return p.add(&rule{verbs: []Verb{Hold, HoldTags}, strike: func(p *Proxy, c *conn, cmd Command, out *bufio.Writer) bool {
		keys, err := strconv.Atoi(string(cmd.Args[2]))
		if err != nil || len(cmd.Args) < 5+keys || string(cmd.Args[4+keys]) == "0" { // a release
			return true
		}
		what := slices.Concat(cmd.Args[3:4+keys], cmd.Args[min(len(cmd.Args), 8+keys):]) // the entry and the holder, or the holder and the tags
		hold := string(bytes.Join(what, []byte{0}))
		mu.Lock()
		again := placed[hold]
		placed[hold] = true
		mu.Unlock()
		if again {
			cmd.Args[2+keys][0] = '!'
		}
		return true
	}})
}

// blindAt is where the script of marks lists the tags that are held.
const blindAt = "for i = 1, #held, 2 do"

// Blind has loads begin without seeing which tags are held.
func (p *Proxy) Blind() (end func()) {
	return p.add(&rule{verbs: []Verb{Mark}, strike: func(p *Proxy, c *conn, cmd Command, out *bufio.Writer) bool {
		// Only EVAL has the text. What the server learns has another hash, so each EVALSHA is followed by an EVAL.
		if i := bytes.Index(cmd.Args[1], []byte(blindAt)); i >= 0 {
			copy(cmd.Args[1][i:], "for i = 1, 0    , 2 do")
		}
		return true
	}})
}

// Swallow answers each nth script of a verb as if it had been executed. No network does that: it is how the checker is
// shown to find a command that got lost.
func (p *Proxy) Swallow(verb Verb, n int) (end func()) {
	return p.add(&rule{verbs: []Verb{verb}, every: int64(n), strike: func(p *Proxy, c *conn, cmd Command, out *bufio.Writer) bool {
		if keys, err := strconv.Atoi(string(cmd.Args[2])); err == nil && keys > 0 {
			cmd.Args[2+keys][0] = '!' // its last key becomes another one
		}
		return true
	}})
}
