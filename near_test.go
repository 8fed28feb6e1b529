package aside_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidecache/aside"
)

func TestANearHitAsksNobody(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		var outcomes sync.Map
		c, tap := process(r, newTable(product{1, "lamp", 100}).load, nearby, aside.WithObserver(aside.Observer{
			Read: func(_ context.Context, i aside.ReadInfo) { outcomes.Store(i.Outcome, i.Name) },
		}))
		nearRead(t, r, c)
		before := tap.sent("get")
		for range 10 {
			equal(t, "the price", mustGet(t, c, 1).Price, 100)
			equal(t, "the price by GetMany", mustGetMany(t, c, 1)[1].Price, 100)
		}
		equal(t, "the GETs of it", tap.sent("get")-before, 0)
		equal(t, "NearEntries", c.Stats().NearEntries, 1)
		name, _ := outcomes.Load(aside.NearHit)
		equal(t, "the name that the Observer was told", name, any("test:1"))
	})
}

// Another process has a copy. When each of these has returned, it reads the new row.
func TestNoNearCopyIsServedAfterAnInvalidation(t *testing.T) {
	ways := map[string]func(ctx context.Context, c *aside.Cache[int, product]) error{
		"Invalidate": func(ctx context.Context, c *aside.Cache[int, product]) error { return c.Invalidate(ctx, 1) },
		"of several": func(ctx context.Context, c *aside.Cache[int, product]) error { return c.Invalidate(ctx, 1, 2, 3) },
		"of very many": func(ctx context.Context, c *aside.Cache[int, product]) error {
			return c.Invalidate(ctx, idsFrom(0, 2000)...)
		},
		"InvalidateTags": func(ctx context.Context, c *aside.Cache[int, product]) error { return c.InvalidateTags(ctx, "lamp") },
		"InvalidateAll":  func(ctx context.Context, c *aside.Cache[int, product]) error { return c.InvalidateAll(ctx) },
		"Caches": func(ctx context.Context, c *aside.Cache[int, product]) error {
			return aside.Caches{c}.InvalidateAll(ctx)
		},
		"changes": func(ctx context.Context, c *aside.Cache[int, product]) error {
			return aside.Invalidate(ctx, c.Keys(7), c.Tags("lamp"))
		},
		"InTx": func(ctx context.Context, c *aside.Cache[int, product]) error {
			return aside.InTx(ctx, func(ctx context.Context) error { return c.Invalidate(ctx, 1) })
		},
		"a tag in InTx": func(ctx context.Context, c *aside.Cache[int, product]) error {
			return aside.InTx(ctx, func(ctx context.Context) error { return c.InvalidateTags(ctx, "lamp") })
		},
		"all in InTx": func(ctx context.Context, c *aside.Cache[int, product]) error {
			return aside.InTx(ctx, func(ctx context.Context) error { return c.InvalidateAll(ctx) })
		},
	}
	for name, invalidate := range ways {
		t.Run(name, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				reader, _ := process(r, rows.load, nearby, categories)
				writer, _ := process(r, rows.load, aside.WithNear(0, time.Minute), categories)
				for price := 100; price > 90; price-- {
					rows.setPrice(1, price)
					equal(t, "the error", invalidate(t.Context(), writer), nil)
					equal(t, "the price", mustGet(t, reader, 1).Price, price)
					equal(t, "the price in memory", nearRead(t, r, reader).Price, price)
				}
				equal(t, "PendingInvalidations", writer.Stats().PendingInvalidations, 0)
			})
		})
	}
}

// From Invalidate on, no process serves a copy: the old row is still there, and is read anew by each.
func TestNoNearCopyIsServedWhileATransactionIsOpen(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		reader, _ := process(r, rows.load, nearby, categories)
		writer, _ := process(r, rows.load, nearby, categories)
		nearRead(t, r, reader)
		inTx(t, func(ctx context.Context) error {
			if err := aside.Invalidate(ctx, writer.Keys(1)); err != nil {
				return err
			}
			mustGet(t, reader, 1)
			rows.setPrice(1, 90) // the COMMIT
			equal(t, "the price after the COMMIT", mustGet(t, reader, 1).Price, 90)
			equal(t, "the price after the COMMIT, in the writer", mustGet(t, writer, 1).Price, 90)
			return nil
		})
		equal(t, "the price in memory", nearRead(t, r, reader).Price, 90)
	})
}

// A reader makes its copy from the document that is about to be removed.
func TestACopyThatIsMadeBeforeTheRemovalIsDropped(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		reader, _ := process(r, rows.load, nearby)
		writer, tap := process(r, rows.load, nearby)
		mustGet(t, reader, 1)
		rows.setPrice(1, 90)
		removal, done := tap.before("invalidate"), make(chan error)
		go func() { done <- writer.Invalidate(context.Background(), 1) }()
		removal.wait()
		equal(t, "the price in memory", nearRead(t, r, reader).Price, 100)
		removal.release()
		equal(t, "the error", <-done, nil)
		equal(t, "the price", mustGet(t, reader, 1).Price, 90)
	})
}

// Copies are made while the hold of a transaction is gone. Whatever finds that out ends them.
func TestCopiesThatAreMadeWhileAHoldIsGoneAreDropped(t *testing.T) {
	ends := map[string]struct {
		wait time.Duration // after that
		err  error
	}{
		"a renewal":          {wait: 3 * time.Second},
		"the release":        {},
		"an unknown outcome": {err: errDown},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				reader, _ := process(r, rows.load, nearby)
				writer, _ := process(r, rows.load, nearby, aside.WithHold(6*time.Second))
				nearRead(t, r, reader)
				time.Sleep(2 * time.Second) // else the hold waits for readers that a young log may not know, until it is renewed
				_ = aside.InTx(t.Context(), func(ctx context.Context) error {
					equal(t, "the error", writer.Invalidate(ctx, 1), nil)
					r.del("test:1")
					equal(t, "the price in memory", nearRead(t, r, reader).Price, 100)
					time.Sleep(end.wait)
					rows.setPrice(1, 90) // the COMMIT
					if end.wait > 0 {
						equal(t, "the price after the COMMIT", mustGet(t, reader, 1).Price, 90)
					}
					return end.err
				})
				equal(t, "the price after InTx", mustGet(t, reader, 1).Price, 90)
			})
		})
	}
}

// The page is made from a category of which this process has an old copy.
func TestReadsInsideALoadLookPastNearCopies(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		rdb := r.dial(t)
		categories := open(t, rdb, "category", rows.load, nearby)
		pages := open(t, rdb, "page", func(ctx context.Context, id int) (product, error) { return categories.Get(ctx, id) }, nearby)
		nearRead(t, r, categories)
		hits := categories.Stats().NearHits
		mustGet(t, pages, 1)
		equal(t, "the near hits of the load", categories.Stats().NearHits-hits, 0)
	})
}

func TestWhatLooksPastNearCopies(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		rdb, tap := r.tapped()
		c := newCache(t, rdb, rows.load, nearby)
		nearRead(t, r, c)
		rows.setPrice(1, 90)
		p, err := c.Get(aside.Bypass(t.Context()), 1)
		equal(t, "the price under Bypass", p.Price, 90)
		equal(t, "the error", err, nil)
		tap.answer("invalidate", redisError("OOM"))
		if c.Invalidate(t.Context(), 1) == nil {
			t.Error("Invalidate returned nil")
		}
		equal(t, "the price while the invalidation is pending", mustGet(t, c, 1).Price, 90)
		tap.answer("invalidate", nil)
		r.until(func() bool { return c.Stats().PendingInvalidations == 0 })
		equal(t, "the price after it", mustGet(t, c, 1).Price, 90)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		nearRead(t, r, c)
		if _, err := c.Get(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("with a ctx that has ended, Get returned %v", err)
		}
		c.Close()
		rows.setPrice(1, 80)
		equal(t, "the price once it is closed", mustGet(t, c, 1).Price, 80)
	})
}

// It is removed from Redis, and nobody can be told.
func TestAnInvalidationThatCannotBeToldIsPending(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		reader, _ := process(r, rows.load, nearby)
		rdb := r.dial(t)
		fails := refusing(rdb, "aside-near")
		writer := newCache(t, rdb, rows.load, nearby)
		nearRead(t, r, reader)
		rows.setPrice(1, 90)
		fails.Store(true)
		if err := writer.Invalidate(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "test:1") {
			t.Errorf("Invalidate returned %v", err)
		}
		equal(t, "PendingInvalidations", writer.Stats().PendingInvalidations, 1)
		fails.Store(false)
		r.until(func() bool { return writer.Stats().PendingInvalidations == 0 })
		equal(t, "the price in the other process", mustGet(t, reader, 1).Price, 90)
	})
}

func TestEveryCallerOwnsItsNearCopy(t *testing.T) {
	type list struct{ Names []string }
	onMiniredis(t, func(t *testing.T, r *rig) {
		c := open(t, r.dial(t), "list", func(context.Context, int) (list, error) { return list{[]string{"lamp"}}, nil }, nearby)
		r.until(func() bool { mustGet(t, c, 1); return c.Stats().NearHits > 0 })
		for range 3 {
			l := mustGet(t, c, 1)
			equal(t, "the name", l.Names[0], "lamp")
			l.Names[0] = "desk"
		}
	})
}

// The fill has been sent when the caller leaves with the row, and modifies it.
func TestACallerOfGetManyWhoLeavesOwnsItsRowsAlsoIfTheyAreCopied(t *testing.T) {
	type list struct{ Names []string }
	onMiniredis(t, func(t *testing.T, r *rig) {
		load := func(context.Context, int) (list, error) { return list{[]string{"lamp"}}, nil }
		c, tap := steady(r, load, nearby)
		r.until(func() bool { mustGet(t, c, 2); return c.Stats().NearHits > 0 }) // from now on fills are copied
		fill := tap.before("fill")
		found := leavingAt(t, fill, c, 1)
		found[1].Names[0] = "desk"
		fill.release()
		r.until(func() bool { return c.Stats().NearEntries == 2 })
		hits := c.Stats().NearHits
		equal(t, "what the next one gets", mustGet(t, c, 1).Names[0], "lamp")
		equal(t, "the near hits", c.Stats().NearHits-hits, 1)
	})
}

// So it does not depend on the process that reads what the codec loses, and no verification takes the loss for a write.
func TestANearCopyOfAFillIsWhatAHitReturns(t *testing.T) {
	type user struct {
		Name string
		Hash string `json:"-"`
	}
	onMiniredis(t, func(t *testing.T, r *rig) {
		load := func(context.Context, int) (user, error) { return user{"ann", "secret"}, nil }
		c, _ := steady(r, load, nearby)
		r.until(func() bool { mustGet(t, c, 2); return c.Stats().NearHits > 0 }) // from now on fills are copied
		equal(t, "what is loaded", mustGet(t, c, 1), user{"ann", "secret"})
		hits := c.Stats().NearHits
		equal(t, "what is near", mustGet(t, c, 1), user{"ann", ""})
		equal(t, "the near hits", c.Stats().NearHits-hits, 1)
	})
}

// A type with an any in it cannot be copied, so its copy is decoded for each caller.
func TestWhatCannotBeCopiedIsDecodedForEachCaller(t *testing.T) {
	type bag struct{ Any any }
	onMiniredis(t, func(t *testing.T, r *rig) {
		c := open(t, r.dial(t), "bag", func(context.Context, int) (bag, error) { return bag{map[string]any{"a": "b"}}, nil }, nearby)
		r.until(func() bool { mustGet(t, c, 1); return c.Stats().NearHits > 0 })
		for range 3 {
			m := mustGet(t, c, 1).Any.(map[string]any)
			equal(t, "what is in it", m["a"], any("b"))
			m["a"] = "c"
		}
	})
}

func TestAnAbsenceIsRememberedNear(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable()
		c, tap := process(r, rows.load, nearby)
		r.until(func() bool {
			_, err := c.Get(t.Context(), 1)
			return errors.Is(err, aside.ErrNotFound) && c.Stats().NearHits > 0
		})
		tap.reset()
		_, err := c.Get(t.Context(), 1)
		if !errors.Is(err, aside.ErrNotFound) || !strings.Contains(err.Error(), "test:1") {
			t.Errorf("Get returned %v", err)
		}
		equal(t, "the number found", len(mustGetMany(t, c, 1)), 0)
		equal(t, "the GETs of it", tap.sent("get"), 0)
		rows.setPrice(1, 90)
		mustInvalidate(t, c, 1)
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

// One row of a bag can be copied for a reader only by decoding it; of the other it is remembered that it is not there.
func TestANearCopyCountsAsAHitOnlyIfItAnswersTheRead(t *testing.T) {
	type bag struct{ Any any }
	var fail func() // nil as long as all goes well
	call := func() {
		if fail != nil {
			fail()
		}
	}
	for what, breaks := range map[string]func(){
		"panics":               func() { panic("boom") },
		"ends its goroutine":   runtime.Goexit,
		"fails, if it decodes": func() {},
	} {
		for _, id := range []int{1, 9} {
			t.Run(fmt.Sprint(what, " for ", id), func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					fail = nil
					y := new(tally)
					c, _ := process(r, func(_ context.Context, id int) (bag, error) {
						if id == 9 {
							return bag{}, aside.ErrNotFound
						}
						return bag{"lamp"}, nil
					}, nearby, aside.WithObserver(y.observer()), aside.WithCodec(failingCodec{fail: func() error {
						if call(); fail != nil {
							return errDown
						}
						return nil
					}}), aside.WithNotFoundFunc(
						func(err error) bool { return false },
						func(int) error { call(); return nil },
					))
					reads := 0
					read := func() {
						reads++
						done := make(chan struct{})
						go func() {
							defer close(done)
							defer func() { _ = recover() }()
							_, _ = c.Get(t.Context(), id)
						}()
						<-done
					}
					r.until(func() bool { read(); return c.Stats().NearHits > 0 })
					hits := c.Stats().NearHits
					fail = breaks
					read()
					if what != "fails, if it decodes" || id == 1 {
						equal(t, "the near hits of a read that had none", c.Stats().NearHits-hits, 0)
					}
					s := c.Stats()
					equal(t, "the reads", s.Hits+s.AbsentHits+s.NearHits+s.Misses, uint64(reads))
					equal(t, "the reads that the Observer was told of", y.reads, reads)
					equal(t, "the near hits that it was told of", y.NearHits, s.NearHits)
				})
			})
		}
	}
}

type failingCodec struct {
	stdCodec
	fail func() error
}

func (c failingCodec) Unmarshal(data []byte, v any) error {
	if err := c.fail(); err != nil {
		return err
	}
	return c.stdCodec.Unmarshal(data, v)
}

func TestAKeyThatIsGivenTwiceIsOneNearHit(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		y := new(tally)
		c, _ := process(r, newTable(product{1, "lamp", 100}).load, nearby, aside.WithObserver(y.observer()))
		r.until(func() bool {
			before := c.Stats().NearHits
			mustGetMany(t, c, 1, 9)
			return c.Stats().NearHits-before == 2
		})
		before := c.Stats().NearHits
		equal(t, "what is found", prices(mustGetMany(t, c, 1, 9, 1, 9)), "1:100")
		equal(t, "the near hits", c.Stats().NearHits-before, 2)
		equal(t, "the near hits that the Observer was told of", y.NearHits, c.Stats().NearHits)
	})
}

// Nobody tells of a DEL by hand.
func TestNoNearCopyIsOlderThanItsMaxAge(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, aside.WithNear(10, 10*time.Second))
		nearRead(t, r, c)
		rows.setPrice(1, 90)
		r.del("test:1")
		for range 11 {
			time.Sleep(time.Second)
			mustGet(t, c, 1)
		}
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

// Processes stop and go on; readers never see an older row than was there when they began.
func TestNearReadsAndWritesOfManyProcesses(t *testing.T) {
	test := func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 0})
		var committed atomic.Int64
		stop := make(chan struct{})
		var group sync.WaitGroup
		for range 3 {
			c, _ := process(r, rows.load, nearby, categories)
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					floor := committed.Load()
					if p := mustGet(t, c, 1); int64(p.Price) < floor {
						t.Errorf("a read that began when the price was %d returned %d", floor, p.Price)
						return
					}
				}
			})
		}
		writer, _ := process(r, rows.load, aside.WithNear(0, time.Minute), categories)
		for price := 1; price <= 100; price++ {
			rows.setPrice(1, price)
			var err error
			switch price % 3 {
			case 0:
				err = writer.Invalidate(t.Context(), 1)
			case 1:
				err = writer.InvalidateTags(t.Context(), "lamp")
			default:
				err = aside.InTx(t.Context(), func(ctx context.Context) error { return writer.Invalidate(ctx, 1) })
			}
			if err != nil {
				t.Error(err)
			}
			committed.Store(int64(price))
		}
		close(stop)
		group.Wait()
	}
	t.Run("redis", func(t *testing.T) { test(t, realRig(t)) })
	t.Run("cluster", func(t *testing.T) { test(t, clusterRig(t)) })
}

func TestNewRefusesNearCopiesThatCannotBe(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		for _, o := range []aside.Option{aside.WithNear(-1, time.Second), aside.WithNear(1, 0)} {
			_, err := aside.New(r.dial(t), "x", newTable().load, o)
			if err == nil || !strings.Contains(err.Error(), "WithNear") {
				t.Errorf("New returned %v", err)
			}
		}
	})
}

func TestAllocationsOfANearHit(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector allocates too; run go test without -race")
	}
	r := realRig(t)
	c, _ := process(r, newTable(product{1, "lamp", 100}).load, nearby)
	nearRead(t, r, c)
	ctx := context.Background()
	equal(t, "the allocations", fmt.Sprint(testing.AllocsPerRun(100, func() { _, _ = c.Get(ctx, 1) })), "0")
}
