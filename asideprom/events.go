package asideprom

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/metrics"
)

// events are the metrics that are made of what an Observer is told.
type events struct {
	loads             *prometheus.CounterVec
	loadDuration      *prometheus.HistogramVec
	fillBytes         *prometheus.HistogramVec
	invalidations     *prometheus.CounterVec
	invalidationsTook *prometheus.HistogramVec
}

func newEvents() events {
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, append([]string{"cache"}, labels...))
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"cache"}, labels...))
	}
	seconds := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	return events{
		loads:             counter("aside_loads_total", "Calls of the loader, by how they ended and why they were made.", "result", "reason"),
		loadDuration:      histogram("aside_load_duration_seconds", "How long calls of the loader took.", seconds, "result", "reason"),
		fillBytes:         histogram("aside_fill_bytes", "Sizes of the values that were to be stored.", prometheus.ExponentialBuckets(64, 4, 10)),
		invalidations:     counter("aside_invalidations_total", "Calls of Invalidate, InvalidateTags and InvalidateAll; a hold is one inside InTx.", "kind", "result"),
		invalidationsTook: histogram("aside_invalidation_duration_seconds", "How long these calls took.", seconds, "kind", "result"),
	}
}

func (e *events) all() []prometheus.Collector {
	return []prometheus.Collector{e.loads, e.loadDuration, e.fillBytes, e.invalidations, e.invalidationsTook}
}

func (e *events) describe(to chan<- *prometheus.Desc) {
	for _, c := range e.all() {
		c.Describe(to)
	}
}

func (e *events) collect(to chan<- prometheus.Metric) {
	for _, c := range e.all() {
		c.Collect(to)
	}
}

// Observer is for WithObserver, of any number of caches. It is not told of reads: Add exports those.
func (c *Collector) Observer() aside.Observer {
	return aside.Observer{Load: c.events.load, Fill: c.events.fill, Invalidate: c.events.invalidate}
}

func (e *events) load(_ context.Context, l aside.LoadInfo) {
	result, reason := metrics.Result(l), metrics.Reason(l)
	e.loads.WithLabelValues(l.Cache, result, reason).Inc()
	e.loadDuration.WithLabelValues(l.Cache, result, reason).Observe(l.Took.Seconds())
}

func (e *events) fill(_ context.Context, f aside.FillInfo) {
	if !f.Absent {
		e.fillBytes.WithLabelValues(f.Cache).Observe(float64(f.Bytes))
	}
}

func (e *events) invalidate(_ context.Context, i aside.InvalidateInfo) {
	kind, result := metrics.Kind(i), metrics.InvalidationResult(i)
	e.invalidations.WithLabelValues(i.Cache, kind, result).Inc()
	e.invalidationsTook.WithLabelValues(i.Cache, kind, result).Observe(i.Took.Seconds())
}
