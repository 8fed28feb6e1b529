package main

// ofInvalidations are the rules of Invalidate, InvalidateAll, and what is owed.
var ofInvalidations = []mutant{
	{
		"an invalidation voids a lease, not only a value", "scripts.go",
		`if redis.call('GETRANGE', KEYS[1], 0, 7) == '{"hold":' then return 0 end`,
		`if redis.call('GETRANGE', KEYS[1], 0, 7) == '{"hold":' or redis.call('GETRANGE', KEYS[1], 0, 8) == '{"lease":' then return 0 end`,
		"TestSlowLoadDoesNotFillAfterInvalidate",
	},
	{
		"an invalidation is owed from before it is sent", "invalidate.go",
		`	number := c.owed.incur(names) // before anything is sent: see owed
	failed, err := c.remove(ctx, names, number)`, `	failed, err := c.remove(ctx, names, 0)
	if len(failed) > 0 {
		c.owed.incur(failed)
	}`,
		"TestReadDuringAnInvalidateIsNotServedFromTheCache",
	},
	{
		"an invalidation does not end with its caller's ctx", "invalidate.go",
		`c.holdOrRemove(context.WithoutCancel(ctx), names)`, `c.holdOrRemove(ctx, names)`,
		"TestAnInvalidateThatHangsFailsAfterTheRedisTimeout",
	},
	{
		"an invalidation that failed is an error", "invalidate.go",
		`return fmt.Errorf("aside: %d of`, `return nil; return fmt.Errorf("aside: %d of`,
		"TestInvalidateIsTriedThoughRedisIsDown",
	},
	{
		"an invalidation that failed is tried again", "invalidate.go",
		`c.retry(c.owed.fail(failed))`, `c.owed.fail(failed)`,
		"TestFailedInvalidationIsOwedUntilRedisConfirmsIt",
	},
	{
		"a key that is owed is not read from the cache", "cache.go",
		`&& !c.owes(name) &&`, `&&`,
		"TestFailedInvalidationIsOwedUntilRedisConfirmsIt",
	},
	{
		"a fetch finds out that a key is owed", "fetch.go",
		`f.budget.spent() || !f.usable(w.name) ||`, `f.budget.spent() || !f.store.breaker.up(w.name) ||`,
		"TestKeyThatComesToBeOwedWhileGetManyLooksIsNotReadFromTheCache",
	},
	{
		"an attempt settles nothing that is owed since", "owed.go",
		`if o.names[name].number <= number {`, `if true {`,
		"TestOlderAttemptDoesNotSettleANewerInvalidate",
	},
	{
		"an InvalidateAll settles no key that is owed since", "owed.go",
		`each && d.number <= number {`, `each && d.number >= 0 {`,
		"TestInvalidateAllSettlesWhatWasOwedBeforeItAndNothingNewer",
	},
	{
		"an InvalidateAll settles no newer one", "owed.go",
		`if o.every.number <= number {`, `if true {`,
		"TestOlderInvalidateAllDoesNotSettleANewerOne",
	},
	{
		"while all keys are owed, none is read from the cache", "owed.go",
		`return ok || o.every.number != 0`, `return ok`,
		"TestInvalidateAllThatFailedIsFinishedInTheBackgroundAndAllReadsLoadUntilThen",
	},
	{
		"more failures than are remembered owe all keys", "owed.go",
		`		o.every = debt{number: o.last, failed: true}
`, ``,
		"TestMoreFailedInvalidationsThanAreRememberedBypassTheCache",
	},
	{
		"an invalidation is never given up", "owed.go",
		`if !once(c.background.closing) {`, `if !once(c.background.closing) || pause >= lastRetry {`,
		"TestFailedInvalidationIsNeverGivenUp",
	},
	{
		"Close sends what is owed once more", "owed.go",
		`	c.payOnce(ctx)
	c.payTagsOnce(ctx)`, `	c.payTagsOnce(ctx)`,
		"TestCloseSendsWhatIsOwedOnceMore",
	},
	{
		"InvalidateAll spares the caches whose names look alike", "all.go",
		`return ok && !strings.Contains(key, ":")`, `return ok && key != ":"`,
		"TestInvalidateAllSparesCachesWhoseNamesLookAlike",
	},
	{
		"InvalidateAll inside a transaction acts after it", "all.go",
		`t.with(c, func(p *part) { p.all = true }) {`, `t.with(c, func(p *part) {}) {`,
		"TestInvalidateAllInsideATransactionActsAfterIt",
	},
	{
		"InvalidateAll of an unknown outcome is done again after WithHold", "hold.go",
		`if !committed {`, `if false {`,
		"TestInvalidateAllOfATransactionWhoseOutcomeIsUnknownIsDoneAgainAfterWithHold",
	},
	{
		"InvalidateAll does not settle a key that is owed the lag", "owed.go",
		`c.owed.settleAll(number, c.owed.longestLag() == 0)`, `c.owed.settleAll(number, true)`,
		"TestInvalidateAllDoesNotSettleAKeyThatIsOwedTheLag",
	},
	{
		"the caches of one name and client share what is owed", "cache.go",
		`owedOf(rdb, c.prefix),`, `newOwed(rdb),`,
		"TestFailedInvalidateIsOwedByAllCachesOfTheName",
	},
	{
		"what a closed Cache owes is tried by the next one", "owed.go",
		`	c.retry(c.owed.resume())
`, ``,
		"TestOtherCachesOfTheNameGoOnWithWhatAClosedOneOwes",
	},
	{
		"an invalidation notes the lag of the other caches of its name", "invalidate.go",
		`lag := c.owed.longestLag()`, `lag := c.config.lag`,
		"TestTheLongestReplicaLagOfTheCachesOfANameCounts",
	},
	{
		"a hold lasts longer by the lag of the other caches of its name", "hold.go",
		`saturated(c.config.hold, o.longestLag())`, `saturated(c.config.hold, c.config.lag)`,
		"TestAHoldLastsLongerByTheLagOfTheOthers",
	},
	{
		"very many keys have more time", "spread.go",
		`range slices.Chunk(part, chunkSize) {`, `range slices.Chunk(part, max(1, len(part))) {`,
		"TestVeryManyKeysAtATimeAreInvalidated",
	},
	{
		"very many keys wait once for a Redis that hangs", "spread.go",
		`if len(send(chunk)) == len(chunk) {`, `if len(send(chunk)) < 0 {`,
		"TestVeryManyKeysAtATimeWaitOnceForARedisThatHangs",
	},
	{
		"very many keys wait once for a primary that hangs", "spread.go",
		`parts, _ = split(s.breaker, names, itself)`, `_ = itself`,
		"TestVeryManyKeysAtATimeAreSentOnceToAPrimaryThatIsNotThere",
	},
	{
		"a key that is given twice is invalidated once", "invalidate.go",
		`if err == nil && !seen[name] {`, `if err == nil {`,
		"TestKeyThatIsGivenTwiceIsInvalidatedOnce",
	},
	{
		"one at a time pays", "owed.go",
		`if !c.owed.paying.TryLock() {`, `if c.owed.paying.TryLock() && false {`,
		"TestProbesDoNotEachBeginToPay",
	},
	{
		"what can never be paid is given up", "owed.go",
		`			err = nil
`, `			_ = 0
`,
		"TestInvalidateAllThatCanNeverSucceedIsNotOwedForEver",
	},
	{
		"very many debts stay what they are where nodes cannot be walked over", "owed.go",
		`return math.MaxInt`, `return 10_000`,
		"TestVeryManyFailedInvalidationsArePaidThroughAnAutoPipelinerOverACluster",
	},
	{
		"whoever meets CROSSSLOT sends each key by itself", "send.go",
		`if again == nil {`, `if again == nil || s.scattered.Load() {`,
		"TestTwoAtOnceFindThatKeysMustShareASlot",
	},
}
