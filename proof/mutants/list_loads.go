package main

// ofLoads are the rules of a load from its lease to its fill, and of a refresh.
var ofLoads = []mutant{
	{
		"a load without a lease fills nothing", "internal/engine/fetch.go",
		`		default:
			f.settle(w, r)
		}`, `		default:
			if e := document.Parse(r.Doc); e.State == document.Leased {
				w.Source, w.since = &e, e.LeasedAt()
				continue
			}
			f.settle(w, r)
		}`,
		"TestStampedeAcrossProcessesIsOneLoad",
	},
	{
		"under a hold a read loads at once and does not wait", "internal/engine/fetch.go",
		`	case document.Leased:
		f.wait(w)
	case document.Held, document.Returned:`, `	case document.Leased, document.Held:
		f.wait(w)
	case document.Returned:`,
		"TestNothingIsCachedUnderAHold",
	},
	{
		"who waited for a lease that came back without a value loads at once", "internal/engine/fetch.go",
		`case document.None:
		// The holder died, or the entry was invalidated: ask for the lease.
	case document.Leased:
		f.wait(w)
	case document.Held, document.Returned:`, `case document.None, document.Returned:
	case document.Leased:
		f.wait(w)
	case document.Held:`,
		"TestWaitersLoadAtOnceWhenTheLoadTheyWaitedForFailed",
	},
	{
		"the wait for another process is bounded", "internal/engine/fetch.go",
		`p.tired = time.After(p.limit)`, `p.tired = nil`,
		"TestWaitForAForeignLeaseIsBounded",
	},
	{
		"who waits does not wait for a Redis that is down", "internal/engine/poll.go",
		`readSome(names, p.up, func`, `readSome(names, func(string) bool { return true }, func`,
		"TestAWaiterForALeaseDoesNotAskARedisThatIsDown",
	},
	{
		"a load that has ended gives its place back, though others go on beside it", "internal/engine/fetch.go",
		`		for range places {`, `		for range 0 {`,
		"TestGetManyKeepsNoPlaceThatItHasNoLoadFor",
	},
	{
		"GetMany takes a place as soon as it is free", "internal/engine/fetch.go",
		`	if f.needsPlace() {
		place = f.places`, `	if f.loads == 0 && f.needsPlace() {
		place = f.places`,
		"TestAGetManyTakesAPlaceAsSoonAsItIsFreeThoughItsOnlyLoadHangs",
	},
	{
		"what is loaded is filled though others are being loaded", "internal/engine/fetch.go",
		`if len(f.seated)+len(f.ended) > 0 ||`, `if f.loads == 0 && len(f.seated)+len(f.ended) > 0 ||`,
		"TestOneRowThatHangsKeepsNobodyElsesRowFromAnybody",
	},
	{
		"the commands of a GetMany are counted together, as far as they keep it from loading", "internal/engine/fetch.go",
		`f.budget.Left = left - (left-f.budget.Left)*time.Duration(still)/time.Duration(f.slots)`, `f.budget.Left = left + 0*time.Duration(still)`,
		"TestAGetManyThatSendsManyCommandsSpendsOneRedisTimeoutInAll",
	},
	{
		"what has no place when the Cache is closed does not wait for one", "internal/engine/fetch.go",
		`	f.closing = f.background.Closing.Done()
`, ``,
		"TestAFlightOrAGetManyThatWaitsForAPlaceWhenTheCacheIsClosedLoadsOnItsCallersGoroutine",
	},
	{
		"nothing is polled for callers who have left", "internal/engine/fetch.go",
		`leaving: ctx.Done(),`, ``,
		"TestWhatManyWaitForIsPolledOnceForAllOfThem",
	},
	{
		"who comes while a poll is under way is told by the next", "internal/engine/poll.go",
		`		p.drop(name, n, told[i]...)
`, `		told[i] = slices.Collect(maps.Keys(n.waiters))
		p.drop(name, n, told[i]...)
`,
		"TestWhoComesWhileAPollIsUnderWayIsToldByTheNext",
	},
	{
		"a read under Bypass needs no place", "internal/engine/load.go",
		`	c.noteLag(ctx)
	ctx, cancel := context.WithTimeout(ctx, c.Config.LoadTimeout)`, `	c.noteLag(ctx)
	if ModeOf(ctx) != nil {
		c.places <- struct{}{}
		defer c.places.give()
	}
	ctx, cancel := context.WithTimeout(ctx, c.Config.LoadTimeout)`,
		"TestReadsOnTheCallersGoroutineNeedNoPlace",
	},
	{
		"a read inside a load is impatient", "internal/engine/inside.go",
		`	if insideOf(ctx) == nil {
		return c.Config.LoadTimeout`, `	if true {
		return c.Config.LoadTimeout`,
		"TestBatchesThatReadEachOtherDoNotStandStill",
	},
	{
		"a read inside a load goes on in the place of that load", "internal/engine/fetch.go",
		`case f.inside() && f.patience.over && idle:`, `case false && idle:`,
		"TestALoaderMayGetAnotherKeyOfItsCacheThoughThereIsNoPlace",
	},
	{
		"a read inside a load waits for a flight for a short time", "internal/engine/miss.go",
		`if !own && insideOf(ctx) != nil {`, `if false {`,
		"TestLoadsThatWaitForEachOthersFlightsDoNotStandStill",
	},
	{
		"who reads the key that it loads does not wait for itself", "internal/engine/miss.go",
		`	case 1:
		return c.LoadHere(ctx, w) // it would wait for itself
`, `	case 1:
`,
		"TestALoaderThatGetsItsOwnKeyDoesNotWaitForItself",
	},
	{
		"what a load has waited in vain is no time that it usually takes", "internal/engine/inside.go",
		`time.Since(start)-time.Duration(in.inVain.Load())`, `time.Since(start)-0*time.Duration(in.inVain.Load())`,
		"TestTheWaitOfALoadDoesNotGrowWithEveryLoadThatWaited",
	},
	{
		"a refresh that would end too late is not begun", "internal/engine/claim.go",
		`if c.inVain(e, left) {`, `if false {`,
		"TestARefreshThatCannotEndInTimeIsNotBegun",
	},
	{
		"what others keep stale is refreshed", "internal/engine/claim.go",
		`&& left > -clockSkew`, `&& left > -1e15`,
		"TestAStaleValueOfAnotherProcessIsRefreshed",
	},
	{
		"a panic goes on in the caller of GetMany whatever else fails", "internal/engine/many.go",
		`errors.As(second, &p) && !errors.As(first, &p) {`, `errors.As(second, &p) && false {`,
		"TestPanicOfOneKeyReachesTheCallerOfGetManyWhateverElseFails",
	},
	{
		"how late a fill may come counts from the lease, by the clock of the server", "internal/engine/fill.go",
		`latest := w.since + d.window.Milliseconds()`, `latest := time.Now().UnixMilli() + d.window.Milliseconds()`,
		"TestHowLateAFillMayComeIsMeasuredByTheClockOfTheServer",
	},
	{
		"a value of no life is not stored", "internal/engine/want.go",
		`w.err == nil && w.Data != nil && w.Life > 0 }`, `w.err == nil && w.Data != nil }`,
		"TestWhatHasNoTTLIsNotStored",
	},
	{
		"a value that cannot be encoded is not stored", "internal/engine/want.go",
		`w.err == nil && w.Data != nil && w.Life > 0 }`, `w.err == nil && w.Life > 0 }`,
		"TestValueThatCannotBeEncodedReachesItsOwnerAndIsNotStored",
	},
	{
		"a failed load stores nothing", "internal/engine/load.go",
		`if found[i].err = err; err == nil {`, `if found[i].err = err; !isAbsence(err) {`,
		"TestLeaseIsGivenBackWhenThereIsNothingToStore",
	},
	{
		"an absence is stored only if it is to be", "internal/engine/fill.go",
		`case w.Absent() && d.Config.AbsentTTL > 0:`, `case w.Absent():`,
		"TestWhatHasNoTTLIsNotStored",
	},
	{
		"a refresh that fails leaves the value that is there", "internal/engine/fill.go",
		`case !w.leased() && w.err != nil && !w.Absent():`, `case false:`,
		"TestStaleValueIsServedWhileRefreshesFailAndTheyBackOff",
	},
	{
		"the lease of a load without a value is given back", "internal/engine/fill.go",
		`	default:
		return redisstore.ReleaseOp(w.Name, prefix, redisstore.ReturnedLife)
`, `	default:
		return d.Store.RenewOp(w.Name, prefix)
`,
		"TestLeaseIsGivenBackWhenThereIsNothingToStore",
	},
	{
		"the lease of a fill that failed is given back", "internal/engine/fill.go",
		`		if r.Err != nil {
			failed`, `		if false {
			failed`,
		"TestAFillThatFailsGivesTheLeaseBack",
	},
	{
		"a load has a place", "internal/engine/fetch.go",
		`	default:
		f.queued.Store(true)`, `	default:
		f.take(0)`,
		"TestReadsThatGetNoPlaceAreOverloaded",
	},
	{
		"a value is kept past its TTL as long as it may be served stale", "internal/engine/fill.go",
		`durations.Saturated(fresh, d.Config.Stale), latest)`, `fresh, latest)`,
		"TestStaleValueIsServedAtOnceWhileOneProcessRefreshes",
	},
	{
		"who does not get the claim does not refresh", "internal/engine/fetch.go",
		`case f.refreshes && r.OK:`, `case f.refreshes && r.Err == nil:`,
		"TestProcessWhoseClaimComesSecondDoesNotRefresh",
	},
	{
		"what is claimed is not asked for again", "internal/engine/claim.go",
		`if !e.Ours || claimed {`, `if !e.Ours || claimed && false {`,
		"TestARefreshCostsItsReaderOneGet",
	},
	{
		"one read of a process asks for the claim", "internal/engine/claim.go",
		`return !already`, `return !already || true`,
		"TestConcurrentStaleReadsAskForTheClaimOnce",
	},
	{
		"refreshes that fail back off", "internal/engine/claim.go",
		`min(max(2*last, shortestBackoff), longestBackoff)`, `max(0*last, shortestBackoff)`,
		"TestStaleValueIsServedWhileRefreshesFailAndTheyBackOff",
	},
	{
		"what a codec may keep of a document is no other caller's", "internal/engine/values.go",
		`return bytes.Clone(data)`, `return data`,
		"TestEveryCallerMayModifyAValueThatIsWhatItsCodecWasGiven",
	},
	{
		"GetMany takes no unusable document for a value", "internal/engine/many.go",
		`if err == ErrUnusable {
			w :=`, `if err == ErrUnusable && h.entry.State != document.Present {
			w :=`,
		"TestUnreadableDocumentIsAMissThatRepairsItself",
	},
	{
		"GetMany loads what is of another version with what is missing", "internal/engine/many.go",
		`if c.Answers(reads[i].Name, &e, nil) {`, `if c.Answers(reads[i].Name, &e, nil) || e.State == document.Present {`,
		"TestGetManyLoadsWhatIsMissingAndWhatIsOfAnotherVersionInOneBatch",
	},
	{
		"GetMany decodes while it loads", "internal/engine/many.go",
		`if beside || ctx.Done() != nil {`, `if !beside && ctx.Done() != nil {`,
		"TestGetManyDecodesItsHitsWhileItLoadsTheRest",
	},
	{
		"the second fetch of a GetMany has what the first left of its budget", "internal/engine/many.go",
		`*b, err = f.budget, o.err`, `err = o.err`,
		"TestGetManyThatFindsAnUndecodableValueSpendsOneRedisTimeoutInAll",
	},
	{
		"a key that is given twice is looked for once", "many.go",
		`		case !again:`, `		case !again || true:`,
		"TestGetManyLoadsWhatIsMissingInOneBatch",
	},
	{
		"what is made from what lags is not filled", "internal/engine/load.go",
		`= took, inside.lagged.Load()`, `= took, false`,
		"TestWhatIsMadeFromWhatLagsIsNotCached/by_key",
	},
	{
		"what is made from what was made from what lags is not filled", "internal/engine/inside.go",
		`	for ; in != nil; in = in.above {
		in.lagged`, `	if in != nil {
		in.lagged`,
		"TestWhatIsMadeByGetManyFromWhatLagsIsNotCached/by_key",
	},
	{
		"what has a tag that is held for the lag makes nothing else filled", "internal/engine/snapshot.go",
		`		insideOf(d.ctx).lags()
`, ``,
		"TestWhatIsMadeByGetManyFromWhatLagsIsNotCached/by_tag",
	},
}
