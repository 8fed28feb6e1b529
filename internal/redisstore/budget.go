package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Budget is the time that one call of the user may still spend on Redis, all its commands together. It belongs to one
// goroutine at a time.
type Budget struct {
	total, Left time.Duration
}

func NewBudget(total time.Duration) Budget { return Budget{total: total, Left: total} }

// Spend ends the budget: Redis has failed this call once, which is often enough.
func (b *Budget) Spend() { b.Left = 0 }

func (b *Budget) Spent() bool { return b.Left <= 0 }

// errSpent says that a command was not sent, since the call has no time left for Redis.
var errSpent = errors.New("aside: the call has spent its time on Redis")

// A Call of Redis is what a command, or a pipeline of them, is sent by.
type Call[T any] = func(ctx context.Context, rdb redis.UniversalClient) (T, error)

// Ask calls fn, about an entry of this name, with a budget of its own.
func Ask[T any](ctx context.Context, s *Store, name string, fn Call[T]) (T, error) {
	b := NewBudget(s.Timeout)
	return within(ctx, s, &b, name, fn, nil)
}

// within calls fn, and ends when the budget is spent. It calls fn on the caller's goroutine if it
// can, else on another one. name is that of an entry which lies where the commands go.
func within[T any](ctx context.Context, s *Store, b *Budget, name string, fn Call[T], late func(error)) (T, error) {
	p := s.poolOf(name)
	rdb, ok := s.callsInline(ctx, b)
	if ok {
		return inline(ctx, p, b, rdb, fn)
	}
	return detached(ctx, p, b, rdb, fn, late)
}

// callsInline returns the client for a call, and whether it can be made on the caller's goroutine: if the client is bounded, and
// the caller waits as long as the budget does. A goroutine of its own would cost more than all else that this library
// does on a hit.
func (s *Store) callsInline(ctx context.Context, b *Budget) (_ redis.UniversalClient, ok bool) {
	rdb, bounded := s.Client.Get()
	if !bounded {
		return rdb, false
	}
	deadline, ok := ctx.Deadline()
	return rdb, !ok || time.Until(deadline) > b.Left
}

// inline calls fn on the caller's goroutine. The price is that a ctx that is cancelled meanwhile is noticed only when Redis has
// answered, or the budget is spent.
func inline[T any](ctx context.Context, p *pool, b *Budget, rdb redis.UniversalClient, fn Call[T]) (T, error) {
	if b.Spent() {
		var zero T
		return zero, errSpent
	}
	start := time.Now()
	d := p.deadlines.until(p.begin(), start, b.Left)
	return after(p, b, start, d.at, d.waiters, answerOf(d.with(ctx), rdb, fn))
}

// detached calls fn on a goroutine of its own, and leaves it behind when the budget is spent or ctx ends. If the client is not
// bounded, fn ends by the client's timeouts, and may still reach Redis: the protocol makes late commands harmless.
//
// The end of ctx does not stop fn. late, if not nil, is then told how fn ended: even if all callers
// are in more of a hurry than WithRedisTimeout, somebody must notice that Redis hangs.
func detached[T any](
	ctx context.Context, p *pool, b *Budget, rdb redis.UniversalClient, fn Call[T], late func(error),
) (T, error) {
	var zero T
	if b.Spent() {
		return zero, errSpent
	}
	start, total, waiters := time.Now(), b.total, p.begin()
	end := start.Add(b.Left)
	bounded, cancel := context.WithDeadline(context.WithoutCancel(ctx), end)
	done := make(chan response[T], 1)
	go func() {
		done <- answerOf(bounded, rdb, fn)
		cancel() // only now, so that bounded ends with an answer or with the time
	}()
	select {
	case <-bounded.Done():
		return after(p, b, start, end, waiters, answerOr(done, errLeft))
	case <-waiters.Done():
		return after(p, b, start, end, waiters, answerOr(done, errLeft))
	case <-ctx.Done():
		if late != nil {
			context.AfterFunc(bounded, func() {
				a := answerOr(done, errLeft)
				err, _ := outcome(p, total, end, waiters, a.err)
				late(err)
			})
		}
		return zero, ctx.Err()
	}
}

// deadlines bound calls by contexts. Calls that begin at about the same time share one: a timer for
// each would cost more than the rest of the call does.
type deadlines struct{ last atomic.Pointer[deadline] }

type deadline struct {
	context.Context
	at      time.Time
	waiters *waiters           // it ends with them
	cancel  context.CancelFunc // never called: it ends by itself
}

// until returns a deadline when left has passed since start, or up to a sixteenth of that earlier.
func (d *deadlines) until(w *waiters, start time.Time, left time.Duration) *deadline {
	end, last := start.Add(left), d.last.Load()
	if last == nil || last.at.After(end) || end.Sub(last.at) > left/16 || last.waiters != w {
		last = &deadline{at: end, waiters: w}
		last.Context, last.cancel = context.WithDeadline(w, end)
		d.last.Store(last)
	}
	return last
}

// with returns a ctx with the values of ctx that is not cancelled with it, but ends at the deadline.
func (d *deadline) with(ctx context.Context) context.Context {
	if ctx == context.Background() {
		return d // there are no values
	}
	return boundCtx{d, ctx}
}

// A boundCtx ends with the one and has the values of the other.
type boundCtx struct {
	*deadline
	values context.Context
}

func (c boundCtx) Value(key any) any { return c.values.Value(key) }

// after accounts for the time that fn took. It tells two cases from other errors: the answer did
// not come in time, or Redis is not there.
func after[T any](p *pool, b *Budget, start, end time.Time, w *waiters, a response[T]) (T, error) {
	b.Left -= time.Since(start)
	if a.err == nil {
		return a.value, nil
	}
	err, over := outcome(p, b.total, end, w, a.err)
	if over {
		b.Spend()
	}
	return a.value, err
}

// outcome says why a call failed that ended with err, and whether its time on Redis is over.
func outcome(p *pool, total time.Duration, end time.Time, w *waiters, err error) (_ error, over bool) {
	if err == nil {
		return nil, false
	}
	if refused := w.refused(); refused != nil {
		return refused, true
	}
	if !time.Now().Before(end) {
		return p.ranOut(total, err), true
	}
	return err, false
}

// A response is how a call ended.
type response[T any] struct {
	value T
	err   error
}

// answerOr returns the answer that is there, or else err.
func answerOr[T any](done <-chan response[T], err error) response[T] {
	select {
	case a := <-done:
		return a
	default:
		return response[T]{err: err}
	}
}

// answerOf calls fn. A panic in a hook that the user has given to the Redis client is a failure of that command.
func answerOf[T any](ctx context.Context, rdb redis.UniversalClient, fn Call[T]) (a response[T]) {
	defer func() {
		if p := recover(); p != nil {
			a.err = fmt.Errorf("%w: %v", errHookPanicked, p)
		}
	}()
	a.value, a.err = fn(ctx, rdb)
	return a
}

var errHookPanicked = errors.New("aside: a hook of the Redis client panicked")
