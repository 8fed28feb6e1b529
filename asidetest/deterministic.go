package asidetest

import (
	"context"
	"testing"

	"github.com/asidecache/aside"
)

// Deterministic fails the test if the loaders of cache do not return the same for the same key,
// however often they are asked: every caller gets what one load returned, no matter which caller
// began it. It compares several loads, and those of the batch loader with those of the loader: Get
// and GetMany share their entries.
//
// What a loader takes from its ctx, such as a user, a tenant or a language, belongs into the key. To find a loader that
// does so, give ctxs as different callers have them: each is compared with that of the test.
//
// Typical finds are an unsorted list (a SELECT without ORDER BY, a range over a map), a field with the time of the load,
// and a batch loader that fills in less than the loader does. It reads past the cache and fills nothing.
func Deterministic[K comparable, V any](t testing.TB, cache *aside.Cache[K, V], keys []K, ctxs ...context.Context) {
	t.Helper()
	if len(keys) == 0 {
		t.Fatal("asidetest: Deterministic needs keys")
	}
	first := make(map[K]outcome[V], len(keys))
	for _, key := range keys {
		o, err := subject[K, V]{cache, key}.load(t.Context())
		if err != nil {
			t.Fatalf("asidetest: %v", err)
		}
		first[key] = o
	}
	d := determinism[K, V]{t: t, cache: cache, keys: keys, first: first, told: make(map[K]bool)}
	for range repeats {
		d.one(t.Context(), "another load")
		d.many(t.Context(), "GetMany")
	}
	for _, ctx := range ctxs {
		d.one(ctx, "with another ctx")
		d.many(ctx, "GetMany with another ctx")
	}
}

// repeats is how often each kind of load is repeated. A small map begins at one of eight places, so one of two elements comes in
// the same order in all 64 loads once in some five thousand times.
const repeats = 32

type determinism[K comparable, V any] struct {
	t     testing.TB
	cache *aside.Cache[K, V]
	keys  []K
	first map[K]outcome[V]
	told  map[K]bool // of a difference: one is enough
}

// one loads the keys one by one.
func (d *determinism[K, V]) one(ctx context.Context, how string) {
	d.t.Helper()
	for _, key := range d.keys {
		o, err := subject[K, V]{d.cache, key}.load(ctx)
		d.check(key, o, err, how)
	}
}

// many loads the keys together.
func (d *determinism[K, V]) many(ctx context.Context, how string) {
	d.t.Helper()
	rows, err := d.cache.GetMany(aside.Bypass(ctx), d.keys)
	for _, key := range d.keys {
		v, found := rows[key]
		d.check(key, outcome[V]{value: v, absent: !found}, err, how)
	}
}

func (d *determinism[K, V]) check(key K, o outcome[V], err error, how string) {
	d.t.Helper()
	if d.told[key] {
		return
	}
	if err != nil {
		d.told[key] = true
		d.t.Errorf("asidetest: key %v: the first load returned %v, %s failed: %v", key, d.first[key], how, err)
	} else if unlike := differ(d.first[key], o); len(unlike) > 0 {
		d.told[key] = true
		d.t.Errorf("asidetest: key %v: the loader does not always return the same%s", key, list(unlike, "the first load", how))
	}
}
