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

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

func TestInvalidateTagsRemovesWhatWasFilledWithTheTagsInEveryCache(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true)
		rows.rows[1] = product{1, "lamps", 100}
		rows.rows[2] = product{2, "lamps", 200}
		rows.rows[3] = product{3, "desks", 300}
		products, _ := process(r, rows.table.load, aside.WithBatch(rows.loadMany), categories)
		counts, err := aside.New(r.dial(t), "count", func(_ context.Context, category string) (int, error) {
			n := 0
			for _, p := range rows.rows {
				if p.Name == category {
					n++
				}
			}
			return n, nil
		}, patient, aside.WithTags(func(category string, _ int) []string { return []string{category} }))
		if err != nil {
			t.Fatal(err)
		}
		defer counts.Close()
		writer, _ := process(r, rows.table.load) // has no tags of its own

		mustGetMany(t, products, 1, 2, 3)
		equal(t, "the lamps", mustGet(t, counts, "lamps"), 2)
		equal(t, "the desks", mustGet(t, counts, "desks"), 1)
		rows.setPrice(1, 90)
		delete(rows.rows, 2)
		mustInvalidateTags(t, writer, "lamps", "sofas")
		for _, name := range []string{"test:1", "test:2", "count:lamps"} {
			equal(t, "the document under "+name, r.get(name), "")
		}
		hits := products.Stats().Hits + counts.Stats().Hits
		mustGet(t, products, 3)
		mustGet(t, counts, "desks")
		equal(t, "the hits of what has other tags", products.Stats().Hits+counts.Stats().Hits-hits, 2)
		equal(t, "the price", mustGet(t, products, 1).Price, 90)
		equal(t, "the lamps that are left", mustGet(t, counts, "lamps"), 1)
	})
}

// The indexes that one call writes to are each given as many entries as have that tag.
func TestEntriesOfOneCallAreFoundByTheirTags(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3)
		parity := aside.WithTags(func(id int, _ product) []string { return []string{[]string{"even", "odd"}[id%2]} })
		c, _ := process(r, rows.table.load, aside.WithBatch(rows.loadMany), parity)
		mustGetMany(t, c, 1, 2, 3)
		mustInvalidateTags(t, c, "odd")
		equal(t, "the odd entries", r.get("test:1")+r.get("test:3"), "")
		equal(t, "whether the even one is there", r.get("test:2") != "", true)
		mustInvalidateTags(t, c, "even")
		equal(t, "the even entry", r.get("test:2"), "")
	})
}

func TestEntryOfSeveralTagsIsFoundByEach(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		tags := []string{"lamps", "new", "sale"}
		c, _ := process(r, newTable(product{1, "lamp", 100}).load, aside.WithTags(func(int, product) []string { return tags }))
		for _, tag := range tags {
			mustGet(t, c, 1)
			mustInvalidateTags(t, c, tag)
			equal(t, "the document after InvalidateTags of "+tag, r.get("test:1"), "")
		}
	})
}

// Wherever a load is when its tag is invalidated, it leaves nothing behind, and later callers do not get it.
func TestLoadUnderWayDoesNotFillAfterInvalidateTags(t *testing.T) {
	for _, at := range []string{"index", "since", "fill"} {
		for _, after := range []bool{false, true} {
			if at == "fill" && after {
				continue // it has filled
			}
			t.Run(fmt.Sprintf("%s, executed: %v", at, after), func(t *testing.T) {
				onEveryRedis(t, func(t *testing.T, r *rig) {
					rows := newTable(product{1, "lamps", 100})
					reader, tap := process(r, rows.load, patient, categories)
					writer, _ := process(r, rows.load, patient, categories)
					held := tap.gate(at, after)
					early := getting(reader, 1)
					held.wait()
					rows.setPrice(1, 90)
					mustInvalidateTags(t, writer, "lamps")
					late := getting(reader, 1)
					r.untilMisses(reader, 2)
					held.release()
					price(t, "what the early caller gets", early, 100)
					price(t, "what the caller after InvalidateTags gets", late, 90)
					equal(t, "the price elsewhere", mustGet(t, writer, 1).Price, 90)
				})
			})
		}
	}
}

// What the load indexes comes too late for the invalidation to find it, so the record must not.
func TestLoadThatEndsDuringInvalidateTagsDoesNotFill(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamps", 100})
		reader, _ := process(r, rows.load, categories)
		writer, tap := process(r, rows.table.load, patient, categories)
		slow := getting(reader, 1)
		<-rows.read
		rows.setPrice(1, 90)
		index := tap.after("zrangebyscore")
		done := make(chan error, 1)
		go func() { done <- writer.InvalidateTags(context.Background(), "lamps") }()
		index.wait() // it has read that nothing is of that category
		rows.flow()
		price(t, "what the slow reader gets, which began before", slow, 100)
		index.release()
		equal(t, "the error of InvalidateTags", <-done, nil)
		equal(t, "the price", mustGet(t, writer, 1).Price, 90)
	})
}

func TestSlowLoadDoesNotFillAfterInvalidateTags(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamps", 100}, product{2, "desks", 200})
		reader, _ := process(r, rows.load, categories)
		writer, _ := process(r, rows.table.load, categories)
		lamp, desk := getting(reader, 1), getting(reader, 2)
		<-rows.read
		<-rows.read
		rows.setPrice(1, 90)
		mustInvalidateTags(t, writer, "chairs", "lamps", "sofas")
		rows.flow()
		price(t, "what the slow reader gets, which began before", lamp, 100)
		price(t, "what the reader of another category gets", desk, 200)
		equal(t, "the document that is left", r.get("test:1"), "")
		equal(t, "Refused", reader.Stats().Refused, 1)
		equal(t, "Fills, of the other category", reader.Stats().Fills, 1)
		equal(t, "the next price", mustGet(t, writer, 1).Price, 90)
	})
}

// One of those who wait for a lease that was given back, since its tag was invalidated, takes over; the others wait.
func TestWaitersLoadOnceAfterABarredLoad(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamps", 100})
		holder, _ := process(r, rows.load, categories)
		slow := getting(holder, 1)
		<-rows.read
		var waiting []<-chan result
		for range 5 {
			c, _ := process(r, rows.table.load, categories)
			waiting = append(waiting, getting(c, 1))
		}
		synctest.Wait()
		writer, _ := process(r, rows.table.load)
		rows.setPrice(1, 90)
		mustRecord(t, r, "lamps") // as an InvalidateTags whose steps come later than the check
		before := rows.loads.Load()
		rows.flow()
		price(t, "what the holder gets", slow, 100)
		for _, w := range waiting {
			price(t, "what who waited gets", w, 90)
		}
		equal(t, "the number of loads", rows.loads.Load()-before, 1)
		mustInvalidateTags(t, writer, "lamps")
	})
}

// mustRecord appends to the journal, and does nothing else that InvalidateTags does.
func mustRecord(t *testing.T, r *rig, tag string) {
	t.Helper()
	last := lastRecord(t, r)
	err := r.raw.ZAdd(t.Context(), "aside-tags", redis.Z{Score: last.Score + 1, Member: "x " + tag}).Err()
	if err != nil {
		t.Fatal(err)
	}
}

func lastRecord(t *testing.T, r *rig) redis.Z {
	t.Helper()
	last, err := r.raw.ZRevRangeWithScores(t.Context(), "aside-tags", 0, 0).Result()
	if err != nil || len(last) != 1 {
		t.Fatalf("the last record: %v, %v", last, err)
	}
	return last[0]
}

func TestRefreshDoesNotFillAfterInvalidateTags(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamps", 100})
		reader, _ := process(r, rows.load, append(stale, categories)...)
		writer, _ := process(r, rows.table.load, append(stale, categories)...)
		mustGet(t, writer, 1)
		time.Sleep(2 * time.Minute)
		mustGet(t, reader, 1)
		<-rows.read // its refresh has read 100
		rows.setPrice(1, 90)
		mustInvalidateTags(t, writer, "lamps")
		rows.flow()
		synctest.Wait()
		equal(t, "the document", r.get("test:1"), "")
		equal(t, "the price", mustGet(t, reader, 1).Price, 90)
	})
}

// The row has moved into the category while it was refreshed, and then the category was invalidated: what the refresh
// found is not stored, what was there before was never of that category.
func TestBarredRefreshLeavesWhatIsThere(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "desks", 100})
		reader, _ := process(r, rows.load, append(stale, categories)...)
		writer, _ := process(r, rows.table.load, append(stale, categories)...)
		mustGet(t, writer, 1)
		time.Sleep(2 * time.Minute)
		rows.mu.Lock()
		rows.rows[1] = product{1, "lamps", 90}
		rows.mu.Unlock()
		mustGet(t, reader, 1)
		<-rows.read
		mustInvalidateTags(t, writer, "lamps")
		rows.flow()
		synctest.Wait()
		equal(t, "Refused", reader.Stats().Refused, 1)
		equal(t, "the price", mustGet(t, reader, 1).Price, 100)
		synctest.Wait()
		time.Sleep(time.Second) // it is put off
		mustGet(t, reader, 1)
		synctest.Wait()
		equal(t, "the price after the next refresh", mustGet(t, reader, 1).Price, 90)
	})
}

// What a client, a proxy or the network executes twice, late.
func TestLateDuplicatesLoseNoEntryOfAnIndex(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		reader, readerTap := process(r, rows.load, categories)
		writer, writerTap := process(r, rows.load, categories)
		fill := func() { mustGet(t, reader, 1) }
		again := func(tap *tap, verb string) {
			if _, err := tap.again(r, verb); err != nil {
				t.Fatalf("%s again: %v", verb, err)
			}
		}
		found := func(what string, cents int) {
			t.Helper()
			rows.setPrice(1, cents)
			mustInvalidateTags(t, writer, "lamps")
			equal(t, "the price after "+what, mustGet(t, reader, 1).Price, cents)
		}
		fill()
		found("a fill", 90)
		again(writerTap, "unindex")
		found("an unindex of the time before", 80)
		again(readerTap, "index")
		again(writerTap, "unindex")
		found("an index and then an unindex of the time before", 70)
		again(writerTap, "record")
		again(readerTap, "mark")
		found("a record", 60)
	})
}

func TestJournalThatWasLostRefusesTheLoadsUnderWay(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamps", 100}, product{2, "desks", 200})
		reader, _ := process(r, rows.load, categories)
		writer, _ := process(r, rows.table.load, categories)
		slow := getting(reader, 1)
		<-rows.read
		rows.setPrice(1, 90)
		mustRecord(t, r, "lamps")
		r.del("aside-tags")   // evicted
		mustGet(t, writer, 2) // begins a new one
		rows.flow()
		price(t, "what the slow reader gets", slow, 100)
		equal(t, "the price elsewhere", mustGet(t, writer, 1).Price, 90)
	})
}

func TestHitOfATaggedValueCostsOneGet(t *testing.T) {
	test := func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3)
		c, tap := steady(r, rows.table.load, aside.WithBatch(rows.loadMany), categories)
		get := func(id int) func() { return func() { _, _ = c.Get(t.Context(), id) } }
		many := func() { mustGetMany(t, c, 1, 2, 3) }
		costs(t, tap, "a miss", get(1), "[get lease mark index since fill]", 5)
		costs(t, tap, "a hit", get(1), "[get]", 1)
		costs(t, tap, "GetMany with misses", many, "[mget lease mark index since fill]", 5)
		costs(t, tap, "GetMany of hits", many, "[mget]", 1)
		costs(t, tap, "an absent row", get(9), "[get lease mark fill]", 3)
		tag := rows.rows[1].Name
		costs(t, tap, "InvalidateTags", func() { mustInvalidateTags(t, c, tag) }, "[record zrangebyscore invalidate unindex holdtags]", 5)
		costs(t, tap, "InvalidateTags of nothing", func() { mustInvalidateTags(t, c, "nothing") }, "[record zrangebyscore holdtags]", 3)
		costs(t, tap, "InvalidateTags of no tag", func() { mustInvalidateTags(t, c) }, "[]", 0)
	}
	t.Run("miniredis", func(t *testing.T) { onMiniredis(t, test) })
	t.Run("redis", func(t *testing.T) { test(t, freshRig(t)) })
}

func TestValueWithoutTagsCostsNoIndex(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		c, tap := process(r, rows.load, aside.WithTags(func(int, product) []string { return nil }))
		costs(t, tap, "a miss", func() { mustGet(t, c, 1) }, "[get lease mark fill]", 3)
	})
}

func TestBooksOfTagsDoNotOutliveTheirEntries(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100}, product{2, "lamps", 200}, product{3, "lamps", 300})
		c, _ := process(r, rows.load, categories, aside.WithTTL(time.Hour), aside.WithJitter(0), aside.WithEarlyRefresh(0))
		mustGet(t, c, 1)
		mustGet(t, c, 3)
		time.Sleep(59 * time.Minute)
		mustGet(t, c, 2)
		time.Sleep(2 * time.Minute) // the others are gone
		mustGet(t, c, 1)
		size := r.raw.ZCount(t.Context(), "aside-tag=lamps", "0", "+inf").Val()
		equal(t, "the entries in the index", size, 2)
		time.Sleep(25 * time.Hour)
		keys := r.raw.Keys(t.Context(), "*").Val()
		equal(t, "the keys that are left", fmt.Sprint(keys), "[]")
	})
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		c, _ := process(r, rows.load, categories)
		mustGet(t, c, 1)
		_ = aside.InTx(t.Context(), func(ctx context.Context) error { return errors.Join(c.InvalidateTags(ctx, "lamps"), errDown) })
		mustGet(t, c, 1)
		for _, name := range []string{"aside-tags", "aside-tag=lamps"} {
			if ttl := r.raw.PTTL(t.Context(), name).Val(); ttl <= 0 {
				t.Errorf("the TTL of %s is %v", name, ttl)
			}
		}
	})
}

func TestATagMayBeAnyString(t *testing.T) {
	tags := []string{
		"", " ", "a b", "lag x", "all", "nonce", "tag", "a:b", "%", "\n", "\x00\xff", "ümlaut", "{a}", "*", `"\`, strings.Repeat("long", 1000),
	}
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable()
		for i, tag := range tags {
			rows.rows[i] = product{i, tag, 100}
		}
		reader, _ := process(r, rows.load, aside.WithTags(func(id int, _ product) []string { return []string{tags[id]} }))
		for i := range tags {
			mustGet(t, reader, i)
		}
		for i, tag := range tags {
			rows.setPrice(i, 90)
			if i%2 == 0 {
				mustInvalidateTags(t, reader, tag)
				continue
			}
			_ = aside.InTx(t.Context(), func(ctx context.Context) error { return reader.InvalidateTags(ctx, tag) })
		}
		hits := reader.Stats().Hits
		for i := range tags {
			equal(t, fmt.Sprintf("the price with tag %.10q", tags[i]), mustGet(t, reader, i).Price, 90)
		}
		equal(t, "the hits: each tag was invalidated alone, once", reader.Stats().Hits-hits, 0)
		equal(t, "the keys that hold a colon", len(keysWith(r, "*aside-*:*")), 0)
	})
}

// miniredis has no room for so many in a pipeline.
func TestInvalidateTagsOfManyEntries(t *testing.T) {
	test := func(t *testing.T, r *rig) {
		const n = 3000
		rows := newBatchTable(true)
		ids := make([]int, n)
		for i := range ids {
			ids[i] = i
			rows.rows[i] = product{i, "lamps", 100}
		}
		c, tap := process(r, rows.table.load, aside.WithBatch(rows.loadMany), categories)
		mustInvalidate(t, c, ids...) // teaches each server the script
		mustGetMany(t, c, ids...)
		equal(t, "the entries", len(keysWith(r, "test:*")), n)
		tap.reset()
		mustInvalidateTags(t, c, "lamps")
		equal(t, "the entries that are left", len(keysWith(r, "test:*")), 0)
		equal(t, "the index", r.raw.ZCount(t.Context(), "aside-tag=lamps", "0", "+inf").Val(), 0)
		if _, trips := tap.count(); trips > 30 {
			t.Errorf("it took %d round trips", trips)
		}
	}
	t.Run("redis", func(t *testing.T) { test(t, realRig(t)) })
	t.Run("cluster", func(t *testing.T) { test(t, clusterRig(t)) })
}

// The server stood still between the check and the fill, or the network did.
func TestFillThatComesTooLateIsRefused(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		c, tap := process(r, rows.load, append(stale, categories, aside.WithLoadTimeout(time.Second))...)
		mustGet(t, c, 1)
		time.Sleep(2 * time.Minute)
		tap.answer("fill", errDown)
		rows.setPrice(1, 90)
		mustGet(t, c, 1) // refreshes
		synctest.Wait()
		time.Sleep(10 * time.Minute)
		answer, err := tap.again(r, "fill")
		equal(t, "the answer", fmt.Sprint(answer, err), "0 <nil>")
		equal(t, "the price", mustGet(t, c, 1).Price, 100)
	})
}

func TestWhatTagsOfOthersLeaveUnderTheNamesOfTheBooksIsRefused(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for _, name := range []string{"aside-tags", "aside-tag=lamps"} {
			r.put(name, "mine")
			rows := newTable(product{1, "lamps", 100})
			c, _ := process(r, rows.load, categories)
			mustGet(t, c, 1)
			equal(t, "the document, which could not be found by its tag", r.get("test:1"), "")
			invalidate := func(ctx context.Context) error { return c.InvalidateTags(ctx, "lamps") }
			for where, err := range map[string]error{"outside": invalidate(t.Context()), "inside": aside.InTx(t.Context(), invalidate)} {
				if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
					t.Errorf("InvalidateTags %s InTx with a foreign %s: %v", where, name, err)
				}
			}
			r.del(name)
			r.until(func() bool { return c.Stats().PendingInvalidations == 0 })
		}
	})
}

func TestPanicOfATagsFuncReachesTheCaller(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		c, _ := process(r, rows.load, aside.WithTags(func(int, product) []string { panic("no tags") }))
		defer func() {
			equal(t, "the panic", recover(), any("no tags"))
			equal(t, "the lease", r.get("test:1"), "")
		}()
		_, _ = c.Get(t.Context(), 1)
	})
}

func TestEntryIsInTheIndexAsLongAsItIsServed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		c, _ := process(r, rows.load, categories, aside.WithTTL(time.Minute), aside.WithStale(time.Hour))
		writer, _ := process(r, rows.load)
		mustGet(t, c, 1)
		time.Sleep(30 * time.Minute)
		mustInvalidateTags(t, writer, "lamps")
		equal(t, "the document", r.get("test:1"), "")
	})
}

// The entry lives from its fill on, which may come a while after it was indexed.
func TestEntryWhoseFillCameLateIsInTheIndexAsLongAsItIsServed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		c, tap := process(r, rows.load, append(stale, patient, categories)...)
		writer, _ := process(r, rows.load)
		mustGet(t, c, 1)
		time.Sleep(2 * time.Minute)
		fill := tap.before("fill")
		mustGet(t, c, 1) // refreshes
		fill.wait()
		time.Sleep(50 * time.Second)
		fill.release()
		time.Sleep(time.Hour + 50*time.Second)
		equal(t, "whether it is there", r.get("test:1") != "", true)
		mustInvalidateTags(t, writer, "lamps")
		equal(t, "the document", r.get("test:1"), "")
	})
}

func TestIndexLivesAsLongAsItsLongestEntry(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100}, product{2, "lamps", 200})
		long, _ := process(r, rows.load, categories, aside.WithTTL(time.Hour))
		short, _ := process(r, rows.load, categories, aside.WithTTL(time.Second))
		mustGet(t, long, 1)
		mustGet(t, short, 2)
		time.Sleep(30 * time.Minute)
		mustInvalidateTags(t, long, "lamps")
		equal(t, "the document", r.get("test:1"), "")
	})
}

// The journal was evicted, and the clock of the server set back: what follows has the time of the mark.
func TestJournalThatBeganAgainAtTheSameTimeRefusesTheLoadsUnderWay(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newSlowTable(product{1, "lamps", 100})
		c, _ := process(r, rows.load, categories)
		slow := getting(c, 1)
		<-rows.read
		marked := lastRecord(t, r).Score
		rows.setPrice(1, 90)
		mustInvalidateTags(t, c, "lamps")
		r.del("aside-tags")
		err := r.raw.ZAdd(t.Context(), "aside-tags", redis.Z{Score: marked, Member: "x desks"}).Err()
		if err != nil {
			t.Fatal(err)
		}
		rows.flow()
		price(t, "what the slow reader gets", slow, 100)
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

func TestATagThatMayBeAnyStringVoidsLoadsUnderWay(t *testing.T) {
	for _, tag := range oddTags {
		t.Run(strconv.Quote(tag), func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, r *rig) {
				rows := newSlowTable(product{1, tag, 100})
				reader, _ := process(r, rows.load, categories)
				writer, _ := process(r, rows.table.load, categories)
				slow := getting(reader, 1)
				<-rows.read
				rows.setPrice(1, 90)
				mustInvalidateTags(t, writer, tag)
				rows.flow()
				price(t, "what the slow reader gets", slow, 100)
				equal(t, "the document", r.get("test:1"), "")
				equal(t, "the price", mustGet(t, writer, 1).Price, 90)
				mustGet(t, writer, 1)
				equal(t, "the hits", writer.Stats().Hits, 1)
			})
		})
	}
}

func TestValueWithTooManyTagsIsReturnedAndNotStored(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for n, stored := range map[int]bool{1000: true, 1001: false, 20_000: false} {
			tags := make([]string, n, 2*n)
			for i := range tags {
				tags[i] = strconv.Itoa(i)
			}
			tags = append(tags, tags...) // each of them twice
			logged := new(lines)
			rows := newTable(product{1, "lamps", 100})
			c, tap := process(r, rows.load, aside.WithTags(func(int, product) []string { return tags }), logged.option())
			mustGet(t, c, 1)
			mustGet(t, c, 1)
			equal(t, fmt.Sprintf("whether a value with %d tags is stored", n), r.get("test:1") != "", stored)
			equal(t, "whether somebody waited for a lease", c.Stats().Waits, 0)
			if !stored {
				equal(t, "the loads", rows.loads.Load(), 2)
				equal(t, "the commands about tags", tap.sent("index")+tap.sent("since"), 0)
				for _, part := range []string{"level=ERROR", "cache=test", "name=test:1", fmt.Sprint("tags=", n), "most=1000"} {
					if text := logged.String(); !strings.Contains(text, part) {
						t.Errorf("%q does not say %s", text, part)
					}
				}
			}
			equal(t, "whether it is found by the last tag", c.InvalidateTags(t.Context(), tags[n-1]), nil)
			equal(t, "the document", r.get("test:1"), "")
		}
	})
}

// The load ends with its time for Redis spent, at each of its commands: nobody waits for its lease to expire.
func TestLeaseIsGivenBackWhenTimeIsUp(t *testing.T) {
	for _, at := range []string{"index", "since", "fill"} {
		t.Run(at, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100})
				c, tap := process(r, rows.load, categories)
				other, _ := process(r, rows.load, categories)
				held := tap.before(at)
				mustGet(t, c, 1)
				held.release()
				synctest.Wait()
				start := time.Now()
				mustGet(t, other, 1)
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("the next reader waited %v", took)
				}
			})
		})
	}
}
