package aside_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

// What the slots of a Cluster do to a Cache: they move, and keys of one command must share one.

// A slot moves in the middle of what a Cache does: at first its keys are here, then some are there, then all are.
func TestASlotMayMoveAtAnyMoment(t *testing.T) {
	t.Parallel()
	r, s := ownCluster(t)
	rows := newSlowTable(product{1, "lamp", 100})
	c, _ := process(r, rows.table.load, patient)
	loader, _ := process(r, rows.load, patient)
	move := func(during func()) { s.Migrate("test:1", during) }
	empty := func() { rows.setPrice(1, 100); mustInvalidate(t, c, 1) }

	t.Run("a hit", func(t *testing.T) {
		mustGet(t, c, 1)
		before := c.Stats().Hits
		move(func() { mustGet(t, c, 1) })
		mustGet(t, c, 1)
		equal(t, "the number of hits", c.Stats().Hits-before, 2)
	})
	t.Run("an Invalidate", func(t *testing.T) {
		mustGet(t, c, 1)
		move(func() {
			rows.setPrice(1, 90)
			mustInvalidate(t, c, 1)
			equal(t, "the document that is left", r.get("test:1"), "")
			equal(t, "the price", mustGet(t, c, 1).Price, 90)
		})
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
	t.Run("a load, before its fill", func(t *testing.T) {
		empty()
		before := loader.Stats()
		load := getting(loader, 1)
		<-rows.read
		move(func() {
			rows.go_ <- struct{}{}
			price(t, "the price", load, 100)
		})
		equal(t, "the number of fills", loader.Stats().Fills-before.Fills, 1)
		equal(t, "the price", mustGet(t, loader, 1).Price, 100)
		equal(t, "the number of hits", loader.Stats().Hits-before.Hits, 1)
	})
	t.Run("a load, before an Invalidate and its fill", func(t *testing.T) {
		empty()
		before := loader.Stats()
		load := getting(loader, 1)
		<-rows.read
		move(func() {
			rows.setPrice(1, 90)
			mustInvalidate(t, c, 1)
		})
		rows.go_ <- struct{}{}
		price(t, "what the early caller gets", load, 100)
		equal(t, "the number of refused fills", loader.Stats().Refused-before.Refused, 1)
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
	t.Run("a load, from its look on", func(t *testing.T) {
		empty()
		before := loader.Stats()
		var load <-chan result
		move(func() {
			load = getting(loader, 1)
			<-rows.read
		})
		rows.go_ <- struct{}{}
		price(t, "the price", load, 100)
		equal(t, "the number of fills", loader.Stats().Fills-before.Fills, 1)
	})
	t.Run("many keys", func(t *testing.T) {
		empty()
		move(func() {
			found, err := c.GetMany(t.Context(), []int{1, 2, 3})
			if len(found) != 1 || err != nil {
				t.Errorf("GetMany found %v, %v", found, err)
			}
			mustInvalidate(t, c, 1, 2, 3)
		})
		equal(t, "the document that is left", r.get("test:1"), "")
	})
	// At first the entry is where it was, in a slot of which other keys have moved: there it can be written over, and not be
	// removed and written again.
	for where, key := range map[string]string{"before it moves": "{test:1}", "once it has moved": "test:1"} {
		move := func(during func()) { s.Migrate(key, during) }
		held := func(t *testing.T, what string) { t.Helper(); equal(t, what, r.held("test:1"), true) }
		other, _ := process(r, rows.table.load, patient)
		quick, tap := process(r, rows.table.load, patient, aside.WithHold(3*time.Second))
		lagging, _ := process(r, rows.table.load, patient, aside.WithReplicaLag(time.Second))
		noErrors := func(t *testing.T, what string, c *aside.Cache[int, product]) {
			t.Helper()
			equal(t, "the errors of Redis in "+what, c.Stats().RedisErrors, 0)
		}
		t.Run("an InTx, beside another, "+where, func(t *testing.T) {
			empty()
			inTx(t, func(ctx context.Context) error {
				err := other.Invalidate(ctx, 1)
				move(func() {
					inTx(t, func(ctx context.Context) error { return quick.Invalidate(ctx, 1) })
					held(t, "whether it is held when one has ended")
					mustGet(t, c, 1)
				})
				rows.setPrice(1, 90)
				equal(t, "the price after the COMMIT", mustGet(t, c, 1).Price, 90)
				return err
			})
			equal(t, "the document that is left", r.get("test:1"), "")
			noErrors(t, "the one", quick)
			noErrors(t, "the other", other)
		})
		t.Run("an InTx of what is cached, "+where, func(t *testing.T) {
			empty()
			mustGet(t, c, 1)
			move(func() {
				inTx(t, func(ctx context.Context) error {
					err := quick.Invalidate(ctx, 1)
					held(t, "whether it is held")
					return err
				})
				equal(t, "the document that is left", r.get("test:1"), "")
			})
			noErrors(t, "the InTx", quick)
		})
		t.Run("renewals, "+where, func(t *testing.T) {
			empty()
			inTx(t, func(ctx context.Context) error {
				err := quick.Invalidate(ctx, 1)
				move(func() {
					tap.reset()
					r.until(func() bool {
						mustGet(t, c, 1)
						held(t, "whether it is held")
						return tap.sent("hold") > 2
					})
				})
				rows.setPrice(1, 90)
				equal(t, "the price after the COMMIT", mustGet(t, c, 1).Price, 90)
				return err
			})
			noErrors(t, "the InTx", quick)
		})
		t.Run("a replica that lags, "+where, func(t *testing.T) {
			empty()
			mustGet(t, c, 1)
			move(func() {
				for range 2 { // over a value, and over the lag
					mustInvalidate(t, lagging, 1)
					held(t, "whether it is held")
				}
			})
			noErrors(t, "the Invalidate", lagging)
			r.del("test:1")
		})
		t.Run("a load that is waited for and fails, "+where, func(t *testing.T) {
			empty()
			before := loader.Stats().RedisErrors
			failing := getting(loader, 1)
			<-rows.read
			waiting := getting(c, 1)
			r.until(func() bool { return strings.Contains(r.get("test:1"), "waited") })
			move(func() {
				rows.fail(errDown)
				rows.go_ <- struct{}{}
				<-failing
				<-waiting
				rows.fail(nil)
				equal(t, "the price", mustGet(t, c, 1).Price, 100)
			})
			equal(t, "the errors of Redis", loader.Stats().RedisErrors-before, 0)
		})
		t.Run("a refresh, "+where, func(t *testing.T) {
			empty()
			stale, _ := process(r, rows.table.load, patient, aside.WithTTL(time.Millisecond), aside.WithStale(time.Hour))
			mustGet(t, stale, 1)
			rows.setPrice(1, 95)
			move(func() { r.until(func() bool { return mustGet(t, stale, 1).Price == 95 }) })
			noErrors(t, "the refresh", stale)
		})
	}
	// All that is held has expired, so that to clean up removes the key.
	t.Run("the held tags", func(t *testing.T) {
		const tags = "aside-tags"
		c, _ := process(r, rows.table.load, patient, categories)
		equal(t, "the error of ZADD", r.raw.ZAdd(t.Context(), tags, redis.Z{Score: 1, Member: "dead/1 lamp"}).Err(), nil)
		s.Migrate("{aside-tags}", func() {
			for _, lost := range []bool{false, true} {
				inTx(t, func(ctx context.Context) error {
					err := c.InvalidateTags(ctx, "lamp", "desk")
					equal(t, "how many tags are held", heldTags(t, r), 2)
					if lost {
						equal(t, "the error of ZADD", r.raw.ZAdd(t.Context(), tags, redis.Z{Score: 1, Member: "dead/1 lamp"}).Err(), nil)
						equal(t, "the error of ZREM…", r.raw.ZRemRangeByScore(t.Context(), tags, "2", "+inf").Err(), nil)
					}
					return err
				})
				equal(t, "how many tags are held at last", heldTags(t, r), 0)
			}
		})
		equal(t, "the errors of Redis", c.Stats().RedisErrors, 0)
	})
	t.Run("readers and a writer", func(t *testing.T) { noStaleReadWhile(t, r, patient, func() { move(nil); move(nil); move(nil) }) })
}

// The journal is one key for all tagged values of a Cluster, and what of it is missing is made while its slot moves.
func TestTheSlotsOfTagsMayMoveAtAnyMoment(t *testing.T) {
	t.Parallel()
	r, s := ownCluster(t)
	rows := newTable()
	for id := range 20 {
		rows.rows[id] = product{id, "lamps", 100}
	}
	c, tap := process(r, rows.load, patient, categories)
	for name, missing := range map[string]bool{"aside-tags": false, "aside-tag=lamps": false, "{aside-tags}": true, "{aside-tag=lamps}": true} {
		t.Run(name, func(t *testing.T) {
			mustInvalidateTags(t, c, "lamps")
			mustGet(t, c, 0)
			if missing { // of the slot, another key moves at first
				r.raw.Del(t.Context(), strings.Trim(name, "{}"))
			}
			r.put(name+"x", "another key, so that the slot is not empty")
			errs := c.Stats().RedisErrors
			s.Migrate(name, func() {
				for id := range 20 {
					r.del("test:" + strconv.Itoa(id))
					tap.reset()
					mustGet(t, c, id)
					if verbs, _ := tap.count(); id >= 10 { // before, servers are taught the scripts
						slices.Sort(verbs) // those to different servers go side by side
						equal(t, "the commands of a miss", fmt.Sprint(verbs), "[fill get index lease mark since]")
					}
					hits := c.Stats().Hits
					mustGet(t, c, id)
					equal(t, "the hits", c.Stats().Hits-hits, 1)
				}
				rows.setPrice(1, rows.rows[1].Price-1)
				mustInvalidateTags(t, c, "lamps")
				equal(t, "the entries that are left", len(keysWith(r, "test:*")), 0)
				inTx(t, func(ctx context.Context) error {
					mustHoldTags(t, ctx, c, "lamps")
					mustGet(t, c, 1)
					rows.setPrice(1, rows.rows[1].Price-1)
					return nil
				})
				equal(t, "the price", mustGet(t, c, 1).Price, rows.rows[1].Price)
			})
			equal(t, "RedisErrors", c.Stats().RedisErrors-errs, 0)
			rows.setPrice(1, rows.rows[1].Price-1)
			mustInvalidateTags(t, c, "lamps")
			equal(t, "the price", mustGet(t, c, 1).Price, rows.rows[1].Price)
		})
	}
}

// ignorant is a client to the node of a Cluster that does not know it is one.
func ignorant(r *rig) redis.UniversalClient {
	rdb := r.dial(r.t)
	rdb.AddHook(through(func(_ context.Context, cmds []redis.Cmder, send sender) error {
		if err := crossSlot(cmds[0]); err != nil && len(cmds) == 1 {
			time.Sleep(time.Millisecond)
			return refuse(err, cmds...)
		}
		return send(cmds...)
	}))
	return rdb
}

func TestTwoAtOnceFindThatKeysMustShareASlot(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c := newCache(t, ignorant(r), newTable().load)
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() { equal(t, "Invalidate", c.Invalidate(context.Background(), 1, 2), nil) })
		}
		group.Wait()
	})
}

// What is invalidated is held and released after such an error; holds are placed once.
func TestTheFirstHoldsOfAClientThatDoesNotKnowOfSlotsArePlaced(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c := newCache(t, ignorant(r), newTable().load)
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				inTx(t, func(ctx context.Context) error { return c.Invalidate(ctx, 1, 2) })
			})
		}
		group.Wait()
	})
}

// A server of a Cluster takes no command for keys of several slots, even if it has them all.
func TestClientOfOneNodeOfAClusterSendsKeysOneByOne(t *testing.T) {
	r := rigOf(t, testserver.Cluster(t, 1).Nodes[0].Addr)
	rows := newBatchTable(true, 1, 2, 3)
	c, _ := process(r, rows.table.load, aside.WithBatch(rows.loadMany), patient)
	mustInvalidate(t, c, 1, 2, 3)
	for _, hits := range []uint64{0, 3} {
		before := c.Stats().Hits
		equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1, 2, 3)), "1:100 2:200 3:300")
		equal(t, "the hits", c.Stats().Hits-before, hits)
	}
	mustInvalidate(t, c, 1, 2, 3)
	equal(t, "what is left", r.get("test:1")+r.get("test:2")+r.get("test:3"), "")
}
