package near

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

var seed = maphash.MakeSeed()

// tags are counters for all tags of a Log. The tags of a value are known only once it has been read, so one number is noted
// before the look, and compared with the counter of each tag whenever the copy is to be served. Tags share counters; a counter
// is never reset.
type tags struct {
	mu  sync.Mutex    // for raise
	seq atomic.Uint64 // of the last raise
	at  [4096]atomic.Uint64
}

func (t *tags) place(tag string) uint16 {
	return uint16(maphash.String(seed, tag) % uint64(len(t.at)))
}

// raise ends all copies with the tag that were noted before.
func (t *tags) raise(tag string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.seq.Load() + 1
	t.at[t.place(tag)].Store(next)
	t.seq.Store(next)
}

// raised reports whether one of the tags was raised after a number was noted.
func (t *tags) raised(places []uint16, noted uint64) bool {
	for _, p := range places {
		if t.at[p].Load() > noted {
			return true
		}
	}
	return false
}
