// Package durations has sums of durations that do not overflow, and jitter.
package durations

import (
	"math/rand/v2"
	"time"
)

// Saturated adds durations.
func Saturated(ds ...time.Duration) (sum time.Duration) {
	for _, d := range ds {
		if d > Forever-sum {
			return Forever
		}
		sum += d
	}
	return sum
}

// Times multiplies a duration.
func Times(d time.Duration, n int) time.Duration {
	if d > Forever/time.Duration(n) {
		return Forever
	}
	return time.Duration(n) * d
}

// Forever is 200 years: what is counted in microseconds since 1970 stays exact as a float64.
const Forever = 200 * 365 * 24 * time.Hour

// Jittered draws from [d*(1-fraction), d].
func Jittered(d time.Duration, fraction float64) time.Duration {
	return d - time.Duration(rand.Float64()*fraction*float64(d))
}
