package main

// ofTags are the rules by which what was filled from a row is found.
var ofTags = []mutant{
	{
		"a load tells of a record that was made since its mark", "scripts.go",
		`for i = 2, #records do`, `for i = 3, #records do`,
		"TestLoadUnderWayDoesNotFillAfterInvalidateTags",
	},
	{
		"a record may name several tags", "scripts.go",
		`for j = 3, #fields, 2 do`, `for j = 3, math.min(3, #fields), 2 do`,
		"TestSlowLoadDoesNotFillAfterInvalidateTags",
	},
	{
		"a load whose mark is gone does not fill", "scripts.go",
		`if not records[1] or records[1][1] ~= ARGV[1] or records[1][2][2] ~= ARGV[2] then return {0, ''} end`,
		`if not records[1] then return {1, ''} end`,
		"TestJournalThatWasLostRefusesTheLoadsUnderWay",
	},
	{
		"another record with the id of the mark is not the mark", "scripts.go",
		`or records[1][2][2] ~= ARGV[2] then`, `then`,
		"TestJournalThatBeganAnewUnderTheSameIDRefusesTheLoadsUnderWay",
	},
	{
		"a record about all tags refuses every load under way", "scripts.go",
		`if fields[j] == 'all' then return {0, ''} end`, ``,
		"TestVeryManyOwedTagsAreEveryTag",
	},
	{
		"what was filled while a tag was held is not kept", "scripts.go",
		`mark[#mark + 1] = member:match(' (.*)')`, ``,
		"TestNothingWithATagIsCachedUntilTheTransactionThatInvalidatedItHasEnded",
	},
	{
		"a load that began while one of its tags was held does not fill", "mark.go",
		`append(strings.Split(string(since.doc), " "), f.mark.held...)`, `strings.Split(string(since.doc), " ")`,
		"TestNothingWithATagIsCachedUntilTheTransactionThatInvalidatedItHasEnded",
	},
	{
		"each transaction holds a tag for itself", "scripts.go",
		`redis.call('ZREM', KEYS[1], ARGV[1] .. ' ' .. ARGV[i])`, `redis.call('DEL', KEYS[1])`,
		"TestHoldsOfTagsAreRenewedAndOneTransactionDoesNotEndThoseOfAnother",
	},
	{
		"a shorter lag does not shorten a longer one of a tag", "scripts.go",
		`token == 'lag' and tonumber(redis.call('ZSCORE', KEYS[1], member)) or 0)`, `0)`,
		"TestShorterReplicaLagDoesNotShortenALongerOneOfATag",
	},
	{
		"the holds of tags expire with the last", "scripts.go",
		`if last[2] then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', last[2] - ms)) end`, ``,
		"TestBooksOfTagsDoNotOutliveTheirEntries",
	},
	{
		"an entry that is added again has another score", "scripts.go",
		`math.max(expiry, before + 1)`, `expiry - count % 1000`,
		"TestLateDuplicatesLoseNoEntryOfAnIndex",
	},
	{
		"an entry that has been added again stays in the index", "scripts.go",
		`if score and tonumber(score) == tonumber(ARGV[i + 1]) then`, `if score then`,
		"TestLateDuplicatesLoseNoEntryOfAnIndex",
	},
	{
		"an index lives as long as its longest entry", "scripts.go",
		`longest = math.max(longest, ARGV[i + 1] + 1000)`, `longest = ARGV[i + 1] + 1000`,
		"TestIndexLivesAsLongAsItsLongestEntry",
	},
	{
		"entries that have expired are taken out of the index", "scripts.go",
		`redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, string.format('%.0f', us))`, ``,
		"TestBooksOfTagsDoNotOutliveTheirEntries",
	},
	{
		"an entry is in the index before the journal is read", "mark.go",
		`	ok := f.mark.ok && firstError(f.store.run(f.ctx, &f.budget, steps)) == nil
	var since reply
	if ok {
		since = f.store.run(f.ctx, &f.budget, []step{sinceStep(f.mark)})[0]
		ok = since.err == nil && since.ok
	}`, `	since := f.store.run(f.ctx, &f.budget, []step{sinceStep(f.mark)})[0]
	ok := since.err == nil && since.ok && firstError(f.store.run(f.ctx, &f.budget, steps)) == nil`,
		"TestLoadUnderWayDoesNotFillAfterInvalidateTags",
	},
	{
		"a load whose mark or index failed does not fill", "mark.go",
		`w.barred = !ok || slices`, `w.barred = slices`,
		"TestJournalThatWasLostRefusesTheLoadsUnderWay",
	},
	{
		"what is barred is not filled", "mark.go",
		`w.barred = !ok || slices`, `w.barred = false && slices`,
		"TestSlowLoadDoesNotFillAfterInvalidateTags",
	},
	{
		"an entry is in the index of each of its tags", "mark.go",
		`for _, tag := range w.tags {`, `for _, tag := range w.tags[:1] {`,
		"TestEntryOfSeveralTagsIsFoundByEach",
	},
	{
		"an entry is in the index as long as it may be served stale", "mark.go",
		`saturated(f.window, w.life, f.config.stale)`, `saturated(f.window, w.life)`,
		"TestEntryIsInTheIndexAsLongAsItIsServed",
	},
	{
		"an entry is in the index as long as its fill may come late", "mark.go",
		`saturated(f.window, w.life, f.config.stale)`, `saturated(w.life, f.config.stale)`,
		"TestEntryWhoseFillCameLateIsInTheIndexAsLongAsItIsServed",
	},
	{
		"a barred load has one of those who wait load, not each", "fetch.go",
		`return releaseStep(w.name, prefix, 0)`, `return releaseStep(w.name, prefix, returnedLife)`,
		"TestWaitersLoadOnceAfterABarredLoad",
	},
	{
		"a barred refresh leaves what is there", "fetch.go",
		`	case w.barred:
		return backoffStep(w.name, w.source, shortestBackoff)`, `	case w.barred:
		return releaseStep(w.name, prefix, 0)`,
		"TestBarredRefreshLeavesWhatIsThere",
	},
	{
		"an invalidation of tags is recorded before the indexes are read", "tags.go",
		`	if err := firstError(c.store.runAlone(ctx, c.store.recordSteps(tags)...)); err != nil {
		return err
	}
	for _, tag := range tags {`, `	defer c.store.runAlone(ctx, c.store.recordSteps(tags)...)
	for _, tag := range tags {`,
		"TestLoadThatEndsDuringInvalidateTagsDoesNotFill",
	},
	{
		"an entry is taken out of the index only after it is invalidated", "tags.go",
		`	if _, err := c.remove(ctx, names, 0); err != nil {
		return err
	}
	c.n.invalidations.Add(uint64(len(names)))
	c.store.runAlone(ctx, unindexStep(index, entries)) // if this fails, they expire
	return nil`, `	c.store.runAlone(ctx, unindexStep(index, entries))
	if _, err := c.remove(ctx, names, 0); err != nil {
		return err
	}
	c.n.invalidations.Add(uint64(len(names)))
	return nil`,
		"TestFailedInvalidateTagsIsOwedByTheWholeProcess",
	},
	{
		"an index is read to its end", "tags.go",
		`if len(page) < count {`, `if true {`,
		"TestInvalidateTagsOfManyEntries/redis",
	},
	{
		"nothing with a tag is filled for the lag", "tags.go",
		`lag > 0 {`, `lag > 0 && false {`,
		"TestNothingWithATagIsFilledWhileReplicasLag",
	},
	{
		"tags that could not be invalidated are owed", "tags.go",
		`	c.oweTags(tags)
`, ``,
		"TestFailedInvalidateTagsIsOwedByTheWholeProcess",
	},
	{
		"as long as tags are owed, no entry that may have them is read", "cache.go",
		`&& !c.owesTags()
`, `
`,
		"TestFailedInvalidateTagsIsOwedByTheWholeProcess",
	},
	{
		"the end of a hold of a tag invalidates once more", "hold.go",
		`	if err := c.removeTags(ctx, tags); err != nil {
		c.oweTagsOfTx(tags, err)
		return
	}
	_ =`, `	_ =`,
		"TestReleaseInvalidatesWhatWasFilledWhileAHoldOfATagWasGone",
	},
	{
		"no lease is asked for while the journal is down, without which nothing is filled", "fetch.go",
		`|| f.tagsFunc != nil && !f.store.breaker.up(journalName)`, ``,
		"TestReadOfATaggedValueAsksForNoLeaseWhileTheJournalIsDown",
	},
	{
		"a tag's hold that is placed anew removes what was filled meanwhile", "hold.go",
		`return r.at == 2`, `return false`,
		"TestHoldOfATagThatIsPlacedAnewRemovesWhatWasFilledMeanwhile",
	},
	{
		"tags are renewed while what has them is removed", "intx.go",
		`c.keepHolds(ctx, t, p) // from here on`, `_ = 0 // from here on`,
		"TestInvalidateTagsThatTakesLongHolds",
	},
	{
		"the empty tag is not lost among others", "tags.go",
		`tag == "" {`, `false {`,
		"TestATagThatMayBeAnyStringVoidsLoadsUnderWay",
	},
	{
		"nothing but a space separates tags", "mark.go",
		`strings.Split(string(since.doc), " ")`, `strings.Fields(string(since.doc))`,
		"TestATagThatMayBeAnyStringVoidsLoadsUnderWay",
	},
	{
		"the longest lag of a client's caches is kept", "tags.go",
		`lag := c.owedTags.longestLag(); lag > 0`, `lag := c.config.lag; lag > 0`,
		"TestInvalidateTagsKeepsTheLagOfTheCachesThatHaveOne",
	},
}
