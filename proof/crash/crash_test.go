package crash_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// hold is WithHold of most writers: short, since the tests wait for its end, but long enough to be renewed in time on a
// busy machine.
const hold = 3 * time.Second

// Each row is a writer that is killed at a step, what Postgres and Redis have then, and whether it stood still before for
// longer than its hold lasted.
var deaths = []struct {
	step      string
	way       string
	committed int64
	held      bool
	stopped   bool
	nearOnly  bool // there is no such step without near copies
}{
	{step: beforeBegin, way: commits, committed: firstVersion},
	{step: afterBegin, way: commits, committed: firstVersion},
	{step: afterUpdate, way: commits, committed: firstVersion},
	{step: holdNotSent, way: commits, committed: firstVersion},
	{step: holdSent, way: commits, committed: firstVersion, held: true},
	{step: recordNotSent, way: commits, committed: firstVersion, held: true, nearOnly: true},
	{step: recordSent, way: commits, committed: firstVersion, held: true, nearOnly: true},
	{step: afterHold, way: commits, committed: firstVersion, held: true},
	{step: beforeCommit, way: commits, committed: firstVersion, held: true},
	{step: afterCommit, way: commits, committed: nextVersion, held: true},
	{step: releaseNotSent, way: commits, committed: nextVersion, held: true},
	{step: releaseSent, way: commits, committed: nextVersion},
	{step: afterInTx, way: commits, committed: nextVersion},

	{step: afterInTx, way: rollsBack, committed: firstVersion, held: true},
	{step: afterInTx, way: losesTheReply, committed: nextVersion, held: true},

	{step: afterHold, way: commits, committed: firstVersion, held: true, stopped: true},
	{step: beforeCommit, way: commits, committed: firstVersion, held: true, stopped: true},
	{step: afterCommit, way: commits, committed: nextVersion, held: true, stopped: true},
	{step: releaseNotSent, way: commits, committed: nextVersion, held: true, stopped: true},
}

func TestAWriterThatIsKilledAtAnyStepLeavesNothingStale(t *testing.T) { killAtAnyStep(t, false) }

// The readers serve most of their reads from near copies, for up to an hour.
func TestAWriterThatIsKilledAtAnyStepLeavesNoNearCopyStale(t *testing.T) { killAtAnyStep(t, true) }

func killAtAnyStep(t *testing.T, near bool) {
	for _, d := range deaths {
		if d.nearOnly && !near {
			continue
		}
		name := "it " + d.way + ", " + d.step
		if d.stopped {
			name += ", after it stood still"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCellOf(t, plan{Way: d.way, Hold: hold, Near: near})
			calm := c.disturb()
			c.until(d.step)
			if held := c.isHeld(); held != d.held {
				t.Errorf("whether the row is held: %v", held)
			}
			if d.stopped {
				c.writer.stop()
				calm()
				c.awaitValue() // the hold has expired
				c.awaitReads()
			}
			calm()
			c.kill()
			c.wantNothingStale(d.committed)
		})
	}
}

// While COMMIT is in flight nobody knows its outcome. It may be decided after the writer was killed.
func TestAWriterThatIsKilledDuringCommitLeavesNothingStale(t *testing.T) {
	for name, test := range map[string]struct {
		committed int64
		die       func(c *cell, unlock func())
	}{
		"COMMIT lands later": {nextVersion, func(c *cell, unlock func()) {
			c.writer.kill()
			c.awaitReads()
			unlock()
			c.awaitCommit()
		}},
		"COMMIT lands before, and its reply is not read": {nextVersion, func(c *cell, unlock func()) {
			c.writer.stop()
			unlock()
			c.awaitCommit()
			c.writer.kill()
		}},
		"COMMIT fails later": {firstVersion, func(c *cell, unlock func()) {
			c.writer.kill()
			c.awaitReads()
			c.terminateSession()
			unlock()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCell(t, commits, 5*time.Second) // COMMIT must land within it
			calm := c.disturb()
			unlock := c.commitInFlight()
			calm()
			test.die(c, unlock)
			if !c.isHeld() {
				t.Error("the row is not held")
			}
			c.kill()
			c.wantNothingStale(test.committed)
		})
	}
}

// A reader that stands still is not told. It must have lost the right to serve its copies when Invalidate returns.
func TestAReaderThatStandsStillServesNoNearCopyFromBefore(t *testing.T) {
	t.Parallel()
	c := newCellOf(t, plan{Way: commits, Hold: hold, Near: true})
	c.readers[0].stop()
	c.until(afterInTx)
	must(c.readers[0].cmd.Process.Signal(syscall.SIGCONT))
	c.wantNothingStale(nextVersion)
}

// Without the record for near copies, the copies of readers are stale: the test above can fail.
func TestStaleNearCopiesAreFoundIfTheWriterTellsNothing(t *testing.T) {
	t.Parallel()
	c := newCellOf(t, plan{Way: commits, Hold: hold, Near: true})
	_, err := c.db.Exec(t.Context(), `UPDATE item SET version = $2 WHERE id = $1`, c.plan.Row, nextVersion)
	must(err)
	must(c.rdb.Del(t.Context(), fmt.Sprintf("item:%d", c.plan.Row)).Err())
	c.lookAtRow()
	c.awaitReads()
	c.kill()
	if len(c.staleReads()) == 0 {
		t.Error("no read is stale")
	}
}

// wantNothingStale checks reads until the row is cached again, and some more.
func (c *cell) wantNothingStale(version int64) {
	c.t.Helper()
	if got := c.lookAtRow(); got != version {
		c.t.Fatalf("version %d is committed, want %d", got, version)
	}
	c.awaitReads() // under the hold, if there is one
	if cached := c.awaitValue(); cached != version {
		c.t.Errorf("version %d is cached, but %d committed", cached, version)
	}
	c.awaitReads() // which hit
	if stale := c.staleReads(); len(stale) > 0 {
		c.t.Errorf("%d reads are stale; the first began, ended and returned %v, when versions were committed by %v",
			len(stale), stale[0], c.committed)
	}
	for _, r := range c.readers {
		for _, read := range r.reads {
			if read.version > version {
				c.t.Fatalf("a read returned a version that was never committed: %v", read)
			}
		}
	}
}

// commitInFlight has the writer send its COMMIT, and Postgres not decide it until unlock is called.
func (c *cell) commitInFlight() (unlock func()) {
	c.t.Helper()
	unlock = c.lockCommit()
	c.until(beforeCommit)
	c.writer.goOn()
	c.awaitSessions(`query = 'commit' AND wait_event = 'advisory'`, 1)
	return unlock
}

func (c *cell) awaitCommit() {
	c.t.Helper()
	c.await("the COMMIT", func() bool { return c.lookAtRow() == nextVersion })
}

func (c *cell) terminateSession() {
	c.t.Helper()
	_, err := c.db.Exec(c.t.Context(),
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`, c.plan.session())
	must(err)
	c.awaitSessions(`true`, 0)
}

// What the documentation names as bounds of the promises is found to be stale: these checks can fail.
func TestStaleReadsAreFoundWhereThePromisesEnd(t *testing.T) {
	for name, test := range map[string]struct {
		way   string
		write func(c *cell)
	}{
		"the writer died between COMMIT and an Invalidate outside InTx": {withoutInTx, func(c *cell) {
			c.until(afterCommit)
		}},
		"the writer invalidated before COMMIT, outside InTx": {tooEarly, func(c *cell) {
			c.until(beforeCommit)
			c.awaitValue()
			c.writer.goOn()
			c.until(afterCommit)
		}},
		"the writer stood still during COMMIT for longer than its hold, and died": {commits, func(c *cell) {
			unlock := c.commitInFlight()
			c.writer.stop()
			c.awaitValue()
			unlock()
			c.awaitCommit()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCell(t, test.way, time.Second)
			test.write(c)
			c.kill()
			if got := c.lookAtRow(); got != nextVersion {
				t.Fatalf("version %d is committed", got)
			}
			c.awaitReads()
			if got := c.awaitValue(); got != firstVersion {
				t.Errorf("version %d is cached", got)
			}
			if len(c.staleReads()) == 0 {
				t.Error("no read is stale")
			}
		})
	}
}

func TestAReadIsStaleIfItBeganAfterANewerVersionWasCommitted(t *testing.T) {
	committed := map[int64]int64{1: 10, 2: 20}
	before, during, after := read{11, 12, 1}, read{19, 30, 1}, read{21, 22, 1}
	stale := staleAmong([]read{before, during, after, {21, 22, 2}}, committed)
	if len(stale) != 1 || stale[0] != after {
		t.Errorf("these are stale: %v", stale)
	}
}
