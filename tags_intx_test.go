package aside_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

func TestNothingWithATagIsCachedUntilTheTransactionThatInvalidatedItHasEnded(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100}, product{2, "lamps", 200}, product{3, "desks", 300})
		reader, _ := process(r, rows.load, categories)
		writer, _ := process(r, rows.load, categories)
		mustGet(t, reader, 1)
		mustGet(t, reader, 3)
		err := aside.InTx(t.Context(), func(ctx context.Context) error {
			if err := writer.InvalidateTags(ctx, "lamps"); err != nil {
				return err
			}
			for range 2 { // the second has never been cached
				equal(t, "the price before the commit", mustGet(t, reader, 1).Price, 100)
				equal(t, "the other price before the commit", mustGet(t, reader, 2).Price, 200)
			}
			equal(t, "the entries of the tag", r.get("test:1")+r.get("test:2"), "")
			rows.setPrice(1, 90) // COMMIT
			equal(t, "the price after the commit", mustGet(t, reader, 1).Price, 90)
			loads := rows.loads.Load()
			if _, err := writer.Get(ctx, 3); err != nil {
				return err
			}
			equal(t, "the loads of a read inside, which may be of the tag", rows.loads.Load()-loads, 1)
			hits := reader.Stats().Hits
			mustGet(t, reader, 3)
			equal(t, "the hits of another category", reader.Stats().Hits-hits, 1)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		loads := rows.loads.Load()
		for range 3 {
			equal(t, "the price", mustGet(t, reader, 1).Price, 90)
			mustGet(t, reader, 2)
		}
		equal(t, "the number of loads", rows.loads.Load()-loads, 2)
	})
}

// The load has seen the row from before the commit, the process that wrote died after it, and its holds expire while
// the load is still under way.
func TestLoadThatOutlivesTheHoldsOfADeadTransactionDoesNotFill(t *testing.T) {
	for _, began := range []string{"before the hold", "under the hold"} {
		t.Run(began, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newSlowTable(product{1, "lamps", 100})
				reader, _ := process(r, rows.load, categories, aside.WithLoadTimeout(time.Hour))
				writer, _ := process(r, rows.table.load, categories)
				var slow <-chan result
				begin := func() {
					slow = getting(reader, 1)
					<-rows.read
				}
				if began == "before the hold" {
					begin()
				}
				_ = aside.InTx(t.Context(), func(ctx context.Context) error {
					mustHoldTags(t, ctx, writer, "lamps")
					if began == "under the hold" {
						begin()
					}
					rows.setPrice(1, 90) // COMMIT
					return errDown       // which its answer was lost of: the process knows no more than a dead one
				})
				time.Sleep(time.Minute)
				equal(t, "the held tags", heldTags(t, r), 0)
				rows.flow()
				price(t, "what the slow reader gets", slow, 100)
				equal(t, "the price", mustGet(t, reader, 1).Price, 90)
			})
		})
	}
}

func TestHoldsOfTagsAreRenewedAndOneTransactionDoesNotEndThoseOfAnother(t *testing.T) {
	for _, order := range []string{"ABab", "ABba", "AaBb"} {
		t.Run(order, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100})
				c, _ := process(r, rows.load, categories)
				end := map[byte]chan struct{}{'a': make(chan struct{}), 'b': make(chan struct{})}
				open := 0
				for i := range len(order) {
					switch who := order[i]; who {
					case 'A', 'B':
						open++
						go aside.InTx(context.Background(), func(ctx context.Context) error {
							err := c.InvalidateTags(ctx, "lamps")
							<-end[who+'a'-'A']
							return err
						})
					default:
						open--
						close(end[who])
					}
					synctest.Wait()
					for _, renewed := range []bool{false, true} {
						mustGet(t, c, 1)
						what := fmt.Sprintf("whether it is cached after %q, an hour later: %v", order[:i+1], renewed)
						equal(t, what, r.get("test:1") != "", open == 0)
						r.del("test:1")
						time.Sleep(time.Hour)
						synctest.Wait() // for what is renewed at this very moment
					}
				}
			})
		})
	}
}

// Between the eviction of the hold and its renewal, a load has filled what it saw before the commit.
func TestReleaseInvalidatesWhatWasFilledWhileAHoldOfATagWasGone(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		c, _ := process(r, rows.load, categories)
		err := aside.InTx(t.Context(), func(ctx context.Context) error {
			mustHoldTags(t, ctx, c, "lamps")
			loseHeldTags(t, r)
			mustGet(t, c, 1)
			if r.get("test:1") == "" {
				t.Error("it was not filled, so this test shows nothing")
			}
			rows.setPrice(1, 90)
			return nil
		})
		equal(t, "the error", err, nil)
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

// Whatever is recorded in between: held tags and records are in one key.
func TestHoldOfATagMayOutliveTheRecords(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100}, product{2, "desks", 200})
		c, _ := process(r, rows.load, categories, aside.WithHold(48*time.Hour))
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			mustHoldTags(t, ctx, c, "lamps")
			return errDown // the outcome is unknown
		})
		for _, hours := range []time.Duration{1, 30} {
			mustInvalidateTags(t, c, "desks")
			time.Sleep(hours * time.Hour)
			mustGet(t, c, 1)
			equal(t, "the document, later", r.get("test:1"), "")
		}
		time.Sleep(48 * time.Hour)
		mustGet(t, c, 1)
		equal(t, "whether it is filled at last", r.get("test:1") != "", true)
	})
}

func TestARecordOfAProcessThatDiesNextDoesNotShortenTheHoldsOfTags(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		c, _ := process(r, rows.load, categories, aside.WithHold(48*time.Hour))
		dead, tap := process(r, rows.load, categories)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			mustHoldTags(t, ctx, c, "lamps")
			return errDown // the outcome is unknown
		})
		tap.answer("holdtags", errDown)
		_ = dead.InvalidateTags(t.Context(), "desks")
		equal(t, "whether the record was sent", tap.sent("record") > 0, true)
		dead.Close()
		time.Sleep(30 * time.Hour)
		mustGet(t, c, 1)
		equal(t, "the document, later", r.get("test:1"), "")
	})
}

// Its process dies at last, and nobody else invalidates a tag.
func TestAHoldOfATagThatIsRenewedKeepsTheJournal(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		c, tap := process(r, rows.load, categories, aside.WithHold(48*time.Hour))
		other, _ := process(r, rows.load, categories)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			mustHoldTags(t, ctx, c, "lamps")
			time.Sleep(40 * time.Hour)
			for _, verb := range []string{"holdtags", "record"} {
				tap.answer(verb, errDown)
			}
			time.Sleep(20 * time.Hour)
			mustGet(t, other, 1)
			equal(t, "the document", r.get("test:1"), "")
			return errDown
		})
	})
}

func TestTagThatCannotBeHeldIsInvalidatedAfterTheTransaction(t *testing.T) {
	for name, end := range map[string]error{"committed": nil, "unknown": errDown} {
		for _, verb := range []string{"record", "zrangebyscore"} {
			t.Run(name+", failing "+verb, func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					rows := newTable(product{1, "lamps", 100})
					reader, _ := process(r, rows.load, categories)
					writer, tap := process(r, rows.load, categories)
					mustGet(t, reader, 1)
					tap.answer(verb, redisError("OOM"))
					_ = aside.InTx(t.Context(), func(ctx context.Context) error {
						if err := writer.InvalidateTags(ctx, "lamps"); err == nil || !strings.Contains(err.Error(), "lamps") {
							t.Errorf("InvalidateTags inside: %v", err)
						}
						rows.setPrice(1, 90)
						tap.answer(verb, nil)
						return end
					})
					equal(t, "PendingInvalidations", writer.Stats().PendingInvalidations, 0)
					equal(t, "the price", mustGet(t, reader, 1).Price, 90)
					held := heldTags(t, r) == 1
					equal(t, "whether the tag is held", held, end != nil)
				})
			})
		}
	}
}

func TestFailedInvalidateTagsIsOwedByTheWholeProcess(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		rdb, tap := r.tapped()
		writer := newCache(t, rdb, rows.load, categories)
		sibling := newCache(t, rdb, rows.load, categories)
		untagged, err := aside.New(rdb, "untagged", rows.load)
		if err != nil {
			t.Fatal(err)
		}
		defer untagged.Close()
		mustGet(t, sibling, 1)
		mustGet(t, untagged, 1)
		for _, verb := range []string{"record", "invalidate"} {
			tap.answer(verb, redisError("OOM"))
			rows.setPrice(1, rows.rows[1].Price-10)
			if err := writer.InvalidateTags(t.Context(), "lamps"); err == nil {
				t.Error("InvalidateTags returned nil")
			}
			equal(t, "PendingInvalidations", sibling.Stats().PendingInvalidations, 1)
			equal(t, "the price in another cache", mustGet(t, sibling, 1).Price, rows.rows[1].Price)
			hits := untagged.Stats().Hits
			mustGet(t, untagged, 1)
			equal(t, "the hits of a cache without tags", untagged.Stats().Hits-hits, 1)
			tap.answer(verb, nil)
			time.Sleep(2 * time.Second)
			equal(t, "Owed at last", sibling.Stats().PendingInvalidations, 0)
			mustGet(t, sibling, 1)
			hits = sibling.Stats().Hits
			equal(t, "the price in the cache", mustGet(t, sibling, 1).Price, rows.rows[1].Price)
			equal(t, "the hits at last", sibling.Stats().Hits-hits, 1)
		}
	})
}

func TestOtherCachesOfTheProcessGoOnWithTagsThatAClosedOneOwes(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		rdb, tap := r.tapped()
		writer := newCache(t, rdb, rows.load, categories)
		sibling := newCache(t, rdb, rows.load, categories)
		mustGet(t, sibling, 1)
		rows.setPrice(1, 90)
		tap.answer("record", redisError("OOM"))
		if err := writer.InvalidateTags(t.Context(), "lamps"); err == nil {
			t.Error("InvalidateTags returned nil")
		}
		if err := writer.Close(); err == nil || !strings.Contains(err.Error(), "1 invalidations") {
			t.Errorf("Close returned %v", err)
		}
		equal(t, "the price", mustGet(t, sibling, 1).Price, 90)
		tap.answer("record", nil)
		time.Sleep(2 * time.Second)
		equal(t, "PendingInvalidations", sibling.Stats().PendingInvalidations, 0)
		equal(t, "the price in the cache", mustGet(t, sibling, 1).Price, 90)
	})
}

// More tags are owed than are remembered: then all are.
func TestVeryManyOwedTagsAreEveryTag(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamps", 100}, product{2, "desks", 200})
		reader, _ := process(r, rows.table.load, categories)
		slow, _ := process(r, rows.load, categories)
		writer, tap := process(r, rows.table.load)
		mustGet(t, reader, 1)
		late := getting(slow, 2)
		<-rows.read
		tap.answer("record", errors.New("no"))
		tags := make([]string, 10_001)
		for i := range tags {
			tags[i] = fmt.Sprint("tag ", i)
		}
		tags[5000], tags[6000] = "lamps", "desks"
		rows.setPrice(1, 90)
		rows.setPrice(2, 190)
		if err := writer.InvalidateTags(t.Context(), tags...); err == nil {
			t.Error("InvalidateTags returned nil")
		}
		equal(t, "PendingInvalidations", writer.Stats().PendingInvalidations, 1)
		tap.answer("record", nil)
		r.until(func() bool { return writer.Stats().PendingInvalidations == 0 })
		rows.flow()
		price(t, "what the slow reader gets", late, 200)
		equal(t, "the price", mustGet(t, reader, 1).Price, 90)
		equal(t, "the price of the load that was under way", mustGet(t, reader, 2).Price, 190)
	})
}

func TestNothingWithATagIsFilledWhileReplicasLag(t *testing.T) {
	lag := aside.WithReplicaLag(10 * time.Second)
	ends := map[string]func(c *aside.Cache[int, product]) error{
		"outside InTx": func(c *aside.Cache[int, product]) error { return c.InvalidateTags(context.Background(), "lamps") },
		"inside InTx": func(c *aside.Cache[int, product]) error {
			return aside.InTx(context.Background(), func(ctx context.Context) error { return c.InvalidateTags(ctx, "lamps") })
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100}, product{2, "lamps", 200})
				c, _ := process(r, rows.load, categories, lag)
				mustGet(t, c, 1)
				if err := end(c); err != nil {
					t.Fatal(err)
				}
				for range 9 {
					mustGet(t, c, 1)
					mustGet(t, c, 2)
					equal(t, "what is filled", strings.Contains(r.get("test:1")+r.get("test:2"), "value"), false)
					time.Sleep(time.Second)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				mustGet(t, c, 1)
				equal(t, "whether it is filled after the lag", strings.Contains(r.get("test:1"), "value"), true)
			})
		})
	}
}

// To remove what has the tags may take longer than WithHold: 20 tags, and 100 ms for each command.
func TestInvalidateTagsThatTakesLongHolds(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "a", 100})
		rdb, tap := r.tapped()
		tap.become(func(string) error { time.Sleep(100 * time.Millisecond); return nil })
		writer := newCache(t, rdb, rows.load, categories, aside.WithHold(time.Second))
		reader, _ := process(r, rows.load, categories)
		tags := make([]string, 20)
		for i := range tags {
			tags[i] = string(rune('a' + i))
		}
		inTx(t, func(ctx context.Context) error {
			mustHoldTags(t, ctx, writer, tags...)
			tap.become(nil)
			time.Sleep(150 * time.Millisecond) // for a renewal that may be under way
			mustGet(t, reader, 1)
			equal(t, "what is cached before the COMMIT", r.get("test:1"), "")
			rows.setPrice(1, 90)
			equal(t, "the price after the COMMIT", mustGet(t, reader, 1).Price, 90)
			return nil
		})
	})
}

func TestHoldOfATagThatIsPlacedAnewRemovesWhatWasFilledMeanwhile(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		reader, _ := process(r, rows.load, categories)
		writer, _ := process(r, rows.load, categories, aside.WithHold(9*time.Second))
		inTx(t, func(ctx context.Context) error {
			mustHoldTags(t, ctx, writer, "lamps")
			loseHeldTags(t, r)
			mustGet(t, reader, 1)
			time.Sleep(4 * time.Second) // it is placed anew
			rows.setPrice(1, 90)        // the COMMIT
			equal(t, "the price after the COMMIT", mustGet(t, reader, 1).Price, 90)
			return nil
		})
	})
}

func TestATagThatMayBeAnyStringIsHeld(t *testing.T) {
	for _, tag := range oddTags {
		t.Run(strconv.Quote(tag), func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, tag, 100})
				writer, _ := process(r, rows.load, categories)
				reader, _ := process(r, rows.load, categories)
				inTx(t, func(ctx context.Context) error {
					mustHoldTags(t, ctx, writer, tag)
					mustGet(t, reader, 1)
					rows.setPrice(1, 90)
					equal(t, "the price after the COMMIT", mustGet(t, reader, 1).Price, 90)
					return nil
				})
			})
		})
	}
}

// loseHeldTags has the tags that are held forgotten.
func loseHeldTags(t *testing.T, r *rig) {
	t.Helper()
	if n, err := r.raw.ZRemRangeByScore(t.Context(), "aside-tags", "-inf", "(1e14").Result(); n == 0 || err != nil {
		t.Fatalf("%d holds were lost, %v", n, err)
	}
}
