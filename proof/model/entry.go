package main

import "slices"

// The model of one entry: processes that load and refresh it, and writers of its row, plain ones and such that invalidate
// within InTx.

const (
	entryLoaders = 2
	entryWriters = 2
)

// An entryStep is what a process does next.
type entryStep uint8

const (
	nothing entryStep = iota
	// of a load
	leaseEntry
	lookEntry // reads the document, as plain cache-aside does
	loadRow
	fillEntry
	releaseEntry
	// of a writer
	writeRow
	removeEntry
	removeForLag
	awaitReplica // has caught up with the writer's change
	holdEntry
	commitRow
	unholdEntry
	unholdForLag
	returns
)

var entryStepNames = [...]string{
	nothing: "does nothing", leaseEntry: "asks for the lease", lookEntry: "looks for the document",
	loadRow: "reads the row", fillEntry: "fills", releaseEntry: "gives the lease back",
	writeRow: "changes the row", removeEntry: "removes the document", removeForLag: "has nothing cached for the lag",
	awaitReplica: "waits until the lag is over", holdEntry: "holds the entry", commitRow: "commits", unholdEntry: "ends its hold",
	unholdForLag: "ends its hold, with a lag", returns: "returns",
}

// A tokenMaker says who makes the tokens.
type tokenMaker uint8

const (
	serverMakes tokenMaker = iota
	callMakes
	processMakes
)

// An entryDesign is a protocol, ours or a broken one.
type entryDesign struct {
	load, plain, tx  []entryStep
	loaders, writers int

	tokens       tokenMaker
	setNX        bool // a fill stores where there is nothing
	blind        bool // a fill stores whatever is there
	refreshBlind bool // a fill that refreshes does
	oneHolder    bool // a hold replaces the one before, and the writer that ends it removes it
	keepsGone    bool // to end a hold that is gone does nothing
	removesFirst bool // a hold removes what there is, and then may not write, since the slot moves
	lapses       bool // holds may expire before the COMMIT: nobody renews them
	replica      bool // loads read a replica, which lags behind
	again        int  // commands that come late, or again, at a time
}

type entryState struct {
	version uint8 // of the row
	replica uint8 // of the row on the replica
	floor   uint8 // no older version may be cached
	lagFor  uint8 // the version that the replica will have when the lag is over
	doc     document
	loaders [entryLoaders]entryLoader
	writers [entryWriters]entryWriter
	again   [2]entryCommand // may be executed at any time, and as often as they like
}

type entryLoader struct {
	at      uint8
	token   uint8
	refresh bool
	version uint8
}

type entryWriter struct {
	started   bool
	tx        bool
	at        uint8
	version   uint8
	committed bool
	unheld    bool // the hold was lost before the commit; then the promise is about the end of InTx
	over      bool // it returned, or died
}

// An entryCommand is what is sent to Redis.
type entryCommand struct {
	verb    entryStep
	who     uint8
	token   uint8
	version uint8
	refresh bool
}

// run executes a command. The answer to one that asks for the lease is the token of the lease, or of the value that is
// there; 0 if there is neither.
func (d *entryDesign) run(s *entryState, c entryCommand) (answer uint8) {
	switch c.verb {
	case leaseEntry:
		token := c.token
		if d.tokens == serverMakes {
			token = s.freshToken()
		}
		if s.doc.lease(token) || s.doc.kind == present {
			return s.doc.token
		}
	case lookEntry:
		if s.doc.kind != held {
			return unread
		}
	case fillEntry:
		d.fill(s, c)
	case releaseEntry:
		s.doc.release(c.token)
	case removeEntry:
		s.doc.invalidate()
	case removeForLag:
		s.lagFor = s.version
		s.doc.unhold(lagging, true)
	case holdEntry:
		if d.oneHolder {
			s.doc = document{}
		}
		if d.removesFirst && s.doc.kind != missing {
			s.doc = document{}
			return refused
		}
		s.doc.hold(int(c.who))
	case unholdEntry, unholdForLag:
		d.unhold(s, c)
	}
	return 0
}

// unread stands for a token where a design has none, and refused for an error in the place of an answer.
const (
	unread  = 15
	refused = 14
)

func (d *entryDesign) fill(s *entryState, c entryCommand) {
	switch {
	case d.setNX && s.doc.kind != missing:
	case d.setNX, d.blind, d.refreshBlind && c.refresh:
		s.doc = document{kind: present, token: s.freshToken(), version: c.version}
	default:
		s.doc.fill(c.token, s.freshToken(), c.version)
	}
}

func (d *entryDesign) unhold(s *entryState, c entryCommand) {
	switch {
	case d.oneHolder:
		s.doc = document{}
	case d.keepsGone && s.doc.kind != held:
	default:
		if c.verb == unholdForLag {
			s.lagFor = s.version
		}
		s.doc.unhold(int(c.who), c.verb == unholdForLag)
	}
}

// freshToken is one that nothing in the state knows.
func (s *entryState) freshToken() uint8 {
	return unused(func(n uint8) bool {
		return n == s.doc.token || n <= entryLoaders || // those may be the processes' own
			slices.ContainsFunc(s.loaders[:], func(l entryLoader) bool { return l.token == n }) ||
			slices.ContainsFunc(s.again[:], func(c entryCommand) bool { return c.token == n })
	})
}

func (d *entryDesign) model() model[entryState] {
	return model[entryState]{
		next: d.next,
		wrong: func(s entryState) string {
			if s.doc.kind == present && s.doc.version < s.floor {
				return "a value from before the invalidation is cached after it"
			}
			return ""
		},
	}
}

func (d *entryDesign) next(s entryState, emitAll func(label, entryState)) {
	emit := func(step label, to entryState) { emitAll(step, d.normal(to)) }
	d.redis(s, emit)
	for i := range d.loaders {
		d.loaderStep(s, i, emit)
	}
	for i := range d.writers {
		d.writerStep(s, i, emit)
	}
}

// normal gives states that nothing will ever tell apart one form.
func (d *entryDesign) normal(s entryState) entryState {
	for i := range d.loaders {
		l := &s.loaders[i]
		if l.at > 0 && d.load[l.at] == loadRow { // the earlier it reads the row, the older what it finds
			l.version = s.read(d)
			l.at++
		}
	}
	for i := range d.writers {
		if w := &s.writers[i]; w.started && !w.over && d.steps(w.tx)[w.at] == returns {
			s.floor = max(s.floor, w.version)
			*w = entryWriter{started: true, over: true}
		}
	}
	if !d.replica {
		s.replica, s.lagFor = 0, 0
	}
	if d.tokens != serverMakes {
		return s
	}
	tokens := renaming{last: entryLoaders}
	tokens.rename(&s.doc.token)
	for i := range d.loaders {
		tokens.rename(&s.loaders[i].token)
	}
	for i := range s.again {
		tokens.rename(&s.again[i].token)
	}
	return s
}

func (s *entryState) read(d *entryDesign) uint8 {
	if d.replica {
		return s.replica
	}
	return s.version
}

// redis is what happens without a process: eviction, expiry, replication, and commands that come late or again.
func (d *entryDesign) redis(s entryState, emit func(label, entryState)) {
	if s.replica < s.version && d.replica {
		t := s
		t.replica++
		emit(label{"the replica", nobody, "applies a change", ""}, t)
	}
	if s.doc.kind != missing {
		t := s
		for i := range d.writers {
			w := &t.writers[i]
			w.unheld = w.unheld || w.tx && !w.committed && (s.doc.holders[i] || d.oneHolder && s.doc.kind == held)
		}
		t.doc = document{}
		if !d.replica || s.doc.kind != held { // the lag's mark is not to be evicted
			emit(label{"the document", nobody, "expires or is evicted", ""}, t)
		}
	}
	for who, holds := range s.doc.holders {
		if holds && d.holdExpires(&s, who) {
			t := s
			t.doc.unhold(who, false)
			emit(label{"the hold of writer", who, "expires", ""}, t)
		}
	}
	for i, c := range s.again {
		if c.verb == nothing {
			continue
		}
		t := s
		d.run(&t, c)
		emit(label{"Redis", nobody, "executes a command of before: ", entryStepNames[c.verb]}, t)
		t = s
		t.again[i] = entryCommand{}
		emit(label{"the late command", nobody, "is lost", ""}, t)
	}
}

// holdExpires: a hold outlives the time that a COMMIT may take to land, and a lag the replica's.
func (d *entryDesign) holdExpires(s *entryState, who int) bool {
	if who == lagging {
		return s.replica >= s.lagFor
	}
	w := s.writers[who]
	return d.lapses || (w.committed || w.over) && (!d.replica || s.replica >= w.version)
}

// send has a command executed and answered, or executed and answered and executed again later, or lost, which the sender
// takes for an error: it tries again, or gives up in a step of its own.
func (d *entryDesign) send(
	s entryState, what label, c entryCommand, emit func(label, entryState), then func(t *entryState, answer uint8),
) {
	t := s
	then(&t, d.run(&t, c))
	emit(what, t)
	free := slices.Index(s.again[:d.again], entryCommand{})
	if free < 0 || c.verb == removeEntry || c.verb == lookEntry { // a late remove is no more than an eviction
		return
	}
	t = s
	t.again[free] = c
	then(&t, d.run(&t, c))
	what.how = "; the command will be executed again"
	emit(what, t)
	t = s
	t.again[free] = c
	what.how = "; the command is delayed, and fails for the sender"
	emit(what, t)
}

func (d *entryDesign) loaderStep(s entryState, i int, emit func(label, entryState)) {
	l := s.loaders[i]
	if l.at > 0 {
		t := s
		t.loaders[i] = entryLoader{}
		emit(label{"loader", i, "gives up", ""}, t)
	}
	step := d.load[l.at]
	what := label{"loader", i, entryStepNames[step], ""}
	switch step {
	case leaseEntry, lookEntry:
		c := entryCommand{verb: step}
		switch d.tokens {
		case callMakes:
			c.token = s.freshToken()
		case processMakes:
			c.token = uint8(i + 1)
		}
		d.send(s, what, c, emit, func(t *entryState, token uint8) {
			if token != 0 && (d.tokens == serverMakes || t.doc.kind != leased || t.doc.token == c.token) {
				t.loaders[i] = entryLoader{at: 1, token: token, refresh: t.doc.kind == present}
			}
		})
	case loadRow:
		t := s
		t.loaders[i].at++
		t.loaders[i].version = s.read(d)
		emit(what, t)
	case fillEntry:
		finish := func(t *entryState, _ uint8) { t.loaders[i] = entryLoader{} }
		c := entryCommand{verb: fillEntry, token: l.token, version: l.version, refresh: l.refresh}
		d.send(s, what, c, emit, finish)
		what.does = entryStepNames[releaseEntry]
		d.send(s, what, entryCommand{verb: releaseEntry, token: l.token}, emit, finish)
	}
}

func (d *entryDesign) writerStep(s entryState, i int, emit func(label, entryState)) {
	w := s.writers[i]
	if !w.started {
		if i > 0 && !s.writers[i-1].started {
			return // they are alike: let them start in their order
		}
		for _, tx := range []bool{false, true} {
			if len(d.steps(tx)) > 0 {
				t := s
				t.writers[i] = entryWriter{started: true, tx: tx}
				d.writerStep(t, i, emit)
			}
		}
		return
	}
	if w.over {
		return
	}
	if w.tx && !w.committed { // to crash elsewhere is no more than to stop
		t := s
		t.writers[i] = entryWriter{started: true, over: true}
		emit(label{"writer", i, "crashes", ""}, t)
	}
	step := d.steps(w.tx)[w.at]
	what := label{"writer", i, entryStepNames[step], ""}
	if w.tx {
		what.who = "InTx of writer"
	}
	if step == writeRow || step == commitRow {
		t := s
		t.version++
		n := &t.writers[i]
		n.at, n.version, n.committed = n.at+1, t.version, true
		if step == commitRow && !w.unheld {
			t.floor = t.version
		}
		emit(what, t)
		return
	}
	if step == awaitReplica {
		if s.replica >= w.version {
			t := s
			t.writers[i].at++
			emit(what, t)
		}
		return
	}
	d.send(s, what, entryCommand{verb: step, who: uint8(i)}, emit, func(t *entryState, answer uint8) {
		n := &t.writers[i]
		n.at++
		if answer == refused { // it rolls back
			*n = entryWriter{started: true, over: true}
		}
	})
}

func (d *entryDesign) steps(tx bool) []entryStep {
	if tx {
		return d.tx
	}
	return d.plain
}
