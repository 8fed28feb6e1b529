package aside_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// What GetMany does without a batch loader: the life of a lease is that of its own load.

// hanging loads every row at once, except that of 1, which takes 9 s.
func hanging(_ context.Context, id int) (product, error) {
	if id == 1 {
		time.Sleep(9 * time.Second)
	}
	return product{ID: id, Price: 100 * id}, nil
}

func TestOneRowThatHangsKeepsNobodyElsesRowFromAnybody(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, hanging)
		other, _ := process(r, hanging)
		many := gettingMany(context.Background(), c, idsFrom(1, 40)...)
		time.Sleep(100 * time.Millisecond)
		equal(t, "Fills while 1 hangs", c.Stats().Fills, 39)
		equal(t, "the time in which another process reads them", took(func() { mustGetMany(t, other, idsFrom(1, 40)[1:]...) }), 0)
		equal(t, "the loads of that process", other.Stats().Loads, 0)
		if r := <-many; r.err != nil {
			t.Error(r.err)
		}
		equal(t, "Fills", c.Stats().Fills, 40)
	})
}

func TestOneRowThatHangsKeepsNobodyElsesRefreshFromAnybody(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		warm, _ := process(r, newBatchTable(true, idsFrom(1, 40)...).table.load, stale...)
		mustGetMany(t, warm, idsFrom(1, 40)...)
		c, tap := process(r, hanging, stale...)
		time.Sleep(2 * time.Minute)
		mustGetMany(t, c, idsFrom(1, 40)...)
		time.Sleep(100 * time.Millisecond)
		equal(t, "Fills while 1 hangs", c.Stats().Fills, 39)
		time.Sleep(2 * time.Minute)
		tap.reset()
		mustGet(t, c, 2)
		synctest.Wait()
		equal(t, "the claims of the next refresh", tap.sent("claim"), 1)
	})
}

// A claim lasts as long as one load may take; so the claims of many that are loaded one after the other must not begin together.
func TestManyRowsAreRefreshedByOneProcess(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, idsFrom(1, 160)...)
		opts := append(stale, aside.WithLoadTimeout(2*time.Second))
		a, _ := process(r, slowly(rows.table.load), opts...)
		b, _ := process(r, slowly(rows.table.load), opts...)
		mustGetMany(t, a, idsFrom(1, 160)...)
		rows.loads.Store(0)
		time.Sleep(2 * time.Minute)
		mustGetMany(t, a, idsFrom(1, 160)...)
		time.Sleep(5 * time.Second)
		mustGetMany(t, b, idsFrom(1, 160)[:80]...) // which a refreshes first, or has refreshed
		time.Sleep(time.Minute / 2)
		equal(t, "the number of refreshes", rows.loads.Load(), 160)
	})
}

// Another load has the place at first.
func TestAGetManyThatBeginsWhilePlacesAreScarceGoesOnFasterWhenTheyAreFree(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, slowly(newBatchTable(true, idsFrom(1, 100)...).table.load), aside.WithMaxLoads(16))
		for id := range 15 {
			getting(c, 50+id)
		}
		synctest.Wait()
		equal(t, "the time of 33 loads: one beside the others, and then 16 at a time", took(func() {
			mustGetMany(t, c, idsFrom(1, 33)...)
		}), 3*time.Second)
	})
}

func TestAGetManyTakesAPlaceAsSoonAsItIsFreeThoughItsOnlyLoadHangs(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, func(ctx context.Context, id int) (product, error) {
			if id == 50 {
				time.Sleep(1200 * time.Millisecond) // no multiple of how often leases are renewed, when places are looked for as well
			}
			return hanging(ctx, id)
		}, aside.WithMaxLoads(2))
		getting(c, 50)
		synctest.Wait()
		many := gettingMany(context.Background(), c, idsFrom(1, 5)...)
		time.Sleep(1250 * time.Millisecond)
		equal(t, "Fills", c.Stats().Fills, 5)
		<-many
	})
}

// What is ready at the same time shares a round trip: here what ends, and what takes the places of that, while a fill is under
// way.
func TestWhatGetManyFillsAndLeasesAtTheSameTimeSharesARoundTrip(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		first, others := make(chan struct{}), make(chan struct{})
		c, tap := steady(r, func(_ context.Context, id int) (product, error) {
			if id == 1 {
				<-first
			} else {
				<-others
			}
			return product{ID: id}, nil
		})
		many := gettingMany(t.Context(), c, idsFrom(1, 32)...)
		synctest.Wait()
		fill := tap.before("fill")
		close(first)
		fill.wait()
		again := tap.before("fill")
		close(others)
		synctest.Wait()
		fill.release()
		again.wait()
		verbs, trips := tap.count()
		// The fill of 1 has the lease of 17 beside it; the other fills have the leases of the rest.
		equal(t, "the commands", fmt.Sprint(verbs, trips), "[mget lease fill lease fill lease] 4")
		again.release()
		if r := <-many; r.err != nil {
			t.Error(r.err)
		}
		equal(t, "Fills", c.Stats().Fills, 32)
	})
}

// At most each row has a fill of its own, with the lease of the next beside it.
func TestWhatGetManyCostsWithoutABatchLoader(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, idsFrom(1, 40)...)
		c, tap := steady(r, rows.table.load)
		mustGetMany(t, c, 1)
		mustInvalidate(t, c, 1)
		tap.reset()
		mustGetMany(t, c, idsFrom(1, 40)...)
		primaries := 1
		if !r.virtual && slices.Contains([]string{"cluster"}, t.Name()[len(t.Name())-len("cluster"):]) {
			primaries = 3
		}
		if _, trips := tap.count(); trips > primaries*(2+40) {
			t.Errorf("40 misses took %d round trips", trips)
		}
		equal(t, "the number of loads", rows.loads.Load(), 41)
		if r.virtual {
			return
		}
		tap.reset()
		equal(t, "what a hit of all costs", len(mustGetMany(t, c, idsFrom(1, 40)...)), 40)
	})
}

// A Redis that is slow takes one WithRedisTimeout of the call in all, though the call sends many commands.
func TestAGetManyThatSendsManyCommandsSpendsOneRedisTimeoutInAll(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		for _, d := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
			rows := newBatchTable(true, idsFrom(1, 160)...)
			c, w := inWeather(r, func(ctx context.Context, id int) (product, error) {
				time.Sleep(time.Second + time.Duration(id%16)*10*time.Millisecond)
				return rows.table.load(ctx, id)
			})
			w.become(func(string) error { time.Sleep(d); return nil })
			if took := took(func() { mustGetMany(t, c, idsFrom(1, 160)...) }); took > 11500*time.Millisecond+redisTimeout {
				t.Errorf("with commands of %v, 160 loads of up to 1.15 s, 16 at a time, took %v", d, took)
			}
			r.flush()
		}
	})
}
