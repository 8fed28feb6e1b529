package asidetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/diff"
	"github.com/asidecache/aside/internal/watch"
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
	return diff.Brief(o.value)
}

func outcomeOf[V any](v V, err error) (outcome[V], error) {
	if errors.Is(err, aside.ErrNotFound) {
		return outcome[V]{absent: true}, nil
	}
	return outcome[V]{value: v}, err
}

// differ returns where two outcomes differ.
func differ[V any](a, b outcome[V]) []diff.Difference {
	if a.absent || b.absent {
		if a.absent == b.absent {
			return nil
		}
		return []diff.Difference{diff.New(a.String(), b.String())}
	}
	return diff.All(a.value, b.value)
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
		err = fmt.Errorf("the loader failed for key %v: %w%s", s.key, err, sharedHandle(err))
	}
	return o, err
}

// sharedHandle says so if err is what a transaction returns to code that uses it beside its owner,
// or after it has ended. asidetest imports no driver, so it goes by the text.
func sharedHandle(err error) string {
	for _, text := range []string{
		"conn busy", "conn closed", "tx is closed", "transaction has already been committed or rolled back", "current transaction is aborted",
	} {
		if strings.Contains(err.Error(), text) {
			return "\n\t(the loader seems to read through the handle of a transaction, which the write uses too: give it the pool, as in production)"
		}
	}
	return ""
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

// hit reads until the entry in Redis has answered: what it returns has gone through the codec. ok is false if it never did, and
// the outcome then the loader's.
func (s subject[K, V]) hit(ctx context.Context) (o outcome[V], ok bool, err error) {
	for range 3 { // a fill, and another chance for it if somebody else interfered
		before := s.cache.Stats()
		o, err = s.get(ctx)
		if err == nil && s.cache.Stats().NearHits > before.NearHits {
			o, err = s.far(ctx)
		}
		if err != nil {
			return o, false, fmt.Errorf("to Get key %v failed: %w", s.key, err)
		}
		if farHits(s.cache.Stats()) > farHits(before) {
			return o, true, nil
		}
	}
	return o, false, nil
}

// far reads past near copies: that of a value which this process has loaded has not gone through the codec. Reads inside InTx do so.
func (s subject[K, V]) far(ctx context.Context) (o outcome[V], err error) {
	err = aside.InTx(ctx, func(ctx context.Context) (err error) {
		o, err = s.get(ctx)
		return err
	})
	return o, err
}

// lagging says what keeps an entry uncached after an invalidation.
func lagging(lag time.Duration) string {
	return fmt.Sprintf("the cache has WithReplicaLag(%v), and caches nothing for so long after an Invalidate: test it without", lag)
}

func hits(s aside.Stats) uint64 { return farHits(s) + s.NearHits }

func farHits(s aside.Stats) uint64 { return s.Hits + s.StaleHits + s.AbsentHits }

// uncached says why an entry of cache may not be there.
func uncached[K comparable, V any](cache *aside.Cache[K, V]) string {
	s := cache.Stats()
	lag, _ := watch.Bounds(cache)
	switch {
	case s.Down:
		return "Redis is down"
	case s.RedisErrors > 0:
		return "Redis has failed commands"
	case s.Unusable > 0:
		return "the codec does not read what it writes, see what the cache logged"
	case lag > 0:
		return lagging(lag)
	default:
		return "see what the cache logged: is it a value that the codec cannot encode, a WithTTLFunc that returned no TTL, " +
			"or a hold of InTx?"
	}
}
