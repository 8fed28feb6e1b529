package asideprom_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asideprom"
	"github.com/asidecache/aside/asideprom/internal/query"
)

// What a Collector exports is read as Prometheus reads it: from the text of /metrics.

type families map[string]*dto.MetricFamily

// scrapeText returns what /metrics says.
func scrapeText(t *testing.T, c *asideprom.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	defer server.Close()
	answer, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != 200 {
		t.Fatalf("%s, %v: %s", answer.Status, err, text)
	}
	return string(text)
}

func scrape(t *testing.T, c *asideprom.Collector) families {
	t.Helper()
	found, err := query.ReadText(strings.NewReader(scrapeText(t, c)))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// value is that of a metric whose labels have these texts, among others. A histogram or a summary has its count.
func (f families) value(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	for _, m := range f[name].GetMetric() {
		var texts []string
		for _, l := range m.GetLabel() {
			texts = append(texts, l.GetValue())
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(texts, l) }) {
			continue
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue()
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		case m.Summary != nil:
			return float64(m.Summary.GetSampleCount())
		default:
			return float64(m.Histogram.GetSampleCount())
		}
	}
	t.Errorf("there is no %s with %v", name, labels)
	return -1
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func client(t *testing.T, m *miniredis.Miniredis) redis.UniversalClient {
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// cacheOn makes a cache that the collector is told of.
func cacheOn(
	t *testing.T, rdb redis.UniversalClient, c *asideprom.Collector, name string, load aside.Loader[int, string], opts ...aside.Option,
) *aside.Cache[int, string] {
	t.Helper()
	cache, err := aside.New(rdb, name, load, append([]aside.Option{
		aside.WithObserver(c.Observer()), aside.WithLogger(slog.New(slog.DiscardHandler)), aside.WithEarlyRefresh(0),
		aside.WithRedisTimeout(10 * time.Second), // a busy machine is no outage
		aside.WithTags(func(id int, _ string) []string { return []string{"tag"} }),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	c.Add(cache)
	return cache
}

var errFailed = errors.New("failed")

// load has rows by the sign of the id: some are not there, some fail, and 13 panics.
func load(_ context.Context, id int) (string, error) {
	switch {
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

// use has each metric of a cache happen.
func use(t *testing.T, cache *aside.Cache[int, string]) {
	ctx := t.Context()
	for _, id := range []int{1, 1, 1, -1, -1, 0} {
		_, _ = cache.Get(ctx, id)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = cache.Get(ctx, 13)
	}()
	for _, err := range []error{
		cache.Invalidate(ctx, 1),
		cache.InvalidateTags(ctx, "tag"),
		cache.InvalidateAll(ctx),
		aside.InTx(ctx, func(ctx context.Context) error { return cache.Invalidate(ctx, 1) }),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

type feed struct{ behind time.Duration }

func (f feed) Lag() (string, time.Duration, int64) {
	return "slot", f.behind, int64(f.behind / time.Second * 100)
}

// everything has what makes every metric happen.
func everything(t *testing.T) (*asideprom.Collector, *aside.Cache[int, string]) {
	c := asideprom.NewCollector()
	cache := cacheOn(t, client(t, miniredis.RunT(t)), c, "product", load)
	c.AddFeed(feed{3 * time.Second})
	c.AddFeed(feed{2 * time.Second})
	use(t, cache)
	return c, cache
}

func TestWhatIsScrapedIsWhatHasHappened(t *testing.T) {
	c, _ := everything(t)
	f := scrape(t, c)
	for _, want := range []struct {
		value  float64
		name   string
		labels []string
	}{
		{2, "aside_reads_total", []string{"product", "hit"}},
		{1, "aside_reads_total", []string{"product", "absent"}},
		{4, "aside_reads_total", []string{"product", "miss"}},
		{0, "aside_reads_total", []string{"product", "stale"}},
		{0, "aside_reads_total", []string{"product", "near_hit"}},
		{1, "aside_loads_total", []string{"product", "ok", "miss"}},
		{1, "aside_loads_total", []string{"product", "absent", "miss"}},
		{1, "aside_loads_total", []string{"product", "error", "miss"}},
		{1, "aside_loads_total", []string{"product", "panic", "miss"}},
		{1, "aside_load_duration_seconds", []string{"product", "ok", "miss"}},
		{0, "aside_loads_in_flight", []string{"product"}},
		{2, "aside_fills_total", []string{"product", "stored"}},
		{0, "aside_fills_total", []string{"product", "refused"}},
		{1, "aside_fill_bytes", []string{"product"}},
		{1, "aside_invalidations_total", []string{"product", "key", "ok"}},
		{1, "aside_invalidations_total", []string{"product", "tag", "ok"}},
		{1, "aside_invalidations_total", []string{"product", "all", "ok"}},
		{1, "aside_invalidations_total", []string{"product", "hold", "ok"}},
		{1, "aside_invalidation_duration_seconds", []string{"product", "hold"}},
		{0, "aside_invalidations_pending", []string{"product"}},
		{1, "aside_redis_up", []string{"product"}},
		{1, "aside_redis_writes_up", []string{"product"}},
		{0, "aside_verified_total", []string{"product", "stale"}},
		{2, "aside_feed_lag_seconds", []string{"slot"}},
		{200, "aside_feed_lag_bytes", []string{"slot"}},
	} {
		equal(t, want.name+" "+strings.Join(want.labels, " "), f.value(t, want.name, want.labels...), want.value)
	}
}

// These names are what dashboards ask for: a change here breaks those of users.
func TestTheNamesAreThese(t *testing.T) {
	c, _ := everything(t)
	f := scrape(t, c)
	want := strings.Fields(`
		aside_altered_values_total aside_feed_lag_bytes aside_feed_lag_seconds aside_fill_bytes aside_fills_total
		aside_invalidated_entries_total aside_invalidation_duration_seconds aside_invalidations_pending aside_invalidations_total
		aside_joins_total aside_lease_waits_total aside_load_duration_seconds aside_loads_in_flight aside_loads_total
		aside_near_entries aside_near_wait_seconds aside_overloaded_total aside_reads_total aside_redis_errors_total aside_redis_up
		aside_redis_writes_up aside_unusable_documents_total aside_verified_total`)
	got := slices.Sorted(maps.Keys(f))
	if !slices.Equal(got, want) {
		t.Errorf("the names are\n%v\nand not\n%v", got, want)
	}
	readme := read(t, "README.md")
	for _, name := range want {
		if !strings.Contains(readme, "`"+name+"`") {
			t.Errorf("README.md does not name %s", name)
		}
	}
}

func TestPrometheusFindsNoFaultWithTheMetrics(t *testing.T) {
	c := asideprom.NewCollector()
	use(t, cacheOn(t, client(t, miniredis.RunT(t)), c, "product", load))
	problems, err := testutil.CollectAndLint(c)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	equal(t, "the error", err, nil)
}

func TestAKeyIsNeverALabel(t *testing.T) {
	c, _ := everything(t)
	f := scrape(t, c)
	known := []string{"cache", "outcome", "result", "reason", "kind", "verdict", "slot"}
	for name, family := range f {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(known, l.GetName()) || strings.Contains(l.GetValue(), ":") {
					t.Errorf("%s has the label %s=%q", name, l.GetName(), l.GetValue())
				}
			}
		}
	}
}

func TestCachesOfOneNameAreExportedAsOne(t *testing.T) {
	c := asideprom.NewCollector()
	m := miniredis.RunT(t)
	one := cacheOn(t, client(t, m), c, "product", load)
	other := cacheOn(t, client(t, m), c, "product", load)
	c.Add(one, other)
	for range 3 {
		_, _ = one.Get(t.Context(), 1)
		_, _ = other.Get(t.Context(), 1)
	}
	f := scrape(t, c)
	equal(t, "the hits", f.value(t, "aside_reads_total", "product", "hit"), 5)
	equal(t, "Redis", f.value(t, "aside_redis_up", "product"), 1)
}

func TestARedisThatIsDownIsNotUp(t *testing.T) {
	c := asideprom.NewCollector()
	m := miniredis.RunT(t)
	cache := cacheOn(t, client(t, m), c, "product", load)
	m.Close()
	for cache.Stats().Down == false {
		_, _ = cache.Get(t.Context(), 1)
	}
	err := cache.Invalidate(t.Context(), 1)
	if err == nil {
		t.Error("Invalidate of a Redis that is down returned nil")
	}
	f := scrape(t, c)
	equal(t, "aside_redis_up", f.value(t, "aside_redis_up", "product"), 0)
	equal(t, "the pending invalidations", f.value(t, "aside_invalidations_pending", "product"), 1)
	equal(t, "those that failed", f.value(t, "aside_invalidations_total", "key", "error"), 1)
	if f.value(t, "aside_redis_errors_total", "product") == 0 {
		t.Error("there are no errors of Redis")
	}
}

func TestAWriterThatForgetsIsSeenInTheMetric(t *testing.T) {
	c := asideprom.NewCollector()
	var row atomic.Pointer[string]
	set := func(text string) { row.Store(&text) }
	set("the old one")
	cache := cacheOn(t, client(t, miniredis.RunT(t)), c, "product",
		func(context.Context, int) (string, error) { return *row.Load(), nil }, aside.WithVerify(10))
	_, _ = cache.Get(t.Context(), 1)
	set("the new one")
	for cache.Stats().Verified.Stale == 0 {
		if _, err := cache.Get(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	f := scrape(t, c)
	equal(t, "the stale hits", f.value(t, "aside_verified_total", "product", "stale"), 1)
	if f.value(t, "aside_loads_total", "ok", "verify") < 4 {
		t.Error("the loads of the verification are not counted as such")
	}
}
