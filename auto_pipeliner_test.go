package aside_test

import (
	"strings"
	"testing"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

// A client whose commands share their pipelines.

func TestAnAutoPipelinerKeepsThePromises(t *testing.T) {
	for name, topology := range map[string]func(t *testing.T) *rig{"redis": realRig, "cluster": clusterRig} {
		t.Run(name, func(t *testing.T) {
			r := autoPipelined(t, topology(t))
			rows := newSlowTable()
			for id := range 30 {
				rows.setPrice(id, 100)
			}
			c, _ := process(r, rows.table.load, aside.WithBatch(rows.loadMany), patient)
			slow, _ := process(r, rows.load, patient)
			for range 2 {
				found, err := c.GetMany(t.Context(), []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 404})
				if len(found) != 9 || err != nil {
					t.Errorf("GetMany found %v, %v", found, err)
				}
			}
			equal(t, "the number of loads", rows.loads.Load(), 1)
			equal(t, "Hits", c.Stats().Hits, 9)
			mustInvalidate(t, c, 1, 2, 3, 4, 5, 6, 7, 8, 9)

			load := getting(slow, 1)
			<-rows.read // 100
			rows.setPrice(1, 90)
			mustInvalidate(t, c, 1)
			rows.go_ <- struct{}{}
			price(t, "what the slow reader gets, which began before", load, 100)
			equal(t, "Refused", slow.Stats().Refused, 1)
			equal(t, "the price after Invalidate", mustGet(t, c, 1).Price, 90)
			noStaleReadWhile(t, r, patient, func() {})
		})
	}
}

// It could only scan one node of them. Nothing is owed, for ever, by what can never be done.
func TestInvalidateAllThroughAnAutoPipelinerOverAClusterIsRefused(t *testing.T) {
	r := autoPipelined(t, clusterRig(t))
	c, _ := process(r, newTable(product{1, "lamp", 100}).load)
	mustGet(t, c, 1)
	err := c.InvalidateAll(t.Context())
	if err == nil || !strings.Contains(err.Error(), "redis.ClusterClient") {
		t.Errorf("InvalidateAll returned %v", err)
	}
	equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
	mustGet(t, c, 1)
	equal(t, "Hits", c.Stats().Hits, 1)
}

// Very many debts are a debt of the whole cache elsewhere, which is paid by a SCAN of all nodes. Here they stay what they are.
func TestVeryManyFailedInvalidationsArePaidThroughAnAutoPipelinerOverACluster(t *testing.T) {
	r := autoPipelined(t, clusterRig(t))
	rows := newTable(product{1, "lamp", 100})
	c, tap := process(r, rows.load, patient)
	keys := idsFrom(10, 10_001)
	tap.answer("hold", redisError("OOM"))
	if err := c.Invalidate(t.Context(), keys...); err == nil {
		t.Error("Invalidate returned nil")
	}
	equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, len(keys))
	mustGet(t, c, 1)
	mustGet(t, c, 1)
	equal(t, "the hits of a key that is not owed", c.Stats().Hits, 1)
	tap.answer("hold", nil)
	r.until(func() bool { return c.Stats().PendingInvalidations == 0 })
}

func TestAnAutoPipelinerComesThroughAnOutage(t *testing.T) {
	for name, outage := range map[string]struct {
		begin, end func(s *testserver.RedisServer)
	}{
		"refused": {(*testserver.RedisServer).Kill, (*testserver.RedisServer).Restart},
		"hung":    {(*testserver.RedisServer).Stop, (*testserver.RedisServer).Continue},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testserver.Redis(t)
			r := autoPipelined(t, rigOf(t, s.Addr))
			rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
			c, _ := process(r, rows.load, impatient)
			mustGet(t, c, 1)
			outage.begin(s)
			for range 5 {
				equal(t, "the price", mustGet(t, c, 2).Price, 200)
			}
			if err := c.Invalidate(t.Context(), 1); err == nil {
				t.Error("Invalidate returned nil")
			}
			outage.end(s)
			r.until(func() bool { return c.Invalidate(t.Context(), 1) == nil })
			hits := c.Stats().Hits
			r.until(func() bool { mustGet(t, c, 1); return c.Stats().Hits > hits })
		})
	}
}
