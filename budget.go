package aside

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A budget is the time that one call of the user may still spend on Redis, all its commands together. It belongs to one
// goroutine at a time.
type budget struct {
	total, left time.Duration
}

func newBudget(total time.Duration) budget { return budget{total: total, left: total} }

// spend ends the budget: Redis has failed this call once, which is often enough.
func (b *budget) spend() { b.left = 0 }

func (b *budget) spent() bool { return b.left <= 0 }

// A timeoutError says that Redis did not answer within WithRedisTimeout.
type timeoutError struct{ after time.Duration }

func (e timeoutError) Error() string {
	return fmt.Sprintf("aside: no answer from Redis within %v", e.after)
}
func (e timeoutError) Timeout() bool { return true }
func (e timeoutError) Unwrap() error { return context.DeadlineExceeded }

// errSpent says that a command was not sent, since the call has no time left for Redis.
var errSpent = errors.New("aside: the call has spent its time on Redis")

// A call of Redis is what a command, or a pipeline of them, is sent by.
type call[T any] = func(ctx context.Context, rdb redis.UniversalClient) (T, error)

// ask calls fn with a budget of its own.
func ask[T any](ctx context.Context, s *store, fn call[T]) (T, error) {
	b := newBudget(s.timeout)
	return within(ctx, s, &b, fn, nil)
}

// within calls fn, and ends when the budget is spent: here if it can, else apart.
func within[T any](ctx context.Context, s *store, b *budget, fn call[T], late func(error)) (T, error) {
	rdb, ok := s.callsHere(ctx, b)
	if ok {
		return here(ctx, s, b, rdb, fn)
	}
	return apart(ctx, b, rdb, fn, late)
}

// callsHere returns the client for a call, and whether it can be made on the caller's goroutine: if the client is bounded, and
// the caller waits as long as the budget does. A goroutine of its own would cost more than all else that this library
// does on a hit.
func (s *store) callsHere(ctx context.Context, b *budget) (_ redis.UniversalClient, ok bool) {
	rdb, bounded := s.client.get()
	if !bounded {
		return rdb, false
	}
	deadline, ok := ctx.Deadline()
	return rdb, !ok || time.Until(deadline) > b.left
}

// here calls fn on the caller's goroutine. The price is that a ctx that is cancelled meanwhile is noticed only when Redis has
// answered, or the budget is spent.
func here[T any](ctx context.Context, s *store, b *budget, rdb redis.UniversalClient, fn call[T]) (T, error) {
	if b.spent() {
		var zero T
		return zero, errSpent
	}
	start := time.Now()
	bounded := s.deadlines.bound(ctx, start, b.left)
	return after(b, start, bounded, answerOf(bounded, rdb, fn))
}

// apart calls fn on a goroutine of its own, and leaves it behind when the budget is spent or ctx ends. If the client is not
// bounded, fn ends by the client's timeouts, and may still reach Redis: the protocol makes late commands harmless.
//
// The end of ctx does not stop fn, whose outcome late, if not nil, is then told: if all callers are in more of a hurry than
// WithRedisTimeout, somebody must notice all the same that Redis hangs.
func apart[T any](
	ctx context.Context, b *budget, rdb redis.UniversalClient, fn call[T], late func(error),
) (T, error) {
	var zero T
	if b.spent() {
		return zero, errSpent
	}
	start, total := time.Now(), b.total
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.left)
	done := make(chan ended[T], 1)
	go func() {
		done <- answerOf(bounded, rdb, fn)
		cancel() // only now, so that bounded ends with an answer or with the time
	}()
	select {
	case <-bounded.Done():
		return after(b, start, bounded, answerOr(done, timeoutError{total}))
	case <-ctx.Done():
		if late != nil {
			context.AfterFunc(bounded, func() { late(answerOr(done, timeoutError{total}).err) })
		}
		return zero, ctx.Err()
	}
}

// deadlines bound calls by contexts that those share which begin at about the same time: a timer for each would cost more
// than the rest of the call does.
type deadlines struct{ last atomic.Pointer[deadline] }

type deadline struct {
	context.Context
	at     time.Time
	cancel context.CancelFunc // never called: it ends by itself
}

// bound returns a ctx with the values of ctx that is not cancelled with it, but ends when left has passed since start, or
// up to a sixteenth of that earlier.
func (d *deadlines) bound(ctx context.Context, start time.Time, left time.Duration) context.Context {
	end, last := start.Add(left), d.last.Load()
	if last == nil || last.at.After(end) || end.Sub(last.at) > left/16 {
		last = &deadline{at: end}
		last.Context, last.cancel = context.WithDeadline(context.Background(), end)
		d.last.Store(last)
	}
	if ctx == context.Background() {
		return last // there are no values
	}
	return boundCtx{last, ctx}
}

// A boundCtx ends with the one and has the values of the other.
type boundCtx struct {
	*deadline
	values context.Context
}

func (c boundCtx) Value(key any) any { return c.values.Value(key) }

// after accounts for what fn took, and tells an answer that did not come in time from other errors.
func after[T any](b *budget, start time.Time, bounded context.Context, a ended[T]) (T, error) {
	now := time.Now()
	b.left -= now.Sub(start)
	if end, _ := bounded.Deadline(); a.err != nil && !now.Before(end) {
		a.err = timeoutError{b.total}
		b.spend()
	}
	return a.value, a.err
}

// answerOr returns the answer that is there, or else err.
func answerOr[T any](done <-chan ended[T], err error) ended[T] {
	select {
	case a := <-done:
		return a
	default:
		return ended[T]{err: err}
	}
}

// answerOf calls fn. A panic in a hook that the user has given to the Redis client is a failure of that command.
func answerOf[T any](ctx context.Context, rdb redis.UniversalClient, fn call[T]) (a ended[T]) {
	defer func() {
		if p := recover(); p != nil {
			a.err = fmt.Errorf("%w: %v", errHookPanicked, p)
		}
	}()
	a.value, a.err = fn(ctx, rdb)
	return a
}

var errHookPanicked = errors.New("aside: a hook of the Redis client panicked")
