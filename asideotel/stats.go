package asideotel

import (
	"context"
	"errors"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/metrics"
)

// A counted is a number of Stats, under one value of an attribute if there is one beside cache.name.
type counted struct {
	label attribute.KeyValue // invalid if there is none
	of    func(aside.Stats) uint64
}

// An instrument is made of the Stats of a cache.
type instrument struct {
	name, unit, help string
	kind             kind
	values           []counted
}

type kind int

const (
	counter kind = iota
	gauge        // which may be added up
	state        // 1 or 0: of several caches of one name, 1 if it is for all of them
)

func plain(of func(aside.Stats) uint64) []counted { return []counted{{of: of}} }

func by(label string, of map[string]func(aside.Stats) uint64) (values []counted) {
	for text, f := range of {
		values = append(values, counted{attribute.String(label, text), f})
	}
	return values
}

func one(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

type texts = map[string]func(aside.Stats) uint64

// instruments are those that are made of Stats.
var instruments = []instrument{
	{"aside.reads", "{read}", "Keys that were read, by how they were answered.", counter, by("outcome", texts{
		"hit":      func(s aside.Stats) uint64 { return s.Hits },
		"near_hit": func(s aside.Stats) uint64 { return s.NearHits },
		"stale":    func(s aside.Stats) uint64 { return s.StaleHits },
		"absent":   func(s aside.Stats) uint64 { return s.AbsentHits },
		"miss":     func(s aside.Stats) uint64 { return s.Misses },
	})},
	{"aside.joins", "{read}", "Misses that another caller's load answered.", counter,
		plain(func(s aside.Stats) uint64 { return s.Joins })},
	{"aside.lease.waits", "{read}", "Misses that waited for the load of another process.", counter,
		plain(func(s aside.Stats) uint64 { return s.Waits })},
	{"aside.load.active", "{load}", "Loads under way.", gauge,
		plain(func(s aside.Stats) uint64 { return uint64(s.Loading) })},
	{"aside.overloads", "{read}", "Reads that found no place among WithMaxLoads before their context ended.", counter,
		plain(func(s aside.Stats) uint64 { return s.Overloaded })},
	{"aside.fills", "{fill}", "Values and absences that were to be stored.", counter, by("result", texts{
		"stored":  func(s aside.Stats) uint64 { return s.Fills },
		"refused": func(s aside.Stats) uint64 { return s.Refused },
		"error":   func(s aside.Stats) uint64 { return s.FillErrors },
	})},
	{"aside.invalidation.entries", "{entry}", "Keys that were given to Invalidate, and entries that were found by tags or in whole caches.", counter,
		plain(func(s aside.Stats) uint64 { return s.Invalidations })},
	{"aside.invalidation.pending", "{invalidation}", "Invalidations that Redis has not confirmed, and that are tried again.", gauge,
		plain(func(s aside.Stats) uint64 { return uint64(s.PendingInvalidations) })},
	{"aside.redis.errors", "{error}", "Redis commands that failed or were not answered in time.", counter,
		plain(func(s aside.Stats) uint64 { return s.RedisErrors })},
	{"aside.redis.up", "1", "1 unless Redis is known to be down.", state,
		plain(func(s aside.Stats) uint64 { return one(!s.Down) })},
	{"aside.redis.writes.up", "1", "1 unless Redis is known to take no writes.", state,
		plain(func(s aside.Stats) uint64 { return one(!s.WritesDown) })},
	{"aside.documents.unusable", "{document}", "Redis strings that could not be used, and other Redis types under the name of an entry.", counter, by("reason", texts{
		"unreadable": func(s aside.Stats) uint64 { return s.Unusable },
		"wrong_type": func(s aside.Stats) uint64 { return s.WrongTypes },
	})},
	{"aside.values.altered", "{value}", "Values, of the few that are compared, of which a hit differs from what was loaded.", counter,
		plain(func(s aside.Stats) uint64 { return s.Altered })},
	{"aside.near.entry.count", "{entry}", "Values and absences in the memory of the process.", gauge,
		plain(func(s aside.Stats) uint64 { return uint64(s.NearEntries) })},
	{"aside.verifications", "{read}", "Hits that were compared with the loader, by the verdict.", counter, by("verdict", texts{
		"match":     func(s aside.Stats) uint64 { return s.Verified.Match },
		"unstable":  func(s aside.Stats) uint64 { return s.Verified.Unstable },
		"overtaken": func(s aside.Stats) uint64 { return s.Verified.Overtaken },
		"stale":     func(s aside.Stats) uint64 { return s.Verified.Stale },
	})},
}

// newObservable makes an instrument that is read by a callback.
func newObservable(meter metric.Meter, i instrument) (metric.Int64Observable, error) {
	unit, help := metric.WithUnit(i.unit), metric.WithDescription(i.help)
	switch i.kind {
	case counter:
		return meter.Int64ObservableCounter(i.name, unit, help)
	case gauge:
		return meter.Int64ObservableUpDownCounter(i.name, unit, help)
	default:
		return meter.Int64ObservableGauge(i.name, unit, help)
	}
}

// observe has the meter ask for Stats when it collects.
func (t *Telemetry) observe(meter metric.Meter) error {
	made := make([]metric.Int64Observable, len(instruments))
	all := make([]metric.Observable, 0, len(instruments)+3)
	var errs []error
	for i, in := range instruments {
		o, err := newObservable(meter, in)
		made[i], all, errs = o, append(all, o), append(errs, err)
	}
	nearWait, err1 := meter.Float64ObservableCounter("aside.near.wait", metric.WithUnit("s"),
		metric.WithDescription("How long invalidations waited until no process could serve an old near copy, all together."))
	feedLag, err2 := meter.Float64ObservableGauge("aside.feed.lag", metric.WithUnit("s"),
		metric.WithDescription("How old a change may be that a feed of package asidepg has not handled."))
	feedLagSize, err3 := meter.Int64ObservableGauge("aside.feed.lag.size", metric.WithUnit("By"),
		metric.WithDescription("How much of the log a feed of package asidepg has not handled."))
	if err := errors.Join(append(errs, err1, err2, err3)...); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		t.mu.Lock()
		caches, feeds := slices.Clone(t.caches), slices.Clone(t.feeds)
		t.mu.Unlock()
		for name, stats := range statsOf(caches) {
			wait := 0.0
			for i, in := range instruments {
				observeStats(o, made[i], in, name, stats)
			}
			for _, s := range stats {
				wait += s.NearWaits.Seconds()
			}
			o.ObserveFloat64(nearWait, wait, metric.WithAttributes(cacheName(name)))
		}
		for slot, l := range metrics.LagsOf(feeds) {
			at := metric.WithAttributes(attribute.String("slot", slot))
			o.ObserveFloat64(feedLag, l.Behind.Seconds(), at)
			o.ObserveInt64(feedLagSize, l.Bytes, at)
		}
		return nil
	}, append(all, nearWait, feedLag, feedLagSize)...)
	return err
}

// statsOf returns the Stats of caches by name.
func statsOf(caches []aside.AnyCache) map[string][]aside.Stats {
	stats := make(map[string][]aside.Stats)
	for _, c := range caches {
		stats[c.Name()] = append(stats[c.Name()], c.Stats())
	}
	return stats
}

func observeStats(o metric.Observer, made metric.Int64Observable, in instrument, name string, stats []aside.Stats) {
	for _, v := range in.values {
		var sum uint64
		for _, s := range stats {
			sum += v.of(s)
		}
		if in.kind == state {
			sum = one(sum == uint64(len(stats)))
		}
		attributes := []attribute.KeyValue{cacheName(name)}
		if v.label.Valid() {
			attributes = append(attributes, v.label)
		}
		o.ObserveInt64(made, int64(sum), metric.WithAttributes(attributes...))
	}
}
