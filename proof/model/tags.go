package main

import "slices"

// The model of tags: one entry, whose value carries one tag, and everything that is kept about that tag. Other entries
// and tags have documents, members and records of their own, so that one of each shows what there is to show.

const (
	tagLoaders = 2
	tagWriters = 3
	journalLen = 2 // records kept: the one that a load has seen, and a later one
)

// A tagStep is what a process does next. What a design is, is the order of these.
type tagStep uint8

const (
	end tagStep = iota
	// of a load
	lease     // takes the lease, or starts from the document that is there
	mark      // reads the last record of the journal and which tags are held, in one script
	epoch     // reads the last record of the journal alone
	heldTags  // reads which tags are held
	load      // reads the row
	add       // adds the entry to the index of its tag
	check     // reads the journal again
	heldAgain // reads again which tags are held
	fill
	// of a writer
	write  // changes the row; the invalidation begins here
	record // appends to the journal
	read   // reads the index
	clear  // the same, and empties it
	remove // removes the entries that were read
	unindex
	hold
	commit
	unhold
	done // the invalidation returns
)

var tagStepNames = [...]string{
	"ends", "takes the lease", "reads the end of the journal and which tags are held",
	"reads the end of the journal", "reads which tags are held", "reads the row",
	"adds the entry to the index", "reads the journal again", "reads again which tags are held", "fills",
	"changes the row", "appends a record to the journal", "reads the index", "reads and empties the index",
	"removes the entries that it read", "takes the members that it read from the index", "holds the tag", "commits",
	"ends its hold", "returns",
}

// A tagDesign is a protocol, ours or a broken one.
type tagDesign struct {
	load, plain, tx []tagStep
	loaders         int
	writers         int

	plainRemoval   bool // unindex removes the member whatever its score
	clientIDs      bool // a record's id is made by the client
	forgiving      bool // a record that is gone is taken for no news
	scoresRepeat   bool // a new member's score does not differ from the last one's
	uncompared     bool // the fill stores whatever is there
	indexEvicted   bool // the index may be evicted by itself
	holdersEvicted bool // so may be the holders; then the promise is about the end of InTx
	noDeadline     bool // a fill may come after its index entry has expired
}

type tagState struct {
	version uint8 // of the row
	floor   uint8 // no older version may be cached
	doc     document
	index   uint8 // the score of the entry in the index of the tag; 0: it is not a member
	journal [journalLen]tagRecord
	held    [tagWriters]bool
	loaders [tagLoaders]tagLoader
	writers [tagWriters]tagWriter
	again   tagCommand // a command that may be executed at any time, and as often as it likes
}

type tagRecord struct {
	id    uint8 // 0: there is none
	names bool  // it is about the tag, not the first record of a new journal
}

type tagLoader struct {
	at      uint8 // step of the design
	token   uint8
	epoch   uint8
	refuse  bool // it has seen a reason not to fill
	version uint8
}

type tagWriter struct {
	started   bool
	tx        bool
	at        uint8
	version   uint8 // of the row when the invalidation began
	read      uint8 // the score of the entry in the index; 0: it was not a member
	committed bool
	unheld    bool // the holder was evicted before the commit
	dead      bool
}

// A tagCommand is what is sent to Redis: one key, executed as a whole.
type tagCommand struct {
	verb  tagStep
	who   uint8 // the writer whose holder or record it is
	token uint8 // of the document, or the score
	value uint8
}

func (d *tagDesign) model() model[tagState] {
	return model[tagState]{
		next: d.next,
		wrong: func(s tagState) string {
			if s.doc.kind == present && s.doc.version < s.floor {
				return "a value from before the invalidation is cached after it"
			}
			return ""
		},
	}
}

func (d *tagDesign) next(s tagState, emitAll func(label, tagState)) {
	emit := func(step label, to tagState) { emitAll(step, d.normal(to)) }
	d.redis(s, emit)
	for i := range d.loaders {
		d.loaderStep(s, i, emit)
	}
	for i := range d.writers {
		d.writerStep(s, i, emit)
	}
}

// send has a command executed and answered, or executed and answered and executed again later, or lost, which the sender
// takes for an error: it tries again, or gives up in a step of its own.
func (d *tagDesign) send(
	s tagState, what label, c tagCommand, emit func(label, tagState), then func(t *tagState, answer uint8),
) {
	t := s
	then(&t, d.run(&t, c))
	emit(what, t)
	if s.again.verb != end || !d.matters(c.verb) {
		return
	}
	t = s
	t.again = c
	then(&t, d.run(&t, c))
	what.how = "; the command will be executed again"
	emit(what, t)
	t = s
	t.again = c
	what.how = "; the command is delayed, and fails for the sender"
	emit(what, t)
}

// matters reports whether it makes a difference when a command is executed late. A late remove is an eviction of the
// document, and a late record, if it is a new one, as much as an eviction of the journal.
func (d *tagDesign) matters(verb tagStep) bool {
	switch verb {
	case read, mark, epoch, remove:
		return false
	case record:
		return d.clientIDs
	default:
		return true
	}
}

func (d *tagDesign) loaderStep(s tagState, i int, emit func(label, tagState)) {
	l := s.loaders[i]
	if l != (tagLoader{}) {
		t := s
		t.loaders[i] = tagLoader{}
		emit(label{"loader", i, "gives up", ""}, t)
	}
	step := d.load[l.at]
	what := label{"loader", i, tagStepNames[step], ""}
	advance := func(t *tagState) *tagLoader {
		n := &t.loaders[i]
		if n.at++; int(n.at) == len(d.load) || n.refuse && n.at > uint8(slices.Index(d.load, add)) {
			*n = tagLoader{}
		}
		return n
	}
	switch step {
	case lease:
		d.send(s, what, tagCommand{verb: lease}, emit, func(t *tagState, token uint8) {
			if token != 0 {
				advance(t).token = token
			}
		})
	case mark:
		d.send(s, what, tagCommand{verb: mark}, emit, func(t *tagState, id uint8) {
			n := advance(t)
			n.epoch, n.refuse = id, slices.Contains(s.held[:], true)
		})
	case epoch:
		d.send(s, what, tagCommand{verb: epoch}, emit, func(t *tagState, id uint8) { advance(t).epoch = id })
	case heldTags, heldAgain:
		t := s
		t.loaders[i].refuse = l.refuse || slices.Contains(s.held[:], true)
		advance(&t)
		emit(what, t)
	case load:
		t := s
		t.loaders[i].version = s.version
		advance(&t)
		emit(what, t)
	case check:
		t := s
		t.loaders[i].refuse = l.refuse || !d.unchanged(&s, l.epoch)
		advance(&t)
		emit(what, t)
	case add:
		d.send(s, what, tagCommand{verb: add}, emit, func(t *tagState, _ uint8) { advance(t) })
	case fill:
		d.send(s, what, tagCommand{verb: fill, token: l.token, value: l.version}, emit,
			func(t *tagState, _ uint8) { advance(t) })
	}
}

// unchanged reports whether the journal still has the record, and none after it that names the tag.
func (d *tagDesign) unchanged(s *tagState, since uint8) bool {
	at := slices.IndexFunc(s.journal[:], func(r tagRecord) bool { return r.id == since })
	if at < 0 {
		return d.forgiving
	}
	return !slices.ContainsFunc(s.journal[at+1:], func(r tagRecord) bool { return r.names })
}

// startWriter has a writer take its first step, in InTx and outside.
func (d *tagDesign) startWriter(s tagState, i int, emit func(label, tagState)) {
	if i > 0 && !s.writers[i-1].started {
		return // they are alike: let them start in their order
	}
	for _, tx := range []bool{false, true} {
		if steps := d.steps(tx); len(steps) > 0 {
			t := s
			t.writers[i] = tagWriter{started: true, tx: tx}
			d.writerStep(t, i, emit)
		}
	}
}

func (d *tagDesign) writerStep(s tagState, i int, emit func(label, tagState)) {
	w := s.writers[i]
	if !w.started {
		d.startWriter(s, i, emit)
		return
	}
	steps := d.steps(w.tx)
	if w.dead || int(w.at) == len(steps) {
		return
	}
	if w.tx && !w.committed { // to crash elsewhere is no more than to stop
		t := s
		t.writers[i] = tagWriter{started: true, dead: true}
		emit(label{"writer", i, "crashes", ""}, t)
	}

	step := steps[w.at]
	what := label{"writer", i, tagStepNames[step], ""}
	if w.tx {
		what.who = "InTx of writer"
	}
	advance := func(t *tagState) *tagWriter {
		t.writers[i].at++
		return &t.writers[i]
	}
	switch step {
	case write:
		t := s
		t.version++
		advance(&t).version = t.version
		emit(what, t)
	case commit:
		t := s
		t.version++
		n := advance(&t)
		n.version, n.committed = t.version, true
		if !w.unheld {
			t.floor = t.version
		}
		emit(what, t)
	case done:
		t := s
		t.floor = max(t.floor, w.version)
		t.writers[i] = tagWriter{started: true, dead: true}
		emit(what, t)
	case read, clear:
		d.send(s, what, tagCommand{verb: step}, emit, func(t *tagState, score uint8) { advance(t).read = score })
	case remove, unindex:
		if w.read == 0 {
			t := s
			advance(&t)
			emit(label{what.who, i, "found nothing in the index", ""}, t)
			return
		}
		c := tagCommand{verb: step}
		if step == unindex {
			c.token = w.read
		}
		d.send(s, what, c, emit, func(t *tagState, _ uint8) { advance(t) })
	default:
		d.send(s, what, tagCommand{verb: step, who: uint8(i)}, emit, func(t *tagState, _ uint8) { advance(t) })
	}
}

func (d *tagDesign) steps(tx bool) []tagStep {
	if tx {
		return d.tx
	}
	return d.plain
}
