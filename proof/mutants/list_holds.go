package main

// ofHolds are the rules of InTx and WithReplicaLag.
var ofHolds = []mutant{
	{
		"a hold is a set of holders: one does not replace another", "scripts.go",
		`elseif token ~= ARGV[1] and expiry > ms then`, `elseif false then`,
		"TestOneTransactionDoesNotEndTheHoldOfAnother",
	},
	{
		"holders whose time is over are left out", "scripts.go",
		`elseif token ~= ARGV[1] and expiry > ms then`, `elseif token ~= ARGV[1] then`,
		"TestReleaseLeavesOutHoldersWhoseTimeIsOver",
	},
	{
		"a hold lasts as long as its longest holder", "scripts.go",
		`string.format('%.0f', last - ms))`, `ARGV[2])`,
		"TestShorterHoldDoesNotShortenALongerOne",
	},
	{
		"a shorter lag does not shorten a longer one", "scripts.go",
		`lag = math.max(lag, ms + ARGV[3])`, `lag = ms + ARGV[3]`,
		"TestShorterReplicaLagDoesNotShortenALongerOne",
	},
	{
		"a hold in an unknown format stays", "scripts.go",
		`next(decoded.hold) == nil then return -1 end`, `next(decoded.hold) == nil then decoded = {hold = {}} end`,
		"TestHoldInAnUnknownFormatStaysAndInvalidateInsideSaysSo",
	},
	{
		"a hold that could not be placed for its unknown format is an error", "invalidate.go",
		`&& steps[i].script == scriptHold`, `&& false`,
		"TestHoldInAnUnknownFormatStaysAndInvalidateInsideSaysSo",
	},
	{
		"ending a hold that is gone removes what came in its place", "scripts.go",
		`redis.call('DEL', KEYS[1])
		if tonumber(ARGV[2]) > 0 then add`, `if tonumber(ARGV[2]) == 0 and doc and doc:sub(1, 8) ~= '{"hold":' then return 1 end
		redis.call('DEL', KEYS[1])
		if tonumber(ARGV[2]) > 0 then add`,
		"TestReleaseOfAHoldThatIsGoneInvalidates",
	},
	{
		"an invalidation leaves a hold", "scripts.go",
		`== '{"hold":' then return 0 end
		return`, `== '{"hold":' then end
		return`,
		"TestHoldsSurviveInvalidateAll",
	},
	{
		"under a hold everybody loads and nobody fills", "entry.go",
		`case bytes.HasPrefix(doc, []byte(holdPrefix)):`, `case false:`,
		"TestNothingIsCachedUnderAHold",
	},
	{
		"each run of InTx has a token of its own", "intx.go",
		`token: rand.Text()`, `token: "tx" + rand.Text()[:0]`,
		"TestOneTransactionDoesNotEndTheHoldOfAnother",
	},
	{
		"an error of fn is an unknown outcome", "intx.go",
		`t.committed = err == nil`, `t.committed = true`,
		"TestHoldsOfATransactionWhoseOutcomeIsUnknownExpire",
	},
	{
		"a panic of fn is an unknown outcome", "intx.go",
		`t := &tx{token`, `t := &tx{committed: true, token`,
		"TestHoldsOfATransactionWhoseOutcomeIsUnknownExpire",
	},
	{
		"a commit releases the holds", "hold.go",
		`if t.committed {
			c.release(`, `if false {
			c.release(`,
		"TestNothingIsCachedFromInvalidateUntilTheTransactionHasEnded",
	},
	{
		"an InTx inside another joins it", "intx.go",
		`t != nil && !t.over() {`, `t != nil && false {`,
		"TestHoldOfAnInnerInTxLastsUntilTheOuterOneEnds",
	},
	{
		"what goes on under the ctx of a transaction that has ended is outside", "intx.go",
		`defer t.mu.Unlock()
	if t.ended {
		return false
	}
	p := t.parts[m]
	if p == nil`, `defer t.mu.Unlock()
	p := t.parts[m]
	if p == nil`,
		"TestInvalidateUnderTheCtxOfATransactionThatHasEndedActsAtOnce",
	},
	{
		"a key is read from the loader inside though it could not be held", "intx.go",
		`if _, has := p.names[name]; has || p.all && by.owns(name) {`, `if p.names[name] || p.all && by.owns(name) {`,
		"TestReadsInsideOfAKeyThatCouldNotBeHeldGoToTheLoader",
	},
	{
		"after InvalidateAll inside, reads inside go to the loader", "intx.go",
		`; has || p.all && by.owns(name) {`, `; has || by == nil {`,
		"TestInvalidateAllInsideATransactionActsAfterIt",
	},
	{
		"a read inside goes past what another Cache of the name has invalidated there", "intx.go",
		`	for by, p := range t.parts {`, `	for by, p := range t.parts {
		if by != m {
			continue
		}`,
		"TestAReadInsideATransactionGoesPastWhatAnotherCacheOfTheNameHasInvalidatedThere",
	},
	{
		"InvalidateAll inside is about the caches of its name alone", "intx.go",
		`p.all && by.owns(name) {`, `p.all && by != nil {`,
		"TestAReadInsideATransactionGoesPastWhatAnotherCacheOfTheNameHasInvalidatedThere",
	},
	{
		"after InvalidateTags inside, reads inside go to the loader", "intx.go",
		`return m.tagged() && t.tagged`, `return false`,
		"TestNothingWithATagIsCachedUntilTheTransactionThatInvalidatedItHasEnded",
	},
	{
		"a read inside of a key that was invalidated there does not hit", "cache.go",
		`c.usable(name) && !m.wrote(c, name) {`, `c.usable(name) {`,
		"TestReadsInsideOfAKeyThatCouldNotBeHeldGoToTheLoader",
	},
	{
		"GetMany inside of a key that was invalidated there does not hit", "many.go",
		`c.usable(name) && !m.wrote(c, name) }`, `c.usable(name) }`,
		"TestReadsInsideOfAKeyThatCouldNotBeHeldGoToTheLoader",
	},
	{
		"a read inside fills nothing and shares nothing", "cache.go",
		`if m.inTx() {
		return c.loadHere`, `if false {
		return c.loadHere`,
		"TestReadsInsideATransactionNeitherFillNorShare",
	},
	{
		"GetMany inside fills nothing", "many.go",
		`if m.inTx() {
		missing`, `if false {
		missing`,
		"TestReadsInsideATransactionNeitherFillNorShare",
	},
	{
		"GetMany inside loads nothing if all is there", "many.go",
		`if c.batch != nil && len(keys) > 0 {`, `if c.batch != nil {`,
		"TestGetManyInsideThatFindsEverythingLoadsNothing",
	},
	{
		"a read inside starts no refresh", "cache.go",
		`c.due(e, now) && !m.inTx() {`, `c.due(e, now) {`,
		"TestReadsInsideGoToTheLoaderWithTheTransactionAndStartNoRefresh",
	},
	{
		"a hold is renewed while the transaction runs", "hold.go",
		`every(c.config.hold/12, func()`, `every(c.config.hold*3, func()`,
		"TestHoldLastsAsLongAsTheTransactionRuns",
	},
	{
		"no renewal comes after the release", "hold.go",
		`running <- struct{}{} // for good`, `_ = 0 // for good`,
		"TestRenewalThatIsDueWhenTheTransactionEndsLeavesNothingBehind",
	},
	{
		"a hold whose placing was not confirmed is ended too", "hold.go",
		`names := slices.Collect(maps.Keys(p.names))`, `names := placed(p.names)`,
		"TestHoldWhoseReplyWasLostEndsWithTheTransaction",
	},
	{
		"a hold whose end is not confirmed is owed", "hold.go",
		`c.retry(c.owed.fail(failed))
		c.config`, `c.owed.settle(failed, number)
		c.config`,
		"TestReleaseThatFailsAfterTheHoldWasDeletedIsOwed",
	},
	{
		"a key that could not be held is invalidated again when a COMMIT has landed if ever", "hold.go",
		`if len(failed) > 0 {
		c.afterHold`, `if false {
		c.afterHold`,
		"TestKeyThatCouldNotBeHeldIsInvalidatedAgainAfterWithHold",
	},
	{
		"a hold that is left to expire lasts for the lag besides", "hold.go",
		`failed := c.oweHolds(ctx, names, token, c.heldFor(c.owed), 0)`, `failed := c.oweHolds(ctx, names, token, c.config.hold, 0)`,
		"TestHoldThatIsLeftToExpireLastsForTheReplicaLagBesides",
	},
	{
		"nothing is cached for the lag after an invalidation", "invalidate.go",
		`invalidateStep(name, lag)`, `invalidateStep(name, 0*lag)`,
		"TestNothingIsFilledForTheReplicaLag",
	},
	{
		"nothing is cached for the lag after a release", "hold.go",
		`c.oweHolds(ctx, names, token, 0, c.owed.longestLag())`, `c.oweHolds(ctx, names, token, 0, 0)`,
		"TestNothingIsFilledForTheReplicaLag",
	},
	{
		"an InTx under the ctx of one that has ended is none inside it", "intx.go",
		`t != nil && !t.over() {`, `t != nil {`,
		"TestInTxUnderTheCtxOfOneThatHasEndedHolds",
	},
	{
		"reads under the ctx of an InTx that has ended are outside", "intx.go",
		`m.tx != nil && !m.tx.over()`, `m.tx != nil`,
		"TestReadsUnderTheCtxOfAnInTxThatHasEndedFill",
	},
	{
		"a renewal that has failed is tried again soon", "hold.go",
		`if start := time.Now(); c.renewAll(ctx, t) {`, `if start := time.Now(); c.renewAll(ctx, t) || true {`,
		"TestHoldOutlastsRenewalsThatFail",
	},
	{
		"holds are placed though Redis is out of memory", "scripts.go",
		`redis.call('DEL', KEYS[1])
		if tonumber(ARGV[2]) > 0 then add`, `if doc then redis.call('DEL', KEYS[1]) end
		if tonumber(ARGV[2]) > 0 then add`,
		"TestInvalidationsOfEachKindWorkWhenRedisIsOutOfMemory",
	},
	{
		"the lag that an unknown hold keeps from being noted is owed", "invalidate.go",
		`case err == nil && !r.ok && steps`, `case false && steps`,
		"TestLagThatAnUnknownHoldKeepsFromBeingNotedIsOwed",
	},
}
