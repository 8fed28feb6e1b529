package main

// A design is a protocol, ours or a broken one, and the bounds within which it is explored.
type design struct {
	name string

	// Bounds.
	delta    uint8 // Δ, in ticks
	readers  int   // processes that have near copies
	programs []program
	others   bool  // any number of other writers and readers, see othersStep
	anyDoc   bool  // whatever a GET may find; one writer only, see found
	stripes  bool  // names share generations
	rising   bool  // the ids of a LOG that is made again are later than all before: the server is never set back
	maxLog   int   // records that LOG keeps
	accident uint8 // failovers, clock steps, suspensions that may happen

	// What may happen.
	again        bool // one NEWS or NOTE at a time that comes late, or again, as often as it likes
	againNews    bool // NEWS only
	split        bool // NEWS and GET are executed later than they are sent (else at once: then the reply may still be late)
	gets         bool // near Gets that stop between the look at the lease and the look at the copy
	trim         bool // LOG loses its oldest record
	loseLog      bool // LOG is evicted alone
	loseReaders  bool // READERS is evicted alone
	flush        bool // everything in Redis is lost
	flushOnce    bool // ... once
	evictHold    bool // a hold is evicted or deleted
	failover     bool // LOG and READERS become what they were some time ago
	inARow       bool // ... twice within Δ
	stepForward  bool // the server's clock steps forward
	stepBack     bool // ... and back
	suspend      bool // a reader's machine stands still, with its clock
	drift        bool // a reader's clock may lose a tick in a lease; those of the server and of writers gain one in Δ
	closes       bool // readers close, and begin again
	own          bool // writer 0 and reader 0 are one process
	tags         bool // the entry has a tag
	indexExpires bool // the index forgets an entry whose document is gone

	// Rules. What is false is ours.
	lease           uint8 // how long a lease lasts from the sending of NEWS; 0: Δ
	grant           uint8 // when the server lets an entry expire; 0: Δ
	listed          bool  // the writer waits for the readers that NOTE listed, an entry that is gone counts
	listEarly       bool  // ... that were there before the removal
	trustYoung      bool  // READERS is believed however young it is
	keepReaders     bool  // READERS stays when LOG is found to be gone
	resetPosition   bool  // with RESET as well, the position is what NEWS said
	keepPositions   bool  // the position of an entry that has expired is still known if the reader comes back
	lowers          bool  // a later NEWS may lower the position
	newIsAcked      bool  // a new reader is entered with the last record as its position
	noLapse         bool  // a lease that was over does not take the copies with it
	lapseAtSend     bool  // ... is seen when NEWS is sent, and not when its reply is applied
	noVerify        bool  // the writer does not look whether its record is still there
	verifyEarly     bool  // ... does not look again once Δ has passed
	noWait          bool  // the writer does not wait
	waitFromSend    bool  // Δ is counted from when NOTE is sent
	leaseFromReply  bool  // the lease is counted from the reply to NEWS
	leaseFirst      bool  // the lease begins before the records are applied
	ackFirst        bool  // the position is that of records that are yet to be applied
	dropFirst       bool  // the copy is dropped, and then the generation raised
	raiseFirst      bool  // the generation is raised, and then the copy dropped
	noGeneration    bool  // copies are made whatever the generation
	lateGeneration  bool  // the generation is noted after the GET was executed
	lateInsert      bool  // the generation is compared, and then the copy made
	forgetful       bool  // generations of names are forgotten now and then
	partial         bool  // NEWS answers one record at a time, and the lease is renewed all the same
	resetKeeps      bool  // RESET drops the copies, but raises no generation
	ignoreNonce     bool  // a record is known by its id alone
	copyLoads       bool  // copies are made of what the process has loaded itself
	copyHeld        bool  // ... when the entry is held
	copyFills       bool  // ... if its fill was accepted; the generation is noted before the fill is sent
	lookFirst       bool  // a near Get looks the copy up before it looks at the lease
	streamed        bool  // records are applied as XREAD brings them, which moves what NEWS says it has
	streamUnchecked bool  // ... without asking whether the record before is there
	told            bool  // a message tells of a record, and which one came before it; it may be late, come again, or never
	unchained       bool  // ... and the reader does not ask whether it has that one
	ownNotWaited    bool  // the writer's own process is not waited for
	closeEarly      bool  // a reader deregisters before it stops to serve copies
	sameID          bool  // a reader that begins again has the id of before, and the deregistration may be late
	quietRenewal    bool  // a hold that is placed again is not known to have been gone
	unclamped       bool  // an entry that expires later than in Δ is believed
	namesOnly       bool  // tags: records name the entries that were found, and an InvalidateTags that finds none does not wait
	indexOutlives   bool  // tags: the index keeps entries as long as copies of them live
	raw             bool  // states are kept as they are
}

// An op is one step of a writer.
type op uint8

const (
	opEnd         op = iota
	opWrite          // changes the row, and commits
	opRemove         // removes the document
	opDropOwn        // drops its process's own copy
	opList           // reads READERS
	opSendNote       // sends NOTE
	opNote           // NOTE is executed and answered
	opRemoveNote     // removes the document and appends the record in one script
	opNoteOther      // NOTE about another name
	opWait           // waits until no reader serves the copy
	opReturn         // Invalidate, or InTx, returns
	opHold           // holds the entry
	opHeld           // Invalidate inside InTx returns
	opCommit         // changes the row, and commits
	opRelease        // ends the hold; if that was there all the time, the next two steps are skipped
	opReleaseAll     // ends the hold
	opRecordTag      // tags: the record in the journal of tags
	opReadIndex      // tags
	opRemoveFound    // tags: removes the document if it was found
	opUnindex        // tags: takes the entry out of the index if it is as it was found
)

var opNames = [...]string{
	opEnd: "ends", opWrite: "changes the row", opRemove: "removes the document", opDropOwn: "drops the copy of its own process",
	opList: "reads READERS", opSendNote: "sends NOTE", opNote: "has the reply to NOTE",
	opRemoveNote: "removes the document and appends a record", opNoteOther: "appends a record about another name",
	opWait: "need not wait any longer", opReturn: "returns", opHold: "holds the entry",
	opHeld: "returns from Invalidate, inside its transaction", opCommit: "commits",
	opRelease: "ends its hold", opReleaseAll: "ends its hold", opRecordTag: "appends to the journal of tags",
	opReadIndex: "reads the index", opRemoveFound: "removes the document that it found",
	opUnindex: "takes the entry out of the index",
}

type program []op

var (
	plain     = program{opWrite, opRemove, opNote, opWait, opReturn}
	plainOwn  = program{opWrite, opRemove, opDropOwn, opNote, opWait, opReturn}
	oneScript = program{opWrite, opRemoveNote, opWait, opReturn}
	inTx      = program{opHold, opNote, opWait, opHeld, opCommit, opRelease, opNote, opWait, opReturn}
	inTxOwn   = program{opHold, opDropOwn, opNote, opWait, opHeld, opCommit, opRelease, opDropOwn, opNote, opWait, opReturn}
	byTag     = program{opWrite, opRecordTag, opReadIndex, opRemoveFound, opNote, opWait, opUnindex, opReturn}
)

func (d *design) at(i int, w *writer) op {
	if i < len(d.programs) && int(w.at) < len(d.programs[i]) {
		return d.programs[i][w.at]
	}
	return opEnd
}

// waits reports whether the record of a writer still matters.
func (d *design) waits(i int, w *writer) bool {
	if i >= len(d.programs) {
		return false
	}
	for _, o := range d.programs[i][min(int(w.at), len(d.programs[i])):] {
		switch o {
		case opWait:
			return true
		case opNote, opRemoveNote:
			return d.waitFromSend || d.listEarly
		}
	}
	return false
}

// wipesFirst reports whether a lease that is over takes everything with it before the next begins.
func (d *design) wipesFirst() bool {
	return !d.noLapse && !d.lapseAtSend && !d.leaseFirst && !d.ackFirst && !d.resetKeeps && !d.noGeneration && !d.lateGeneration &&
		!d.lookFirst && !d.dropFirst && !d.lateInsert && !d.forgetful
}

// rawRefs reports whether a reference matters although there is no such record.
func (d *design) rawRefs() bool {
	return d.ignoreNonce || d.keepReaders || d.resetPosition || d.noVerify || d.verifyEarly || d.newIsAcked || d.listed ||
		d.streamUnchecked || d.partial
}

func (d *design) leaseLife() uint8 {
	if d.lease != 0 {
		return d.lease
	}
	return d.delta
}

func (d *design) grantLife() uint8 {
	if d.grant != 0 {
		return d.grant
	}
	return d.delta
}

func (d *design) initial() State {
	return State{left: d.accident}
}

// wrong says which promise a state breaks, "" if none.
func (d *design) wrong(s *State) string {
	if s.since != 0 {
		return "" // excused for Δ
	}
	for p := range d.readers {
		r := &s.readers[p]
		if r.copy != 0 && r.lease > 0 && r.copy-1 < s.floor {
			return "a copy from before an Invalidate is served after it has returned"
		}
		if !d.lookFirst && r.need != 0 && r.copy != 0 && r.copy < r.need {
			return "a Get finds a copy from before an Invalidate that had returned when it began"
		}
		if d.lookFirst && r.need != 0 && r.lease > 0 && r.picked < r.need {
			return "a Get returns a copy from before an Invalidate that had returned when it began"
		}
		if r.copy == 0 || r.lease == 0 {
			continue
		}
		for i := range d.programs {
			if w := &s.writers[i]; d.heldBy(i, w) && w.unheld == 0 {
				return "a copy is served though Invalidate has returned inside a transaction that is open"
			}
		}
	}
	return ""
}

// heldBy reports whether a writer's Invalidate inside InTx has returned, and its transaction is open.
func (d *design) heldBy(i int, w *writer) bool {
	if w.at == 0 || i >= len(d.programs) || d.programs[i][0] != opHold {
		return false
	}
	return d.at(i, w) == opCommit
}
