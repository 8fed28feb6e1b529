package aside_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// What relates the number of keys, or of tags, to WithHold: so many of them take five commands, and each here takes 400 ms of the
// second that is WithHold, where a ctx says so.

const manyKeys = 2_500

type takesTime struct{}

// slowHolds are a server that takes its time for holds that are placed under a ctx of takesTime.
func slowHolds(ctx context.Context, cmds []redis.Cmder, send sender) error {
	verb := aside.Verb(cmds[0])
	if ctx.Value(takesTime{}) != nil && (verb == "hold" || verb == "holdtags" || verb == "record") {
		time.Sleep(400 * time.Millisecond)
	}
	return send(cmds...)
}

// inSlowTx has holds placed by invalidate slowly, those that are placed at the end of the transaction as well, and renewed fast or
// slowly.
func inSlowTx(ctx context.Context, renewals func(ctx context.Context) error, fn func(ctx context.Context) error) error {
	return aside.InTx(context.WithValue(ctx, takesTime{}, true), func(ctx context.Context) error {
		if err := renewals(ctx); err != nil {
			return err
		}
		return fn(ctx)
	})
}

// fast has the renewals that the first Invalidate begins run at once.
func fast(c *aside.Cache[int, product]) func(ctx context.Context) error {
	return func(ctx context.Context) error { return c.Invalidate(context.WithValue(ctx, takesTime{}, nil), 0) }
}

func slow(context.Context) error { return nil }

// veryMany are invalidations of very many keys, or tags. The first key has the first tag.
var veryMany = map[string]func(ctx context.Context, c *aside.Cache[int, product]) error{
	"keys": func(ctx context.Context, c *aside.Cache[int, product]) error {
		return c.Invalidate(ctx, idsFrom(0, manyKeys)...)
	},
	"tags": func(ctx context.Context, c *aside.Cache[int, product]) error {
		tags := make([]string, manyKeys)
		for i := range tags {
			tags[i] = fmt.Sprintf("tag %05d", i)
		}
		return c.InvalidateTags(ctx, tags...)
	},
}

// slowProcess makes a cache whose holds are placed slowly.
func slowProcess(r *rig, rows *table) *aside.Cache[int, product] {
	rdb := r.dial(r.t)
	rdb.AddHook(through(slowHolds))
	return newCache(r.t, rdb, rows.load, categories, aside.WithHold(time.Second), aside.WithRedisTimeout(time.Second))
}

func TestHoldsAreRenewedWhileVeryManyMoreArePlaced(t *testing.T) {
	for name, invalidate := range veryMany {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "tag 00000", 100})
				writer := slowProcess(r, rows)
				reader, _ := process(r, rows.load, categories)
				err := inSlowTx(t.Context(), fast(writer), func(ctx context.Context) error {
					begun := time.Now()
					err := invalidate(ctx, writer)
					if took := time.Since(begun); took < 2*time.Second {
						t.Errorf("it took %v, so this test shows nothing", took)
					}
					mustGet(t, reader, 1)
					rows.setPrice(1, 90) // the COMMIT
					equal(t, "the price after the COMMIT", mustGet(t, reader, 1).Price, 90)
					return err
				})
				equal(t, "the error", err, nil)
			})
		})
	}
}

func TestInvalidateSaysThatHoldsAreTooManyToBeRenewed(t *testing.T) {
	for name, invalidate := range veryMany {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "tag 00000", 100})
				writer := slowProcess(r, rows)
				reader, _ := process(r, rows.load, categories)
				other, err := aside.New(r.dial(t), "other", rows.load)
				equal(t, "the error of New", err, nil)
				defer other.Close()
				err = inSlowTx(t.Context(), slow, func(ctx context.Context) error {
					for what, err := range map[string]error{
						"very many":                      invalidate(ctx, writer),
						"one more, of another cache":     other.Invalidate(ctx, 1),
						"one more tag, of another cache": other.InvalidateTags(ctx, "last"),
						"all, of another cache":          other.InvalidateAll(ctx),
					} {
						if err == nil {
							t.Errorf("Invalidate of %s returned nil", what)
						}
					}
					mustGet(t, reader, 1)
					rows.setPrice(1, 90) // it commits all the same
					return nil
				})
				equal(t, "the error of InTx", err, nil)
				equal(t, "the price after InTx", mustGet(t, reader, 1).Price, 90)
				time.Sleep(2 * time.Second)
				mustGet(t, reader, 1)
				hits := reader.Stats().Hits
				equal(t, "the price later", mustGet(t, reader, 1).Price, 90)
				equal(t, "the hits later", reader.Stats().Hits-hits, 1)
			})
		})
	}
}

// To place the holds once more takes longer than they last. Meanwhile the COMMIT lands whose answer was lost.
func TestHoldsAreRenewedWhileVeryManyAreLeftToExpire(t *testing.T) {
	for name, invalidate := range veryMany {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				var keys []int
				var products []product
				for key := 1; key < manyKeys; key += 100 { // those that are placed last are among them
					keys = append(keys, key)
					products = append(products, product{key, fmt.Sprintf("tag %05d", key), 100})
				}
				rows := newTable(products...)
				writer := slowProcess(r, rows)
				reader, _ := process(r, rows.load, categories)
				ended := make(chan error, 1)
				fn := func(ctx context.Context) error { return invalidate(context.WithValue(ctx, takesTime{}, nil), writer) }
				go func() { ended <- inSlowTx(t.Context(), fn, func(context.Context) error { return errDown }) }()
				time.Sleep(1200 * time.Millisecond)
				for _, key := range keys {
					mustGet(t, reader, key)
				}
				select {
				case <-ended:
					t.Error("InTx has ended, so this test shows nothing")
				default:
				}
				for _, key := range keys {
					rows.setPrice(key, 90)
					equal(t, "the price after the COMMIT", mustGet(t, reader, key).Price, 90)
				}
				equal(t, "the error", <-ended, errDown)
				time.Sleep(2 * time.Second)
				mustGet(t, reader, 1)
				equal(t, "whether it is cached at last", strings.Contains(r.get("test:1"), "value"), true)
			})
		})
	}
}
