package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrNotFound is that of package aside.
var ErrNotFound error = &notFoundError{}

// ErrOverloaded is that of package aside.
var ErrOverloaded = errors.New("aside: too many loads")

// EndOf says why a ctx has ended: errors.Is holds for it with the Err of ctx and with its cause.
func EndOf(ctx context.Context) error { return withCause(ctx, ctx.Err()) }

// withCause adds the cause of a ctx to an error that the end of it has made.
func withCause(ctx context.Context, err error) error {
	end, cause := ctx.Err(), context.Cause(ctx)
	if end == nil || !errors.Is(err, end) || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// A panicError is a loader's panic on its way to the callers.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("aside: the loader panicked: %v", p.value) }

// panicked makes an error of a panic that was just recovered.
func panicked(value any) error { return &panicError{value: value, stack: debug.Stack()} }

// errGoexit is what the callers get of a load that ended in runtime.Goexit.
var errGoexit = errors.New("aside: the loader called runtime.Goexit")

// isolated calls fn, which runs the user's code, on a goroutine of its own, so that a panic or a Goexit in it ends nothing
// but the call; ctx bounds the wait, and what ignores it is left behind.
func isolated[T any](ctx context.Context, fn func() T) (T, error) {
	done := make(chan outcome[T], 1)
	go settled(fn, done)
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// An outcome is how a call ended.
type outcome[T any] struct {
	value T
	err   error
}

// settled calls fn and tells done how it ended, also if by a panic or a Goexit.
func settled[T any](fn func() T, done chan<- outcome[T]) {
	o := outcome[T]{err: errGoexit}
	defer func() {
		if p := recover(); p != nil {
			o.err = panicked(p)
		}
		done <- o
	}()
	makeRoom(0)
	value := fn()
	o = outcome[T]{value: value}
}

// makeRoom has the stack of a goroutine that has just begun grow once. A load, or a flight, needs more than the few KB that it begins
// with. Deep in the encoder or the client it would grow in steps, each of which copies all frames that there are by then, which
// takes an eighth of the CPU time of a miss. (CockroachDB's growstack does the same.)
//
//go:noinline
func makeRoom(i int) byte {
	var room [5 << 10]byte
	return room[i]
}

// repanic lets a loader's panic go on in a caller, and hands all other errors through.
func repanic(err error) error {
	if err == nil {
		return nil // before anything is allocated
	}
	if p := (*panicError)(nil); errors.As(err, &p) {
		panic(p.value)
	}
	return err
}
