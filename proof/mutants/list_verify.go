package main

// ofVerification are the rules by which hits are chosen and compared with the loader, and of the ctx that LoadStart makes.
var ofVerification = []mutant{
	{
		"nothing is called stale below a second", "internal/engine/verify.go",
		`for _, after := range verifyAgain {`, `for _, after := range append([]time.Duration{0}, verifyAgain[:]...) {`,
		"TestNothingIsCalledStaleBelowASecond",
	},
	{
		"an entry is stale only if two loads agree", "internal/engine/verify.go",
		`	case differs:
		return finding{verdict: Unstable}, true`, `	case differs && false:
		return finding{verdict: Unstable}, true`,
		"TestALoaderThatReturnsDifferentThingsIsUnstable",
	},
	{
		"an entry is stale only if it is still the document that was read", "internal/engine/verify.go",
		`case !stands:`, `case !stands && false:`,
		"TestAnInvalidationThatIsUnderWayOvertakes/miniredis",
	},
	{
		"nothing is verified soon after Redis was not reached", "internal/engine/verify.go",
		`return lost == nil || time.Since(*lost) >= settling`, `return lost == nil || time.Since(*lost) >= 0`,
		"TestWhatMayDifferIsNotVerified/a_hit_soon_after_Redis_was_not_reached",
	},
	{
		"a hit inside InTx is not verified", "internal/engine/verify.go",
		`!v.Sieve.Passes(name) || m.inTx()`, `!v.Sieve.Passes(name)`,
		"TestWhatMayDifferIsNotVerified/a_hit_inside_InTx",
	},
	{
		"replicas of the database may lag before an entry is called stale", "internal/engine/verify.go",
		`durations.Saturated(v.longestLag(), after)`, `durations.Saturated(0, after)`,
		"TestAReplicaThatLagsMakesNothingStale",
	},
	{
		"what is compared is no memory of what the reader has", "internal/engine/verify.go",
		`bytes.Clone(e.Value), nil, nil`, `e.Value, nil, nil`,
		"TestWhatTheReaderDoesWithTheValueIsNotCompared",
	},
	{
		"values are compared, not the bytes that a codec makes of them", "internal/engine/verify.go",
		`	case a.Data != nil && bytes.Equal(a.Data, b.Data):
		return "", false, true`, `	case a.Data != nil && b.Data != nil:
		return "", !bytes.Equal(a.Data, b.Data), true`,
		"TestACodecWithoutAnOrderOfKeysMakesNoDifference",
	},
	{
		"a near copy is its own witness", "internal/engine/verify.go",
		`if s.Near {`, `if s.Near && false {`,
		"TestNearCopiesAreVerifiedAsTheReaderGotThem/a_DEL_by_hand,_of_which_copies_know_not/miniredis",
	},
	{
		"no more hits are verified than asked", "internal/engine/sieve.go",
		`already || s.taken >= s.quota ||`, `already ||`,
		"TestNoMoreHitsAreVerifiedThanAsked",
	},
	{
		"the same keys are followed", "internal/engine/sieve.go",
		`*0x9e3779b97f4a7c15 <= s.width.Load()`, `*0x9e3779b97f4a7c15 <= max(s.width.Load(), math.MaxUint64)`,
		"TestNoMoreHitsAreVerifiedThanAsked",
	},
	{
		"each key has its turn", "internal/engine/sieve.go",
		`		s.salt.Store(rand.Uint64())
`, ``,
		"TestEachKeyHasItsTurn",
	},
	{
		"a verification that waits ends with its Cache", "internal/background/background.go",
		`	case <-timer.C:
		return true
	case <-b.Closing.Done():`, `	case <-timer.C:
		return true
	case <-context.Background().Done():`,
		"TestCloseEndsVerificationsThatWait",
	},
	{
		"a LoadStart that returns nil changes nothing", "internal/engine/observe.go",
		`if made == nil {`, `if made == nil && false {`,
		"TestALoadStartThatFailsChangesNothing",
	},
}
