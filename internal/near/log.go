package near

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// These are the same in every process and every version, see PROTOCOL in docs/near.md: to change
// one of them is to change the protocol.
const (
	// Delta, Δ, is how long the server keeps a reader that it hears nothing of, and the longest that a writer waits for one.
	Delta = time.Second

	// lease, L, is how long a reader may serve copies after it has sent a NEWS. It is shorter than Δ, so that clocks may differ
	// in their rates by 5 %: L ≤ Δ(1−ρ)/(1+ρ).
	lease = Delta * 9 / 10

	beat = lease / 3      // between two NEWS of a quiet reader
	life = 24 * time.Hour // of LOG, after the last command
	keep = 1 << 14        // records in LOG: more than are made in Δ, else invalidations beside a reader that hangs lose theirs
	most = 1000           // records in the answer to a NEWS
	long = 16 << 10       // bytes of a message; a longer record is fetched with NEWS

	// share is how often a process may send NEWS or LOW: once in this time for each reader. So all NEWS together never cost more
	// than some 5 % of a core of the server, and all LOW as much, however many processes there are.
	share = 300 * time.Microsecond
)

// Config is what a Log needs.
type Config struct {
	Client redis.UniversalClient // for messages, and for commands if Do is nil
	Key    string                // of LOG: the same for all processes whose invalidations concern each other

	// Do runs a call. It bounds its time: it returns the error of the call, or another one once it has given up on the call. It
	// may leave the call running, whose result is then ignored. It must send commands to the primary, in the order in which
	// they are made. If Do is nil, a call runs until its ctx ends.
	Do func(ctx context.Context, call func(context.Context, redis.Cmdable) error) error

	// Warn is told of what keeps near copies from working, and of nil when it works again. It may be nil.
	Warn func(what string, err error)
}

// A Log is the part of a process in near copies: what all its caches that share a client and a scope have in common. Join
// starts neither a goroutine nor a connection. The first use of copies starts the reader, see reader.go, which ends when
// no copy has been asked for for a minute. Writers have no goroutine except while a call waits.
type Log struct {
	Config
	until   atomic.Int64                  // when the lease ends; 0: there is none. Only the reader sets it.
	used    atomic.Bool                   // since the reader last looked
	reading atomic.Bool                   // there is a reader
	gate    atomic.Pointer[chan struct{}] // where the reader waits, see Pause
	copies  atomic.Pointer[[]dropper]
	tags    tags
	writer  writer

	mu     sync.Mutex // guards the rest
	reader *reader    // nil if none runs
	rest   restful    // when the next one may begin
	users  int        // how many have joined and not left
	closed bool
}

// A dropper is a Copies, without its types.
type dropper interface {
	drop(name string)
	dropPrefix(prefix string)
	wipe()
	sweep()
}

var base = time.Now()

// now is a clock that is never set, and later than 0. A lease is an interval of it. In a bubble of synctest, which begins in the
// year 2000, it is base that is later.
func now() int64 { return 1<<61 + int64(time.Since(base)) }

type joined struct {
	client redis.UniversalClient
	key    string
}

var logs = struct {
	sync.Mutex
	by map[joined]*Log
}{by: make(map[joined]*Log)}

// Join returns the Log of a client and key in this process, which is the same for all that join.
// The Config is that of the first. Each Join needs a Leave.
func Join(c Config) *Log {
	logs.Lock()
	defer logs.Unlock()
	l := logs.by[joined{c.Client, c.Key}]
	if l == nil {
		l = open(c)
		logs.by[joined{c.Client, c.Key}] = l
	}
	l.users++
	return l
}

// Leave ends the use of a Log. When the last user leaves, the Log ends: from then on it serves no copies, and no writer waits
// for it. Leave waits for that until ctx ends, and then returns its error, while the end goes on in the background.
func (l *Log) Leave(ctx context.Context) error {
	logs.Lock()
	l.users--
	last := l.users == 0
	if last {
		delete(logs.by, joined{l.Client, l.Key})
	}
	logs.Unlock()
	if !last {
		return nil
	}
	return l.close(ctx)
}

func open(c Config) *Log {
	l := &Log{Config: c}
	l.copies.Store(new([]dropper))
	l.writer.init(l)
	if l.Do == nil {
		l.Do = l.leaving
	}
	if l.Warn == nil {
		l.Warn = func(string, error) {}
	}
	return l
}

// leaving is the Do of a Config without one. By default go-redis ignores the deadline of a ctx, so
// a call may have to be left behind.
func (l *Log) leaving(ctx context.Context, call func(context.Context, redis.Cmdable) error) error {
	done := make(chan error, 1)
	go func() { done <- call(ctx, l.Client) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) attach(d dropper) { l.change(func(all []dropper) []dropper { return append(all, d) }) }

func (l *Log) detach(d dropper) {
	l.change(func(all []dropper) []dropper {
		return slices.DeleteFunc(all, func(other dropper) bool { return other == d })
	})
}

func (l *Log) change(how func([]dropper) []dropper) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := how(slices.Clone(*l.copies.Load()))
	l.copies.Store(&all)
}

// drop drops what a record is about from all copies of the process.
func (l *Log) drop(about string) {
	all := *l.copies.Load()
	each(about, func(kind byte, word string) {
		if kind == ofTag {
			l.tags.raise(word)
			return
		}
		for _, c := range all {
			if kind == ofName {
				c.drop(word)
			} else {
				c.dropPrefix(word)
			}
		}
	})
}

func (l *Log) wipe() {
	for _, c := range *l.copies.Load() {
		c.wipe()
	}
}

// Drop drops copies of this process, and tells nobody. It is for what has yet to be removed from Redis.
func (l *Log) Drop(a About) { l.drop(string(a.appendTo(nil))) }

// isUsed keeps the reader going for a minute.
func (l *Log) isUsed() {
	if !l.used.Load() {
		l.used.Store(true)
	}
}

// ask has a reader begin, if there is none.
func (l *Log) ask() {
	if l.used.Load() && l.reading.Load() {
		return
	}
	l.used.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reader != nil || l.closed || now() < l.rest.until {
		return
	}
	l.reader = newReader(l)
	l.reading.Store(true)
	go l.reader.run()
}

// ended is the end of the reader. Another one begins when it is asked for.
func (l *Log) ended() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reader = nil
	l.reading.Store(false)
}

func (l *Log) close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	r := l.reader
	l.mu.Unlock()
	if r == nil {
		return nil
	}
	r.stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// self is the reader of this process, ” if there is none. Its copies are dropped before a record is sent, so that writers of
// the same process need not wait for it.
func (l *Log) self() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reader == nil {
		return ""
	}
	return l.reader.id
}

// Pause stops the reader, as a process stops that hangs: it asks for no news, and applies none. Copies are served until the
// lease is over. It is for tests.
func (l *Log) Pause() (resume func()) {
	gate := make(chan struct{})
	l.gate.Store(&gate)
	return sync.OnceFunc(func() {
		l.gate.CompareAndSwap(&gate, nil)
		close(gate)
	})
}

// PauseOf pauses all Logs of a client that have copies. It reports false if there are none.
func PauseOf(client redis.UniversalClient) (resume func(), ok bool) {
	logs.Lock()
	defer logs.Unlock()
	var all []func()
	for j, l := range logs.by {
		if j.client == client && len(*l.copies.Load()) > 0 {
			all = append(all, l.Pause())
		}
	}
	return func() {
		for _, resume := range all {
			resume()
		}
	}, len(all) > 0
}

// newID is unlike any other: 80 random bits.
func newID() string {
	var random [10]byte
	rand.Read(random[:])
	return base32.StdEncoding.EncodeToString(random[:])
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func unexpected(answer any) error { return fmt.Errorf("near copies: unexpected reply %v", answer) }

// run runs a script by the Do of the Log. A result that comes after Do has given up is not seen by anybody.
func (l *Log) run(ctx context.Context, script *redis.Script, args []any) (any, error) {
	var result atomic.Pointer[any]
	err := l.Do(ctx, func(ctx context.Context, c redis.Cmdable) error {
		answer, err := script.Run(ctx, c, []string{l.Key}, args...).Result()
		result.Store(&answer)
		return err
	})
	if err != nil {
		return nil, err
	}
	return *result.Load(), nil
}
