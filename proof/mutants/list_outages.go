package main

// ofOutages are the rules by which Redis is optional at run time.
var ofOutages = []mutant{
	{
		"the commands of a call share one timeout", "budget.go",
		`if b.left -= time.Since(start); a.err`, `if a.err`,
		"TestACallSpendsOneRedisTimeoutInAll",
	},
	{
		"a call that Redis has failed once asks it no more", "cache.go",
		`	b.spend()
	if isWrongType(err) {`, `	if isWrongType(err) {`,
		"TestACallThatRedisHasFailedOnceAsksItNoMore",
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
