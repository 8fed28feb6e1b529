package aside_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

// onEveryClock runs a test of what a clock that is set back does: where the clock of a real Redis can be set, it is, and
// where it cannot, what is in Redis is changed instead.
func onEveryClock(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Run("miniredis", func(t *testing.T) { onMiniredis(t, test) })
	t.Run("redis", func(t *testing.T) { test(t, clockedRig(t)) })
	t.Run("cluster", func(t *testing.T) { test(t, clusterRig(t)) })
}

// A clockedRedis has a clock that may be set.
type clockedRedis struct {
	*testserver.RedisServer
	clock *testserver.Clock
}

var sharedClockedRedis = testserver.Shared[clockedRedis]{Start: func(t testing.TB) clockedRedis {
	clock, err := testserver.NewClock(t)
	switch {
	case errors.Is(err, testserver.ErrNoClock):
		return clockedRedis{testserver.Redis(t), nil}
	case err != nil:
		t.Fatal(err)
	}
	return clockedRedis{clock.Redis(t), clock}
}}

func clockedRig(t *testing.T) *rig {
	s := sharedClockedRedis.Get(t)
	r := rigOf(t, s.Addr)
	r.shared, r.clock = true, s.clock
	if s.clock != nil {
		t.Cleanup(func() { s.clock.Set(0) })
	}
	return emptied(r)
}

// setBack does to what is under a name what it does to set the clock of its server back: all that was to happen at a moment is
// further away by d.
func (r *rig) setBack(name string, d time.Duration) {
	r.t.Helper()
	if r.clock != nil {
		r.clock.Set(-d)
		return
	}
	ctx := context.Background()
	later := func(digits string) string {
		ms, _ := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		return fmt.Sprintf("%*d", len(digits), ms+d.Milliseconds())
	}
	doc := regexp.MustCompile(`("expiry":|"claim":)( *\d+)`).ReplaceAllStringFunc(r.get(name), func(field string) string {
		at := strings.Index(field, ":") + 1
		return field[:at] + later(field[at:])
	})
	if err := r.raw.Set(ctx, name, doc, r.raw.PTTL(ctx, name).Val()+d).Err(); err != nil {
		r.t.Fatal(err)
	}
}

// setTagsBack does so to the tags that are held.
func (r *rig) setTagsBack(d time.Duration) {
	r.t.Helper()
	if r.clock != nil {
		r.clock.Set(-d)
		return
	}
	ctx := context.Background()
	const held = "aside-tags" // and the records, by later scores
	for _, z := range r.raw.ZRangeByScoreWithScores(ctx, held, &redis.ZRangeBy{Min: "-inf", Max: "(1e14"}).Val() {
		r.raw.ZAdd(ctx, held, redis.Z{Score: z.Score + float64(d.Milliseconds()), Member: z.Member})
	}
	r.raw.PExpire(ctx, held, d)
}

// Each was left behind by a process that died before the clock of Redis was set back by an hour.
func TestNothingThatTheDeadLeaveOutlivesItsTimeWhenTheClockIsSetBack(t *testing.T) {
	left := map[string]func(t *testing.T, r *rig){
		"a lease":                    func(_ *testing.T, r *rig) { deadLease(r, "test:1", 2*time.Second) },
		"a lease that is waited for": func(_ *testing.T, r *rig) { r.lease(`{"lease":"dead-1-2.3","life":2000,"waited":true}`, 2*time.Second) },
		"a returned lease":           func(_ *testing.T, r *rig) { r.lease(`{"lease":"dead-1-2.3","returned":true}`, time.Second) },
		"a hold": func(t *testing.T, r *rig) {
			c, _ := process(r, newTable().load, aside.WithHold(time.Second))
			_ = aside.InTx(t.Context(), func(ctx context.Context) error { _ = c.Invalidate(ctx, 1); return errDown })
		},
		"a lag": func(t *testing.T, r *rig) {
			c, _ := process(r, newTable().load, aside.WithReplicaLag(time.Second))
			mustInvalidate(t, c, 1)
		},
	}
	for name, leave := range left {
		t.Run(name, func(t *testing.T) {
			onEveryClock(t, func(t *testing.T, r *rig) {
				leave(t, r)
				r.setBack("test:1", time.Hour)
				c, _ := process(r, newTable(product{1, "lamp", 100}).load)
				begun := time.Now()
				r.until(func() bool { mustGet(t, c, 1); return c.Stats().Hits > 0 })
				if took := time.Since(begun); r.virtual && took > 3*time.Second {
					t.Errorf("nothing was filled for %v", took)
				}
			})
		})
	}
}

// A process died while it refreshed a value, which is stale.
func TestAClaimOfTheDeadDoesNotOutliveAClockThatIsSetBack(t *testing.T) {
	onEveryClock(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, aside.WithTTL(time.Millisecond), aside.WithStale(time.Hour))
		mustGet(t, c, 1)
		doc := r.get("test:1")
		claim := fmt.Sprintf(`"claim":%13d`, time.Now().Add(time.Second).UnixMilli())
		r.lease(regexp.MustCompile(`"claim":( *\d+)`).ReplaceAllString(doc, claim), time.Hour)
		r.setBack("test:1", time.Hour)
		time.Sleep(2 * time.Millisecond) // stale
		rows.setPrice(1, 90)
		r.until(func() bool { return mustGet(t, c, 1).Price == 90 })
	})
}

// The transaction is open, and must not lose its hold.
func TestAHoldThatIsRenewedOutlivesAClockThatIsSetBack(t *testing.T) {
	onEveryClock(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, tap := process(r, rows.load, aside.WithHold(time.Second))
		reader, _ := process(r, rows.load)
		inTx(t, func(ctx context.Context) error {
			err := writer.Invalidate(ctx, 1)
			_ = aside.InTx(t.Context(), func(ctx context.Context) error { _ = writer.Invalidate(ctx, 1); return errDown }) // which nobody renews
			r.setBack("test:1", time.Hour)
			tap.reset()
			r.until(func() bool {
				mustGet(t, reader, 1)
				equal(t, "whether it is held", r.held("test:1"), true)
				return tap.sent("hold") > 3
			})
			rows.setPrice(1, 90)
			equal(t, "the price after the COMMIT", mustGet(t, reader, 1).Price, 90)
			return err
		})
		if left := r.raw.PTTL(t.Context(), "test:1").Val(); left > time.Second {
			t.Errorf("after the release, the hold that nobody renews has %v to live", left)
		}
		r.until(func() bool { mustGet(t, reader, 1); return reader.Stats().Hits > 0 })
	})
}

func TestAHeldTagOfTheDeadDoesNotOutliveAClockThatIsSetBack(t *testing.T) {
	ways := map[string]func(t *testing.T, r *rig, rows *table){
		"a hold": func(t *testing.T, r *rig, rows *table) {
			c, _ := process(r, rows.load, categories, aside.WithHold(time.Second))
			_ = aside.InTx(t.Context(), func(ctx context.Context) error { return errors.Join(c.InvalidateTags(ctx, "lamps"), errDown) })
		},
		"a lag": func(t *testing.T, r *rig, rows *table) {
			c, _ := process(r, rows.load, categories, aside.WithReplicaLag(time.Second))
			mustInvalidateTags(t, c, "lamps")
		},
	}
	for name, leave := range ways {
		t.Run(name, func(t *testing.T) {
			onEveryClock(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100})
				leave(t, r, rows)
				r.setTagsBack(time.Hour)
				c, _ := process(r, rows.load, categories)
				begun := time.Now()
				r.until(func() bool { mustGet(t, c, 1); return c.Stats().Hits > 0 })
				if took := time.Since(begun); r.virtual && took > 3*time.Second {
					t.Errorf("nothing was filled for %v", took)
				}
			})
		})
	}
}
