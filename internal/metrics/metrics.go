// Package metrics has what asideprom and asideotel export alike: the labels of events, and how far a slot is behind.
package metrics

import (
	"errors"
	"time"

	"github.com/asidecache/aside"
)

// Result says how a load ended.
func Result(l aside.LoadInfo) string {
	switch {
	case l.Panicked:
		return "panic"
	case l.Err == nil:
		return "ok"
	case errors.Is(l.Err, aside.ErrNotFound):
		return "absent"
	default:
		return "error"
	}
}

// Reason says why a load was made.
func Reason(l aside.LoadInfo) string {
	switch {
	case l.Refresh:
		return "refresh"
	case l.Verify:
		return "verify"
	default:
		return "miss"
	}
}

// Kind says what was invalidated, or that it is held. How that ended is InvalidationResult.
func Kind(i aside.InvalidateInfo) string {
	switch {
	case i.Held:
		return "hold"
	case i.All:
		return "all"
	case len(i.Names) == 0:
		return "tag"
	default:
		return "key"
	}
}

func InvalidationResult(i aside.InvalidateInfo) string {
	if i.Err != nil {
		return "error"
	}
	return "ok"
}

// A Lag is how far a slot is behind.
type Lag struct {
	Behind time.Duration
	Bytes  int64
}

// A Feed is what asidepg makes.
type Feed interface {
	Lag() (slot string, behind time.Duration, bytes int64)
}

// LagsOf returns the lags by slot. If one slot has several feeds, the one that is least behind
// tells how far the slot is.
func LagsOf[F Feed](feeds []F) map[string]Lag {
	lags := make(map[string]Lag)
	for _, f := range feeds {
		slot, behind, bytes := f.Lag()
		if l, ok := lags[slot]; ok {
			behind, bytes = min(behind, l.Behind), min(bytes, l.Bytes)
		}
		lags[slot] = Lag{behind, bytes}
	}
	return lags
}
