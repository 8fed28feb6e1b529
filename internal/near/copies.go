package near

import (
	"hash/maphash"
	"math/bits"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// Copies is the memory of one Cache: values by key, bounded in number. The life of a copy:
//
//	Note                      before the look is sent to Redis: the generations that the copy will depend on
//	Put                       once the look has found a usable document: the copy, with what was noted
//	Get                       serves it while the Log has a lease, the copy is young enough, and no generation was raised
//	drop, dropPrefix, wipe    raise generations: what was noted before is dead, whether a copy or a look under way
//
// A copy is not removed when its generation is raised: it is dead, which Get sees. That makes the raise and the drop one
// step, which no insert can come between, and Get, Put and drop need no lock. A dead copy is overwritten by the next Put, or
// removed by sweep.
//
// Names share generations, many of them if the cache is small. A record about one name makes the others that share its
// generation go to Redis once more. Generations are never reset.
type Copies[K comparable, V any] struct{ *copies }

// The copies of a Cache lie by the hashes of their keys, and each has its key beside it: so the
// library that keeps them is compiled once, and not for each K. If two keys have one hash, only one
// of them has a copy.
type copies struct {
	log    *Log
	prefix string
	maxAge int64
	values *otter.Cache[uint64, *value]

	epoch       atomic.Uint64 // raised by dropPrefix and wipe
	generations []atomic.Uint64
	hits        *counter
}

// A value is one copy. It does not change.
type value struct {
	key    any
	v      any
	absent bool
	until  int64
	noted  Noted
	tags   []uint16
}

// A Noted is what Note has noted before a look. The zero value is for a look whose result is not
// copied.
type Noted struct {
	at                int64 // 0: no copy is made
	epoch, generation uint64
	tags              uint64
	place             uint32 // of the generation
}

// NewCopies returns the memory of a cache whose names all begin with prefix. It holds at most so many entries, and serves no
// copy for longer than maxAge after the look that it came from was sent. Detach ends it.
func NewCopies[K comparable, V any](log *Log, prefix string, entries int, maxAge time.Duration) *Copies[K, V] {
	return &Copies[K, V]{newCopies(log, prefix, entries, maxAge)}
}

func newCopies(log *Log, prefix string, entries int, maxAge time.Duration) *copies {
	c := &copies{
		log: log, prefix: prefix, maxAge: int64(maxAge),
		values:      otter.Must(&otter.Options[uint64, *value]{MaximumSize: entries}),
		generations: make([]atomic.Uint64, generationsFor(entries)),
		hits:        new(counter),
	}
	log.attach(c)
	return c
}

// generationsFor is a power of two of at least two for each entry, so that few names share one, within 2 KB and 512 KB.
func generationsFor(entries int) int {
	return 1 << bits.Len(uint(min(max(2*entries, 256), 1<<16)-1))
}

// Get returns the copy of a key that may be served. Neither v nor anything that it refers to may be changed: other callers
// get the same. absent is true for an entry that was known to be absent.
func (c *Copies[K, V]) Get(key K) (v V, absent, ok bool) {
	found := c.find(maphash.Comparable(seed, key))
	if found == nil {
		return v, false, false
	}
	if k, same := found.key.(K); !same || k != key {
		return v, false, false
	}
	v, _ = found.v.(V) // an absence has none
	return v, found.absent, true
}

// find returns the copy that lies under a hash, if it may be served.
//
// The lease is looked at first, the copy afterwards. In the other order a caller could pick up an old copy while the lease is
// over, and see the lease that began after that copy was dropped.
func (c *copies) find(hash uint64) *value {
	now := now()
	if now >= c.log.until.Load() {
		c.log.ask()
		return nil
	}
	c.log.isUsed()
	found, ok := c.values.GetIfPresent(hash)
	if !ok || now >= found.until || !c.holds(&found.noted) || c.log.tags.raised(found.tags, found.noted.tags) {
		return nil
	}
	return found
}

// holds reports whether no generation was raised since.
func (c *copies) holds(n *Noted) bool {
	return n.epoch == c.epoch.Load() && n.generation == c.generations[n.place].Load()
}

// Note is called before a look at the entry name is sent, or before the caller joins a look that is yet to be sent. So a look
// that is decided by a fill notes before the fill is sent.
func (c *copies) Note(name string) Noted {
	now := now()
	if now >= c.log.until.Load() {
		return Noted{} // the copy would be wiped before the next lease begins
	}
	place := c.place(name)
	return Noted{now, c.epoch.Load(), c.generations[place].Load(), c.log.tags.seq.Load(), place}
}

func (c *copies) place(name string) uint32 {
	return uint32(maphash.String(seed, name) % uint64(len(c.generations)))
}

// Put makes a copy of what a look has found that was sent after Note: a value of a document, one that was filled and
// accepted, or an absence. It does not make one if anything about it was invalidated since. end is until
// when the document is fresh, as it says itself, or until its seal ends; tags are those of the value.
//
// The copy must never be of a load as such, of a held entry, or of a refused fill.
func (c *Copies[K, V]) Put(key K, n Noted, v V, absent bool, tags []string, end time.Time) {
	c.put(maphash.Comparable(seed, key), &value{key: key, v: v, absent: absent, noted: n}, tags, end)
}

func (c *copies) put(hash uint64, copied *value, tags []string, end time.Time) {
	n, from := &copied.noted, now() // first: a goroutine that is held up here ends the copy earlier, and never later
	left := time.Until(end)
	copied.until = min(n.at+c.maxAge, from+int64(left))
	if n.at == 0 || left <= 0 || !c.holds(n) {
		return
	}
	for _, tag := range tags {
		copied.tags = append(copied.tags, c.log.tags.place(tag))
	}
	c.values.Set(hash, copied)
}

// Forget drops the copy of a name in this process, so that its next look goes to Redis.
func (c *copies) Forget(name string) { c.drop(name) }

// Hit counts a read that a copy has answered.
func (c *copies) Hit() { c.hits.add() }

// Hits is how many reads copies have answered.
func (c *copies) Hits() uint64 { return c.hits.sum() }

// Len is about how many entries are in memory. Some of them may not be served any more.
func (c *copies) Len() int { return c.values.EstimatedSize() }

// Detach forgets all copies, and the Log forgets c. Get serves nothing that is put later.
func (c *copies) Detach() {
	c.log.detach(c)
	c.wipe()
}

func (c *copies) drop(name string) {
	if strings.HasPrefix(name, c.prefix) {
		c.generations[c.place(name)].Add(1)
	}
}

func (c *copies) dropPrefix(prefix string) {
	if strings.HasPrefix(c.prefix, prefix) || strings.HasPrefix(prefix, c.prefix) {
		c.wipe()
	}
}

func (c *copies) wipe() {
	c.epoch.Add(1)
	c.values.InvalidateAll()
}

// sweep removes what is not served any more, so that it takes no memory.
func (c *copies) sweep() {
	now := now()
	for hash, found := range c.values.All() {
		if now >= found.until || !c.holds(&found.noted) || c.log.tags.raised(found.tags, found.noted.tags) {
			c.values.ComputeIfPresent(hash, func(current *value) (*value, otter.ComputeOp) {
				if current == found {
					return nil, otter.InvalidateOp
				}
				return nil, otter.CancelOp
			})
		}
	}
}
