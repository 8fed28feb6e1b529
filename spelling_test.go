package aside_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// A manyReader is a GetMany in a state of the Cache, on one of the ways to the batch loader.
type manyReader[K comparable, V any] func(ctx context.Context, c *aside.Cache[K, V], tap *tap, keys []K) (map[K]V, error)

func insideTx[K comparable, V any](ctx context.Context, c *aside.Cache[K, V], _ *tap, keys []K) (found map[K]V, err error) {
	_ = aside.InTx(ctx, func(ctx context.Context) error {
		found, err = c.GetMany(ctx, keys)
		return nil
	})
	return found, err
}

func bypassing[K comparable, V any](ctx context.Context, c *aside.Cache[K, V], _ *tap, keys []K) (map[K]V, error) {
	return c.GetMany(aside.Bypass(ctx), keys)
}

func withoutRedis[K comparable, V any](ctx context.Context, c *aside.Cache[K, V], tap *tap, keys []K) (map[K]V, error) {
	tap.down()
	return c.GetMany(ctx, keys)
}

func onClosed[K comparable, V any](ctx context.Context, c *aside.Cache[K, V], _ *tap, keys []K) (map[K]V, error) {
	_ = c.Close()
	return c.GetMany(ctx, keys)
}

func cold[K comparable, V any](ctx context.Context, c *aside.Cache[K, V], _ *tap, keys []K) (map[K]V, error) {
	return c.GetMany(ctx, keys)
}

func manyReaders[K comparable, V any]() map[string]manyReader[K, V] {
	return map[string]manyReader[K, V]{
		"cold": cold[K, V], "inside InTx": insideTx[K, V], "under Bypass": bypassing[K, V],
		"without Redis": withoutRedis[K, V], "closed": onClosed[K, V],
	}
}

// onEveryWay runs a test for each of manyReaders, on a Redis that is empty.
func onEveryWay[K comparable, V any](t *testing.T, test func(t *testing.T, r *rig, read manyReader[K, V])) {
	for name, read := range manyReaders[K, V]() {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) { test(t, r, read) })
		})
	}
}

// A spelling is a key that a caller asks for, and one that the database returns for it, which is not == and has the same name.
type spelling[K comparable] struct {
	asked, returned K
	opts            []aside.Option
}

var (
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	times = spelling[time.Time]{noon, noon.In(time.FixedZone("from the driver", 0)), nil}
	codes = spelling[string]{"AB ", "ab", []aside.Option{aside.WithKey(func(s string) string { return strings.ToLower(strings.TrimSpace(s)) })}}
)

// absentLoader is a loader that is not to be called.
func absentLoader[K comparable](context.Context, K) (string, error) {
	return "", errors.New("the loader was called, not the batch loader")
}

func (s spelling[K]) isMatched(t *testing.T) {
	batch := func(context.Context, []K) (map[K]string, error) { return map[K]string{s.returned: "a row"}, nil }
	onEveryWay(t, func(t *testing.T, r *rig, read manyReader[K, string]) {
		c, tap := steady(r, absentLoader[K], append(s.opts, aside.WithBatch(batch))...)
		found, err := read(t.Context(), c, tap, []K{s.asked})
		equal(t, "the error", err, nil)
		equal(t, "the number of rows", len(found), 1)
		equal(t, "the row under the key that was asked for", found[s.asked], "a row")
	})
}

func TestARowIsFoundUnderTheKeyThatWasAskedForAlsoIfTheDatabaseSpellsItInAnotherWay(t *testing.T) {
	t.Run("time.Time", times.isMatched)
	t.Run("folded string", codes.isMatched)
}

// Such a batch loader says of each key that it has no row, unless it has found one under just that key.
func (s spelling[K]) isMatchedBehindNil(t *testing.T) {
	row := "a row"
	batch := func(context.Context, []K) (map[K]*string, error) {
		return map[K]*string{s.returned: &row, s.asked: nil}, nil
	}
	load := func(context.Context, K) (*string, error) { return nil, errDown }
	onEveryWay(t, func(t *testing.T, r *rig, read manyReader[K, *string]) {
		c, tap := steady(r, load, append(s.opts, aside.WithBatch(batch))...)
		found, err := read(t.Context(), c, tap, []K{s.asked})
		equal(t, "the error", err, nil)
		if p := found[s.asked]; p == nil || *p != row {
			t.Errorf("the row is %v", p)
		}
	})
}

func TestANilHidesNoRowInAnotherSpelling(t *testing.T) {
	t.Run("time.Time", times.isMatchedBehindNil)
	t.Run("folded string", codes.isMatchedBehindNil)
}

func TestANilIsNoProofEitherIfARowIsOfAKeyThatNobodyAskedFor(t *testing.T) {
	row := "its row"
	batch := func(context.Context, []string) (map[string]*string, error) {
		return map[string]*string{"AB": nil, "ab": &row}, nil
	}
	load := func(context.Context, string) (*string, error) { return nil, errDown }
	onEveryWay(t, func(t *testing.T, r *rig, read manyReader[string, *string]) {
		c, tap := steady(r, load, aside.WithBatch(batch))
		_, err := read(t.Context(), c, tap, []string{"AB"})
		if err == nil || errors.Is(err, aside.ErrNotFound) || !strings.Contains(err.Error(), `"test:ab"`) {
			t.Errorf("the error is %v", err)
		}
		if doc := r.get("test:AB"); strings.Contains(doc, "absent") {
			t.Errorf("what is stored is %s", doc)
		}
	})
}

func TestARowInAnotherSpellingIsStoredForEveryReaderOfItsName(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		batch := func(context.Context, []time.Time) (map[time.Time]string, error) {
			return map[time.Time]string{times.returned: "a row"}, nil
		}
		c, _ := steady(r, absentLoader[time.Time], aside.WithBatch(batch))
		other, _ := steady(r, absentLoader[time.Time])
		equal(t, "the row", mustGetMany(t, c, times.asked)[times.asked], "a row")
		equal(t, "the row elsewhere", mustGet(t, other, times.asked), "a row")
	})
}

func TestARefreshThatReturnsAKeyInAnotherSpellingStoresItsRow(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		loads := 0
		batch := func(context.Context, []string) (map[string]string, error) {
			loads++
			return map[string]string{codes.returned: fmt.Sprint("row ", loads)}, nil
		}
		c, _ := steady(r, absentLoader[string], append(append(stale, codes.opts...), aside.WithBatch(batch))...)
		for _, want := range []string{"row 1", "row 1", "row 2"} {
			equal(t, "the row", mustGetMany(t, c, codes.asked)[codes.asked], want)
			synctest.Wait() // for the refresh
			if want == "row 1" && loads == 1 {
				time.Sleep(2 * time.Minute)
			}
		}
	})
}

// A uuid in capitals, which Postgres returns in small letters.
func strayBatch(context.Context, []string) (map[string]string, error) {
	return map[string]string{"ab": "its row", "here": "a row"}, nil
}

func TestARowOfAKeyThatNobodyAskedForIsNoProofThatOthersHaveNone(t *testing.T) {
	onEveryWay(t, func(t *testing.T, r *rig, read manyReader[string, string]) {
		var told []string
		c, tap := steady(r, absentLoader[string], aside.WithBatch(strayBatch), aside.WithObserver(aside.Observer{
			Read: func(_ context.Context, r aside.ReadInfo) {
				told = append(told, fmt.Sprint(r.Name, " ", r.Err == nil, errors.Is(r.Err, aside.ErrNotFound)))
			},
		}))
		found, err := read(t.Context(), c, tap, []string{"AB", "here", "CD"})
		equal(t, "what is found", fmt.Sprint(found), "map[here:a row]")
		if err == nil || errors.Is(err, aside.ErrNotFound) || !strings.Contains(err.Error(), `"test:AB"`) || !strings.Contains(err.Error(), `"test:ab"`) {
			t.Errorf("the error is %v", err)
		}
		if doc := r.get("test:AB"); strings.Contains(doc, "absent") {
			t.Errorf("what is stored is %s", doc)
		}
		slices.Sort(told)
		equal(t, "what the Observer is told", strings.Join(told, ", "), "test:AB false false, test:CD false false, test:here true false")
		equal(t, "LoadErrors", c.Stats().LoadErrors, 1)
	})
}

func TestANotFoundOfABatchIsNoProofEitherIfARowIsOfAKeyThatNobodyAskedFor(t *testing.T) {
	onEveryWay(t, func(t *testing.T, r *rig, read manyReader[string, string]) {
		c, tap := steady(r, absentLoader[string], aside.WithBatch(func(ctx context.Context, keys []string) (map[string]string, error) {
			rows, _ := strayBatch(ctx, keys)
			return rows, aside.ErrNotFound
		}))
		found, err := read(t.Context(), c, tap, []string{"AB", "here"})
		equal(t, "what is found", fmt.Sprint(found), "map[here:a row]")
		if err == nil || errors.Is(err, aside.ErrNotFound) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestARefreshThatReturnsOnlyKeysThatNobodyAskedForLeavesTheValue(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := steady(r, func(context.Context, string) (string, error) { return "old", nil }, append(stale, aside.WithBatch(strayBatch))...)
		mustGet(t, c, "AB")
		for range 3 {
			time.Sleep(2 * time.Minute)
			equal(t, "the row", mustGetMany(t, c, "AB")["AB"], "old")
			synctest.Wait()
		}
		equal(t, "the refreshes", c.Stats().Refreshes, 3)
	})
}

func TestRowsThatNobodyAskedForAreIgnoredIfNoneIsMissing(t *testing.T) {
	onEveryWay(t, func(t *testing.T, r *rig, read manyReader[string, string]) {
		c, tap := steady(r, absentLoader[string], aside.WithBatch(strayBatch))
		found, err := read(t.Context(), c, tap, []string{"here"})
		equal(t, "what is found", fmt.Sprint(found, err), "map[here:a row] <nil>")
		equal(t, "LoadErrors", c.Stats().LoadErrors, 0)
	})
}

// Three keys, two names. The second time, they are hits where there are any.
func TestKeysOfOneNameAreAllAnswered(t *testing.T) {
	onEveryWay(t, func(t *testing.T, r *rig, read manyReader[string, []int]) {
		var asked []string
		batch := func(_ context.Context, keys []string) (map[string][]int, error) {
			asked = append(asked, strings.Join(keys, " "))
			return map[string][]int{"a": {1}, "b": {2}}, nil
		}
		c, tap := steady(r, func(context.Context, string) ([]int, error) { return nil, errDown },
			aside.WithKey(strings.ToLower), aside.WithBatch(batch))
		for range 2 {
			found, err := read(t.Context(), c, tap, []string{"A", "a", "B", "A", "a"})
			equal(t, "what is found", fmt.Sprint(found, err), "map[A:[1] B:[2] a:[1]] <nil>")
			found["A"][0] = 9
			equal(t, "the value of the other key once that of the first is modified", found["a"][0], 1)
		}
		equal(t, "what the first batch is asked for", asked[0], "A B")
	})
}

func TestABatchLoaderCannotReturnAKeyThatIsNotEqualToItselfOnAnyWay(t *testing.T) {
	batch := func(context.Context, []float64) (map[float64]string, error) {
		return map[float64]string{math.NaN(): "a row", 1: "one"}, nil
	}
	onEveryWay(t, func(t *testing.T, r *rig, read manyReader[float64, string]) {
		c, tap := steady(r, absentLoader[float64], aside.WithKey(func(k float64) string { return fmt.Sprint(k) }), aside.WithBatch(batch))
		found, err := read(t.Context(), c, tap, []float64{math.NaN(), 1})
		equal(t, "the row of the other key", found[1], "one")
		if err == nil || errors.Is(err, aside.ErrNotFound) || !strings.Contains(err.Error(), "not equal to itself") {
			t.Errorf("the error is %v", err)
		}
	})
}

// A shaky key cannot be rendered if it is negative.
type shaky struct{ ID int }

func (k shaky) MarshalText() ([]byte, error) {
	if k.ID < 0 {
		return nil, errors.New("it is negative")
	}
	return strconv.AppendInt(nil, int64(k.ID), 10), nil
}

func TestAKeyThatCannotBeRenderedFailsNoOther(t *testing.T) {
	load := func(_ context.Context, k shaky) (string, error) { return fmt.Sprint("row ", k.ID), nil }
	batch := func(_ context.Context, keys []shaky) (map[shaky]string, error) {
		rows := make(map[shaky]string)
		for _, k := range keys {
			rows[k] = fmt.Sprint("row ", k.ID)
		}
		return rows, nil
	}
	keys := []shaky{{1}, {-7}, {2}, {-7}, {-8}}
	for name, opts := range map[string][]aside.Option{"batched": {aside.WithBatch(batch)}, "one by one": nil} {
		for way, read := range manyReaders[shaky, string]() {
			t.Run(name+", "+way, func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					var mu sync.Mutex
					reads, failed := 0, 0
					c, tap := steady(r, load, append(opts, aside.WithObserver(aside.Observer{
						Read: func(_ context.Context, r aside.ReadInfo) {
							mu.Lock()
							defer mu.Unlock()
							reads++
							if r.Err != nil {
								failed++
							}
						},
					}))...)
					found, err := read(t.Context(), c, tap, keys)
					equal(t, "the reads that the Observer is told of", reads, 4)
					equal(t, "the rows of the others", found[shaky{1}]+", "+found[shaky{2}], "row 1, row 2")
					if way == "under Bypass" || way == "closed" { // as a Get does there
						equal(t, "the error", err, nil)
						equal(t, "the rows", found[shaky{-7}]+", "+found[shaky{-8}], "row -7, row -8")
						equal(t, "those that failed", failed, 0)
						return
					}
					if err == nil || !strings.Contains(err.Error(), "{-7}") || !strings.Contains(err.Error(), "it is negative") {
						t.Errorf("the error is %v", err)
					}
					equal(t, "the number of rows", len(found), 2)
					equal(t, "those that failed", failed, 2)
				})
			})
		}
	}
}

func TestAKeyThatCannotBeRenderedHidesNoOtherError(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := steady(r, func(context.Context, shaky) (string, error) { return "", errDown })
		_, err := c.GetMany(t.Context(), []shaky{{1}, {-7}})
		if !errors.Is(err, errDown) || !strings.Contains(err.Error(), "{-7}") {
			t.Errorf("the error is %v", err)
		}
		_, err = c.Get(t.Context(), shaky{-7})
		equal(t, "whether the error of Get names the key", strings.Contains(err.Error(), "{-7}"), true)
	})
}

// Two keys may have one name, where WithKey or a MarshalText says so.
func TestGetManyOfTwoKeysWithOneNameFindsBoth(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := steady(r, func(_ context.Context, k string) (string, error) { return "row", nil }, aside.WithKey(strings.ToLower))
		for range 2 {
			equal(t, "what GetMany finds", fmt.Sprint(mustGetMany(t, c, "a", "A")), "map[A:row a:row]")
		}
		equal(t, "the number of loads", c.Stats().Loads, 1)
	})
}

// No map has a row for it.
func TestABatchLoaderSaysNothingOfAKeyThatIsNotEqualToItself(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, func(context.Context, float64) (string, error) { return "a row", nil },
			aside.WithKey(func(k float64) string { return fmt.Sprint(k) }),
			aside.WithBatch(func(_ context.Context, keys []float64) (map[float64]string, error) { return nil, nil }))
		if _, err := c.GetMany(t.Context(), []float64{math.NaN()}); err == nil || errors.Is(err, aside.ErrNotFound) {
			t.Errorf("GetMany returned %v", err)
		}
		equal(t, "the value", mustGet(t, c, math.NaN()), "a row")
	})
}
