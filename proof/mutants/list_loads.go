package main

// ofLoads are the rules of a load from its lease to its fill, and of a refresh.
var ofLoads = []mutant{
	{
		"a load without a lease fills nothing", "fetch.go",
		`} else {
			f.settle(w, r)
		}
	}
}`, `} else if e := parse(r.doc); e.state == leased {
			w.source, w.since = &e, e.leasedAt()
		} else {
			f.settle(w, r)
		}
	}
}`,
		"TestStampedeAcrossProcessesIsOneLoad",
	},
	{
		"under a hold a read loads at once and does not wait", "fetch.go",
		`	case leased:
		f.wait(w)
	case held, returned:`, `	case leased, held:
		f.wait(w)
	case returned:`,
		"TestNothingIsCachedUnderAHold",
	},
	{
		"who waited for a lease that came back without a value loads at once", "fetch.go",
		`case none:
		w.waiting = false // the holder died, or the entry was invalidated: ask for the lease
	case leased:
		f.wait(w)
	case held, returned:`, `case none, returned:
		w.waiting = false
	case leased:
		f.wait(w)
	case held:`,
		"TestWaitersLoadAtOnceWhenTheLoadTheyWaitedForFailed",
	},
	{
		"the wait for another process is bounded", "fetch.go",
		`if time.Since(f.waited) > f.config.loadTimeout || !`, `if !`,
		"TestWaitForAForeignLeaseIsBounded",
	},
	{
		"who waits does not wait for a Redis that is down", "fetch.go",
		`> f.config.loadTimeout || !f.store.breaker.up(w.name) {`, `> f.config.loadTimeout {`,
		"TestAWaiterForALeaseDoesNotAskARedisThatIsDown",
	},
	{
		"a load that has ended gives its place back, though others go on beside it", "fetch.go",
		`n := left.Add(-1); 0 < n && n < int64(places) {`, `n := left.Add(-1); n < 0 {`,
		"TestGetManyKeepsNoPlaceThatItHasNoLoadFor",
	},
	{
		"that a GetMany waits for a place says nothing of a flight", "fetch.go",
		`if f.many {
		flight`, `if false {
		flight`,
		"TestCallerWhoLeavesItsLoadIsNotOverloadedByAGetManyOfItsKey",
	},
	{
		"a panic goes on in the caller of GetMany whatever else fails", "many.go",
		`errors.As(second, &p) && !errors.As(first, &p) {`, `errors.As(second, &p) && false {`,
		"TestPanicOfOneKeyReachesTheCallerOfGetManyWhateverElseFails",
	},
	{
		"how late a fill may come counts from the lease, by the clock of the server", "fetch.go",
		`latest := w.since + f.window.Milliseconds()`, `latest := time.Now().UnixMilli() + f.window.Milliseconds()`,
		"TestHowLateAFillMayComeIsMeasuredByTheClockOfTheServer",
	},
	{
		"a value of no life is not stored", "fetch.go",
		`w.err == nil && w.data != nil && w.life > 0 }`, `w.err == nil && w.data != nil }`,
		"TestNegativeTTLAndNoAbsentTTLStoreNothing",
	},
	{
		"a value that cannot be encoded is not stored", "fetch.go",
		`w.err == nil && w.data != nil && w.life > 0 }`, `w.err == nil && w.life > 0 }`,
		"TestValueThatCannotBeEncodedReachesItsOwnerAndIsNotStored",
	},
	{
		"a failed load stores nothing", "load.go",
		`if err = c.judge(v, err); err != nil {
		return loaded[V]{err`, `if err = c.judge(v, err); isAbsence(err) {
		return loaded[V]{err`,
		"TestLeaseIsGivenBackWhenThereIsNothingToStore",
	},
	{
		"an absence is stored only if it is to be", "fetch.go",
		`case w.absent() && f.config.absentTTL > 0:`, `case w.absent():`,
		"TestNegativeTTLAndNoAbsentTTLStoreNothing",
	},
	{
		"a refresh that fails leaves the value that is there", "fetch.go",
		`case w.source.state != leased && w.err != nil && !w.absent():`, `case false:`,
		"TestStaleValueIsServedWhileRefreshesFailAndTheyBackOff",
	},
	{
		"the lease of a load without a value is given back", "fetch.go",
		`		return releaseStep(w.name, prefix, returnedLife)
	}`, `		return f.store.renewStep(w.name, prefix)
	}`,
		"TestLeaseIsGivenBackWhenThereIsNothingToStore",
	},
	{
		"the lease of a fill that failed is given back", "fetch.go",
		`if r.err != nil && w.source.state == leased {`, `if false {`,
		"TestAFillThatFailsGivesTheLeaseBack",
	},
	{
		"a load has a place", "fetch.go",
		`acquire(f.queue, flight, f.queued); err != nil {`, `acquire(f.queue, flight, f.queued); err != nil && false {`,
		"TestReadsThatGetNoPlaceAreOverloaded",
	},
	{
		"a value is kept past its TTL as long as it may be served stale", "fetch.go",
		`saturated(life, f.config.stale), latest)`, `life, latest)`,
		"TestStaleValueIsServedAtOnceWhileOneProcessRefreshes",
	},
	{
		"who does not get the claim does not refresh", "refresh.go",
		`		if r.ok {
			wants[i].since`, `		if r.err == nil {
			wants[i].since`,
		"TestProcessWhoseClaimComesSecondDoesNotRefresh",
	},
	{
		"what is claimed is not asked for again", "refresh.go",
		`if !e.ours || e.claim > ms {`, `if !e.ours {`,
		"TestARefreshCostsItsReaderOneGet",
	},
	{
		"one read of a process asks for the claim", "refresh.go",
		`return !already`, `return !already || true`,
		"TestConcurrentStaleReadsAskForTheClaimOnce",
	},
	{
		"refreshes that fail back off", "refresh.go",
		`min(max(2*last, shortestBackoff), longestBackoff)`, `max(0*last, shortestBackoff)`,
		"TestStaleValueIsServedWhileRefreshesFailAndTheyBackOff",
	},
	{
		"what a codec may keep of a document is no other caller's", "cache.go",
		`return bytes.Clone(data)`, `return data`,
		"TestEveryCallerMayModifyAValueThatIsWhatItsCodecWasGiven",
	},
	{
		"GetMany takes no unusable document for a value", "many.go",
		`if err == errUnusable {
			unusable`, `if err == errUnusable && h.entry.state != present {
			unusable`,
		"TestUnreadableDocumentIsAMissThatRepairsItself",
	},
	{
		"GetMany loads what is of another version with what is missing", "many.go",
		`if c.answers(&e) {`, `if c.answers(&e) || e.state == present {`,
		"TestGetManyLoadsWhatIsMissingAndWhatIsOfAnotherVersionInOneBatch",
	},
	{
		"GetMany decodes while it loads", "many.go",
		`if (beside || ctx.Done() != nil) && c`, `if !beside && ctx.Done() != nil && c`,
		"TestGetManyDecodesItsHitsWhileItLoadsTheRest",
	},
	{
		"the second fetch of a GetMany has what the first left of its budget", "many.go",
		`*b, err = f.budget, o.err`, `err = o.err`,
		"TestGetManyThatFindsAnUndecodableValueSpendsOneRedisTimeoutInAll",
	},
	{
		"a key that is given twice is looked for once", "many.go",
		`if _, again := seen[key]; again {`, `if false {`,
		"TestGetManyLoadsWhatIsMissingInOneBatch",
	},
}
