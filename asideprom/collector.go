package asideprom

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/metrics"
)

// A Collector is a prometheus.Collector for any number of caches, whatever their K and V. Its methods may be called concurrently, and
// at any time.
type Collector struct {
	events events

	mu     sync.Mutex // guards the rest
	caches []aside.AnyCache
	feeds  []Feed
}

// A Feed is what Collector must know of an asidepg.Feed, which has this method.
type Feed interface {
	// Lag returns the name of the slot, how old a change may be that has not been handled, and how many bytes of the log have not.
	Lag() (slot string, behind time.Duration, bytes int64)
}

// NewCollector makes a Collector without caches.
func NewCollector() *Collector { return &Collector{events: newEvents()} }

// Add has the Stats of caches exported. A cache that is added again is exported once. Several caches of one name, as those of two
// clients, are exported as one: their counters are added up, and Redis counts as up if it is for all of them.
func (c *Collector) Add(caches ...aside.AnyCache) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cache := range caches {
		if !slices.ContainsFunc(c.caches, func(known aside.AnyCache) bool { return same(known, cache) }) {
			c.caches = append(c.caches, cache)
		}
	}
}

// AddFeed has the lag of a feed exported, under the name of its slot.
func (c *Collector) AddFeed(feed Feed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(c.feeds, func(known Feed) bool { return same(known, feed) }) {
		c.feeds = append(c.feeds, feed)
	}
}

// same reports whether two are one. Some types cannot be compared.
func same(a, b any) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range counted {
		to <- m.desc
	}
	for _, desc := range []*prometheus.Desc{nearWait, feedLag, feedLagBytes} {
		to <- desc
	}
	c.events.describe(to)
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	c.events.collect(to)
	c.mu.Lock()
	caches, feeds := slices.Clone(c.caches), slices.Clone(c.feeds)
	c.mu.Unlock()
	for name, s := range statsOf(caches) {
		collectStats(to, name, s)
	}
	for slot, l := range metrics.LagsOf(feeds) {
		to <- prometheus.MustNewConstMetric(feedLag, prometheus.GaugeValue, l.Behind.Seconds(), slot)
		to <- prometheus.MustNewConstMetric(feedLagBytes, prometheus.GaugeValue, float64(l.Bytes), slot)
	}
}

// statsOf returns the Stats of caches by name.
func statsOf(caches []aside.AnyCache) map[string][]aside.Stats {
	stats := make(map[string][]aside.Stats)
	for _, c := range caches {
		stats[c.Name()] = append(stats[c.Name()], c.Stats())
	}
	return stats
}

func collectStats(to chan<- prometheus.Metric, name string, stats []aside.Stats) {
	for _, m := range counted {
		for _, v := range m.values {
			sum := 0.0
			for _, s := range stats {
				sum += v.of(s)
			}
			if m.all {
				sum = one(sum == float64(len(stats)))
			}
			labels := append([]string{name}, v.label...)
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, sum, labels...)
		}
	}
	var waited time.Duration
	var told uint64
	for _, s := range stats {
		waited, told = waited+s.NearWaits, told+s.NearTold
	}
	to <- prometheus.MustNewConstSummary(nearWait, told, waited.Seconds(), nil, name)
}
