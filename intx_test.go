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

func TestOneTransactionDoesNotEndTheHoldOfAnother(t *testing.T) {
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
		equal(t, "PendingInvalidations", writer.Stats().PendingInvalidations, 1)
		tap.answer("invalidate", nil)
		time.Sleep(2 * time.Second)
		equal(t, "the price in the other", mustGet(t, reader, 1).Price, 90)
		equal(t, "Owed, at last", writer.Stats().PendingInvalidations, 0)
	})
}

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

// Also if its process does nothing more: the command that ends the hold removes what came in its place.
func TestTheReleaseOfAHoldThatIsGoneIsEnough(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := process(r, rows.load)
		other, _ := process(r, rows.load)
		ended, gates := make(chan struct{}), make(chan *gate, 1)
		go func() {
			defer close(ended)
			_ = aside.InTx(t.Context(), func(ctx context.Context) error {
				err := c.Invalidate(ctx, 1)
				r.del("test:1")
				equal(t, "what is filled meanwhile", mustGet(t, other, 1).Price, 100)
				rows.setPrice(1, 90)
				gates <- tap.after("hold")
				return err
			})
		}()
		released := <-gates
		released.wait()
		equal(t, "the price", mustGet(t, other, 1).Price, 90)
		released.release()
		<-ended
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

// Each cache stands for itself: the keys of one are held though those of another cannot be.
func TestCachesOfOneTransactionFailByThemselves(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		failing, tap := process(r, rows.load)
		rdb := r.dial(t)
		make := func(name string) *aside.Cache[int, product] {
			c, err := aside.New(rdb, name, rows.load, aside.WithLogger(logger(t)))
			if err != nil {
				t.Fatal(err)
			}
			return closed(t, c)
		}
		first, second := make("first"), make("second")
		caches := []*aside.Cache[int, product]{failing, first, second}
		for _, c := range caches {
			mustGet(t, c, 1)
		}
		tap.answer("hold", errDown)
		tap.answer("invalidate", errDown)
		inTx(t, func(ctx context.Context) error {
			for _, c := range caches {
				err := c.Invalidate(ctx, 1)
				equal(t, "whether Invalidate failed", errors.Is(err, errDown), c == failing)
			}
			rows.setPrice(1, 90)
			for _, c := range []*aside.Cache[int, product]{first, second} {
				equal(t, "the price once committed", mustGet(t, c, 1).Price, 90)
			}
			return nil
		})
		for _, name := range []string{"first:1", "second:1"} {
			equal(t, "the document of "+name, r.get(name), "")
		}
		for _, c := range caches {
			equal(t, "the price", mustGet(t, c, 1).Price, 90)
		}
		equal(t, "Owed of the one that failed", failing.Stats().PendingInvalidations, 1)
		equal(t, "Owed of another", first.Stats().PendingInvalidations, 0)
		tap.answer("invalidate", nil)
	})
}
