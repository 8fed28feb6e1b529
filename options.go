package aside

import (
	"context"
	"crypto/cipher"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"time"

	"github.com/asidecache/aside/internal/engine"
)

// An Option sets one thing of a Cache. New reports an option that cannot be.
type Option func(*engine.Config)

// WithTTL sets how long a value is fresh; with WithStale on top, it bounds how stale a read can be whose writer did not
// invalidate, unless WithTTLFunc lengthens it. The default is 5 minutes. It must be at least a millisecond.
func WithTTL(d time.Duration) Option { return func(c *engine.Config) { c.TTL = d } }

// WithTTLFunc sets the TTL per value, by the key and the value that the loader returned. A value for which f returns zero or less
// is not stored: so it is right to return time.Until of when the value ends, whether or not that is cut off at 0. DefaultTTL
// stands for the TTL of WithTTL. f is not asked about absences, runs at most once for each value that is loaded, and must be safe
// for concurrent use.
func WithTTLFunc[K comparable, V any](f func(K, V) time.Duration) Option {
	return func(c *engine.Config) { c.TTLFunc = f }
}

// DefaultTTL is what the function of WithTTLFunc returns for the TTL of WithTTL. It is no length of time, and no computation
// gives it by accident: time.Until, for one, returns the ends of the range where it cannot count.
const DefaultTTL time.Duration = math.MinInt64 + 161_803_398_874_989

// WithJitter draws each TTL from [TTL*(1-fraction), TTL], so that what was filled together does not expire together.
// The default is 0.1; 0 turns it off. It must be within [0, 1).
func WithJitter(fraction float64) Option { return func(c *engine.Config) { c.Jitter = fraction } }

// WithAbsentTTL sets how long the absence of a row is remembered, less what WithJitter takes off. The default is 30 seconds;
// 0 turns it off, so that every read of an absent key loads, or joins a load.
func WithAbsentTTL(d time.Duration) Option { return func(c *engine.Config) { c.AbsentTTL = d } }

// WithNotFound names further errors of the loader that mean that there is no row, as ErrNotFound and sql.ErrNoRows do:
// gorm.ErrRecordNotFound, or pgx.ErrNoRows before pgx 5.7, which did not wrap sql.ErrNoRows yet. They are compared with
// errors.Is. For a remembered absence, errors.Is holds with each of them, with what they wrap, and with what wraps them.
// Not-found errors that are a type need WithNotFoundFunc. WithNotFound may be given several times. By default there are none.
func WithNotFound(errs ...error) Option {
	return func(c *engine.Config) { c.NotFound = append(c.NotFound, errs...) }
}

// WithNotFoundFunc is for not-found errors that are a type, and not one value: ent's, a gRPC status, a NotFound{ID} of one's
// own. is tells whether an error of the loader means that there is no row. remembered makes the error for a key whose absence
// is remembered; what Get returns then wraps it, and has its text:
//
//	users, err := aside.New(rdb, "user", repo.UserByID, aside.WithNotFoundFunc(
//		func(err error) bool { return status.Code(err) == codes.NotFound },
//		func(id int64) error { return status.Errorf(codes.NotFound, "user %d not found", id) }))
//
// is should hold for what remembered makes: then callers that ask is get one answer, whether the
// absence was loaded or is remembered. For the same reason, an absence that was loaded wraps what
// remembered makes of the key as well, behind what the loader returned, and has the loader's text.
// If remembered returns nil, the absence has the error that it has without it.
//
// WithNotFoundFunc and WithNotFound may both be given. Then an error means that there is no row if either says so, and
// errors.Is holds for a remembered absence with each of WithNotFound.
//
// Both funcs must be quick and safe for concurrent use. is runs at the end of the load, as the
// loader's code does: if it panics, the callers that wait for the load get the panic. remembered
// runs there as well. It also runs when Get or GetMany finds a remembered absence, and their
// callers get its panic. By default there are none.
func WithNotFoundFunc[K comparable](is func(error) bool, remembered func(K) error) Option {
	return func(c *engine.Config) { c.NotFoundIs, c.Remembered = is, remembered }
}

// WithStale keeps values for d past their TTL. In that time a read gets the old value at once, while one process
// refreshes it, and goes on getting it while refreshes fail; those are put off, from 100 ms upwards to 10 s. An
// Invalidate removes stale values as it does fresh ones. The default is 0: a value is served up to its TTL.
func WithStale(d time.Duration) Option { return func(c *engine.Config) { c.Stale = d } }

// WithEarlyRefresh tunes the refresh of values shortly before their TTL, so that a hot entry never expires under its
// readers: the closer the end and the slower the last load, the likelier a read starts a refresh in the background. It
// is XFetch, of Vattani, Chierichetti and Lowenstein, Optimal Probabilistic Cache Stampede Prevention (VLDB 2015). The
// default beta is 1; more refreshes earlier, up to 1000, and 0 turns it off.
func WithEarlyRefresh(beta float64) Option { return func(c *engine.Config) { c.Beta = beta } }

// WithBatch gives GetMany a loader of many keys. It loads all keys that it needs in one call,
// except those that it finds later to need a load. All keys whose refresh is due are loaded in
// another call. By default, GetMany calls the Cache's loader for each of them, up to 16 at a time
// as places come free (see WithMaxLoads), or under Bypass and inside InTx one after the other.
func WithBatch[K comparable, V any](load BatchLoader[K, V]) Option {
	return func(c *engine.Config) { c.Batch = load }
}

// WithTags names the rows behind a value, other than its own, so that InvalidateTags finds the
// value by them: for the page of a product, its category. f may return none, and is not asked about
// absences. It runs at most once for each value that is loaded, and must be safe for concurrent
// use. A tag may be any string. A value with more than 1,000 different tags is returned and not
// stored, which is logged.
//
// A hit costs nothing more, and its document names the tags. Once a minute the process looks up in Redis whether the index of a
// tag still has the entries that were hit. A miss costs two round trips more if the value has tags, and an index in Redis holds the name
// of each entry for each of its tags, until it expires. By default, values have no tags.
func WithTags[K comparable, V any](f func(K, V) []string) Option {
	return func(c *engine.Config) { c.Tags = f }
}

// WithScope says whose tags and near copies these are, where several applications share a Redis: InvalidateTags reaches
// the caches of its own scope, and no application needs to touch the entries or the Redis keys of another. All caches of
// one name must have one scope; New refuses a second one for a client and name as long as another Cache of them is open.
// A scope may be any string. The default is "", which is a scope as well.
func WithScope(scope string) Option { return func(c *engine.Config) { c.Scope = scope } }

// WithKey renders the keys with f, which must give different keys different strings. It is needed where K cannot be
// rendered safely. What f returns is escaped, so it may hold any character. By default the key is rendered by its type;
// see the page docs/keys.md.
func WithKey[K comparable](f func(K) string) Option { return func(c *engine.Config) { c.Key = f } }

// WithCodec sets how values become bytes. The default is JSON with the meaning of encoding/json, read by the engine of its
// second version.
func WithCodec(codec Codec) Option { return func(c *engine.Config) { c.Codec = codec } }

// WithSeal has everything that Redis holds of a row sealed: values, and remembered absences. The first AEAD seals, and each of them
// opens, so a key is rotated by WithSeal(newer, older) until the entries of the older one have expired. AES-GCM, ChaCha20-Poly1305 and
// any other will do; New makes no key and keeps none.
//
// What is sealed is bound to its entry: to the name of the Cache, the rendered key, the version
// with the shape of V, and whether it is a value or an absence. The sealed bytes say when the entry
// expires at latest, by the clock of the process that stored it. Every read compares that with its
// own clock. So a process whose clock is ahead serves an entry for that much shorter, and one whose
// clock is ahead by more than the TTL serves none. An attacker who can write to Redis, and has no
// key, can slow a Cache down. The attacker can bring back, or keep, what was stored for this key
// and has not expired yet, even after Invalidate returned nil. But no attacker can have a Cache
// return a made-up row, or one of another key, another Cache or another type. docs/security.md has
// the rest.
//
// What cannot be opened, or has expired, is a miss, which the next load replaces. It counts in
// Stats.Unusable and is logged. The same holds for a document that is not sealed, and for a sealed
// document that a Cache without WithSeal finds: turn WithSeal on as you would change WithVersion.
//
// Each fill seals with a random nonce, of the length that the AEAD wants; with one of 96 bits, a
// key is good for 2^32 fills of all processes together. Names, tags and lengths are not sealed: see
// WithKey for keys that are secrets. An AEAD must be safe for concurrent use. If an AEAD panics,
// the entry is loaded and not stored. By default nothing is sealed. New refuses no AEAD, and nil.
func WithSeal(aeads ...cipher.AEAD) Option {
	return func(c *engine.Config) { c.AEADs = append([]cipher.AEAD{}, aeads...) }
}

// WithShared lets callers that read the same entry at the same time share one decoded value: a promise of yours that nobody
// modifies what Get returns. It saves copies where many read a hot entry, and decoding if their type cannot be copied, see
// Codec. By default each caller gets a value of its own.
func WithShared() Option { return func(c *engine.Config) { c.Shared = true } }

// WithVersion sets a version of V, beside the shape of V (see WithShape): what was stored with another version or another
// shape is a miss, and is replaced by the next load. Raise it when old entries would decode into something wrong and the shape
// does not show it: when a field keeps its name and type but has another meaning or unit, when a MarshalJSON writes something
// else, when another codec is used. The default is 0, and it must not be negative.
//
// While processes of two versions run side by side, as during a deployment, each takes the entries of the other for misses
// and replaces them. So an entry that both read is loaded again and again, at most once at a time, until the older processes
// have ended. If the database cannot bear that, give the new version another name of the Cache: then each loads its
// entries once, and the writers must invalidate both.
func WithVersion(v int) Option { return func(c *engine.Config) { c.Version = v } }

// WithShape replaces the shape of V. By default, New makes it from the type: the names under which
// the codec writes fields, and their types, with the names and types of their fields, and so on. So
// a field that is added, removed or renamed, or gets another type, makes misses of the old entries,
// as WithVersion does, which is a version of its own beside the shape. With the default codec,
// these do not matter: the names of types and packages, the order of fields, what is unexported or
// tagged json:"-", omitempty and omitzero, and tags other than json. With any other codec, the
// order and the tags of fields do, and so do the contents of a protobuf message with the opaque
// API. A type that writes itself, with a MarshalJSON or MarshalText (with any other codec also a
// MarshalBinary or GobEncode), counts by its name and its exported fields. What lies behind an
// interface does not count.
//
// Give a shape where you know better: where programs with different types of V share a Cache, or where a field is added
// whose zero is right for old entries and the database cannot bear to load all of them. Processes with the same shape and
// version read each other's entries. With WithShape(""), WithVersion alone is the version.
func WithShape(shape string) Option { return func(c *engine.Config) { c.Shape = &shape } }

// WithLoadContext has f make the ctx of a load from that of its first caller. The values of what f returns are those that the load
// has, and the Redis commands that belong to it. Its cancellation and its deadline are not: a load may serve others than its
// first caller, so it ends after WithLoadTimeout alone. The Observer's Load and Fill are given that ctx as well.
//
// f is called for each load that does not run on its caller's goroutine, whether of Get, of GetMany
// or of a refresh, and for callers that turn out to join a load. It runs on the caller's goroutine,
// before its read returns, so it may read a ctx that a framework uses again after the request, as
// those of gin and fiber. It should copy what loads need, such as a trace id, into a ctx of their
// own:
//
//	aside.WithLoadContext(func(ctx context.Context) context.Context {
//		return context.WithValue(context.Background(), tenantKey{}, ctx.Value(tenantKey{}))
//	})
//
// If f returns nil, the read returns an error, and a refresh is put off. By default, a load has the values of its first caller's
// ctx, and a refresh, which no caller waits for, has none.
func WithLoadContext(f func(ctx context.Context) context.Context) Option {
	return func(c *engine.Config) { c.LoadContext = f }
}

// WithLoadTimeout bounds one load. When the time is over, its ctx ends, and its callers get an
// error for which errors.Is with context.DeadlineExceeded holds. A loader that ignores its ctx is
// left behind, except where it runs on the caller's goroutine, see Bypass and InTx. It also bounds
// how long a read waits for the load of another process before it loads for itself; a read inside a
// load waits for a far shorter time, see Loader. The default is 10 seconds, and it must be at least
// a millisecond.
func WithLoadTimeout(d time.Duration) Option { return func(c *engine.Config) { c.LoadTimeout = d } }

// WithRedisTimeout bounds the time that one call waits for Redis in total, whatever the timeouts of
// the client are. The bound may be up to a sixteenth shorter. A caller whose look was slow, and
// that then joins another caller's flight, may wait in addition for the time that this flight has
// left. While a caller waits for another process's load, its polls are not added up. The default is
// 250 ms. It must be at least a millisecond, and should be ten round trips or more: a miss takes
// three, five with tags, and what Redis does not answer in time is loaded and not stored. A
// connection that takes longer to be made is made in the background, and a value that takes longer
// to be read is left alone for a while, see docs/outages.md.
func WithRedisTimeout(d time.Duration) Option { return func(c *engine.Config) { c.Timeout = d } }

// WithMaxLoads bounds how many loads of this Cache run at a time, in this process. Reads beyond it wait for a place
// until their ctx ends, and then return ErrOverloaded, so one without a deadline may wait for ever. A refresh that finds no
// place is put off. A load that was left behind when it timed out no longer counts. A batch load is one. Caches do not share
// places. The default is 100, and it must be at least 1.
//
// Reads under Bypass, inside InTx and of a closed Cache need no place and do not count: they may hold a connection to the
// database, for which loads that have places may be waiting. A read inside a load waits for a place only for a short time, and
// then loads in the place of that load; see Loader.
func WithMaxLoads(n int) Option { return func(c *engine.Config) { c.MaxLoads = n } }

// WithHold sets how long a hold of InTx lasts without being renewed: for how long nothing is cached for a key after the
// process has died inside InTx, or after fn has returned an error. It must outlive the longest time that a COMMIT can be
// in flight, three times over: holds are renewed every third of it, and where Redis is slow or they are very many, another third
// may pass. So two thirds of a hold may be gone when the process dies. Where more is gone, Invalidate returns an error, see
// InTx: a transaction of very many keys needs a WithHold of three times as long as it takes to place their holds. The default is
// 30 seconds, and it must be at least a second.
func WithHold(d time.Duration) Option { return func(c *engine.Config) { c.Hold = d } }

// WithReplicaLag is for loaders that read from a replica of the database that is up to d behind.
// For d after an invalidation nothing is cached for the key, and reads go to the loader. That holds
// after an Invalidate of any Cache of this name with the same client, and after an InvalidateTags
// of any Cache with that client. InTx releases its holds into that, so they last that much longer.
// InvalidateAll does this for the keys that have an entry or a load under way when it gets to them.
// A key that had neither may be filled with what the replica still has, up to its TTL. If very many
// invalidations have failed, they are pending as the whole Cache or as every tag. They are made
// once Redis is back, and once more when d is over, and are pending until then. The default is 0,
// and it must be that or at least a millisecond.
func WithReplicaLag(d time.Duration) Option { return func(c *engine.Config) { c.Lag = d } }

// WithNear keeps up to so many values, and absences, of this Cache in the memory of the process, and serves reads from there, without
// a round trip. What Invalidate and WithTags, WithReplicaLag and InTx promise holds as it stands: an invalidation returns when no
// process that was given WithNear can serve an old copy. It waits for that, 1 to 2 ms as a rule, and up to 1.1 seconds beside a process
// that hangs or has just died; where it cannot be told, it returns an error and is tried again. No copy is older than maxAge since
// Redis confirmed it, which bounds what nobody tells of: a DEL by hand, an eviction, a process without WithNear.
//
// Values are copied for each caller (not with WithShared); a type that cannot be copied is decoded for each. Reads under Bypass,
// inside InTx, inside a load and while an invalidation is pending look past the copies. A copy is served while it is fresh, so
// WithStale and the early refresh work as before, by the reads that go to Redis.
//
// With 0 entries it keeps nothing and tells of its invalidations: for the first deployment, and for processes that only write. All
// processes, and all caches of a scope that share tags, must have WithNear before any has entries. It costs a goroutine or two and
// a connection for all caches of a client and scope while they are read, and none when they are not. docs/near.md has the rest.
// The protocol is a lease of each process with a log of what was invalidated; those of TiDB's cached tables and of Ehcache with
// Terracotta are its kin. maxAge must be at least a millisecond.
func WithNear(entries int, maxAge time.Duration) Option {
	return func(c *engine.Config) { c.Near = &engine.NearConfig{Entries: entries, MaxAge: maxAge} }
}

// WithVerify has up to so many hits in a second, in this process, compared with what the loader
// returns, in the background. So it finds, in production, any writer that does not invalidate, and
// what a failover of Redis has lost. A hash of the key decides which hits are taken: the same keys
// are followed for a minute, and then others.
//
// What comes out is counted in Stats.Verified and told to the Observer's Verify. An entry that
// differs from the row is called stale only if it is still there, and still differs, a second
// later, and two loads in a row agree. That is logged, at most once in ten seconds, with the Redis
// key, the age and the field that differs. No clock decides it: an Invalidate of the entry would
// have removed it.
//
// A verification costs one load, and two for each look at an entry that differs: at once, after 1 second, after 10 and after 60. With
// WithReplicaLag, these come later by the lag. Its loads come last in line among WithMaxLoads: where there is no place, none is made. They
// have the ctx of a refresh, so a loader that needs values of a ctx needs WithLoadContext. Not verified are hits
// inside InTx, while an invalidation of this process is pending, and within 3 seconds of a failure to reach Redis.
//
// With near copies, what is verified is what the reader got from them. A loader that returns what a clock or a random number made of it
// is not for this. The default is 0: no hit is verified. It must be within [0, 1000000].
func WithVerify(perSecond float64) Option { return func(c *engine.Config) { c.Verify = perSecond } }

// WithLogger sets where the Cache logs what an operator should know: Redis going down, coming back, or refusing commands,
// refreshes that fail, values that cannot be stored. The default is slog.Default.
func WithLogger(l *slog.Logger) Option { return func(c *engine.Config) { c.Logger = l } }

// WithObserver has o told what the Cache does. It may be given several times: each Observer is told, in that order. The default
// is nobody.
func WithObserver(o Observer) Option {
	return func(c *engine.Config) { c.Observers = append(c.Observers, o.listener()) }
}

// functionOf returns the function that an option was given as the type that this Cache needs, the zero F if the option was
// not used.
func functionOf[F any](option string, given any) (F, error) {
	f, ok := given.(F)
	return f, checkFunction(option, given, ok, reflect.TypeFor[F]())
}

// checkFunction is the error of an option that was given something else than a function of type needed; fits tells whether it was
// one.
func checkFunction(option string, given any, fits bool, needed reflect.Type) error {
	switch {
	case given == nil:
		return nil
	case !fits:
		return fmt.Errorf("%s was given a %T, but this cache needs a %v", option, given, needed)
	case reflect.ValueOf(given).IsNil():
		return fmt.Errorf("%s(nil): a function is needed", option)
	default:
		return nil
	}
}
