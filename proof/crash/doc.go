// Package crash holds no code. Its tests show that a process which is killed during a write leaves nothing stale: with real
// processes, a real Postgres and a real Redis, at every step of the write, with readers running in other processes.
//
// The test binary runs itself again as those processes. A writer announces each step and waits there until it is told to go
// on, or is killed. Two readers read the same row all the time, each through a cache of its own, and report when each read
// began and what it returned. What is committed, and since when, the test learns from Postgres.
package crash
