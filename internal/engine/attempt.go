package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/asidecache/aside/internal/redisstore"
)

// One attempt to remove, or to hold, what several tasks are about. removal.go says which tasks, and in which order.

// A group is divided by how it is removed.
type group struct {
	entries []subject
	tags    []subject
	all     []*account
}

func groupOf(subjects []subject) (g group) {
	for _, s := range subjects {
		switch {
		case s.name == "":
			g.all = append(g.all, s.of)
		case s.of.books != nil:
			g.tags = append(g.tags, s)
		default:
			g.entries = append(g.entries, s)
		}
	}
	return g
}

// removeTasks remove entries. Entries whose replicas lag, so that nothing may be cached for them
// afterwards, come first: what is made from an entry that is removed later meets the lag.
func (c *Core) removeTasks(entries []subject) []task {
	tasks := make([]task, 0, len(entries))
	for _, lagging := range []bool{true, false} {
		for i, e := range entries {
			if lag := e.of.longestLag(); lag > 0 == lagging {
				tasks = append(tasks, task{Op: c.Store.InvalidateOp(e.name, lag), about: entries[i : i+1], holds: lagging})
			}
		}
	}
	return tasks
}

// An accountPart is those of some subjects that are of one account.
type accountPart struct {
	of    *account
	names []string
}

// byAccount sorts out entries and tags.
func byAccount(subjects []subject) (parts []accountPart) {
	at := make(map[*account]int)
	for _, s := range subjects {
		if s.name == "" {
			continue
		}
		i, ok := at[s.of]
		if !ok {
			i = len(parts)
			at[s.of], parts = i, append(parts, accountPart{of: s.of})
		}
		parts[i].names = append(parts[i].names, s.name)
	}
	return parts
}

// indexesOf names the indexes of tags.
func indexesOf(tags []subject) []string {
	indexes := make([]string, len(tags))
	for i, s := range tags {
		indexes[i] = s.of.books.Index(s.name)
	}
	return indexes
}

// A task is an op of a removal, with what it is about.
type task struct {
	redisstore.Op
	about []subject
	told  bool                                     // the user knows that something else lies under the name
	holds bool                                     // it has failed if a hold that this version does not know was in its way
	done  func(r redisstore.Reply, sent time.Time) // takes what Redis has confirmed; nil if nothing is to be taken
}

// Key and Size are what chunks asks of a task.
func (t task) Key() string { return t.Name }

func (t task) Size() int { return len(t.about) }

// attempt runs tasks in chunks, and each chunk has WithRedisTimeout. As soon as a chunk is
// answered, attempt calls done of the tasks that Redis has confirmed. It returns what was not
// confirmed, and the first error.
func (c *Core) attempt(ctx context.Context, tasks []task) (failed []subject, first error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	left := redisstore.Chunks(c.Store, tasks, func(chunk []task) []task {
		failed, err := c.attemptOnce(ctx, chunk)
		first = cmp.Or(first, err)
		return failed
	})
	for _, t := range left {
		failed = append(failed, t.about...)
	}
	return failed, first
}

// attemptOnce is attempt for one chunk.
func (c *Core) attemptOnce(ctx context.Context, tasks []task) (failed []task, first error) {
	ops := make([]redisstore.Op, len(tasks))
	for i, t := range tasks {
		ops[i] = t.Op
	}
	sent := time.Now() // holds are counted from here: Redis placed them later
	for i, r := range c.Store.RunAlone(ctx, ops...) {
		t, err := tasks[i], r.Err
		switch {
		case redisstore.IsWrongType(err) && t.Verb <= redisstore.LastOfEntries:
			if !t.told {
				c.foreign(t.Name)
			}
			r, err = redisstore.Reply{}, nil // not an entry, so nothing is cached, and nothing is held
		case err == nil && !r.OK && t.Verb == redisstore.ScriptHold && t.holds:
			err = errUnknownHold
		}
		if err != nil {
			failed = append(failed, t)
			if first == nil || redisstore.IsForbidden(first) {
				first = err // what Redis says of one key that an ACL protects tells less than another error
			}
		} else if t.done != nil {
			t.done(r, sent)
		}
	}
	return failed, first
}

// errUnknownHold says that the library's next version, or somebody else, holds the entry.
var errUnknownHold = errors.New("it is held in an unknown format")

// notInvalidated is the error of a removal.
func notInvalidated(failed, of []subject, err error) error {
	return notDone("invalidated", failed, of, err)
}

// notHeld is the error of placing holds.
func notHeld(failed, of []subject, err error) error { return notDone("held", failed, of, err) }

func notDone(done string, failed, of []subject, err error) error {
	g := groupOf(failed)
	switch {
	case err == nil:
		return nil
	case len(g.entries) > 0:
		return fmt.Errorf("aside: %d of %d keys not %s, the first is %q: %w",
			len(g.entries), len(groupOf(of).entries), done, g.entries[0].name, err)
	case len(g.tags) > 0:
		return fmt.Errorf("aside: %d tags not %s, the first is %q: %w", len(g.tags), done, g.tags[0].name, err)
	case len(g.all) > 0:
		return fmt.Errorf("aside: not all of cache %q is %s: %w", strings.TrimSuffix(g.all[0].of, ":"), done, err)
	default: // entries with a tag that may not be touched
		return fmt.Errorf("aside: not all is %s: %w", done, err)
	}
}

// sortedOut returns the names of entries and of tags.
func sortedOut(subjects []subject) (entries, tags []string) {
	g := groupOf(subjects)
	return namesOf(g.entries), namesOf(g.tags)
}

func accountsOf(all []subject) []*account {
	accounts := make([]*account, len(all))
	for i, s := range all {
		accounts[i] = s.of
	}
	return accounts
}
