// Package aside is a read-through cache: Redis beside a relational database, and never in its place.
//
// A [Cache] wraps one method that reads rows, the loader:
//
//	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithTTL(5*time.Minute))
//	p, err := products.Get(ctx, 1234)    // in place of repo.ProductByID(ctx, 1234)
//	err = products.Invalidate(ctx, 1234) // wherever that row is written, after the COMMIT
//
// The database stays the only source of truth. Redis holds copies with a TTL, and any of them may be deleted at any time.
// There is no Set: every value in the cache is what the loader returned.
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
//   - Coherent with the commit. Inside [InTx], from Invalidate(k) until the transaction has ended nothing is cached for k, and a
//     Get(k) that starts after the COMMIT returned sees the committed row, even if the process dies at any point.
//   - One load per key. Over all processes, one load of a key is under way at a time; the others wait for its result.
//   - Redis is optional at run time. Get never returns an error of Redis, and its commands together wait at most
//     [WithRedisTimeout]. Waiting for another process's load is not counted.
//   - Invalidation is never dropped quietly. An Invalidate that fails returns its error and is
//     retried in the background. Until a retry succeeds, this process reads that key from the
//     loader.
//   - Any DEL counts. An entry is one Redis key. Deleting it invalidates the entry, and the loads
//     under way.
//   - Nothing unreadable is fatal. A document that is corrupt, foreign or of another version is a miss.
//   - Every caller owns its value. It shares no memory with what another caller got.
//   - Caches over caches. A loader may read other caches. After a source and what is made from it have been invalidated together,
//     nothing that was made from the old source is served.
//
// # What bounds the promises
//
// In these cases an old value may be served for the rest of the time that Redis keeps it: at most its TTL and [WithStale],
// counted from when it was stored.
//
//   - The row was written and nobody called Invalidate, or not before the process died. (Inside InTx that is no danger.)
//   - Invalidate was called before the COMMIT, outside InTx.
//   - Redis failed over, or restarted from a snapshot: it may lack the last commands that it has acknowledged.
//   - A transaction lost its holds before its COMMIT, by a DEL, a FLUSHALL or an eviction, or since the process stood still for
//     longer than [WithHold], and the process died before it released them.
//   - Redis evicted the index of a tag before the entries that it lists.
//   - The loader reads from a replica of the database, which lags behind, without [WithReplicaLag].
//   - The loader took an open transaction out of its ctx, outside InTx, and saw rows that were never committed.
//
// None of these promises depends on clocks of different machines agreeing. Only the end of what is
// sealed does. All cases, with their bounds, are in [consistency.md].
//
// # Writes
//
// Outside a transaction, or after the COMMIT, call [Invalidate] with what the write has changed of
// one cache or several. After the COMMIT do not return its error to the caller that asked for the
// write: the write has happened. Log the error. Inside [InTx] call it before the COMMIT, and either
// return its error, which rolls back, or ignore it, and the keys are invalidated when InTx has
// ended. [Cache.InvalidateTags] is for what very many entries show, and [Cache.InvalidateAll] for
// an import. The package asidepg invalidates what other programs have written to Postgres. See
// [writing.md] and [recipes.md].
//
// # How stale reads are
//
// [WithVerify] compares a few hits a second with what the loader returns, and finds the entries that nobody has invalidated. What a Cache does is
// counted in [Stats] and told to an [Observer]. The packages asideprom and asideotel export both, with a dashboard. See [operations.md].
//
// # The loader
//
// A load serves all callers that wait for it. So its ctx has the values of the ctx of the caller that began it, but not its
// cancellation or deadline, and ends after [WithLoadTimeout]. The ctx of a refresh has no values. [WithLoadContext] changes which
// values these are. Give Get and GetMany the context of the request, not that of a framework which uses it again for the next
// request: a load may go on after its caller has left. A caller whose ctx ends returns at once.
//
// Errors reach the callers as the loader returned them, and are not cached. A panic goes on in the callers that waited, and a
// runtime.Goexit becomes an error. Neither ends the process by itself.
//
// A loader may read other caches, and other keys of its own Cache, with the ctx that it was given; see [Loader]. A read of the key
// that it loads gets an error.
//
// # Absent rows
//
// A loader says that there is no row with [ErrNotFound], with sql.ErrNoRows, with an error of [WithNotFound] or one that
// [WithNotFoundFunc] recognizes, or with a nil pointer and no error. pgx.ErrNoRows is sql.ErrNoRows by errors.Is from pgx 5.7 on.
// The absence is remembered for [WithAbsentTTL], so call Invalidate after an INSERT as well.
//
// For the error that Get returns, errors.Is holds with ErrNotFound, sql.ErrNoRows, each error of WithNotFound, and every error
// that wraps one of these, whether the absence was loaded, joined or remembered. A comparison with == does not hold.
//
// An empty slice, a zero and an empty struct are values.
//
// # Values and keys
//
// Values are stored as JSON, as encoding/json has it, or as [WithCodec] says. The caller whose load it was gets the loader's own
// value, and all others what the codec made of it. So what JSON drops is there on a miss and not on a hit. [New] refuses a type
// that JSON would damage where the type shows it. A sample of the values is compared with what a hit will return, and a
// difference is counted in Altered of [Stats] and logged once. See [codecs.md].
//
// With [WithSeal], Redis holds values and absences sealed. An attacker who can write to Redis can
// make a Cache slow or, for a bounded time, show an old row, but never a made-up one. See
// [security.md].
//
// The names and types of the fields of V are a part of the version of a document. So a field that was added makes a miss of what
// was stored before. [WithVersion] and [WithShape] are for what that does not show.
//
// The entry of a key is the Redis key "<name>:<rendered key>": product:1234. Keys are integers, bools, strings, arrays and structs
// of them, and types with a text of their own. New refuses others, and points to [WithKey] and [ByFilter]. See [keys.md].
//
// # When Redis is down
//
// Redis counts as down after three failures in a row to reach it, or after one refused connection.
// From then on reads go to the loader at once, at most [WithMaxLoads] at a time. Invalidate returns
// its error at once and is tried in the background. Redis is probed at least once a second, and is
// used again at the first success. Reads and writes are counted separately, for each primary of a
// Cluster. The caches that share a client and a WithRedisTimeout find it out together. See
// [outages.md].
//
// # The Redis client
//
// Any redis.UniversalClient works that reads and writes at the primary: a Client, a ClusterClient, a failover client, an
// AutoPipeliner. New refuses what its options show to break the first promise: client-side caching, reads routed to replicas, a
// redis.Ring. It cannot see a failover client with ReplicaOnly, or a proxy that reads from replicas or spreads keys over servers:
// do not use them. Redis must be 6.0 or newer and allow EVAL and EVALSHA; [servers.md] has the other servers.
//
// The commands of a Client without hooks run on the caller's goroutine, those of others on goroutines of their own, which costs
// some 20 us. If your hooks return soon, as those for traces do, set ContextTimeoutEnabled. What is sent is in [architecture.md].
//
// [architecture.md]: https://github.com/asidecache/aside/blob/HEAD/docs/architecture.md
// [codecs.md]: https://github.com/asidecache/aside/blob/HEAD/docs/codecs.md
// [consistency.md]: https://github.com/asidecache/aside/blob/HEAD/docs/consistency.md
// [keys.md]: https://github.com/asidecache/aside/blob/HEAD/docs/keys.md
// [operations.md]: https://github.com/asidecache/aside/blob/HEAD/docs/operations.md
// [outages.md]: https://github.com/asidecache/aside/blob/HEAD/docs/outages.md
// [recipes.md]: https://github.com/asidecache/aside/blob/HEAD/docs/recipes.md
// [security.md]: https://github.com/asidecache/aside/blob/HEAD/docs/security.md
// [servers.md]: https://github.com/asidecache/aside/blob/HEAD/docs/servers.md
// [writing.md]: https://github.com/asidecache/aside/blob/HEAD/docs/writing.md
package aside
