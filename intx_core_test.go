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

func TestNothingIsCachedFromInvalidateUntilTheTransactionHasEnded(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, _ := process(r, rows.load)
		reader, _ := process(r, rows.load)
		mustGet(t, reader, 1)
		err := aside.InTx(t.Context(), func(ctx context.Context) error {
			if err := writer.Invalidate(ctx, 1); err != nil {
				return err
			}
			for range 3 {
				equal(t, "the price before the commit", mustGet(t, reader, 1).Price, 100)
			}
			if doc := r.get("test:1"); !strings.HasPrefix(doc, `{"hold":`) {
				t.Errorf("the document inside is %s", doc)
			}
			rows.setPrice(1, 90) // COMMIT
			equal(t, "the price after the commit", mustGet(t, reader, 1).Price, 90)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the document after it", r.get("test:1"), "")
		loads := rows.loads.Load()
		for range 3 {
			equal(t, "the price", mustGet(t, reader, 1).Price, 90)
		}
		equal(t, "the number of loads", rows.loads.Load()-loads, 1)
	})
}

func TestLoadThatBeganBeforeTheHoldDoesNotFill(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamp", 100})
		reader, _ := process(r, rows.load)
		writer, _ := process(r, rows.table.load)
		slow := getting(reader, 1)
		<-rows.read // 100
		err := aside.InTx(t.Context(), func(ctx context.Context) error {
			err := writer.Invalidate(ctx, 1)
			rows.setPrice(1, 90)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		rows.go_ <- struct{}{}
		price(t, "what the slow reader gets", slow, 100)
		equal(t, "the price", mustGet(t, writer, 1).Price, 90)
	})
}

func TestHoldsOfATransactionWhoseOutcomeIsUnknownExpire(t *testing.T) {
	ends := map[string]func() error{
		"an error": func() error { return errDown },
		"a panic":  func() error { panic(errDown) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				c, _ := process(r, rows.load, aside.WithHold(10*time.Second))
				run := func() (err error) {
					defer func() {
						if p := recover(); p != nil {
							err = p.(error)
						}
					}()
					return aside.InTx(t.Context(), func(ctx context.Context) error {
						_ = c.Invalidate(ctx, 1)
						time.Sleep(time.Hour) // holds are renewed
						return end()
					})
				}
				if err := run(); err != errDown {
					t.Errorf("InTx ended in %v", err)
				}
				if doc := r.get("test:1"); !strings.HasPrefix(doc, `{"hold":`) {
					t.Errorf("the document after it is %s", doc)
				}
				time.Sleep(10 * time.Second)
				equal(t, "the document after WithHold", r.get("test:1"), "")
			})
		})
	}
}

// Whatever the order in which two transactions on a row begin, invalidate and end, the row is not cached while one of
// them is open.
func TestOneTransactionDoesNotEndTheHoldOfAnother(t *testing.T) {
	const steps = "AaBb" // begin and invalidate, end
	for _, order := range []string{"ABab", "ABba", "AaBb", "BAab", "BAba", "BbAa"} {
		for _, fails := range []string{"", "a", "b", "ab"} {
			t.Run(order+" failing "+fails, func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					rows := newTable(product{1, "lamp", 100})
					c, _ := process(r, rows.load)
					end := map[byte]chan struct{}{'a': make(chan struct{}), 'b': make(chan struct{})}
					open := 0
					for i := range len(order) {
						switch who := order[i]; who {
						case 'A', 'B':
							open++
							go aside.InTx(context.Background(), func(ctx context.Context) error {
								err := c.Invalidate(ctx, 1)
								<-end[who+'a'-'A']
								if strings.Contains(fails, string(who+'a'-'A')) {
									err = errDown
								}
								return err
							})
						case 'a', 'b':
							if !strings.Contains(fails, string(who)) {
								open--
							}
							close(end[who])
						}
						synctest.Wait()
						mustGet(t, c, 1)
						doc := r.get("test:1")
						equal(t, fmt.Sprintf("whether there is a hold after %q", order[:i+1]), strings.HasPrefix(doc, `{"hold":`), open > 0)
					}
				})
			})
		}
	}
	_ = steps
}

func TestHoldThatCannotBePlacedIsAnErrorAndTheKeyIsInvalidatedAfterwards(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, tap := process(r, rows.load)
		reader, _ := process(r, rows.load)
		mustGet(t, reader, 1)
		tap.answer("hold", errDown)
		tap.answer("invalidate", errDown)
		err := aside.InTx(t.Context(), func(ctx context.Context) error {
			if err := writer.Invalidate(ctx, 1); !errors.Is(err, errDown) {
				t.Errorf("Invalidate inside returned %v", err)
			}
			rows.setPrice(1, 90)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the price in this process", mustGet(t, writer, 1).Price, 90)
		equal(t, "Owed", writer.Stats().Owed, 1)
		tap.answer("invalidate", nil)
		time.Sleep(2 * time.Second)
		equal(t, "the price in the other", mustGet(t, reader, 1).Price, 90)
		equal(t, "Owed, at last", writer.Stats().Owed, 0)
	})
}

func TestReadsInsideATransactionNeitherFillNorShare(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200}, product{3, "chair", 300})
		c, tap := process(r, rows.load)
		mustGet(t, c, 2)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			_ = c.Invalidate(ctx, 1)
			tap.reset()
			rows.setPrice(1, 90) // uncommitted, and seen through ctx
			for range 2 {
				p, err := c.Get(ctx, 1)
				equal(t, "the price inside", p.Price, 90)
				equal(t, "its error", err, nil)
			}
			verbs, _ := tap.count()
			equal(t, "the commands for the key that it wrote", fmt.Sprint(verbs), "[]")
			found, err := c.GetMany(ctx, []int{1, 2, 3})
			equal(t, "what GetMany finds", fmt.Sprint(found[1].Price, found[2].Price, found[3].Price, err), "90 200 300 <nil>")
			equal(t, "the document of another key that missed", r.get("test:3"), "")
			return errDown
		})
		equal(t, "Hits", c.Stats().Hits, 1)
	})
}

// While the hold is gone, somebody may fill what the transaction is about to replace.
func TestReleaseOfAHoldThatIsGoneInvalidates(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		other, _ := process(r, rows.load)
		err := aside.InTx(t.Context(), func(ctx context.Context) error {
			err := c.Invalidate(ctx, 1)
			r.del("test:1")
			equal(t, "what is filled meanwhile", mustGet(t, other, 1).Price, 100)
			rows.setPrice(1, 90)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the price", mustGet(t, other, 1).Price, 90)
	})
}

func TestManyKeysOfSeveralCachesAreHeldAndReleasedInOneRoundTripEach(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable()
		a, tap := process(r, rows.load)
		keys := []int{1, 2, 3, 4, 5, 6, 7, 2, 1}
		mustInvalidate(t, a, 100)
		err := aside.InTx(t.Context(), func(ctx context.Context) error {
			return aside.InTx(ctx, func(ctx context.Context) error { // joins
				tap.reset()
				err := a.Invalidate(ctx, keys...)
				_, trips := tap.count()
				equal(t, "the round trips of the holds", trips, 1)
				return err
			})
		})
		_, trips := tap.count()
		equal(t, "the round trips of holds and releases", trips, 2)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the document of the last", r.get("test:7"), "")
	})
}

func TestNothingIsFilledForTheReplicaLag(t *testing.T) {
	writes := map[string]func(t *testing.T, c *aside.Cache[int, product]) error{
		"Invalidate": func(t *testing.T, c *aside.Cache[int, product]) error { return c.Invalidate(t.Context(), 1) },
		"InTx": func(t *testing.T, c *aside.Cache[int, product]) error {
			return aside.InTx(t.Context(), func(ctx context.Context) error { return c.Invalidate(ctx, 1) })
		},
		"InvalidateAll": func(t *testing.T, c *aside.Cache[int, product]) error { return c.InvalidateAll(t.Context()) },
	}
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100}) // a replica that lags
				c, _ := process(r, rows.load, aside.WithReplicaLag(time.Second))
				mustGet(t, c, 1)
				if err := write(t, c); err != nil {
					t.Fatal(err)
				}
				equal(t, "what the replica has", mustGet(t, c, 1).Price, 100)
				time.Sleep(999 * time.Millisecond)
				rows.setPrice(1, 90) // it has caught up
				equal(t, "what the replica has", mustGet(t, c, 1).Price, 90)
				if doc := r.get("test:1"); strings.Contains(doc, "value") {
					t.Errorf("within the lag, the document is %s", doc)
				}
				time.Sleep(time.Millisecond)
				mustGet(t, c, 1)
				if doc := r.get("test:1"); !strings.Contains(doc, "value") {
					t.Errorf("after the lag, the document is %s", doc)
				}
			})
		})
	}
}

func TestFailedInvalidationIsOwedUntilRedisConfirmsIt(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, tap := process(r, rows.load)
		mustGet(t, c, 1)
		mustGet(t, c, 2)
		tap.answer("invalidate", redisError("OOM"))
		rows.setPrice(1, 90)
		if err := c.Invalidate(t.Context(), 1); err == nil {
			t.Error("Invalidate returned nil")
		}
		hits := c.Stats().Hits
		for range 5 {
			equal(t, "the price", mustGet(t, c, 1).Price, 90)
			mustGet(t, c, 2)
			time.Sleep(time.Second)
		}
		equal(t, "the hits, of the other key", c.Stats().Hits-hits, 5)
		attempts := tap.sent("invalidate")
		if attempts < 7 || attempts > 14 {
			t.Errorf("there were %d attempts in 5 s", attempts)
		}
		tap.answer("invalidate", nil)
		time.Sleep(time.Second)
		equal(t, "Owed", c.Stats().Owed, 0)
		mustGet(t, c, 1)
		equal(t, "the price in the cache", mustGet(t, c, 1).Price, 90)
		equal(t, "the hits at last", c.Stats().Hits-hits, 6)
	})
}

// The mark stands before the first attempt is sent.
func TestReadDuringAnInvalidateIsNotServedFromTheCache(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load, patient)
		mustGet(t, c, 1)
		attempt := tap.before("invalidate")
		rows.setPrice(1, 90)
		done := make(chan error)
		go func() { done <- c.Invalidate(context.Background(), 1) }()
		attempt.wait()
		equal(t, "the price while it is under way", mustGet(t, c, 1).Price, 90)
		attempt.release()
		equal(t, "its error", <-done, nil)
	})
}

// What an attempt confirms is what was owed when it was sent.
func TestOlderAttemptDoesNotSettleANewerInvalidate(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load, patient)
		other, _ := process(r, rows.load)
		reply := tap.after("invalidate")
		first := make(chan error)
		go func() { first <- c.Invalidate(context.Background(), 1) }()
		reply.wait()         // Redis has done it
		mustGet(t, other, 1) // fills 100
		rows.setPrice(1, 90)
		tap.answer("invalidate", redisError("OOM"))
		if err := c.Invalidate(t.Context(), 1); err == nil {
			t.Error("the second Invalidate returned nil")
		}
		reply.release()
		<-first
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
		tap.answer("invalidate", nil)
	})
}

func TestInvalidationIsGivenUpOnceTheEntryMustHaveExpired(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load, aside.WithTTL(time.Minute), aside.WithAbsentTTL(0))
		tap.answer("invalidate", redisError("OOM"))
		_ = c.Invalidate(t.Context(), 1)
		time.Sleep(time.Minute)
		equal(t, "Owed, after the TTL", c.Stats().Owed, 1)
		time.Sleep(15 * time.Second)
		equal(t, "Owed, after the TTL and a load", c.Stats().Owed, 0)
	})
}

func TestMoreFailedInvalidationsThanAreRememberedBypassTheCache(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load)
		mustGet(t, c, 1)
		keys := make([]int, 10_001)
		for i := range keys {
			keys[i] = i + 10
		}
		tap.answer("invalidate", redisError("OOM"))
		_ = c.Invalidate(t.Context(), keys...)
		rows.setPrice(1, 90) // that there is a debt for it was forgotten: all are owed
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
		tap.answer("invalidate", nil)
		time.Sleep(3 * time.Second)
		equal(t, "Owed", c.Stats().Owed, 0)
		mustGet(t, c, 1)
		hits := c.Stats().Hits
		mustGet(t, c, 1)
		equal(t, "the hits once all entries are invalidated", c.Stats().Hits-hits, 1)
	})
}

func TestCloseTellsOfInvalidationsThatAreOwed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load)
		tap.answer("invalidate", redisError("OOM"))
		_ = c.Invalidate(t.Context(), 1, 2)
		if err := c.Close(); err == nil || !strings.Contains(err.Error(), "2 invalidations") {
			t.Errorf("Close returned %v", err)
		}
		tap.answer("invalidate", nil)
		equal(t, "what Close returns once Redis takes them", c.Close(), nil)
	})
}

func TestInvalidateAllRemovesTheEntriesAndLeasesOfThisCacheAlone(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable()
		told := make(chan int, 1000)
		c, _ := process(r, rows.table.load, aside.WithObserver(aside.Observer{
			InvalidateAll: func(_ context.Context, entries int) { told <- entries },
		}))
		slow, _ := process(r, rows.load)
		var all []int
		for id := range 1500 {
			rows.setPrice(id, 100)
			all = append(all, id)
		}
		for ids := range chunked(all, 20) {
			if _, err := c.GetMany(t.Context(), ids); err != nil {
				t.Fatal(err)
			}
		}
		rows.setPrice(5000, 100)
		loading := getting(slow, 5000)
		<-rows.read // 100
		foreign := []string{"test:more:1", "tests:1", "tes:1", "test"}
		for _, name := range foreign {
			r.put(name, "theirs")
		}
		for id := range 1500 {
			rows.setPrice(id, 90)
		}
		rows.setPrice(5000, 90)
		if err := c.InvalidateAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		rows.go_ <- struct{}{}
		price(t, "what the load that began before gets", loading, 100)
		equal(t, "the price of what it loaded", mustGet(t, c, 5000).Price, 90)
		for _, id := range []int{0, 1, 700, 1499} {
			equal(t, "the price", mustGet(t, c, id).Price, 90)
		}
		for _, name := range foreign {
			equal(t, name, r.get(name), "theirs")
		}
		close(told)
		sum := 0
		for n := range told {
			sum += n
		}
		if sum < 1501 {
			t.Errorf("the observer was told of %d entries", sum)
		}
	})
}

func TestInvalidateAllInsideATransactionActsAfterIt(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		other, _ := process(r, rows.load)
		mustGet(t, c, 1)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			rows.setPrice(1, 90)
			equal(t, "its error", c.InvalidateAll(ctx), nil)
			p, _ := c.Get(ctx, 1)
			equal(t, "the price inside", p.Price, 90)
			equal(t, "the price outside", mustGet(t, other, 1).Price, 100)
			return nil
		})
		equal(t, "the price after it", mustGet(t, other, 1).Price, 90)
	})
}

func TestInvalidateAllEndsWithItsCtxAndIsFinishedInTheBackground(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.InvalidateAll(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("InvalidateAll returned %v", err)
		}
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
		time.Sleep(time.Second)
		equal(t, "Owed", c.Stats().Owed, 0)
	})
}

func chunked(ids []int, size int) func(func([]int) bool) {
	return func(yield func([]int) bool) {
		for len(ids) > 0 {
			n := min(size, len(ids))
			if !yield(ids[:n]) {
				return
			}
			ids = ids[n:]
		}
	}
}
