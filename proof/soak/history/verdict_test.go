package history

import "testing"

// calledStale is a verdict of process 2.
func calledStale(t float64) told { return at(CalledStale, 2, 0, t) }

func TestVerdictsOfVerificationAreJudged(t *testing.T) {
	const wrong = "all that was written had been invalidated"
	for _, s := range []story{
		{name: "nothing was written", want: wrong, events: and(calledStale(2))},
		{name: "a write that is not invalidated", events: and(plain(2, 1), calledStale(2.5))},
		{name: "a write less than a second ago", want: wrong, events: and(plain(2, 1), calledStale(1.9))},
		{
			name: "a write that was invalidated before the hit was looked at", want: wrong,
			events: and(plain(2, 1), at(Invalidated, 1, 2, 1.2, 1.4), calledStale(2.5)),
		},
		{
			name:   "a write that was invalidated since",
			events: and(plain(2, 1), at(Invalidated, 1, 2, 1.2, 2.4), calledStale(2.5)),
		},
		{
			name:   "a write whose invalidation failed",
			events: and(plain(2, 1), at(Barred, 1, 2, 1.2, 1.3), at(Failed, 1, 2, 1.2, 1.4), calledStale(2.5)),
		},
		{
			name:   "a writer that died, with what it wrote in the database before anybody knew",
			events: and(at(Write, 1, 2, 1), at(exit, 1, 0, 1.1), calledStale(2.5), at(Observed, 0, 2, 2.6)),
		},
		{name: "a write that was rolled back", want: wrong, events: and(flagged(RolledBack, at(Write, 1, 2, 1)), calledStale(2.5))},
		{name: "a transaction that was held", want: wrong, events: and(inTx(2, 1), at(Commit, 1, 2, 1.3), calledStale(2.5))},
	} {
		s.check(t, newTestChecker())
	}
}
