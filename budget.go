package aside

import (
	"context"
	"errors"
	"fmt"
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

// within calls fn, which talks to Redis, and ends when the budget is spent.
//
// A bounded client ends by itself then, so fn runs on the caller's goroutine: a goroutine of its own would cost more than
// all else that this library does on a hit. The price is that a ctx that is cancelled meanwhile is noticed only when Redis
// has answered, or the budget is spent. Other clients are left behind when the budget is spent or ctx ends: they end by
// their own timeouts, and may still reach Redis. The protocol makes late commands harmless.
//
// A caller whose ctx ends before the budget is in more of a hurry. He leaves fn behind in any case, and its outcome is told
// to late, if not nil: if all callers are like him, somebody must notice all the same that Redis hangs.
func within[T any](
	ctx context.Context, s *store, b *budget, fn func(context.Context, redis.UniversalClient) (T, error), late func(error),
) (T, error) {
	var zero T
	if b.spent() {
		return zero, errSpent
	}
	start := time.Now()
	deadline := start.Add(b.left)
	rdb, isBounded := s.client.get()
	bounded, cancel := context.WithDeadline(uncancelled(ctx), deadline)
	if isBounded && outlasts(ctx, deadline) {
		defer cancel()
		return after(b, start, bounded, answerOf(bounded, rdb, fn))
	}
	done := make(chan answer[T], 1)
	go func() {
		done <- answerOf(bounded, rdb, fn)
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

// outlasts reports whether ctx has no deadline before t.
func outlasts(ctx context.Context, t time.Time) bool {
	deadline, ok := ctx.Deadline()
	return !ok || deadline.After(t)
}

// uncancelled is context.WithoutCancel, which allocates even where there is nothing to do.
func uncancelled(ctx context.Context) context.Context {
	if ctx.Done() == nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
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
func answerOf[T any](
	ctx context.Context, rdb redis.UniversalClient, fn func(context.Context, redis.UniversalClient) (T, error),
) (a answer[T]) {
	defer func() {
		if p := recover(); p != nil {
			a.err = fmt.Errorf("%w: %v", errHookPanicked, p)
		}
	}()
	a.value, a.err = fn(ctx, rdb)
	return a
}

var errHookPanicked = errors.New("aside: a hook of the Redis client panicked")
