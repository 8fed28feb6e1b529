package aside

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// background is what goes on after the calls that began it have returned; Close waits for it.
type background struct {
	closing context.Context // ends when Close is called
	cancel  context.CancelFunc

	mu     sync.Mutex // guards closed, so that nothing enters once Close waits
	closed bool
	work   sync.WaitGroup
}

func (b *background) init() {
	b.closing, b.cancel = context.WithCancel(context.Background())
}

// enter reports whether there is still time to begin something; who entered must leave.
func (b *background) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.work.Add(1)
	}
	return !b.closed
}

func (b *background) leave() { b.work.Done() }

// start runs fn in the background, unless the Cache is closed.
func (b *background) start(fn func()) bool {
	if !b.enter() {
		return false
	}
	go func() {
		defer b.leave()
		fn()
	}()
	return true
}

func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.work.Wait()
}

// places are the loads that may run at a time, first come, first served.
type places struct {
	free    *semaphore.Weighted
	waiting sync.Map // names of entries whose flights wait for a place, each with its queued
}

func newPlaces(n int) *places { return &places{free: semaphore.NewWeighted(int64(n))} }

// acquire waits for a place until ctx ends. queued is set while it waits, and stays set if it waited in vain. name is that of a
// flight, "" for a load that nobody joins.
func (p *places) acquire(ctx context.Context, name string, queued *atomic.Bool) error {
	if !p.free.TryAcquire(1) {
		if err := p.wait(ctx, name, queued); err != nil {
			return err
		}
	}
	p.waiting.Delete(name)
	return nil
}

func (p *places) wait(ctx context.Context, name string, queued *atomic.Bool) error {
	queued.Store(true)
	p.waiting.Store(name, queued)
	if err := p.free.Acquire(ctx, 1); err != nil {
		// The joiners of a flight often leave at the same moment as its owner, and must still see what it waited for.
		time.AfterFunc(time.Second, func() { p.waiting.CompareAndDelete(name, queued) })
		return err
	}
	queued.Store(false)
	return nil
}

// tryAcquire takes up to n places if one is free, and returns how many it took.
func (p *places) tryAcquire(n int) (taken int) {
	for taken < n && p.free.TryAcquire(1) {
		taken++
	}
	return taken
}

func (p *places) release(n int) { p.free.Release(int64(n)) }

// queues reports whether the flight of name waits for a place.
func (p *places) queues(name string) bool {
	_, ok := p.waiting.Load(name)
	return ok
}
