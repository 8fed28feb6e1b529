package aside

import (
	"context"
	"errors"
	"fmt"
	"time"
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

// within calls fn, which talks to Redis, and leaves it when the budget is spent or ctx ends. By default go-redis ignores
// the deadline of a ctx, waits 5 s for a reply and tries four times, so a client that is not bounded (see isBounded) is
// left behind: it ends by its own timeouts, and may still reach Redis. The protocol makes late commands harmless.
//
// The end of ctx does not stop fn, whose outcome late, if not nil, is then told: if all callers are in more of a hurry than
// WithRedisTimeout, somebody must notice all the same that Redis hangs.
func within[T any](
	ctx context.Context, s *store, b *budget, fn func(context.Context) (T, error), late func(error),
) (T, error) {
	var zero T
	if b.spent() {
		return zero, errSpent
	}
	start := time.Now()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.left)
	if s.bounded && ctx.Done() == nil {
		defer cancel()
		a := answerOf(bounded, fn)
		return after(b, start, bounded, a)
	}
	done := make(chan answer[T], 1)
	go func() {
		done <- answerOf(bounded, fn)
		cancel() // only now, so that bounded ends with an answer or with the time
	}()
	select {
	case <-bounded.Done():
		return after(b, start, bounded, answerOr(done, timeoutError{b.total}))
	case <-ctx.Done():
		if late != nil {
			context.AfterFunc(bounded, func() { late(answerOr(done, timeoutError{b.total}).err) })
		}
		return zero, ctx.Err()
	}
}

// after accounts for what fn took, and tells an answer that did not come in time from other errors.
func after[T any](b *budget, start time.Time, bounded context.Context, a answer[T]) (T, error) {
	if b.left -= time.Since(start); a.err != nil && bounded.Err() == context.DeadlineExceeded {
		a.err = timeoutError{b.total}
		b.spend()
	}
	return a.value, a.err
}

// answerOr returns the answer that is there, or else err.
func answerOr[T any](done <-chan answer[T], err error) answer[T] {
	select {
	case a := <-done:
		return a
	default:
		return answer[T]{err: err}
	}
}

type answer[T any] struct {
	value T
	err   error
}

// answerOf calls fn. A panic in a hook that the user has given to the Redis client is a failure of that command.
func answerOf[T any](ctx context.Context, fn func(context.Context) (T, error)) (a answer[T]) {
	defer func() {
		if p := recover(); p != nil {
			a.err = fmt.Errorf("%w: %v", errHookPanicked, p)
		}
	}()
	a.value, a.err = fn(ctx)
	return a
}

var errHookPanicked = errors.New("aside: a hook of the Redis client panicked")
