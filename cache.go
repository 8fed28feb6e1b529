package aside

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/engine"
	"github.com/asidecache/aside/internal/redisstore"
)

// A Cache serves the values of a loader from Redis. All its methods may be called concurrently.
type Cache[K comparable, V any] struct {
	core  *engine.Core
	typed typed[K, V]
}

// New makes a Cache of what load returns, under the names "<name>:<key>" in Redis. It does no I/O and starts nothing.
//
// All processes that use the same name on the same Redis share one cache: they must agree on K, V, the codec, the
// version and the tags. The name may hold any character; "a" and "a:b" never meet. New refuses a name that an open Cache of this process
// and client has for another shape of V, codec or version.
//
// New refuses, with errors that name the setting: options out of their bounds or for other types
// than K and V, a K that cannot be rendered (see WithKey), a V that JSON would damage, and a Redis
// client that cannot keep the promises: one with client-side caching, with reads routed to
// replicas, or a redis.Ring. It looks for these in a client of your own making as well: in its
// fields, embedded or not, exported or not, in the structs, pointers, slices and arrays that these
// are, and in interfaces that clients of go-redis implement. It does not look into maps, funcs,
// channels, atomic values and fields of type any. Two things are preconditions: that the clients
// there are none of these, and that a failover client reads from the primary.
func New[K comparable, V any](rdb redis.UniversalClient, name string, load Loader[K, V], opts ...Option) (*Cache[K, V], error) {
	config := engine.Defaults()
	for _, o := range opts {
		if o != nil {
			o(&config)
		}
	}
	c := &Cache[K, V]{core: engine.NewCore(name, config)}
	err := c.core.Validate(rdb, load == nil, c.typed.values.Init(c.core, reflect.TypeFor[V]()), c.typed.init(c.core, load))
	if err == nil {
		err = c.core.Open(&c.typed, reflect.TypeFor[V](), rdb)
	}
	if err != nil {
		return nil, fmt.Errorf("aside: cache %q: %w", name, err)
	}
	return c, nil
}

// Get returns the value of key: from Redis, or else from the loader, whose result it stores.
//
// It blocks until there is a value or ctx ends, and waits for Redis no longer than WithRedisTimeout
// in total (see there for the edge). If ctx is cancelled while Redis does not answer, Get notices
// when that time is over. It never returns an error of Redis: what Redis cannot answer, the loader
// does.
//
// If there is no row, errors.Is holds for the error with ErrNotFound, sql.ErrNoRows, each of WithNotFound, and all that wrap one
// of these, as pgx.ErrNoRows does. A remembered absence has no error of the loader, unless WithNotFoundFunc makes one of the
// key; else its text names the cache and the Redis key. Other errors are the loader's own, that of ctx together with its
// context.Cause, ErrOverloaded, one that says that the load took longer than WithLoadTimeout or ended in runtime.Goexit, or that
// of rendering the key. A loader's panic goes on in the callers of Get that waited for it.
//
// The value belongs to the caller, which may modify it. If the caller leaves, the load that began
// for it goes on, and fills the cache for the next.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (v V, err error) {
	if c.typed.copies != nil {
		if v, err, ok := c.typed.fromNear(ctx, key); ok {
			return v, err
		}
	}
	r := engine.Reading{Err: engine.ErrNoReturn} // until get does
	defer func() { c.core.Teller.Read(ctx, &r) }()
	v, r.Err = c.get(ctx, key, &r)
	return v, r.Err
}

// get notes in r what is known of the read, in case it ends in a panic.
func (c *Cache[K, V]) get(ctx context.Context, key K, r *engine.Reading) (v V, err error) {
	if ctx.Err() != nil {
		return v, engine.EndOf(ctx)
	}
	m := engine.ModeOf(ctx)
	if c.core.Bypassed(m) {
		w := c.typed.newWant(key, c.typed.spelled(key))
		return c.typed.valueOf(w, c.core.LoadHere(ctx, w))
	}
	if r.Name, err = c.typed.nameOf(key); err != nil {
		return v, err
	}
	arrived, b := c.core.Clock.Tick(), redisstore.NewBudget(c.core.Config.Timeout)
	if m == nil && c.core.AsksAtOnce(r.Name) {
		w := c.typed.newWant(key, r.Name)
		c.core.MayMiss(r)
		err = c.core.Miss(ctx, m, arrived, r, w, b)
		if e := w.Adopted; e != nil {
			c.hit(ctx, m, key, r, e)
		} else {
			c.core.Count(r, engine.Miss)
		}
		return c.typed.valueOf(w, err)
	}
	noted := c.typed.noteNear(r.Name)
	found := c.core.Find(ctx, m, &b, r.Name)
	if ctx.Err() != nil {
		return v, engine.EndOf(ctx)
	}
	if c.core.Answers(r.Name, &found.Entry, found.Shared) {
		sighted := c.core.Sights(m, r.Name, &found.Entry)
		v, err = c.typed.take(key, r.Name, &found.Entry, found.Shared)
		c.typed.verify(ctx, key, sighted, err)
		if err != engine.ErrUnusable {
			if c.typed.copies != nil {
				c.typed.keepNear(key, r.Name, noted, &found.Entry, v, err)
			}
			c.hit(ctx, m, key, r, &found.Entry)
			return v, err
		}
	}
	w := c.typed.newWant(key, r.Name)
	w.Unusable = c.core.Unusable(&found.Entry, found.Doc)
	c.core.Count(r, engine.Miss)
	err = c.core.Miss(ctx, m, arrived, r, w, b)
	return c.typed.valueOf(w, err)
}

// hit notes that a document has answered a read, and starts its refresh when that is due.
func (c *Cache[K, V]) hit(ctx context.Context, m *engine.Mode, key K, r *engine.Reading, e *document.Entry) {
	if c.core.Hit(m, r, e, time.Now()) {
		w, source := c.typed.newWant(key, r.Name), *e // nearly no hit gets here, and e need not be allocated for it
		w.Source = &source
		c.core.StartRefresh(ctx, []*engine.Want{w}, false)
	}
}

// Stats returns what the Cache has done so far.
func (c *Cache[K, V]) Stats() Stats { return statsOf(c.core.Stats()) }

// Close is Shutdown without a bound of its own.
func (c *Cache[K, V]) Close() error { return c.Shutdown(context.Background()) }

// Shutdown waits for the Cache's work in the background until ctx ends: the loads under way, those of refreshes and those whose
// callers have left among them, and their fills. All loads end by WithLoadTimeout. It does not wait for reads that have no place
// among WithMaxLoads yet, or wait for another process's load: they go on as reads of a closed Cache. It does not close the Redis
// client. Reads of a closed Cache go to the loader, on the caller's goroutine, and fill nothing; Invalidate works as before, but is
// not tried again, so a service may close its caches while its last requests end.
//
// If ctx ends first, the error says so, with that of ctx; the Cache is closed all the same, and what goes on goes on. Else it
// returns an error if there are invalidations that Redis has not confirmed, after it has tried them once more: what
// is cached for their keys may be served by other processes until its TTL. Another Cache of this process that shares them goes
// on trying, see Invalidate.
func (c *Cache[K, V]) Shutdown(ctx context.Context) error { return c.core.Shutdown(ctx) }
