package aside_test

import (
	"context"
	"testing"
	"time"

	"github.com/asidecache/aside"
)

// What two Caches, or two calls of InTx inside each other, have to do with each other's holds.

// invalidations are all ways in which a transaction may say that product 1 has changed, which is a lamp.
var invalidations = map[string]func(ctx context.Context, c *aside.Cache[int, product]) error{
	"a key": func(ctx context.Context, c *aside.Cache[int, product]) error { return c.Invalidate(ctx, 1) },
	"a tag": func(ctx context.Context, c *aside.Cache[int, product]) error { return c.InvalidateTags(ctx, "lamps") },
}

// Both are placed in one transaction, which then cannot renew them.
func TestTheShorterHoldOfOneCacheDoesNotEndTheLongerOneOfAnother(t *testing.T) {
	for name, invalidate := range invalidations {
		for _, shortFirst := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					rows := newTable(product{1, "lamps", 100})
					rdb, tap := r.tapped()
					long := newCache(t, rdb, rows.load, categories, aside.WithHold(30*time.Second))
					short := newCache(t, rdb, rows.load, categories, aside.WithHold(time.Second))
					reader, _ := process(r, rows.load, categories)
					both := []*aside.Cache[int, product]{long, short}
					if shortFirst {
						both[0], both[1] = both[1], both[0]
					}
					inTx(t, func(ctx context.Context) error {
						for _, c := range both {
							if err := invalidate(ctx, c); err != nil {
								return err
							}
						}
						tap.answer("hold", errDown)
						tap.answer("holdtags", errDown)
						time.Sleep(25 * time.Second)
						mustGet(t, reader, 1)
						rows.setPrice(1, 90)
						equal(t, "the price after the COMMIT", mustGet(t, reader, 1).Price, 90)
						tap.answer("hold", nil)
						tap.answer("holdtags", nil)
						return nil
					})
					time.Sleep(5 * time.Second)
					equal(t, "whether it is cached after both have ended", isCached(t, reader), true)
				})
			})
		}
	}
}

// inner are the ways in which an inner InTx may end so that its COMMIT, whose answer was lost, may land yet.
var inner = map[string]func(ctx context.Context, fn func(ctx context.Context) error){
	"an error": func(ctx context.Context, fn func(ctx context.Context) error) {
		_ = aside.InTx(ctx, func(ctx context.Context) error { _ = fn(ctx); return errDown })
	},
	"a panic that is recovered": func(ctx context.Context, fn func(ctx context.Context) error) {
		defer func() { _ = recover() }()
		_ = aside.InTx(ctx, func(ctx context.Context) error { _ = fn(ctx); panic(errDown) })
	},
	"an error, and then another try succeeds": func(ctx context.Context, fn func(ctx context.Context) error) {
		for _, err := range []error{errDown, nil} {
			_ = aside.InTx(ctx, func(ctx context.Context) error { _ = fn(ctx); return err })
		}
	},
	"an error, two deep": func(ctx context.Context, fn func(ctx context.Context) error) {
		_ = aside.InTx(ctx, func(ctx context.Context) error {
			_ = aside.InTx(ctx, fn)
			return errDown
		})
	},
	"an error, under Bypass": func(ctx context.Context, fn func(ctx context.Context) error) {
		_ = aside.InTx(aside.Bypass(ctx), func(ctx context.Context) error { _ = fn(aside.Bypass(ctx)); return errDown })
	},
	"an error, after the outer one has invalidated it as well": func(ctx context.Context, fn func(ctx context.Context) error) {
		_ = fn(ctx)
		_ = aside.InTx(ctx, func(ctx context.Context) error { _ = fn(ctx); return errDown })
	},
	"an error, before the outer one invalidates it as well": func(ctx context.Context, fn func(ctx context.Context) error) {
		_ = aside.InTx(ctx, func(ctx context.Context) error { _ = fn(ctx); return errDown })
		_ = fn(ctx)
	},
}

func TestWhatAnInnerInTxHasInvalidatedThatFailedIsLeftToExpire(t *testing.T) {
	for what, invalidate := range invalidations {
		for how, run := range inner {
			t.Run(what+", "+how, func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					rows := newTable(product{1, "lamps", 100}, product{2, "desks", 200})
					writer, _ := process(r, rows.load, categories, aside.WithHold(10*time.Second))
					reader, _ := process(r, rows.load, categories)
					inTx(t, func(ctx context.Context) error {
						run(ctx, func(ctx context.Context) error { return invalidate(ctx, writer) })
						if err := writer.InvalidateTags(ctx, "desks"); err != nil {
							return err
						}
						return writer.Invalidate(ctx, 2)
					})
					mustGet(t, reader, 2)
					hits := reader.Stats().Hits
					mustGet(t, reader, 2)
					equal(t, "the hits of what the outer one alone has invalidated", reader.Stats().Hits-hits, 0)
					time.Sleep(10*time.Second - time.Millisecond)
					mustGet(t, reader, 1)
					rows.setPrice(1, 90) // the COMMIT lands
					equal(t, "the price after the COMMIT", mustGet(t, reader, 1).Price, 90)
					time.Sleep(time.Millisecond)
					equal(t, "whether it is cached after WithHold", isCached(t, reader), true)
				})
			})
		}
	}
}

func TestInvalidateAllOfAnInnerInTxThatFailedActsAgainAfterWithHold(t *testing.T) {
	for how, run := range inner {
		t.Run(how, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100})
				writer, _ := process(r, rows.load, aside.WithHold(10*time.Second))
				reader, _ := process(r, rows.load)
				inTx(t, func(ctx context.Context) error {
					run(ctx, func(ctx context.Context) error { return writer.InvalidateAll(ctx) })
					return nil
				})
				mustGet(t, reader, 1)
				rows.setPrice(1, 90) // the COMMIT lands
				time.Sleep(11 * time.Second)
				equal(t, "the price after WithHold", mustGet(t, reader, 1).Price, 90)
			})
		})
	}
}

func TestAnInnerInTxThatSucceedsIsReleasedWithTheOuterOne(t *testing.T) {
	for what, invalidate := range invalidations {
		t.Run(what, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100})
				c, _ := process(r, rows.load, categories)
				inTx(t, func(ctx context.Context) error {
					_ = aside.InTx(ctx, func(ctx context.Context) error { return errDown }) // which has invalidated nothing
					err := aside.InTx(ctx, func(ctx context.Context) error { return invalidate(ctx, c) })
					equal(t, "whether it is cached after the inner one", isCached(t, c), false)
					return err
				})
				equal(t, "whether it is cached after the outer one", isCached(t, c), true)
			})
		})
	}
}

func TestHoldOfAnInnerInTxLastsUntilTheOuterOneEnds(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, newTable().load)
		inTx(t, func(ctx context.Context) error {
			err := aside.InTx(ctx, func(ctx context.Context) error { return c.Invalidate(ctx, 1) })
			equal(t, "whether it is held after the inner one", r.held("test:1"), true)
			return err
		})
		equal(t, "whether it is held after the outer one", r.held("test:1"), false)
	})
}
