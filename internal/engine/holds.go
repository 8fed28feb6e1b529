package engine

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside/internal/background"
	"github.com/asidecache/aside/internal/redisstore"
)

// holds are entries, or tags, of one account that one holder holds: one Cache within a tx, or one removal.
//
// The life of a hold: it is noted before it is sent, and placed when Redis has confirmed it. In a
// tx it is renewed once a third of WithHold is over; its time counts from the sending of the last
// command that was confirmed. At the end it is released, or left to expire if the outcome of the tx
// is unknown.
//
// Each holder has holds of its own in Redis. So a Cache with a shorter WithHold, or one whose part
// of the tx ends sooner, never ends what another holds. The hold of an entry has an id that the
// server made, and the holds of tags have a record. If that is not there any more, or is another
// one, the hold was gone in between. Then something may have been filled from old rows.
type holds struct {
	of     *account
	holder string // that of tags tells the life of its holds, see scriptMark
	life   time.Duration
	must   bool // it is an error if a hold in an unknown format keeps one from being placed

	mu     sync.Mutex // guards the rest
	held   map[string]*hold
	first  time.Time         // no hold was placed before this time, if any was placed
	record redisstore.Record // that was made when the first tags were held
	gone   bool              // one was found to be gone
}

// A hold is that of one entry or tag.
type hold struct {
	placed time.Time // zero if that was not confirmed
	id     string
}

func newHolds(of *account, holder string, life time.Duration) *holds {
	if of.books != nil {
		holder += "/" + milliseconds(life)
	}
	return &holds{of: of, holder: holder, life: life, held: make(map[string]*hold)}
}

// note adds what is to be held.
func (hs *holds) note(added []string) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, a := range added {
		if hs.held[a] == nil {
			hs.held[a] = new(hold)
		}
	}
}

// names are those of all holds.
func (hs *holds) names() []string {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return slices.Sorted(maps.Keys(hs.held))
}

// has reports whether an entry was noted.
func (hs *holds) has(name string) bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.held[name] != nil
}

// confirm notes that a hold was placed, or is there still, by a command that was sent then.
func (hs *holds) confirm(name, id string, sent time.Time) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	// Redis keeps the id of a hold that is placed again, and makes a new one if it was not there.
	h := hs.held[name]
	hs.gone = hs.gone || h.id != "" && h.id != id
	h.id = id
	hs.place(h, sent)
}

// confirmTags notes that tags are held by a command that was sent then, and made a record, if any.
func (hs *holds) confirmTags(tags []string, made redisstore.Record, sent time.Time) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.record == (redisstore.Record{}) { // the first, which is there at the end only if none was lost
		hs.record = made
	}
	for _, tag := range tags {
		hs.place(hs.held[tag], sent)
	}
}

func (hs *holds) place(h *hold, sent time.Time) {
	if hs.first.IsZero() || sent.Before(hs.first) {
		hs.first = sent
	}
	if h.placed.Before(sent) {
		h.placed = sent
	}
}

// released notes what Redis said of the hold that has ended.
func (hs *holds) released(name, id string) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.gone = hs.gone || id == "" || id != hs.held[name].id
}

// lost notes that a hold was gone.
func (hs *holds) lost() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.gone = true
}

// isGone reports whether a hold was found to be gone.
func (hs *holds) isGone() bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.gone
}

// wasGone reports whether a hold was found to be gone, or was never placed.
func (hs *holds) wasGone() bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.held {
		hs.gone = hs.gone || h.placed.IsZero()
	}
	return hs.gone
}

// placedBy returns the holds that were placed at a time or before, the oldest first.
func (hs *holds) placedBy(limit time.Time) (some []string) {
	if !hs.anyPlacedBy(limit) {
		return nil
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for name, h := range hs.held {
		if !h.placed.IsZero() && !h.placed.After(limit) {
			some = append(some, name)
		}
	}
	slices.SortFunc(some, func(a, b string) int {
		return cmp.Or(hs.held[a].placed.Compare(hs.held[b].placed), cmp.Compare(a, b))
	})
	return some
}

// anyPlacedBy reports whether a hold was placed at a time or before. It looks at all of them only if it has to: there may be very
// many, each invalidated by a call of its own.
func (hs *holds) anyPlacedBy(limit time.Time) bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.first.IsZero() || hs.first.After(limit) {
		return false
	}
	hs.first = time.Time{}
	for _, h := range hs.held {
		if !h.placed.IsZero() && (hs.first.IsZero() || h.placed.Before(hs.first)) {
			hs.first = h.placed
		}
	}
	return !hs.first.IsZero() && !hs.first.After(limit)
}

// All that is done with holds is a task: to place them, to renew them, and to release them. To
// prolong holds is to place them for the last time.

// placeTasks place the holds of names that are noted, and note the lag. That removes what is cached
// for the entries. The caller must remove what has the tags.
func (c *Core) placeTasks(hs *holds, names []string, lag time.Duration) []task {
	if hs.of.books != nil {
		return c.tagTasks(hs, names, func(chunk []string) task {
			op := c.Store.RecordOp(*hs.of.books, hs.holder, hs.life, lag, chunk...)
			return task{Op: op, done: func(r redisstore.Reply, sent time.Time) {
				hs.confirmTags(chunk, redisstore.Record{Nonce: op.Args[0].(string), Score: string(r.Doc)}, sent)
			}}
		})
	}
	return c.entryTasks(hs, names, func(name string) task {
		return task{
			Op:    c.Store.HoldOp(name, hs.holder, hs.life, lag),
			holds: hs.must || lag > 0,
			done:  func(r redisstore.Reply, sent time.Time) { hs.confirm(name, string(r.Doc), sent) },
		}
	})
}

// renewTasks place holds again. It removes what is cached for entries, as placing does, and tells lost of tags whose hold was gone.
func (c *Core) renewTasks(hs *holds, names []string, lost func(tags []string)) []task {
	if hs.of.books == nil {
		return c.placeTasks(hs, names, 0)
	}
	return c.tagTasks(hs, names, func(chunk []string) task {
		op := c.Store.HoldTagsOp(*hs.of.books, hs.holder, hs.life, 0, redisstore.Record{}, chunk...)
		return task{Op: op, done: func(r redisstore.Reply, sent time.Time) {
			hs.confirmTags(chunk, redisstore.Record{}, sent)
			if wasGone := r.At == 2; wasGone {
				hs.lost()
				lost(chunk)
			}
		}}
	})
}

// releaseTasks end holds, note the lag, and find out whether they were gone.
func (c *Core) releaseTasks(hs *holds, names []string, lag time.Duration) []task {
	if hs.of.books != nil {
		return c.tagTasks(hs, names, func(chunk []string) task {
			op := c.Store.HoldTagsOp(*hs.of.books, hs.holder, 0, lag, hs.record, chunk...)
			return task{Op: op, done: func(r redisstore.Reply, _ time.Time) {
				if wasGone := r.At == 2; wasGone {
					hs.lost()
				}
			}}
		})
	}
	return c.entryTasks(hs, names, func(name string) task {
		return task{
			Op:    c.Store.HoldOp(name, hs.holder, 0, lag),
			holds: hs.must || lag > 0,
			told:  true,
			done: func(r redisstore.Reply, _ time.Time) {
				if r.OK { // else it is held in a way that this version does not know
					hs.released(name, string(r.Doc))
				}
			},
		}
	})
}

// entryTasks are one task for each entry.
func (c *Core) entryTasks(hs *holds, names []string, taskOn func(name string) task) []task {
	tasks := make([]task, len(names))
	for i, name := range names {
		tasks[i] = taskOn(name)
		tasks[i].about = []subject{{hs.of, name}}
	}
	return tasks
}

// tagTasks are one task for as many tags as Lua takes arguments.
func (c *Core) tagTasks(hs *holds, tags []string, taskOn func(chunk []string) task) (tasks []task) {
	for chunk := range slices.Chunk(tags, redisstore.ChunkSize) {
		t := taskOn(chunk)
		t.about = hs.of.subjects(chunk)
		tasks = append(tasks, t)
	}
	return tasks
}

// renewing calls renew every d until stop is called. stop waits for a renewal that runs: after the
// release, it would hold again what was released.
func renewing(d time.Duration, renew func(stopping *atomic.Bool)) (stop func()) {
	running := make(chan struct{}, 1)
	var stopping atomic.Bool
	end := background.Every(d, func() {
		select {
		case running <- struct{}{}:
		default:
			return // stopped just now
		}
		defer func() { <-running }()
		renew(&stopping)
	})
	return func() {
		stopping.Store(true)
		end()
		running <- struct{}{}
	}
}

// milliseconds writes a duration as Redis has it.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
