package aside_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside"
)

// Replicas of the database lag behind it: what is read within WithReplicaLag of a write is not cached.

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

func TestShorterReplicaLagDoesNotShortenALongerOne(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		long, _ := process(r, newTable().load, aside.WithReplicaLag(10*time.Second))
		short, _ := process(r, newTable().load, aside.WithReplicaLag(time.Second))
		mustInvalidate(t, long, 1)
		mustInvalidate(t, short, 1)
		time.Sleep(10*time.Second - time.Millisecond)
		equal(t, "whether it is held just before the longer lag", r.held("test:1"), true)
		time.Sleep(time.Millisecond)
		equal(t, "the document after it", r.get("test:1"), "")
	})
}

// However the last hold came to be placed: at first, by a renewal, or at the end of a transaction whose outcome is unknown.
func TestHoldThatIsLeftToExpireLastsForTheReplicaLagBesides(t *testing.T) {
	for name, cutOff := range map[string]time.Duration{"at first": 0, "by a renewal": 3 * time.Second, "at the end": -1} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				c, tap := process(r, newTable().load, aside.WithHold(6*time.Second), aside.WithReplicaLag(10*time.Second))
				_ = aside.InTx(t.Context(), func(ctx context.Context) error {
					_ = c.Invalidate(ctx, 1)
					if cutOff < 0 {
						return errDown
					}
					time.Sleep(cutOff)
					tap.answer("hold", errDown)
					time.Sleep(16*time.Second - cutOff - time.Millisecond)
					equal(t, "whether it is held just before", r.held("test:1"), true)
					time.Sleep(4 * time.Second)
					equal(t, "whether it is held afterwards", r.held("test:1"), false)
					return nil
				})
				if cutOff < 0 {
					time.Sleep(16*time.Second - time.Millisecond)
					equal(t, "whether it is held just before", r.held("test:1"), true)
					time.Sleep(time.Millisecond)
					equal(t, "whether it is held afterwards", r.held("test:1"), false)
				}
				tap.answer("hold", nil)
			})
		})
	}
}

func TestManyInvalidationsWithinTheReplicaLagDoNotGrowTheDocument(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, newTable().load, aside.WithReplicaLag(10*time.Second))
		for range 500 {
			mustInvalidate(t, c, 1)
		}
		if n := len(r.get("test:1")); n > 1000 {
			t.Errorf("after 500 invalidations the document has %d bytes, which each read transfers and each write decodes", n)
		}
	})
}

// A DEL is possible when Redis is out of memory, so an Invalidate must not need more.
func TestInvalidateWithReplicaLagRemovesTheValueFromARedisThatIsOutOfMemory(t *testing.T) {
	r := freshRig(t)
	r.shared = true
	rows := newTable(product{1, "lamp", 100})
	writer, _ := process(r, rows.load, aside.WithReplicaLag(time.Second))
	reader, _ := process(r, rows.load, aside.WithReplicaLag(time.Second))
	mustGet(t, reader, 1)
	if err := r.raw.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	rows.setPrice(1, 90)
	err := writer.Invalidate(t.Context(), 1)
	equal(t, "the price, Invalidate having returned "+fmt.Sprint(err), mustGet(t, reader, 1).Price, 90)
	r.raw.ConfigSet(t.Context(), "maxmemory", "0")
}

// A key that is not there when InvalidateAll gets to it gets no hold for the lag.
func TestInvalidateAllDoesNotSettleAKeyThatIsOwedTheLag(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}) // as the replica has it, and the primary no longer
		c, tap := process(r, rows.load, aside.WithReplicaLag(10*time.Second))
		tap.answer("hold", redisError("OOM"))
		if c.Invalidate(t.Context(), 1) == nil {
			t.Error("Invalidate returned nil")
		}
		tap.answer("hold", nil)
		equal(t, "InvalidateAll", c.InvalidateAll(t.Context()), nil)
		time.Sleep(2 * time.Second)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

func TestLagThatAnUnknownHoldKeepsFromBeingNotedIsOwed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, aside.WithReplicaLag(10*time.Second))
		equal(t, "the error", r.raw.Set(t.Context(), "test:1", `{"hold":"x"}`, 100*time.Millisecond).Err(), nil)
		if c.Invalidate(t.Context(), 1) == nil {
			t.Error("Invalidate returned nil")
		}
		time.Sleep(2 * time.Second)
		mustGet(t, c, 1) // the replica lags
		rows.setPrice(1, 90)
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

// More names are owed than are remembered, and each is owed the lag as well. None is there when Redis is back, so that none can
// be held. Another process does not know of them, and loads from the replica.
func TestWhatIsOwedInBulkIsOwedTheLag(t *testing.T) {
	const lag = 10 * time.Second
	many := map[string]func(c *aside.Cache[int, product]) error{
		"keys": func(c *aside.Cache[int, product]) error {
			return c.Invalidate(context.Background(), idsFrom(0, 10_001)...)
		},
		"tags": func(c *aside.Cache[int, product]) error {
			tags := make([]string, 10_001)
			for i := range tags {
				tags[i] = fmt.Sprint("tag ", i)
			}
			return c.InvalidateTags(context.Background(), tags...)
		},
	}
	for name, invalidate := range many {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "tag 5000", 100}) // as the replica has it, and the primary no longer
				writer, tap := process(r, rows.load, categories, aside.WithReplicaLag(lag))
				reader, _ := process(r, rows.load, categories, aside.WithReplicaLag(lag))
				for _, verb := range []string{"hold", "holdtags"} {
					tap.answer(verb, redisError("OOM"))
				}
				if invalidate(writer) == nil {
					t.Error("Invalidate returned nil")
				}
				failed := time.Now()
				equal(t, "PendingInvalidations", writer.Stats().PendingInvalidations, 1)
				for _, verb := range []string{"hold", "holdtags"} {
					tap.answer(verb, nil)
				}
				mustGet(t, reader, 1)
				time.Sleep(2 * time.Second) // what was there is removed, and the lag goes on
				equal(t, "InvalidateAll", writer.InvalidateAll(t.Context()), nil)
				equal(t, "the scans of the next seconds", scansWithin(tap, 5*time.Second), 0)
				for _, c := range []*aside.Cache[int, product]{writer, reader} {
					mustGet(t, c, 1)
				}
				equal(t, "Owed while the replica may lag", writer.Stats().PendingInvalidations, 1)
				rows.setPrice(1, 90) // it has caught up
				time.Sleep(time.Until(failed.Add(lag + 2*time.Second)))
				equal(t, "Owed at last", writer.Stats().PendingInvalidations, 0)
				equal(t, "the price", mustGet(t, reader, 1).Price, 90)
			})
		})
	}
}

// A tag that is owed by itself is owed the lag, whatever else is paid.
func TestTagsThatAreOwedInBulkDoNotSettleOneThatIsOwedTheLag(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100}) // as the replica has it
		c, tap := process(r, rows.load, categories, aside.WithReplicaLag(10*time.Second))
		tap.answer("holdtags", redisError("OOM"))
		tags := make([]string, 10_001)
		for i := range tags {
			tags[i] = fmt.Sprint("tag ", i)
		}
		if c.InvalidateTags(t.Context(), tags...) == nil || c.InvalidateTags(t.Context(), "lamps") == nil {
			t.Error("InvalidateTags returned nil")
		}
		time.Sleep(15 * time.Second) // all are removed twice, and "lamps" cannot be held
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
		tap.answer("holdtags", nil)
		time.Sleep(2 * time.Second)
		equal(t, "Owed at last", c.Stats().PendingInvalidations, 0)
		equal(t, "whether it is cached in the lag", isCached(t, c), false)
	})
}

func scansWithin(p *tap, d time.Duration) int {
	p.reset()
	time.Sleep(d)
	return p.sent("scan")
}

func TestShorterReplicaLagDoesNotShortenALongerOneOfATag(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		long, _ := process(r, rows.load, categories, aside.WithReplicaLag(time.Minute))
		short, _ := process(r, rows.load, categories, aside.WithReplicaLag(time.Second))
		mustInvalidateTags(t, long, "lamps")
		mustInvalidateTags(t, short, "lamps")
		time.Sleep(30 * time.Second)
		mustGet(t, long, 1)
		equal(t, "the document", r.get("test:1"), "")
	})
}

// The lag begins when the transaction has ended, by the command that ends the hold.
func TestShorterReplicaLagOfATransactionDoesNotShortenALongerOneOfATag(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		for _, lag := range []time.Duration{time.Minute, time.Second} {
			c, _ := process(r, rows.load, categories, aside.WithReplicaLag(lag))
			inTx(t, func(ctx context.Context) error { return c.InvalidateTags(ctx, "lamps") })
		}
		time.Sleep(30 * time.Second)
		other, _ := process(r, rows.load, categories)
		mustGet(t, other, 1)
		equal(t, "the document", r.get("test:1"), "")
	})
}

// Whichever Cache of the client sends it, also when it is tried again. No entry has the tag yet.
func TestInvalidateTagsKeepsTheLagOfTheCachesThatHaveOne(t *testing.T) {
	for name, fail := range map[string]bool{"at once": false, "tried again": true} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100})
				rdb, tap := r.tapped()
				pages := newCache(t, rdb, rows.load, categories, aside.WithReplicaLag(10*time.Second))
				other, err := aside.New(rdb, "other", rows.load, aside.WithLogger(logger(t)))
				if err != nil {
					t.Fatal(err)
				}
				defer other.Close()
				if fail {
					for _, verb := range []string{"record", "holdtags"} {
						tap.answer(verb, redisError("OOM"))
					}
					_ = other.InvalidateTags(t.Context(), "desks") // which begins to try again
					_ = pages.InvalidateTags(t.Context(), "lamps")
					for _, verb := range []string{"record", "holdtags"} {
						tap.answer(verb, nil)
					}
					time.Sleep(time.Second)
				} else {
					mustInvalidateTags(t, other, "lamps")
				}
				equal(t, "PendingInvalidations", pages.Stats().PendingInvalidations, 0)
				mustGet(t, pages, 1) // the replica lags
				time.Sleep(2 * time.Second)
				rows.setPrice(1, 90)
				equal(t, "the price", mustGet(t, pages, 1).Price, 90)
			})
		})
	}
}
