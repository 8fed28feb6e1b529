package main

// ofTags are the rules by which what was filled from a row is found.
var ofTags = []mutant{
	{
		"a load tells of a record that was made since its mark", "internal/redisstore/scripts.go",
		`for i = 3, #records, 2 do`, `for i = 5, #records, 2 do`,
		"TestLoadUnderWayDoesNotFillAfterInvalidateTags",
	},
	{
		"a record may name several tags", "internal/redisstore/scripts.go",
		`tags[#tags + 1] = about`, `tags[#tags + 1] = about and about:match('[^ ]*')`,
		"TestSlowLoadDoesNotFillAfterInvalidateTags",
	},
	{
		"a load whose mark is gone does not fill", "internal/redisstore/scripts.go",
		`if not records[1] or tonumber(records[2]) ~= tonumber(ARGV[1]) or records[1]:match('[^ ]*') ~= ARGV[2] then
			return {0, ''}`,
		`if not records[1] then
			return {1, ''}`,
		"TestJournalThatWasLostRefusesTheLoadsUnderWay",
	},
	{
		"another record of the time of the mark is not the mark", "internal/redisstore/scripts.go",
		` or records[1]:match('[^ ]*') ~= ARGV[2] then`, ` then`,
		"TestJournalThatBeganAgainAtTheSameTimeRefusesTheLoadsUnderWay",
	},
	{
		"a record about all tags refuses every load under way", "internal/redisstore/scripts.go",
		`if about == '%all' then return {0, ''} end`, ``,
		"TestVeryManyOwedTagsAreEveryTag",
	},
	{
		"what was filled while a tag was held is not kept", "internal/redisstore/scripts.go",
		`mark[#mark + 1] = tag`, ``,
		"TestNothingWithATagIsCachedUntilTheTransactionThatInvalidatedItHasEnded",
	},
	{
		"a load that began while one of its tags was held does not fill", "internal/engine/snapshot.go",
		`!ok || held || w.hasOneOf(changed)`, `!ok || w.hasOneOf(changed)`,
		"TestNothingWithATagIsCachedUntilTheTransactionThatInvalidatedItHasEnded",
	},
	{
		"a held tag whose time is longer than it was given gets that long", "internal/redisstore/scripts.go",
		`if life and tonumber(held[i + 1]) > ms + life then`, `if false then`,
		"TestAHeldTagOfTheDeadDoesNotOutliveAClockThatIsSetBack/a_hold/miniredis",
	},
	{
		"what is held is written before what has expired is removed, since the slot may move", "internal/redisstore/scripts.go",
		`live(1000)
		for i = 6`, `redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', ms))
		for i = 6`,
		"TestASlotMayMoveAtAnyMoment/the_held_tags",
	},
	{
		"tags are held by one Cache of a transaction for itself", "internal/engine/holds.go",
		`holder += "/" + milliseconds(life)`, `holder = "tx/" + milliseconds(30*time.Second)`,
		"TestTheShorterHoldOfOneCacheDoesNotEndTheLongerOneOfAnother/a_tag",
	},
	{
		"the tags of a chunk count as placed at once", "internal/engine/holds.go",
		`hs.confirmTags(chunk, redisstore.Record{Nonce: op.Args[0].(string), Score: string(r.Doc)}, sent)`,
		`time.AfterFunc(3*time.Second, func() { hs.confirmTags(chunk, redisstore.Record{op.Args[0].(string), string(r.Doc)}, sent) })`,
		"TestHoldsAreRenewedWhileVeryManyMoreArePlaced/tags",
	},
	{
		"each transaction holds a tag for itself", "internal/redisstore/scripts.go",
		`redis.call('ZREM', KEYS[1], unpack(ended))`, `redis.call('DEL', KEYS[1])`,
		"TestHoldsOfTagsAreRenewedAndOneTransactionDoesNotEndThoseOfAnother",
	},
	{
		"a shorter lag does not shorten a longer one of a tag", "internal/redisstore/scripts.go",
		`hold('lag/' .. ARGV[6]`, `hold('lag/9999999'`,
		"TestShorterReplicaLagDoesNotShortenALongerOneOfATag",
	},
	{
		"a shorter lag does not shorten a longer one that a transaction has left", "internal/redisstore/scripts.go",
		`hold('lag/' .. ARGV[3]`, `hold('lag/9999999'`,
		"TestShorterReplicaLagOfATransactionDoesNotShortenALongerOneOfATag",
	},
	{
		"the journal lives as long as the holds of tags", "internal/redisstore/scripts.go",
		`if last[2] then live(last[2] - ms) end`, ``,
		"TestAHoldOfATagThatIsRenewedKeepsTheJournal",
	},
	{
		"a record does not shorten the holds of tags", "internal/redisstore/scripts.go",
		`math.max(redis.call('PTTL', KEYS[1]), tonumber(life))`, `tonumber(life)`,
		"TestARecordOfAProcessThatDiesNextDoesNotShortenTheHoldsOfTags",
	},
	{
		"an entry that is added again has another score", "internal/redisstore/scripts.go",
		`math.max(expiry, before + 1)`, `expiry - count % 1000`,
		"TestLateDuplicatesLoseNoEntryOfAnIndex",
	},
	{
		"an entry that has been added again stays in the index", "internal/redisstore/scripts.go",
		`if score and tonumber(score) == tonumber(ARGV[i + 1]) then`, `if score then`,
		"TestLateDuplicatesLoseNoEntryOfAnIndex",
	},
	{
		"an index lives as long as its longest entry", "internal/redisstore/scripts.go",
		`longest = math.max(longest, ARGV[i + 1] + 1000)`, `longest = ARGV[i + 1] + 1000`,
		"TestIndexLivesAsLongAsItsLongestEntry",
	},
	{
		"entries that have expired are taken out of the index", "internal/redisstore/scripts.go",
		`redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, string.format('%.0f', us))`, ``,
		"TestBooksOfTagsDoNotOutliveTheirEntries",
	},
	{
		"an entry is in the index before the journal is read", "internal/engine/snapshot.go",
		`	ok := m.ok && redisstore.FirstError(d.Store.Run(d.ctx, &d.budget, ops)) == nil
	var since redisstore.Reply
	if ok {
		since = d.Store.Run(d.ctx, &d.budget, []redisstore.Op{d.Store.SinceOp(m.last)})[0]
		ok = since.Err == nil && since.OK
	}`, `	since := d.Store.Run(d.ctx, &d.budget, []redisstore.Op{d.Store.SinceOp(m.last)})[0]
	ok := since.Err == nil && since.OK && redisstore.FirstError(d.Store.Run(d.ctx, &d.budget, ops)) == nil`,
		"TestLoadUnderWayDoesNotFillAfterInvalidateTags",
	},
	{
		"a load whose mark or index failed does not fill", "internal/engine/snapshot.go",
		`!ok || held || w.hasOneOf(changed)`, `held || w.hasOneOf(changed)`,
		"TestJournalThatWasLostRefusesTheLoadsUnderWay",
	},
	{
		"what is barred is not filled", "internal/engine/snapshot.go",
		`w.barred = w.barred || !ok || held || w.hasOneOf(changed)`,
		`w.barred = false && (ok || held || w.hasOneOf(changed))`,
		"TestSlowLoadDoesNotFillAfterInvalidateTags",
	},
	{
		"an entry is in the index of each of its tags", "internal/engine/snapshot.go",
		`for _, tag := range w.Tags {`, `for _, tag := range w.Tags[:1] {`,
		"TestEntryOfSeveralTagsIsFoundByEach",
	},
	{
		"an entry is in the index as long as it may be served stale", "internal/engine/snapshot.go",
		`durations.Saturated(d.window, w.Life, d.Config.Stale)`, `durations.Saturated(d.window, w.Life)`,
		"TestEntryIsInTheIndexAsLongAsItIsServed",
	},
	{
		"an entry is in the index as long as its fill may come late", "internal/engine/snapshot.go",
		`durations.Saturated(d.window, w.Life, d.Config.Stale)`, `durations.Saturated(w.Life, d.Config.Stale)`,
		"TestEntryWhoseFillCameLateIsInTheIndexAsLongAsItIsServed",
	},
	{
		"a barred load has one of those who wait load, not each", "internal/engine/fill.go",
		`return redisstore.ReleaseOp(w.Name, prefix, 0)`, `return redisstore.ReleaseOp(w.Name, prefix, redisstore.ReturnedLife)`,
		"TestWaitersLoadOnceAfterABarredLoad",
	},
	{
		"a barred refresh leaves what is there", "internal/engine/fill.go",
		`return redisstore.BackoffOp(w.Name, w.Source, shortestBackoff)`, `return redisstore.ReleaseOp(w.Name, prefix, 0)`,
		"TestBarredRefreshLeavesWhatIsThere",
	},
	{
		"an invalidation of tags is recorded before the indexes are read", "internal/engine/removal.go",
		`		grip.hold(ctx, subjects)
		grip.removeFound(ctx, subjects)
`, `		grip.removeTagged(ctx, groupOf(subjects).tags)
		grip.hold(ctx, subjects)
`,
		"TestLoadThatEndsDuringInvalidateTagsDoesNotFill",
	},
	{
		"an entry is taken out of the index only after it is invalidated", "internal/engine/tags.go",
		`		if err := kept.add(err); err != nil {
			return err
		}
	}
	var ops`, `		_ = kept.add(err)
	}
	var ops`,
		"TestFailedInvalidateTagsIsOwedByTheWholeProcess",
	},
	{
		"an index is read to its end", "internal/redisstore/books.go",
		`if int64(len(at.Page)) < at.count {`, `if true {`,
		"TestInvalidateTagsOfManyEntries/redis",
	},
	{
		"nothing with a tag is filled for the lag", "internal/engine/holds.go",
		`hs.holder, hs.life, lag, chunk...)`, `hs.holder, hs.life, 0*lag, chunk...)`,
		"TestNothingWithATagIsFilledWhileReplicasLag",
	},
	{
		"tags that could not be invalidated are pending", "internal/engine/tags.go",
		`return only(tags, func(subject) bool { return err != nil }), err`, `return nil, err`,
		"TestFailedInvalidateTagsIsOwedByTheWholeProcess",
	},
	{
		"as long as tags are pending, no entry that may have them is read", "internal/engine/retry.go",
		`return true // nobody knows which entries have the tags`, `return false`,
		"TestFailedInvalidateTagsIsOwedByTheWholeProcess",
	},
	{
		"the end of a hold of a tag tells that it was gone", "internal/engine/holds.go",
		`				if wasGone := r.At == 2; wasGone {
					hs.lost()
				}
`, `				_ = r
`,
		"TestReleaseInvalidatesWhatWasFilledWhileAHoldOfATagWasGone",
	},
	{
		"no lease is asked for while the journal is down, without which nothing is filled", "internal/engine/read.go",
		`(!c.Tagged || c.Store.Breaker.Up(c.Store.Books.Journal, redisstore.Writes))`, `true`,
		"TestReadOfATaggedValueAsksForNoLeaseWhileTheJournalIsDown",
	},
	{
		"a tag's hold that is placed anew removes what was filled meanwhile", "internal/engine/holds.go",
		`				lost(chunk)
`, ``,
		"TestHoldOfATagThatIsPlacedAnewRemovesWhatWasFilledMeanwhile",
	},
	{
		"the empty tag is not lost among others", "internal/keys/tag.go",
		`tag == "" {`, `false {`,
		"TestATagThatMayBeAnyStringVoidsLoadsUnderWay",
	},
	{
		"nothing but a space separates tags", "internal/engine/snapshot.go",
		`strings.Split(string(since.Doc), " ")`, `strings.Fields(string(since.Doc))`,
		"TestATagThatMayBeAnyStringVoidsLoadsUnderWay",
	},
	{
		"the longest lag of a client's caches is kept", "internal/engine/removal.go",
		`g.placeTasks(hs, part.names, part.of.longestLag())`, `g.placeTasks(hs, part.names, g.Config.Lag)`,
		"TestInvalidateTagsKeepsTheLagOfTheCachesThatHaveOne",
	},
	{
		"a scope is part of the name of an index", "internal/redisstore/books.go",
		`"aside-tag-" + scope + "="`, `"aside-tag="`,
		"TestInvalidateTagsReachesItsOwnScopeAndNoOther",
	},
	{
		"a scope is part of the name of the journal", "internal/redisstore/books.go",
		`Books{"aside-tags-" + scope,`, `Books{"aside-tags",`,
		"TestHoldOfATagIsOfItsScope",
	},
	{
		"a scope ends where the tag begins", "internal/keys/tag.go",
		`strings.ReplaceAll(string(shortened(appendEscaped(nil, scope, false), 0)), "=", "%3D")`,
		`strings.ReplaceAll(string(shortened(appendEscaped(nil, scope, false), 0)), "=", "=")`,
		"TestInvalidateTagsReachesItsOwnScopeAndNoOther",
	},
	{
		"caches of one name have one scope", "internal/engine/ledger.go",
		`case a.caches > 0 && a.scope != scope:`, `case a.caches < 0:`,
		"TestCachesOfOneNameWithDifferentScopesAreRefused",
	},
	{
		"caches of one name store the same", "internal/engine/ledger.go",
		`(a.stored.codec != as.codec || a.stored.version != as.version)`, `a.stored.codec != as.codec && a.stored.version != as.version`,
		"TestTwoCachesOfOneNameStoreTheSame",
	},
	{
		"a cache that is closed has no say in the scope", "internal/engine/open.go",
		`		c.entries.leave()
`, ``,
		"TestCachesOfOneNameWithDifferentScopesAreRefused",
	},
	{
		"braces are escaped", "internal/keys/key.go",
		`&& c != '{' && c != '}'`, ``,
		"internal/keys: TestAKeyIsRenderedReadably",
	},
	{
		"a key that an ACL protects fails no other one", "internal/redisstore/send.go",
		`if isCrossSlot(r.Err) || IsForbidden(r.Err) {`, `if isCrossSlot(r.Err) {`,
		"TestEntriesThatMayNotBeTouchedKeepNobodyElseFromTheCache",
	},
	{
		"entries that may not be touched keep nobody else from the cache", "internal/engine/tags.go",
		`		if redisstore.IsForbidden(err) {`, `		if false {`,
		"TestEntriesThatMayNotBeTouchedKeepNobodyElseFromTheCache",
	},
	{
		"an application's own entries that may not be touched are pending", "internal/engine/tags.go",
		`		c.retry(c.ledger.failed(c.ledger.entriesNamed(kept.names), true))
`, ``,
		"TestOwnEntriesThatMayNotBeTouchedAreOwed",
	},
	{
		"a value has no more tags than the bound", "internal/engine/values.go",
		`if len(l.Tags) > mostTags {`, `if false {`,
		"TestValueWithTooManyTagsIsReturnedAndNotStored",
	},
	{
		"the indexes of many tags are read together", "internal/engine/tags.go",
		`range slices.Chunk(indexes, redisstore.ChunkSize) {`, `range slices.Chunk(indexes, 1) {`,
		"TestManyTagsAreInvalidatedTogether/redis",
	},
	{
		"a lease is given back when time is up", "internal/engine/fill.go",
		`		d.background.Start(func() { store.RunAlone(ctx, ops...) })
`, ``,
		"TestLeaseIsGivenBackWhenTimeIsUp",
	},
	{
		"an index is kept as warm as its entries", "internal/engine/read.go",
		`	c.keepWarm(r.Name, e)
`, ``,
		"TestIndexIsNotEvictedBeforeTheEntriesThatAreHit/allkeys-lru",
	},
	{
		"an entry that its index has lost is removed", "internal/engine/warm.go",
		`	for chunk := range slices.Chunk(ops, redisstore.ChunkSize) {
		for i, r`, `	for chunk := range slices.Chunk(ops[:0], redisstore.ChunkSize) {
		for i, r`,
		"TestEntryThatItsIndexHasLostIsServedForAMinuteAtMost",
	},
	{
		"an entry that was replaced since it was hit is no lost one", "internal/engine/warm.go",
		`redisstore.ReleaseOp(name, hits[name].prefix, 0)`, `redisstore.ReleaseOp(name, document.IDPrefix, 0)`,
		"TestEntryThatWasReplacedSinceItWasHitIsNoLostOne",
	},
	{
		"a hold of a tag that was gone has all held again", "internal/engine/removal.go",
		`if !grip.release(ctx) || grip.err != nil {`, `if grip.release(ctx); true {`,
		"TestAHoldOfTagsThatWasGoneHasAllHeldAgain/it_is_gone_at_the_end",
	},
	{
		"the first record of tags is looked for when they are released", "internal/engine/holds.go",
		`lag, hs.record, chunk...)`, `lag, redisstore.Record{}, chunk...)`,
		"TestAHoldOfTagsThatWasGoneHasAllHeldAgain/another_copy_of_the_command_has_placed_it_again",
	},
	{
		"another record of the same nonce is not the first one", "internal/redisstore/scripts.go",
		`if not record[1] or record[1]:match('[^ ]*') ~= ARGV[4] then done = 2 end`,
		`if redis.call('ZCOUNT', KEYS[1], '1e14', '+inf') == 0 then done = 2 end`,
		"TestAHoldOfTagsThatWasGoneHasAllHeldAgain/another_copy_of_the_command_has_placed_it_again",
	},
}
