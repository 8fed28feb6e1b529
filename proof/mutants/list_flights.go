package main

// ofFlights are the rules by which callers of one process share a load.
//
// That a fill is sealed before it is sent has no mutant: nobody whom the seal would turn away joins, since the flight is
// closed before. The mutants of the latter show what the seal is for: under them a late caller only waits in vain.
var ofFlights = []mutant{
	{
		"who arrived after the deciding command was sent does not join", "internal/protocol/protocol.go",
		`decided && arrived < sealed`, `decided`,
		"TestCallerAfterInvalidateDoesNotJoinALookUnderWay",
	},
	{
		"who arrived during a load that decided nothing does not join", "internal/protocol/protocol.go",
		`decided && arrived < sealed`, `arrived < sealed`,
		"TestCallerAfterInvalidateDoesNotJoinAnOlderLoad",
	},
	{
		"a refused fill decides nothing", "fetch.go",
		`w.decided = r.ok && !w.barred`, `w.decided = true`,
		"TestCallerAfterInvalidateDoesNotJoinAnOlderLoad",
	},
	{
		"a look by the lease command is sealed before it is sent", "fetch.go",
		`	f.seal()
	for i, r := range f.runMarked(steps) {`, `	replies := f.runMarked(steps)
	f.seal()
	for i, r := range replies {`,
		"TestCallerAfterInvalidateDoesNotJoinALookUnderWay",
	},
	{
		"a look while waiting is sealed before it is sent", "fetch.go",
		`		f.seal()
		poll := f.budget // waiting for the load is no time spent on Redis, unless Redis fails
		for i, r := range f.store.lookMany(f.ctx, &poll, names) {`, `		poll := f.budget
		replies := f.store.lookMany(f.ctx, &poll, names)
		f.seal()
		for i, r := range replies {`,
		"TestCallerAfterInvalidateDoesNotJoinAPollUnderWay",
	},
	{
		"a flight stops being joinable before it sends its fill", "flight.go",
		`flights.Forget(w.name)`, `_ = flights`,
		"TestCallerAfterInvalidateDoesNotJoinAFillUnderWay",
	},
	{
		"a flight is closed before the fill, not after", "fetch.go",
		`	f.close()
	f.seal()
	var failed []step`, `	defer f.close()
	f.seal()
	var failed []step`,
		"TestCallerAfterInvalidateDoesNotJoinAFillUnderWay",
	},
	{
		"a caller has arrived before it looks", "flight.go",
		`case f.serves(arrived):`, `case f.serves(0):`,
		"TestCallerAfterInvalidateDoesNotJoinAnOlderLoad",
	},
	{
		"an absence that was found before the caller arrived is not for it, other errors are", "flight.go",
		`if f.err != nil && !f.absent() {`, `if f.err != nil {`,
		"TestCallerAfterInvalidateDoesNotJoinAnOlderAbsence",
	},
	{
		"who joins a flight whose owner got no place goes on", "flight.go",
		`	if f.abandoned {
		return false
	}`, ``,
		"TestJoinerOfAnOwnerWhoFoundNoPlaceGoesOn",
	},
	{
		"those gather who are ready to run", "look.go",
		`	runtime.Gosched()
`, `	_ = runtime.Gosched
`,
		"TestReadsThatAreAboutToBeginShareACommand",
	},
	{
		"while a round is under way nobody goes by himself", "look.go",
		`|| len(l.aloft) > 0 ||`, `||`,
		"TestReadsThatAreAboutToBeginShareACommand",
	},
	{
		"few commands are under way", "look.go",
		`if l.flying >= mostFlying {`, `if false {`,
		"TestNoMoreThanEightCommandsAreUnderWayAndTheFirstToLandLetsTheNextFly",
	},
	{
		"a round flies once one command has landed", "look.go",
		`len(l.queue) > 0 && l.flying < mostFlying`, `len(l.queue) > 0 && l.flying < 2`,
		"TestNoMoreThanEightCommandsAreUnderWayAndTheFirstToLandLetsTheNextFly",
	},
	{
		"a name that is under way waits for itself alone", "look.go",
		`again && l.again.takes(name)`, `again || l.again.takes(name)`,
		"TestWhoAsksAgainWaitsForThatNameAndHoldsUpNobodyElse",
	},
	{
		"those who ask for a name that is under way share the next read of it", "look.go",
		`again := l.underWay(name)`, `again := false`,
		"TestReadsOfOneHotKeyShareOneGet",
	},
	{
		"who asks for a name that is under way does not go by himself", "look.go",
		`len(l.aloft) > 0 || l.underWay(name)`, `len(l.aloft) > 0`,
		"TestReadsOfOneHotKeyShareOneGet",
	},
	{
		"the oldest round flies first", "look.go",
		`l.queue = slices.Insert(l.queue, i, r)`, `l.queue = slices.Insert(l.queue, min(i, 0), r)`,
		"TestWhoAsksAgainDoesNotOvertakeThoseWhoHaveWaitedLonger",
	},
	{
		"who leads a round in a hurry does not send it himself", "look.go",
		`if _, ok := l.store.callsHere(ctx, b); ok {`, `if true {`,
		"TestWhoLeadsARoundInAHurryLeavesOnTime",
	},
	{
		"a joiner gets a value of its own", "flight.go",
		`v, ok = c.decodeFor(&f.decoding, f.data)`, `v, ok = f.value, true`,
		"TestCallersDoNotShareMemory",
	},
	{
		"a flight goes on without its owner", "flight.go",
		`ctx:    context.WithoutCancel(ctx),`, `ctx:    ctx,`,
		"TestCallerWhoLeavesGetsItsCtxErrorAndTheLoadGoesOn",
	},
	{
		"misses of one process share one load", "flight.go",
		`own, queued := false,`, `flights = new(singleflight.Group)
	own, queued := false,`,
		"TestLoadsStayCollapsedWhileRedisIsDown",
	},
	{
		"who may leave waits for no flight", "flight.go",
		`if ctx.Done() == nil {`, `if true {`,
		"TestCallerWhoLeavesGetsItsCtxErrorAndTheLoadGoesOn",
	},
	{
		"who cannot use Redis does not join those who wait for it", "flight.go",
		`flights, b.left = &c.direct, 0`, `b.left = 0`,
		"TestReadOfAKeyThatIsOwedDoesNotWaitForRedis",
	},
	{
		"callers who share a document have copies of the value", "cache.go",
		`return c.deepCopy(v), shared.ok`, `return v, shared.ok`,
		"TestCallersWhoReadTogetherDecodeOnce",
	},
	{
		"joiners decode once for all", "flight.go",
		`c.decodeFor(&f.decoding, f.data)`, `c.decode(c.unshared(f.data))`,
		"TestCallersWhoReadTogetherDecodeOnce",
	},
	{
		"what decodes itself is not copied", "clone.go",
		`ok && (d == nil || !decodesItself(t))`, `ok`,
		"TestCallersWhoReadTogetherDecodeEachWhatCannotBeCopied",
	},
	{
		"what holds references that cannot be set is not copied", "clone.go",
		`!ok || part != nil && !t.Field(i).IsExported()`, `!ok`,
		"TestWhatIsCopied",
	},
	{
		"a copy has maps of its own, with values of its own", "clone.go",
		`value.Set(at.Value())
				part(value)`, `value.Set(at.Value())`,
		"TestACopyIsEqualAndSharesNoMemory",
	},
}
