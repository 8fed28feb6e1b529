package main

import (
	"math"
	"time"
)

// A histogram counts durations in buckets that grow by 2 % each, and so needs the same memory for any number of them.
type histogram struct {
	buckets [64 * bucketsPerDoubling]int
	count   int
}

const bucketsPerDoubling = 32

func (h *histogram) add(d time.Duration) {
	h.buckets[int(math.Log2(float64(max(d, 1)))*bucketsPerDoubling)]++
	h.count++
}

// quantile returns the duration that the fraction q of all did not exceed, to 2 %; 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int(math.Ceil(q * float64(h.count)))
	if rank == 0 {
		return 0
	}
	for i, n := range h.buckets {
		if rank -= n; rank <= 0 {
			return time.Duration(math.Exp2(float64(i+1) / bucketsPerDoubling))
		}
	}
	return 0
}
