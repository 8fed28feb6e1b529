package asidetest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

func deterministic(load aside.Loader[int64, []string], opts ...aside.Option) func(t testing.TB) {
	return func(t testing.TB) {
		c, _ := asidetest.New(t, load, append(opts, patient)...)
		asidetest.Deterministic(t, c, []int64{1, 2})
	}
}

func TestALoaderThatReturnsTheSameIsDeterministic(t *testing.T) {
	s := newShop(t)
	passes(t, func(t testing.TB) { asidetest.Deterministic(t, s.products, []int64{1, 2, 99}) })
	passes(t, func(t testing.TB) { asidetest.Deterministic(t, s.lists, []int64{7, 8, 99}, context.Background()) })
}

func TestAListWithoutAnOrderIsFound(t *testing.T) {
	tags := map[int64]map[string]bool{1: {"red": true, "new": true, "sale": true}}
	finds(t, deterministic(func(_ context.Context, id int64) (list []string, _ error) {
		for tag := range tags[id] {
			list = append(list, tag)
		}
		return list, nil
	}), "key 1", "[", "does not always return the same")
}

func TestATimeOfTheLoadIsFound(t *testing.T) {
	var n atomic.Int64
	c, _ := asidetest.New(t, func(context.Context, int64) (struct{ ReadAt time.Time }, error) {
		return struct{ ReadAt time.Time }{time.UnixMilli(n.Add(1))}, nil
	})
	finds(t, func(t testing.TB) { asidetest.Deterministic(t, c, []int64{1}) }, ".ReadAt", "the first load")
}

type languageKey struct{}

func TestALoaderThatGoesByItsCtxIsFound(t *testing.T) {
	c, _ := asidetest.New(t, func(ctx context.Context, _ int64) (string, error) {
		if ctx.Value(languageKey{}) == "de" {
			return "Kessel", nil
		}
		return "kettle", nil
	})
	german := context.WithValue(t.Context(), languageKey{}, "de")
	passes(t, func(t testing.TB) { asidetest.Deterministic(t, c, []int64{1}) })
	finds(t, func(t testing.TB) { asidetest.Deterministic(t, c, []int64{1}, german) },
		`the first load "kettle"`, `with another ctx "Kessel"`)
}

func TestABatchLoaderThatDisagreesIsFound(t *testing.T) {
	load := func(_ context.Context, id int64) ([]string, error) { return []string{"red"}, nil }
	finds(t, deterministic(load, aside.WithBatch(func(_ context.Context, ids []int64) (map[int64][]string, error) {
		return map[int64][]string{1: {"red"}, 2: nil}, nil
	})), "key 2", "GetMany", "1 elements and 0")
	finds(t, deterministic(load, aside.WithBatch(func(_ context.Context, ids []int64) (map[int64][]string, error) {
		return map[int64][]string{1: {"red"}}, nil
	})), "key 2", "GetMany no row")
	passes(t, deterministic(load, aside.WithBatch(func(_ context.Context, ids []int64) (map[int64][]string, error) {
		return map[int64][]string{1: {"red"}, 2: {"red"}}, nil
	})))
}

func TestALoaderThatFailsNowAndThenIsFound(t *testing.T) {
	var n atomic.Int64
	finds(t, func(t testing.TB) {
		c, _ := asidetest.New(t, func(context.Context, int64) (string, error) {
			if n.Add(1) > 1 {
				return "", errors.New("too many connections")
			}
			return "kettle", nil
		})
		asidetest.Deterministic(t, c, []int64{1})
	}, "too many connections")
	finds(t, deterministic(func(context.Context, int64) ([]string, error) { return nil, errors.New("no such table") }), "no such table")
}

func TestSlicesOfOneArrayAreEachComparedToTheirEnd(t *testing.T) {
	type ranking struct{ Top, All []int }
	n := 0
	c, _ := asidetest.New(t, func(context.Context, int) (ranking, error) {
		n++
		all := []int{1, 2, n}
		return ranking{all[:2], all}, nil
	})
	finds(t, func(t testing.TB) { asidetest.Deterministic(t, c, []int{1}) }, "always return the same")
}
