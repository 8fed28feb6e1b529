package asideprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/asidecache/aside"
)

// A metric is made of the Stats of a cache.
type metric struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	all    bool // of several caches of one name: 1 if it is 1 for all of them; else it is their sum
	values []value
}

// A value is a metric under one value of its label, if it has another one than cache.
type value struct {
	label []string
	of    func(aside.Stats) float64
}

func count(n uint64) float64 { return float64(n) }

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"cache"}, labels...), nil)
}

// single is a metric with no label but cache.
func single(name, help string, kind prometheus.ValueType, of func(aside.Stats) float64) metric {
	return metric{desc: newDesc(name, help), kind: kind, values: []value{{nil, of}}}
}

// labelled is a metric with a label.
func labelled(name, help, label string, of map[string]func(aside.Stats) float64) metric {
	m := metric{desc: newDesc(name, help, label), kind: prometheus.CounterValue}
	for text, f := range of {
		m.values = append(m.values, value{[]string{text}, f})
	}
	return m
}

// state is 1 or 0.
func state(name, help string, of func(aside.Stats) bool) metric {
	m := single(name, help, prometheus.GaugeValue, func(s aside.Stats) float64 { return one(of(s)) })
	m.all = true
	return m
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

type by = map[string]func(aside.Stats) float64

// counted are the metrics that are made of Stats.
var counted = []metric{
	labelled("aside_reads_total", "Keys that were read, by how they were answered.", "outcome", by{
		"hit":      func(s aside.Stats) float64 { return count(s.Hits) },
		"near_hit": func(s aside.Stats) float64 { return count(s.NearHits) },
		"stale":    func(s aside.Stats) float64 { return count(s.StaleHits) },
		"absent":   func(s aside.Stats) float64 { return count(s.AbsentHits) },
		"miss":     func(s aside.Stats) float64 { return count(s.Misses) },
	}),
	single("aside_joins_total", "Misses that another caller's load answered.", counter,
		func(s aside.Stats) float64 { return count(s.Joins) }),
	single("aside_lease_waits_total", "Misses that waited for the load of another process.", counter,
		func(s aside.Stats) float64 { return count(s.Waits) }),
	single("aside_loads_in_flight", "Loads under way.", gauge,
		func(s aside.Stats) float64 { return float64(s.Loading) }),
	single("aside_overloaded_total", "Reads that found no place among WithMaxLoads before their context ended.", counter,
		func(s aside.Stats) float64 { return count(s.Overloaded) }),
	labelled("aside_fills_total", "Values and absences that were to be stored.", "result", by{
		"stored":  func(s aside.Stats) float64 { return count(s.Fills) },
		"refused": func(s aside.Stats) float64 { return count(s.Refused) },
		"error":   func(s aside.Stats) float64 { return count(s.FillErrors) },
	}),
	single("aside_invalidated_entries_total", "Keys that were given to Invalidate, and entries that were found by tags or in whole caches.", counter,
		func(s aside.Stats) float64 { return count(s.Invalidations) }),
	single("aside_invalidations_pending", "Invalidations that Redis has not confirmed, and that are tried again.", gauge,
		func(s aside.Stats) float64 { return float64(s.PendingInvalidations) }),
	single("aside_redis_errors_total", "Redis commands that failed or were not answered in time.", counter,
		func(s aside.Stats) float64 { return count(s.RedisErrors) }),
	state("aside_redis_up", "1 unless Redis is known to be down.",
		func(s aside.Stats) bool { return !s.Down }),
	state("aside_redis_writes_up", "1 unless Redis is known to take no writes.",
		func(s aside.Stats) bool { return !s.WritesDown }),
	labelled("aside_unusable_documents_total", "Redis strings that could not be used, and other Redis types under the name of an entry.", "reason", by{
		"unreadable": func(s aside.Stats) float64 { return count(s.Unusable) },
		"wrong_type": func(s aside.Stats) float64 { return count(s.WrongTypes) },
	}),
	single("aside_altered_values_total", "Values, of the few that are compared, of which a hit differs from what was loaded.", counter,
		func(s aside.Stats) float64 { return count(s.Altered) }),
	single("aside_near_entries", "Values and absences in the memory of the process.", gauge,
		func(s aside.Stats) float64 { return float64(s.NearEntries) }),
	labelled("aside_verified_total", "Hits that were compared with the loader, by the verdict.", "verdict", by{
		"match":     func(s aside.Stats) float64 { return count(s.Verified.Match) },
		"unstable":  func(s aside.Stats) float64 { return count(s.Verified.Unstable) },
		"overtaken": func(s aside.Stats) float64 { return count(s.Verified.Overtaken) },
		"stale":     func(s aside.Stats) float64 { return count(s.Verified.Stale) },
	}),
}

var (
	nearWait     = newDesc("aside_near_wait_seconds", "How long invalidations waited until no process could serve an old near copy.")
	feedLag      = prometheus.NewDesc("aside_feed_lag_seconds", "How old a change may be that a feed of package asidepg has not handled.", []string{"slot"}, nil)
	feedLagBytes = prometheus.NewDesc("aside_feed_lag_bytes", "How much of the log a feed of package asidepg has not handled.", []string{"slot"}, nil)
)
