package main

// ofFlights are the rules by which callers of one process share a load.
//
// That a fill is sealed before it is sent has no mutant: the flight is closed before the fill, so
// no caller joins that the seal would turn away. The mutants of the closing show what the seal is
// for: under them a late caller only waits in vain.
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
		"a refused fill decides nothing", "internal/engine/fill.go",
		`w.decided = r.OK && !w.barred`, `w.decided = true`,
		"TestCallerAfterInvalidateDoesNotJoinAnOlderLoad",
	},
	{
		"a look by the lease command is sealed before it is sent", "internal/engine/fill.go",
		`	d.flight.seal()
	replies := d.send(ops, asked)`, `	replies := d.send(ops, asked)
	d.flight.seal()`,
		"TestCallerAfterInvalidateDoesNotJoinALookUnderWay",
	},
	{
		"a look while waiting is sealed before it is sent", "internal/engine/poll.go",
		`	sealed := p.tick() // before the command is sent: see flight
	replies := readSome(names, p.up, func(up []string) []redisstore.Reply { return p.read(due[up[0]].ctx, up) })`, `	replies := readSome(names, p.up, func(up []string) []redisstore.Reply { return p.read(due[up[0]].ctx, up) })
	sealed := p.tick()`,
		"TestCallerAfterInvalidateDoesNotJoinAPollUnderWay",
	},
	{
		"a flight stops being joinable before it sends its fill", "internal/engine/fill.go",
		`		d.flight.close()`, `		_ = d.flight`,
		"TestCallerAfterInvalidateDoesNotJoinAFillUnderWay",
	},
	{
		"a flight is closed before the fill, not after", "internal/engine/fill.go",
		`		d.flight.close()`, `		defer d.flight.close()`,
		"TestCallerAfterInvalidateDoesNotJoinAFillUnderWay",
	},
	{
		"a caller has arrived before it looks", "internal/engine/miss.go",
		`case f.serves(arrived):`, `case f.serves(0):`,
		"TestCallerAfterInvalidateDoesNotJoinAnOlderLoad",
	},
	{
		"an absence that was found before the caller arrived is not for it, other errors are", "internal/engine/flight.go",
		`if f.err != nil && !f.Absent() {`, `if f.err != nil {`,
		"TestCallerAfterInvalidateDoesNotJoinAnOlderAbsence",
	},
	{
		"a flight waits for a place as long as any caller is left", "internal/engine/flight.go",
		`context.WithCancel(f.wanted)`, `context.WithCancel(ctx)`,
		"TestJoinerOfAnOwnerWhoFoundNoPlaceGoesOn",
	},
	{
		"those gather who are ready to run", "internal/redisstore/batch.go",
		`runtime.Gosched() // no timer`, `_ = runtime.Gosched // no timer`,
		"TestReadsThatAreAboutToBeginShareACommand",
	},
	{
		"while a round is under way nobody goes by himself", "internal/redisstore/batch.go",
		`|| l.batches > 0 ||`, `||`,
		"TestReadsThatAreAboutToBeginShareACommand",
	},
	{
		"few commands are under way", "internal/redisstore/batch.go",
		`if l.flying >= mostFlying {`, `if false {`,
		"TestNoMoreThanEightCommandsAreUnderWayAndTheFirstToLandLetsTheNextFly",
	},
	{
		"a round flies once one command has landed", "internal/redisstore/batch.go",
		`len(l.queue) > 0 && l.flying < mostFlying`, `len(l.queue) > 0 && l.flying < 2`,
		"TestNoMoreThanEightCommandsAreUnderWayAndTheFirstToLandLetsTheNextFly",
	},
	{
		"a name that is under way waits for itself alone", "internal/redisstore/batch.go",
		`again && l.again.takes(ops)`, `again || l.again.takes(ops)`,
		"TestWhoAsksAgainWaitsForThatNameAndHoldsUpNobodyElse",
	},
	{
		"those who ask for a name that is under way share the next read of it", "internal/redisstore/batch.go",
		`again := l.underWay(ops[0].Name)`, `again := false`,
		"TestReadsOfOneHotKeyShareOneGet",
	},
	{
		"who asks for a name that is under way does not go by himself", "internal/redisstore/batch.go",
		`l.batches > 0 || l.underWay(name)`, `l.batches > 0`,
		"TestReadsOfOneHotKeyShareOneGet",
	},
	{
		"the oldest round flies first", "internal/redisstore/batch.go",
		`l.queue = slices.Insert(l.queue, i, r)`, `l.queue = slices.Insert(l.queue, min(i, 0), r)`,
		"TestWhoAsksAgainDoesNotOvertakeThoseWhoHaveWaitedLonger",
	},
	{
		"who leads a round in a hurry does not send it himself", "internal/redisstore/batch.go",
		`if _, ok := l.store.callsInline(ctx, b); ok {`, `if true {`,
		"TestWhoLeadsARoundInAHurryLeavesOnTime",
	},
	{
		"where reads keep missing the lease is asked for at once", "internal/engine/read.go",
		`return c.streak.misses() &&`, `return false &&`,
		"TestWhereReadsKeepMissingTheLeaseIsAskedForAtOnce",
	},
	{
		"hits end a streak of misses", "internal/engine/read.go",
		`	c.streak.hit()
`, ``,
		"TestWhereReadsKeepMissingTheLeaseIsAskedForAtOnce",
	},
	{
		"where places are scarce no lease is asked for at once", "internal/engine/read.go",
		`len(c.places) <= cap(c.places)/2`, `true`,
		"TestWherePlacesAreScarceNoLeaseIsAskedForAtOnce",
	},
	{
		"a hit of a read that asked for the lease is refreshed when that is due", "cache.go",
		`			c.hit(ctx, m, key, r, e)
		} else {`, `			c.core.Count(r, engine.StaleHit)
		} else {`,
		"TestAHitOfAReadThatAskedForTheLeaseIsRefreshedWhenThatIsDue",
	},
	{
		"scripts of several callers travel together", "internal/redisstore/store.go",
		`if s.mayShare(b, part) {`, `if false {`,
		"TestMissesThatRunSideBySideShareRoundTrips",
	},
	{
		"reads and writes do not travel together", "internal/redisstore/batch.go",
		`l, ok := s.batchers[k].Load(node)`, `l, ok := s.batchers[0].Load(node)`,
		"TestReadsDoNotTravelWithWrites",
	},
	{
		"what one call removes together does not travel with others", "internal/redisstore/batch.go",
		`removes && len(ops) > 1 ||`, `removes && len(ops) < 0 ||`,
		"TestWhatOneCallInvalidatesDoesNotTravelWithOthers",
	},
	{
		"a large value is filled by itself", "internal/redisstore/batch.go",
		`len(o.Args[1].([]byte)) >= LargeBytes`, `false`,
		"TestALargeValueIsFilledByItself",
	},
	{
		"nobody waits for a batch beyond his own time", "internal/redisstore/batch.go",
		`if end.Before(r.start.Add(r.left)) {`, `if false {`,
		"TestNobodyWaitsForABatchBeyondHisOwnTime",
	},
	{
		"a lease of a batch whose caller has left is given back", "internal/redisstore/batch.go",
		`	if r.gone != nil {`, `	if false {`,
		"TestALeaseOfABatchThatNobodyWaitsForIsGivenBack",
	},
	{
		"a joiner gets a value of its own", "internal/engine/miss.go",
		`	case f.err != nil || c.edge.Share(w, f.Data, &f.decoding) == nil:
	case c.Config.Shared:`, `	case f.err != nil:
	case true:`,
		"TestCallersDoNotShareMemory",
	},
	{
		"a flight goes on without its owner", "internal/engine/inside.go",
		`return context.WithoutCancel(ctx), nil`, `return ctx, nil`,
		"TestCallerWhoLeavesGetsItsCtxErrorAndTheLoadGoesOn",
	},
	{
		"misses of one process share one load", "internal/engine/flight.go",
		`last := g.last[name]`, `last := (*flight)(nil)`,
		"TestLoadsStayCollapsedWhileRedisIsDown",
	},
	{
		"a caller who may not use a flight that is under way begins another", "internal/engine/flight.go",
		`		g.group.Forget(name) // of the last one, which may still be under way
`, ``,
		"TestCallerAfterInvalidateDoesNotJoinAFillUnderWay",
	},
	{
		"nobody joins a load that fills nothing and began before", "internal/engine/flight.go",
		`f.loads, f.closed = true, f.closed || !mayFill`, `f.loads = true`,
		"TestNobodyWaitsForALoadThatCannotServe",
	},
	{
		"who came before the load began joins it, though it is closed", "internal/protocol/protocol.go",
		`began > arrived || !closed`, `!closed`,
		"TestACallerJoinsALoadWithoutRedisThatBeganAfterItCame",
	},
	{
		"loads of a key that fill nothing do not run side by side", "internal/engine/miss.go",
		`search.before = f.before.landed`, `_ = f.before.landed`,
		"TestCallersWithoutRedisDoNotJoinAnOlderLoad",
	},
	{
		"a flight begins when its load does", "internal/engine/flight.go",
		`	f.began = f.of.clock.Tick()`, ``,
		"TestALoadThatBeginsAfterAWaitServesWhoJoinedTheWait",
	},
	{
		"who cannot use Redis does not join those who wait for it", "internal/engine/miss.go",
		`flights, b.Left = &c.direct, 0`, `b.Left = 0`,
		"TestReadOfAKeyThatIsOwedDoesNotWaitForRedis",
	},
	{
		"callers who share a document have copies of the value", "internal/engine/values.go",
		`	if !vs.core.Config.Shared {
		vs.DeepCopy(v)`, `	if false {
		vs.DeepCopy(v)`,
		"TestCallersWhoReadTogetherDecodeOnce",
	},
	{
		"joiners decode once for all", "internal/engine/miss.go",
		`c.edge.Share(w, f.Data, &f.decoding)`, `c.edge.Share(w, c.unshared(f.Data), nil)`,
		"TestCallersWhoReadTogetherDecodeOnce",
	},
	{
		"what decodes itself is not copied", "internal/jsonvalue/deepcopy.go",
		`ok && (d == nil || !decodesItself(t))`, `ok`,
		"TestCallersWhoReadTogetherDecodeEachWhatCannotBeCopied",
	},
	{
		"what holds references that cannot be set is not copied", "internal/jsonvalue/deepcopy.go",
		`!ok || part != nil && !t.Field(i).IsExported()`, `!ok`,
		"internal/jsonvalue: TestWhatIsCopied",
	},
	{
		"a copy has maps of its own, with values of its own", "internal/jsonvalue/deepcopy.go",
		`value.Set(at.Value())
				part(value)`, `value.Set(at.Value())`,
		"internal/jsonvalue: TestACopyIsEqualAndSharesNoMemory",
	},
	{
		"who joins a load that lags fills nothing", "internal/engine/miss.go",
		`			insideOf(ctx).lags()
`, ``,
		"TestWhoJoinsALoadThatLagsCachesNothing",
	},
}
