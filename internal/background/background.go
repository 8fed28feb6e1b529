// Package background has the goroutines that outlive the calls that began them.
package background

import (
	"context"
	"sync"
	"time"
)

// Group is what goes on after the calls that began it have returned; Close waits for it.
type Group struct {
	Closing context.Context // ends when Close is called
	cancel  context.CancelFunc

	mu     sync.Mutex // guards closed, so that nothing enters once Close waits
	closed bool
	work   sync.WaitGroup
}

func (b *Group) Init() {
	b.Closing, b.cancel = context.WithCancel(context.Background())
}

// Enter reports whether there is still time to begin something. Each Enter that returns true needs
// a Leave.
func (b *Group) Enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.work.Add(1)
	}
	return !b.closed
}

func (b *Group) Leave() { b.work.Done() }

// Start runs fn in the background, unless the Cache is closed.
func (b *Group) Start(fn func()) bool {
	if !b.Enter() {
		return false
	}
	go func() {
		defer b.Leave()
		fn()
	}()
	return true
}

// Pause reports whether the Cache is still open after d. It is for what runs in the background.
func (b *Group) Pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-b.Closing.Done():
		return false
	}
}

// Close ends what can be ended, and returns a channel that is closed when nothing goes on. It reports whether this call was the first.
func (b *Group) Close() (done <-chan struct{}, first bool) {
	b.mu.Lock()
	first = !b.closed
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	ended := make(chan struct{})
	go func() {
		b.work.Wait()
		close(ended)
	}()
	return ended, first
}

// Every calls fn again and again, each time d after the last has ended, until stop is called. stop does not wait for one
// that runs.
func Every(d time.Duration, fn func()) (stop func()) {
	done := make(chan struct{})
	timer := time.AfterFunc(d, func() { // no goroutine for what ends sooner
		for {
			fn()
			select {
			case <-time.After(d):
			case <-done:
				return
			}
		}
	})
	return func() {
		timer.Stop()
		close(done)
	}
}
