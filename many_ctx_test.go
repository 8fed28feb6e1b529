package aside_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// Callers of GetMany who leave, and what the end of a ctx does to any read.

// Loads take a second, 16 at a time.
func TestGetManyWhoseCtxEndsMidwayReturnsTheRowsThatAreThere(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		ids := idsFrom(1, 48)
		answered, ended := 0, 0
		c, _ := steady(r, func(_ context.Context, id int) (product, error) {
			time.Sleep(time.Second)
			return product{id, "lamp", 100 * id}, nil
		}, aside.WithObserver(aside.Observer{Read: func(_ context.Context, r aside.ReadInfo) {
			if r.Err == nil {
				answered++
			} else if errors.Is(r.Err, context.DeadlineExceeded) {
				ended++
			}
		}}))
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		found, err := c.GetMany(ctx, ids)
		equal(t, "the error", err, context.DeadlineExceeded)
		equal(t, "the number of rows", len(found), 32)
		for id, p := range found {
			equal(t, "a price", p.Price, 100*id)
		}
		equal(t, "what the Observer is told", fmt.Sprint(answered, " rows, ", ended, " that did not come"), "32 rows, 16 that did not come")
		time.Sleep(time.Minute)
		equal(t, "the number of rows for the next", len(mustGetMany(t, c, ids...)), 48)
		equal(t, "the number of loads", c.Stats().Loads, 48)
	})
}

func TestGetManyWhoseCtxEndsInTheSecondFetchReturnsWhatTheFirstBrought(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, func(_ context.Context, id int) (product, error) {
			if id == 2 {
				time.Sleep(time.Second)
			}
			return product{id, "lamp", 100}, nil
		})
		r.put("test:2", byHand(time.Hour, `["lamp"]`)) // cannot be decoded
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		found, err := c.GetMany(ctx, []int{1, 2})
		equal(t, "the number of rows", len(found), 1)
		equal(t, "the price", found[1].Price, 100)
		equal(t, "the error", err, context.DeadlineExceeded)
		time.Sleep(time.Minute)
	})
}

func TestCallerOfGetManyWhoLeavesGetsItsHitsAndTheLoadFills(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(false, 1, 2, 3)
		c, _ := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		mustGet(t, c, 1)
		ctx, cancel := context.WithCancel(t.Context())
		many := gettingMany(ctx, c, 1, 2, 3)
		<-rows.read
		cancel()
		left := <-many
		equal(t, "what it returns", fmt.Sprint(left.prices, " ", left.err), "1:100 context canceled")
		rows.go_ <- struct{}{}
		r.until(func() bool { return c.Stats().Fills == 3 })
		equal(t, "what GetMany finds next", prices(mustGetMany(t, c, 1, 2, 3)), "1:100 2:200 3:300")
		equal(t, "the batches", rows.batches(), "[2 3]")
		if found, err := c.GetMany(ctx, []int{1}); !errors.Is(err, context.Canceled) || len(found) > 0 {
			t.Errorf("GetMany under a ctx that has ended returns %v, %v", found, err)
		}
	})
}

// leavingAt returns what a caller of GetMany finds who leaves while a command is held.
func leavingAt[V any](t *testing.T, held *gate, c *aside.Cache[int, V], id int) map[int]V {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan map[int]V)
	go func() {
		found, _ := c.GetMany(ctx, []int{id})
		done <- found
	}()
	held.wait()
	leave()
	return <-done
}

// The fill has not begun when the caller leaves with the row, and modifies it.
func TestACallerOfGetManyWhoLeavesMayModifyTheRowsThatAreStillBeingStored(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		load := func(context.Context, int) ([]byte, error) { return []byte("bytes"), nil }
		opts := []aside.Option{aside.WithCodec(rawCodec{}), aside.WithTags(func(int, []byte) []string { return []string{"tag"} })}
		c, tap := steady(r, load, opts...)
		index := tap.before("index") // which comes between the load and the fill
		found := leavingAt(t, index, c, 1)
		equal(t, "what the caller who leaves gets", string(found[1]), "bytes")
		found[1][0] = 'X'
		index.release()
		r.until(func() bool { return c.Stats().Fills == 1 })
		equal(t, "what the next one gets", string(mustGet(t, c, 1)), "bytes")
	})
}

func TestAGetManyWhoseCallerHasLeftBeginsNoFurtherLoad(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, slowly(newBatchTable(true, idsFrom(1, 100)...).table.load))
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err := c.GetMany(ctx, idsFrom(1, 100))
		equal(t, "the error", err, context.DeadlineExceeded)
		time.Sleep(time.Minute)
		equal(t, "Loads", c.Stats().Loads, 32)
		equal(t, "Fills", c.Stats().Fills, 32)
	})
}

func TestCloseWaitsForAGetManyWhoseCtxCannotEnd(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(false, 1, 2)
		c, _ := process(r, func(ctx context.Context, id int) (product, error) {
			time.Sleep(time.Second)
			return rows.table.load(ctx, id)
		})
		start := time.Now()
		go func() { _, _ = c.GetMany(context.Background(), []int{1}) }()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		equal(t, "the time that Close waited", time.Since(start), time.Second)
	})
}

func TestEveryErrorOfACtxIsItsCauseAsWell(t *testing.T) {
	gone := errors.New("the user went away")
	type read func(ctx context.Context, c *aside.Cache[int, product]) error
	reads := map[string]read{
		"Get": func(ctx context.Context, c *aside.Cache[int, product]) error { _, err := c.Get(ctx, 1); return err },
		"GetMany": func(ctx context.Context, c *aside.Cache[int, product]) error {
			_, err := c.GetMany(ctx, []int{1, 2})
			return err
		},
		"Get under Bypass": func(ctx context.Context, c *aside.Cache[int, product]) error {
			_, err := c.Get(aside.Bypass(ctx), 1)
			return err
		},
		"GetMany under Bypass": func(ctx context.Context, c *aside.Cache[int, product]) error {
			_, err := c.GetMany(aside.Bypass(ctx), []int{1, 2})
			return err
		},
	}
	for name, read := range reads {
		for _, batched := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", batched ", batched), func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					rows := newSlowTable(product{9, "lamp", 100})
					opts := []aside.Option{aside.WithMaxLoads(1)}
					if batched {
						opts = append(opts, aside.WithBatch(rows.loadMany))
					}
					c, _ := steady(r, rows.load, opts...)
					check := func(when string, err error, overloaded bool) {
						if !errors.Is(err, context.Canceled) || !errors.Is(err, gone) || errors.Is(err, aside.ErrOverloaded) != overloaded {
							t.Errorf("%s: %v", when, err)
						}
					}
					leave := func() error {
						ctx, cancel := context.WithCancelCause(t.Context())
						done := make(chan error)
						go func() { done <- read(ctx, c) }()
						synctest.Wait()
						cancel(gone)
						return <-done
					}
					ctx, cancel := context.WithCancelCause(t.Context())
					cancel(gone)
					check("before", read(ctx, c), false)
					plain, stop := context.WithCancel(t.Context())
					stop()
					equal(t, "the error without a cause", read(plain, c), context.Canceled)
					if !strings.HasSuffix(name, "under Bypass") { // which needs no place, and has the loader's error
						first := getting(c, 9)
						<-rows.read
						check("waiting for a place", leave(), true)
						rows.go_ <- struct{}{}
						<-first
						if name == "Get" || !batched {
							check("waiting for a load", leave(), name == "GetMany") // whose other key has no place
							<-rows.read
						}
					}
					rows.flow()
				})
			})
		}
	}
}

// The fetch has given up by the time that the caller has decoded its hit, and looks for either.
func TestTheCauseOfACtxThatEndsWhileGetManyDecodesIsKept(t *testing.T) {
	gone := errors.New("the user went away")
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := steady(r, newTable(product{1, "lamp", 100}).load, aside.WithCodec(slowCodec{}))
		for range 20 {
			mustGet(t, c, 1)
			deadLease(r, "test:2", time.Minute)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(500*time.Millisecond, func() { cancel(gone) })
			found, err := c.GetMany(ctx, []int{1, 2})
			equal(t, "what is found", prices(found), "1:100")
			if !errors.Is(err, context.Canceled) || !errors.Is(err, gone) {
				t.Errorf("GetMany returned %v", err)
			}
		}
	})
}

// A slowCodec takes a second to decode.
type slowCodec struct{ stdCodec }

func (c slowCodec) Unmarshal(data []byte, v any) error {
	time.Sleep(time.Second)
	return c.stdCodec.Unmarshal(data, v)
}

// The loader, which takes a second, ignores its ctx.
func TestAGetManyOnItsCallersGoroutineBeginsNoLoadOnceItsCtxHasEnded(t *testing.T) {
	tooLate := errors.New("the user waits no longer")
	type cache = *aside.Cache[int, product]
	type many func(ctx context.Context) (map[int]product, error)
	modes := map[string]func(ctx context.Context, c cache, read many) (map[int]product, error){
		"under Bypass": func(ctx context.Context, _ cache, read many) (map[int]product, error) { return read(aside.Bypass(ctx)) },
		"inside InTx": func(ctx context.Context, _ cache, read many) (found map[int]product, err error) {
			_ = aside.InTx(ctx, func(ctx context.Context) error { found, err = read(ctx); return err })
			return found, err
		},
		"once closed": func(ctx context.Context, c cache, read many) (map[int]product, error) {
			_ = c.Close()
			return read(ctx)
		},
	}
	for mode, run := range modes {
		t.Run(mode, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				y := new(tally)
				c, _ := steady(r, func(_ context.Context, id int) (product, error) {
					time.Sleep(time.Second)
					return product{id, "lamp", 100}, nil
				}, aside.WithObserver(y.observer()))
				ctx, cancel := context.WithTimeoutCause(t.Context(), 2500*time.Millisecond, tooLate)
				defer cancel()
				found, err := run(ctx, c, func(ctx context.Context) (map[int]product, error) { return c.GetMany(ctx, idsFrom(1, 9)) })
				equal(t, "what is found", prices(found), "1:100 2:100 3:100")
				if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, tooLate) {
					t.Errorf("GetMany returned %v", err)
				}
				equal(t, "Loads", c.Stats().Loads, 3)
				equal(t, "the reads that the Observer was told of", y.reads, 9)
			})
		})
	}
}
