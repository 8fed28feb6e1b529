package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/durations"
)

// A pool is the connections that the client has to one primary, as far as the calls of this library have to know of them.
// go-redis makes a connection inside the call that needs one, so the end of that call can be the end of the connection. A pool
// does three things about it:
//
//   - When a call has run out of time, the pool has the client make a connection in the background, by the client's own
//     timeouts. Else nothing would ever reach a Redis that greets more slowly than WithRedisTimeout. Each such call has one made:
//     else one connection would be all that the pool ever has.
//   - While calls wait for a first connection, the pool dials once by itself. If nobody listens, it ends the calls. go-redis
//     would dial five times, which takes 400 ms.
//   - It tells what go-redis was waiting for when a call ran out of time.
//
// A call begins at its pool, which costs no more than two atomic operations. The first call starts
// a timer. When the timer fires, the pool looks at the connections, and starts it again if more
// calls have begun meanwhile.
type pool struct {
	rdb  redis.UniversalClient
	name string // of an entry that lies there
	addr string // of a primary of a Cluster; "" if there is one Redis, or if the primary is not known

	closing context.Context // ends with the Cache

	deadlines deadlines
	waiting   atomic.Pointer[waiters]
	calls     atomic.Uint64               // that have begun
	last      atomic.Pointer[connections] // as they were when the timer fired
	dialling  atomic.Bool                 // the pool dials by itself
	greetings atomic.Int64                // handshakes under way, as far as the bounded copy of the client shows them

	watched atomic.Bool // the timer runs, or watch does; the goroutine that has set it has the rest
	seen    uint64      // calls when the timer was started
	timer   *time.Timer
}

// lookAfter is how long calls wait for a connection before the pool finds out whether there can be one.
const lookAfter = 5 * time.Millisecond

func newPool(rdb redis.UniversalClient, name, addr string, closing context.Context) *pool {
	p := &pool{rdb: rdb, name: name, addr: addr, closing: closing}
	p.waiting.Store(newWaiters())
	p.timer = time.AfterFunc(durations.Forever, p.watch) // made before anything may fire it
	p.timer.Stop()
	return p
}

// poolOf returns the pool of the primary that serves a name.
func (s *Store) poolOf(name string) *pool {
	if !s.Breaker.cluster {
		return s.pool
	}
	addr := s.Breaker.addrOf(name)
	p, ok := s.pools.Load(addr)
	if !ok {
		p, _ = s.pools.LoadOrStore(addr, newPool(s.RDB, name, addr, s.Closing))
	}
	return p.(*pool)
}

// node returns the client of the primary, or nil if the user's client does not show it.
func (p *pool) node() *redis.Client {
	switch rdb := p.rdb.(type) {
	case *redis.Client:
		return rdb
	case *redis.ClusterClient:
		if p.addr == "" {
			return nil // the client does not know its nodes yet
		}
		node, err := rdb.MasterForKey(context.Background(), p.name)
		if err == nil && node.Options().Addr == p.addr {
			return node
		}
	}
	return nil
}

// waiters are the calls that end together if nobody listens.
type waiters struct {
	context.Context
	end context.CancelCauseFunc
}

func newWaiters() *waiters {
	ctx, end := context.WithCancelCause(context.Background())
	return &waiters{ctx, end}
}

// refused returns why the calls have ended, or nil if they have not.
func (w *waiters) refused() error {
	if w.Err() == nil {
		return nil
	}
	return context.Cause(w)
}

// A refusedError says that no connection to Redis can be made at all.
type refusedError struct{ cause error }

func (e *refusedError) Error() string { return "aside: Redis cannot be dialled: " + e.cause.Error() }
func (e *refusedError) Unwrap() error { return e.cause }

// isRefused reports whether Redis is certain to be down. A time that has run out does not show
// that.
func isRefused(err error) bool {
	if err == nil {
		return false // before anything is allocated
	}
	var refused *refusedError
	return errors.As(err, &refused)
}

// begin notes that a call begins, and returns the waiters that it will end with.
func (p *pool) begin() *waiters {
	n := p.calls.Add(1)
	if !p.watched.Load() && p.watched.CompareAndSwap(false, true) {
		p.watchFrom(n)
	}
	return p.waiting.Load()
}

// watchFrom starts the timer. The caller has set watched.
func (p *pool) watchFrom(calls uint64) {
	p.seen = calls
	p.timer.Reset(lookAfter)
}

// watch looks at the connections on behalf of the calls that have begun.
func (p *pool) watch() {
	node := p.node()
	if node == nil {
		p.watched.Store(false)
		return
	}
	now := connectionsOf(node)
	now.greeting = p.greetings.Load() > 0
	p.last.Store(&now)
	if n := p.calls.Load(); n != p.seen {
		p.watchFrom(n) // of the last ones, it is not known yet
	} else if p.watched.Store(false); p.calls.Load() != n && p.watched.CompareAndSwap(false, true) {
		p.watchFrom(n + 1)
	}
	if now.wanted > 0 && now.inUse == 0 && p.dialling.CompareAndSwap(false, true) {
		defer p.dialling.Store(false)
		p.dial(node)
	}
}

// dial ends the calls that wait for a connection if Redis cannot be dialled. A connection in use
// would show that Redis was there just now: then nothing is certain.
func (p *pool) dial(node *redis.Client) {
	waiting := p.waiting.Load()
	if err := dialOnce(node); isRefusal(err) && p.waiting.CompareAndSwap(waiting, newWaiters()) {
		waiting.end(&refusedError{err})
	}
}

// dialOnce dials as the client does, with the hooks of the user, and hangs up.
func dialOnce(node *redis.Client) error {
	o := node.Options()
	dial := o.Dialer
	if hooks := hooksOf(node); hooks != nil {
		for _, hook := range slices.Backward(hooks()) {
			if wrapped := hook.DialHook(dial); wrapped != nil {
				dial = wrapped
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.DialTimeout)
	defer cancel()
	a := answerOf(ctx, node, func(ctx context.Context, _ redis.UniversalClient) (net.Conn, error) {
		return dial(ctx, o.Network, o.Addr)
	})
	if a.err == nil { // what a Dialer returns with an error may be a nil of its own type
		a.value.Close()
	}
	return a.err
}

// isRefusal reports whether the error of a Dialer says that nobody listens. A timeout says only
// that nobody has answered yet.
func isRefusal(err error) bool {
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout()) &&
		!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errHookPanicked)
}

// connections are those of a client, as go-redis counts them.
type connections struct {
	size   int // of the pool
	inUse  int
	wanted int // by calls that have none yet

	greeting bool // some are not ready
}

func connectionsOf(node *redis.Client) connections {
	c := connections{size: node.Options().PoolSize}
	stats := node.PoolStats()
	c.add(stats.TotalConns, stats.IdleConns, stats.PendingRequests)
	if p := PipelineStats(stats); p != nil { // pipelines have connections of their own, and take others if those are all in use
		c.add(p.TotalConns, p.IdleConns, p.PendingRequests)
	}
	return c
}

func (c *connections) add(total, idle, pending uint32) {
	c.inUse += max(0, int(total)-int(idle)) // those that are being dialled for MinIdleConns are idle, and not yet in total
	c.wanted += int(pending)
}

// A wait is what go-redis was waiting for when a call ran out of time.
type wait int

const (
	forSomething  wait = iota // the client does not show it
	forFree                   // all connections are in use
	forConnection             // one is being made
	forAnswer                 // to a command that was sent
	forTurn                   // the command was not sent, since many others are under way
)

// A TimeoutError says that Redis did not answer within WithRedisTimeout.
type TimeoutError struct {
	after time.Duration
	wait  wait
	size  int   // of the pool
	cause error // what go-redis said, if that tells more
}

func (e TimeoutError) Error() string {
	text := fmt.Sprintf("aside: no answer from Redis within %v", e.after)
	switch e.wait {
	case forFree:
		return fmt.Sprintf("%s: waited for a free connection, all %d of the pool are in use", text, e.size)
	case forConnection:
		return text + ": a new connection was not ready, dialling it or the handshake takes longer"
	case forAnswer:
		return text + ": a command was sent"
	case forTurn:
		return text + ": many commands of this cache are under way"
	}
	if e.cause != nil {
		return text + ": " + e.cause.Error()
	}
	return text
}

func (TimeoutError) Timeout() bool { return true }
func (TimeoutError) Unwrap() error { return context.DeadlineExceeded }

// IsOver reports whether err has ended all that a call may ask of Redis.
func IsOver(err error) bool {
	_, ranOut := err.(TimeoutError)
	return ranOut || isRefused(err)
}

// ranOut makes the error of a call that has run out of time. err is what go-redis returned, or errLeft.
func (p *pool) ranOut(after time.Duration, err error) error {
	e := TimeoutError{after: after}
	e.wait, e.size = p.waitedFor(err)
	if e.wait == forSomething && err != errLeft && !errors.Is(err, context.DeadlineExceeded) {
		e.cause = err
	}
	if e.wait != forFree {
		p.connect()
	}
	return e
}

// errLeft stands for the error of a command that goes on.
var errLeft = errors.New("aside: left behind")

// waitedFor tells from the error what go-redis was waiting for. Where the error does not tell, it
// goes by the connections of a moment after the call began: by now the call has given up its own.
func (p *pool) waitedFor(err error) (_ wait, size int) {
	var greeting *handshakeError
	switch seen := p.last.Load(); {
	case errors.As(err, &greeting):
		return forConnection, 0
	case errors.Is(err, os.ErrDeadlineExceeded):
		return forAnswer, 0
	case seen == nil || err != errLeft && !errors.Is(err, context.DeadlineExceeded):
		return forSomething, 0
	case seen.wanted == 0 && !seen.greeting:
		return forAnswer, 0
	case seen.wanted > 0 && seen.inUse >= seen.size:
		return forFree, seen.size
	default:
		return forConnection, 0
	}
}

// connect has the client make a connection in the background, in the place of the one that the end of a call has ended. The caches
// that share the client have no more than mostConnecting made at a time. It ends by the timeouts of the client. If the client heeds
// its ctx, it also ends after longestConnect, or with the Cache. Nobody waits for it, not even Close.
func (p *pool) connect() {
	key := any(p)
	if reflect.ValueOf(p.rdb).Comparable() {
		key = connecting{p.rdb, p.addr}
	}
	if !underWay.begin(key, p.mostConnecting()) {
		return
	}
	go func() {
		defer underWay.end(key)
		rdb := p.rdb
		if node := p.node(); node != nil {
			rdb = node
		}
		ctx, cancel := context.WithTimeout(p.closing, longestConnect)
		defer cancel()
		answerOf(ctx, rdb, func(ctx context.Context, rdb redis.UniversalClient) (bool, error) {
			rdb.Ping(ctx)
			_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error { // which takes its connection from another pool
				p.Ping(ctx)
				return nil
			})
			return err == nil, err
		})
	}()
}

// mostConnecting is half of the pool at most: the server may be one that never answers, and calls and probes need the other half.
func (p *pool) mostConnecting() int {
	node := p.node()
	if node == nil {
		return 1
	}
	return max(1, min(mostFlying, node.Options().PoolSize/2))
}

// longestConnect is longer than the timeouts of a client usually are.
const longestConnect = 10 * time.Second

type connecting struct {
	rdb  redis.UniversalClient
	addr string
}

// underWay counts the connections that are being made in the background.
var underWay connectings

type connectings struct {
	mu sync.Mutex // guards the rest
	by map[any]int
}

func (c *connectings) begin(key any, most int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[key] >= most {
		return false
	}
	if c.by == nil {
		c.by = make(map[any]int)
	}
	c.by[key]++
	return true
}

func (c *connectings) end(key any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[key]--; c.by[key] == 0 {
		delete(c.by, key)
	}
}
