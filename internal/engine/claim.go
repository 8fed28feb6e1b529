package engine

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/asidecache/aside/internal/document"
)

// When a hit starts a refresh, and which process may. What a refresh does is in refresh.go.

// due reports whether a read of e should start a refresh: e is past its TTL, or close to it, by XFetch.
func (c *Core) due(e *document.Entry, now time.Time) bool {
	ms := now.UnixMilli()
	claimed := e.Claim > ms && e.Claim <= ms+longestClaimed(c.claimLife()).Milliseconds()
	if !e.Ours || claimed {
		return false
	}
	left := float64(e.Fresh - ms)
	if c.inVain(e, left) {
		return false
	}
	if left <= 0 {
		return true
	}
	reach := float64(e.Took) * c.Config.Beta
	if left > reach*farthest {
		return false // nearly always: no random number is needed
	}
	return reach*rand.ExpFloat64() >= left
}

// inVain reports whether a refresh would end when the entry has expired, so that its fill would be
// refused. What is not served stale expires at the end of its TTL, or a moment after that, as
// clocks differ.
func (c *Core) inVain(e *document.Entry, left float64) bool {
	return (c.Config.Stale == 0 || e.State == document.Absent) && left <= float64(e.Took) && left > -clockSkew
}

// clockSkew is how many ms past its TTL an entry is taken for one that is about to expire, not for one that others keep stale.
const clockSkew = 1000

// farthest bounds the exponential draws of XFetch: one in 10^13 is greater.
const farthest = 30

// refreshing holds the names that this process refreshes, so that the reads of a hot entry do not all ask for the claim.
type refreshing struct{ names sync.Map }

func (r *refreshing) begin(name string) bool {
	_, already := r.names.LoadOrStore(name, true)
	return !already
}

func (r *refreshing) end(name string) { r.names.Delete(name) }

const (
	shortestBackoff = 100 * time.Millisecond
	longestBackoff  = 10 * time.Second
	longestClaim    = time.Hour
)

// claimLife is for how long a refresh claims its document.
func (c *Core) claimLife() time.Duration { return min(c.Config.LoadTimeout, longestClaim) }

// longestClaimed is how long a claim, or the backoff in its place, may have to go where refreshes
// claim for life. A claim that has longer was made before a clock was set back.
func longestClaimed(life time.Duration) time.Duration { return max(life, longestBackoff) }

// nextBackoff doubles the time that a failed refresh puts off the next one by.
func nextBackoff(e *document.Entry) time.Duration {
	last := time.Duration(e.Backoff) * time.Millisecond
	return min(max(2*last, shortestBackoff), longestBackoff)
}
