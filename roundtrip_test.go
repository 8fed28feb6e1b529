package aside_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// The very first use of a server costs no more than any other: nothing is set up, and no script is sent twice.
func TestWhatEachCallCosts(t *testing.T) {
	test := func(t *testing.T, r *rig) {
		rows := newBatchTable(true, 1, 2, 3, 4)
		c, tap := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
		get := func(id int) func() { return func() { _, _ = c.Get(t.Context(), id) } }
		many := func(ids ...int) func() { return func() { mustGetMany(t, c, ids...) } }
		costs(t, tap, "a cold miss", get(1), "[get lease fill]", 3)
		costs(t, tap, "a hit", get(1), "[get]", 1)
		costs(t, tap, "an absent row", get(9), "[get lease fill]", 3)
		costs(t, tap, "an absent hit", get(9), "[get]", 1)
		costs(t, tap, "Invalidate", func() { mustInvalidate(t, c, 1) }, "[invalidate]", 1)
		costs(t, tap, "a miss after that", get(1), "[get lease fill]", 3)
		costs(t, tap, "GetMany of one key, a hit", many(1), "[get]", 1)
		costs(t, tap, "GetMany of half", many(1, 2, 3, 9), "[mget lease fill]", 3)
		costs(t, tap, "GetMany of hits", many(1, 2, 3, 9), "[mget]", 1)
		costs(t, tap, "GetMany of one key, a miss", many(4), "[get lease fill]", 3)
		r.del("test:3")
		r.put("test:2", "garbage")
		costs(t, tap, "GetMany that finds a corrupt document, too", many(1, 2, 3), "[mget lease fill]", 3)
		r.del("test:3")
		r.put("test:2", byHand(time.Hour, `"no product"`))
		costs(t, tap, "GetMany that finds a value it cannot decode, too", many(1, 2, 3), "[mget lease fill lease fill]", 5)
		costs(t, tap, "Invalidate of four", func() { mustInvalidate(t, c, 1, 2, 3, 4) }, "[invalidate]", 1)
		costs(t, tap, "Invalidate of none", func() { mustInvalidate(t, c) }, "[]", 0)
		rows.fail(errors.New("no"))
		costs(t, tap, "a load that fails", get(1), "[get lease release]", 3)
	}
	t.Run("miniredis", func(t *testing.T) { onMiniredis(t, test) })
	t.Run("redis", func(t *testing.T) { test(t, freshRig(t)) })
}

// In a Cluster, an MGET needs keys of one slot, so it is a pipeline of GETs to each primary: 3 lies elsewhere than 1 and 2.
func TestWhatManyKeysOfAClusterCost(t *testing.T) {
	r := clusterRig(t)
	rows := newBatchTable(true, 1, 2, 3)
	c, tap := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
	many := func() { mustGetMany(t, c, 1, 2, 3) }
	mustInvalidate(t, c, 1, 2, 3) // teaches both servers
	costs(t, tap, "GetMany of hits once loaded", func() { many(); tap.reset(); many() }, "[get get get]", 2)
	costs(t, tap, "Invalidate", func() { mustInvalidate(t, c, 1, 2, 3) }, "[hold hold hold hold hold hold]", 4)
	costs(t, tap, "GetMany of misses", many, "[get get get lease lease lease fill fill fill]", 6)
}

// A server that was restarted has forgotten the scripts, which the process believes it knows.
func TestAServerThatForgotTheScriptsIsTaughtAgain(t *testing.T) {
	r := freshRig(t)
	rows := newBatchTable(true, 1, 2)
	c, tap := steady(r, rows.table.load, aside.WithBatch(rows.loadMany))
	mustGetMany(t, c, 1, 2)
	mustInvalidate(t, c, 1, 2)
	r.raw.ScriptFlush(t.Context())
	many := func() { equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1, 2)), "1:100 2:200") }
	costs(t, tap, "a miss with scripts unknown", many, "[mget lease lease fill fill]", 5)
	mustInvalidate(t, c, 1, 2)
	costs(t, tap, "the next one", many, "[mget lease fill]", 3)
}

func TestARefreshCostsItsReaderOneGet(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, tap := steady(r, rows.load, stale...)
		mustGet(t, c, 1)
		time.Sleep(2 * time.Minute)
		reader := func() { mustGet(t, c, 1) }
		costs(t, tap, "a stale hit and its refresh", func() { reader(); synctest.Wait() }, "[get claim fill]", 3)
		rows.fail(errors.New("no"))
		time.Sleep(2 * time.Minute)
		costs(t, tap, "a refresh that fails", func() { reader(); synctest.Wait() }, "[get claim claim]", 3)
		costs(t, tap, "a stale hit while refreshes are put off", func() { reader(); synctest.Wait() }, "[get]", 1)
	})
}

// Who waits polls, at first every millisecond, later at a ninth of the time waited. If he knows what a load takes, he polls
// rarely before that time and often about then.
func TestWhatWaitingCosts(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		holder, _ := steady(r, func(ctx context.Context, id int) (product, error) {
			time.Sleep(time.Second)
			return rows.load(ctx, id)
		})
		c, tap := steady(r, rows.load)
		first := getting(holder, 1)
		synctest.Wait()
		price(t, "what the waiter gets", getting(c, 1), 100)
		price(t, "what the holder gets", first, 100)
		count := func() int {
			verbs, trips := tap.count()
			polls := trips - 2
			equal(t, "the commands", strings.Join(verbs, " "), "get lease"+strings.Repeat(" get", polls))
			return polls
		}
		if polls := count(); polls < 20 || polls > 60 { // some of a millisecond, then a geometric row to 100 ms
			t.Errorf("there were %d polls in a second", polls)
		}
		for range 10 { // the pauses are random
			mustInvalidate(t, c, 1)
			tap.reset()
			start := time.Now()
			first = getting(holder, 1)
			synctest.Wait()
			price(t, "what the waiter gets", getting(c, 1), 100)
			late := time.Since(start) - time.Second
			price(t, "what the holder gets", first, 100)
			if polls := count(); polls < 10 || polls > 16 {
				t.Errorf("there were %d polls of a load that is known to take a second", polls)
			}
			if late > time.Second/25 { // this is virtual time
				t.Errorf("the waiter of a load that is known to take a second was %v late", late)
			}
		}
	})
}

// What a bare GET takes is the name of the key, the command, its reply and the decoding. A hit takes the same. A ctx that
// has values, as that of a request, is kept for the client's hooks, which is one more. The default codec takes fewer.
//
// The race detector allocates too, and not always alike: a plain go test decides.
func TestAHitAllocatesNoMoreThanABareGet(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector allocates too; run go test without -race")
	}
	r := realRig(t)
	data, err := json.Marshal(newPage(1))
	if err != nil {
		t.Fatal(err)
	}
	r.put("bare:1", string(data))
	id := 1
	bare := testing.AllocsPerRun(1000, func() {
		var p page
		data, err := r.raw.Get(context.Background(), "bare:"+strconv.Itoa(id)).Bytes()
		if err != nil || json.Unmarshal(data, &p) != nil {
			t.Fatal("the bare GET failed")
		}
	})
	type key struct{}
	request := context.WithValue(t.Context(), key{}, "a request's")
	fewer := -10.0
	if aside.StandardIsV2() { // then they are the same
		fewer = 0
	}
	for _, test := range []struct {
		what string
		opts []aside.Option
		ctx  context.Context
		more float64
	}{
		{"the same codec", []aside.Option{aside.WithCodec(stdCodec{})}, context.Background(), 0},
		{"the same codec, a request", []aside.Option{aside.WithCodec(stdCodec{})}, request, 1},
		{"the default codec", nil, context.Background(), fewer},
	} {
		c := newProductCache(t, r.raw, append(test.opts, patient)...)
		mustInvalidate(t, c, 1)
		mustGet(t, c, 1)
		hit := testing.AllocsPerRun(1000, func() {
			if _, err := c.Get(test.ctx, 1); err != nil {
				t.Fatal(err)
			}
		})
		if hit > bare+test.more {
			t.Errorf("%s: a hit allocates %v times, a bare GET and json.Unmarshal %v times", test.what, hit, bare)
		}
		equal(t, "the number of loads", c.Stats().Loads, 1)
		if err := c.Close(); err != nil { // else there would be two of one name with other codecs
			t.Fatal(err)
		}
	}
}
