package asideotel_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asideotel"
)

// A rig is a service with one cache, and what it exports.
type rig struct {
	*asideotel.Telemetry
	cache  *aside.Cache[int, string]
	reader *sdkmetric.ManualReader
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
	gate   chan struct{} // a load of 7 waits for it
}

var errFailed = errors.New("failed")

// load has rows by the sign of the id. A span of the database is what it leaves.
func (r *rig) load(ctx context.Context, id int) (string, error) {
	_, span := r.tracer.Start(ctx, "SELECT")
	defer span.End()
	switch {
	case id == 7:
		<-r.gate
		return "seven", nil
	case id == 13:
		panic("13")
	case id < 0:
		return "", sql.ErrNoRows
	case id == 0:
		return "", errFailed
	default:
		return "a value", nil
	}
}

func newRig(t *testing.T, opts []asideotel.Option, more ...aside.Option) *rig {
	t.Helper()
	r := &rig{reader: sdkmetric.NewManualReader(), spans: tracetest.NewSpanRecorder(), gate: make(chan struct{})}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
	r.tracer = tracers.Tracer("test")
	telemetry, err := asideotel.New(sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader)), tracers, opts...)
	if err != nil {
		t.Fatal(err)
	}
	r.Telemetry = telemetry
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { rdb.Close() })
	r.cache, err = aside.New(rdb, "product", r.load, append([]aside.Option{
		aside.WithObserver(telemetry.Observer()), aside.WithLogger(slog.New(slog.DiscardHandler)), aside.WithEarlyRefresh(0),
		aside.WithRedisTimeout(10 * time.Second), // a busy machine is no outage
		aside.WithTags(func(int, string) []string { return []string{"tag"} }),
		aside.WithBatch(func(ctx context.Context, ids []int) (map[int]string, error) {
			_, span := r.tracer.Start(ctx, "SELECT many")
			defer span.End()
			found := make(map[int]string)
			for _, id := range ids {
				found[id] = "a value"
			}
			return found, nil
		}),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cache.Close() })
	telemetry.Add(r.cache)
	return r
}

// span returns the one span of a name that has ended.
func (r *rig) span(t *testing.T, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	found := r.named(name)
	if len(found) != 1 {
		t.Fatalf("there are %d spans %q", len(found), name)
	}
	return found[0]
}

func (r *rig) named(name string) (found []sdktrace.ReadOnlySpan) {
	for _, s := range r.spans.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	return found
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// has checks the attributes of a span.
func has(t *testing.T, s sdktrace.ReadOnlySpan, want ...attribute.KeyValue) {
	t.Helper()
	for _, kv := range want {
		if !slices.Contains(s.Attributes(), kv) {
			t.Errorf("the span %q has %v, not %v", s.Name(), s.Attributes(), kv)
		}
	}
}

func TestALoadIsASpanBetweenTheRequestAndTheDatabase(t *testing.T) {
	r := newRig(t, nil)
	ctx, request := r.tracer.Start(t.Context(), "request")
	_, _ = r.cache.Get(ctx, 1)
	request.End()
	load := r.span(t, "aside load product")
	equal(t, "its kind", load.SpanKind(), trace.SpanKindInternal)
	equal(t, "its parent", load.Parent().SpanID(), request.SpanContext().SpanID())
	has(t, load, attribute.String("cache.name", "product"), attribute.Bool("cache.hit", false), attribute.String("cache.operation", "get"))
	equal(t, "the parent of the query", r.span(t, "SELECT").Parent().SpanID(), load.SpanContext().SpanID())
	equal(t, "its status", load.Status().Code, codes.Unset)
}

func TestAHitHasNoSpanUnlessItIsAskedFor(t *testing.T) {
	for want, opts := range [][]asideotel.Option{nil, {asideotel.WithHits()}} {
		r := newRig(t, opts)
		_, _ = r.cache.Get(t.Context(), 1)
		before := len(r.spans.Started())
		_, _ = r.cache.Get(t.Context(), 1)
		equal(t, "the spans of a hit", len(r.spans.Started())-before, want)
		for _, s := range r.named("aside hit product") {
			has(t, s, attribute.Bool("cache.hit", true), attribute.String("cache.name", "product"))
		}
	}
}

func TestABatchIsOneLoad(t *testing.T) {
	r := newRig(t, nil)
	_, _ = r.cache.GetMany(t.Context(), []int{1, 2, 3})
	load := r.span(t, "aside load product")
	has(t, load, attribute.String("cache.operation", "get_many"), attribute.Int("aside.load.keys", 3))
	equal(t, "the parent of the query", r.span(t, "SELECT many").Parent().SpanID(), load.SpanContext().SpanID())
}

// joined returns what a request was told that joined the load of another. A request that comes a moment too late is let go.
func joined(t *testing.T) *rig {
	for {
		r := newRig(t, nil)
		var group sync.WaitGroup
		get := func(name string) {
			group.Go(func() {
				ctx, request := r.tracer.Start(context.Background(), name)
				defer request.End()
				_, _ = r.cache.Get(ctx, 7)
			})
		}
		get("owner")
		r.until(func() bool { return r.cache.Stats().Loading == 1 })
		get("joiner")
		r.until(func() bool { return r.cache.Stats().Misses == 2 })
		close(r.gate)
		group.Wait()
		if r.cache.Stats().Joins == 1 {
			return r
		}
	}
}

// until waits for something that happens by itself in another goroutine.
func (r *rig) until(done func() bool) {
	for !done() {
		time.Sleep(time.Millisecond)
	}
}

// A caller who waits for what another one loads sees in its own trace where the time went.
func TestAJoinerLinksToTheLoad(t *testing.T) {
	r := joined(t)
	load, joiner := r.span(t, "aside load product"), r.span(t, "joiner")
	equal(t, "the parent of the load", load.Parent().SpanID(), r.span(t, "owner").SpanContext().SpanID())
	join := r.span(t, "aside join product")
	equal(t, "the parent of the joiner's span", join.Parent().SpanID(), joiner.SpanContext().SpanID())
	if len(join.Links()) != 1 || !join.Links()[0].SpanContext.Equal(load.SpanContext()) {
		t.Errorf("the joiner links to %v", join.Links())
	}
	if join.StartTime().Before(joiner.StartTime()) || join.EndTime().After(joiner.EndTime()) || !join.EndTime().After(join.StartTime()) {
		t.Errorf("the joiner waited from %v to %v, in a request from %v to %v",
			join.StartTime(), join.EndTime(), joiner.StartTime(), joiner.EndTime())
	}
	has(t, join, attribute.Bool("cache.hit", false), attribute.String("cache.operation", "get"))
}

func TestALoadThatFailsIsAnErrorAndAnAbsenceIsNone(t *testing.T) {
	for id, want := range map[int]codes.Code{-1: codes.Unset, 0: codes.Error, 13: codes.Error} {
		r := newRig(t, nil)
		func() {
			defer func() { _ = recover() }()
			_, _ = r.cache.Get(t.Context(), id)
		}()
		equal(t, "the status", r.span(t, "aside load product").Status().Code, want)
	}
}

func TestAVerificationIsATraceOfItsOwn(t *testing.T) {
	r := newRig(t, nil, aside.WithVerify(10))
	ctx, request := r.tracer.Start(t.Context(), "request")
	_, _ = r.cache.Get(ctx, 1)
	_, _ = r.cache.Get(ctx, 1)
	request.End()
	r.until(func() bool { return r.cache.Stats().Verified.Match == 1 })
	loads := r.named("aside load product")
	equal(t, "the loads", len(loads), 2)
	has(t, loads[1], attribute.String("cache.operation", "verify"))
	equal(t, "that the other has a parent", loads[1].Parent().IsValid(), false)
}

type feed struct{ behind time.Duration }

func (f feed) Lag() (string, time.Duration, int64) {
	return "slot", f.behind, int64(f.behind / time.Second * 100)
}

// collected has the sums, gauges and counts of histograms by name and attributes, apart from cache.name.
func (r *rig) collected(t *testing.T) map[string]float64 {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := r.reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]float64)
	note := func(name string, set attribute.Set, value float64) {
		texts := []string{name}
		for _, kv := range set.ToSlice() {
			if kv.Key != "cache.name" {
				texts = append(texts, kv.Value.Emit())
			} else if kv.Value.AsString() != "product" {
				t.Errorf("%s is of the cache %q", name, kv.Value.AsString())
			}
		}
		found[strings.Join(texts, " ")] = value
	}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch points := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range points.DataPoints {
					note(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Sum[float64]:
				for _, p := range points.DataPoints {
					note(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range points.DataPoints {
					note(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range points.DataPoints {
					note(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Histogram[int64]:
				for _, p := range points.DataPoints {
					note(m.Name, p.Attributes, float64(p.Count))
				}
			case metricdata.Histogram[float64]:
				for _, p := range points.DataPoints {
					note(m.Name, p.Attributes, float64(p.Count))
				}
			default:
				t.Errorf("%s is a %T", m.Name, m.Data)
			}
		}
	}
	return found
}

// use has each metric happen.
func (r *rig) use(t *testing.T) map[string]float64 {
	ctx := t.Context()
	for _, id := range []int{1, 1, 1, -1, -1, 0} {
		_, _ = r.cache.Get(ctx, id)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = r.cache.Get(ctx, 13)
	}()
	for _, err := range []error{
		r.cache.Invalidate(ctx, 1), r.cache.InvalidateTags(ctx, "tag"), r.cache.InvalidateAll(ctx),
		aside.InTx(ctx, func(ctx context.Context) error { return r.cache.Invalidate(ctx, 1) }),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	r.AddFeed(feed{3 * time.Second})
	r.AddFeed(feed{2 * time.Second})
	r.Add(r.cache)
	return r.collected(t)
}

func TestWhatIsCollectedIsWhatHasHappened(t *testing.T) {
	got := newRig(t, nil).use(t)
	want := map[string]float64{
		"aside.reads hit": 2, "aside.reads absent": 1, "aside.reads miss": 4, "aside.reads stale": 0, "aside.reads near_hit": 0,
		"aside.joins": 0, "aside.lease.waits": 0, "aside.load.active": 0, "aside.overloads": 0,
		"aside.load.duration miss ok": 1, "aside.load.duration miss absent": 1, "aside.load.duration miss error": 1, "aside.load.duration miss panic": 1,
		"aside.fills stored": 2, "aside.fills refused": 0, "aside.fills error": 0, "aside.fill.size": 1,
		"aside.invalidation.duration key ok": 1, "aside.invalidation.duration tag ok": 1,
		"aside.invalidation.duration all ok": 1, "aside.invalidation.duration hold ok": 1,
		"aside.invalidation.pending": 0, "aside.redis.errors": 0, "aside.redis.up": 1, "aside.redis.writes.up": 1,
		"aside.documents.unusable unreadable": 0, "aside.documents.unusable wrong_type": 0, "aside.values.altered": 0,
		"aside.near.entry.count": 0, "aside.near.wait": 0,
		"aside.verifications match": 0, "aside.verifications unstable": 0, "aside.verifications overtaken": 0, "aside.verifications stale": 0,
		"aside.feed.lag slot": 2, "aside.feed.lag.size slot": 200,
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, value)
		}
	}
	delete(got, "aside.invalidation.entries")
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("nobody knows of %s", name)
		}
	}
}

func TestTheReadmeHasEveryInstrument(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	got := newRig(t, nil).use(t)
	for _, name := range slices.Sorted(maps.Keys(got)) {
		name, _, _ = strings.Cut(name, " ")
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("README.md does not name %s", name)
		}
	}
}

func TestAProviderMayBeMissing(t *testing.T) {
	telemetry, err := asideotel.New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := telemetry.Observer()
	if o.Read != nil || o.LoadStart != nil {
		t.Error("without a tracer provider there is something to be done at reads")
	}
	o.Load(t.Context(), aside.LoadInfo{Cache: "product"})
}
