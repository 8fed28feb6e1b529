package main

func with(name string, changes ...func(d *design)) design {
	d := design{name: name, delta: 2, readers: 1, programs: []program{plain}, maxLog: maxLog}
	for _, change := range changes {
		change(&d)
	}
	return d
}

// tracked is one reader and one writer beside any number of others, and a Redis that loses and repeats what it can.
func tracked(d *design) {
	d.others, d.anyDoc = true, true
	d.again, d.trim, d.loseLog, d.loseReaders, d.flush = true, true, true, true, true
}

// losses is the same without repetitions.
func losses(d *design) {
	tracked(d)
	d.again = false
}

// oneKey is losses of a LOG that holds the readers as well: it can be trimmed, or lost as a whole.
func oneKey(d *design) {
	d.others, d.anyDoc = true, true
	d.trim, d.flush = true, true
}

func told(d *design) { d.told = true }

// explicit is every process by itself, with its documents and loads.
func explicit(readers int, programs ...program) func(d *design) {
	return func(d *design) { d.readers, d.programs = readers, programs }
}

func programs(p ...program) func(d *design) { return func(d *design) { d.programs = p } }

// Accidents. Each may happen once. What is stale for at most Δ after it is excused.
func failover(d *design)    { d.failover, d.accident = true, 1 }
func stepForward(d *design) { d.stepForward, d.accident = true, 1 }
func stepBack(d *design)    { d.stepBack, d.accident = true, 1 }
func suspend(d *design)     { d.suspend, d.accident = true, 1 }
func drift(d *design)       { d.drift, d.delta = true, 4 }

func others(d *design)      { d.others, d.anyDoc = true, true }
func again(d *design)       { d.again = true }
func gets(d *design)        { d.gets = true }
func loseLog(d *design)     { d.loseLog = true }
func loseReaders(d *design) { d.loseReaders = true }
func flush(d *design)       { d.flush = true }
func evictHold(d *design)   { d.evictHold = true }
func tags(d *design)        { d.tags = true }

// asBriefed is S as it was before this check.
func asBriefed(d *design) {
	d.listed, d.trustYoung, d.keepReaders, d.resetPosition, d.lowers, d.noLapse, d.noVerify = true, true, true, true, true, true, true
}

// ours are the final protocol, and what it could as well be. In none of them may a promise break. In most of them LOG and READERS are
// two keys, which can be lost one without the other: that is more than can happen to the one key that they are.
var ours = []design{
	with("T1 plain", tracked, gets),
	with("T2 plain, Δ is 3 ticks", losses, func(d *design) { d.delta = 3 }),
	with("T5 InTx whose hold may be lost", losses, programs(inTx), evictHold),
	with("A1a failover, and everything else that LOG and READERS may lose", failover, loseLog, loseReaders, flush, func(d *design) { d.anyDoc, d.trim = true, true }),
	with("A1b failover, and late commands", failover, again, func(d *design) { d.anyDoc = true }),
	with("A4 the server's clock steps back", losses, stepBack),
	with("A6 clocks drift", others, drift, func(d *design) { d.lease = 2 }),
	with("V1 removal and NOTE in one script", losses, programs(oneScript)),
	with("V17b messages tell of records, failover", programs(plain, program{opNoteOther}), failover, told, func(d *design) { d.anyDoc = true }),
	with("V5 the writer's own process is not waited for", losses, programs(plainOwn), func(d *design) { d.own, d.ownNotWaited = true, true }),
	with("V9 InTx releases without NOTE (its hold is not lost)", losses, programs(program{opHold, opNote, opWait, opHeld, opCommit, opReleaseAll, opReturn})),
	with("V14 one key: LOG and READERS are lost together only", func(d *design) { others(d); again(d); flush(d); gets(d); d.trim = true }),
	with("V15 S as briefed, nothing is lost", asBriefed, explicit(1, plain, plain)),
}

// deep are more of ours. Each takes up to minutes and gigabytes.
var deep = []design{
	with("T3 plain, NEWS and GET are executed late", tracked, func(d *design) { d.split = true }),
	with("T4 InTx", tracked, gets, programs(inTx)),
	with("T6 two names that share a generation", losses, func(d *design) { d.stripes = true }),
	with("E1 2 readers, 1 writer", explicit(2, plain), loseLog, loseReaders, flush),
	with("E2 2 readers, 1 writer, late commands", explicit(2, plain), again),
	with("E3 1 reader, 2 writers", explicit(1, plain, plain), again, loseLog, loseReaders, flush),
	with("E4 2 readers, 2 writers", explicit(2, plain, plain)),
	with("E5 1 reader, a writer and an InTx", explicit(1, plain, inTx), loseLog, flush),
	with("E6 1 reader, 2 InTx whose holds may be lost", explicit(1, inTx, inTx), evictHold),
	with("E7 2 readers, InTx", explicit(2, inTx), flush),
	with("E8 2 readers, 2 writers, Redis is flushed once", explicit(2, plain, plain), flush, func(d *design) { d.flushOnce, d.accident = true, 1 }),
	with("A1 failover", others, failover, gets),
	with("A1c two failovers, more than Δ apart", others, failover, func(d *design) { d.accident = 2 }),
	with("A1d failover, 2 readers", explicit(2, plain), failover, func(d *design) { d.anyDoc = true }),
	with("A1e failover, NEWS and GET are executed late", others, failover, func(d *design) { d.split = true }),
	with("A2 failover, InTx", others, failover, programs(inTx)),
	with("A2a failover, InTx whose hold may be lost", others, failover, evictHold, programs(inTx)),
	with("A3 the server's clock steps forward", losses, stepForward),
	with("A5 the reader's machine is suspended", losses, suspend),
	with("V2 copies of what the process has filled", losses, explicit(1, plain), func(d *design) { d.anyDoc, d.copyFills = false, true }),
	with("V3 copies of what the process has filled, InTx", losses, explicit(1, inTx), func(d *design) { d.anyDoc, d.copyFills = false, true }),
	with("V4 records are applied as XREAD brings them", losses, func(d *design) { d.streamed = true }),
	with("V4a the same, late commands", others, again, loseLog, func(d *design) { d.streamed = true }),
	with("V4b the same, failover", others, failover, func(d *design) { d.streamed = true }),
	with("V17 messages tell of records; one key", oneKey, told),
	with("V17a the same, late commands", oneKey, again, told),
	with("V17c the same, 2 readers", explicit(2, plain), flush, told),
	with("V17d the same, InTx whose hold may be lost", oneKey, told, evictHold, programs(inTx)),
	with("V5a the same, InTx whose hold may be lost", losses, programs(inTxOwn), evictHold, func(d *design) { d.own, d.ownNotWaited = true, true }),
	with("V6 readers close, and begin again", tracked, func(d *design) { d.closes = true }),
	with("V7 a NEWS that is late lowers the position", tracked, func(d *design) { d.lowers = true }),
	with("V7a positions outlive their entries", tracked, func(d *design) { d.keepPositions = true }),
	with("V8 the writer does not verify, copies outlive the lease (no failover)", explicit(1, plain), loseLog, loseReaders, flush,
		func(d *design) { d.noVerify, d.noLapse, d.anyDoc = true, true, true }),
	with("V10 generation raised, then the copy dropped", losses, func(d *design) { d.raiseFirst = true }),
	with("V11 a record names the tag, the index may forget", explicit(1, byTag, byTag), tags, func(d *design) { d.indexExpires = true }),
	with("V13 records name the entries that were found; these leave the index after the wait, and the index outlives copies", tags,
		explicit(1, byTag, byTag), func(d *design) { d.namesOnly, d.indexExpires, d.indexOutlives = true, true, true }),
	with("V12 copies of loads, without InTx", losses, explicit(1, plain), func(d *design) { d.anyDoc, d.copyLoads = false, true }),
	with("V16 S as briefed, nothing is lost, NEWS may be late", asBriefed, explicit(2, plain), func(d *design) { d.anyDoc, d.againNews = true, true }),
}

// broken are designs that were tempting, or that S was. Each must break a promise, or the model sees nothing.
var broken = []design{
	// the order
	with("B1 NOTE before the removal", programs(program{opWrite, opNote, opRemove, opWait, opReturn})),
	with("B2 the lease is counted from the reply to NEWS", func(d *design) { d.leaseFromReply = true }),
	with("B3 the lease begins before the records are applied", func(d *design) { d.leaseFirst = true }),
	with("B4 copies are made whatever the generation", func(d *design) { d.noGeneration = true }),
	with("B5 the generation is noted after the GET was sent", func(d *design) { d.lateGeneration = true }),
	with("B6 the position is that of records that are yet to be applied", func(d *design) { d.ackFirst = true }),
	with("B7 the copy is dropped before the generation is raised", func(d *design) { d.dropFirst = true }),
	with("B8 RESET drops the copies, but raises no generation", func(d *design) { d.resetKeeps = true }),
	with("B9 a near Get looks the copy up before it looks at the lease", func(d *design) { d.lookFirst = true }),
	with("B9a the generation is compared, and then the copy made", func(d *design) { d.lateInsert = true }),
	with("B9b generations of names are forgotten now and then", func(d *design) { d.forgetful = true }),
	with("B9c NEWS answers one record at a time, and renews the lease all the same",
		programs(plain, program{opNoteOther, opNoteOther}), func(d *design) { d.partial, d.anyDoc = true, true }),

	// the wait
	with("B10 the writer does not wait", func(d *design) { d.noWait = true }),
	with("B11 the writer waits for the readers that it saw before the removal", func(d *design) { d.listEarly = true },
		programs(program{opWrite, opList, opRemove, opNote, opWait, opReturn})),
	with("B12 Δ is counted from the sending of NOTE", func(d *design) { d.waitFromSend = true },
		programs(program{opWrite, opRemove, opSendNote, opNote, opWait, opReturn})),
	with("B13 the server lets an entry expire before the lease", func(d *design) { d.grant = 1 }),
	with("B14 the writer's Δ is shorter than the reader's", func(d *design) { d.lease, d.grant = 3, 3 }),
	with("B15 clocks drift, and the lease has no margin", drift, func(d *design) { d.lease = 4 }),
	with("B16 clocks drift, and the margin is for one clock only", drift, func(d *design) { d.lease = 3 }),
	with("B16a clocks drift, and only the writer waits longer", drift, func(d *design) { d.delta, d.lease, d.grant = 6, 4, 4 }),

	// LOG and READERS are lost
	with("B17 READERS is believed however young it is; it is evicted alone", loseReaders, func(d *design) { d.trustYoung = true }),
	with("B18 the same; Redis is flushed", flush, func(d *design) { d.trustYoung = true }),
	with("B19 the same; LOG is evicted, and takes READERS with it", loseLog, func(d *design) { d.trustYoung = true }),
	with("B20 an entry that is gone counts as an ack; READERS is evicted during the wait", loseReaders, func(d *design) { d.listed = true }),
	with("B21 READERS stays when LOG is lost", loseLog, func(d *design) { d.keepReaders = true }),
	with("B22 with RESET the position is what NEWS said", loseLog, programs(plain, program{opNoteOther}),
		func(d *design) { d.resetPosition, d.anyDoc, d.againNews = true, true, true }),
	with("B23 a record is known by its id alone", loseLog, func(d *design) { d.ignoreNonce = true }),
	with("B24 who is new is entered with the last record as his position", again, func(d *design) { d.newIsAcked = true }),
	with("B25 XREAD moves the position, and nobody asks what came before", loseLog,
		programs(plain, program{opNoteOther, opNoteOther, opNoteOther}), func(d *design) { d.streamed, d.streamUnchecked, d.anyDoc = true, true, true }),

	with("B40 a message is believed by a reader that has missed the one before", told,
		programs(plain, program{opNoteOther}), func(d *design) { d.unchained, d.anyDoc = true, true }),

	// failover
	with("B26 failover; copies outlive the lease", failover, func(d *design) { d.noLapse = true }),
	with("B26a failover; whether the lease was over is seen when NEWS is sent", failover, func(d *design) { d.lapseAtSend, d.split, d.anyDoc = true, true, true }),
	with("B27 failover; the writer does not verify its record", failover, func(d *design) { d.noVerify = true }),
	with("B27a two failovers within Δ", failover, others, func(d *design) { d.accident, d.inARow = 2, true }),
	with("B28 failover; the writer verifies, but not once Δ has passed", failover, func(d *design) { d.verifyEarly = true }),

	// what copies are made of, and InTx
	with("B29 copies of what the process has loaded, InTx", explicit(1, inTx), func(d *design) { d.copyLoads = true }),
	with("B30 copies of what the process has loaded under a hold", explicit(1, inTx), func(d *design) { d.copyHeld = true }),
	with("B31 InTx without NOTE at the hold", explicit(1, program{opHold, opHeld, opCommit, opReleaseAll, opNote, opWait, opReturn})),
	with("B32 InTx with NOTE before the hold", explicit(1, program{opNote, opHold, opWait, opHeld, opCommit, opReleaseAll, opReturn})),
	with("B33 InTx releases without NOTE, and its hold may be lost", evictHold,
		explicit(1, program{opHold, opNote, opWait, opHeld, opCommit, opReleaseAll, opReturn})),
	with("B34 a renewal does not tell that the hold was gone", explicit(1, inTx), evictHold, func(d *design) { d.quietRenewal = true }),

	// processes
	with("B35 the own process drops before the removal only, and is not waited for", programs(program{opWrite, opDropOwn, opRemove, opNote, opWait, opReturn}),
		func(d *design) { d.own, d.ownNotWaited = true, true }),
	with("B36 a reader deregisters before it stops to serve", func(d *design) { d.closes, d.closeEarly = true, true }),
	with("B37 a reader begins again with the same id, its deregistration is late", again, func(d *design) { d.closes, d.sameID = true, true }),

	// tags
	with("B38 records name the entries that were found; the index forgets them before the copies are gone", explicit(1, byTag), tags,
		func(d *design) { d.namesOnly, d.indexExpires = true, true }),
	with("B39 records name the entries that were found; they are taken out of the index before the wait", tags,
		explicit(1, program{opWrite, opRecordTag, opReadIndex, opRemoveFound, opNote, opUnindex, opWait, opReturn}, byTag),
		func(d *design) { d.namesOnly = true }),

	// S as it was briefed
	with("S1 S as briefed; READERS is evicted", loseReaders, asBriefed),
	with("S2 S as briefed; LOG is evicted", loseLog, asBriefed),
	with("S3 S as briefed; Redis is flushed", flush, asBriefed),
	with("S4 S as briefed; failover", failover, asBriefed),
}
