package aside

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"
)

// A Cache serves the values of a loader from Redis. All its methods may be called concurrently.
type Cache[K comparable, V any] struct {
	name       string
	prefix     string // of all its Redis keys
	config     config
	load1      Loader[K, V]
	batch      BatchLoader[K, V]        // nil if none
	ttlFunc    func(K, V) time.Duration // nil if none
	tagsFunc   func(K, V) []string      // nil if none
	appendKey  func([]byte, K) ([]byte, error)
	nilPointer bool     // V is a pointer, and a nil one means that there is no row
	deepen     deepener // nil if V cannot be copied, or there is no need to
	notFound   []error
	absent     error // what a remembered absence returns

	store      *store
	places     *places
	clock      clock
	flights    singleflight.Group // that use Redis
	direct     singleflight.Group // that do not
	refreshing refreshing
	lastTook   atomic.Int64 // ms of a load, see await
	owed       *owed
	owedTags   *owed
	background background
	logged     seldom // of an entry
	refused    seldom // of Redis
	n          counters
}

// New makes a Cache of what load returns, under the names "<name>:<key>" in Redis. It does no I/O and starts nothing.
//
// All processes that use the same name on the same Redis share one cache: they must agree on K, V, the codec, the
// version and the tags. The name may hold any character; "a" and "a:b" never meet.
//
// New refuses, with errors that name the setting: options out of their bounds or for other types than K and V, a K that
// cannot be rendered (see WithKey), a V that JSON would damage, and a Redis client that cannot keep the promises: one
// with client-side caching, with reads routed to replicas, or a redis.Ring.
func New[K comparable, V any](rdb redis.UniversalClient, name string, load Loader[K, V], opts ...Option) (*Cache[K, V], error) {
	config := defaults()
	for _, o := range opts {
		if o != nil {
			o(&config)
		}
	}
	c := &Cache[K, V]{name: name, prefix: name + ":", config: config, load1: load}
	err := errors.Join(
		c.validate(rdb),
		config.validate(),
		c.bind(),
	)
	if err != nil {
		return nil, fmt.Errorf("aside: cache %q: %w", name, err)
	}
	c.notFound = append([]error{ErrNotFound, sql.ErrNoRows}, config.notFound...)
	c.absent = &notFoundError{also: config.notFound}
	c.places = newPlaces(config.maxLoads)
	c.connect(rdb)
	return c, nil
}

// validate checks what is no option.
func (c *Cache[K, V]) validate(rdb redis.UniversalClient) error {
	errs := []error{checkClient(rdb)}
	if c.name == "" {
		errs = append(errs, errors.New("the name is empty"))
	}
	if c.load1 == nil {
		errs = append(errs, errors.New("the loader is nil"))
	}
	t := reflect.TypeFor[V]()
	if deepen, ok := deepenerOf(t); ok {
		c.deepen = deepen
		c.config.shared = c.config.shared || deepen == nil
	}
	c.nilPointer = t.Kind() == reflect.Pointer
	if _, ok := c.config.codec.(jsonCodec); ok {
		codec, err := jsonCodecOf(t)
		errs = append(errs, err)
		c.config.codec = codec
	}
	return errors.Join(errs...)
}

// bind gives the functions among the options the types that an Option does not have.
func (c *Cache[K, V]) bind() error {
	var batchErr, ttlErr, tagsErr, renderErr error
	c.batch, batchErr = typed[BatchLoader[K, V]]("WithBatch", c.config.batch)
	c.ttlFunc, ttlErr = typed[func(K, V) time.Duration]("WithTTLFunc", c.config.ttlFunc)
	c.tagsFunc, tagsErr = typed[func(K, V) []string]("WithTags", c.config.tags)
	custom, keyErr := typed[func(K) string]("WithKey", c.config.key)
	if keyErr == nil {
		c.appendKey, renderErr = keyRenderer(custom)
	}
	return errors.Join(batchErr, ttlErr, tagsErr, keyErr, renderErr)
}

// connect makes the Redis side.
func (c *Cache[K, V]) connect(rdb redis.UniversalClient) {
	c.store = &store{
		client:  newBounded(rdb, c.config.timeout),
		timeout: c.config.timeout,
		lease:   max(2*time.Second, 4*c.config.timeout),
		nonces:  newNonces(),
		failed:  c.redisFailed,
	}
	c.owed, c.owedTags = owedOf(rdb, c.prefix), owedOf(rdb, "")
	c.owed.lags(c.config.lag)
	c.owedTags.lags(c.config.lag)
	c.background.init()
	b := newBreaker(rdb)
	b.closing, b.start, b.changed = c.background.closing, c.background.start, c.redisChanged
	b.probe = c.probe
	c.store.breaker = b
}

// Get returns the value of key: from Redis, or else from the loader, whose result it stores.
//
// It blocks until there is a value or ctx ends, and on Redis no longer than WithRedisTimeout, all its commands together
// (see there for the edge, and the package comment for a ctx that is cancelled while Redis does not answer). It never
// returns an error of Redis: what Redis cannot answer, the loader does.
//
// If there is no row, the error answers errors.Is for ErrNotFound, sql.ErrNoRows and each of WithNotFound. Other errors
// are the loader's own, that of ctx, ErrOverloaded, one that says that the load took longer than WithLoadTimeout or ended in
// runtime.Goexit, or that of rendering the key. A loader's panic goes on in the callers of Get that waited for it.
//
// The value belongs to the caller, who may modify it. A load that began for a caller who left goes on, and fills the
// cache for the next.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (V, error) {
	r := ReadInfo{Cache: c.name, Outcome: Miss}
	if observe := c.config.observer.Read; observe != nil {
		r.Err = errNoReturn // until get does
		defer func() { observe(ctx, r) }()
	}
	v, err := c.get(ctx, key, &r)
	r.Err = err
	return v, err
}

// get notes in r what is known of the read, should it end in a panic.
func (c *Cache[K, V]) get(ctx context.Context, key K, r *ReadInfo) (v V, err error) {
	if err := ctx.Err(); err != nil {
		return v, err
	}
	m := modeOf(ctx)
	if c.bypassed(m) {
		return c.loadHere(ctx, key)
	}
	name, err := c.nameOf(key)
	if err != nil {
		return v, err
	}
	r.Name = name
	arrived := c.clock.tick()
	b := newBudget(c.config.timeout)
	var unusable []byte
	if c.usable(name) && !m.wrote(c, name) {
		found := c.store.look(ctx, &b, name)
		if err := ctx.Err(); err != nil {
			return v, err
		}
		if found.err != nil {
			c.lookFailed(name, &b, found.err)
		}
		e := parse(found.doc)
		if v, err = c.read(&e, found.shared); err != errUnusable {
			r.Outcome = c.hit(ctx, m, key, name, &e)
			return v, err
		}
		unusable = c.unusable(&e, found.doc)
	}
	c.n.misses.Add(1)
	if m.inTx() {
		return c.loadHere(ctx, key)
	}
	return c.miss(ctx, arrived, &want[K, V]{key: key, name: name, unusable: unusable}, b)
}

// lookFailed has the rest of a call do without Redis.
func (c *Cache[K, V]) lookFailed(name string, b *budget, err error) {
	b.spend()
	if isWrongType(err) {
		c.foreign(name)
	}
}

// errUnusable says that a document is no answer: there is none, it is no value, or it cannot be read.
var errUnusable = errors.New("aside: unusable document")

// answers reports whether a document answers a read, if its value can be decoded. One that is not ours does as long as it
// is fresh: nobody could claim its refresh.
func (c *Cache[K, V]) answers(e *entry) bool {
	return (e.state == present || e.state == absent) && e.version == c.config.version &&
		(e.ours || time.Now().UnixMilli() <= e.fresh)
}

// read takes the value, or the absence, out of a document, if it answers. Others may share it.
func (c *Cache[K, V]) read(e *entry, shared *decoding) (V, error) {
	if !c.answers(e) {
		var zero V
		return zero, errUnusable
	}
	return c.take(e, shared)
}

// take is read, for a document that is known to answer.
func (c *Cache[K, V]) take(e *entry, shared *decoding) (V, error) {
	var zero V
	if e.state == absent {
		return zero, c.absent
	}
	v, ok := c.decodeFor(shared, e.value)
	if !ok {
		return zero, errUnusable
	}
	return v, nil
}

// decodeFor decodes for one of those who share data: once for all, if they may share the value or can have copies of it.
func (c *Cache[K, V]) decodeFor(shared *decoding, data []byte) (v V, ok bool) {
	switch {
	case shared == nil:
		return c.decode(data)
	case !c.config.shared && c.deepen == nil:
		return c.decode(c.unshared(data))
	}
	shared.once.Do(func() { shared.value, shared.ok = c.decode(c.unshared(data)) })
	v, _ = shared.value.(V)
	if c.config.shared {
		return v, shared.ok
	}
	return c.deepCopy(v), shared.ok
}

func (c *Cache[K, V]) deepCopy(v V) V {
	c.deepen(reflect.ValueOf(&v).Elem())
	return v
}

// decode makes a value that shares memory with no other.
func (c *Cache[K, V]) decode(data []byte) (v V, ok bool) {
	if data == nil {
		return v, false
	}
	err := c.unmarshal(data, &v)
	if err == nil && !c.isNil(v) {
		return v, true
	}
	if c.logged.now() {
		c.config.logger.Warn("aside: a value cannot be decoded, so it is loaded", "cache", c.name, "error", err)
	}
	var zero V
	return zero, false
}

// unmarshal calls the codec. What makes it panic is unreadable, too.
func (c *Cache[K, V]) unmarshal(data []byte, v *V) (err error) {
	defer codecPanicked(&err)
	return c.config.codec.Unmarshal(data, v)
}

// unshared returns data of its own for a value that is decoded from it to keep. What a codec writes may be memory of a value,
// and what it reads may become so; encoding/json's never is.
func (c *Cache[K, V]) unshared(data []byte) []byte {
	if _, ok := c.config.codec.(jsonCodec); ok {
		return data
	}
	return bytes.Clone(data)
}

// isNil reports whether v is a nil pointer, which stands for no row.
func (c *Cache[K, V]) isNil(v V) bool {
	return c.nilPointer && reflect.ValueOf(&v).Elem().IsNil()
}

// hit counts a read that a document has answered, and starts its refresh when that is due.
func (c *Cache[K, V]) hit(ctx context.Context, m *mode, key K, name string, e *entry) Outcome {
	now := time.Now()
	outcome := c.outcome(e, now)
	if c.due(e, now) && !m.inTx() {
		source := *e // nearly no hit gets here, and e need not be allocated for it
		c.startRefresh(ctx, []*want[K, V]{{key: key, name: name, source: &source}}, false)
	}
	return outcome
}

// outcome counts and names the kind of a hit.
func (c *Cache[K, V]) outcome(e *entry, now time.Time) Outcome {
	switch {
	case e.state == absent:
		c.n.absentHits.Add(1)
		return AbsentHit
	case now.UnixMilli() > e.fresh:
		c.n.staleHits.Add(1)
		return StaleHit
	default:
		c.n.hits.Add(1)
		return Hit
	}
}

// unusable returns the document of e if a lease should replace it: it is neither missing nor in a state that passes.
func (c *Cache[K, V]) unusable(e *entry, doc []byte) []byte {
	switch e.state {
	case unknown, present, absent:
		c.n.unusable.Add(1)
		return doc
	default:
		return nil
	}
}

// nameOf is the Redis key of key.
func (c *Cache[K, V]) nameOf(key K) (string, error) {
	name, err := c.appendKey(append(make([]byte, 0, 64), c.prefix...), key)
	return unsafe.String(unsafe.SliceData(name), len(name)), err // nobody writes to it any more
}

// Stats returns what the Cache has done so far.
func (c *Cache[K, V]) Stats() Stats {
	s := c.n.snapshot()
	s.Down = c.store.breaker.down()
	s.Owed = c.owedCount()
	return s
}

// Close waits for the Cache's work in the background: refreshes, and loads whose callers have left. Both end by
// WithLoadTimeout, or twice that for a load that first waits for another process's lease; what a GetMany without a batch loader
// began, by that for each 16 of its keys. It does not close the Redis client. Reads of a closed Cache go to the loader and fill
// nothing; Invalidate works as before, but is not tried again, so a service may close its caches while its last requests end.
//
// It returns an error if there are invalidations that Redis has not confirmed, after it has tried them once more: what
// is cached for their keys may be served by other processes until its TTL. Another Cache of this process that shares them goes
// on trying, see Invalidate and InvalidateTags.
func (c *Cache[K, V]) Close() error {
	c.background.close()
	return c.unpaid()
}

// Bypass returns a ctx under which every Cache reads through: Get and GetMany call the loader, with this ctx, on the
// caller's goroutine, and neither use nor fill what is cached. It is for reads that must see the source itself: inside a
// transaction, or before a write that depends on what was read. Invalidate is not affected.
func Bypass(ctx context.Context) context.Context {
	return context.WithValue(ctx, modeKey{}, &mode{bypass: true, tx: txOf(ctx)})
}

// bypassed reports whether a read goes to the loader and nowhere else.
func (c *Cache[K, V]) bypassed(m *mode) bool {
	return m != nil && m.bypass || c.background.closing.Err() != nil
}

// usable reports whether a name may be read from Redis: it answers, and no invalidation of the name is owed to it.
func (c *Cache[K, V]) usable(name string) bool {
	return c.store.breaker.up(name) && !c.owes(name) && !c.owesTags()
}

// redisFailed counts a command that failed. That Redis is down is told by the breaker; what a server refuses that is there
// (a password, a permission, a write for want of memory) would be told by nobody.
func (c *Cache[K, V]) redisFailed(err error) {
	c.n.redisErrors.Add(1)
	if !unreachable(err) && c.refused.now() {
		c.config.logger.Warn("aside: Redis refuses a command", "cache", c.name, "error", err)
	}
	if observe := c.config.observer.RedisError; observe != nil {
		observe(context.Background(), RedisErrorInfo{Cache: c.name, Err: err})
	}
}

// redisChanged logs that Redis went down or came back.
func (c *Cache[K, V]) redisChanged(down bool, err error) {
	if down {
		c.config.logger.Warn("aside: Redis is down, reads go to the loader", "cache", c.name, "error", err)
	} else {
		c.config.logger.Info("aside: Redis is back", "cache", c.name)
	}
	if observe := c.config.observer.Down; observe != nil {
		observe(DownInfo{Cache: c.name, Err: err})
	}
}

// foreign counts a name under which something lies that is no string.
func (c *Cache[K, V]) foreign(name string) {
	c.n.wrongTypes.Add(1)
	if c.logged.now() {
		c.config.logger.Warn("aside: not a string, so not a cache entry: reads go to the loader", "cache", c.name, "name", name)
	}
}
