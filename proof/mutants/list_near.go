package main

// The rules of near copies. B1 to B40 are the designs that proof/near shows to be broken without them.
var ofNear = []mutant{
	{
		"the lease is counted from the sending of NEWS (B2)", "internal/near/reader.go",
		`r.log.until.Store(sent + int64(lease))`, `r.log.until.Store(now() + int64(lease))`,
		"internal/near: TestTheLeaseIsCountedFromTheSendingOfNews",
	},
	{
		"the lease begins after the copies are dropped (B3)", "internal/near/reader.go",
		`	if got.reset || now() >= r.log.until.Load() {`, `	over := now() >= r.log.until.Load()
	r.log.until.Store(sent + int64(lease))
	if got.reset || over {`,
		"internal/near: TestTheLeaseBeginsAfterTheCopiesAreDropped",
	},
	{
		"a reset drops everything (B8)", "internal/near/reader.go",
		`if got.reset || now() >= r.log.until.Load() {`, `if now() >= r.log.until.Load() {`,
		"internal/near: TestAfterAResetNothingFromBeforeIsServed",
	},
	{
		"a lease that was over takes the copies with it (B26)", "internal/near/reader.go",
		`if got.reset || now() >= r.log.until.Load() {`, `if got.reset {`,
		"internal/near: TestALeaseThatWasOverTakesTheCopiesWithIt",
	},
	{
		"whether the lease was over is judged when NEWS are applied (B26a)", "internal/near/reader.go",
		`if got.reset || now() >= r.log.until.Load() {`, `if got.reset || sent >= r.log.until.Load() {`,
		"internal/near: TestWhetherTheLeaseWasOverIsJudgedWhenNewsAreApplied",
	},
	{
		"a reader that ends serves nothing when it is forgotten (B36)", "internal/near/reader.go",
		`	r.log.until.Store(0)
	r.log.wipe()
`, `	defer r.log.wipe()
	defer r.log.until.Store(0)
`,
		"internal/near: TestAReaderThatEndsServesNothingWhenItIsForgotten",
	},
	{
		"a reader that begins again has another name (B37)", "internal/near/reader.go",
		`id: newID()`, `id: "reader"`,
		"internal/near: TestAReaderThatBeginsAgainHasAnotherName",
	},
	{
		"a message is not believed by a reader that has missed the one before (B40)", "internal/near/reader.go",
		`case m.whole && m.before == last:`, `case m.whole:`,
		"internal/near: TestAMessageIsNotBelievedByAReaderThatHasMissedTheOneBefore/miniredis",
	},
	{
		"what messages bring is dropped before the next NEWS tells so (B6)", "internal/near/reader.go",
		`		r.log.drop(m.about)
`, ``,
		"internal/near: TestAReadIsServedFromTheProcessUntilItIsInvalidatedElsewhere/miniredis",
	},
	{
		"a reader whose NEWS are slow gives up", "internal/near/reader.go",
		`r.slow >= slowInARow {`, `false {`,
		"internal/near: TestAReaderWhoseNewsAreSlowGivesUpAndComesBack",
	},
	{
		"a reader ends when no copy has been asked for for a minute", "internal/near/reader.go",
		`if now-r.lastUse >= int64(idleAfter) {`, `if false {`,
		"internal/near: TestAnIdleProcessCostsFewCommandsAndNoneAfterAMinute",
	},
	{
		"a copy is served under a lease only", "internal/near/copies.go",
		`	if now >= c.log.until.Load() {
		c.log.ask()`, `	if c.log.until.Load() == 0 {
		c.log.ask()`,
		"internal/near: TestAReaderThatHangsIsWaitedForUntilItsLeaseIsOver",
	},
	{
		"a copy is not served once its generation was raised", "internal/near/copies.go",
		`now >= found.until || !c.holds(&found.noted) || c.log.tags.raised(found.tags, found.noted.tags) {
		return nil`, `now >= found.until || c.log.tags.raised(found.tags, found.noted.tags) {
		return nil`,
		"internal/near: TestAReadIsServedFromTheProcessUntilItIsInvalidatedElsewhere/miniredis",
	},
	{
		"nor once a tag of it was invalidated", "internal/near/copies.go",
		`now >= found.until || !c.holds(&found.noted) || c.log.tags.raised(found.tags, found.noted.tags) {
		return nil`, `now >= found.until || !c.holds(&found.noted) {
		return nil`,
		"internal/near: TestALookFromBeforeARecordMakesNoCopy/miniredis",
	},
	{
		"a look from before a record makes no copy (B4, B5)", "internal/near/copies.go",
		`	if n.at == 0 || left <= 0 || !c.holds(n) {`, `	n.epoch, n.generation = c.epoch.Load(), c.generations[n.place].Load()
	if n.at == 0 || left <= 0 {`,
		"internal/near: TestALookFromBeforeARecordMakesNoCopy/miniredis",
	},
	{
		"no copy is older than its age", "internal/near/copies.go",
		`copied.until = min(n.at+c.maxAge, from+int64(left))`, `copied.until = from + int64(left)`,
		"internal/near: TestACopyIsServedForItsAgeOnly",
	},
	{
		"nor than its document is fresh", "internal/near/copies.go",
		`copied.until = min(n.at+c.maxAge, from+int64(left))`, `copied.until = n.at + c.maxAge + min(from, 0)`,
		"internal/near: TestACopyIsServedForItsAgeOnly",
	},
	{
		"the writer's own copy is dropped after the removal (B35)", "internal/near/note.go",
		`	n.log.drop(n.about)
`, ``,
		"internal/near: TestTheWritersOwnCopyIsDroppedAndNotWaitedFor/miniredis",
	},
	{
		"readers are waited for (B10)", "internal/near/note.go",
		`if err != nil || alone {`, `if err != nil || alone || true {`,
		"internal/near: TestAnInvalidationWaitsForAReaderThatHasYetToDropItsCopy",
	},
	{
		"messages do not take all of Redis", "internal/near/nearscript/nearscript.go",
		` and not crowded then`, ` then`,
		"internal/near: TestManyRecordsWithinThePaceAreNotTold",
	},
	{
		"messages tell of records again once these are rare", "internal/near/nearscript/nearscript.go",
		`text(id - 300 * readers)`, `'1e14'`,
		"internal/near: TestManyRecordsWithinThePaceAreNotTold",
	},
	{
		"a record that could not be made is an error", "internal/near/note.go",
		`n.end(wrapped(err))`, `n.end(nil)`,
		"internal/near: TestNoticesThatFailAreErrors",
	},
	{
		"the wait is counted from the reply to NOTE (B12)", "internal/near/note.go",
		`	answer, err := w.log.run(ctx, noteScript, w.log.noteArgs(nonce, strings.Join(about, " ")))
	at := now() // Δ is counted from the reply: a lease may begin until the record is there
`, `	at := now()
	answer, err := w.log.run(ctx, noteScript, w.log.noteArgs(nonce, strings.Join(about, " ")))
`,
		"internal/near: TestTheWaitIsCountedFromTheReplyToNote",
	},
	{
		"a reader is waited for until its lease is over (B14)", "internal/near/wait.go",
		`late := sent-rec.at >= int64(Delta)`, `late := sent-rec.at >= int64(Delta)/2`,
		"internal/near: TestAReaderThatHangsIsWaitedForUntilItsLeaseIsOver",
	},
	{
		"a record that was lost is made again (B27)", "internal/near/wait.go",
		`			w.lost(rec)`, `			w.ended(rec, nil)`,
		"internal/near: TestARecordThatWasLostIsMadeAgain",
	},
	{
		"so it is when the lease of all readers is over (B28)", "internal/near/wait.go",
		`case answers[i] == int64(notThere):`, `case answers[i] == int64(notThere) && !late:`,
		"internal/near: TestARecordThatWasLostIsMadeAgainEvenWhenDeltaIsOver",
	},
	{
		"a record that is lost again and again is an error", "internal/near/wait.go",
		`n.end(errLost)`, `n.end(nil)`,
		"internal/near: TestARecordThatIsLostAgainAndAgainIsAnError",
	},
	{
		"a wait whose end is not known is an error", "internal/near/wait.go",
		`			w.ended(rec, wrapped(err))`, `			w.ended(rec, nil)`,
		"internal/near: TestNoticesThatFailAreErrors",
	},
	{
		"a LOG that was lost may not know all readers (B17)", "internal/near/nearscript/nearscript.go",
		`if not born or ms < -born + delta then return 0 end`, ``,
		"internal/near: TestALogThatWasLostMayNotKnowAllReaders",
	},
	{
		"nor if it was lost during the wait (B20)", "internal/near/nearscript/nearscript.go",
		`if not born or ms < -born + delta then return 0 end`, `if not born then return 0 end`,
		"internal/near: TestALogThatIsLostDuringTheWait",
	},
	{
		"a reader gets all records or a reset (B9c)", "internal/near/nearscript/nearscript.go",
		`if #records > 2 * (ARGV[3] + 1) then first = nil end`, ``,
		"internal/near: TestAReaderThatHasMissedTooMuchLosesEverything",
	},
	{
		"the server keeps a reader for as long as its lease (B13)", "internal/near/nearscript/nearscript.go",
		`text(ms + ARGV[2]), 'e' .. ARGV[4]`, `text(ms + ARGV[2] / 2), 'e' .. ARGV[4]`,
		"internal/near: TestAReaderThatHangsIsWaitedForUntilItsLeaseIsOver",
	},
	{
		"a writer does not wait for its own process", "internal/near/nearscript/nearscript.go",
		`if two[i] ~= 'p' .. self then`, `if true then`,
		"internal/near: TestTheWritersOwnCopyIsDroppedAndNotWaitedFor/miniredis",
	},
	{
		"a message wakes the reader", "internal/near/nearscript/nearscript.go",
		`redis.pcall('PUBLISH', KEYS[1], message)`, ``,
		"internal/near: TestAMessageWakesTheReader",
	},
	{
		"reads inside a load look past near copies", "internal/engine/near.go",
		`ctx.Err() == nil && ModeOf(ctx) == nil && insideOf(ctx) == nil`, `ctx.Err() == nil && ModeOf(ctx) == nil`,
		"TestReadsInsideALoadLookPastNearCopies",
	},
	{
		"so do reads inside InTx and under Bypass", "internal/engine/near.go",
		`ctx.Err() == nil && ModeOf(ctx) == nil && insideOf(ctx) == nil`, `ctx.Err() == nil && insideOf(ctx) == nil`,
		"TestWhatLooksPastNearCopies",
	},
	{
		"an invalidation is told", "internal/engine/removal.go",
		`	if !slices.ContainsFunc(subjects, subject.hasNear) {`, `	if true {`,
		"TestNoNearCopyIsServedAfterAnInvalidation/Invalidate/miniredis",
	},
	{
		"it is told after the removal (B1)", "internal/engine/removal.go",
		`		failed, err = c.attempt(ctx, c.removeTasks(g.entries))
`, `		if failed, err = c.tellRest(ctx, subjects, nil, nil); err == nil {
			failed, err = c.attempt(ctx, c.removeTasks(g.entries))
		}
		if true {
			return failed, err
		}
`,
		"TestACopyThatIsMadeBeforeTheRemovalIsDropped",
	},
	{
		"what is removed under holds is told before they end", "internal/engine/removal.go",
		`	g.note(g.tell(ctx, held)) // before anything is released
`, ``,
		"TestNoNearCopyIsServedAfterAnInvalidation/InvalidateTags/miniredis",
	},
	{
		"what a transaction holds is told (B31)", "internal/engine/intx.go",
		`	if err == nil {
		failed, err = c.tell(ctx, subjects)
	}
`, ``,
		"TestNoNearCopyIsServedWhileATransactionIsOpen/miniredis",
	},
	{
		"a renewal that finds its hold gone tells (B34)", "internal/engine/intx.go",
		`now && !gone {`, `false && now && !gone {`,
		"TestCopiesThatAreMadeWhileAHoldIsGoneAreDropped/a_renewal",
	},
	{
		"a release that finds its hold gone has all removed and told (B33)", "internal/engine/intx.go",
		`return len(r.names) > 0 && r.wasGone() })`, `return false })`,
		"TestCopiesThatAreMadeWhileAHoldIsGoneAreDropped/the_release",
	},
	{
		"so does what finds it when the outcome is unknown", "internal/engine/intx.go",
		`	if err == nil && (p.entries.isGone() || p.tags.isGone()) {`, `	if false {`,
		"TestCopiesThatAreMadeWhileAHoldIsGoneAreDropped/an_unknown_outcome",
	},
	{
		"what could not be told is pending", "internal/engine/near.go",
		`		if why := log.Tell(ctx, *abouts[i]); why != nil {`, `		if why := log.Tell(ctx, *abouts[i]); false {`,
		"TestAnInvalidationThatCannotBeToldIsPending",
	},
	{
		"a near copy of a fill is what a hit returns", "nearcopies.go",
		`copied = r.hit`, `copied = t.copyForNear(r.value)`,
		"TestANearCopyOfAFillIsWhatAHitReturns",
	},
	{
		"and no memory of a caller who has left", "nearcopies.go",
		`copied = r.hit`, `copied = t.copyForNear(r.value)`,
		"TestACallerOfGetManyWhoLeavesOwnsItsRowsAlsoIfTheyAreCopied",
	},
}
