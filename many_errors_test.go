package aside_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside"
)

// Errors of GetMany: of one key, of its load, and of a command for several keys.

// Several keys share a command, but not its fate.
func TestWhatFailsForOneKeyOfACommandFailsForNoOther(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3)
		c, _ := process(r, rows.table.load, aside.WithBatch(rows.loadMany))
		r.raw.LPush(t.Context(), "test:2", "somebody else's")
		for i, hits := range []uint64{0, 2} {
			before := c.Stats()
			equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1, 2, 3)), "1:100 2:200 3:300")
			equal(t, fmt.Sprint("the hits of call ", i), c.Stats().Hits-before.Hits, hits)
			equal(t, "whether it was noticed that 2 is no entry", c.Stats().WrongTypes > before.WrongTypes, true)
		}
		mustInvalidate(t, c, 1, 2, 3)
		equal(t, "the entry that was invalidated beside it", r.get("test:3"), "")
		equal(t, "what lies there", r.raw.LLen(t.Context(), "test:2").Val(), 1)
	})
}

// A Redis that is out of memory fails the writes of a command and answers its reads, here for a key that somebody else has
// filled meanwhile. 65 keys are two commands.
func TestErrorsOfACommandForManyKeysDoNotShiftTheRepliesToTheNext(t *testing.T) {
	r := freshRig(t)
	ids := idsFrom(0, 65)
	rows := newBatchTable(true, ids...)
	c, tap := process(r, rows.table.load, aside.WithBatch(rows.loadMany), patient)
	other, _ := process(r, rows.table.load, patient)
	looked := tap.after("mget")
	memory := func(limit string) {
		if err := r.raw.ConfigSet(t.Context(), "maxmemory", limit).Err(); err != nil {
			t.Error(err)
		}
	}
	go func() {
		looked.wait()
		memory("0")
		_, _ = other.Get(t.Context(), 1) // whose reply comes second
		memory("1")
		looked.release()
	}()
	memory("1")
	for id, p := range mustGetMany(t, c, ids...) {
		equal(t, fmt.Sprint("the product of ", id), p.ID, id)
	}
	equal(t, "whether the batch has the key that was filled", strings.Contains(rows.batches(), "0 1 2"), false)
}

func TestBatchErrorIsReturnedUntouchedWithTheHits(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3)
		c, _ := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		mustGet(t, c, 1)
		cause := errors.New("connection reset")
		rows.fail(cause)
		found, err := c.GetMany(t.Context(), []int{1, 2, 3})
		if err != cause {
			t.Errorf("the error is %v", err)
		}
		equal(t, "what is found all the same", prices(found), "1:100")
		equal(t, "the leases that are left", r.get("test:2")+r.get("test:3"), "")
		rows.fail(nil)
		equal(t, "what GetMany finds next", prices(mustGetMany(t, c, 1, 2, 3)), "1:100 2:200 3:300")
	})
}

func TestWithoutABatchLoaderOneFailureLeavesTheOthers(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{3, "sofa", 300})
		cause := errors.New("connection reset")
		c, _ := steady(r, func(ctx context.Context, id int) (product, error) {
			if id%2 == 0 {
				return product{}, cause
			}
			return rows.load(ctx, id)
		})
		for _, ids := range [][]int{{1, 2, 3}, {1, 2, 3, 4, 6}} {
			found, err := c.GetMany(t.Context(), ids)
			if !errors.Is(err, cause) {
				t.Errorf("the error is %v", err)
			}
			equal(t, "what is found all the same", prices(found), "1:100 3:300")
		}
		equal(t, "the documents of those", r.get("test:1") != "" && r.get("test:3") != "", true)
		equal(t, "the leases that are left", r.get("test:2")+r.get("test:4")+r.get("test:6"), "")
	})
}

// One row that is missing says nothing of the others; and what is not known to be absent must not be remembered as absent.
func TestNotFoundFromABatchLoaderHidesNoRowThatItReturns(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2)
		c, _ := steady(r, rows.table.load, aside.WithBatch(func(ctx context.Context, ids []int) (map[int]product, error) {
			found, err := rows.loadMany(ctx, ids)
			if err == nil && len(found) < len(ids) {
				err = fmt.Errorf("some product: %w", aside.ErrNotFound)
			}
			return found, err
		}))
		_, _ = c.GetMany(t.Context(), []int{1, 9})
		equal(t, "the price", mustGet(t, c, 1).Price, 100)
	})
}

func TestPanicInABatchLoaderReachesTheCallerAndGivesTheLeasesBack(t *testing.T) {
	for _, up := range []bool{true, false} {
		t.Run(fmt.Sprintf("with Redis %v", up), func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				c, tap := steady(r, newTable().load, aside.WithBatch(func(context.Context, []int) (map[int]product, error) { panic("boom") }))
				if !up {
					tap.down()
				}
				func() {
					defer func() { equal(t, "what GetMany panics with", recover(), any("boom")) }()
					_, err := c.GetMany(t.Context(), []int{1, 2})
					t.Errorf("GetMany returned %v", err)
				}()
				equal(t, "the leases that are left", r.get("test:1")+r.get("test:2"), "")
			})
		})
	}
}

// 1 fails, 2 panics, 3 cannot be decoded and then panics.
func TestPanicOfOneKeyReachesTheCallerOfGetManyWhateverElseFails(t *testing.T) {
	for _, ids := range [][]int{{1, 2}, {2, 1}, {1, 3}, {3, 1}} {
		t.Run(fmt.Sprint(ids), func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				r.put("test:3", byHand(time.Hour, `"no product"`))
				c, _ := steady(r, func(_ context.Context, id int) (product, error) {
					if id == 1 {
						return product{}, errDown
					}
					panic("boom")
				})
				defer func() { equal(t, "what GetMany panics with", recover(), any("boom")) }()
				_, err := c.GetMany(t.Context(), ids)
				t.Errorf("GetMany returned %v", err)
			})
		})
	}
}

func TestGoexitInABatchLoaderIsAnErrorAndGivesTheLeasesBack(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		c, _ := steady(r, newTable().load, aside.WithBatch(func(context.Context, []int) (map[int]product, error) {
			runtime.Goexit()
			return nil, nil
		}))
		for range 2 {
			if _, err := c.GetMany(t.Context(), []int{1, 2}); err == nil {
				t.Error("GetMany returned no error")
			}
			equal(t, "the leases that are left", r.get("test:1")+r.get("test:2"), "")
		}
	})
}

func TestOneMGETThatFailedIsOneRedisError(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3, 4, 5)
		c, tap := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		tap.answer("mget", errDown)
		mustGetMany(t, c, 1, 2, 3, 4, 5)
		equal(t, "RedisErrors", c.Stats().RedisErrors, 1)
	})
}
