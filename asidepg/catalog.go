package asidepg

import (
	"maps"
	"sync"

	"github.com/jackc/pglogrepl"
)

// A catalog is what a process remembers, over its sessions, of when it last knew that nothing was missed.
type catalog struct {
	mu     sync.Mutex // guards the rest
	states map[uint32]int64
	missed bool          // they have changed since, and the gap has not been handled
	before snapshot      // of before the last gap: what it sees has been invalidated
	end    pglogrepl.LSN // of the log then, since ids of transactions are used again
}

// gap remembers a gap that has been handled.
func (c *catalog) gap(tables map[string]table, before snapshot, end pglogrepl.LSN) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states, c.before, c.end, c.missed = states(tables), before, end, false
}

// learn remembers how the tables are, which nothing that was missed has altered.
func (c *catalog) learn(tables map[string]table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = states(tables)
}

// same reports whether the tables are as they were. If not, what that has changed is missed until the next gap.
func (c *catalog) same(tables map[string]table) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missed = c.missed || !maps.Equal(c.states, states(tables))
	return !c.missed
}

// why the process that has just taken the slot may have missed changes of the tables, "" if it has not.
func (c *catalog) why(tables map[string]table) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.missed:
		return "a table was altered"
	case c.states != nil && maps.Equal(c.states, states(tables)):
		return ""
	}
	for _, name := range sortedNames(tables) {
		if tables[name].recent {
			return "table " + name + " was altered"
		}
	}
	return ""
}

// covers reports whether the last gap has invalidated what a transaction changed.
func (c *catalog) covers(xid uint32, committed pglogrepl.LSN) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return committed < c.end && c.before.sees(xid)
}
