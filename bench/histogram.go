package main

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets of 3 % width. It is not for concurrent use: each goroutine has its own.
type histogram struct {
	counts [64 << subBits]uint32
	n      int
}

const subBits = 5 // 32 buckets for each power of two

func bucketOf(d time.Duration) int {
	ns := uint64(max(d, 1))
	shift := max(0, bits.Len64(ns)-1-subBits)
	return shift<<subBits + int(ns>>shift)
}

// upperBound is the longest duration that a bucket holds.
func upperBound(bucket int) time.Duration {
	shift := max(0, bucket>>subBits-1)
	return time.Duration((bucket-shift<<subBits+1)<<shift - 1)
}

func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.n++
}

func (h *histogram) add(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.n += other.n
}

// quantile returns the duration that a share q of the durations did not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	left := int(q * float64(h.n))
	for bucket, n := range h.counts {
		if left -= int(n); left < 0 {
			return upperBound(bucket)
		}
	}
	return 0
}
