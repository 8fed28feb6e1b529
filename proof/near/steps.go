package main

// next emits every state that one step leads to.
func (d *design) next(s State, emit func(label, State)) {
	d.entryStep(s, emit)
	d.accidents(s, emit)
	for p := range d.readers {
		d.readerStep(s, p, emit)
	}
	for i := range d.programs {
		d.writerStep(s, i, emit)
	}
	d.timeStep(s, emit)
}

// entryStep is what the base protocol does with the document: it is trusted. A load reads the row as soon as it has the
// lease: the earlier, the older.
func (d *design) entryStep(s State, emit func(label, State)) {
	t := s
	switch {
	case d.anyDoc && s.doc != held:
	case s.doc == missing:
		t.doc, t.docV = leased, s.version
		emit(label{"a process", nobody, "takes the lease, and reads the row"}, t)
	case s.doc == leased:
		t.doc = value
		if d.tags {
			t.index = s.freshScore()
		}
		emit(label{"the process with the lease", nobody, "fills"}, t)
		if d.copyFills {
			for p := range d.readers {
				if s.readers[p].get == idle {
					u := t
					u.readers[p].get, u.readers[p].got, u.readers[p].noted = replied, 1+s.docV, 1
					emit(label{"reader", p, "has its fill accepted, and will make a copy of it"}, u)
				}
			}
		}
	}
	t = s
	t.doc, t.docV = missing, 0
	switch s.doc {
	case leased, value:
		emit(label{"the document", nobody, "expires, is evicted or deleted by somebody"}, t)
	case held:
		for i := range d.programs {
			if s.holders>>i&1 == 0 {
				continue
			}
			if committed := int(s.writers[i].at) > d.place(i, opCommit); committed {
				t := s
				t.unhold(i)
				emit(label{"the hold of writer", i, "expires"}, t)
			}
		}
		if d.evictHold {
			t.holders = 0
			for i := range d.programs {
				if s.holders>>i&1 != 0 && int(s.writers[i].at) <= d.place(i, opCommit) {
					t.writers[i].unheld = 1
				}
			}
			emit(label{"the hold", nobody, "is evicted or deleted"}, t)
		}
	}
	if d.indexExpires && s.index != 0 && s.doc != value {
		lives := false
		for p := range d.readers {
			lives = lives || s.readers[p].copy != 0 || s.readers[p].get != idle
		}
		if !d.indexOutlives || !lives {
			t := s
			t.index = 0
			emit(label{"the index", nobody, "forgets the entry, whose document has expired"}, t)
		}
	}
}

func (d *design) place(i int, o op) int {
	for at, x := range d.programs[i] {
		if x == o {
			return at
		}
	}
	return 1 << 10
}

func (s *State) unhold(i int) {
	s.holders &^= 1 << i
	if s.holders == 0 {
		s.doc, s.docV = missing, 0
	}
}

func (s *State) freshScore() uint8 {
	for n := uint8(1); ; n++ {
		if n != s.writers[0].score && n != s.writers[1].score {
			return n
		}
	}
}

// accidents are what happens to LOG and READERS, and commands that come late or again.
func (d *design) accidents(s State, emit func(label, State)) {
	if d.loseLog && s.near.log[0].id != 0 {
		t := s
		t.near.log = [maxLog]rec{}
		emit(label{"LOG", nobody, "is evicted"}, t)
	}
	if d.loseReaders && s.near.born != 0 {
		t := s
		t.near.ent, t.near.born = [maxReaders]entry{}, 0
		emit(label{"READERS", nobody, "is evicted"}, t)
	}
	if d.flush && s.near != (table{}) && s.doc != held && (!d.flushOnce || s.left > 0) {
		t := s
		if d.flushOnce {
			t.left--
		}
		t.near = table{}
		t.doc, t.docV, t.index = missing, 0, 0
		emit(label{"Redis", nobody, "is flushed"}, t)
	}
	if d.trim && s.near.len() > 1 {
		t := s
		copy(t.near.log[:], s.near.log[1:])
		t.near.log[maxLog-1] = rec{}
		emit(label{"LOG", nobody, "is trimmed by its oldest record"}, t)
	}
	if d.failover && s.left > 0 {
		t := s
		t.replica = s.near
		emit(label{"the replica", nobody, "has caught up"}, t)
		if s.since == 0 || d.inARow {
			t = s
			t.near = s.replica
			t.happened()
			emit(label{"the replica", nobody, "takes over"}, t)
		}
	}
	if d.stepForward && s.left > 0 {
		t := s
		t.near.ent = [maxReaders]entry{}
		if t.near.born != 0 {
			t.near.born = 1 + d.delta
		}
		t.happened()
		emit(label{"the server's clock", nobody, "steps forward"}, t)
	}
	if d.stepBack && s.left > 0 {
		t := s
		for p := range t.near.ent {
			if e := &t.near.ent[p]; e.left > 0 {
				e.left = d.delta // more is cut to that
				if d.unclamped {
					e.left = 2 * d.delta
				}
			}
		}
		t.near.born = min(t.near.born, 1)
		t.left--
		emit(label{"the server's clock", nobody, "steps back"}, t)
	}
	if d.others {
		d.othersStep(s, emit)
	}
	if d.told {
		d.messageStep(s, emit)
	}
	if c := s.again; c.verb != nothing {
		t := s
		switch c.verb {
		case doNews:
			d.runNews(&t, c.who, c.applied, c.brought)
			emit(label{"Redis", nobody, "executes a NEWS of before"}, t)
		case doNote:
			d.runNote(&t, 1)
			emit(label{"Redis", nobody, "executes a NOTE of before"}, t)
		case doDeregister:
			t.near.ent[c.who] = entry{}
			emit(label{"Redis", nobody, "executes a deregistration of before"}, t)
		}
		t = s
		t.again = command{}
		emit(label{"the late command", nobody, "is lost"}, t)
	}
}

// happened notes an accident. Gets that begin within Δ after it are excused.
func (s *State) happened() {
	s.left--
	s.since = 1
	for p := range s.readers {
		s.readers[p].need, s.readers[p].picked = 0, 0
	}
}

// othersStep is what any number of other writers and readers do to the rest. The promise is about one Invalidate and one reader
// at a time. To them, other writers are removals, which may happen anyhow, and records that may come at any time; other readers
// are what their NEWS does to a LOG or READERS that is gone, and entries that make writers wait, which they may do anyhow.
func (d *design) othersStep(s State, emit func(label, State)) {
	t := s
	d.runNote(&t, 0)
	emit(label{"another writer", nobody, "appends a record about another name"}, t)
	t = s
	d.runNote(&t, 1)
	emit(label{"another writer", nobody, "appends a record about the key"}, t)
	if d.stripes {
		t = s
		d.runNote(&t, 2)
		emit(label{"another writer", nobody, "appends a record about a name that shares the generation"}, t)
	}
	t = s
	if d.open(&t.near); t.near.log[0].id == 0 {
		d.append(&t, 0)
	}
	if t != s {
		emit(label{"another reader", nobody, "has its NEWS executed"}, t)
	}
}

// later emits the state, and if there is room, the one in which the command will be executed once more.
func (d *design) later(t State, c command, l label, emit func(label, State)) {
	emit(l, t)
	if (d.again || d.againNews && c.verb == doNews) && t.again.verb == nothing {
		t.again = c
		l.does += "; it will be executed again"
		emit(l, t)
	}
}

func (d *design) readerStep(s State, p int, emit func(label, State)) {
	r := s.readers[p]
	say := func(does string) label { return label{"reader", p, does} }

	// NEWS
	news := command{doNews, uint8(p), r.applied, r.brought}
	switch {
	case r.news == idle && (r.pend == 0 || d.ackFirst):
		t := s
		n := &t.readers[p]
		n.age, n.slip = 0, 0
		if d.lapseAtSend {
			n.over = b(r.lease == 0)
		}
		if d.split {
			n.news = sent
			d.later(t, news, say("sends NEWS"), emit)
			break
		}
		d.executeNews(&t, p)
		d.later(t, news, say("sends NEWS, which is executed"), emit)
	case r.news == sent:
		t := s
		d.executeNews(&t, p)
		emit(say("has its NEWS executed"), t)
	}
	if r.news != idle && r.pend == 0 {
		t := s
		t.readers[p].news = idle
		emit(say("gives up on NEWS"), t)
	}
	if r.news == replied && r.pend == 0 {
		t := s
		d.apply(&t, p)
		emit(say("applies the reply to NEWS"), t)
	}
	if r.pend == 8 {
		t := s
		d.apply(&t, p)
		emit(say("drops what the records name, after it has raised the generation"), t)
	} else if r.pend != 0 {
		t := s
		n := &t.readers[p]
		if r.pend&4 == 0 {
			n.copy = 0
		}
		if !d.noGeneration && (!d.resetKeeps || r.pend&2 == 0) {
			d.raise(n)
		}
		n.pend = 0
		emit(say("drops what the records name"), t)
	}

	// GET
	switch {
	case r.get == idle && d.split:
		t := s
		t.readers[p].get, t.readers[p].noted = sent, b(!d.lateGeneration)
		emit(say("sends GET"), t)
	case r.get == idle || r.get == sent:
		d.found(&s, func(version uint8) {
			t := s
			n := &t.readers[p]
			n.get, n.got = replied, 1+version
			if r.get == idle {
				n.noted = b(!d.lateGeneration)
			}
			emit(label{"reader", p, [...]string{"has its GET executed, which finds version 0", "has its GET executed, which finds version 1", "has its GET executed, which finds version 2"}[version]}, t)
		})
	}
	if r.get == replied && d.forgetful && r.noted == 2 {
		t := s
		t.readers[p].noted = 1
		emit(say("forgets the generation of the name"), t)
	}
	if r.get == replied && r.noted < 2 {
		if r.noted == 1 && d.lateInsert {
			t := s
			t.readers[p].noted = 3
			emit(say("compares the generation"), t)
		} else if r.noted == 1 {
			t := s
			t.readers[p].insert()
			emit(say("makes a copy"), t)
		} else {
			t := s
			t.readers[p].noted = 1
			emit(say("notes the generation"), t)
		}
	}
	if r.noted == 3 {
		t := s
		t.readers[p].insert()
		emit(say("makes a copy"), t)
	}
	if r.get != idle {
		t := s
		n := &t.readers[p]
		n.get, n.got, n.noted = idle, 0, 0
		emit(say("gives up on GET"), t)
	}
	if r.get == idle && (d.copyLoads && s.doc != value || d.copyHeld && s.doc == held) {
		t := s
		n := &t.readers[p]
		n.get, n.got, n.noted = replied, 1+s.version, 1
		emit(say("loads the row, to make a copy of it"), t)
	}

	// near Gets
	if d.gets || d.lookFirst {
		switch {
		case r.need != 0:
			t := s
			t.readers[p].need, t.readers[p].picked = 0, 0
			emit(say("ends its near Get"), t)
		case s.floor == 0 || s.since != 0:
		case d.lookFirst && r.copy != 0:
			t := s
			t.readers[p].need, t.readers[p].picked = 1+s.floor, r.copy
			emit(say("begins a near Get, and finds a copy"), t)
		case !d.lookFirst && r.lease > 0:
			t := s
			t.readers[p].need = 1 + s.floor
			emit(say("begins a near Get, and sees that its lease is alive"), t)
		}
	}
	if d.closes {
		d.closeStep(s, p, emit)
	}
	if d.streamed {
		d.streamStep(s, p, emit)
	}
	if d.told {
		d.toldStep(s, p, emit)
	}
}

// found calls hit with each version that a GET may find. With anyDoc that is whatever the base protocol allows to be there at
// all: a value from before the change until the removal that follows it, and the changed one from the change on.
func (d *design) found(s *State, hit func(version uint8)) {
	switch {
	case s.doc == held:
	case !d.anyDoc:
		if s.doc == value {
			hit(s.docV)
		}
	default:
		hit(s.version)
		if s.version > 0 && !d.removed(s) {
			hit(s.version - 1)
		}
	}
}

// removed reports whether neither a value from before the change can be there, nor a lease under
// which it could be filled: the writer has removed the document since the change, or held it
// without a break from before the change on.
func (d *design) removed(s *State) bool {
	w := &s.writers[0]
	if d.programs[0][0] == opHold && w.unheld == 0 {
		return true
	}
	changed := false
	for at := range int(w.at) {
		switch d.programs[0][at] {
		case opWrite, opCommit:
			changed = true
		case opRemove, opRemoveNote, opRelease, opReleaseAll:
			if changed {
				return true
			}
		}
	}
	return false
}

func b(x bool) uint8 {
	if x {
		return 1
	}
	return 0
}

func (r *reader) insert() {
	r.copy = r.got
	r.get, r.got, r.noted = idle, 0, 0
}

// raise raises the generation, so that no copy is made of the reply to a GET that was sent before.
func (d *design) raise(r *reader) {
	switch {
	case d.forgetful && r.get == replied && r.noted == 1:
		r.noted = 2
	case r.noted == 1:
		r.get, r.got, r.noted = idle, 0, 0
	}
}

func (d *design) executeNews(s *State, p int) {
	r := &s.readers[p]
	r.reset, r.drop, r.last = d.runNews(s, uint8(p), r.applied, r.brought)
	r.news = replied
}

// apply is what a reader does with the reply to NEWS, under a lock.
func (d *design) apply(s *State, p int) {
	r := &s.readers[p]
	everything := r.reset == 1 || r.lease == 0 && !d.noLapse && !d.lapseAtSend || r.over == 1
	lease := uint8(0)
	if life := d.leaseLife(); life > r.age {
		lease = life - r.age
	}
	if d.leaseFromReply {
		lease = d.leaseLife()
	}
	if d.raiseFirst && r.pend == 0 && (everything || r.drop == 1) {
		d.raise(r)
		r.pend = 8
		return // with the lease that it has
	}
	r.news = idle
	r.pend = 0
	r.applied, r.brought = r.last, ref{}
	switch {
	case d.ackFirst && !everything && r.drop == 1:
		r.pend = 1
		return // the lease that it has will do
	case d.leaseFirst:
		r.pend = b(r.drop == 1) | b(everything)<<1
	case d.dropFirst && (everything || r.drop == 1):
		r.copy = 0
		r.pend = 4
	case everything:
		r.copy = 0
		if !d.resetKeeps && !d.raiseFirst {
			d.raise(r)
		}
	case r.drop == 1:
		r.copy = 0
		if !d.noGeneration && !d.raiseFirst {
			d.raise(r)
		}
	case r.drop == 2:
		d.raise(r)
	}
	r.lease, r.slow = lease, r.slip
}

// closeStep: a reader that closes stops serving, then deregisters, and may begin again, with a new id. What may be left of the old
// id in READERS only makes writers wait; here it stays the entry of the new one, which is no less adverse.
func (d *design) closeStep(s State, p int, emit func(label, State)) {
	t := s
	t.readers[p] = reader{}
	if s.readers[p] != (reader{}) {
		emit(label{"reader", p, "closes; its deregistration is lost"}, t)
		if d.sameID && t.again.verb == nothing {
			u := t
			u.again = command{verb: doDeregister, who: uint8(p)}
			emit(label{"reader", p, "closes; its deregistration is late"}, u)
		}
		t.near.ent[p] = entry{}
		emit(label{"reader", p, "closes, and deregisters"}, t)
	}
	if d.closeEarly && s.near.ent[p].left > 0 {
		t := s
		t.near.ent[p] = entry{}
		emit(label{"reader", p, "deregisters, and is about to close"}, t)
	}
}

// streamStep: XREAD brings all records that come after the last that the reader has. It does not say whether that one is still
// there. The reader applies them, and says in NEWS both which record it had from NEWS, and which is the last that it was brought.
func (d *design) streamStep(s State, p int, emit func(label, State)) {
	r := s.readers[p]
	from := max(r.applied.id, r.brought.id)
	if r.news != idle || r.applied.id == 0 || s.near.last().id <= from {
		return
	}
	t := s
	n := &t.readers[p]
	for _, x := range s.near.log {
		if x.id > from && x.names == 1 {
			n.copy = 0
			d.raise(n)
		}
	}
	n.brought = s.near.last()
	if d.streamUnchecked {
		n.applied, n.brought = n.brought, ref{}
	}
	emit(label{"reader", p, "applies what XREAD brings"}, t)
}

// toldStep: a reader applies what a message is about. If it has the record before, it will tell the
// next NEWS of this one as well.
func (d *design) toldStep(s State, p int, emit func(label, State)) {
	r, m := s.readers[p], s.told
	if m.is == 0 || r.news != idle {
		return
	}
	t := s
	n := &t.readers[p]
	if m.names == 1 {
		n.copy = 0
		d.raise(n)
	}
	last := r.applied
	if r.brought.id != 0 {
		last = r.brought
	}
	switch {
	case last.id == 0:
	case d.unchained && m.rec.id > last.id, m.before == last && m.rec.id != 0:
		n.brought = m.rec
	case m.before == last: // the record is nowhere any more, and so NEWS will answer RESET
		n.applied, n.brought = ref{}, ref{}
	}
	emit(label{"reader", p, "applies what a message tells"}, t)
}

// messageStep: a message about a record is under way from when the record is appended. Any record that is there is about to be told
// again; which one came before does not change.
func (d *design) messageStep(s State, emit func(label, State)) {
	if s.told.is != 0 {
		t := s
		t.told = message{}
		emit(label{"the message", nobody, "is lost"}, t)
		return
	}
	for i, r := range s.near.log {
		if r.id == 0 {
			break
		}
		t := s
		t.told = message{rec: r.ref, names: r.names, is: 1}
		if i > 0 {
			t.told.before = s.near.log[i-1].ref
		}
		emit(label{"a message", nobody, "tells of a record"}, t)
	}
}

func (d *design) writerStep(s State, i int, emit func(label, State)) {
	w := s.writers[i]
	o := d.at(i, &w)
	if o == opEnd {
		return
	}
	if i == 1 && w.at == 0 && s.writers[0].at == 0 && len(d.programs[0]) == len(d.programs[1]) && d.programs[0][0] == d.programs[1][0] && !d.own {
		return // they are alike: let them start in their order
	}
	if released := min(d.place(i, opRelease), d.place(i, opReleaseAll)); d.programs[i][0] == opHold &&
		0 < w.at && int(w.at) <= released && s.holders>>i&1 == 0 {
		d.renewStep(s, i, emit)
	}
	say := label{"writer", i, opNames[o]}
	t := s
	n := &t.writers[i]
	n.at++
	switch o {
	case opWrite:
		t.version++
		n.version = t.version
	case opRemove:
		t.remove()
	case opDropOwn:
		t.readers[0].copy = 0
		d.raise(&t.readers[0])
	case opList:
		d.list(&t, i)
	case opSendNote:
		n.wait = d.delta
	case opNote, opRemoveNote:
		if o == opRemoveNote {
			t.remove()
		}
		n.rec = d.runNote(&t, 1)
		if !d.waitFromSend {
			n.wait, n.fast = d.delta, 0
		}
		if !d.listEarly {
			d.list(&t, i)
		}
		d.later(t, command{verb: doNote}, say, emit)
		if d.again && s.again.verb == nothing && o == opNote {
			u := s
			u.again = command{verb: doNote}
			emit(label{"writer", i, "sends NOTE, which is late, and will send another"}, u)
		}
		return
	case opNoteOther:
		d.runNote(&t, 0)
	case opWait:
		d.waitStep(s, i, emit)
		return
	case opReturn:
		t.floor = max(s.floor, w.version)
		n.unheld = 0
	case opHold:
		t.hold(i)
	case opHeld:
	case opCommit:
		t.version++
		n.version = t.version
		if w.unheld == 0 {
			t.floor = t.version
		}
	case opRelease, opReleaseAll:
		gone := s.holders>>i&1 == 0
		if gone {
			t.remove()
		} else {
			t.unhold(i)
		}
		if o == opRelease && !gone && w.gone == 0 {
			n.at = uint8(d.place(i, opReturn))
		}
	case opRecordTag:
		if s.doc == leased { // the load under way will not fill
			t.doc, t.docV = missing, 0
		}
	case opReadIndex:
		n.score = s.index
		if d.namesOnly && s.index == 0 {
			n.at = uint8(d.place(i, opReturn))
		}
	case opRemoveFound:
		if w.score != 0 {
			t.remove()
		}
	case opUnindex:
		if s.index == w.score {
			t.index = 0
		}
		n.score = 0
	}
	emit(say, t)
}

// renewStep places a hold again that was lost.
func (d *design) renewStep(s State, i int, emit func(label, State)) {
	t := s
	t.hold(i)
	if !d.quietRenewal {
		t.writers[i].gone = 1
	}
	emit(label{"writer", i, "places its hold anew"}, t)
}

func (s *State) hold(i int) {
	s.holders |= 1 << i
	s.doc, s.docV = held, 0
}

func (s *State) remove() {
	if s.doc != held {
		s.doc, s.docV = missing, 0
	}
}

// waitStep is one look at how far the readers are.
func (d *design) waitStep(s State, i int, emit func(label, State)) {
	w := s.writers[i]
	t := s
	n := &t.writers[i]
	present := s.near.find(w.rec) >= 0
	switch {
	case d.noWait:
		n.at++
		emit(label{"writer", i, "does not wait"}, t)
	case d.noVerify:
		if d.covered(&s, i) {
			n.at++
			emit(label{"writer", i, "learns that all readers have applied its record"}, t)
		} else if w.wait == 0 {
			n.at++
			emit(label{"writer", i, "has waited for Δ"}, t)
		}
	case d.verifyEarly && w.wait == 0:
		n.at++
		emit(label{"writer", i, "has waited for Δ"}, t)
	case !present:
		n.at = uint8(d.noteBefore(i, int(w.at)))
		emit(label{"writer", i, "learns that its record is gone"}, t)
	case d.covered(&s, i):
		n.at++
		emit(label{"writer", i, "learns that all readers have applied its record"}, t)
	case w.wait == 0:
		n.at++
		emit(label{"writer", i, "has waited for Δ, and its record is there"}, t)
	}
}

// noteBefore returns the place of the last NOTE before a wait.
func (d *design) noteBefore(i, at int) int {
	for ; at > 0; at-- {
		if o := d.programs[i][at-1]; o == opNote || o == opRemoveNote {
			return at - 1
		}
	}
	return 0
}

// timeStep has a tick pass.
func (d *design) timeStep(s State, emit func(label, State)) {
	t := s
	d.tick(&t.near)
	d.tick(&t.replica)
	for i := range t.writers {
		if w := &t.writers[i]; w.wait > 0 {
			w.wait--
		}
	}
	if t.since > 0 {
		t.since++
		if t.since > d.delta {
			t.since = 0
		}
	}
	u := t
	for p := range d.readers {
		u.readers[p].tick(d.delta)
	}
	emit(label{"time", nobody, "passes"}, u)
	if d.suspend && s.left > 0 {
		for p := range d.readers {
			u := t
			for q := range d.readers {
				if q != p {
					u.readers[q].tick(d.delta)
				}
			}
			u.happened()
			u.left = s.left
			emit(label{"time", nobody, "passes, and the clock of a reader stands still"}, u)
		}
	}
	if d.drift {
		d.driftStep(s, t, u, emit)
	}
}

func (r *reader) tick(delta uint8) {
	if r.lease > 0 {
		r.lease--
	}
	if r.news != idle && r.age < delta {
		r.age++
	}
}

// driftStep has a tick pass that one of the clocks measures wrongly: a reader's is behind, once in a lease; or the server's or a
// writer's ahead, once in Δ.
func (d *design) driftStep(s, others, all State, emit func(label, State)) {
	for p := range d.readers {
		r := s.readers[p]
		if r.lease > 0 && r.slow > 0 || r.news != idle && r.slip > 0 || r.lease == 0 && r.news == idle {
			continue
		}
		u := others
		for q := range d.readers {
			if q != p {
				u.readers[q].tick(d.delta)
			}
		}
		n := &u.readers[p]
		if n.lease > 0 {
			n.slow = 1
		}
		if n.news != idle {
			n.slip = 1
		}
		emit(label{"time", nobody, "passes, and a reader's clock is behind by it"}, u)
		e := &u.near.ent[p]
		if e.left > 0 && e.fast == 0 { // both at once
			e.left--
			e.fast = 1
			u.near.expire()
			emit(label{"time", nobody, "passes, a reader's clock is behind by it, and the server's ahead"}, u)
		}
	}
	for p := range d.readers {
		if e := all.near.ent[p]; e.left > 0 && e.fast == 0 {
			u := all
			u.near.ent[p].left--
			u.near.ent[p].fast = 1
			u.near.expire()
			emit(label{"time", nobody, "passes, and the server's clock is ahead by a tick"}, u)
		}
	}
	for i := range s.writers {
		if w := all.writers[i]; w.wait > 0 && w.fast == 0 {
			u := all
			u.writers[i].wait--
			u.writers[i].fast = 1
			emit(label{"time", nobody, "passes, and a writer's clock is ahead by a tick"}, u)
		}
	}
}
