package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asideotel"
	"github.com/asidecache/aside/asidepg"
	"github.com/asidecache/aside/asideprom"
)

// A seeing is how one sees from outside what the caches do. On request it has metrics for Prometheus, and traces.
type seeing struct {
	verify  float64              // hits a second of each cache that are compared with the database
	metrics *asideprom.Collector // nil if nobody asked for them
	tracers *sdktrace.TracerProvider
	traces  *asideotel.Telemetry // nil if nobody asked for them
	stale   atomic.Pointer[func(aside.VerifyInfo)]
}

// newSeeing writes spans to traces, one line each, if that is not nil.
func newSeeing(verify float64, metrics bool, traces io.Writer) (*seeing, error) {
	s := &seeing{verify: verify}
	if metrics {
		s.metrics = asideprom.NewCollector()
	}
	if traces == nil {
		return s, nil
	}
	exporter, err := stdouttrace.New(stdouttrace.WithWriter(traces))
	if err != nil {
		return nil, err
	}
	s.tracers = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(time.Second)))
	s.traces, err = asideotel.New(nil, s.tracers)
	return s, err
}

// options are those of every cache.
func (s *seeing) options() []aside.Option {
	opts := []aside.Option{aside.WithVerify(s.verify), aside.WithObserver(aside.Observer{Verify: s.found})}
	if s.metrics != nil {
		opts = append(opts, aside.WithObserver(s.metrics.Observer()))
	}
	if s.traces != nil {
		opts = append(opts, aside.WithObserver(s.traces.Observer()))
	}
	return opts
}

func (s *seeing) add(caches aside.Caches) {
	if s.metrics != nil {
		s.metrics.Add(caches...)
	}
}

func (s *seeing) addFeed(feed *asidepg.Feed) {
	if s.metrics != nil {
		s.metrics.AddFeed(feed)
	}
}

// close writes the spans that are not written yet.
func (s *seeing) close() {
	if s.tracers != nil {
		_ = s.tracers.Shutdown(context.Background())
	}
}

// found tells of an entry that is stale to the request that asked.
func (s *seeing) found(_ context.Context, v aside.VerifyInfo) {
	if tell := s.stale.Load(); tell != nil && v.Verdict == aside.Stale {
		(*tell)(v)
	}
}

// register serves the metrics, if there are any.
func (s *seeing) register(mux *http.ServeMux) {
	if s.metrics == nil {
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.metrics)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
}

// traced gives each request a span. The spans of its loads are children of that.
func (s *seeing) traced(next http.Handler) http.Handler {
	if s.tracers == nil {
		return next
	}
	tracer := s.tracers.Tracer("productpage")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, span := tracer.Start(r.Context(), r.Method+" "+r.URL.Path)
		defer span.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// serveMetrics serves the metrics, and nothing else, until stop is called.
func (s *seeing) serveMetrics(addr string) (stop func(), err error) {
	if s.metrics == nil {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	s.register(mux)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener)
	return func() { server.Close() }, nil
}

// verified are how many hits of all caches were verified, and how many of these were stale.
type verified struct{ all, stale int }

func (a *app) verified() (sum verified) {
	for _, c := range a.caches() {
		v := c.Stats().Verified
		sum.all += int(v.Match + v.Unstable + v.Overtaken + v.Stale)
		sum.stale += int(v.Stale)
	}
	return sum
}

func (v verified) since(before verified) verified {
	return verified{v.all - before.all, v.stale - before.stale}
}

// tellStale is what the page says of an entry that verification has found.
func tellStale(v aside.VerifyInfo) string {
	return fmt.Sprintf("Verification found it: %s is not what the database has, and nobody has invalidated it. It is %v old.",
		v.Name, v.Age.Round(100*time.Millisecond))
}
