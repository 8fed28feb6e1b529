package engine

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/redisstore"
)

// polls are the names that callers of this process wait for, since others have their leases: other processes, or other calls of
// this one. A name is polled once for all of its callers, and the names that are due at about the same time are read by one
// command. Nothing is sent for a name that nobody waits for any more.
//
// A waiter is told once: when the name is no longer leased, or Redis has failed. The command that read this was sent after the
// waiter had begun to wait; a waiter that comes while it is under way is told by a later one, since it may know of an Invalidate
// that overtook the reply.
type polls struct {
	read  func(ctx context.Context, names []string) []redisstore.Reply
	up    func(name string) bool
	tick  func() uint64        // of the clock of flights
	usual func() time.Duration // how long such a load takes

	mu     sync.Mutex // guards the rest
	names  map[string]*polled
	timer  *time.Timer // of the next poll; nil while one is under way, and if there is nothing to poll
	next   time.Time   // when it will be
	flying bool
}

// A polled is one name.
type polled struct {
	ctx     context.Context // of the first waiter
	since   time.Time
	pause   time.Duration // until due
	due     time.Time
	waiters map[*waiter]struct{}
}

// A waiter waits for one name. tell is called with what the name holds, and the tick just before that was asked for.
type waiter struct {
	tell func(r redisstore.Reply, sealed uint64)
}

// wait has w told of name.
func (p *polls) wait(ctx context.Context, name string, w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.names[name]; n != nil {
		n.waiters[w] = struct{}{}
		return
	}
	now := time.Now()
	n := &polled{ctx: ctx, since: now, waiters: map[*waiter]struct{}{w: {}}}
	n.schedule(now, p.usual())
	if p.names == nil {
		p.names = make(map[string]*polled)
	}
	p.names[name] = n
	if p.timer == nil || n.due.Before(p.next) {
		p.schedule()
	}
}

// leave has w told no more.
func (p *polls) leave(name string, w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.names[name]; n != nil {
		p.drop(name, n, w)
	}
}

// drop ends the wait of some waiters of a name.
func (p *polls) drop(name string, n *polled, some ...*waiter) {
	for _, w := range some {
		delete(n.waiters, w)
	}
	if len(n.waiters) == 0 && p.names[name] == n {
		delete(p.names, name)
	}
	if len(p.names) == 0 {
		p.schedule()
	}
}

// schedule sets the timer for the name that is due first.
func (p *polls) schedule() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if p.flying || len(p.names) == 0 {
		return
	}
	var first *polled
	for _, n := range p.names {
		if first == nil || n.due.Before(first.due) {
			first = n
		}
	}
	pause := time.Until(first.due) + time.Duration((0.4*rand.Float64()-0.2)*float64(first.pause))
	p.next = time.Now().Add(pause)
	p.timer = time.AfterFunc(pause, p.poll)
}

// poll reads the names that are due, or soon will be, and tells the waiters.
func (p *polls) poll() {
	p.mu.Lock()
	if p.flying {
		p.mu.Unlock()
		return
	}
	p.flying = true
	due := maps.Clone(p.names)
	maps.DeleteFunc(due, func(_ string, n *polled) bool { return time.Until(n.due) > n.pause/4 })
	names := slices.Sorted(maps.Keys(due))
	// Only the waiters that are there by now are told. A waiter that begins to wait while the
	// command is under way may have arrived after an Invalidate that Redis executed behind it.
	told := make([][]*waiter, len(names))
	for i, name := range names {
		told[i] = slices.Collect(maps.Keys(due[name].waiters))
	}
	p.mu.Unlock()

	sealed := p.tick() // before the command is sent: see flight
	replies := readSome(names, p.up, func(up []string) []redisstore.Reply { return p.read(due[up[0]].ctx, up) })

	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying = false
	now, usual := time.Now(), p.usual()
	for i, name := range names {
		n := due[name]
		if replies[i].Err == nil && isLeased(replies[i].Doc) {
			n.schedule(now, usual)
			continue
		}
		p.drop(name, n, told[i]...)
		n.schedule(now, usual) // for those that came since
		for _, w := range told[i] {
			w.tell(replies[i], sealed)
		}
	}
	p.schedule()
}

func (n *polled) schedule(now time.Time, usual time.Duration) {
	n.pause = pollPause(now.Sub(n.since), usual)
	n.due = now.Add(n.pause)
}

func isLeased(doc []byte) bool {
	e := document.Parse(doc)
	return e.State == document.Leased
}

const (
	shortestPoll = time.Millisecond
	longestPoll  = 100 * time.Millisecond
)

// pollPause is the time until the next poll for a load that has been waited for so long, and
// usually takes that long as far as this process knows. Polls are a quarter of that apart, closer
// the nearer it comes, and a fiftieth about then: a waiter of a load that takes its usual time
// learns of the fill soon after. Later they are a ninth of the time waited apart. In all, that is
// some ten polls, or ten a second. The timer adds or subtracts up to a fifth.
func pollPause(waited, usual time.Duration) time.Duration {
	off := max(waited-usual, usual-waited)
	pause := max(min(off/2, max(waited/9, usual/4)), usual/50, shortestPoll)
	return min(pause, longestPoll)
}

// readSome reads the documents of those names that may be read. About the others the answer is errNotAsked.
func readSome(names []string, may func(name string) bool, read func(names []string) []redisstore.Reply) []redisstore.Reply {
	some := make([]string, 0, len(names))
	for _, name := range names {
		if may(name) {
			some = append(some, name)
		}
	}
	var answers []redisstore.Reply
	if len(some) > 0 {
		answers = read(some)
	}
	if len(some) == len(names) {
		return answers
	}
	replies := make([]redisstore.Reply, len(names))
	for i, name := range names {
		if len(answers) > 0 && name == some[0] {
			replies[i] = answers[0]
			some, answers = some[1:], answers[1:]
		} else {
			replies[i].Err = errNotAsked
		}
	}
	return replies
}

// errNotAsked stands for the answer of Redis about a name that may not be read from it.
var errNotAsked = errors.New("aside: not asked")
