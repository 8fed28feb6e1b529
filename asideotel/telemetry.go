// Package asideotel exports what caches do as OpenTelemetry metrics and traces.
//
//	telemetry, err := asideotel.New(meterProvider, tracerProvider)
//	products, err := aside.New(rdb, "product", repo.ProductByID, aside.WithObserver(telemetry.Observer()))
//	telemetry.Add(products)
//
// # Metrics
//
// Reads, fills and all else that a Cache counts for itself come from its Stats when the metrics are collected, so they cost a hit nothing.
// Durations and sizes come from the Observer. The attribute cache.name is the name that was given to New. A key is never an attribute.
// README.md lists the instruments.
//
// # Traces
//
// A load has a span "aside load <cache>", of kind INTERNAL, with the attributes cache.name, cache.hit (false) and cache.operation: get,
// get_many, refresh or verify. Its parent is the span of the caller whose load it is, and the spans of the database are its children.
// A refresh or a verification, which no caller waits for, begins a trace of its own, unless aside.WithLoadContext passes the
// span on.
//
// A caller that joins the load of another has a span "aside join <cache>" for the time that it
// waited, with a link to the span of the load. A hit has no span, unless WithHits is given.
package asideotel

import (
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/asidecache/aside"
)

const scope = "github.com/asidecache/aside/asideotel"

// A Telemetry exports any number of caches, whatever their K and V. Its methods may be called concurrently, and at any time.
type Telemetry struct {
	events events
	traces traces

	mu     sync.Mutex // guards the rest
	caches []aside.AnyCache
	feeds  []Feed
}

// A Feed is what Telemetry must know of an asidepg.Feed, which has this method.
type Feed interface {
	// Lag returns the name of the slot, how old a change may be that has not been handled, and how many bytes of the log have not.
	Lag() (slot string, behind time.Duration, bytes int64)
}

// An Option sets one thing of a Telemetry.
type Option func(*config)

type config struct{ hits bool }

// WithHits gives each hit a span "aside hit <cache>", with cache.hit true. It has no length, since hits are not timed. By default a
// hit has none.
func WithHits() Option { return func(c *config) { c.hits = true } }

// New makes a Telemetry without caches. Either provider may be nil: then there are no metrics, or no traces. The error is one of
// the meter provider, which refuses an instrument.
func New(meters metric.MeterProvider, tracers trace.TracerProvider, opts ...Option) (*Telemetry, error) {
	var cfg config
	for _, o := range opts {
		o(&cfg)
	}
	if meters == nil {
		meters = metricnoop.NewMeterProvider()
	}
	t := &Telemetry{traces: traces{hits: cfg.hits, none: tracers == nil}}
	if tracers == nil {
		tracers = tracenoop.NewTracerProvider()
	}
	t.traces.tracer = tracers.Tracer(scope)
	meter := meters.Meter(scope)
	err := errors.Join(t.events.init(meter), t.observe(meter))
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Add has the Stats of caches exported. A cache that is added again is exported once. Several caches of one name, as those of two
// clients, are exported as one: their counters are added up, and Redis counts as up if it is for all of them.
func (t *Telemetry) Add(caches ...aside.AnyCache) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, cache := range caches {
		if !slices.ContainsFunc(t.caches, func(known aside.AnyCache) bool { return same(known, cache) }) {
			t.caches = append(t.caches, cache)
		}
	}
}

// AddFeed has the lag of a feed exported, under the name of its slot.
func (t *Telemetry) AddFeed(feed Feed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.ContainsFunc(t.feeds, func(known Feed) bool { return same(known, feed) }) {
		t.feeds = append(t.feeds, feed)
	}
}

// same reports whether two are one. Some types cannot be compared.
func same(a, b any) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// Observer is for WithObserver, of any number of caches.
func (t *Telemetry) Observer() aside.Observer {
	o := aside.Observer{Fill: t.events.fill, Invalidate: t.events.invalidate, Load: t.events.load}
	if !t.traces.none {
		o.LoadStart, o.Load, o.Read = t.traces.loadStart, t.load, t.traces.read
	}
	return o
}
