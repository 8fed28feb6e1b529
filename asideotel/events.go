package asideotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/metrics"
)

// events are the metrics that are made of what an Observer is told.
type events struct {
	loadDuration         metric.Float64Histogram
	fillSize             metric.Int64Histogram
	invalidationDuration metric.Float64Histogram
}

func (e *events) init(meter metric.Meter) error {
	seconds := metric.WithExplicitBucketBoundaries(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)
	var err1, err2, err3 error
	e.loadDuration, err1 = meter.Float64Histogram("aside.load.duration", metric.WithUnit("s"), seconds,
		metric.WithDescription("How long calls of the loader took, by how they ended and why they were made."))
	e.fillSize, err2 = meter.Int64Histogram("aside.fill.size", metric.WithUnit("By"),
		metric.WithExplicitBucketBoundaries(64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216),
		metric.WithDescription("Sizes of the values that were to be stored."))
	e.invalidationDuration, err3 = meter.Float64Histogram("aside.invalidation.duration", metric.WithUnit("s"), seconds,
		metric.WithDescription("How long calls of Invalidate, InvalidateTags and InvalidateAll took; a hold is one inside InTx."))
	return errors.Join(err1, err2, err3)
}

func cacheName(name string) attribute.KeyValue { return attribute.String("cache.name", name) }

func (e *events) load(ctx context.Context, l aside.LoadInfo) {
	e.loadDuration.Record(ctx, l.Took.Seconds(), metric.WithAttributes(
		cacheName(l.Cache), attribute.String("result", metrics.Result(l)), attribute.String("reason", metrics.Reason(l))))
}

func (e *events) fill(ctx context.Context, f aside.FillInfo) {
	if !f.Absent {
		e.fillSize.Record(ctx, int64(f.Bytes), metric.WithAttributes(cacheName(f.Cache)))
	}
}

func (e *events) invalidate(ctx context.Context, i aside.InvalidateInfo) {
	e.invalidationDuration.Record(ctx, i.Took.Seconds(), metric.WithAttributes(
		cacheName(i.Cache), attribute.String("kind", metrics.Kind(i)), attribute.String("result", metrics.InvalidationResult(i))))
}
