package main

// ofOutages are the rules by which Redis is optional at run time.
var ofOutages = []mutant{
	{
		"the commands of a call share one timeout", "internal/redisstore/budget.go",
		`b.Left -= time.Since(start)`, ``,
		"TestACallSpendsOneRedisTimeoutInAll",
	},
	{
		"a call that Redis has failed once asks it no more", "internal/engine/read.go",
		`	b.Spend()
	if redisstore.IsWrongType(err) {`, `	if redisstore.IsWrongType(err) {`,
		"TestACallThatRedisHasFailedOnceAsksItNoMore",
	},
	{
		"a pipeline that failed has answered none of its commands", "internal/redisstore/ops.go",
		`cmd.SetErr(err)
	}
}`, `_ = cmd
	}
}`,
		"TestAScanThatWasNotSentHasNotFoundNothing",
	},
	{
		"a page of an index that was not read is not empty", "internal/redisstore/send.go",
		`if page == nil && err == nil {`, `if false {`,
		"TestAPageOfAnIndexThatWasNotReadIsNotEmpty",
	},
	{
		"a client with hooks is used itself", "internal/redisstore/bounded.go",
		`if b.bounded != nil && (b.hooks == nil || len(b.hooks()) == 0) {`, `if b.bounded != nil {`,
		"TestWhatEachCallCosts",
	},
	{
		"a client that does not end by a deadline is left behind", "internal/redisstore/budget.go",
		`if !bounded {`, `if !bounded && false {`,
		"TestACallSpendsOneRedisTimeoutInAll",
	},
	{
		"a caller in a hurry does not wait as long as Redis may take", "internal/redisstore/budget.go",
		`return rdb, !ok || time.Until(deadline) > b.Left`, `return rdb, !ok || time.Until(deadline) > 0`,
		"TestCallersInAHurryLeaveABoundedClientOnTime",
	},
	{
		"a call gets no deadline that is over, or soon will be", "internal/redisstore/budget.go",
		`|| end.Sub(last.at) > left/16 ||`, `||`,
		"TestBoundedClientIsLeftWhenItsTimeIsOver",
	},
	{
		"a call gets no deadline of one that has more time", "internal/redisstore/budget.go",
		`last == nil || last.at.After(end) ||`, `last == nil ||`,
		"TestCallGetsNoDeadlineOfOneThatHasMoreTime",
	},
	{
		"callers in a hurry notice that Redis hangs", "internal/redisstore/budget.go",
		`if late != nil {`, `if false {`,
		"TestCallersInAHurryNoticeThatRedisHangs",
	},
	{
		"three failures in a row mean down", "internal/redisstore/breaker.go",
		`c.failures.Load() >= failuresToOpen ||`, `c.failures.Load() >= 2*failuresToOpen ||`,
		"TestThreeFailuresInARowMeanDown",
	},
	{
		"a success ends a row of failures", "internal/redisstore/breaker.go",
		`	if !c.open {
		b.forgive(c, k)
	}`, ``,
		"TestThreeFailuresInARowMeanDown",
	},
	{
		"a row of failures ends where another primary has taken over", "internal/redisstore/breaker.go",
		`(o == p || b.addrOf(b.failedName(c)) != o.addr)`, `o == p`,
		"TestARowOfFailuresEndsWhereAnotherPrimaryHasTakenOver",
	},
	{
		"the failures of one round trip are one", "internal/redisstore/breaker.go",
		`} else if _, other := failed[p]; !other && Unreachable(r.Err) {
			failed[p] = i
		}`, `} else if Unreachable(r.Err) {
			b.failed(p, k, names[i], r.Err)
		}`,
		"TestOneFailedCommandIsOneFailure/redis",
	},
	{
		"while Redis is down no read waits for it", "internal/redisstore/breaker.go",
		`return !p.down[Reads].Load() && (k`, `return p != nil || (k`,
		"TestWhileRedisIsDownNothingIsSentButAProbeASecond",
	},
	{
		"while writes are down, hits go on", "internal/redisstore/breaker.go",
		`(k == Reads || !p.down[Writes].Load())`, `!p.down[Writes].Load()`,
		"TestWhileWritesHangHitsGoOnAndMissesDoNotWait",
	},
	{
		"while writes are down, no miss waits for them", "internal/redisstore/breaker.go",
		`(k == Reads || !p.down[Writes].Load())`, `true`,
		"TestWhileWritesHangHitsGoOnAndMissesDoNotWait",
	},
	{
		"while writes are down, no refresh is claimed", "internal/engine/refresh.go",
		`return c.fillable(w.Name) && c.refreshing.begin(w.Name)`, `return c.refreshing.begin(w.Name)`,
		"TestWhileWritesHangNoRefreshIsClaimed",
	},
	{
		"a circuit for writes is probed with a write", "internal/redisstore/probe.go",
		`if k == Reads {`, `if true {`,
		"TestWhileWritesHangHitsGoOnAndMissesDoNotWait",
	},
	{
		"a circuit for reads is probed with a read", "internal/redisstore/probe.go",
		`if k == Reads {`, `if false {`,
		"TestReadsThatFailStopHitsAlone",
	},
	{
		"a Redis that is back is noticed", "internal/redisstore/breaker.go",
		`				b.close(p, k)
`, ``,
		"TestARedisThatIsBackIsAlwaysNoticed",
	},
	{
		"a replica serves no hits, though it answers reads", "internal/redisstore/breaker.go",
		`r.open || w.open && w.readOnly)`, `r.open)`,
		"TestAReplicaIsDown",
	},
	{
		"a replica that refuses a lease does not answer with its document", "internal/redisstore/scripts.go",
		`if set and set.err:find('READONLY', 1, true) then`, `if false then`,
		"TestALeaseThatAReplicaRefusesIsNotAnsweredWithItsDocument",
	},
	{
		"a circuit closes when no connection is dead", "internal/redisstore/probe.go",
		`		s.dropDead(ctx, name)
`, ``,
		"TestASecondAfterTheNetworkForgotThePoolNoReadWaits",
	},
	{
		"dead connections end by the timeout, whatever the client allows", "internal/redisstore/probe.go",
		`node = node.WithTimeout(s.Timeout)`, `node = node.WithTimeout(time.Minute)`,
		"TestDeadConnectionsAmongLiveOnesAreDropped",
	},
	{
		"each connection is asked by itself", "internal/redisstore/probe.go",
		`if m.missing.Add(-1) == 0 {`, `if m.missing.Add(-1); m.missing.Load() >= 0 && m.missing.Swap(-1<<40) >= 0 {`,
		"TestDeadConnectionsAmongLiveOnesAreDropped",
	},
	{
		"the connections for pipelines are asked, too", "internal/redisstore/probe.go",
		`piped = int(p.IdleConns)`, `piped = 0`,
		"TestDeadConnectionsAmongLiveOnesAreDropped",
	},
	{
		"what fails while a connection is set up is Redis not reached", "internal/redisstore/breaker.go",
		`return answersSetUp(err)`, `return false`,
		"TestAClientWhoseConnectionsCannotBeSetUpMakesFewOfThem",
	},
	{
		"an Observer that is slow delays nothing", "internal/engine/announce.go",
		`a.telling = a.telling || a.start(a.run)`, `a.tell(c)`,
		"TestAnObserverThatIsSlowOrPanicsDelaysNothingAndIsToldAllInOrder",
	},
	{
		"changes are told one after the other", "internal/engine/announce.go",
		`a.telling = a.telling || a.start(a.run)`, `a.start(a.run)`,
		"TestAnObserverThatIsSlowOrPanicsDelaysNothingAndIsToldAllInOrder",
	},
	{
		"loads are bounded while Redis is down", "internal/engine/open.go",
		`make(loadLimiter, c.Config.MaxLoads)`, `make(loadLimiter, c.Config.MaxLoads+1)`,
		"TestLoadsStayBoundedWhileRedisIsDown",
	},
	{
		"a load that cannot end its lease in time does not try", "internal/engine/fill.go",
		`return w.Source != nil && !d.budget.Spent() && d.Store.Breaker.Up(w.Name, redisstore.Writes)`, `return w.Source != nil && !d.budget.Spent()`,
		"TestALoadUnderWayDoesNotWaitForARedisThatIsDown",
	},
	{
		"a connection is made in the background when a call has run out of time", "internal/redisstore/pool.go",
		`	if e.wait != forFree {
		p.connect()`, `	if e.wait != forFree && false {
		p.connect()`,
		"TestARedisThatGreetsMoreSlowlyThanTheTimeoutIsReached",
	},
	{
		"each call that found no connection has one made", "internal/redisstore/pool.go",
		`return max(1, min(mostFlying, node.Options().PoolSize/2))`, `return 1`,
		"TestReadsSideBySideReachARedisThatGreetsMoreSlowlyThanTheTimeout",
	},
	{
		"connections that are being dialled for MinIdleConns hide no refusal", "internal/redisstore/pool.go",
		`max(0, int(total)-int(idle))`, `int(total) - int(idle)`,
		"TestTheFirstReadOfARedisThatRefusesFindsOutWhateverThePoolIs",
	},
	{
		"pipelines get a connection in the background as well", "internal/redisstore/pool.go",
		`p.Ping(ctx)
				return nil`, `return nil`,
		"TestARedisThatGreetsMoreSlowlyThanTheTimeoutIsReached",
	},
	{
		"that nobody listens ends the calls that wait", "internal/redisstore/pool.go",
		`waiting.end(&refusedError{err})`, `_ = err`,
		"TestTheFirstReadOfARedisThatRefusesFindsOut",
	},
	{
		"that nobody listens opens a circuit at once", "internal/redisstore/breaker.go",
		`c.failures.Load() >= failuresToOpen || isRefused(err) {`, `c.failures.Load() >= failuresToOpen {`,
		"TestTheFirstReadOfARedisThatRefusesFindsOut",
	},
	{
		"the timeouts of a handshake are told from those of a command", "internal/redisstore/bounded.go",
		`		return &handshakeError{err}`, `		return err`,
		"TestWhatGoRedisWasWaitingForIsTold/a_handshake_that_go-redis_gives_up",
	},
	{
		"a large value is left alone", "internal/redisstore/large.go",
		`if p.trying || time.Now().Before(p.until) {`, `if p.trying {`,
		"TestAValueThatCannotBeReadInTimeIsLeftAlone",
	},
	{
		"a value that cannot be written in time is left alone", "internal/engine/fill.go",
		`if redisstore.IsOver(r.Err) && len(w.Data) >= redisstore.LargeBytes {`, `if false {`,
		"TestAValueThatCannotBeReadInTimeIsLeftAlone",
	},
	{
		"GetMany leaves out what was too large", "internal/engine/many.go",
		` && !c.Store.Large.Has(name)`, ``,
		"TestSmallValuesSufferOnceFromALargeOneBesideThem",
	},
	{
		"what is large together is put off together", "internal/redisstore/large.go",
		`if taken += sizes[i]; taken >= all/2 {`, `if taken += sizes[i]; true {`,
		"TestLargeValuesOfOneGetManyAreLeftAloneAfterAFewCalls",
	},
	{
		"calls that are late at one moment are weighed each", "internal/redisstore/large.go",
		`	l.late = append(l.late, late)
	begin = !l.weighing`, `	if begin = !l.weighing; begin {
		l.late = append(l.late, late)
	}`,
		"TestLargeValuesThatAreReadSideBySideLeaveTheSmallOnesInTheCache",
	},
	{
		"a read that tries a large value and is late is no failure of Redis", "internal/redisstore/large.go",
		`later = len(names) == 1 && s.Large.Has(names[0])`, `later = false`,
		"TestLargeValuesThatAreReadSideBySideLeaveTheSmallOnesInTheCache",
	},
	{
		"a read that tries a large value finds a Redis that hangs", "internal/redisstore/large.go",
		`if !s.weigh(l) && l.told != nil {`, `if s.weigh(l); false {`,
		"TestARedisThatHangsIsFoundByReadsThatTryLargeValues",
	},
	{
		"a Redis that is down is not asked for sizes", "internal/redisstore/large.go",
		`if s.Large.silent && s.Breaker.fails() {`, `if false {`,
		"TestWhileRedisIsDownNothingIsSentButAProbeASecond",
	},
	{
		"a value that can be read again is forgotten", "internal/redisstore/large.go",
		`		l.forget(name)
	default: // there`, `	default: // there`,
		"TestAValueThatCanBeReadAgainIsServedAgain",
	},
	{
		"the names of large values are bounded", "internal/redisstore/large.go",
		`		if len(l.names) < mostLarge {
			return
		}
		l.forget(name)`, `		_ = name`,
		"TestTheNamesOfLargeValuesAreBounded",
	},
	{
		"a client is looked for behind what is wrapped around it", "internal/redisstore/client.go",
		`		return c.checkFields(v)`, `		return nil`,
		"TestAClientThatWouldBreakThePromisesIsFoundInWhatIsWrappedAroundIt",
	},
	{
		"a client is looked for behind interfaces that only a Cluster's implements", "internal/redisstore/client.go",
		`slices.ContainsFunc(clientTypes, implements)`, `slices.ContainsFunc(clientTypes[:1], implements)`,
		"TestAClientThatWouldBreakThePromisesIsFoundInWhatIsWrappedAroundIt",
	},
	{
		"an invalidation does not wait for a Redis that is known to be down", "internal/engine/write.go",
		`return name == "" || !c.Store.Breaker.DownFor(name, redisstore.Writes)`, `return name == "" || true`,
		"TestInvalidateIsTriedInTheBackgroundWhileRedisIsDown",
	},
	{
		"no hold is sent to a Redis that is known to be down", "internal/engine/intx.go",
		`func(s subject) bool { return !c.isUp(s) }`, `func(s subject) bool { return false }`,
		"TestNoHoldIsSentToARedisThatIsKnownToBeDown",
	},
}
