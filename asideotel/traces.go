package asideotel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/metrics"
)

// traces are the spans of misses.
type traces struct {
	tracer trace.Tracer
	hits   bool
	none   bool
}

// spanKey is that of the span of a load, in the ctx of the load. Another Telemetry has another one.
type spanKey struct{ of *traces }

func attributes(cache, operation string, hit bool) trace.SpanStartEventOption {
	return trace.WithAttributes(
		cacheName(cache), attribute.Bool("cache.hit", hit), attribute.String("cache.operation", operation))
}

// loadStart begins the span of a load. A span of kind INTERNAL is what a tracer begins if it is told nothing else.
func (t *traces) loadStart(ctx context.Context) context.Context {
	l, _ := aside.LoadOf(ctx)
	ctx, span := t.tracer.Start(ctx, "aside load "+l.Cache, attributes(l.Cache, operationOf(l), false))
	if l.Keys > 1 {
		span.SetAttributes(attribute.Int("aside.load.keys", l.Keys))
	}
	return context.WithValue(ctx, spanKey{t}, span)
}

func operationOf(l aside.LoadInfo) string {
	switch reason := metrics.Reason(l); {
	case reason != "miss":
		return reason
	case l.Keys > 1:
		return "get_many"
	default:
		return "get"
	}
}

// spanOf is the span of a load, nil if the load has none.
func (t *traces) spanOf(ctx context.Context) trace.Span {
	span, _ := ctx.Value(spanKey{t}).(trace.Span)
	return span
}

// load ends the span of a load, which is an exemplar of its duration.
func (t *Telemetry) load(ctx context.Context, l aside.LoadInfo) {
	t.events.load(ctx, l)
	span := t.traces.spanOf(ctx)
	if span == nil {
		return
	}
	if result := metrics.Result(l); result == "error" || result == "panic" {
		failed(span, l.Err)
	}
	span.End()
}

func failed(span trace.Span, err error) {
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
}

// read makes the span of a joiner, now that it is known to be one. A hit costs no more than the question.
func (t *traces) read(ctx context.Context, r aside.ReadInfo) {
	switch {
	case r.Joined != nil:
		t.join(ctx, r)
	case t.hits && r.Outcome != aside.Miss:
		_, span := t.tracer.Start(ctx, "aside hit "+r.Cache, attributes(r.Cache, "get", true))
		span.End()
	}
}

func (t *traces) join(ctx context.Context, r aside.ReadInfo) {
	now := time.Now()
	opts := []trace.SpanStartOption{attributes(r.Cache, "get", false), trace.WithTimestamp(now.Add(-r.Took))}
	if load := t.spanOf(r.Joined); load != nil {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: load.SpanContext()}))
	}
	_, span := t.tracer.Start(ctx, "aside join "+r.Cache, opts...)
	if r.Err != nil && metrics.Result(aside.LoadInfo{Err: r.Err}) == "error" {
		failed(span, r.Err)
	}
	span.End(trace.WithTimestamp(now))
}
