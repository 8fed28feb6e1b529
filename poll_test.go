package aside_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

func TestWhatManyWaitForIsPolledOnceForAllOfThem(t *testing.T) {
	reads := map[string]func(ctx context.Context, c *aside.Cache[int, product]){
		"Get":     func(ctx context.Context, c *aside.Cache[int, product]) { _, _ = c.Get(ctx, 1) },
		"GetMany": func(ctx context.Context, c *aside.Cache[int, product]) { _, _ = c.GetMany(ctx, []int{1}) },
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				held := longLoad(r, 1)
				c, tap := process(r, newBatchTable(true, 1).table.load)
				const callers = 500
				for range callers { // 250 a second
					go func() {
						ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
						defer cancel()
						read(ctx, c)
					}()
					time.Sleep(4 * time.Millisecond)
				}
				polls := tap.sent("get") - callers // each of them looks, too
				if polls < 20 || polls > 80 {
					t.Errorf("%d callers in 2 s polled %d times", callers, polls)
				}
				time.Sleep(200 * time.Millisecond)
				tap.reset()
				time.Sleep(3 * time.Second)
				verbs, _ := tap.count()
				equal(t, "what is sent when nobody is left", fmt.Sprint(verbs), "[]")
				<-held
			})
		})
	}
}

func TestManyNamesThatAreWaitedForArePolledTogether(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		ids := idsFrom(1, 40)
		held := longLoad(r, ids...)
		c, tap := process(r, newBatchTable(true, ids...).table.load)
		var reads []<-chan result
		for _, id := range ids[:20] {
			reads = append(reads, getting(c, id))
		}
		many := gettingMany(context.Background(), c, ids[20:]...)
		time.Sleep(time.Second)
		tap.reset()
		time.Sleep(time.Second)
		if verbs, trips := tap.count(); trips < 8 || trips > 16 {
			t.Errorf("a second of waiting for 40 names took %d round trips: %v", trips, verbs)
		}
		for i, read := range reads {
			price(t, "what a waiter gets", read, 100*(i+1))
		}
		if r := <-many; r.err != nil {
			t.Error(r.err)
		}
		<-held
		equal(t, "Loads", c.Stats().Loads, 0)
	})
}

// The one that waited first is served by the poll that was under way when the other came; that other one may know of an
// Invalidate since.
func TestWhoComesWhileAPollIsUnderWayIsToldByTheNext(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		holder, _ := process(r, slowly(rows.load))
		c, tap := steady(r, rows.load)
		held := getting(holder, 1)
		synctest.Wait()
		first := gettingMany(t.Context(), c, 1)
		time.Sleep(900 * time.Millisecond)
		poll := tap.before("get")
		poll.wait()
		price(t, "what the holder gets", held, 100)
		reply := tap.after("get")
		poll.release()
		reply.wait() // 100
		rows.setPrice(1, 90)
		mustInvalidate(t, holder, 1)
		deadLease(r, "test:1", 100*time.Millisecond)
		late := gettingMany(t.Context(), c, 1)
		synctest.Wait()
		reply.release()
		finds(t, "the first", first, "1:100")
		finds(t, "who came after the Invalidate", late, "1:90")
	})
}

func TestAFlightGoesOnWaitingAsLongAsAnyCallerIsLeft(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		held := longLoad(r, 1)
		c, _ := process(r, newBatchTable(true, 1).table.load)
		ctx, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		go c.Get(ctx, 1)
		synctest.Wait()
		joiner := getting(c, 1)
		price(t, "what the joiner gets", joiner, 100)
		s := c.Stats()
		equal(t, "Waits, Joins, Loads", fmt.Sprint(s.Waits, s.Joins, s.Loads), "1 1 0")
		<-held
	})
}
