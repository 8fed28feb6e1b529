package main

// ofInvalidations are the rules of Invalidate, InvalidateAll, and what is owed.
var ofInvalidations = []mutant{
	{
		"an invalidation voids a lease, not only a value", "internal/redisstore/scripts.go",
		`if redis.call('GETRANGE', KEYS[1], 0, 7) == '{"hold":' then return 0 end`,
		`if redis.call('GETRANGE', KEYS[1], 0, 7) == '{"hold":' or redis.call('GETRANGE', KEYS[1], 0, 8) == '{"lease":' then return 0 end`,
		"TestSlowLoadDoesNotFillAfterInvalidate",
	},
	{
		"an invalidation is pending from before it is sent", "internal/engine/write.go",
		`began, number := time.Now(), c.ledger.add(subjects) // before anything is sent: see ledger
	failed, err := c.removeUp(ctx, subjects)
`, `began := time.Now()
	failed, err := c.removeUp(ctx, subjects)
	number := c.ledger.add(subjects)
`,
		"TestReadDuringAnInvalidateIsNotServedFromTheCache",
	},
	{
		"an invalidation does not end with its caller's ctx", "internal/engine/write.go",
		`w.holdOrRemove(context.WithoutCancel(ctx), subjects)`, `w.holdOrRemove(ctx, subjects)`,
		"TestAnInvalidateThatHangsFailsAfterTheRedisTimeout",
	},
	{
		"an invalidation that failed is an error", "internal/engine/write.go",
		`	return notInvalidated(failed, subjects, err)`, `	_ = err
	return nil`,
		"TestInvalidateIsTriedInTheBackgroundWhileRedisIsDown",
	},
	{
		"an invalidation that failed is tried again", "internal/engine/write.go",
		`c.retry(c.ledger.done(subjects, failed, redisstore.IsForbidden(err), number, began))`,
		`c.ledger.done(subjects, failed, redisstore.IsForbidden(err), number, began)`,
		"TestFailedInvalidationIsOwedUntilRedisConfirmsIt",
	},
	{
		"a key whose invalidation is pending is not read from the cache", "internal/engine/read.go",
		`return c.Store.Breaker.Up(name, redisstore.Reads) && !c.mayNotRead(name)`, `return c.Store.Breaker.Up(name, redisstore.Reads)`,
		"TestFailedInvalidationIsOwedUntilRedisConfirmsIt",
	},
	{
		"a fetch finds out that a key is owed", "internal/engine/fetch.go",
		`f.budget.Spent() || !f.fillable(name)`, `f.budget.Spent() || !f.Store.Breaker.Up(name, redisstore.Writes)`,
		"TestKeyThatComesToBeOwedWhileGetManyLooksIsNotReadFromTheCache",
	},
	{
		"an attempt confirms nothing that is newer", "internal/engine/ledger.go",
		`if p.number > number { // it speaks`, `if false { // it speaks`,
		"TestOlderAttemptDoesNotSettleANewerInvalidate",
	},
	{
		"an InvalidateAll confirms no key that is newer", "internal/engine/ledger.go",
		`p.failed && p.number <= number && a.longestLag() == 0 {`, `p.failed && a.longestLag() == 0 {`,
		"TestInvalidateAllSettlesWhatWasOwedBeforeItAndNothingNewer",
	},
	{
		"an InvalidateAll confirms no newer one", "internal/engine/ledger.go",
		`if p.number > number { // it speaks`, `if p.number > number && s.name != "" { // it speaks`,
		"TestOlderInvalidateAllDoesNotSettleANewerOne",
	},
	{
		"while all keys are pending, none is read from the cache", "internal/engine/ledger.go",
		`return l.pending[entry].bars(entry) || l.pending[all].bars(all)`,
		`return l.pending[entry].bars(entry) || all.of == nil`,
		"TestInvalidateAllThatFailedIsFinishedInTheBackgroundAndAllReadsLoadUntilThen",
	},
	{
		"while an InvalidateAll runs for the first time, reads use Redis", "internal/engine/ledger.go",
		`p.sent && s.of.books == nil && s.name != ""`, `p.sent && s.of.books == nil`,
		"TestReadsUseRedisWhileInvalidateAllRunsForTheFirstTime",
	},
	{
		"a command of a walk that was lost is sent again", "internal/engine/scan.go",
		`if !redisstore.Unreachable(err) || pause > 4*firstRetry {`, `if true {`,
		"TestInvalidateAllEndsThoughCommandsAreLost/redis",
	},
	{
		"a walk begins again on a server that has taken over", "internal/engine/scan.go",
		`(p.run != run || lost && run == "")`, `lost && run == ""`,
		"TestInvalidateAllBeginsAgainOnAServerThatHasTakenOver",
	},
	{
		"a walk goes on where a lost command left it", "internal/engine/scan.go",
		`(p.run != run || lost && run == "")`, `(p.run != run || lost)`,
		"TestInvalidateAllEndsThoughCommandsAreLost/redis",
	},
	{
		"a walk begins again where nobody knows whose cursor it has", "internal/engine/scan.go",
		`(p.run != run || lost && run == "")`, `(p.run != run || lost && run == "x")`,
		"TestAScanThatWasLostBeginsAgainWhereTheRunIsNotKnown",
	},
	{
		"if more has failed than is remembered, all keys are pending", "internal/engine/ledger.go",
		`	l.set(all, p)
`, ``,
		"TestMoreFailedInvalidationsThanAreRememberedBypassTheCache",
	},
	{
		"an invalidation is never given up", "internal/engine/retry.go",
		`if !c.sendPending(c.background.Closing) {`, `if !c.sendPending(c.background.Closing) || pause >= lastRetry {`,
		"TestFailedInvalidationIsNeverGivenUp",
	},
	{
		"Close sends what is pending once more", "internal/engine/retry.go",
		`		c.sendRounds(ctx)
	case`, `		<-c.ledger.sending
	case`,
		"TestCloseSendsWhatIsOwedOnceMore",
	},
	{
		"InvalidateAll spares the caches whose names look alike", "internal/engine/scan.go",
		`if a := by[prefixOf(name)]; a != nil {`, `if a := accounts[0]; strings.HasPrefix(name, a.of) {`,
		"TestInvalidateAllSparesCachesWhoseNamesLookAlike",
	},
	{
		"InvalidateAll inside a transaction acts after it", "internal/engine/write.go",
		`func(p *part) { p.all = true }`, `func(p *part) {}`,
		"TestInvalidateAllInsideATransactionActsAfterIt",
	},
	{
		"InvalidateAll of an unknown outcome is done again after WithHold", "internal/engine/intx.go",
		`if e.unknown && p.all {`, `if false {`,
		"TestInvalidateAllOfATransactionWhoseOutcomeIsUnknownIsDoneAgainAfterWithHold",
	},
	{
		"InvalidateAll does not confirm a key that is owed the lag", "internal/engine/ledger.go",
		`p.number <= number && a.longestLag() == 0 {`, `p.number <= number {`,
		"TestInvalidateAllDoesNotSettleAKeyThatIsOwedTheLag",
	},
	{
		"what is pending in bulk is owed the lag", "internal/engine/ledger.go",
		`case p.failed && r.began.Before(p.lagging):`, `case false:`,
		"TestWhatIsOwedInBulkIsOwedTheLag/keys",
	},
	{
		"what is pending in bulk is sent twice, and not all the time until the lag is over", "internal/engine/ledger.go",
		`return p.swept && r.began.Before(p.lagging)`, `return false`,
		"TestWhatIsOwedInBulkIsOwedTheLag/keys",
	},
	{
		"the caches of one client share what is pending", "internal/engine/open.go",
		`c.ledger = c.Peers.ledger`, `c.ledger = newLedger(rdb)`,
		"TestFailedInvalidateIsOwedByAllCachesOfTheName",
	},
	{
		"what a closed Cache has left pending is tried by the next one", "internal/engine/retry.go",
		`	if c.entries.barring.Load() > 0 {
		c.retry(c.ledger.resume())
`, `	if c.entries.barring.Load() > 0 {
`,
		"TestOtherCachesOfTheNameGoOnWithWhatAClosedOneOwes",
	},
	{
		"an invalidation notes the lag of the other caches of its name", "internal/engine/attempt.go",
		`if lag := e.of.longestLag(); lag > 0 == lagging {`, `if lag := c.Config.Lag; lag > 0 == lagging {`,
		"TestTheLongestReplicaLagOfTheCachesOfANameCounts",
	},
	{
		"a hold lasts longer by the lag of the other caches of its name", "internal/engine/tx.go",
		`durations.Saturated(c.Config.Hold, c.entries.longestLag())`, `durations.Saturated(c.Config.Hold, c.Config.Lag)`,
		"TestAHoldLastsLongerByTheLagOfTheOthers",
	},
	{
		"very many keys have more time", "internal/redisstore/primaries.go",
		`chunk := part[:chunkOf(part)]`, `chunk := part`,
		"TestVeryManyKeysAtATimeAreInvalidated",
	},
	{
		"very many keys wait once for a Redis that hangs", "internal/redisstore/primaries.go",
		`len(didNot) == len(chunk) {`, `len(didNot) < 0 {`,
		"TestVeryManyKeysAtATimeWaitOnceForARedisThatHangs",
	},
	{
		"very many keys wait once for a primary that hangs", "internal/redisstore/primaries.go",
		`		parts, _ = split(s.Breaker, tasks, T.Key)
`, ``,
		"TestVeryManyKeysAtATimeAreSentOnceToAPrimaryThatIsNotThere",
	},
	{
		"a key that is given twice is invalidated once", "internal/engine/lists.go",
		`return !was`, `return !was || true`,
		"TestKeyThatIsGivenTwiceIsInvalidatedOnce",
	},
	{
		"one at a time sends what is pending", "internal/engine/retry.go",
		`	select {
	case c.ledger.sending <- struct{}{}:
		return c.sendRounds(ctx)
	default:
		return true
	}
}
`, `	go func() { c.ledger.sending <- struct{}{} }()
	return c.sendRounds(ctx)
}
`,
		"TestProbesDoNotEachBeginToPay",
	},
	{
		"what can never be confirmed is given up", "internal/engine/removal.go",
		`why != nil && !c.givenUp(why) {
				err = why`, `why != nil {
				err = why`,
		"TestInvalidateAllThatCanNeverSucceedIsNotOwedForEver",
	},
	{
		"very many pending keys stay what they are where nodes cannot be walked over", "internal/engine/ledger.go",
		`return math.MaxInt`, `return 10_000`,
		"TestVeryManyFailedInvalidationsArePaidThroughAnAutoPipelinerOverACluster",
	},
	{
		"whoever meets CROSSSLOT sends each key by itself", "internal/redisstore/send.go",
		`if again == nil {`, `if again == nil || s.scattered.Load() {`,
		"TestTheFirstHoldsOfAClientThatDoesNotKnowOfSlotsArePlaced",
	},
	{
		"a group is held before any of it is released", "internal/engine/removal.go",
		`if apart := !c.isOneStep(g) || redisstore.IsForbidden(err) && len(subjects) > 1; !apart {`,
		`if true {`,
		"TestAllOfAGroupIsHeldBeforeAnyOfItIsReleased",
	},
	{
		"tags are held before what has them is removed", "internal/redisstore/scripts.go",
		`			hold(ARGV[4], ARGV[i], tonumber(ARGV[5]))
`, ``,
		"TestWhatIsMadeFromWhatOneCallInvalidatesIsNotMadeFromTheOldRow/by_a_tag",
	},
	{
		"one script removes up to 500 keys", "internal/engine/removal.go",
		`len(g.entries) <= redisstore.ChunkSize && c.Store.Together()`, `c.Store.Together()`,
		"TestMoreKeysThanOneScriptRemovesAreHeldFirst",
	},
	{
		"what one script can remove is not held", "internal/engine/removal.go",
		`len(g.entries) <= redisstore.ChunkSize && c.Store.Together()`, `false`,
		"TestOneCallForAllThatAWriteChanged",
	},
	{
		"what one script removes is not divided", "internal/redisstore/send.go",
		`return ChunkSize // what`, `return 64 // what`,
		"TestMoreKeysThanOneScriptRemovesAreHeldFirst",
	},
	{
		"what lags is removed first", "internal/engine/attempt.go",
		`range []bool{true, false}`, `range []bool{false, true}`,
		"TestWhatLagsIsRemovedFirst",
	},
	{
		"a hold that was gone has all held again", "internal/engine/removal.go",
		`if !grip.release(ctx) || grip.err != nil {`, `if grip.release(ctx); true {`,
		"TestAHoldThatWasGoneHasAllHeldAgain/it_is_gone_at_the_end",
	},
	{
		"the ids of holds are compared", "internal/engine/holds.go",
		`id == "" || id != hs.held[name].id`, `id == ""`,
		"TestAHoldThatWasGoneHasAllHeldAgain/another_copy_of_the_command_has_placed_it_again",
	},
	{
		"InvalidateAll scans twice", "internal/engine/removal.go",
		`for range 2 {`, `for range 1 {`,
		"TestInvalidateAllRemovesWhatIsMadeFromWhatItHasYetToReach",
	},
	{
		"what is to be repeated is sent with what failed", "internal/engine/ledger.go",
		`l.set(s, pending{number: number, again: true, inRound: p.inRound})`, `l.set(s, pending{})`,
		"TestWhatFailedIsSentAgainWithAllThatCameAfterIt",
	},
	{
		"what is confirmed before what it may be made from is repeated", "internal/engine/ledger.go",
		`again = again || !l.pending[s].refused && !refused`, `again = again && s.name == ""`,
		"TestWhatIsConfirmedBeforeWhatItIsMadeFromIsRepeated",
	},
	{
		"a round may end once all is held", "internal/engine/ledger.go",
		`r != nil && (r.held == 0 || number <= r.held)`, `r != nil`,
		"TestWhatIsInvalidatedWhileAllIsHeldIsNotSentAgain",
	},
	{
		"an attempt that was under way when something failed confirms nothing", "internal/engine/ledger.go",
		`case p.suspect || l.mayBeOld(number, p):`, `case l.mayBeOld(number, p):`,
		"internal/engine: TestEveryOrderOfThreeCallsAndTheirRetriesLeavesNothingOld",
	},
	{
		"what is under way when a round of one step ends is repeated, and the round with it", "internal/engine/ledger.go",
		`if r.held == 0 && slices.ContainsFunc(r.group, mayBeSource) {`, `if slices.ContainsFunc(r.group[:0], mayBeSource) {`,
		"internal/engine: TestEveryOrderOfTwoCallsAndTheirRetriesLeavesNothingOld",
	},
	{
		"what failed is repeated, though a later call has removed it", "internal/engine/ledger.go",
		`pending{number: number, again: !refused}`, `pending{}`,
		"internal/engine: TestEveryOrderOfTwoCallsAndTheirRetriesLeavesNothingOld",
	},
	{
		"what is under way when a call fails in part is repeated", "internal/engine/ledger.go",
		`if len(failed) > 0 && !refused {`, `if false {`,
		"internal/engine: TestEveryOrderOfThreeCallsAndTheirRetriesLeavesNothingOld",
	},
	{
		"what is under way when a later call removes what had failed is repeated", "internal/engine/ledger.go",
		`	if over {
`, `	if false {
`,
		"internal/engine: TestEveryOrderOfThreeCallsAndTheirRetriesLeavesNothingOld",
	},
	{
		"a round is repeated if something else has failed meanwhile", "internal/engine/ledger.go",
		`again := l.waiting > 0`, `again := false`,
		"internal/engine: TestEveryOrderOfTwoCallsAndTheirRetriesLeavesNothingOld",
	},
	{
		"what is under way when all of a round is held joins it", "internal/engine/ledger.go",
		`if p.inRound || p.failed && !p.sent || p.refused {`, `if true {`,
		"internal/engine: TestEveryOrderOfTwoCallsAndTheirRetriesLeavesNothingOld",
	},
	{
		"a round asks for what joins it when it has removed what has its tags", "internal/engine/retry.go",
		`		g.removeFound(ctx, slices.Concat(first, repeated))
`, `		defer g.removeFound(ctx, slices.Concat(first, repeated))
`,
		"TestWhatIsInvalidatedWhileARoundRemovesWhatHasATagJoinsIt",
	},
	{
		"what joins a round is held", "internal/engine/retry.go",
		`			g.hold(ctx, joining)
`, `			_ = joining
`,
		"TestWhatIsUnderWayDuringARoundJoinsItsGroup",
	},
	{
		"what is made good is held with what was under way when it failed", "internal/engine/ledger.go",
		`		p.again, p.suspect = !p.failed, true
`, `		p.suspect = true
`,
		"internal/engine: TestEveryOrderOfThreeCallsAndTheirRetriesLeavesNothingOld",
	},
	{
		"what has joined a round stays in it when its attempt is confirmed", "internal/engine/ledger.go",
		`again: true, inRound: p.inRound})`, `again: true})`,
		"internal/engine: TestRoundsEndThoughCallsNeverPause",
	},
	{
		"rounds end though calls never pause", "internal/engine/ledger.go",
		`len(joined) == 0 || r.joins == deepest`, `len(joined) == 0`,
		"internal/engine: TestRoundsEndThoughCallsNeverPause",
	},
	{
		"a key that is invalidated all the time is in no further round", "internal/engine/ledger.go",
		`p.again && !(p.inRound && l.round.held > 0)`, `p.again`,
		"internal/engine: TestRoundsEndThoughCallsNeverPause",
	},
	{
		"a round holds nothing twice", "internal/engine/ledger.go",
		`if !isIn[s] {`, `if isIn[s] || true {`,
		"internal/engine: TestEveryOrderOfTwoCallsAndTheirRetriesLeavesNothingOld",
	},
	{
		"what was confirmed during a round is sent again if a hold was gone", "internal/engine/ledger.go",
		`range r.meanwhile {`, `range r.meanwhile[:0] {`,
		"TestWhatIsInvalidatedDuringARoundIsSentAgainIfAHoldWasGone",
	},
	{
		"a round whose hold was gone holds all again", "internal/engine/retry.go",
		`!wasGone || g.err != nil {`, `!wasGone || true {`,
		"TestWhatIsInvalidatedDuringARoundIsSentAgainIfAHoldWasGone",
	},
	{
		"what an ACL refuses has nothing else repeated", "internal/engine/ledger.go",
		`p.failed && !p.refused || p.again`, `p.failed || p.again`,
		"TestWhatMayNotBeTouchedHasNothingSentAgainButItself",
	},
	{
		"changes of several clients are made in their order", "internal/engine/write.go",
		`	for _, w := range writesOf(changes) {
		errs`, `	for _, w := range slices.Backward(writesOf(changes)) {
		errs`,
		"TestChangesOfSeveralClientsAreMadeInTheirOrder",
	},
	{
		"changes through one client are made together", "internal/engine/write.go",
		`return w.ledger == ch.Of.ledger })`, `return w.parts[0].Of == ch.Of })`,
		"TestOneCallForAllThatAWriteChanged/miniredis",
	},
	{
		"holds are renewed while a removal takes long", "internal/engine/removal.go",
		`	defer renewing(g.life/4, func(*atomic.Bool) { g.renew(ctx) })()
`, ``,
		"TestARemovalMayTakeLongerThanItsHoldsLast",
	},
	{
		"what an ACL refuses is no reason to go on with the rest", "internal/engine/ledger.go",
		`again = again || !l.pending[s].refused && !refused`, `again = again || s.name != ""`,
		"TestWhatMayNotBeTouchedHasNothingSentAgainButItself",
	},
}
