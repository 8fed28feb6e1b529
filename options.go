package aside

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"
)

// An Option sets one thing of a Cache. New reports an option that cannot be.
type Option func(*config)

// config is what the options set. The functions are kept as they came, since an Option knows neither K nor V; New checks
// their types.
type config struct {
	ttl         time.Duration
	ttlFunc     any // func(K, V) time.Duration
	jitter      float64
	absentTTL   time.Duration
	notFound    []error
	stale       time.Duration
	beta        float64
	batch       any // BatchLoader[K, V]
	tags        any // func(K, V) []string
	key         any // func(K) string
	codec       Codec
	shared      bool
	version     int
	loadTimeout time.Duration
	timeout     time.Duration // Redis
	maxLoads    int
	hold        time.Duration
	lag         time.Duration
	logger      *slog.Logger
	observer    Observer
}

var defaultTimeout = 250 * time.Millisecond // a variable for the tests

func defaults() config {
	return config{
		ttl:         5 * time.Minute,
		jitter:      0.1,
		absentTTL:   30 * time.Second,
		beta:        1,
		codec:       jsonCodec{},
		loadTimeout: 10 * time.Second,
		timeout:     defaultTimeout,
		maxLoads:    100,
		hold:        30 * time.Second,
		logger:      slog.Default(),
	}
}

// WithTTL sets how long a value is fresh; with WithStale on top, it bounds how stale a read can be whose writer did not
// invalidate, unless WithTTLFunc lengthens it. The default is 5 minutes. It must be at least a millisecond.
func WithTTL(d time.Duration) Option { return func(c *config) { c.ttl = d } }

// WithTTLFunc sets the TTL per value, by the key and the value that the loader returned. 0 means the TTL of WithTTL, a
// negative one that the value is not stored. f is not asked about absences, runs at most once for each value that is loaded,
// and must be safe for concurrent use.
func WithTTLFunc[K comparable, V any](f func(K, V) time.Duration) Option {
	return func(c *config) { c.ttlFunc = f }
}

// WithJitter draws each TTL from [TTL*(1-fraction), TTL], so that what was filled together does not expire together.
// The default is 0.1; 0 turns it off. It must be within [0, 1).
func WithJitter(fraction float64) Option { return func(c *config) { c.jitter = fraction } }

// WithAbsentTTL sets how long the absence of a row is remembered, less what WithJitter takes off. The default is 30 seconds;
// 0 turns it off, so that every read of an absent key loads, or joins a load.
func WithAbsentTTL(d time.Duration) Option { return func(c *config) { c.absentTTL = d } }

// WithNotFound names the errors of the loader, besides ErrNotFound and sql.ErrNoRows, that mean that there is no row.
// They are compared with errors.Is, and a remembered absence answers errors.Is for each of them.
func WithNotFound(errs ...error) Option {
	return func(c *config) { c.notFound = append(c.notFound, errs...) }
}

// WithStale keeps values for d past their TTL. In that time a read gets the old value at once, while one process
// refreshes it, and goes on getting it while refreshes fail; those are put off, from 100 ms upwards to 10 s. An
// Invalidate removes stale values as it does fresh ones. The default is 0: a value is served up to its TTL.
func WithStale(d time.Duration) Option { return func(c *config) { c.stale = d } }

// WithEarlyRefresh tunes the refresh of values shortly before their TTL, so that a hot entry never expires under its
// readers: the closer the end and the slower the last load, the likelier a read starts a refresh in the background. It
// is XFetch, of Vattani, Chierichetti and Lowenstein, Optimal Probabilistic Cache Stampede Prevention (VLDB 2015). The
// default beta is 1; more refreshes earlier, up to 1000, and 0 turns it off.
func WithEarlyRefresh(beta float64) Option { return func(c *config) { c.beta = beta } }

// WithBatch gives GetMany a loader of many keys: all that it needs are loaded in one call, but for those of which it finds
// that out later, and all whose refresh is due in another. By default, GetMany calls the Cache's loader for each of them, up to
// 16 at a time, or under Bypass and inside InTx one after the other.
func WithBatch[K comparable, V any](load BatchLoader[K, V]) Option {
	return func(c *config) { c.batch = load }
}

// WithTags names the rows behind a value, other than its own, so that InvalidateTags finds it by them: of the page of a
// product, its category. f may return none, is not asked about absences, runs at most once for each value that is loaded, and
// must be safe for concurrent use. A tag may be any string.
//
// A hit costs nothing more. A miss costs two round trips more if the value has tags, and an index in Redis holds the name
// of each entry for each of its tags, until it expires. By default, values have no tags.
func WithTags[K comparable, V any](f func(K, V) []string) Option {
	return func(c *config) { c.tags = f }
}

// WithKey renders the keys with f, which must give different keys different strings. It is needed where K cannot be
// rendered safely. What f returns is escaped, so it may hold any character. By default the key is rendered by its type;
// see the package comment.
func WithKey[K comparable](f func(K) string) Option { return func(c *config) { c.key = f } }

// WithCodec sets how values become bytes. The default is JSON with the meaning of encoding/json, read by the engine of its
// second version.
func WithCodec(codec Codec) Option { return func(c *config) { c.codec = codec } }

// WithShared lets callers that read the same entry at the same time share one decoded value: a promise of yours that nobody
// modifies what Get returns. It saves copies where many read a hot entry, and decoding if their type cannot be copied, see
// Codec. By default each caller gets a value of its own.
func WithShared() Option { return func(c *config) { c.shared = true } }

// WithVersion sets the version of V's encoding. What another version has stored is a miss, and is replaced by the next
// load. Raise it when old entries would decode into something wrong. The default is 0, and it must not be negative.
func WithVersion(v int) Option { return func(c *config) { c.version = v } }

// WithLoadTimeout bounds one load: its ctx ends then, its callers get an error for which errors.Is with
// context.DeadlineExceeded holds, and a loader that ignores its ctx is left behind, except where it runs on the caller's
// goroutine, see Bypass and InTx. It also bounds how long a read waits for the load of another process before it loads for
// itself. The default is 10 seconds, and it must be at least a millisecond.
func WithLoadTimeout(d time.Duration) Option { return func(c *config) { c.loadTimeout = d } }

// WithRedisTimeout bounds the time that one call spends on Redis, all its commands together, whatever the timeouts of
// the client are, or up to a sixteenth less; a caller whose look was slow and who then joins another's flight may wait
// for what is left to that one besides. The polls of who waits for another process's load are not counted together. The
// default is 250 ms. It must be at least a millisecond, and should be ten round trips or more: a miss takes three, five with
// tags, and what Redis does not answer in time is loaded and not stored.
func WithRedisTimeout(d time.Duration) Option { return func(c *config) { c.timeout = d } }

// WithMaxLoads bounds how many loads of this Cache run at a time, in this process. Reads beyond it wait for a place
// until their ctx ends, and then return ErrOverloaded, so one without a deadline may wait for ever; a refresh that finds no
// place is put off. Reads under Bypass and inside InTx need a place, too. A load that was left behind when it timed out no
// longer counts. A batch load is one. Caches do not share places. The default is 100, and it must be at least 1.
func WithMaxLoads(n int) Option { return func(c *config) { c.maxLoads = n } }

// WithHold sets how long a hold of InTx lasts without being renewed: for how long nothing is cached for a key after the
// process has died inside InTx, or after fn has returned an error. It must outlive the longest time that a COMMIT can be
// in flight, twice over: holds are renewed every third of it, so that is how much of one may be gone when the process
// dies. The default is 30 seconds, and it must be at least a second.
func WithHold(d time.Duration) Option { return func(c *config) { c.hold = d } }

// WithReplicaLag is for loaders that read from a replica of the database that is up to d behind: for d after an
// invalidation nothing is cached for the key, and reads go to the loader: after an Invalidate of any Cache of this name with
// the same client, and after an InvalidateTags of any Cache with that client. InTx releases its holds into that, and they last
// that much longer. InvalidateAll does so for the keys that have an entry or a load under way when it gets to them: a key that
// had neither may be filled with what the replica still has, up to its TTL. The default is 0, and it must be that or at least a
// millisecond.
func WithReplicaLag(d time.Duration) Option { return func(c *config) { c.lag = d } }

// WithLogger sets where the Cache logs what an operator should know: Redis going down, coming back, or refusing commands,
// refreshes that fail, values that cannot be stored. The default is slog.Default.
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.logger = l } }

// WithObserver has o told what the Cache does. The default is nobody.
func WithObserver(o Observer) Option { return func(c *config) { c.observer = o } }

// validate reports every setting that cannot be.
func (c *config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	atLeast := func(option string, d, bound time.Duration) {
		if d < bound {
			bad("%s(%v) must be at least %v", option, d, bound)
		}
	}
	atLeast("WithTTL", c.ttl, time.Millisecond)
	atLeast("WithAbsentTTL", c.absentTTL, 0)
	atLeast("WithStale", c.stale, 0)
	atLeast("WithLoadTimeout", c.loadTimeout, time.Millisecond)
	atLeast("WithRedisTimeout", c.timeout, time.Millisecond)
	atLeast("WithHold", c.hold, time.Second)
	if c.lag != 0 {
		atLeast("WithReplicaLag", c.lag, time.Millisecond)
	}
	if !(c.jitter >= 0 && c.jitter < 1) { // a NaN too
		bad("WithJitter(%v) must be within [0, 1)", c.jitter)
	}
	if !(c.beta >= 0 && c.beta <= maxBeta) {
		bad("WithEarlyRefresh(%v) must be within [0, %v]", c.beta, maxBeta)
	}
	if c.maxLoads < 1 {
		bad("WithMaxLoads(%d) must be at least 1", c.maxLoads)
	}
	if c.version < 0 {
		bad("WithVersion(%d) must be at least 0", c.version)
	}
	if c.codec == nil {
		bad("WithCodec(nil): a codec is needed")
	}
	if c.logger == nil {
		bad("WithLogger(nil): use slog.DiscardHandler for silence")
	}
	for _, err := range c.notFound {
		if err == nil {
			bad("WithNotFound(nil): an error is needed")
		}
	}
	return errors.Join(errs...)
}

const maxBeta = 1000.0

// typed returns the function that an option was given as the type that this Cache needs, the zero F if the option was
// not used.
func typed[F any](option string, given any) (F, error) {
	var want F
	if given == nil {
		return want, nil
	}
	f, ok := given.(F)
	if !ok {
		return want, fmt.Errorf("%s was given a %T, but this cache needs a %v", option, given, reflect.TypeFor[F]())
	}
	if reflect.ValueOf(given).IsNil() {
		return want, fmt.Errorf("%s(nil): a function is needed", option)
	}
	return f, nil
}
