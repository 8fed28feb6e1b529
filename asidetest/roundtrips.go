package asidetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/diff"
)

// RoundTrips fails the test if a row does not survive the codec of cache: if a hit, which is what the codec made of the
// row, is not what the loader returned, which is what a miss returns. It tells each field that differs, with a hint where
// that is a usual loss: an empty slice that became nil, the zone of a time or digits after its seconds, an int in an any that
// became a float64, a field that is not exported.
//
// It is as strict as reflect.DeepEqual, except that values with a method Equal for their own type are compared by it, times by
// their instant, offset and zone name, and JSON in bytes, such as a json.RawMessage, without its white space.
//
// Choose rows in which every field is set; to try values that no row has, make a cache of them with
// [New]. A row that is not there, or that does not get cached, stops the test. RoundTrips
// invalidates the rows and caches them again. So it cannot test a cache with WithReplicaLag, where
// nothing is cached for that long after an Invalidate.
func RoundTrips[K comparable, V any](t testing.TB, cache *aside.Cache[K, V], keys ...K) {
	t.Helper()
	if len(keys) == 0 {
		t.Fatal("asidetest: RoundTrips needs keys")
	}
	for _, key := range keys {
		lost, err := roundTrip(t.Context(), subject[K, V]{cache, key})
		if err != nil {
			t.Fatalf("asidetest: %v", err)
		}
		if len(lost) > 0 {
			t.Errorf("asidetest: the value of key %v does not survive its codec%s", key, list(lost, "a miss returns", "a hit"))
		}
	}
}

func roundTrip[K comparable, V any](ctx context.Context, s subject[K, V]) ([]diff.Difference, error) {
	if err := s.cache.Invalidate(ctx, s.key); err != nil {
		return nil, err
	}
	miss, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	if miss.absent {
		return nil, fmt.Errorf("key %v has no row, so nothing is tested", s.key)
	}
	hit, ok, err := s.hit(ctx)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("the value of key %v is not cached, so nothing is tested: %s", s.key, uncached(s.cache))
	}
	differences := differ(miss, hit)
	if len(differences) == 0 {
		return nil, nil
	}
	return differences, s.stable(ctx, miss)
}
