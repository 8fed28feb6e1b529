package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/asidecache/aside"
)

// patience is how long a visitor waits for a page.
const patience = time.Second

// A tally is what some reads and writes came to.
type tally struct {
	reads          int // that returned an answer
	gaveUp         int // that had none after patience
	failed         int
	checked, stale int // products in answers
	latency        histogram
	writes         int // that were acknowledged
	unacknowledged int
	err            error // of the first that failed
}

func (t *tally) offered() int { return t.reads + t.gaveUp + t.failed }

// verdict is an error if a read failed or was stale. A read that took too long tells of the
// database, not of the cache.
func (t *tally) verdict() error {
	var failed, stale error
	if t.failed > 0 {
		failed = fmt.Errorf("%d reads failed, the first with: %w", t.failed, t.err)
	}
	if t.stale > 0 {
		stale = fmt.Errorf("%d stale reads", t.stale)
	}
	return errors.Join(failed, stale)
}

// A meter tallies the reads and writes of many goroutines.
type meter struct {
	mu  sync.Mutex
	sum tally
}

// take returns what was tallied since the last take.
func (m *meter) take() tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.sum
	m.sum = tally{}
	return sum
}

// read makes a visit that was due some time ago, or now, and checks its answer.
func (m *meter) read(ctx context.Context, l *ledger, due time.Time, v visit) {
	ctx, cancel := context.WithDeadline(ctx, due.Add(patience))
	defer cancel()
	stale, err := l.read(v.ids, func() ([]Product, error) { return v.read(ctx) })
	took := time.Since(due)

	m.mu.Lock()
	defer m.mu.Unlock()
	m.sum.latency.add(took)
	switch {
	case err == nil:
		m.sum.reads++
		m.sum.checked += len(v.ids)
		m.sum.stale += stale
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, aside.ErrOverloaded):
		m.sum.gaveUp++
	default:
		m.sum.failed++
		m.sum.err = err
	}
}

func (m *meter) write(ctx context.Context, e edit) {
	err := e(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.sum.writes++
	} else {
		m.sum.unacknowledged++
	}
}
