// Package asidetest helps to test services that use package aside: a Redis inside the test, and assertions that find the
// mistakes people make with a cache.
//
// A cache in one call, and the Redis for a service that makes its caches itself:
//
//	products, server := asidetest.New(t, repo.ProductByID)
//	shop := NewShop(db, asidetest.Redis(t).Client())
//
// The assertions:
//
//   - [Coherent] runs a write, and finds the entries that it forgets to invalidate, or invalidates before its COMMIT. One
//     such test for each method that writes is worth more than all others about a cache.
//   - [Deterministic] finds a loader that returns different things for the same key.
//   - [RoundTrips] finds what a value loses between the loader and a hit.
//
// They work with any cache, on any Redis. They take some milliseconds, and run the loader several times.
//
// A busy machine can stand still for longer than WithRedisTimeout lasts by default, 250 ms of real time. Then a service reads
// from its database, as it should, and a test that expects hits fails: outside a bubble, give the caches
// WithRedisTimeout(10 * time.Second), except where the test is about an outage.
//
// # Time
//
// Run a test about time inside a bubble of testing/synctest, with everything made inside it. Then the clock of the
// process and that of the Server are one, and virtual: time.Sleep passes a TTL at once, and timeouts, refreshes and probes
// happen when they are due. A real database cannot be used in a bubble. Without one, [Server.Advance] lets Redis' TTLs
// pass, and nothing else.
//
// # Faults
//
// A [Server] can be [Server.Down], [Server.Hang], or [Server.Fail] with an error of Redis, until it is [Server.Up]. A
// service must go on reading then, from its database. Outside a bubble, the first reads each take WithRedisTimeout.
//
// # Near copies
//
// Caches with WithNear work as they do on a Redis. Each [Server.Client] stands for a process, with near copies of its own.
// [Server.PauseNear] has the near copies of one process hang, so that Invalidate in another one waits for a second.
package asidetest
