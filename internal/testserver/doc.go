// Package testserver runs the servers that the tests need: Redis alone, as a
// Cluster and behind a Sentinel, and PostgreSQL. Every call starts fresh,
// empty servers on loopback ports that no standard installation uses, and
// t.Cleanup stops them.
//
// A missing binary skips the test and names the binary. With
// ASIDE_TEST_SERVERS=required in the environment it fails the test.
// ASIDE_TEST_REDIS_SERVER names another binary than redis-server: that of
// Valkey, KeyDB or an older Redis.
//
// A Clock is the wall clock of the servers that are started with it, and can be set.
//
// The servers outlive no test process: on Linux the kernel kills them with it,
// however it ends. Elsewhere a test process that is killed leaves them behind.
//
// Each server keeps one goroutine until its cleanup has run. A test that looks
// for leaks therefore registers the look before it starts a server:
//
//	t.Cleanup(func() { goleak.VerifyNone(t) }) // a defer would run too early
//	rdb := testserver.Redis(t)
//
// Methods that cannot do what they say end the test with t.Fatal. Like t.Fatal
// they belong on the test's goroutine, one call at a time.
package testserver
