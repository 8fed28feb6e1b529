package aside_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

func TestGetManyLoadsWhatIsMissingInOneBatch(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3, 4)
		c, _ := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		other, _ := steady(r, rows.table.load)
		mustGet(t, other, 2)
		for range 2 {
			equal(t, "what GetMany finds", prices(mustGetMany(t, c, 4, 2, 9, 1, 4, 2, 9)), "1:100 2:200 4:400")
		}
		equal(t, "the batches", rows.batches(), "[4 9 1]")
		equal(t, "the price elsewhere", mustGet(t, other, 4).Price, 400)
		if _, err := other.Get(t.Context(), 9); !errors.Is(err, aside.ErrNotFound) {
			t.Errorf("the error for the absent row is %v", err)
		}
		equal(t, "the number of loads", rows.loads.Load(), 2)
		s := c.Stats()
		equal(t, "Hits, AbsentHits, Misses, Fills", fmt.Sprint(s.Hits, s.AbsentHits, s.Misses, s.Fills), "4 1 3 3")
	})
}

// A meetingCodec is JSON that is decoded only beside a load, and so is the load of meet.
type meetingCodec struct{ decoding, loading chan struct{} }

func (meetingCodec) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

func (c meetingCodec) Unmarshal(data []byte, v any) error {
	close(c.decoding)
	<-c.loading
	return json.Unmarshal(data, v)
}

func (c meetingCodec) meet() {
	close(c.loading)
	<-c.decoding
}

func TestGetManyDecodesItsHitsWhileItLoadsTheRest(t *testing.T) {
	for name, mayEnd := range map[string]bool{"its ctx may end": true, "its ctx cannot end": false} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				ctx := context.Background()
				if mayEnd {
					ctx = t.Context()
				}
				rows := newBatchTable(true, 1, 2, 3)
				codec := meetingCodec{make(chan struct{}), make(chan struct{})}
				c, _ := steady(r, rows.table.load, aside.WithCodec(codec),
					aside.WithBatch(func(ctx context.Context, ids []int) (map[int]product, error) {
						codec.meet()
						return rows.loadMany(ctx, ids)
					}))
				filler, _ := steady(r, rows.table.load, aside.WithCodec(stdCodec{}))
				mustGet(t, filler, 1)
				found, err := c.GetMany(ctx, []int{1, 2, 3})
				equal(t, "what GetMany finds", fmt.Sprint(prices(found), " ", err), "1:100 2:200 3:300 <nil>")
			})
		})
	}
}

// One key is missing, the value of another cannot be decoded, which is found out while the first is fetched.
func TestGetManyThatFindsAnUndecodableValueSpendsOneRedisTimeoutInAll(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2)
		r.put("test:2", byHand(time.Hour, `"no product"`))
		c, w := inWeather(r, rows.table.load, aside.WithBatch(rows.loadMany))
		w.hang("lease")
		equal(t, "its time", took(func() {
			equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1, 2)), "1:100 2:200")
		}), redisTimeout)
		equal(t, "the batches", rows.batches(), "[1] [2]")
	})
}

// As during a deployment that raises WithVersion.
func TestGetManyLoadsWhatIsMissingAndWhatIsOfAnotherVersionInOneBatch(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3)
		r.put("test:2", filledWith(t, r, product{2, "lamp", 1}, aside.WithVersion(7)))
		c, _ := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		mustGet(t, c, 3)
		equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1, 2, 3)), "1:100 2:200 3:300")
		equal(t, "the batches", rows.batches(), "[1 2]")
	})
}

// Sorted keys lock rows in one order, so a batch loader may well sort what it is given.
func TestBatchLoaderMayModifyTheKeysItIsGiven(t *testing.T) {
	for name, modify := range map[string]func([]int){"sort": slices.Sort[[]int], "clear": func(ids []int) { clear(ids) }} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newBatchTable(true, 1, 2, 3)
				c, _ := steady(r, rows.table.load, aside.WithBatch(func(ctx context.Context, ids []int) (map[int]product, error) {
					found, err := rows.loadMany(ctx, ids)
					modify(ids)
					return found, err
				}))
				keys := []int{3, 1, 9, 2}
				for range 2 {
					found, err := c.GetMany(t.Context(), keys)
					equal(t, "what GetMany finds", fmt.Sprint(prices(found), " ", err), "1:100 2:200 3:300 <nil>")
					for id, p := range found {
						equal(t, fmt.Sprintf("the id of %d", id), p.ID, id)
					}
				}
				_, err := c.GetMany(aside.Bypass(t.Context()), keys)
				equal(t, "the caller's keys", fmt.Sprint(keys, err), "[3 1 9 2] <nil>")
			})
		})
	}
}

func TestGetManyOfNoKeysAsksNobody(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true)
		c, tap := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		for _, ids := range [][]int{nil, {}} {
			found, err := c.GetMany(t.Context(), ids)
			equal(t, "what GetMany returns", fmt.Sprint(found, found == nil, err), "map[] false <nil>")
		}
		_, trips := tap.count()
		equal(t, "round trips and loads", int64(trips)+rows.loads.Load(), 0)
	})
}

func TestGetManyWaitsForWhatAnotherProcessLoads(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		slow, rows := newSlowTable(product{2, "desk", 200}), newBatchTable(true, 1, 2, 3)
		holder, _ := steady(r, slow.load)
		c, _ := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		held := getting(holder, 2)
		<-slow.read
		many := gettingMany(t.Context(), c, 1, 2, 3)
		r.until(func() bool { return c.Stats().Fills == 2 }) // its own are loaded and stored without waiting
		equal(t, "Waits", c.Stats().Waits, 1)
		slow.go_ <- struct{}{}
		price(t, "what the holder gets", held, 200)
		finds(t, "GetMany", many, "1:100 2:200 3:300")
		equal(t, "the batches", rows.batches(), "[1 3]")
	})
}

func TestGetManyLoadsAtOnceWhatAnotherProcessFailedToLoad(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		slow, rows := newSlowTable(), newBatchTable(true, 1, 2)
		slow.fail(errors.New("no"))
		holder, _ := steady(r, slow.load)
		c, _ := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		held := getting(holder, 2)
		<-slow.read
		many := gettingMany(t.Context(), c, 1, 2)
		r.until(func() bool { return c.Stats().Waits == 1 && c.Stats().Fills == 1 })
		slow.go_ <- struct{}{}
		<-held
		finds(t, "GetMany", many, "1:100 2:200")
		equal(t, "the batches", rows.batches(), "[1] [2]")
	})
}

func TestGetManyTakesOverTheLeasesOfADeadProcess(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3)
		deadLease(r, "test:1", 200*time.Millisecond)
		deadLease(r, "test:3", 200*time.Millisecond)
		c, _ := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1, 2, 3)), "1:100 2:200 3:300")
		equal(t, "Fills", c.Stats().Fills, 3)
	})
}

func TestGetManyBesideAGetOfTheSameKeyIsOneLoad(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(false, 1, 2)
		c, _ := steady(r, rows.load, aside.WithBatch(rows.loadMany))
		single := getting(c, 1)
		<-rows.read
		many := gettingMany(t.Context(), c, 1, 2)
		<-rows.read // the batch of 2 alone
		late := getting(c, 2)
		r.until(func() bool { return c.Stats().Waits == 2 }) // each for the lease of the other
		rows.go_ <- struct{}{}
		rows.go_ <- struct{}{}
		price(t, "what Get gets", single, 100)
		finds(t, "GetMany", many, "1:100 2:200")
		price(t, "what Get of the other key gets", late, 200)
		equal(t, "the batches", rows.batches(), "[2]")
		equal(t, "the number of loads", rows.loads.Load(), 2)
	})
}

func TestGetManysInOppositeOrderDoNotBlockEachOther(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		var loads atomic.Int64
		load := func(_ context.Context, ids []int) (map[int]int, error) {
			found := make(map[int]int)
			for _, id := range ids {
				found[id] = id
				loads.Add(1)
			}
			return found, nil
		}
		keys := []int{0, 1, 2, 3, 4, 5, 6, 7}
		var group sync.WaitGroup
		for i := range 6 {
			c, _ := steady(r, func(_ context.Context, id int) (int, error) { return id, nil }, aside.WithBatch(load))
			mustGet(t, c, -1-i) // so that it knows the scripts: miniredis has no room for eight in a pipeline
			mine := slices.Clone(keys)
			if i%2 == 1 {
				slices.Reverse(mine)
			}
			group.Go(func() {
				found, err := c.GetMany(t.Context(), mine)
				equal(t, "what GetMany returns", fmt.Sprint(len(found), err), "8 <nil>")
			})
		}
		group.Wait()
		equal(t, "the number of rows loaded", loads.Load(), 8)
	})
}

func TestWithoutABatchLoaderKeysAreLoadedSideBySide(t *testing.T) {
	test := func(t *testing.T, r *rig) {
		for maxLoads, want := range map[int]int64{100: 16, 3: 3, 1: 1} {
			var now, most atomic.Int64
			var once sync.Once
			met := make(chan struct{})
			c, tap := steady(r, func(_ context.Context, id int) (int, error) {
				n := now.Add(1)
				defer now.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				if n == want {
					once.Do(func() { close(met) })
				}
				<-met // the first ones wait for each other
				return id, nil
			}, aside.WithMaxLoads(maxLoads))
			if r.virtual {
				tap.down()
			}
			keys := idsFrom(0, 40)
			equal(t, "the number found", len(mustGetMany(t, c, keys...)), 40)
			equal(t, "the most loads at a time", most.Load(), want)
			if !r.virtual {
				r.flush()
			}
		}
	}
	t.Run("without Redis", func(t *testing.T) { onMiniredis(t, test) })
	t.Run("with Redis", func(t *testing.T) { test(t, realRig(t)) })
}

// More keys than loads run side by side: they are loaded one after the other, which is no reason to refresh them earlier.
func TestEachKeyOfGetManyTookAsLongAsItsOwnLoad(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, slowly(newBatchTable(true, 1, 2, 3).table.load), append(stale, aside.WithMaxLoads(1))...)
		for _, read := range []string{"a load", "a refresh"} {
			equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1, 2, 3)), "1:100 2:200 3:300")
			time.Sleep(time.Minute)
			for _, name := range []string{"test:1", "test:2", "test:3"} {
				if doc := r.get(name); !strings.Contains(doc, `"took":1000,`) {
					t.Errorf("after %s of 1 s, %s is %s", read, name, doc)
				}
			}
		}
	})
}

func TestBatchLoadDoesNotFillAfterInvalidate(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(false, 1, 2)
		c, _ := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		writer, _ := steady(r, rows.table.load)
		many := gettingMany(t.Context(), c, 1, 2)
		<-rows.read
		rows.setPrice(1, 90)
		mustInvalidate(t, writer, 1)
		equal(t, "the price after Invalidate", mustGet(t, writer, 1).Price, 90)
		mustInvalidate(t, writer, 1)
		rows.go_ <- struct{}{}
		finds(t, "GetMany, which began before", many, "1:100 2:200")
		equal(t, "Refused, Fills", fmt.Sprint(c.Stats().Refused, c.Stats().Fills), "1 1")
		equal(t, "the document that is left", r.get("test:1"), "")
		equal(t, "the next price", mustGet(t, c, 1).Price, 90)
	})
}

// A caller who starts after Invalidate has returned must not get what a GetMany loads that began before.
func TestCallerAfterInvalidateDoesNotGetWhatABatchLoaded(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(false, 1, 2)
		c, _ := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		early := gettingMany(t.Context(), c, 1, 2)
		<-rows.read
		rows.setPrice(1, 90)
		mustInvalidate(t, c, 1)
		late := gettingMany(t.Context(), c, 2, 1)
		<-rows.read // of 1 alone: 2 is still leased
		rows.go_ <- struct{}{}
		rows.go_ <- struct{}{}
		finds(t, "GetMany, which began before", early, "1:100 2:200")
		finds(t, "GetMany, which began after", late, "1:90 2:200")
		equal(t, "the batches", rows.batches(), "[1 2] [1]")
	})
}

func TestStaleKeysAreRefreshedInOneBatch(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3)
		c, tap := steady(r, rows.table.load, append(stale, aside.WithBatch(rows.loadMany))...)
		mustGetMany(t, c, 1, 2)
		time.Sleep(2 * time.Minute)
		mustGetMany(t, c, 3)
		for id := range 4 {
			rows.setPrice(id, 5)
		}
		tap.reset()
		start := time.Now()
		equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1, 2, 3)), "1:100 2:200 3:300")
		equal(t, "the time that it took", time.Since(start), 0)
		synctest.Wait()
		verbs, trips := tap.count()
		equal(t, "the commands", fmt.Sprint(verbs, trips), "[mget claim fill] 3")
		equal(t, "what GetMany finds next", prices(mustGetMany(t, c, 1, 2, 3)), "1:5 2:5 3:300")
		equal(t, "the batches", rows.batches(), "[1 2] [3] [1 2]")
		s := c.Stats()
		equal(t, "Refreshes, which count among Loads, and Loads", fmt.Sprint(s.Refreshes, s.Loads), "1 3")
		equal(t, "StaleHits", s.StaleHits, 2)
	})
}

func TestGetManyWithoutRedisIsOneBatch(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3)
		c, tap := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		tap.down()
		for range 5 {
			equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1, 2, 3)), "1:100 2:200 3:300")
		}
		equal(t, "the number of loads", rows.loads.Load(), 5)
		equal(t, "Down", c.Stats().Down, true)
	})
}
