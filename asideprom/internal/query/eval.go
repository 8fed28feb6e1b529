package query

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Eval returns the results of an expression at a time, in the order of their labels.
func Eval(e Expr, s *Store, at time.Time, interval time.Duration) []Result {
	results := e.eval(s, at, interval)
	slices.SortFunc(results, func(a, b Result) int { return cmp.Compare(a.Labels.key(), b.Labels.key()) })
	return results
}

type number float64

func (n number) eval(*Store, time.Time, time.Duration) []Result { return []Result{{nil, float64(n)}} }

type matcher struct {
	label string
	not   bool
	re    *regexp.Regexp
}

type selector struct {
	name     string
	matchers []matcher
}

func (s selector) series(from *Store) (found []*Series) {
	for _, series := range from.byName[s.name] {
		if !slices.ContainsFunc(s.matchers, func(m matcher) bool { return m.re.MatchString(series.Labels[m.label]) == m.not }) {
			found = append(found, series)
		}
	}
	return found
}

// lookback is how old a sample may be that a selector returns.
const lookback = 5 * time.Minute

func (s selector) eval(from *Store, at time.Time, _ time.Duration) (results []Result) {
	for _, series := range s.series(from) {
		if points := series.upTo(at, lookback); len(points) > 0 {
			results = append(results, Result{series.Labels, points[len(points)-1].Value})
		}
	}
	return results
}

// A ranged is rate or increase. It does not extrapolate: what was scraped is all that there is.
type ranged struct {
	op   string
	of   selector
	over time.Duration // 0: the interval
}

func (r ranged) eval(from *Store, at time.Time, interval time.Duration) (results []Result) {
	for _, series := range r.of.series(from) {
		points := series.upTo(at, cmp.Or(r.over, interval))
		if len(points) < 2 {
			continue
		}
		grown := 0.0
		for i := range points[1:] {
			if d := points[i+1].Value - points[i].Value; d >= 0 {
				grown += d
			} else {
				grown += points[i+1].Value // it began again
			}
		}
		if r.op == "rate" {
			grown /= points[len(points)-1].At.Sub(points[0].At).Seconds()
		}
		results = append(results, Result{series.Labels, grown})
	}
	return results
}

type aggregate struct {
	op string
	by []string
	of Expr
}

func (a aggregate) eval(from *Store, at time.Time, interval time.Duration) (results []Result) {
	places := make(map[string]int)
	for _, r := range a.of.eval(from, at, interval) {
		labels := make(Labels)
		for _, l := range a.by {
			labels[l] = r.Labels[l]
		}
		i, ok := places[labels.key()]
		switch {
		case !ok:
			places[labels.key()] = len(results)
			results = append(results, Result{labels, r.Value})
		case a.op == "sum":
			results[i].Value += r.Value
		default:
			results[i].Value = min(results[i].Value, r.Value)
		}
	}
	return results
}

// A binary is an operator between two expressions. Their results have the same labels, or one of
// them is a number.
type binary struct {
	op          string
	left, right Expr
}

func (b binary) eval(from *Store, at time.Time, interval time.Duration) (results []Result) {
	for _, l := range b.left.eval(from, at, interval) {
		for _, r := range b.right.eval(from, at, interval) {
			if l.Labels != nil && r.Labels != nil && l.Labels.key() != r.Labels.key() {
				continue
			}
			labels := l.Labels
			if labels == nil {
				labels = r.Labels
			}
			switch {
			case b.op == "/":
				results = append(results, Result{labels, l.Value / r.Value})
			case b.op == ">" && l.Value > r.Value, b.op == "==" && l.Value == r.Value:
				results = append(results, Result{labels, l.Value})
			}
		}
	}
	return results
}

type quantile struct {
	q  float64
	of Expr
}

// A bucket is how many are at most le.
type bucket struct{ le, count float64 }

func (q quantile) eval(from *Store, at time.Time, interval time.Duration) (results []Result) {
	buckets := make(map[string][]bucket)
	labels := make(map[string]Labels)
	for _, r := range q.of.eval(from, at, interval) {
		rest := make(Labels)
		for name, text := range r.Labels {
			if name != "le" {
				rest[name] = text
			}
		}
		le, err := strconv.ParseFloat(r.Labels["le"], 64)
		if err == nil {
			buckets[rest.key()] = append(buckets[rest.key()], bucket{le, r.Value})
			labels[rest.key()] = rest
		}
	}
	for key, b := range buckets {
		results = append(results, Result{labels[key], quantileOf(q.q, b)})
	}
	return results
}

// quantileOf interpolates within a bucket. For a value that is greater than all bounds, it knows
// only the last bound.
func quantileOf(q float64, buckets []bucket) float64 {
	slices.SortFunc(buckets, func(a, b bucket) int { return cmp.Compare(a.le, b.le) })
	rank := q * buckets[len(buckets)-1].count
	if rank == 0 {
		return math.NaN()
	}
	lower, below := 0.0, 0.0
	for _, b := range buckets {
		if b.count >= rank {
			if math.IsInf(b.le, 1) {
				return lower
			}
			return lower + (b.le-lower)*(rank-below)/(b.count-below)
		}
		lower, below = b.le, b.count
	}
	return lower
}
