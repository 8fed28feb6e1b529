package crash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A cell is one write of one row, while others read it.
type cell struct {
	*servers
	t       *testing.T
	plan    plan
	writer  *child
	readers [2]*reader

	mu        sync.Mutex
	committed map[int64]int64 // each version, and a time at which it was committed
}

var lastRow atomic.Int64

func init() { lastRow.Store(rand.Int64N(1 << 40)) } // others may use the database, and its locks

func newCell(t *testing.T, way string, hold time.Duration) *cell {
	return newCellOf(t, plan{Way: way, Hold: hold})
}

func newCellOf(t *testing.T, p plan) *cell {
	t.Helper()
	way := p.Way
	s := shared.Get(t)
	c := &cell{servers: s, t: t, committed: make(map[int64]int64)}
	c.plan = plan{DSN: s.dsn, Redis: s.redis, Row: lastRow.Add(1), Hold: p.Hold, Near: p.Near}
	_, err := s.db.Exec(t.Context(), `INSERT INTO item VALUES ($1, $2)`, c.plan.Row, firstVersion)
	must(err)
	for i := range c.readers {
		c.readers[i] = startReader(t, c.plan)
	}
	c.plan.Way = way
	c.writer = startChild(t, c.plan)
	c.awaitSessions(`true`, 1)
	c.awaitValue()
	c.awaitReads()
	c.inBackground(func() { c.lookAtRow() })
	return c
}

// inBackground does something again and again, until stop is called, or the test ends.
func (c *cell) inBackground(do func()) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			do()
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	c.t.Cleanup(stop)
	return stop
}

// disturb invalidates the row without need, so that loads and fills are under way at any time. A hold is not affected.
func (c *cell) disturb() (stop func()) {
	return c.inBackground(func() { must(c.cache.Invalidate(context.Background(), c.plan.Row)) })
}

// lookAtRow asks Postgres which version is committed, and remembers that it was by now.
func (c *cell) lookAtRow() (version int64) {
	i, err := selectItem(c.db)(context.Background(), c.plan.Row)
	must(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, seen := c.committed[i.Version]; !seen {
		c.committed[i.Version] = now()
	}
	return i.Version
}

// until has the writer go on to a step, and wait there.
func (c *cell) until(step string) {
	c.t.Helper()
	for c.writer.next() != step {
		c.writer.goOn()
	}
}

// kill returns when the writer is gone, and Postgres has noticed.
func (c *cell) kill() {
	c.t.Helper()
	c.writer.kill()
	c.awaitSessions(`true`, 0)
}

// awaitSessions waits until the writer has n connections for which a condition on pg_stat_activity holds.
func (c *cell) awaitSessions(condition string, n int) {
	c.t.Helper()
	query := `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND ` + condition
	c.await(fmt.Sprintf("%d sessions of the writer with %s", n, condition), func() bool {
		var found int
		must(c.db.QueryRow(context.Background(), query, c.plan.session()).Scan(&found))
		return found == n
	})
}

// lockCommit keeps COMMIT of the row in flight until unlock is called.
func (c *cell) lockCommit() (unlock func()) {
	conn, err := c.db.Acquire(context.Background())
	must(err)
	_, err = conn.Exec(context.Background(), `SELECT pg_advisory_lock($1)`, c.plan.Row)
	must(err)
	unlock = sync.OnceFunc(func() {
		_, err := conn.Exec(context.Background(), `SELECT pg_advisory_unlock($1)`, c.plan.Row)
		must(err)
		conn.Release()
	})
	c.t.Cleanup(unlock)
	return unlock
}

// A document is what the tests need to know of one.
type document struct {
	Hold  map[string]any // by holder
	Value *item
}

func (c *cell) document() (d document) {
	text, _ := c.rdb.Get(context.Background(), fmt.Sprintf("item:%d", c.plan.Row)).Result()
	if text != "" {
		must(json.Unmarshal([]byte(text), &d))
	}
	return d
}

func (c *cell) isHeld() bool { return c.document().Hold != nil }

// awaitValue waits until there is a value in Redis, and returns its version. Readers with near copies that are right need none, so the
// cell reads as well then.
func (c *cell) awaitValue() (version int64) {
	c.t.Helper()
	c.await("a cached value", func() bool {
		if c.plan.Near {
			_, err := c.cache.Get(c.t.Context(), c.plan.Row)
			must(err)
		}
		d := c.document()
		if d.Value != nil {
			version = d.Value.Version
		}
		return d.Value != nil
	})
	return version
}

// awaitReads waits until each reader has done some reads that begin after now.
func (c *cell) awaitReads() {
	c.t.Helper()
	at := now()
	for _, r := range c.readers {
		c.await("reads", func() bool { return r.since(at) >= 10 })
	}
}

// await waits for a state. A busy machine is no finding.
func (c *cell) await(what string, reached func() bool) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("waited in vain for %s; the document is %+v", what, c.document())
		}
		for _, r := range c.readers {
			select {
			case <-r.done:
				r.finish() // which says why
			default:
			}
		}
	}
}

// staleReads ends the readers, and returns those of their reads that began after a newer version was known to be
// committed.
func (c *cell) staleReads() (stale []read) {
	c.t.Helper()
	var reads []read
	for _, r := range c.readers {
		reads = append(reads, r.finish()...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return staleAmong(reads, c.committed)
}

func staleAmong(reads []read, committed map[int64]int64) (stale []read) {
	for version, at := range committed {
		for _, r := range reads {
			if r.begin > at && r.version < version {
				stale = append(stale, r)
			}
		}
	}
	slices.SortFunc(stale, func(a, b read) int { return strings.Compare(a.String(), b.String()) })
	return stale
}
