package history

import "testing"

// written is a write by SQL alone.
func written(version int64, t float64) []told {
	return []told{flagged(SQL, at(Write, 0, version, t)), at(Commit, 0, version, t+0.1)}
}

// fed is a feed that says at t that it has come to what was committed at upTo.
func fed(upTo, t float64) told { return ofAllKeys(at(Fed, 1, nanos(t-upTo), upTo, t)) }

func TestVerdictsOfRowsThatAreWrittenBySQLAlone(t *testing.T) {
	for _, s := range []story{
		{
			name: "before the feed has come that far", stale: Unfed,
			events: and(written(2, 1), fed(1.05, 2), at(Read, 2, 1, 2.1, 3)),
		},
		{
			name: "after the feed has come that far", want: "version 2 or later",
			events: and(written(2, 1), fed(1.15, 2), at(Read, 2, 1, 2.1, 3)),
		},
		{
			name: "a read that began before the feed said so", stale: Unfed,
			events: and(written(2, 1), fed(1.15, 2), at(Read, 2, 1, 1.9, 3)),
		},
		{
			name: "after the feed has invalidated it", want: "version 2 or later",
			events: and(written(2, 1), at(Invalidated, 1, 0, 1.2, 1.3), at(Read, 2, 1, 1.4, 2)),
		},
		{
			name: "a failover since the COMMIT may have undone it", stale: Lost,
			events: and(written(2, 1), during(0, 1, 1.2, 1.4), fed(2, 3), at(Read, 2, 1, 3.1, 3.2)),
		},
		{
			name: "a failover since the COMMIT, and the TTL is over", want: "version 2 or later",
			events: and(written(2, 1), during(0, 1, 1.2, 1.4), fed(2, 3), at(Read, 2, 1, 6.1, 6.2)),
		},
	} {
		cfg := newTestChecker().cfg
		cfg.Fed = func(uint16) bool { return true }
		s.check(t, NewChecker(cfg, []int64{1}))
	}
}

func TestAFeedSaysNothingOfRowsThatItDoesNotInvalidate(t *testing.T) {
	story{
		name: "written through the library", stale: Pending,
		events: and(plain(2, 1), fed(1.15, 2), at(Read, 2, 1, 2.1, 3)),
	}.check(t, newTestChecker())
}
