package main

const (
	S = 0
	L = 1
)

// each has one thread for each of n keys, in any order.
func each(v verb, n int) (g group) {
	for k := range n {
		g = append(g, thread{{v, uint8(k)}})
	}
	return g
}

// seq is one thread: one after the other.
func seq(v verb, keys ...int) group {
	var t thread
	for _, k := range keys {
		t = append(t, op{v, uint8(k)})
	}
	return group{t}
}

func one(v verb, key ...int) group {
	o := op{verb: v}
	if len(key) > 0 {
		o.key = uint8(key[0])
	}
	return group{thread{o}}
}

func prog(name string, groups ...group) program { return program{name: name, groups: groups} }
func tx(name string, groups ...group) program {
	return program{name: name, tx: true, groups: groups}
}

func ends() group { return one(end) }

func upTo(n int) (k []int) {
	for i := range n {
		k = append(k, i)
	}
	return k
}

func downFrom(n int) (k []int) {
	for i := n - 1; i >= 0; i-- {
		k = append(k, i)
	}
	return k
}

// What a write does to n keys.

func removals(n int) program {
	return prog("one call, plain removals", one(write), each(rm, n), ends())
}
func passes(n, times int) program {
	g := []group{one(write)}
	for range times {
		g = append(g, each(rm, n))
	}
	return prog("passes", append(g, ends())...)
}
func sourcesFirst(n int) program { return prog("separate", one(write), seq(rm, upTo(n)...), ends()) }
func derivedFirst(n int) program {
	return prog("separate", one(write), seq(rm, downFrom(n)...), ends())
}
func holds(n int) program { // R1
	return prog("R1", one(write), each(hold, n), each(rel, n), one(again, 1), ends())
}
func holdsOnce(n int) program {
	return prog("R1", one(write), each(hold, n), each(rel, n), ends())
}
func returnsHeld(n int) program {
	return prog("R1", one(write), each(hold, n), ends(), each(rel, n))
}
func inTx(n int) program {
	return tx("InTx", each(hold, n), one(commit), each(rel, n), one(again, 0), ends())
}
func inTxOnce(n int) program {
	return tx("InTx", each(hold, n), one(commit), each(rel, n), ends())
}
func inTxTry(n int, loop bool) program {
	if loop {
		return tx("InTx", each(tryHold, n), one(commit), each(rel, n), one(again, 0), ends())
	}
	return tx("InTx", each(tryHold, n), one(commit), each(rel, n), ends())
}

// tags: n keys, page by page in any order
func pages(n int) (g group) {
	for k := range n {
		g = append(g, thread{{readIndex, uint8(k)}, {rmFound, uint8(k)}, {unindex, uint8(k)}})
	}
	return g
}
func tagNow(n int) program {
	return prog("InvalidateTags", one(write), one(record), pages(n), ends())
}
func tagTwice(n, times int) program {
	g := []group{one(write)}
	for range times {
		g = append(g, one(record), pages(n))
	}
	return prog("InvalidateTags", append(g, ends())...)
}
func tagHolds(n int, release ...group) program {
	g := []group{one(write), one(holdTag), one(record), pages(n)}
	g = append(g, release...)
	return prog("InvalidateTags", append(g, one(again, 1), ends())...)
}
func tagInTx(n int, release ...group) program {
	g := []group{one(holdTag), one(record), pages(n), one(commit)}
	g = append(g, release...)
	return tx("InTx", append(g, one(again, 0), ends())...)
}

func tagInTxOnce(n int, release ...group) program {
	g := []group{one(holdTag), one(record), pages(n), one(commit)}
	g = append(g, release...)
	return tx("InTx", append(g, ends())...)
}

// near copies
func nearHolds(n int) program { // R5
	return prog("R5", one(write), each(hold, n), one(note, 1<<n-1), one(wait), each(rel, n), one(again, 1), ends())
}
func nearInTx(n int) program {
	return tx("InTx", each(hold, n), one(note, 1<<n-1), one(wait), one(commit), each(rel, n), one(again, 0), ends())
}
func nearSourcesFirst(n int) program {
	g := []group{one(write)}
	for k := range n {
		g = append(g, one(rm, k), one(note, 1<<k), one(wait))
	}
	return prog("separate", append(g, ends())...)
}
func nearPasses(n, times int) program {
	g := []group{one(write)}
	for range times {
		g = append(g, each(rm, n), one(note, 1<<n-1), one(wait))
	}
	return prog("passes", append(g, ends())...)
}

func tries(n int) program {
	return prog("separate calls", one(write), seq(try, upTo(n)...), one(settled), ends())
}

// scans
func scans(n, times int) program {
	g := []group{one(write)}
	for range times {
		g = append(g, one(snapshot), each(scanRm, n))
	}
	return prog("InvalidateAll", append(g, ends())...)
}

func with(name string, keys, loads int, changes ...func(d *design)) design {
	d := design{name: name, keys: keys, loads: loads}
	for _, c := range changes {
		c(&d)
	}
	return d
}

func run(p ...program) func(d *design) { return func(d *design) { d.programs = p } }

func evictHold(d *design)              { d.evictHold = true }
func lateCmd(d *design)                { d.late = true }
func stamps(d *design)                 { d.stamps = true }
func near(d *design)                   { d.near = true }
func leaseLoss(d *design)              { d.leaseLoss = true }
func joins(d *design)                  { d.joins, d.oneProc = true, true }
func atFill(d *design)                 { d.heldAtFill = true }
func promise2(d *design)               { d.promise2 = true }
func crash(d *design)                  { d.crash = true }
func replica(d *design)                { d.replica = true }
func diamond(d *design)                { d.diamond = true }
func noRefresh(d *design)              { d.noRefresh = true }
func keepsGone(d *design)              { d.keepsGone = true }
func oneProc(d *design)                { d.oneProc = true }
func retrying(r retry) func(d *design) { return func(d *design) { d.retry = r } }
func taint(d *design)                  { d.taint = true }
func taintLag(d *design)               { d.taintLag = true }
func marksCount(d *design)             { d.marksCount = true }
func noNearInside(d *design)           { d.noNearInside = true }
func tagged(m uint8) func(d *design)   { return func(d *design) { d.tags = m } }

// good are R1 to R7, and what they could as well be. Nothing may break.
var good = []design{
	// R1: one call
	with("R1 depth 1, 2 loads", 2, 2, run(holds(2))),
	with("R1 depth 1, 3 loads", 2, 3, run(holds(2))),
	with("R1 depth 1, 2 loads, holds are evicted", 2, 2, run(holds(2)), evictHold),
	with("R1 depth 1, 2 loads, holds are evicted, no second look", 2, 2, run(holdsOnce(2)), evictHold),
	with("R1 depth 1, 2 loads, holds are evicted, late commands, no second look, no stamps", 2, 2, run(holdsOnce(2)), evictHold, lateCmd),
	with("R1 depth 1, 2 loads, holds are evicted, late commands, stamps", 2, 2, run(holds(2)), evictHold, lateCmd, stamps),
	with("R1 depth 1, 2 loads, late commands", 2, 2, run(holds(2)), lateCmd),
	with("R1 depth 1, 2 loads, 2 writers", 2, 2, run(holds(2), holds(2)), crash),
	with("R1 depth 1, 1 load, 2 writers, holds are evicted", 2, 1, run(holds(2), holds(2)), evictHold, crash),
	with("R1 depth 2, 2 loads", 3, 2, run(holds(3))),
	with("R1 depth 2, 1 load, holds are evicted", 3, 1, run(holds(3)), evictHold),
	with("R1 depth 2, 2 loads, holds are evicted", 3, 2, run(holds(3)), evictHold, noRefresh),
	with("R1 depth 2, 1 load, holds are evicted, late commands, stamps", 3, 1, run(holds(3)), evictHold, lateCmd, stamps),
	with("R1 depth 2, 2 loads, late commands, no stamps", 3, 2, run(holds(3)), lateCmd, noRefresh),
	with("R1 depth 2, 1 load, 2 writers", 3, 1, run(holds(3), holds(3)), crash),
	with("R1 depth 2, 2 loads, P is made from L and from S", 3, 2, run(holds(3)), diamond),

	// instead of R1
	with("two passes of removals, depth 1", 2, 3, run(passes(2, 2))),
	with("two passes of removals, depth 1, 2 writers", 2, 2, run(passes(2, 2), passes(2, 2)), crash),
	with("three passes of removals, depth 2", 3, 2, run(passes(3, 3))),
	with("one atomic removal, depth 1", 2, 3, run(prog("", one(write), one(rmAll, 3), ends()))),
	with("one atomic removal, depth 2", 3, 2, run(prog("", one(write), one(rmAll, 7), ends()))),
	with("one atomic removal, depth 2, 2 writers", 3, 1, run(prog("", one(write), one(rmAll, 7), ends()), prog("", one(write), one(rmAll, 7), ends()))),
	with("returns when all is held, releases in the background, depth 1", 2, 2, run(returnsHeld(2))),
	with("returns when all is held, releases in the background, depth 2", 3, 2, run(returnsHeld(3))),
	with("holds placed sources first, one after the other, released in any order, holds are evicted, no second look, depth 2", 3, 2,
		run(prog("", one(write), seq(hold, 0, 1, 2), each(rel, 3), ends())), evictHold, noRefresh),

	// R2
	with("R2 separate, sources first, depth 1", 2, 3, run(sourcesFirst(2))),
	with("R2 separate, sources first, depth 1, 2 writers", 2, 2, run(sourcesFirst(2), sourcesFirst(2)), crash),
	with("R2 separate, sources first, depth 2", 3, 2, run(sourcesFirst(3))),
	with("R2 separate, sources first, depth 2, late fills", 3, 2, run(sourcesFirst(3)), lateCmd, noRefresh),
	with("R2 beside an InTx on both", 2, 2, run(sourcesFirst(2), inTx(2)), crash, promise2),
	with("R2 and R1 at the same time", 2, 2, run(sourcesFirst(2), holds(2)), crash),

	// InTx
	with("InTx depth 1, 2 loads", 2, 2, run(inTx(2)), promise2, crash),
	with("InTx depth 1, 3 loads", 2, 3, run(inTx(2)), promise2, crash),
	with("InTx depth 1, 2 loads, holds are evicted", 2, 2, run(inTx(2)), promise2, crash, evictHold),
	with("InTx depth 1, 2 loads, holds are evicted, late commands, stamps", 2, 2, run(inTx(2)), promise2, crash, evictHold, lateCmd, stamps),
	with("InTx depth 1, 1 load, 2 InTx, holds are evicted", 2, 1, run(inTx(2), inTx(2)), promise2, crash, evictHold),
	with("InTx depth 1, 2 loads, 2 InTx", 2, 2, run(inTx(2), inTx(2)), promise2, crash),
	with("InTx depth 1, 2 loads, InTx and R1", 2, 2, run(inTx(2), holds(2)), promise2, crash),
	with("InTx depth 1, holds may fail", 2, 2, run(inTxTry(2, true)), promise2, crash),
	with("InTx depth 2, 2 loads", 3, 2, run(inTx(3)), promise2, crash),
	with("InTx depth 2, 1 load, holds are evicted", 3, 1, run(inTx(3)), promise2, crash, evictHold),
	with("InTx depth 2, 2 loads, holds are evicted", 3, 2, run(inTx(3)), promise2, crash, evictHold, noRefresh),
	with("InTx depth 2, 1 load, holds may fail and are evicted", 3, 1, run(inTxTry(3, true)), promise2, crash, evictHold),
	with("InTx whose holds were evicted: holds all again once, no loop, depth 2", 3, 2,
		run(tx("InTx", each(hold, 3), one(commit), each(rel, 3), each(hold, 3), each(rel, 3), ends())), evictHold, noRefresh),
	with("InTx, unknown outcome: all holds are left to expire", 2, 2, run(tx("InTx", each(hold, 2), one(commit), ends())), promise2, crash),

	// R3
	with("R3 sent again in the order of the calls, depth 1", 2, 2, run(tries(2)), retrying(inOrder)),
	with("R3 sent again in the order of the calls, depth 2", 3, 2, run(tries(3)), retrying(inOrder)),
	with("R3 sent again held together, depth 1", 2, 2, run(tries(2)), retrying(asGroup)),
	with("R3 sent again held together, depth 2", 3, 2, run(tries(3)), retrying(asGroup), noRefresh),
	with("R3 sent again held together, depth 2, holds are evicted", 3, 1, run(tries(3)), retrying(asGroup), evictHold),
	with("R3 until held, depth 1", 2, 2, run(tries(2)), retrying(untilHeld)),
	with("R3 until held, depth 1, holds are evicted", 2, 2, run(tries(2)), retrying(untilHeld), evictHold),
	with("R3 until held, depth 2", 3, 2, run(tries(3)), retrying(untilHeld), noRefresh),
	with("R3 until held, depth 2, holds are evicted", 3, 1, run(tries(3)), retrying(untilHeld), evictHold),
	with("R3 until held, depth 3, 1 load", 4, 1, run(tries(4)), retrying(untilHeld), noRefresh),
	with("R3 what failed since counts as well, any order, depth 1", 2, 2, run(tries(2)), retrying(thenAllAfter)),

	// R4
	with("R4 hold in the mark, release alone, depth 1", 2, 2, run(tagHolds(2, one(relTag))), tagged(3)),
	with("R4 hold in the mark, release alone, depth 1, holds are evicted", 2, 2, run(tagHolds(2, one(relTag))), tagged(3), evictHold, noRefresh),
	with("R4 hold in the mark, release alone, depth 2, 1 load", 3, 1, run(tagHolds(3, one(relTag))), tagged(7)),
	with("R4 hold in the mark, release alone, depth 2, 1 load, holds are evicted", 3, 1, run(tagHolds(3, one(relTag))), tagged(7), evictHold),
	with("R4 hold before the fill, release with a record, depth 1", 2, 2, run(tagHolds(2, one(relTagRecord))), tagged(3), atFill),
	with("R4 hold before the fill, record, then release, depth 1", 2, 2, run(tagHolds(2, one(record), one(relTag))), tagged(3), atFill),
	with("R4 hold before the fill, release with a record, depth 2, 1 load", 3, 1, run(tagHolds(3, one(relTagRecord))), tagged(7), atFill),
	with("R4 two plain passes, depth 1", 2, 2, run(tagTwice(2, 2)), tagged(3)),
	with("R4 InTx, depth 1, release alone", 2, 2, run(tagInTx(2, one(relTag))), tagged(3), promise2, crash),
	with("R4 InTx, depth 1, release alone, holds are evicted", 2, 2, run(tagInTx(2, one(relTag))), tagged(3), promise2, crash, evictHold, noRefresh),
	with("R4 2 InvalidateTags at once, depth 1, 1 load", 2, 1, run(tagHolds(2, one(relTag)), tagHolds(2, one(relTag))), tagged(3)),
	with("R4 S and P by key, L by tag: all held, L removed, all released", 3, 1,
		run(prog("", one(write), group{{{hold, 0}}, {{hold, 2}}, {{holdTag, 0}, {record, 0}}}, group{{{readIndex, 1}, {rmFound, 1}, {unindex, 1}}},
			group{{{rel, 0}}, {{rel, 2}}, {{relTag, 0}}}, one(again, 1), ends())), tagged(2), evictHold),

	// R5
	with("R5 near, depth 1, 1 process of 1 load", 2, 1, run(nearHolds(2)), near, leaseLoss),
	with("R5 near, depth 1, 2 processes", 2, 2, run(nearHolds(2)), near, noRefresh),
	with("R5 near, depth 1, 2 processes, leases are lost", 2, 2, run(nearHolds(2)), near, leaseLoss, noRefresh),
	with("R5 near, depth 1, 1 process of 2 loads", 2, 2, run(nearHolds(2)), near, oneProc, leaseLoss),
	with("R5 near, depth 1, 1 load, holds are evicted", 2, 1, run(nearHolds(2)), near, leaseLoss, evictHold),
	with("R5 near, InTx, depth 1, 2 processes", 2, 2, run(nearInTx(2)), near, promise2, crash, noRefresh),
	with("R5 near, InTx, depth 1, 1 load, holds are evicted", 2, 1, run(nearInTx(2)), near, leaseLoss, promise2, crash, evictHold),
	with("R5 near, separate, sources first, depth 2", 3, 1, run(nearSourcesFirst(3)), near, leaseLoss),
	with("R5 near, returns after the wait, releases in the background, depth 1, 2 processes", 2, 2,
		run(prog("", one(write), each(hold, 2), one(note, 3), one(wait), ends(), each(rel, 2))), near, noRefresh),

	// R6
	with("R6 joins, R1, depth 1, 2 loads", 2, 2, run(holds(2)), joins),
	with("R6 joins, R1, depth 1, 3 loads", 2, 3, run(holds(2)), joins, noRefresh),
	with("R6 joins, separate, sources first, depth 1, 3 loads", 2, 3, run(sourcesFirst(2)), joins, noRefresh),
	with("R6 joins, separate, sources first, depth 2, 2 loads, late fills", 3, 2, run(sourcesFirst(3)), joins, lateCmd, noRefresh),
	with("R6 joins, R1, depth 2, 2 loads", 3, 2, run(holds(3)), joins, noRefresh),
	with("R6 joins, InTx, depth 1, 2 loads", 2, 2, run(inTx(2)), joins, promise2, crash),

	with("R6 joins and near copies in one process, R5, depth 1, 2 loads", 2, 2, run(nearHolds(2)), near, joins, noRefresh),

	// depth 3
	with("depth 3, R1, 1 load, holds are evicted", 4, 1, run(holds(4)), evictHold),
	with("depth 3, R1, 2 loads", 4, 2, run(holds(4)), noRefresh),
	with("depth 3, four passes of removals, 1 load", 4, 1, run(passes(4, 4))),
	with("depth 3, sources first, 2 loads", 4, 2, run(sourcesFirst(4)), noRefresh),
	with("depth 3, InTx, 1 load, holds are evicted", 4, 1, run(inTx(4)), evictHold, crash, promise2, noRefresh),

	// what fails in a group
	with("G1 one call, holds fail, all of the call is sent again, depth 1", 2, 2,
		run(prog("", one(write), each(tryHoldAll, 2), each(rel, 2), one(settled), ends())), retrying(asGroup)),
	with("G1 one call, holds fail, all of the call is sent again, depth 2", 3, 1,
		run(prog("", one(write), each(tryHoldAll, 3), each(rel, 3), one(settled), ends())), retrying(asGroup)),
	with("G2 InTx, releases fail, holds are evicted, all of it is sent again, depth 1", 2, 2,
		run(tx("InTx", each(hold, 2), one(commit), each(tryRel, 2), one(again, 0), one(settled), ends())), retrying(asGroup), evictHold, noRefresh),

	// a load that saw a hold fills nothing, and neither do the loads that it is for
	with("H1 taint: InTx, P released, S left to expire, the COMMIT lands late", 2, 2,
		run(tx("InTx", each(hold, 2), one(rel, 1), one(commit), ends())), taint, promise2, crash),
	with("H2 taint: InTx holds S alone, P is removed after that", 2, 2, run(tx("InTx", one(hold, 0), one(rm, 1), one(commit), one(rel, 0), ends())), taint, promise2, crash),
	with("H3 taint: lag on S alone, R1", 2, 2, run(prog("", one(write), each(hold, 2), group{{{relLag, 0}}, {{rel, 1}}}, ends())), replica, taint),
	with("H4 taint: lag on S alone, separate", 2, 2, run(prog("", one(write), one(rmLag, 0), one(rm, 1), ends())), replica, taint),
	with("H5 taint: lag on S alone, separate, depth 2", 3, 2, run(prog("", one(write), one(rmLag, 0), one(rm, 1), one(rm, 2), ends())), replica, taint),

	with("H6 taint by lags only: lag on S alone, noted with the hold, R1", 2, 2,
		run(prog("", one(write), group{{{hold, 0}, {rmLag, 0}}, {{hold, 1}}}, each(rel, 2), ends())), replica, taintLag),
	with("H7 taint by lags only: lag on S alone, separate, depth 2", 3, 2, run(prog("", one(write), one(rmLag, 0), one(rm, 1), one(rm, 2), ends())), replica, taintLag),

	// tags without holds: the marks of what was read count
	with("M1 marks of what was read count, today's InvalidateTags, depth 1", 2, 2, run(tagNow(2)), tagged(3), marksCount),
	with("M2 the same, depth 2", 3, 1, run(tagNow(3)), tagged(7), marksCount),
	with("R4 returns when all is removed, releases the tag in the background", 2, 2,
		run(prog("", one(write), one(holdTag), one(record), pages(2), ends(), one(relTag))), tagged(3)),
	with("R4 and R5, tags and near copies, depth 1", 2, 1,
		run(prog("", one(write), one(holdTag), one(record), pages(2), one(note, 3), one(wait), one(relTag), one(again, 1), ends())), tagged(3), near, leaseLoss, evictHold),
	with("R4 and R5, tags and near copies, depth 1, 2 processes", 2, 2,
		run(prog("", one(write), one(holdTag), one(record), pages(2), one(note, 3), one(wait), one(relTag), ends())), tagged(3), near, noRefresh),

	// Gets in loaders do not look at near copies
	with("F1 loaders past near copies: one atomic removal, record, wait, depth 1, 2 processes", 2, 2,
		run(prog("", one(write), one(rmAll, 3), one(note, 3), one(wait), ends())), near, leaseLoss, noNearInside, noRefresh),
	with("F2 loaders past near copies: one atomic removal, record, wait, depth 2", 3, 1,
		run(prog("", one(write), one(rmAll, 7), one(note, 7), one(wait), ends())), near, leaseLoss, noNearInside),
	with("F3 loaders past near copies: R1, then record, wait, depth 1, 2 processes", 2, 2,
		run(prog("", one(write), each(hold, 2), each(rel, 2), one(again, 1), one(note, 3), one(wait), ends())), near, leaseLoss, noNearInside, noRefresh),
	with("F7 the same, depth 2", 3, 1,
		run(prog("", one(write), each(hold, 3), group{{{rel, 0}}, {{rel, 1}}, {{rel, 2}}, {{note, 7}}}, one(again, 1), one(wait), ends())), near, noNearInside, noRefresh),
	with("F8 loaders past near copies: InTx, depth 1, holds are evicted", 2, 1, run(nearInTx(2)), near, leaseLoss, noNearInside, evictHold, promise2, crash),
	with("F5 loaders past near copies: sources first, one record and one wait for all, depth 1, 2 processes", 2, 2,
		run(prog("", one(write), seq(rm, 0, 1), one(note, 3), one(wait), ends())), near, leaseLoss, noNearInside, noRefresh),

	// InvalidateAll
	with("InvalidateAll twice, depth 1", 2, 2, run(scans(2, 2))),
	with("InvalidateAll three times, depth 2", 3, 1, run(scans(3, 3))),

	with("InvalidateAll as a tag that all have: hold, record, one scan, release, depth 1", 2, 2,
		run(prog("", one(write), one(holdTag), one(record), one(snapshot), each(scanRm, 2), one(relTag), one(again, 1), ends())), tagged(3), evictHold, noRefresh),
	with("InvalidateAll as a tag that all have: hold, record, one scan, release, depth 2", 3, 1,
		run(prog("", one(write), one(holdTag), one(record), one(snapshot), each(scanRm, 3), one(relTag), one(again, 1), ends())), tagged(7), evictHold, noRefresh),

	// where it is known what is made from what
	with("K1 S is removed while P is held, depth 1, holds are evicted", 2, 2,
		run(prog("", one(write), group{{{rm, 0}}, {{hold, 1}}}, one(rel, 1), ends())), evictHold),
	with("K2 S is removed while L and P are held, depth 2", 3, 2,
		run(prog("", one(write), group{{{rm, 0}}, {{hold, 1}}, {{hold, 2}}}, group{{{rel, 1}}, {{rel, 2}}}, ends())), noRefresh),
	with("K3 P is made from L and from S, InTx, holds are evicted", 3, 1, run(inTx(3)), evictHold, diamond, crash, promise2, noRefresh),
	with("K4 P is made from L and from S, sources first", 3, 2, run(sourcesFirst(3)), diamond, noRefresh),

	// replicas
	with("lag on both, R1", 2, 2, run(prog("", one(write), each(hold, 2), each(relLag, 2), ends())), replica),
	with("lag on both, separate", 2, 2, run(prog("", one(write), seq(rmLag, 0, 1), ends())), replica),
}

// broken must break.
var broken = []design{
	with("B1 one call, plain removals, depth 1", 2, 1, run(removals(2))),
	with("B2 separate calls, derived first", 2, 1, run(derivedFirst(2))),
	with("B3 P is released before S is held", 2, 1, run(prog("", one(write), group{{{hold, 1}, {rel, 1}}, {{hold, 0}, {rel, 0}}}, ends()))),
	with("B4 two passes of removals, depth 2", 3, 1, run(passes(3, 2))),
	with("B5 R1, depth 2, a hold is evicted, no second look", 3, 1, run(holdsOnce(3)), evictHold),
	with("B6 R1, depth 2, a hold is evicted, a late duplicate places it again, no stamps", 3, 1, run(holds(3)), evictHold, lateCmd),
	with("B7 R1, depth 1, to release a hold that is gone does nothing", 2, 1, run(holdsOnce(2)), evictHold, keepsGone),
	with("B8 returns when all is held, a hold is evicted before", 2, 1, run(returnsHeld(2)), evictHold),
	with("B9 one token for the calls of a process, depth 2", 3, 1, run(holdsOnce(3), holdsOnce(3)), func(d *design) { d.sharedToken = true }),
	with("B13 one token for the calls of a process, with a second look, depth 2", 3, 1, run(holds(3), holds(3)), func(d *design) { d.sharedToken = true }, noRefresh),
	with("B10 holds in one group, plain removal of the source", 2, 1, run(prog("", one(write), group{{{rm, 0}}, {{hold, 1}, {rel, 1}}}, ends()))),

	with("B11 R1, a load that began under a hold fills if there is nothing when it ends", 2, 1, run(holds(2)), func(d *design) { d.nxAfterHold = true }),
	with("B12 three passes of removals, depth 3", 4, 1, run(passes(4, 3))),

	with("I1 InTx, depth 1, S's hold is evicted, P is released first", 2, 1, run(inTxOnce(2)), evictHold),
	with("I2 InTx, depth 1, S could not be held, released together", 2, 1, run(inTxTry(2, false))),
	with("I3 InTx, depth 1, S's hold is evicted and placed again by a late renewal, no stamps", 2, 1, run(inTx(2)), evictHold, lateCmd),
	with("I4 InTx, P released, S left to expire, the COMMIT lands late", 2, 1, run(tx("InTx", each(hold, 2), one(rel, 1), one(commit), ends()))),
	with("I5 InTx holds S, P is removed inside without a hold", 2, 1, run(tx("InTx", group{{{hold, 0}}, {{rm, 1}}}, one(commit), one(rel, 0), ends()))),
	with("I6 InTx holds P alone, S is invalidated after it", 2, 1, run(tx("InTx", one(hold, 1), one(commit), one(rel, 1), one(rm, 0), ends()))),

	with("I7 InTx whose holds were evicted: holds all again once, no loop, depth 3", 4, 1,
		run(tx("InTx", each(hold, 4), one(commit), each(rel, 4), each(hold, 4), each(rel, 4), ends())), evictHold),

	with("P1 no R3: a failed invalidation is sent again alone", 2, 1, run(tries(2)), retrying(pendingOnly)),
	with("P2 R3 as stated, depth 1, both fail", 2, 1, run(tries(2)), retrying(thenAfter)),
	with("P3 R3, what follows is sent again in any order, depth 2", 3, 1, run(tries(3)), retrying(thenAllAfter)),

	with("P7 R3 until held, whatever became of the holds, depth 2, holds are evicted", 3, 1, run(tries(3)), retrying(untilHeldAtMost), evictHold),
	with("P4 one call, S's hold failed, S alone is sent again", 2, 1,
		run(prog("", one(write), each(tryHoldAll, 2), each(rel, 2), one(settled), ends())), retrying(pendingOnly)),
	with("P5 InTx, S's hold is evicted, its release fails, S alone is sent again", 2, 1,
		run(tx("InTx", each(hold, 2), one(commit), each(tryRel, 2), one(again, 0), one(settled), ends())), retrying(pendingOnly), evictHold),
	with("P6 S is pending, an InTx on P is not sent again after it", 2, 1,
		run(tx("InTx", one(hold, 1), one(commit), one(rel, 1), one(rm, 0), ends()))),

	with("T1 tags as today: record, then removals", 2, 1, run(tagNow(2)), tagged(3)),
	with("T2 hold before the fill, released without a second record", 2, 1, run(tagHolds(2, one(relTag))), tagged(3), atFill),
	with("T3 hold before the fill, released, then the second record", 2, 1, run(tagHolds(2, one(relTag), one(record))), tagged(3), atFill),
	with("T4 two plain passes, depth 2", 3, 1, run(tagTwice(3, 2)), tagged(7)),
	with("T5 tag held, without the first record", 2, 1, run(prog("", one(write), one(holdTag), pages(2), one(relTag), ends())), tagged(3)),
	with("T6 record before the hold", 2, 1, run(prog("", one(write), one(record), one(holdTag), pages(2), one(relTag), ends())), tagged(3)),
	with("T7 the tag's hold is evicted, no second look", 2, 1,
		run(prog("", one(write), one(holdTag), one(record), pages(2), one(relTag), ends())), tagged(3), evictHold),
	with("T8 InTx, the tag's hold is evicted, no second look", 2, 1, run(tagInTxOnce(2, one(relTag))), tagged(3), evictHold),
	with("T9 InTx as today: record and removals after the COMMIT, the tag's hold is evicted", 2, 1,
		run(tagInTxOnce(2, one(record), pages(2), one(relTag))), tagged(3), evictHold),
	with("T10 S and P by key, L by tag: S and P are released before L is removed", 3, 1,
		run(prog("", one(write), group{{{hold, 0}}, {{hold, 2}}, {{holdTag, 0}, {record, 0}}},
			group{{{readIndex, 1}, {rmFound, 1}, {unindex, 1}}, {{rel, 0}}, {{rel, 2}}}, one(relTag), ends())), tagged(2)),

	with("T11 tags and near copies: the tag is released before the wait", 2, 1,
		run(prog("", one(write), one(holdTag), one(record), pages(2), one(note, 3), one(relTag), one(wait), ends())), tagged(3), near),

	with("N1 near: released before the wait", 2, 1,
		run(prog("", one(write), each(hold, 2), one(note, 3), each(rel, 2), one(wait), ends())), near, leaseLoss),
	with("N2 near: the record is sent before all is held", 2, 1,
		run(prog("", one(write), one(hold, 1), one(note, 3), one(hold, 0), one(wait), each(rel, 2), ends())), near),
	with("N3 near: one atomic removal, record, wait", 2, 1, run(prog("", one(write), one(rmAll, 3), one(note, 3), one(wait), ends())), near),
	with("N4 near: sources first, one record and one wait for all", 2, 1,
		run(prog("", one(write), seq(rm, 0, 1), one(note, 3), one(wait), ends())), near),
	with("N5 near, InTx: a hold was gone, all is held again without a record", 2, 1,
		run(tx("InTx", each(hold, 2), one(note, 3), one(wait), one(commit), each(rel, 2), each(hold, 2), each(rel, 2), ends())), near, evictHold),
	with("N6 near: two passes of removals, one wait at the end", 2, 1,
		run(prog("", one(write), each(rm, 2), each(rm, 2), one(note, 3), one(wait), ends())), near),
	with("N7 near: two passes, the wait between them, depth 1", 2, 1,
		run(prog("", one(write), each(rm, 2), one(note, 3), one(wait), each(rm, 2), ends())), near),

	with("J1 a joiner takes what the flight found, whatever became of its fill", 2, 2, run(sourcesFirst(2)), joins, func(d *design) { d.joinAny = true }),
	with("J2 the Get in a loader counts as arrived when the Get outside did", 2, 2, run(sourcesFirst(2)), joins, func(d *design) { d.joinInherit = true }),
	with("J3 the same, R1", 2, 2, run(holds(2)), joins, func(d *design) { d.joinInherit = true }),

	with("A1 InvalidateAll, one scan, depth 1", 2, 1, run(scans(2, 1))),
	with("A2 InvalidateAll, two scans, depth 2", 3, 1, run(scans(3, 2))),
	with("A3 InvalidateAll, holds what it meets, then releases", 2, 1, run(prog("", one(write), one(snapshot), each(scanHold, 2), each(relFound, 2), ends()))),

	with("L1 lag on S alone, R1", 2, 1, run(prog("", one(write), each(hold, 2), group{{{relLag, 0}}, {{rel, 1}}}, ends())), replica),
	with("L3 taint by lags only: lag on S alone, noted with the release, R1", 2, 1, run(prog("", one(write), each(hold, 2), group{{{relLag, 0}}, {{rel, 1}}}, ends())), replica, taintLag),
	with("L2 lag on S alone, separate", 2, 1, run(prog("", one(write), one(rmLag, 0), one(rm, 1), ends())), replica),
}
