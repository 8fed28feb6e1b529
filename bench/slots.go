package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"
)

// How figures are taken. Machines are noisy, and the noise lasts: a neighbour is busy for a second,
// a CPU throttles for a minute. Measured one after the other, two libraries would be compared in
// different weathers. So every workload is cut into many slots of some ten milliseconds. In a
// repetition each variant gets one slot, in an order that is drawn each time, and a ratio is only
// ever taken between two slots of one repetition. Over the repetitions the best slot says what the
// code can do, the median what it did, and the median of the ratios is the comparison.

// An opened is a variant that is ready for a workload.
type opened struct {
	variant
	peer   peer
	source *source
}

// interleave measures every opened once in each of reps repetitions. It returns the figures by variant and repetition.
func interleave[T any](reps int, all []opened, slot func(opened) (T, error)) ([][]T, error) {
	figures := make([][]T, len(all))
	for range reps {
		for _, i := range rand.Perm(len(all)) {
			figure, err := retried(all[i], slot)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", all[i].variant, err)
			}
			figures[i] = append(figures[i], figure)
		}
	}
	return figures, nil
}

// retried gives a slot that failed two more chances, on a machine that may be busy. A slot that failed counts nowhere.
func retried[T any](o opened, slot func(opened) (T, error)) (figure T, err error) {
	for range 3 {
		runtime.GC() // nobody pays for the garbage of the slot before
		if figure, err = slot(o); err == nil {
			return figure, nil
		}
		time.Sleep(time.Second)
	}
	return figure, err
}

// A series is one figure of one variant, by repetition.
type series []float64

// seriesOf picks one figure of each slot.
func seriesOf[T any](slots []T, pick func(T) float64) series {
	s := make(series, len(slots))
	for i, slot := range slots {
		s[i] = pick(slot)
	}
	return s
}

func (s series) min() float64 { return slices.Min(s) }
func (s series) max() float64 { return slices.Max(s) }

// quantile is the value at share q of the sorted series, between two of its values where it falls between them.
func (s series) quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(s))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

func (s series) median() float64 { return s.quantile(0.5) }

// over divides by repetition; it is nil if there is nothing to divide by.
func (s series) over(by series) series {
	if len(by) != len(s) {
		return nil
	}
	ratios := make(series, len(s))
	for i := range s {
		ratios[i] = s[i] / by[i]
	}
	return ratios
}

func (s series) mean() float64 {
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	return sum / float64(len(s))
}
