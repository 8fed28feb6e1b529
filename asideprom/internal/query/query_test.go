package query

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// scraped are two scrapes, ten seconds apart.
func scraped(t *testing.T) (*Store, time.Time) {
	t.Helper()
	s, begin := NewStore(), time.Unix(1_000_000, 0)
	for i, text := range []string{`
# TYPE aside_reads_total counter
aside_reads_total{cache="a",outcome="hit"} 10
aside_reads_total{cache="a",outcome="miss"} 10
aside_reads_total{cache="b",outcome="hit"} 0
# TYPE aside_redis_up gauge
aside_redis_up{cache="a"} 1
aside_redis_up{cache="b"} 1
# TYPE aside_load_duration_seconds histogram
aside_load_duration_seconds_bucket{cache="a",le="0.1"} 0
aside_load_duration_seconds_bucket{cache="a",le="1"} 0
aside_load_duration_seconds_bucket{cache="a",le="+Inf"} 0
aside_load_duration_seconds_sum{cache="a"} 0
aside_load_duration_seconds_count{cache="a"} 0
`, `
# TYPE aside_reads_total counter
aside_reads_total{cache="a",outcome="hit"} 40
aside_reads_total{cache="a",outcome="miss"} 20
aside_reads_total{cache="b",outcome="hit"} 100
# TYPE aside_redis_up gauge
aside_redis_up{cache="a"} 0
aside_redis_up{cache="b"} 1
# TYPE aside_load_duration_seconds histogram
aside_load_duration_seconds_bucket{cache="a",le="0.1"} 50
aside_load_duration_seconds_bucket{cache="a",le="1"} 100
aside_load_duration_seconds_bucket{cache="a",le="+Inf"} 100
aside_load_duration_seconds_sum{cache="a"} 30
aside_load_duration_seconds_count{cache="a"} 100
`} {
		if err := s.Add(begin.Add(time.Duration(i)*10*time.Second), strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	return s, begin.Add(10 * time.Second)
}

func TestExpressionsMeanWhatTheyDoInPrometheus(t *testing.T) {
	s, at := scraped(t)
	for text, want := range map[string]string{
		`aside_redis_up`:               `cache="a",=0 cache="b",=1`,
		`aside_redis_up{cache="b"}`:    `cache="b",=1`,
		`aside_redis_up{cache!="b"}`:   `cache="a",=0`,
		`aside_redis_up{cache=~"b|c"}`: `cache="b",=1`,
		`min(aside_redis_up)`:          `=0`,
		`min(aside_redis_up) == 0`:     `=0`,
		`min(aside_redis_up) > 0`:      ``,
		`sum(rate(aside_reads_total{cache=~"$cache"}[$__rate_interval]))`:                                            `=14`,
		`sum by (outcome) (rate(aside_reads_total[1m]))`:                                                             `outcome="hit",=13 outcome="miss",=1`,
		`sum by (cache) (increase(aside_reads_total{outcome!="miss"}[1d]))`:                                          `cache="a",=30 cache="b",=100`,
		`sum by (cache) (rate(aside_reads_total{outcome="hit"}[1m])) / sum by (cache) (rate(aside_reads_total[1m]))`: `cache="a",=0.75 cache="b",=1`,
		`3 / sum by (cache) (increase(aside_reads_total[1d]))`:                                                       `cache="a",=0.075 cache="b",=0.03`,
		`histogram_quantile(0.5, sum by (le) (rate(aside_load_duration_seconds_bucket[1m])))`:                        `=0.1`,
		`histogram_quantile(0.75, sum by (le) (rate(aside_load_duration_seconds_bucket[1m])))`:                       `=0.55`,
		`sum(aside_never)`: ``,
	} {
		e, err := Parse(text)
		if err != nil {
			t.Error(err)
			continue
		}
		var parts []string
		for _, r := range Eval(e, s, at, 10*time.Second) {
			parts = append(parts, fmt.Sprintf("%s=%v", r.Labels.key(), math.Round(r.Value*1e9)/1e9))
		}
		if got := strings.Join(parts, " "); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

func TestWhatIsNoExpressionIsAnError(t *testing.T) {
	for _, text := range []string{
		"", "sum(", "sum(aside_x", "sum by (cache (aside_x)", "rate(aside_x)", "rate(aside_x[1m]", "aside_x{cache=}", "aside_x{cache", "up",
		"histogram_quantile(aside_x)", "aside_x / ", "aside_x aside_y", "rate(aside_x[soon])",
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q is taken for an expression", text)
		}
	}
}
