package aside_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// Such a read has a connection of the database while it loads, and loads that have places may be waiting for that connection.
func TestReadsOnTheCallersGoroutineNeedNoPlace(t *testing.T) {
	inTx := func(ctx context.Context, read func(ctx context.Context) error) error { return aside.InTx(ctx, read) }
	bypass := func(ctx context.Context, read func(ctx context.Context) error) error { return read(aside.Bypass(ctx)) }
	closed := func(ctx context.Context, read func(ctx context.Context) error) error { return read(ctx) }
	for name, under := range map[string]func(context.Context, func(context.Context) error) error{
		"under Bypass": bypass, "inside InTx": inTx, "after Close": closed,
	} {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", batch ", batch), func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					rows := newSlowTable(product{1, "lamp", 100}, product{2, "desk", 200})
					load := func(ctx context.Context, id int) (product, error) {
						if id == 1 {
							return rows.load(ctx, id)
						}
						return rows.table.load(ctx, id)
					}
					opts := []aside.Option{aside.WithMaxLoads(1)}
					if batch {
						opts = append(opts, aside.WithBatch(rows.table.loadMany))
					}
					c, _ := steady(r, load, opts...)
					first := getting(c, 1)
					<-rows.read // it has the place
					if name == "after Close" {
						go c.Close()
						synctest.Wait()
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					err := under(ctx, func(ctx context.Context) error {
						_, one := c.Get(ctx, 2)
						_, many := c.GetMany(ctx, []int{2, 3})
						return errors.Join(one, many)
					})
					equal(t, "the error", err, nil)
					rows.flow()
					price(t, "what the first gets", first, 100)
				})
			})
		}
	}
}

// Some wait for a place, and one for a load of another process; they are 30 flights, one of which has a joiner, and a GetMany.
func TestCloseWaitsForNoLoadThatHasNoPlaceYet(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newBatchTable(true, idsFrom(1, 100)...)
		c, tap := process(r, slowly(rows.table.load), aside.WithMaxLoads(1))
		deadLease(r, "test:90", time.Hour)
		foreign := getting(c, 90)
		time.Sleep(100 * time.Millisecond)
		first := getting(c, 91)
		synctest.Wait()
		var queued []<-chan result
		for id := range 30 {
			queued = append(queued, getting(c, id+1))
		}
		queued = append(queued, getting(c, 1))
		many := gettingMany(t.Context(), c, 40, 41)
		synctest.Wait()
		equal(t, "the time that Close waits", took(func() { equal(t, "Close", c.Close(), nil) }), time.Second)
		price(t, "what the first gets", first, 9100)
		price(t, "who waited for another process gets", foreign, 9000)
		for i, q := range queued {
			price(t, "what a queued one gets", q, 100*(i%30+1))
		}
		finds(t, "the GetMany", many, "40:4000 41:4100")
		equal(t, "Fills", c.Stats().Fills, 1)
		equal(t, "Overloaded", c.Stats().Overloaded, 0)
		equal(t, "the leases", tap.sent("lease"), 2)
	})
}

// It may have a ctx that can end, or none.
func TestAFlightOrAGetManyThatWaitsForAPlaceWhenTheCacheIsClosedLoadsOnItsCallersGoroutine(t *testing.T) {
	type key struct{}
	for name, mayEnd := range map[string]bool{"its ctx may end": true, "its ctx cannot end": false} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				hold := make(chan struct{})
				ended := make(chan bool, 3)
				c, _ := process(r, func(ctx context.Context, id int) (int, error) {
					if id == 0 {
						<-hold
						return id, nil
					}
					ended <- ctx.Value(key{}) != nil
					return id, nil
				}, aside.WithMaxLoads(1))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if !mayEnd {
					ctx = context.Background()
				}
				go c.Get(context.Background(), 0)
				synctest.Wait()
				ctx = context.WithValue(ctx, key{}, true)
				go func() { _, err := c.Get(ctx, 1); equal(t, "the error of Get", err, nil) }()
				go func() { _, err := c.GetMany(ctx, []int{2, 3}); equal(t, "the error of GetMany", err, nil) }()
				synctest.Wait()
				go c.Close()
				equal(t, "the time that they go on waiting", took(func() {
					for range 3 {
						equal(t, "whether the loader has the ctx of its caller", <-ended, true)
					}
				}), 0)
				close(hold)
				synctest.Wait()
			})
		})
	}
}
