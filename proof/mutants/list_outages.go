package main

// ofOutages are the rules by which Redis is optional at run time.
var ofOutages = []mutant{
	{
		"the commands of a call share one timeout", "budget.go",
		`b.left -= now.Sub(start)`, ``,
		"TestACallSpendsOneRedisTimeoutInAll",
	},
	{
		"a call that Redis has failed once asks it no more", "cache.go",
		`	b.spend()
	if isWrongType(err) {`, `	if isWrongType(err) {`,
		"TestACallThatRedisHasFailedOnceAsksItNoMore",
	},
	{
		"a client with hooks is used itself", "bounded.go",
		`if b.bounded != nil && (b.hooks == nil || len(b.hooks.Load().hooks) == 0) {`, `if b.bounded != nil {`,
		"TestWhatEachCallCosts",
	},
	{
		"a client that does not end by a deadline is left behind", "budget.go",
		`if !bounded {`, `if !bounded && false {`,
		"TestACallSpendsOneRedisTimeoutInAll",
	},
	{
		"a caller in a hurry does not wait as long as Redis may take", "budget.go",
		`return rdb, !ok || time.Until(deadline) > b.left`, `return rdb, !ok || time.Until(deadline) > 0`,
		"TestCallersInAHurryLeaveABoundedClientOnTime",
	},
	{
		"a call gets no deadline that is over, or soon will be", "budget.go",
		`|| end.Sub(last.at) > left/16 {`, `{`,
		"TestBoundedClientIsLeftWhenItsTimeIsOver",
	},
	{
		"a call gets no deadline of one that has more time", "budget.go",
		`last == nil || last.at.After(end) ||`, `last == nil ||`,
		"TestCallGetsNoDeadlineOfOneThatHasMoreTime",
	},
	{
		"callers in a hurry notice that Redis hangs", "budget.go",
		`if late != nil {`, `if false {`,
		"TestCallersInAHurryNoticeThatRedisHangs",
	},
	{
		"three failures in a row mean down", "breaker.go",
		`c.failures < failuresToOpen ||`, `c.failures < 2*failuresToOpen ||`,
		"TestThreeFailuresInARowMeanDown",
	},
	{
		"a success ends a row of failures", "breaker.go",
		`c.failures, c.readOnly = 0, false
	b.failing.Add(-1)`, `c.readOnly = false`,
		"TestThreeFailuresInARowMeanDown",
	},
	{
		"the failures of one round trip are one", "breaker.go",
		`} else if _, other := failed[c]; !other && unreachable(r.err) {
			failed[c] = i
		}`, `} else if unreachable(r.err) {
			b.failed(c, names[i], r.err, write)
		}`,
		"TestOneFailedCommandIsOneFailure/redis",
	},
	{
		"while Redis is down no read waits for it", "breaker.go",
		`return b.open.Load() == 0 || !b.circuit(name).open.Load()`, `return true`,
		"TestWhileRedisIsDownNothingIsSentButAProbeASecond",
	},
	{
		"a Redis that is back is noticed", "breaker.go",
		`				b.close(c, true)
`, ``,
		"TestARedisThatIsBackIsAlwaysNoticed",
	},
	{
		"a replica that answers reads is not back", "breaker.go",
		`|| c.readOnly && !write {`, `{`,
		"TestARedisThatTakesNoWritesIsDown",
	},
	{
		"loads are bounded while Redis is down", "background.go",
		`newPlaces(n int) *places { return &places{free: semaphore.NewWeighted(int64(n))} }`,
		`newPlaces(n int) *places { return &places{free: semaphore.NewWeighted(int64(n) + 1)} }`,
		"TestLoadsStayBoundedWhileRedisIsDown",
	},
	{
		"a load that cannot end its lease in time does not try", "fetch.go",
		`return w.source != nil && !f.budget.spent() && f.store.breaker.up(w.name)`, `return w.source != nil && !f.budget.spent()`,
		"TestALoadUnderWayDoesNotWaitForARedisThatIsDown",
	},
}
