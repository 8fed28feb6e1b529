package aside_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// A server that takes 10 ms for a command, which is about 64 keys, needs 800 ms for 5,000 keys.
func TestVeryManyKeysAtATimeAreInvalidated(t *testing.T) {
	outside := func(ctx context.Context, c *aside.Cache[int, product]) error {
		return c.Invalidate(ctx, idsFrom(0, 5000)...)
	}
	invalidate := map[string]func(ctx context.Context, c *aside.Cache[int, product]) error{
		"outside InTx": outside,
		"inside InTx": func(ctx context.Context, c *aside.Cache[int, product]) error {
			return aside.InTx(ctx, func(ctx context.Context) error { return outside(ctx, c) })
		},
	}
	for name, do := range invalidate {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rdb := r.dial(t)
				rdb.AddHook(through(func(_ context.Context, cmds []redis.Cmder, send sender) error {
					time.Sleep(time.Duration(len(cmds)) * 10 * time.Millisecond)
					return send(cmds...)
				}))
				c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load)
				mustGet(t, c, 1)
				equal(t, "the error", do(t.Context(), c), nil)
				equal(t, "the document", r.get("test:1"), "")
				equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
				equal(t, "RedisErrors", c.Stats().RedisErrors, 0)
			})
		})
	}
}

func TestVeryManyKeysAtATimeWaitOnceForARedisThatHangs(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, w := inWeather(r, newTable().load)
		mustInvalidate(t, c, 1)
		w.hang()
		start := time.Now()
		if err := c.Invalidate(t.Context(), idsFrom(0, 5000)...); err == nil || !strings.Contains(err.Error(), "5000 of 5000") {
			t.Errorf("Invalidate returned %v", err)
		}
		equal(t, "how long it took", time.Since(start), 250*time.Millisecond)
		w.become(nil)
		time.Sleep(3 * time.Second)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
	})
}

func TestKeyThatIsGivenTwiceIsInvalidatedOnce(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, newTable().load, aside.WithObserver(aside.Observer{
			Invalidate: func(_ context.Context, i aside.InvalidateInfo) {
				equal(t, "the names", strings.Join(i.Names, " "), "test:2 test:1")
			},
		}))
		mustInvalidate(t, c, 2, 1, 2, 2, 1)
		equal(t, "Invalidations", c.Stats().Invalidations, 2)
	})
}

// The other primaries confirm something of each chunk of the keys. This one would have each of them wait anew.
func TestVeryManyKeysAtATimeAreSentOnceToAPrimaryThatIsNotThere(t *testing.T) {
	r := clusterRig(t)
	rdb := r.dial(t)
	gone := func(name string) bool { return r.serverOf(name) == r.serverOf("test:0") }
	var met atomic.Int64 // pipelines to that primary
	c := newCache(t, rdb, newTable().load, patient)
	mustInvalidate(t, c, 0) // so that the client knows the nodes
	rdb.AddHook(through(func(_ context.Context, cmds []redis.Cmder, send sender) error {
		if args := cmds[0].Args(); len(cmds) == 1 || len(args) < 4 || !gone(args[3].(string)) {
			return send(cmds...)
		}
		met.Add(1)
		return refuse(errDown, cmds...)
	}))
	c.Close() // so that nothing is tried again
	if err := c.Invalidate(t.Context(), idsFrom(0, 5000)...); !errors.Is(err, errDown) {
		t.Errorf("Invalidate returned %v", err)
	}
	equal(t, "the pipelines that were sent to it", met.Load(), 1)
	owed := 0
	for id := range 5000 {
		if gone(fmt.Sprint("test:", id)) {
			owed++
		}
	}
	equal(t, "Owed, which is all of its keys and no other", c.Stats().PendingInvalidations, owed)
}

func TestManyTagsAreInvalidatedTogether(t *testing.T) {
	test := func(t *testing.T, r *rig, servers int) {
		const n = 20_000
		rows := newBatchTable(true)
		tags := make([]string, n)
		for i := range tags {
			tags[i] = fmt.Sprint("tag ", i)
		}
		var ids []int
		for id := range 1000 {
			rows.rows[id] = product{id, tags[20*id], 100}
			ids = append(ids, id)
		}
		rows.rows[1000] = product{1000, "another", 100}
		c, tap := process(r, rows.table.load, aside.WithBatch(rows.loadMany), categories)
		mustGetMany(t, c, append(ids, 1000)...)
		tap.reset()
		mustInvalidateTags(t, c, tags...)
		// For each 500 tags a record, a read, a removal, an unindex and the release.
		if _, trips := tap.count(); trips > servers*(5*n/500) {
			t.Errorf("it took %d round trips", trips)
		}
		equal(t, "the entries that are left", len(keysWith(r, "test:*")), 1)
		mustInvalidateTags(t, c, "another")
	}
	t.Run("redis", func(t *testing.T) { test(t, realRig(t), 1) })
	t.Run("cluster", func(t *testing.T) { test(t, clusterRig(t), 3) })
}

func TestVeryManyOwedTagsAreTriedTogether(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "3", 100}, product{2, "100", 200})
		c, tap := process(r, rows.load, categories)
		mustGet(t, c, 1)
		tags := make([]string, 400)
		for i := range tags {
			tags[i] = strconv.Itoa(i)
		}
		r.put("aside-tag=100", "mine") // one of them is refused for good
		tap.answer("record", redisError("OOM"))
		if c.InvalidateTags(t.Context(), tags...) == nil {
			t.Error("InvalidateTags returned nil")
		}
		tap.reset()
		tap.answer("record", nil)
		r.until(func() bool { return c.Stats().PendingInvalidations == 1 })
		if _, trips := tap.count(); trips > 100 {
			t.Errorf("it took %d round trips", trips)
		}
		r.del("aside-tag=100")
		r.until(func() bool { return c.Stats().PendingInvalidations == 0 })
		equal(t, "the document", r.get("test:1"), "")
	})
}
