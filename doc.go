// Package aside is a read-through cache: Redis beside a relational database, and never in its place.
//
// A [Cache] wraps one method that reads rows, the loader:
//
//	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithTTL(5*time.Minute))
//	p, err := products.Get(ctx, 1234)    // in place of repo.ProductByID(ctx, 1234)
//	err = products.Invalidate(ctx, 1234) // wherever that row is written, after the COMMIT
//
// The database stays the only source of truth. What Redis holds are copies with a TTL, and any of them may be deleted at
// any time. There is no Set: every value in the cache is what the loader returned.
//
// It is for rows that are read often and written seldom. A row that must be read as of now, such as a balance before it
// is debited, is read past the cache: see [Bypass].
//
// # What it promises
//
// A load is one call of the loader. That Invalidate returned means that it returned nil.
//
//   - Coherent reads. After Invalidate(k) has returned, no Get(k) that starts later, in any process, returns a value whose
//     load began before that Invalidate began, and no such value is or will be in Redis. This holds against slow loads,
//     joined loads, expired leases, refreshes, commands that are delayed or executed twice, and processes that stop for a
//     minute and go on.
//   - One load per key. Over all processes, one load of a key is under way at a time; the others wait for its result.
//   - Redis is optional at run time. When Redis fails, Get returns what the loader returns. It never returns an error of
//     Redis, and spends no longer on Redis than [WithRedisTimeout], all its commands together, but for polls while another
//     process loads. A caller that joins a load of its process may wait for what that load spends on Redis besides.
//   - Any DEL counts. An entry is one Redis key. Whoever deletes that key has invalidated the entry, loads under way
//     included: redis-cli DEL, another program, a FLUSHALL, an eviction.
//   - Nothing unreadable is fatal. A document that is corrupt, foreign or of another version is a miss, and the next load
//     replaces it, unless it begins like a hold: what no version of this library can read may hold the entry.
//   - Every caller owns its value. It shares no memory with what another caller got.
//
// # What bounds the promises
//
// In these cases an old value may be served for the rest of the time that Redis keeps it: at most its TTL and
// [WithStale], counted from when it was stored.
//
//   - The row was written and nobody called Invalidate.
//   - The process died between a COMMIT and an Invalidate outside [InTx], or before an Invalidate that had failed was
//     confirmed.
//   - Invalidate was called before the COMMIT, outside InTx. A Get in between loads the row as it was and stores it again.
//   - Redis evicted the index of a tag before the entries that it lists.
//   - A transaction lost its holds before its COMMIT, and the process died before it released them or placed them anew. They
//     are lost by a DEL, a FLUSHALL, an eviction or an empty restart of Redis, or since the process stood still for longer
//     than [WithHold]. If it does not die, only reads that start between the COMMIT and then may be stale.
//   - Redis failed over. Its replication is asynchronous, so the new primary may not know of the last commands that the
//     old one has acknowledged, an Invalidate among them. Until a client has noticed the failover, it may also be served
//     by the old primary. A restart from a snapshot loses the last commands, too.
//   - The loader reads from a replica of the database, which lags behind, without [WithReplicaLag]: a load after
//     Invalidate may find the old row.
//   - The loader took an open transaction out of its ctx, and saw rows that were never committed. Run the transaction in
//     InTx, where reads fill nothing, or read under [Bypass].
//
// The clock of the Redis server decides when an entry expires. A process's own clock decides when a value counts as
// stale, so clock skew moves refreshes. No promise depends on it.
//
// One load per key has edges, too. A lease lives for 2 seconds, or four times WithRedisTimeout if that is longer, and is
// renewed while the load runs: when its process dies, the others take over after that time. They wait no longer than
// [WithLoadTimeout], and then load for themselves. Processes that waited for a load that ended without a value to store
// load at once, each for itself, so that failures do not queue up. After an Invalidate a new load begins, though
// the voided one may still run elsewhere. Without Redis, the loads of Get are collapsed within each process, those of GetMany
// are not, and all are bounded by [WithMaxLoads]. Get may have to wait for two loads: one that began too early for it, and the
// next.
//
// # The loader
//
// A load serves all callers that wait for it, so it does not end with the one who began it: its ctx has the values of that
// caller's ctx, but not its cancellation or deadline, and ends after [WithLoadTimeout]. A caller whose ctx ends returns at
// once; the load goes on and fills the cache. Errors reach the callers as the loader returned them, and are not cached. A
// panic goes on in the callers that waited, a runtime.Goexit becomes an error; neither ends the process by itself.
//
// A loader may read other caches. It must not Get the key that it loads: it would wait for itself until WithLoadTimeout. Nor
// should it Get another key of its own Cache: it keeps its place among WithMaxLoads meanwhile, and as many such loads as there
// are places would wait for each other.
//
// # Absent rows
//
// A loader says that there is no row with [ErrNotFound], with sql.ErrNoRows (hence pgx.ErrNoRows), with an error of
// [WithNotFound], or with a nil pointer and no error. The absence is remembered for [WithAbsentTTL]. The error that Get
// returns answers errors.Is for ErrNotFound, for sql.ErrNoRows and for each error of WithNotFound, whether it was loaded
// or remembered; a comparison with == does not hold. Call Invalidate after an INSERT: the absence of the row may be
// remembered.
//
// An empty slice, a zero and an empty struct are values.
//
// # Values
//
// Values are stored as JSON, as encoding/json has it, or as [WithCodec] says. The caller whose load it was gets the loader's own
// value, all others get what the codec made of it. So what JSON drops is there on a miss and not on a hit: unexported
// fields, fields tagged json:"-", the monotonic reading of a time. [New] refuses a type that JSON would damage where the
// type shows it: channels, funcs, interfaces with methods, structs with no exported field, two fields of one name, an
// embedded type that writes itself as if it were the whole struct. It cannot see inside an any: a number in it comes back
// as a float64.
//
// When V changes so that old documents would decode into something wrong, raise [WithVersion]. While two versions are
// deployed side by side, each replaces the documents of the other.
//
// # Keys
//
// The entry of a key is the Redis key "<name>:<rendered key>": product:1234. What follows the name holds no colon, space
// or control character, and two different keys never share a rendering, unless they have the same text (below).
//
//   - Integers are decimal, bools are true and false, strings are themselves. A [N]byte is 2N hex digits.
//   - A struct or an array is the list of its fields or elements, with commas between them, unexported ones included:
//     struct{ Shop, Slug string } renders as de,teapot.
//   - A struct or an array with a MarshalText method of its own is that text: a uuid.UUID, a netip.Addr, a time.Time.
//     Values with the same text share an entry, even where == tells them apart. A time.Time in another Location is another
//     text, so Invalidate of the one does not reach the other: use UTC.
//   - A named string, integer or bool is rendered by its value. Its String and MarshalText are not called.
//   - In strings and texts, '%', ':', spaces and ASCII control characters are written as '%' and two hex digits, and ','
//     where there is more than one field.
//   - What is longer than 200 bytes is replaced by "%sha256-" and its hash.
//
// New refuses pointers, interfaces, floats, complex numbers and channels, also as fields, and points to [WithKey].
//
// # Tags
//
// A value may have tags, see [WithTags]: names of what it was made from. InvalidateTags invalidates the entries of all caches
// on one Redis that have a tag, as Invalidate does one entry, whether they are filled or under way. Absences have no tags.
//
// Redis keeps book of them under keys that belong to no cache: aside-tags, a stream of the last invalidations;
// {aside-tags}-held, what transactions hold; and aside-tag=<tag>, the names of the entries with a tag. They expire after what
// they tell about. Who deletes an index, or a Redis that is full and evicts one, leaves its entries to their TTL.
//
// # One entry, one document
//
// The Redis key of an entry is a string, in one of these states. redis-cli GET shows it:
//
//	no key                                               nothing is cached
//	{"lease":"<token>"}                                  a process loads it, and others wait
//	{"lease":"<token>","waited":true}                    the same, and somebody does wait
//	{"lease":"<token>","returned":true}                  that load stored nothing: who waited loads
//	{"hold":{"<holder>":<ms>,...}}                       nothing is cached until then, in ms since 1970: InTx, WithReplicaLag
//	{"id":"<token>","fresh":<ms>,...,"value":<JSON>}     a value
//	{"id":"<token>","fresh":<ms>,...,"absent":true}      there is no row
//
// fresh is the end of its TTL, in milliseconds since 1970; took is how long its load took, in milliseconds; v is
// WithVersion. A value that is not JSON follows its header on a line of its own. What is no string (a list, a hash) is
// left alone: reads of that key go to the loader, and [Stats] counts them as WrongTypes.
//
// A fill, which stores what was loaded, replaces exactly the document that its load began with, compared by its token, in
// one script. Invalidate, or any DEL, removes that document, and the fill is refused. That is all that the first promise
// stands on.
//
// # When Redis is down
//
// Three failures in a row to reach Redis (refused, not answered in time, LOADING, READONLY, CLUSTERDOWN, MASTERDOWN) mean
// that it is down. Each of these calls takes its load and at most WithRedisTimeout. From then on, reads go to the loader at
// once. Redis is probed in the background at least once a second, and is used again at the first success. In a Cluster,
// each primary counts by itself, and reads of what the others own go on to hit. Each Cache finds that out by itself. That
// Redis went down, and that it is back, is logged once by each, and told to the [Observer].
//
// A Redis that answers with another error is not down, so each read asks it anew. That it refuses (NOAUTH, NOPERM, MISCONF,
// NOREPLICAS, BUSY) is logged at most every ten seconds, and counted in RedisErrors of [Stats]. Out of memory, hits are
// served, and Invalidate works as ever, in all its kinds, while what is loaded is not stored, and processes load each for
// themselves.
//
// Invalidate is always tried. When Redis does not confirm it, Invalidate returns an error and is tried again in the
// background until it succeeds. Until then this process reads the key from the loader (its caches of that name that were given
// the same client); others may serve what is cached. More than 10,000 such keys are owed as the whole Cache: it reads nothing
// from Redis until a SCAN has removed all its entries. (Not so with an AutoPipeliner, through which a Cluster cannot be scanned:
// it remembers all keys.)
//
// # The Redis client
//
// The commands of a Client without hooks run on the caller's goroutine, by a copy of the client that shares its connections
// and ends by the deadline of a ctx, which a client by default does not. That costs no more than the bare command. The price
// is that a ctx that is cancelled while Redis does not answer is noticed when WithRedisTimeout is over.
//
// All other commands have a goroutine of their own, which is left behind when the time is over, and costs some 20 us:
// those for a ctx whose deadline comes before WithRedisTimeout is over, those of a Client with hooks or with functions
// in its options (OnConnect, a CredentialsProvider, a Limiter), which may take any time, and those of a ClusterClient or
// an AutoPipeliner. A Client whose ContextTimeoutEnabled is set counts as one without hooks: set it if yours return
// soon, as those for metrics and traces do. One that hangs then hangs Get.
//
// Reads of single keys that run side by side share round trips.
//
// Any redis.UniversalClient works that reads and writes at the primary: a Client, a ClusterClient, a failover client, an
// AutoPipeliner. New refuses what its options show to break the first promise: client-side caching, reads routed to
// replicas, a redis.Ring. It cannot see a failover client with ReplicaOnly, or a proxy that reads from replicas or
// spreads keys over servers: do not use them. Redis must be 6.0 or newer and allow EVAL and EVALSHA. Any eviction policy
// keeps the promises, within the bounds above for holds and for the indexes of tags.
//
// The library sends GET, MGET, EVAL, EVALSHA and SREM, with tags ZRANGEBYSCORE, and for InvalidateAll, or for very many
// invalidations that have failed, SCAN, with a ClusterClient CLUSTER NODES, with an AutoPipeliner INFO. Its scripts call GET,
// SET, GETRANGE, SETRANGE, DEL, PTTL, PEXPIRE and TIME, and with tags XADD, XRANGE, XREVRANGE, ZADD, ZREM, ZSCORE, ZINCRBY,
// ZRANGEBYSCORE, ZREMRANGEBYSCORE and ZREVRANGE.
package aside
