package main

// ofTold are the rules of what is counted and told, of the hooks that are called for it, and of the ctx of loads.
var ofTold = []mutant{
	{
		"a read that ends before anything is known of it is a miss", "internal/engine/observe.go",
		`if r.Outcome == "" {`, `if false {`,
		"TestAReadThatDoesNotUseTheCacheIsAMissForStatsAndObserver",
	},
	{
		"a near copy that answers no read is no hit", "nearcopies.go",
		`	if err == engine.ErrUnusable {
		return v, nil, false
	}
	t.copies.Hit()`, `	t.copies.Hit()
	if err == engine.ErrUnusable {
		return v, nil, false
	}`,
		"TestANearCopyCountsAsAHitOnlyIfItAnswersTheRead",
	},
	{
		"a read that ends while its value is made of a near copy is told", "nearcopies.go",
		`if r.Err == engine.ErrNoReturn {`, `if false {`,
		"TestANearCopyCountsAsAHitOnlyIfItAnswersTheRead",
	},
	{
		"a key that is given twice is one near hit", "many.go",
		`if isServed(key) {`, `if false {`,
		"TestAKeyThatIsGivenTwiceIsOneNearHit",
	},
	{
		"a hit by another caller's lease is no join", "internal/engine/observe.go",
		`r.Outcome == Miss || f.adopted == nil {`, `f != nil {`,
		"TestAHitByTheLeaseThatAnotherCallerAskedForIsNoJoin",
	},
	{
		"a miss that joins a load that panics is told of it", "internal/engine/miss.go",
		`	c.joined(r, f)
	return repanic(f.err)`, `	err := repanic(f.err)
	c.joined(r, f)
	return err`,
		"TestAMissThatJoinsALoadThatPanicsIsToldOfThatLoad",
	},
	{
		"a load has the error that its callers get", "internal/engine/load.go",
		`loading.end(load.err)`, `loading.end(nil)`,
		"TestALoadEndsInOneWayForStatsAndObserver",
	},
	{
		"a batch load has the error that its callers get", "internal/engine/load.go",
		`return outcome[[]Loaded]{found, failureOf(errs)}`, `return outcome[[]Loaded]{found, nil}`,
		"TestALoadEndsInOneWayForStatsAndObserver",
	},
	{
		"a fill that Redis failed is not one that it refused", "internal/engine/observe.go",
		`	case f.Err != nil:
		t.n.fillErrors.Add(1)
	case f.Refused:`, `	case f.Err != nil || f.Refused:`,
		"TestStatsAndObserverAgreeWhateverHappens",
	},
	{
		"an Observer that does not return ends nothing but its call", "internal/engine/observe.go",
		`_, err := isolated(context.Background(), func() (none struct{}) { observe(ctx, info); return none })`,
		`var err error
		observe(ctx, info)`,
		"TestAnObserverOrLoggerThatBreaksEndsNothingElse",
	},
	{
		"an Observer that panics when it is told of a read does not end the read", "internal/engine/observe.go",
		`if p := recover(); p != nil {
			t.unwinding`, `if p := any(nil); p != nil {
			t.unwinding`,
		"TestAnObserverOrLoggerThatBreaksEndsNothingElse",
	},
	{
		"a logger that does not return ends nothing but its call", "internal/engine/open.go",
		`c.Config.Logger = guardedLogger(c.Config.Logger)`, `_ = guardedLogger`,
		"TestAnObserverOrLoggerThatBreaksEndsNothingElse",
	},
	{
		"a logger is asked whether it wants a line", "internal/engine/observe.go",
		`if !h.Handler.Enabled(ctx, r.Level) {`, `if false {`,
		"TestALoggerIsAskedWhatItWants",
	},
	{
		"an Observer that breaks is logged once in a while", "internal/engine/observe.go",
		`if !t.unwound.now() {`, `if false {`,
		"TestAnObserverThatBreaksIsLoggedOnceInAWhile",
	},
	{
		"each Observer is told", "options.go",
		`c.Observers = append(c.Observers, o.listener())`, `c.Observers = []engine.Observer{o.listener()}`,
		"TestEachObserverIsToldInTheOrderGiven",
	},
	{
		"what is logged seldom goes by the monotonic clock", "internal/engine/observe.go",
		`now.Sub(*last) >=`, `now.Round(0).Sub(last.Round(0)) >=`,
		"TestWhatIsLoggedSeldomGoesByTheMonotonicClock",
	},
	{
		"a refresh has no values of the request that began it", "internal/engine/refresh.go",
		`return context.Background(), nil`, `return context.WithoutCancel(ctx), nil`,
		"TestARefreshKnowsNothingOfTheRequestThatBeganIt",
	},
	{
		"a load does not end with what WithLoadContext returns", "internal/engine/inside.go",
		`	return context.WithoutCancel(ctx), nil
}`, `	return ctx, nil
}`,
		"TestWithLoadContextMakesTheCtxOfEachLoadWhileItsCallerIsThere",
	},
	{
		"that WithLoadContext returns nil is an error", "internal/engine/inside.go",
		`ctx = c.LoadCtx(ctx); ctx == nil {`, `ctx = c.LoadCtx(ctx); false {`,
		"TestWithLoadContextThatGivesNoneIsAnErrorOfTheReadAndPutsARefreshOff",
	},
	{
		"a panic in WithLoadContext does not end a read that has its value", "internal/engine/refresh.go",
		`if p := recover(); p != nil {`, `if p := any(nil); p != nil {`,
		"TestWithLoadContextThatGivesNoneIsAnErrorOfTheReadAndPutsARefreshOff",
	},
	{
		"a refresh that has not begun keeps neither its place nor its key", "internal/engine/refresh.go",
		`if !begun {`, `if !begun && c.LoadCtx == nil {`,
		"TestGoexitInWithLoadContextLeavesTheRefreshToTheNextRead",
	},
	{
		"a TTL of 0 is none", "typed.go",
		`d != DefaultTTL {`, `d != DefaultTTL && d != 0 {`,
		"TestWhatHasNoTTLIsNotStored",
	},
}
