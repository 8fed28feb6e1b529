// Package query evaluates the part of PromQL that the dashboard of this repository uses, over series that were scraped by this
// process. So the panels can be drawn, and their expressions tested, without Prometheus and Grafana.
package query

import (
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// Labels are those of a series, or of a result.
type Labels map[string]string

// key is one text for labels that are equal.
func (l Labels) key() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(l)) {
		b.WriteString(name + "=" + strconv.Quote(l[name]) + ",")
	}
	return b.String()
}

// A Point is one sample.
type Point struct {
	At    time.Time
	Value float64
}

// A Series is the samples of one name and labels.
type Series struct {
	Labels Labels
	Points []Point
}

// A Store has series by name.
type Store struct{ byName map[string]map[string]*Series }

// NewStore returns a Store without series.
func NewStore() *Store { return &Store{make(map[string]map[string]*Series)} }

// ReadText reads what a scrape has returned, in the text format of Prometheus.
func ReadText(text io.Reader) (map[string]*dto.MetricFamily, error) {
	families := make(map[string]*dto.MetricFamily)
	decoder := expfmt.NewDecoder(text, expfmt.NewFormat(expfmt.TypeTextPlain))
	for {
		f := new(dto.MetricFamily)
		switch err := decoder.Decode(f); err {
		case nil:
			families[f.GetName()] = f
		case io.EOF:
			return families, nil
		default:
			return nil, err
		}
	}
}

// Add adds what a scrape at a time has returned.
func (s *Store) Add(at time.Time, text io.Reader) error {
	families, err := ReadText(text)
	if err != nil {
		return err
	}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			s.addMetric(at, name, m)
		}
	}
	return nil
}

func (s *Store) addMetric(at time.Time, name string, m *dto.Metric) {
	labels := make(Labels)
	for _, l := range m.GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	add := func(suffix string, value float64) { s.add(at, name+suffix, labels, value) }
	switch {
	case m.Counter != nil:
		add("", m.Counter.GetValue())
	case m.Gauge != nil:
		add("", m.Gauge.GetValue())
	case m.Summary != nil:
		add("_sum", m.Summary.GetSampleSum())
		add("_count", float64(m.Summary.GetSampleCount()))
	case m.Histogram != nil:
		add("_sum", m.Histogram.GetSampleSum())
		add("_count", float64(m.Histogram.GetSampleCount()))
		for _, b := range m.Histogram.GetBucket() {
			in := maps.Clone(labels)
			in["le"] = strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64)
			s.add(at, name+"_bucket", in, float64(b.GetCumulativeCount()))
		}
	}
}

func (s *Store) add(at time.Time, name string, labels Labels, value float64) {
	all := s.byName[name]
	if all == nil {
		all = make(map[string]*Series)
		s.byName[name] = all
	}
	key := labels.key()
	if all[key] == nil {
		all[key] = &Series{Labels: labels}
	}
	all[key].Points = append(all[key].Points, Point{at, value})
}

// upTo returns the points of a series within d before at.
func (s *Series) upTo(at time.Time, d time.Duration) []Point {
	end, _ := slices.BinarySearchFunc(s.Points, at, func(p Point, at time.Time) int {
		if p.At.After(at) {
			return 1
		}
		return -1
	})
	begin := end
	for begin > 0 && !s.Points[begin-1].At.Before(at.Add(-d)) {
		begin--
	}
	return s.Points[begin:end]
}
