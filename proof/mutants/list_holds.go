package main

// ofHolds are the rules of InTx and WithReplicaLag.
var ofHolds = []mutant{
	{
		"a hold is a set of holders: one does not replace another", "internal/redisstore/scripts.go",
		`if h.expiry > ms then holders[token] = h end`, ``,
		"TestOneTransactionDoesNotEndTheHoldOfAnother",
	},
	{
		"holders whose time is over are left out", "internal/redisstore/scripts.go",
		`if h.expiry > ms then holders[token] = h end`, `holders[token] = h`,
		"TestReleaseLeavesOutHoldersWhoseTimeIsOver",
	},
	{
		"a hold lasts as long as its longest holder", "internal/redisstore/scripts.go",
		`'}}', 'PX', string.format('%.0f', last - ms))`, `'}}', 'PX', ARGV[2])`,
		"TestShorterHoldDoesNotShortenALongerOne",
	},
	{
		"a shorter lag does not shorten a longer one", "internal/redisstore/scripts.go",
		`if life > 0 and h.expiry <= ms + life then`, `if life > 0 then`,
		"TestShorterReplicaLagDoesNotShortenALongerOne",
	},
	{
		"a hold in an unknown format stays", "internal/redisstore/scripts.go",
		`next(decoded.hold) == nil then return unknown end`, `next(decoded.hold) == nil then decoded = {hold = {}} end`,
		"TestHoldInAnUnknownFormatStaysAndInvalidateInsideSaysSo",
	},
	{
		"a hold that could not be placed for its unknown format is an error", "internal/engine/tx.go",
		`	p.entries.must = true
`, ``,
		"TestHoldInAnUnknownFormatStaysAndInvalidateInsideSaysSo",
	},
	{
		"ending a hold that is gone removes what came in its place", "internal/redisstore/scripts.go",
		`local mine = holders[ARGV[1]]
`, `if tonumber(ARGV[2]) == 0 and doc and doc:sub(1, 8) ~= '{"hold":' then return {1, ''} end
		local mine = holders[ARGV[1]]
`,
		"TestTheReleaseOfAHoldThatIsGoneIsEnough",
	},
	{
		"an invalidation leaves a hold", "internal/redisstore/scripts.go",
		`== '{"hold":' then return 0 end
		return`, `== '{"hold":' then end
		return`,
		"TestHoldsSurviveInvalidateAll",
	},
	{
		"under a hold everybody loads and nobody fills", "internal/document/entry.go",
		`case bytes.HasPrefix(doc, []byte(holdPrefix)):`, `case false:`,
		"TestNothingIsCachedUnderAHold",
	},
	{
		"each run of InTx has holders of its own", "internal/engine/tx.go",
		`holder := rand.Text()`, `holder := "tx" + rand.Text()[:0]`,
		"TestOneTransactionDoesNotEndTheHoldOfAnother",
	},
	{
		"an error of fn is an unknown outcome", "internal/engine/intx.go",
		`r.known = err == nil || errors.As(err, &rolledBack)`, `r.known = true || errors.As(err, &rolledBack)`,
		"TestHoldsOfATransactionWhoseOutcomeIsUnknownExpire",
	},
	{
		"a panic of fn is an unknown outcome", "internal/engine/intx.go",
		`return (&run{tx: t}).call`, `return (&run{tx: t, known: true}).call`,
		"TestHoldsOfATransactionWhoseOutcomeIsUnknownExpire",
	},
	{
		"a commit releases the holds", "internal/engine/intx.go",
		`e.unknown = !t.isKnown()`, `e.unknown = true`,
		"TestNothingIsCachedFromInvalidateUntilTheTransactionHasEnded",
	},
	{
		"an InTx inside another joins it", "internal/engine/intx.go",
		`outer != nil && !outer.tx.over() {`, `outer != nil && false {`,
		"TestHoldOfAnInnerInTxLastsUntilTheOuterOneEnds",
	},
	{
		"what goes on under the ctx of a transaction that has ended is outside", "internal/engine/tx.go",
		`	if t.ended {
		return false
	}
	if !slices`, `	if !slices`,
		"TestInvalidateUnderTheCtxOfATransactionThatHasEndedActsAtOnce",
	},
	{
		"a key is read from the loader inside though it could not be held", "internal/engine/holds.go",
		`return hs.held[name] != nil`, `return hs.held[name] != nil && !hs.held[name].placed.IsZero()`,
		"TestReadsInsideOfAKeyThatCouldNotBeHeldGoToTheLoader",
	},
	{
		"after InvalidateAll inside, reads inside go to the loader", "internal/engine/tx.go",
		`|| p.all && p.Core.entries.of == prefixOf(name) {`, `{`,
		"TestInvalidateAllInsideATransactionActsAfterIt",
	},
	{
		"a read inside goes past what another Cache of the name has invalidated there", "internal/engine/tx.go",
		`	for _, p := range t.parts { // which may be that of another Cache of the same name
`, `	for _, p := range t.parts {
		if p.Core != c {
			continue
		}
`,
		"TestAReadInsideATransactionGoesPastWhatAnotherCacheOfTheNameHasInvalidatedThere",
	},
	{
		"InvalidateAll inside is about the caches of its name alone", "internal/engine/tx.go",
		`p.all && p.Core.entries.of == prefixOf(name) {`, `p.all {`,
		"TestAReadInsideATransactionGoesPastWhatAnotherCacheOfTheNameHasInvalidatedThere",
	},
	{
		"after InvalidateTags inside, reads inside go to the loader", "internal/engine/tx.go",
		`return c.Tagged && t.tagged`, `return false`,
		"TestNothingWithATagIsCachedUntilTheTransactionThatInvalidatedItHasEnded",
	},
	{
		"a read inside of a key that was invalidated there does not hit", "internal/engine/read.go",
		`if !c.usable(name) || m.wrote(c, name) {`, `if !c.usable(name) {`,
		"TestReadsInsideOfAKeyThatCouldNotBeHeldGoToTheLoader",
	},
	{
		"GetMany inside of a key that was invalidated there does not hit", "internal/engine/many.go",
		`c.usable(name) && !m.wrote(c, name) && !c`, `c.usable(name) && !c`,
		"TestReadsInsideOfAKeyThatCouldNotBeHeldGoToTheLoader",
	},
	{
		"a read inside fills nothing and shares nothing", "internal/engine/miss.go",
		`	if m.inTx() {
		return c.LoadHere`, `	if false {
		return c.LoadHere`,
		"TestReadsInsideATransactionNeitherFillNorShare",
	},
	{
		"GetMany inside fills nothing", "internal/engine/many.go",
		`if m.inTx() { // nothing`, `if false { // nothing`,
		"TestReadsInsideATransactionNeitherFillNorShare",
	},
	{
		"GetMany inside loads nothing if all is there", "internal/engine/many.go",
		`if c.Batches && len(wants) > 0 {`, `if c.Batches {`,
		"TestGetManyInsideThatFindsEverythingLoadsNothing",
	},
	{
		"a read inside starts no refresh", "internal/engine/read.go",
		`return c.due(e, now) && !m.inTx()`, `return c.due(e, now)`,
		"TestReadsInsideGoToTheLoaderWithTheTransactionAndStartNoRefresh",
	},
	{
		"a hold is renewed while the transaction runs", "internal/engine/intx.go",
		`return renewing(p.Config.Hold/12,`, `return renewing(p.Config.Hold*3,`,
		"TestHoldLastsAsLongAsTheTransactionRuns",
	},
	{
		"no renewal comes after the release", "internal/engine/holds.go",
		`		end()
		running <- struct{}{}
`, `		end()
`,
		"TestRenewalThatIsDueWhenTheTransactionEndsLeavesNothingBehind",
	},
	{
		"a hold whose placing was not confirmed is ended too", "internal/engine/intx.go",
		`released{hs, hs.names()})`, `released{hs, hs.placedBy(time.Now())})`,
		"TestHoldWhoseReplyWasLostEndsWithTheTransaction",
	},
	{
		"an invalidation whose hold's end is not confirmed is pending", "internal/engine/intx.go",
		`c.ended(subjects, failed, err, number, began)`, `c.ended(subjects, nil, nil, number, began)`,
		"TestReleaseThatFailsAfterTheHoldWasDeletedIsOwed",
	},
	{
		"a key that could not be held is invalidated again when a COMMIT has landed if ever", "internal/engine/intx.go",
		`if len(failed) > 0 {
		p.afterHold`, `if false {
		p.afterHold`,
		"TestKeyThatCouldNotBeHeldIsInvalidatedAgainAfterWithHold",
	},
	{
		"a hold that is left to expire lasts for the lag besides", "internal/engine/tx.go",
		`newHolds(c.entries, holder, durations.Saturated(c.Config.Hold, c.entries.longestLag()))`,
		`newHolds(c.entries, holder, c.Config.Hold)`,
		"TestHoldThatIsLeftToExpireLastsForTheReplicaLagBesides",
	},
	{
		"nothing is cached for the lag after an invalidation", "internal/engine/attempt.go",
		`c.Store.InvalidateOp(e.name, lag)`, `c.Store.InvalidateOp(e.name, 0*lag)`,
		"TestNothingIsFilledForTheReplicaLag",
	},
	{
		"nothing is cached for the lag after a release", "internal/engine/intx.go",
		`c.releaseTasks(r.holds, r.names, r.of.longestLag())`, `c.releaseTasks(r.holds, r.names, 0)`,
		"TestNothingIsFilledForTheReplicaLag",
	},
	{
		"an InTx under the ctx of one that has ended is none inside it", "internal/engine/intx.go",
		`outer != nil && !outer.tx.over() {`, `outer != nil {`,
		"TestInTxUnderTheCtxOfOneThatHasEndedHolds",
	},
	{
		"reads under the ctx of an InTx that has ended are outside", "internal/engine/tx.go",
		`m.run != nil && !m.run.tx.over()`, `m.run != nil`,
		"TestReadsUnderTheCtxOfAnInTxThatHasEndedFill",
	},
	{
		"a renewal that has failed is tried again soon", "internal/engine/intx.go",
		`failed, _ := p.attemptOnce(ctx, chunk)
`, `failed, _ := p.attemptOnce(ctx, chunk)
		for _, t := range failed {
			p.entries.place(p.entries.held[t.Name], time.Now())
		}
`,
		"TestHoldOutlastsRenewalsThatFail",
	},
	{
		"holds are placed though Redis is out of memory", "internal/redisstore/scripts.go",
		`redis.call('PEXPIRE', KEYS[1], 1000)
			redis.call('SET'`, `redis.call('SET'`,
		"TestInvalidationsOfEachKindWorkWhenRedisIsOutOfMemory",
	},
	{
		"a hold is written over what is there, since the slot may move", "internal/redisstore/scripts.go",
		`redis.call('PEXPIRE', KEYS[1], 1000)
			redis.call('SET'`, `redis.call('DEL', KEYS[1])
			redis.call('SET'`,
		"TestASlotMayMoveAtAnyMoment/renewals,_before_it_moves",
	},
	{
		"a hold that lives longer than it was given gets that long", "internal/redisstore/scripts.go",
		`if life > 0 and left > life then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life)) end`, ``,
		"TestNothingThatTheDeadLeaveOutlivesItsTimeWhenTheClockIsSetBack/a_hold/miniredis",
	},
	{
		"a hold that lives longer than it was given is not lost, since its transaction may be open", "internal/redisstore/scripts.go",
		`if life > 0 and left > life then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life)) end`, `if life > 0 and left > life then redis.call('DEL', KEYS[1]) end`,
		"TestAHoldThatIsRenewedOutlivesAClockThatIsSetBack/miniredis",
	},
	{
		"a holder whose time is longer than it was given gets that long", "internal/redisstore/scripts.go",
		`h.expiry = math.min(h.expiry, ms + h.life)`, ``,
		"TestAHoldThatIsRenewedOutlivesAClockThatIsSetBack/miniredis",
	},
	{
		"the keys of a chunk count as placed at once", "internal/engine/holds.go",
		`func(r redisstore.Reply, sent time.Time) { hs.confirm(name, string(r.Doc), sent) }`,
		`func(r redisstore.Reply, sent time.Time) {
				time.AfterFunc(3*time.Second, func() { hs.confirm(name, string(r.Doc), sent) })
			}`,
		"TestHoldsAreRenewedWhileVeryManyMoreArePlaced/keys",
	},
	{
		"an Invalidate says that holds were not renewed in time", "internal/engine/tx.go",
		`t.isLate = t.isLate || slices.ContainsFunc(t.parts, (*part).late)`,
		`t.isLate = t.isLate && slices.ContainsFunc(t.parts, (*part).late)`,
		"TestInvalidateSaysThatHoldsAreTooManyToBeRenewed/keys",
	},
	{
		"holds are renewed while very many are left to expire", "internal/engine/intx.go",
		`		of := t.outcomeOf(p)
`, `		of := t.outcomeOf(p)
		if p.stop != nil {
			p.stop()
			p.stop = nil
		}
`,
		"TestHoldsAreRenewedWhileVeryManyAreLeftToExpire/keys",
	},
	{
		"a shorter hold of another Cache of the transaction does not end a longer one", "internal/engine/tx.go",
		`newHolds(c.entries, holder, durations.Saturated(c.Config.Hold, c.entries.longestLag()))`,
		`newHolds(c.entries, "tx", min(c.Config.Hold, 20*time.Second))`,
		"TestTheShorterHoldOfOneCacheDoesNotEndTheLongerOneOfAnother/a_key",
	},
	{
		"what an inner InTx has invalidated that failed is of an unknown outcome", "internal/engine/intx.go",
		`(&run{tx: outer.tx, outer: outer}).call(ctx, fn)`, `outer.call(ctx, fn)`,
		"TestWhatAnInnerInTxHasInvalidatedThatFailedIsLeftToExpire",
	},
	{
		"what was invalidated in two runs is of an unknown outcome if either failed", "internal/engine/tx.go",
		`t.runs = append(t.runs, r)`, `t.runs = []*run{r}`,
		"TestWhatAnInnerInTxHasInvalidatedThatFailedIsLeftToExpire",
	},
	{
		"a run inside one that failed is of an unknown outcome", "internal/engine/tx.go",
		`r.known && (r.outer == nil || r.outer.isKnown())`, `r.known`,
		"TestWhatAnInnerInTxHasInvalidatedThatFailedIsLeftToExpire",
	},
	{
		"an invalidation is pending whose lag an unknown hold keeps from being noted", "internal/engine/attempt.go",
		`holds: lagging}`, `holds: false}`,
		"TestLagThatAnUnknownHoldKeepsFromBeingNotedIsOwed",
	},
	{
		"a hold of a transaction that was gone has all held again", "internal/engine/intx.go",
		`if err == nil && slices.ContainsFunc(e.released`, `if false && slices.ContainsFunc(e.released`,
		"TestAHoldOfATransactionThatWasGoneHasAllHeldAgain/it_is_gone_at_the_end",
	},
	{
		"the ids of a transaction's holds are compared", "internal/engine/holds.go",
		`id == "" || id != hs.held[name].id`, `id == ""`,
		"TestAHoldOfATransactionThatWasGoneHasAllHeldAgain/another_copy_of_the_command_has_placed_it_again",
	},
	{
		"nothing is released if the outcome of any run is unknown", "internal/engine/intx.go",
		`e.unknown = !t.isKnown()`, `e.unknown = !t.isKnown() && p == t.parts[0]`,
		"TestTheHoldsOfAllCachesAreLeftToExpireIfAnInnerInTxFailed",
	},
	{
		"what is rolled back has a known outcome", "internal/engine/intx.go",
		`r.known = err == nil || errors.As(err, &rolledBack)`,
		`r.known = err == nil || errors.As(err, &rolledBack) && false`,
		"TestRolledBackReleasesTheHolds",
	},
	{
		"InTx returns the error that RolledBack was given", "internal/engine/intx.go",
		`r.outer == nil && err == error(rolledBack) && rolledBack != nil`, `false`,
		"TestRolledBackReleasesTheHolds/at_once",
	},
	{
		"an inner InTx passes RolledBack on", "internal/engine/intx.go",
		`r.outer == nil && err == error(rolledBack)`, `err == error(rolledBack)`,
		"TestRolledBackReleasesTheHolds/an_inner_one_passes_it_on",
	},
}
