package aside

import (
	"context"
	"time"

	"github.com/asidecache/aside/internal/engine"
)

// Stats counts what a Cache has done since New. The counters only grow; a difference of two snapshots is what happened
// between them.
//
// A read is one key that was given to Get or GetMany. The same key twice in one GetMany is one
// read. Each read is a hit, a near hit, a stale hit, an absent hit or a miss, and is counted as soon
// as that is known. An Observer is told of the same events as are counted here, with the same outcomes.
type Stats struct {
	Hits       uint64 // reads answered by a fresh value from Redis
	StaleHits  uint64 // reads answered by a value past its TTL, within WithStale
	AbsentHits uint64 // reads answered by a remembered absence
	Misses     uint64 // all other reads: also of a Redis that is down, under Bypass, with a ctx that has ended, of a closed Cache
	Joins      uint64 // misses that another caller's flight answered
	Waits      uint64 // misses that found the lease of somebody else, mostly of another process, and waited for it

	Loads      uint64 // calls of the loader or the batch loader
	LoadErrors uint64 // loads that ended in an error other than not found, in a panic, or after WithLoadTimeout
	Refreshes  uint64 // loads in the background, while the present value was served; they count among Loads
	Overloaded uint64 // reads that ended in ErrOverloaded

	Fills      uint64 // values and absences stored
	Refused    uint64 // fills that were refused, since what the load began with was gone, or one of the value's tags invalidated
	FillErrors uint64 // fills that Redis failed, or did not answer in time
	Unusable   uint64 // documents that could not be used: corrupt, foreign or of another version
	Altered    uint64 // loaded values that a hit would return differently, among the few that are compared; see docs/codecs.md
	WrongTypes uint64 // reads and invalidations of names under which something lies that is no string: read through, left alone

	NearHits    uint64        // reads answered from the memory of the process, see WithNear; they count as nothing else
	NearEntries int           // values and absences there now, about; some may not be served any more
	NearWaits   time.Duration // how long all invalidations together have waited for near copies to be forgotten
	NearTold    uint64        // invalidations that waited for that, and what is tried again as often as it was

	Verified Verified // hits that WithVerify has compared with the loader

	Invalidations      uint64 // keys given to Invalidate, and entries that InvalidateTags and InvalidateAll found
	InvalidationErrors uint64 // calls of Invalidate, InvalidateTags and InvalidateAll that returned an error

	// PendingInvalidations is how many are being tried again, of keys and tags that are read from the loader meanwhile: those
	// that returned an error, and what Redis did not confirm at the end of InTx. That of a whole Cache counts as one.
	PendingInvalidations int

	RedisErrors uint64 // Redis commands that failed or were not answered in time, except probes of a Redis that is down
	Loading     int    // loads under way now, without those that were left behind after WithLoadTimeout
	Down        bool   // Redis is known to be down, in a Cluster any of its primaries: reads of what it has go to the loader at once
	WritesDown  bool   // Redis is known to take no writes, in a Cluster any of its primaries: what is loaded is not stored there
}

// Verified counts the verdicts of WithVerify, and the loads that they took. None stale of n verdicts means that fewer than 3/n of
// such hits are, with a confidence of 95 %.
type Verified struct {
	Match     uint64 // the loader returned what the hit did
	Unstable  uint64 // two loads in a row differed
	Overtaken uint64 // the entry was no longer the document that was read
	Stale     uint64 // a second later, the entry was still that document, and still differed
	Loads     uint64 // that verifications made; they count among Loads
}

// An Observer is told what a Cache does, for metrics and traces. Any func may be nil.
//
// Read is called on the caller's goroutine, as the last thing that Get and GetMany do. The other funcs are called on a goroutine
// of their own. What they are told of waits until they return: a func must be quick, and must not call the Cache.
//
// A func that panics, or calls runtime.Goexit, ends nothing but its own call: the Cache goes on, and logs it at most every ten
// seconds. Only a Goexit in Read ends the caller's goroutine too. Nobody is told of a logger that panics.
type Observer struct {
	// Read is called at the end of each read: each key that was given to Get or GetMany.
	Read func(ctx context.Context, r ReadInfo)
	// LoadStart is called before each load, and returns the ctx for it: that which it is given, or one that is derived from it. So what
	// it puts there, a span for one, is there for the loader and for the Observer's Load and Fill. LoadOf tells which load it is. If it
	// panics or returns nil, the load has the ctx that it would have without it.
	LoadStart func(ctx context.Context) context.Context
	// Load is called at the end of each load: when the loader has returned and its value is encoded, or when the load was left
	// behind after WithLoadTimeout, whatever its loader does later. Its ctx is that of the load, and may have ended.
	Load func(ctx context.Context, l LoadInfo)
	// Fill is called after Redis answered a fill, or failed to. Its ctx is that of the load.
	Fill func(ctx context.Context, f FillInfo)
	// Invalidate is called at the end of each Invalidate, InvalidateTags and InvalidateAll, with the ctx of its caller. What is
	// tried again in the background, and what InTx does at its end, is not told.
	Invalidate func(ctx context.Context, i InvalidateInfo)
	// Removed is called when entries were removed that InvalidateTags or InvalidateAll had found: during the call, on several
	// goroutines for a Cluster, and where the invalidation is tried again in the background or made by InTx.
	Removed func(ctx context.Context, r RemovedInfo)
	// RedisError is called for each Redis command that failed or was not answered in time, once for several that are sent
	// together and fail alike, and not for probes of a Redis that is down.
	RedisError func(ctx context.Context, r RedisErrorInfo)
	// Verify is called once for each hit that WithVerify has compared with the loader, at its verdict. Its ctx is that of the loads.
	Verify func(ctx context.Context, v VerifyInfo)
	// Down is called when Redis is found to be down, for reads or for writes, and when it is back: in a Cluster, when the first of
	// its primaries is down, and when the last one is back. It is called on a goroutine of its own, one call after the other, in
	// the order of what happened. Nothing but the next call and Close waits for it. It is found once for the
	// caches that share a client and a WithRedisTimeout, and the Observers of each are told. A Cache that is made while Redis is down
	// is told of the next change: Stats has what is known by then.
	Down func(d DownInfo)
}

// Outcome says how a read was answered.
type Outcome string

const (
	Hit       Outcome = "hit"        // a fresh value from Redis
	StaleHit  Outcome = "stale hit"  // a value past its TTL, within WithStale
	AbsentHit Outcome = "absent hit" // a remembered absence
	NearHit   Outcome = "near hit"   // a value, or an absence, from the memory of the process; see WithNear
	Miss      Outcome = "miss"       // none of these: a load, one's own or a joined one, or an error before there was one
)

// ReadInfo describes one read.
type ReadInfo struct {
	Cache   string // the name given to New
	Outcome Outcome
	Err     error // what the caller got, if not a value
	// Name is the Redis key. It is empty for a key that cannot be rendered, and may be where Redis was not to be asked: under Bypass,
	// or with a ctx that has ended.
	Name string
	// Took is how long a miss took. It is 0 for the others, which are not timed.
	Took time.Duration
	// Joined is the ctx of the load that answered a miss which joined another caller's flight, nil for all other reads. It may have
	// ended.
	Joined context.Context
}

// LoadInfo describes one load.
type LoadInfo struct {
	Cache   string
	Keys    int // how many keys it was asked for: 1 except for a batch load
	Took    time.Duration
	Refresh bool // in the background, while the present value was served
	Verify  bool // in the background, to verify a hit
	// Panicked says that the loader did not return: it panicked, or called runtime.Goexit.
	Panicked bool
	// Err is what its callers get, of a batch load the first error that is not ErrNotFound. A load counts in LoadErrors if it has an
	// Err that is not ErrNotFound.
	Err error
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

// InvalidateInfo describes one Invalidate, InvalidateTags or InvalidateAll.
type InvalidateInfo struct {
	Cache string
	Names []string // of Invalidate
	Tags  []string // of InvalidateTags
	All   bool     // it is an InvalidateAll
	Held  bool     // it was called inside InTx, and nothing is cached for these names and tags until that ends
	Took  time.Duration
	Err   error
}

// RemovedInfo describes entries that InvalidateTags or InvalidateAll has found and removed.
type RemovedInfo struct {
	Cache   string
	Entries int
}

// RedisErrorInfo describes commands that failed.
type RedisErrorInfo struct {
	Cache string
	Err   error
}

// Verdict says what the verification of a hit has found.
type Verdict string

const (
	Match     Verdict = "match"     // the loader returns what the hit did
	Unstable  Verdict = "unstable"  // two loads in a row differ: a write just now, or a loader that returns different things
	Overtaken Verdict = "overtaken" // the entry is no longer the document that was read: an invalidation was under way
	Stale     Verdict = "stale"     // a second later the entry is still that document, and differs still: nobody has invalidated it
)

// VerifyInfo describes the verification of a hit.
type VerifyInfo struct {
	Cache   string
	Name    string // the Redis key
	Verdict Verdict
	Age     time.Duration // of the entry, by the clocks of Redis and of this process
}

// DownInfo says whether Redis is down, for a Cache.
type DownInfo struct {
	Cache  string
	Writes bool  // it is about writes: hits are served, what is loaded is not stored; false: reads, which go to the loader
	Err    error // that told so; nil: it is back
}

// What follows hands over what the engine tells, which has types of its own.

func statsOf(s engine.Stats) Stats {
	return Stats{
		Hits:                 s.Hits,
		StaleHits:            s.StaleHits,
		AbsentHits:           s.AbsentHits,
		Misses:               s.Misses,
		Joins:                s.Joins,
		Waits:                s.Waits,
		Loads:                s.Loads,
		LoadErrors:           s.LoadErrors,
		Refreshes:            s.Refreshes,
		Overloaded:           s.Overloaded,
		Fills:                s.Fills,
		Refused:              s.Refused,
		FillErrors:           s.FillErrors,
		Unusable:             s.Unusable,
		Altered:              s.Altered,
		WrongTypes:           s.WrongTypes,
		NearHits:             s.NearHits,
		NearEntries:          s.NearEntries,
		NearWaits:            s.NearWaits,
		NearTold:             s.NearTold,
		Verified:             Verified(s.Verified),
		Invalidations:        s.Invalidations,
		InvalidationErrors:   s.InvalidationErrors,
		PendingInvalidations: s.PendingInvalidations,
		RedisErrors:          s.RedisErrors,
		Loading:              s.Loading,
		Down:                 s.Down,
		WritesDown:           s.WritesDown,
	}
}

// listener is what the engine tells.
func (o Observer) listener() engine.Observer {
	return engine.Observer{
		LoadStart: o.LoadStart,
		Read: told(o.Read, func(r engine.ReadInfo) ReadInfo {
			return ReadInfo{Cache: r.Cache, Outcome: Outcome(r.Outcome), Err: r.Err, Name: r.Name, Took: r.Took, Joined: r.Joined}
		}),
		Load:       told(o.Load, func(l engine.LoadInfo) LoadInfo { return LoadInfo(l) }),
		Fill:       told(o.Fill, func(f engine.FillInfo) FillInfo { return FillInfo(f) }),
		Invalidate: told(o.Invalidate, func(i engine.InvalidateInfo) InvalidateInfo { return InvalidateInfo(i) }),
		Removed:    told(o.Removed, func(r engine.RemovedInfo) RemovedInfo { return RemovedInfo(r) }),
		RedisError: told(o.RedisError, func(r engine.RedisErrorInfo) RedisErrorInfo { return RedisErrorInfo(r) }),
		Verify: told(o.Verify, func(v engine.VerifyInfo) VerifyInfo {
			return VerifyInfo{Cache: v.Cache, Name: v.Name, Verdict: Verdict(v.Verdict), Age: v.Age}
		}),
		Down: downTold(o.Down),
	}
}

// told calls f, if there is one, with what as makes of what the engine says.
func told[E, I any](f func(context.Context, I), as func(E) I) func(context.Context, E) {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, e E) { f(ctx, as(e)) }
}

func downTold(f func(DownInfo)) func(engine.DownInfo) {
	if f == nil {
		return nil
	}
	return func(d engine.DownInfo) { f(DownInfo(d)) }
}

// LoadOf returns what the ctx of a load says of it: all but Took and Err, which are not known yet. ok is false if the ctx is of no
// load. It is for the Observer's LoadStart, and for loaders that serve several caches.
func LoadOf(ctx context.Context) (info LoadInfo, ok bool) {
	l, ok := engine.LoadOf(ctx)
	return LoadInfo(l), ok
}
