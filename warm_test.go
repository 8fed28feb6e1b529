package aside_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

// lived is a cache whose entries last longer than these tests.
var lived = []aside.Option{categories, aside.WithTTL(time.Hour), aside.WithEarlyRefresh(0)}

// Redis evicts what is used least. Nothing but fills touches an index, and nothing fills here. What a full Redis goes through in
// many minutes takes some seconds here, and the minute after which the indexes are looked up is as much shorter.
func TestIndexIsNotEvictedBeforeTheEntriesThatAreHit(t *testing.T) {
	for _, policy := range []string{"allkeys-lru", "volatile-lru"} {
		t.Run(policy, func(t *testing.T) {
			t.Cleanup(aside.WarmEvery(200 * time.Millisecond)) // undone once its caches are closed
			s := testserver.Redis(t, "--maxmemory", "8mb", "--maxmemory-policy", policy)
			r := rigOf(t, s.Addr)
			r.shared = true
			const hot = 20
			rows := newTable()
			for id := range hot {
				rows.rows[id] = product{id, "tag" + strconv.Itoa(id), 100}
			}
			logged := new(log)
			c, _ := process(r, rows.load, append(lived, aside.WithLogger(slog.New(logged)))...)
			value := strings.Repeat("x", 1000)
			evicted := func() int {
				_, after, _ := strings.Cut(r.raw.Info(t.Context(), "stats").Val(), "evicted_keys:")
				n, _ := strconv.Atoi(strings.TrimSpace(after[:strings.IndexByte(after, '\n')]))
				return n
			}
			for i := 0; evicted() < 10_000; i++ { // some 5,000 have room
				_, err := r.raw.Pipelined(t.Context(), func(p redis.Pipeliner) error {
					for j := range 40 {
						p.Set(t.Context(), fmt.Sprint("cold:", i, ":", j), value, time.Hour)
					}
					return nil
				})
				equal(t, "the error of the flood", err, nil)
				for id := range hot {
					mustGet(t, c, id)
				}
				time.Sleep(20 * time.Millisecond) // the flood takes more than two seconds to fill what there is
			}
			tags := make([]string, hot)
			for id := range hot {
				rows.setPrice(id, 90)
				tags[id] = "tag" + strconv.Itoa(id)
			}
			loads := rows.loads.Load()
			mustInvalidateTags(t, c, tags...)
			stale := 0
			for id := range hot {
				if mustGet(t, c, id).Price != 90 {
					stale++
				}
			}
			equal(t, "the hot entries that are stale after InvalidateTags", stale, 0)
			equal(t, "the loads until then, of which each entry had one", loads, hot)
			logged.mu.Lock()
			defer logged.mu.Unlock()
			told := "WARN aside: Redis may evict the index of a tag before its entries: use noeviction or volatile-ttl"
			equal(t, "what is logged", fmt.Sprint(logged.lines), "["+told+"]")
		})
	}
}

func TestIndexesAreLookedUpOnceAMinute(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true)
		for id := range 10 {
			rows.rows[id] = product{id, "lamps", 100}
		}
		filler, _ := process(r, rows.table.load, append(lived, aside.WithBatch(rows.loadMany))...)
		reader, tap := process(r, rows.table.load, append(lived, aside.WithBatch(rows.loadMany))...)
		mustGetMany(t, filler, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		for range 10 * 60 {
			mustGet(t, reader, 1)
			mustGetMany(t, reader, 0, 2, 3, 4, 5, 6, 7, 8, 9)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := tap.sent("warm"); n < 9 || n > 10 {
			t.Errorf("in 10 minutes the index was looked up %d times", n)
		}
		equal(t, "the loads", rows.loads.Load(), 1)
		equal(t, "the last entry", strings.Contains(r.get("test:9"), `"tags":"lamps"`), true)
	})
}

func TestEntryThatItsIndexHasLostIsServedForAMinuteAtMost(t *testing.T) {
	losses := map[string]func(r *rig){
		"the index is gone": func(r *rig) { r.del("aside-tag=lamps") },
		"the entry alone":   func(r *rig) { r.raw.ZRem(context.Background(), "aside-tag=lamps", "test:1") },
	}
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100}, product{2, "lamps", 200})
				logged := new(log)
				c, _ := process(r, rows.load, append(lived, aside.WithLogger(slog.New(logged)))...)
				writer, _ := process(r, rows.load)
				mustGet(t, c, 1)
				lose(r)
				mustGet(t, c, 2)
				rows.setPrice(1, 90)
				mustInvalidateTags(t, writer, "lamps")
				for range 60 {
					mustGet(t, c, 1)
					time.Sleep(time.Second)
				}
				synctest.Wait()
				equal(t, "the price", mustGet(t, c, 1).Price, 90)
				want := "WARN aside: the indexes of tags have lost entries, so these are removed"
				equal(t, "what is logged", fmt.Sprint(logged.lines), "["+want+"]")
			})
		})
	}
}

// It is in the index of its new tag, and may well be missing in that of the old one.
func TestEntryThatWasReplacedSinceItWasHitIsNoLostOne(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		logged := new(log)
		c, tap := process(r, rows.load, append(lived, aside.WithLogger(slog.New(logged)))...)
		mustGet(t, c, 1)
		mustGet(t, c, 1)
		rows.rows[1] = product{1, "desks", 90}
		mustInvalidateTags(t, c, "lamps")
		mustGet(t, c, 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "the times that the index was looked up", tap.sent("warm"), 1)
		mustGet(t, c, 1)
		equal(t, "the loads", rows.loads.Load(), 2)
		equal(t, "the lines that are logged", len(logged.lines), 0)
	})
}

// Whatever a document says of its tags, a hit is a hit, and nothing but that document is removed.
func TestForgedTagsOfADocumentRemoveNothingElse(t *testing.T) {
	forged := []string{`"a b"`, `" "`, `"\"x\""`, `"aside-tags"`, `"` + strings.Repeat("t ", 5000) + `"`, `"a\u0020b"`}
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100}, product{2, "lamps", 200})
		c, _ := process(r, rows.load, lived...)
		for _, tags := range forged {
			mustGet(t, c, 2)
			doc := filledWith(t, r, product{1, "lamps", 80}, lived...)
			r.put("test:1", strings.Replace(doc, `"tags":"lamps"`, `"tags":`+tags, 1))
			equal(t, "the price that a document with the tags "+tags+" says", mustGet(t, c, 1).Price, 80)
			time.Sleep(time.Minute)
			synctest.Wait()
			equal(t, "the price of what is made again", mustGet(t, c, 1).Price, 100)
			equal(t, "whether the other entry is there", r.get("test:2") != "", true)
			mustInvalidateTags(t, c, "lamps")
		}
	})
}

func TestCloseDoesNotWaitForTheNextRoundOfIndexes(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable(product{1, "lamps", 100}).load, lived...)
		mustGet(t, c, 1)
		mustGet(t, c, 1)
		start := time.Now()
		equal(t, "the error of Close", c.Close(), nil)
		equal(t, "the time that it took", time.Since(start), 0)
		verbs, _ := tap.count()
		equal(t, "whether the index was looked up", slices.Contains(verbs, "warm"), false)
	})
}
