package asidetest

import (
	"context"
	"testing"

	"github.com/asidecache/aside"
)

// Coherent runs write, and fails the test if what the cache returns afterwards for one of the entries is not what the
// loader returns. It finds a write that forgets to invalidate an entry, one that invalidates it before its COMMIT, and an
// absence that is still remembered after an INSERT.
//
// Give it the entries that show what is written, those of each cache with [Of]. Before write, Coherent has all of them
// cached. During write, at the end of each Invalidate, it reads them all, as other requests might at that very moment: an
// Invalidate that is too early lets these cache the old row again. After write, it compares. Entries that were found
// wrong are invalidated, so that the test can go on.
//
// write is called once. It must hand its ctx on to Invalidate. An Invalidate with another ctx
// works, but nothing is read at its end, so it may be too early and pass. Some loaders cannot read
// before write has ended, because write holds a lock or a connection. Coherent waits for them only
// a moment.
//
// Coherent stops the test if write returns an error or if a row cannot be cached before write:
// Redis may be down, or the row held. It fails the test if write has neither changed nor
// invalidated any of the entries, since nothing was tested then. It also fails the test if an entry
// was not cached at the comparison, for a reason that would hide a mistake: WithReplicaLag, or a
// write that took longer than the TTL. What only the codec changes does not count as a difference;
// see [RoundTrips].
func Coherent(t testing.TB, write func(ctx context.Context) error, entries ...Entries) {
	t.Helper()
	all := flatten(entries)
	if len(all) == 0 {
		t.Fatal("asidetest: Coherent needs the keys of the entries that show what is written")
	}
	for _, e := range all {
		if err := e.warm(t.Context()); err != nil {
			t.Fatalf("asidetest: before the write, %v", err)
		}
	}
	w := &watched{ctx: t.Context(), entries: all}
	if err := w.run(write); err != nil {
		t.Fatalf("asidetest: the write failed: %v", err)
	}
	tested := false
	for _, e := range all {
		changed, err := e.judge(t.Context(), w)
		if tested = tested || changed || err != nil; err != nil {
			t.Errorf("asidetest: after the write, %v", err)
		}
	}
	if !tested && !w.touched() {
		t.Errorf("asidetest: the write has neither changed nor invalidated any of the entries, so nothing was tested: %s", w.instead())
	}
}

// Entries are some entries of one Cache; see [Of].
type Entries struct{ of []entry }

// Of returns the entries of keys in cache.
func Of[K comparable, V any](cache *aside.Cache[K, V], keys ...K) Entries {
	var e Entries
	for _, key := range keys {
		e.of = append(e.of, &cached[K, V]{subject: subject[K, V]{cache, key}})
	}
	return e
}

func flatten(entries []Entries) (all []entry) {
	for _, e := range entries {
		all = append(all, e.of...)
	}
	return all
}
