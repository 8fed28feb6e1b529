package asidetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/asidecache/aside"
)

// An outcome is what a read returned: a value, or that there is no row. Other errors are no outcome to compare.
type outcome[V any] struct {
	value  V
	absent bool
}

func (o outcome[V]) String() string {
	if o.absent {
		return "no row"
	}
	return brief(reflect.ValueOf(&o.value).Elem())
}

func outcomeOf[V any](v V, err error) (outcome[V], error) {
	if errors.Is(err, aside.ErrNotFound) {
		return outcome[V]{absent: true}, nil
	}
	return outcome[V]{value: v}, err
}

// differ returns where two outcomes differ.
func differ[V any](a, b outcome[V]) []difference {
	if a.absent || b.absent {
		if a.absent == b.absent {
			return nil
		}
		return []difference{{a: a.String(), b: b.String()}}
	}
	return compare(a.value, b.value)
}

// A subject is one entry of a Cache under test.
type subject[K comparable, V any] struct {
	cache *aside.Cache[K, V]
	key   K
}

// get reads through the cache.
func (s subject[K, V]) get(ctx context.Context) (outcome[V], error) {
	return outcomeOf(s.cache.Get(ctx, s.key))
}

// load reads past the cache.
func (s subject[K, V]) load(ctx context.Context) (outcome[V], error) {
	o, err := outcomeOf(s.cache.Get(aside.Bypass(ctx), s.key))
	if err != nil {
		err = fmt.Errorf("the loader failed for key %v: %w", s.key, err)
	}
	return o, err
}

// stable returns an error if the loader returns something else than before.
func (s subject[K, V]) stable(ctx context.Context, before outcome[V]) error {
	now, err := s.load(ctx)
	if err != nil {
		return err
	}
	if d := differ(before, now); len(d) > 0 {
		return fmt.Errorf("nothing can be said of key %v: its loader returns different things, see Deterministic%s",
			s.key, list(d, "one load", "the next"))
	}
	return nil
}

// hit reads until the entry has answered: what it returns has gone through the codec. ok is false if it never did, and
// the outcome then the loader's.
func (s subject[K, V]) hit(ctx context.Context) (o outcome[V], ok bool, err error) {
	for range 3 { // a fill, and another chance for it if somebody else interfered
		before := hits(s.cache.Stats())
		if o, err = s.get(ctx); err != nil {
			return o, false, fmt.Errorf("to Get key %v failed: %w", s.key, err)
		}
		if hits(s.cache.Stats()) > before {
			return o, true, nil
		}
	}
	return o, false, nil
}

func hits(s aside.Stats) uint64 { return s.Hits + s.StaleHits + s.AbsentHits }

// uncached says why an entry may not be there.
func uncached(s aside.Stats) string {
	switch {
	case s.Down:
		return "Redis is down"
	case s.RedisErrors > 0:
		return "Redis has failed commands"
	case s.Unusable > 0:
		return "the codec does not read what it writes, see what the cache logged"
	default:
		return "see what the cache logged: is it a value that the codec cannot encode, a negative WithTTLFunc, " +
			"a hold of InTx, or WithReplicaLag?"
	}
}
