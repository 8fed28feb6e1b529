package aside

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
)

// A Loader reads the value of a key from the source of truth. It must return a value that nobody else modifies.
//
// It reports that there is no such row with an error for which errors.Is holds with ErrNotFound, sql.ErrNoRows (hence
// pgx.ErrNoRows) or one of WithNotFound, or with a nil pointer and no error.
//
// Its ctx has the values of the ctx of the Get that began the load, but not its cancellation: the load may serve other
// callers, so it goes on when this one leaves, and ends after WithLoadTimeout. It must therefore not use what ends with
// that call: above all not a transaction that it finds in its ctx; see Bypass. A loader that Gets its own key waits for
// itself, until WithLoadTimeout.
type Loader[K comparable, V any] func(ctx context.Context, key K) (V, error)

// A BatchLoader reads the values of many keys at once. Keys without a row are not in the map. What holds for a Loader
// holds for it.
type BatchLoader[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

// ErrNotFound says that there is no row for the key, as a load or a remembered load found. errors.Is holds for it with
// sql.ErrNoRows too, so that the callers of a wrapped method need no change.
var ErrNotFound error = &notFoundError{}

// ErrOverloaded is returned by reads that needed a load and got no place among WithMaxLoads before their ctx ended.
// errors.Is also holds for it with the error of that ctx.
var ErrOverloaded = errors.New("aside: too many loads")

// A notFoundError answers for every way to say that there is no row.
type notFoundError struct {
	cause error   // what the loader returned; nil if this is remembered
	also  []error // WithNotFound
}

func (e *notFoundError) Error() string {
	if e.cause != nil {
		return e.cause.Error()
	}
	return "aside: not found"
}

func (e *notFoundError) Unwrap() error { return e.cause }

func (e *notFoundError) Is(target error) bool {
	if target == ErrNotFound || target == sql.ErrNoRows {
		return true
	}
	for _, err := range e.also {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// A panicError is a loader's panic on its way to the callers.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("aside: the loader panicked: %v", p.value) }

// errGoexit is what the callers get of a load that ended in runtime.Goexit.
var errGoexit = errors.New("aside: the loader called runtime.Goexit")

// guarded calls fn, which runs the user's code, on a goroutine of its own, so that a panic or a Goexit in it ends nothing
// but the call; ctx bounds the wait, and what ignores it is left behind.
func guarded[T any](ctx context.Context, fn func() T) (T, error) {
	done := make(chan ended[T], 1)
	go settled(fn, done)
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// An ended is how a call ended.
type ended[T any] struct {
	value T
	err   error
}

// settled calls fn and tells done how it ended, also if by a panic or a Goexit.
func settled[T any](fn func() T, done chan<- ended[T]) {
	o := ended[T]{err: errGoexit}
	defer func() {
		if p := recover(); p != nil {
			o.err = &panicError{value: p, stack: debug.Stack()}
		}
		done <- o
	}()
	value := fn()
	o = ended[T]{value: value}
}
