package aside

import (
	"context"
	"sync/atomic"
	"time"
)

// Stats counts what a Cache has done since New. The counters only grow; a difference of two snapshots is what happened
// between them.
type Stats struct {
	Hits       uint64 // reads answered by a fresh value from Redis
	StaleHits  uint64 // reads answered by a value past its TTL, within WithStale
	AbsentHits uint64 // reads answered by a remembered absence
	Misses     uint64 // reads that found nothing usable, Redis being down included
	Joins      uint64 // misses that another caller's flight answered
	Waits      uint64 // misses that found the lease of somebody else, mostly of another process, and waited for it

	Loads      uint64 // calls of the loader or the batch loader
	LoadErrors uint64 // loads that ended in an error other than not found, or in a panic
	Refreshes  uint64 // loads in the background, while the present value was served; they count among Loads
	Overloaded uint64 // calls of Get and GetMany that got no place among WithMaxLoads before their ctx ended

	Fills      uint64 // values and absences stored
	Refused    uint64 // fills that were refused, since what the load began with was gone, or one of the value's tags invalidated
	Unusable   uint64 // documents that could not be used: corrupt, foreign or of another version
	WrongTypes uint64 // reads and invalidations of names under which something lies that is no string: read through, left alone

	Invalidations      uint64 // keys given to Invalidate, and entries that InvalidateTags and InvalidateAll found
	InvalidationErrors uint64 // keys and tags of an Invalidate or InvalidateTags that returned an error for them

	// Owed is how many invalidations are being tried again, of keys and tags that are read from the loader meanwhile: those
	// that returned an error, and what Redis did not confirm at the end of InTx. That of a whole Cache counts as one.
	Owed int

	RedisErrors uint64 // Redis commands that failed or were not answered in time, but for probes of a Redis that is down
	Loading     int    // loads under way now
	Down        bool   // Redis is known to be down, in a Cluster any of its primaries: reads of what it has go to the loader at once
}

// counters is Stats while it is being counted.
type counters struct {
	hits, staleHits, absentHits, misses, joins, waits atomic.Uint64
	loads, loadErrors, refreshes, overloaded          atomic.Uint64
	fills, refused, unusable, wrongTypes              atomic.Uint64
	invalidations, invalidationErrors, redisErrors    atomic.Uint64
	loading                                           atomic.Int64
}

func (n *counters) snapshot() Stats {
	return Stats{
		Hits: n.hits.Load(), StaleHits: n.staleHits.Load(), AbsentHits: n.absentHits.Load(),
		Misses: n.misses.Load(), Joins: n.joins.Load(), Waits: n.waits.Load(),
		Loads: n.loads.Load(), LoadErrors: n.loadErrors.Load(), Refreshes: n.refreshes.Load(),
		Overloaded: n.overloaded.Load(), Fills: n.fills.Load(), Refused: n.refused.Load(),
		Unusable: n.unusable.Load(), WrongTypes: n.wrongTypes.Load(),
		Invalidations: n.invalidations.Load(), InvalidationErrors: n.invalidationErrors.Load(),
		RedisErrors: n.redisErrors.Load(), Loading: int(n.loading.Load()),
	}
}

// An Observer is told what a Cache does, for metrics and traces. Any func may be nil. They are called on the goroutine
// that does the work, which waits for them: a func must be quick, must not panic, and must not call the Cache.
type Observer struct {
	// Read is called at the end of each key that Get or GetMany read, on the caller's goroutine.
	Read func(ctx context.Context, r ReadInfo)
	// Load is called after each call of the loader, on a goroutine of the load, or the caller's where that calls the loader:
	// under Bypass, inside InTx, once the Cache is closed, and for a joiner of a load whose value has no encoding. Its ctx has the
	// values of the first caller's ctx.
	Load func(ctx context.Context, l LoadInfo)
	// Fill is called after Redis answered a fill, or failed to. Its ctx is that of the load.
	Fill func(ctx context.Context, f FillInfo)
	// Invalidate is called at the end of each Invalidate and InvalidateTags, on the caller's goroutine. What is tried again in
	// the background, and what InTx does at its end, is not told.
	Invalidate func(ctx context.Context, i InvalidateInfo)
	// InvalidateAll is called during InvalidateAll, on several goroutines for a Cluster.
	InvalidateAll func(ctx context.Context, i InvalidateAllInfo)
	// RedisError is called for each Redis command that failed or was not answered in time, once for several that are sent
	// together and fail alike, and not for probes of a Redis that is down.
	RedisError func(ctx context.Context, r RedisErrorInfo)
	// Down is called when Redis is found to be down, and when it is back. Each Cache finds that out by itself.
	Down func(d DownInfo)
}

// Outcome says how a read was answered.
type Outcome string

const (
	Hit       Outcome = "hit"        // a fresh value from Redis
	StaleHit  Outcome = "stale hit"  // a value past its TTL, within WithStale
	AbsentHit Outcome = "absent hit" // a remembered absence
	Miss      Outcome = "miss"       // none of these: a load, one's own or a joined one
)

// ReadInfo describes one read.
type ReadInfo struct {
	Cache   string // the name given to New
	Name    string // the Redis key; may be empty if Redis was not to be asked: under Bypass, or with a ctx that has ended
	Outcome Outcome
	Err     error // what the caller got, if not a value
}

// LoadInfo describes one load.
type LoadInfo struct {
	Cache   string
	Keys    int // how many keys it was asked for: 1 except for a batch load
	Took    time.Duration
	Refresh bool // in the background, while the present value was served
	Err     error
}

// FillInfo describes one fill.
type FillInfo struct {
	Cache  string
	Name   string
	Bytes  int  // of the value, as the codec has it
	Absent bool // it is an absence that was stored
	// Refused says that the document is gone that the load began with: invalidated, filled by somebody else, evicted or expired;
	// or that one of the value's tags was invalidated since, or may have been.
	Refused bool
	Err     error // Redis failed
}

// InvalidateInfo describes one Invalidate or InvalidateTags.
type InvalidateInfo struct {
	Cache string
	Names []string // of Invalidate
	Tags  []string // of InvalidateTags
	Took  time.Duration
	Err   error
}

// InvalidateAllInfo describes a part of an InvalidateAll.
type InvalidateAllInfo struct {
	Cache   string
	Entries int // invalidated since the last call
}

// RedisErrorInfo describes commands that failed.
type RedisErrorInfo struct {
	Cache string
	Err   error
}

// DownInfo says whether Redis is down, for a Cache.
type DownInfo struct {
	Cache string
	Err   error // that told so; nil: it is back
}

// seldom lets something be done once in a while: logging what may happen on every read.
type seldom struct{ last atomic.Int64 }

func (s *seldom) now() bool {
	last, now := s.last.Load(), time.Now().UnixNano()
	return now-last >= int64(10*time.Second) && s.last.CompareAndSwap(last, now)
}
