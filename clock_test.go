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
	dial := func(t *testing.T) redis.UniversalClient {
		return closed(t, redis.NewClient(&redis.Options{Addr: s.Addr}))
	}
	if s.clock != nil {
		t.Cleanup(func() { s.clock.Set(0) })
	}
	return emptied(&rig{t: t, shared: true, dial: dial, raw: dial(t), clock: s.clock})
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
