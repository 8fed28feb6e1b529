package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside/internal/redisstore"
)

// Stats, Observer and what follows up to counters are the types of these names that package aside shows to users, where each has its
// documentation. Package aside hands over from the one to the other.
type Stats struct {
	Hits                 uint64
	StaleHits            uint64
	AbsentHits           uint64
	Misses               uint64
	Joins                uint64
	Waits                uint64
	Loads                uint64
	LoadErrors           uint64
	Refreshes            uint64
	Overloaded           uint64
	Fills                uint64
	Refused              uint64
	FillErrors           uint64
	Unusable             uint64
	Altered              uint64
	WrongTypes           uint64
	NearHits             uint64
	NearEntries          int
	NearWaits            time.Duration
	NearTold             uint64
	Verified             Verified
	Invalidations        uint64
	InvalidationErrors   uint64
	PendingInvalidations int
	RedisErrors          uint64
	Loading              int
	Down                 bool
	WritesDown           bool
}

type Verified struct {
	Match     uint64
	Unstable  uint64
	Overtaken uint64
	Stale     uint64
	Loads     uint64
}

type Observer struct {
	Read       func(ctx context.Context, r ReadInfo)
	LoadStart  func(ctx context.Context) context.Context
	Load       func(ctx context.Context, l LoadInfo)
	Fill       func(ctx context.Context, f FillInfo)
	Invalidate func(ctx context.Context, i InvalidateInfo)
	Removed    func(ctx context.Context, r RemovedInfo)
	RedisError func(ctx context.Context, r RedisErrorInfo)
	Verify     func(ctx context.Context, v VerifyInfo)
	Down       func(d DownInfo)
}

type Outcome string

const (
	Hit       Outcome = "hit"
	StaleHit  Outcome = "stale hit"
	AbsentHit Outcome = "absent hit"
	NearHit   Outcome = "near hit"
	Miss      Outcome = "miss"
)

type ReadInfo struct {
	Cache   string
	Outcome Outcome
	Err     error
	Name    string
	Took    time.Duration
	Joined  context.Context
}

type LoadInfo struct {
	Cache    string
	Keys     int
	Took     time.Duration
	Refresh  bool
	Verify   bool
	Panicked bool
	Err      error
}

type FillInfo struct {
	Cache   string
	Name    string
	Bytes   int
	Absent  bool
	Refused bool
	Err     error
}

type InvalidateInfo struct {
	Cache string
	Names []string
	Tags  []string
	All   bool
	Held  bool
	Took  time.Duration
	Err   error
}

type RemovedInfo struct {
	Cache   string
	Entries int
}

type RedisErrorInfo struct {
	Cache string
	Err   error
}

type Verdict string

const (
	Match     Verdict = "match"
	Unstable  Verdict = "unstable"
	Overtaken Verdict = "overtaken"
	Stale     Verdict = "stale"
)

type VerifyInfo struct {
	Cache   string
	Name    string
	Verdict Verdict
	Age     time.Duration
}

type DownInfo struct {
	Cache  string
	Writes bool
	Err    error
}

// counters is Stats while it is being counted.
type counters struct {
	hits, staleHits, absentHits, misses, joins, waits atomic.Uint64
	loads, loadErrors, refreshes, overloaded          atomic.Uint64
	fills, refused, fillErrors, unusable, wrongTypes  atomic.Uint64
	altered                                           atomic.Uint64
	invalidations, invalidationErrors, redisErrors    atomic.Uint64
	loading, nearWaits                                atomic.Int64
	nearTold                                          atomic.Uint64
	verified                                          [4]atomic.Uint64 // by the places of verdicts
	verifyLoads                                       atomic.Uint64
}

// verdicts are the verdicts by the places of their counters.
var verdicts = []Verdict{Match, Unstable, Overtaken, Stale}

func (n *counters) snapshot() Stats {
	return Stats{
		Verified: Verified{
			Match: n.verified[0].Load(), Unstable: n.verified[1].Load(), Overtaken: n.verified[2].Load(), Stale: n.verified[3].Load(),
			Loads: n.verifyLoads.Load(),
		},
		Hits: n.hits.Load(), StaleHits: n.staleHits.Load(), AbsentHits: n.absentHits.Load(),
		Misses: n.misses.Load(), Joins: n.joins.Load(), Waits: n.waits.Load(),
		Loads: n.loads.Load(), LoadErrors: n.loadErrors.Load(), Refreshes: n.refreshes.Load(),
		Overloaded: n.overloaded.Load(), Fills: n.fills.Load(), Refused: n.refused.Load(), FillErrors: n.fillErrors.Load(),
		Unusable: n.unusable.Load(), WrongTypes: n.wrongTypes.Load(), Altered: n.altered.Load(),
		Invalidations: n.invalidations.Load(), InvalidationErrors: n.invalidationErrors.Load(),
		RedisErrors: n.redisErrors.Load(), Loading: int(n.loading.Load()), NearWaits: time.Duration(n.nearWaits.Load()), NearTold: n.nearTold.Load(),
	}
}

// A Teller counts what a Cache does, and tells the Observers of it. Each kind of event has one place here that does both, so
// that Stats and Observers agree. What has a beginning and an end is a value: a reading, a loading.
type Teller struct {
	cache     string
	redis     string // its address
	n         counters
	observers []Observer
	Readers   []func(context.Context, ReadInfo) // of the observers, those that there are
	logger    *slog.Logger
	refused   Seldom                    // a command was, by Redis
	unwound   Seldom                    // a func of an Observer was
	unreached atomic.Pointer[time.Time] // when Redis was not reached, or came back, the last time
}

// readersOf returns the Read of each Observer that has one, so that a hit need not look for them.
func readersOf(observers []Observer) (readers []func(context.Context, ReadInfo)) {
	for i := range observers {
		if observers[i].Read != nil {
			readers = append(readers, observers[i].Read)
		}
	}
	return readers
}

// A Reading is one key that Get or GetMany reads. Its outcome is counted as soon as it is known, and it is told when it ends.
type Reading struct {
	Name    string
	Outcome Outcome // "" until it is known
	Err     error
	missed  time.Time       // since when it may be a miss
	Joined  context.Context // of the load of another caller's flight that answered it
}

// Count notes how a read is answered.
func (t *Teller) Count(r *Reading, outcome Outcome) {
	r.Outcome = outcome
	switch outcome {
	case Hit:
		t.n.hits.Add(1)
	case StaleHit:
		t.n.staleHits.Add(1)
	case AbsentHit:
		t.n.absentHits.Add(1)
	case Miss:
		t.n.misses.Add(1)
		t.MayMiss(r)
	}
}

// MayMiss notes when a read began that is a miss, or turns out to be one.
func (t *Teller) MayMiss(r *Reading) {
	if t.Readers != nil && r.missed.IsZero() {
		r.missed = time.Now()
	}
}

// joined notes that another caller's flight answers a read. If that has a document for a read that has not looked, the read is a hit.
func (t *Teller) joined(r *Reading, f *flight) {
	if r.Joined = f.ctx; r.Outcome == Miss || f.adopted == nil {
		t.n.joins.Add(1)
	}
}

// Read ends a read. A read that ended before anything was known of it is a miss.
func (t *Teller) Read(ctx context.Context, r *Reading) {
	if r.Outcome == "" {
		t.Count(r, Miss)
	}
	if r.Outcome == Miss && errors.Is(r.Err, ErrOverloaded) {
		t.n.overloaded.Add(1)
	}
	if t.Readers != nil {
		t.tellRead(ctx, r)
	}
}

func (t *Teller) tellRead(ctx context.Context, r *Reading) {
	info := ReadInfo{Cache: t.cache, Name: r.Name, Outcome: r.Outcome, Err: r.Err, Joined: r.Joined}
	if r.Outcome == Miss {
		info.Took = time.Since(r.missed)
	}
	for _, observe := range t.Readers {
		t.readTo(ctx, observe, info)
	}
}

// readTo tells an Observer of a read, on the caller's goroutine: on one of its own, a hit would cost twice as much. By now a
// Goexit, which cannot be stopped, leaves nothing undone.
func (t *Teller) readTo(ctx context.Context, observe func(context.Context, ReadInfo), r ReadInfo) {
	defer func() {
		if p := recover(); p != nil {
			t.unwinding(panicked(p))
		}
	}()
	observe(ctx, r)
}

// A loading is one call of a loader. It ends once: when the loader has returned, with all that is made of its value, or when
// it is left behind.
type loading struct {
	*Teller
	ctx   context.Context
	info  LoadInfo
	start time.Time
}

// load begins a load, and returns its ctx.
func (t *Teller) load(ctx context.Context, info LoadInfo) (context.Context, loading) {
	t.n.loads.Add(1)
	t.n.loading.Add(1)
	switch {
	case info.Refresh:
		t.n.refreshes.Add(1)
	case info.Verify:
		t.n.verifyLoads.Add(1)
	}
	for i := range t.observers {
		if start := t.observers[i].LoadStart; start != nil {
			ctx = t.startedBy(ctx, start)
		}
	}
	return ctx, loading{t, ctx, info, time.Now()}
}

// startedBy has a LoadStart make the ctx of a load.
func (t *Teller) startedBy(ctx context.Context, start func(context.Context) context.Context) context.Context {
	made, err := isolated(context.Background(), func() context.Context { return start(ctx) })
	if err != nil {
		t.unwinding(err)
	}
	if made == nil {
		return ctx
	}
	return made
}

// end ends a load, with an error that judge has seen, and returns how long it took.
func (l loading) end(err error) (took time.Duration) {
	took = time.Since(l.start)
	l.n.loading.Add(-1)
	if err != nil && !isAbsence(err) {
		l.n.loadErrors.Add(1)
	}
	l.info.Took, l.info.Err, l.info.Panicked = took, err, didNotReturn(err)
	tell(l.ctx, l.Teller, l.info, func(o *Observer) func(context.Context, LoadInfo) { return o.Load })
	return took
}

// ErrNoReturn is what the Observers are told of a load, and of its read, that panicked or called runtime.Goexit on the
// caller's goroutine.
var ErrNoReturn = errors.New("aside: the loader did not return")

func didNotReturn(err error) bool {
	if err == nil {
		return false // before anything is allocated
	}
	return errors.As(err, new(*panicError)) || errors.Is(err, errGoexit) || errors.Is(err, ErrNoReturn)
}

// fill tells of a fill.
func (t *Teller) fill(ctx context.Context, f FillInfo) {
	switch {
	case f.Err != nil:
		t.n.fillErrors.Add(1)
	case f.Refused:
		t.n.refused.Add(1)
	default:
		t.n.fills.Add(1)
	}
	f.Cache = t.cache
	tell(ctx, t, f, func(o *Observer) func(context.Context, FillInfo) { return o.Fill })
}

// invalidate tells of a call that has invalidated.
func (t *Teller) invalidate(ctx context.Context, i InvalidateInfo) {
	t.n.invalidations.Add(uint64(len(i.Names)))
	if i.Err != nil {
		t.n.invalidationErrors.Add(1)
	}
	i.Cache = t.cache
	tell(ctx, t, i, func(o *Observer) func(context.Context, InvalidateInfo) { return o.Invalidate })
}

// removed tells of entries that were found and removed.
func (t *Teller) removed(ctx context.Context, entries int) {
	if entries == 0 {
		return
	}
	t.n.invalidations.Add(uint64(entries))
	info := RemovedInfo{Cache: t.cache, Entries: entries}
	tell(ctx, t, info, func(o *Observer) func(context.Context, RemovedInfo) { return o.Removed })
}

// verify tells of the verdict on a hit.
func (t *Teller) verify(ctx context.Context, v VerifyInfo) {
	t.n.verified[slices.Index(verdicts, v.Verdict)].Add(1)
	v.Cache = t.cache
	tell(ctx, t, v, func(o *Observer) func(context.Context, VerifyInfo) { return o.Verify })
}

// redisFailed tells of a command that failed. The breaker tells that Redis is down. Nobody else
// would tell what a server refuses that is there: a password, a permission, a write when it is out
// of memory.
func (t *Teller) redisFailed(err error) {
	t.n.redisErrors.Add(1)
	if redisstore.Unreachable(err) {
		t.lose()
	} else if t.refused.now() {
		t.logger.Warn("aside: Redis refuses a command", "cache", t.cache, "error", err)
	}
	info := RedisErrorInfo{Cache: t.cache, Err: err}
	tell(context.Background(), t, info, func(o *Observer) func(context.Context, RedisErrorInfo) { return o.RedisError })
}

func (t *Teller) lose() {
	now := time.Now()
	t.unreached.Store(&now)
}

// redisChanged tells that Redis went down or came back.
func (t *Teller) redisChanged(c redisstore.Change) {
	t.lose()
	switch caches := strings.Join(c.Caches, " "); {
	case caches == "": // another Cache logs it
	case c.Kind == redisstore.Reads && c.Err != nil:
		t.logger.Warn("aside: Redis is down, reads go to the loader", "redis", t.redis, "caches", caches, "error", c.Err)
	case c.Kind == redisstore.Reads:
		t.logger.Info("aside: Redis is back", "redis", t.redis, "caches", caches)
	case c.Err != nil:
		t.logger.Warn("aside: Redis takes no writes, what is loaded is not stored", "redis", t.redis, "caches", caches, "error", c.Err)
	default:
		t.logger.Info("aside: Redis takes writes again", "redis", t.redis, "caches", caches)
	}
	info := DownInfo{Cache: t.cache, Writes: c.Kind == redisstore.Writes, Err: c.Err}
	tell(context.Background(), t, info, func(o *Observer) func(context.Context, DownInfo) {
		if o.Down == nil {
			return nil
		}
		return func(_ context.Context, d DownInfo) { o.Down(d) }
	})
}

// tell calls a func of each Observer that has it, on a goroutine of its own: what calls tell may have leases, places or locks,
// and must go on whatever the func does.
func tell[I any](ctx context.Context, t *Teller, info I, funcOf func(*Observer) func(context.Context, I)) {
	for i := range t.observers {
		observe := funcOf(&t.observers[i])
		if observe == nil {
			continue
		}
		_, err := isolated(context.Background(), func() (none struct{}) { observe(ctx, info); return none })
		if err != nil {
			t.unwinding(err)
		}
	}
}

// unwinding logs that a func of an Observer panicked, or called runtime.Goexit.
func (t *Teller) unwinding(err error) {
	if !t.unwound.now() {
		return
	}
	if p := (*panicError)(nil); errors.As(err, &p) {
		t.logger.Error("aside: an Observer panicked", "cache", t.cache, "panic", p.value, "stack", string(p.stack))
	} else {
		t.logger.Error("aside: an Observer called runtime.Goexit", "cache", t.cache)
	}
}

// guardedLogger returns a logger that calls the handler of l on a goroutine of its own, as tell calls Observers. A panic there is
// dropped: there is nobody left to tell.
func guardedLogger(l *slog.Logger) *slog.Logger { return slog.New(guardedHandler{l.Handler()}) }

// A guardedHandler guards what the library calls of a Handler: it has no attributes or groups of its own.
type guardedHandler struct{ slog.Handler }

// Enabled leaves the question to Handle.
func (guardedHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h guardedHandler) Handle(ctx context.Context, r slog.Record) error {
	_, err := isolated(context.Background(), func() error {
		if !h.Handler.Enabled(ctx, r.Level) {
			return nil
		}
		return h.Handler.Handle(ctx, r)
	})
	return err
}

// Seldom lets something be done once in a while: logging what may happen on every read. It goes by the monotonic clock, since
// a wall clock that was set back would silence it for as long.
type Seldom struct{ last atomic.Pointer[time.Time] }

func (s *Seldom) now() bool { return s.At(time.Now()) }

func (s *Seldom) At(now time.Time) bool {
	last := s.last.Load()
	return (last == nil || now.Sub(*last) >= 10*time.Second) && s.last.CompareAndSwap(last, &now)
}
