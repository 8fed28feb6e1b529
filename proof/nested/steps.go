package main

const lateFill = 200

type emitter func(label, State)

// kill voids the tokens of a document that is no more.
func (s *State) kill(k int) {
	for i := range s.loads {
		s.loads[i].live &^= 1 << k
	}
	if s.late.verb == lateFill && int(s.late.key) == k {
		s.late.live = 0
	}
}

func (s *State) remove(k int) {
	s.docs[k] = doc{}
	s.kill(k)
	for i := range s.writers {
		s.writers[i].found &^= 1 << k << 4 // it is not there throughout a scan
	}
}

func (d *design) holderBit(w int) uint8 {
	if d.sharedToken {
		return 1
	}
	return 1 << w
}

func (s *State) place(k int, bit uint8) {
	if s.docs[k].kind != held {
		s.docs[k] = doc{kind: held}
		s.kill(k)
	}
	s.docs[k].holders |= bit
}

func (d *design) next(s State, emitAll emitter) {
	emit := func(l label, t State) {
		for k := range t.docs {
			if !d.marksCount || d.tags>>k&1 == 0 {
				t.docs[k].old = 0
			}
		}
		emitAll(l, t)
	}
	d.redis(s, emit)
	for p := range d.procs() {
		d.procStep(s, p, emit)
	}
	for i := range d.loads {
		d.loadStep(s, i, emit)
	}
	for i := range d.programs {
		d.writerStep(s, i, emit)
	}
}

// redis is what happens without a process.
func (d *design) redis(s State, emit emitter) {
	if d.replica && s.replica < s.version {
		t := s
		t.replica++
		emit(label{"the replica", -1, "applies a change", -1, ""}, t)
	}
	for k := range d.keys {
		c := s.docs[k]
		switch {
		case c.kind == held && d.evictHold && c.holders&lag == 0:
			t := s
			t.lose(k, c.holders, d)
			t.remove(k)
			emit(label{"the hold", -1, "is evicted:", int8(k), ""}, t)
		case (c.kind == leased || c.kind == value) && !d.noEvict:
			t := s
			t.remove(k)
			emit(label{"the document", -1, "expires or is evicted:", int8(k), ""}, t)
		}
		if c.kind != held {
			continue
		}
		if c.holders&lag != 0 && s.replica >= s.lagFor {
			t := s
			t.expire(k, lag)
			emit(label{"the lag", -1, "is over:", int8(k), ""}, t)
		}
		for w := range d.programs {
			if c.holders&d.holderBit(w) != 0 && d.holdEnds(&s, w) {
				t := s
				t.lose(k, 1<<w, d)
				t.expire(k, d.holderBit(w))
				emit(label{"the hold of writer", int8(w), "expires:", int8(k), ""}, t)
			}
		}
	}
	if s.tagHeld != 0 && d.evictHold {
		t := s
		for w := range d.programs {
			if t.tagHeld>>w&1 != 0 {
				t.writers[w].lost |= tagBit
			}
		}
		t.tagHeld = 0
		emit(label{"the hold of the tag", -1, "is evicted", -1, ""}, t)
	}
	for w := range d.programs {
		if s.tagHeld>>w&1 != 0 && d.holdEnds(&s, w) {
			t := s
			t.writers[w].lost |= tagBit
			t.tagHeld &^= 1 << w
			emit(label{"the hold of the tag by writer", int8(w), "expires", -1, ""}, t)
		}
	}
	if c := s.late; c.verb != 0 {
		t := s
		if c.verb == lateFill {
			t.store(int(c.key), c.ver)
			t.late = late{}
			emit(label{"Redis", -1, "executes late the fill of", int8(c.key), ""}, t)
		} else {
			d.run(&t, int(c.who), op{verb(c.verb), c.key})
			emit(label{"Redis", -1, "executes late or again: " + verbNames[c.verb], keyOf(op{verb(c.verb), c.key}), ""}, t)
		}
		t = s
		t.late = late{}
		emit(label{"the late command", -1, "is lost", -1, ""}, t)
	}
}

func (s *State) lose(k int, who uint8, d *design) {
	for w := range d.programs {
		if who>>w&1 != 0 || d.sharedToken && who&1 != 0 {
			s.writers[w].lost |= 1 << k
		}
	}
}

func (s *State) expire(k int, bit uint8) {
	if s.docs[k].holders &^= bit; s.docs[k].holders == 0 {
		s.remove(k)
	}
}

// holdEnds: a hold outlives the time that a COMMIT may take to land, and is renewed as long as its writer lives.
func (d *design) holdEnds(s *State, w int) bool {
	x := &s.writers[w]
	return x.over != 0 || d.programs[w].tx && x.committed != 0
}

func (s *State) store(k int, ver uint8) {
	s.docs[k] = doc{kind: value, ver: ver}
	s.kill(k)
}

func (d *design) procStep(s State, p int, emit emitter) {
	q := &s.procs[p]
	if q.todo != 0 && q.lease != 0 {
		t := s
		names := uint8(0)
		for w := range d.programs {
			if q.todo>>w&1 != 0 {
				names |= s.writers[w].names
			}
		}
		r := &t.procs[p]
		r.todo = 0
		for k := range d.keys {
			if names>>k&1 != 0 {
				r.copies[k] = 0
				if int(r.insKey) == k+1 {
					r.insOK = 0
				}
			}
		}
		emit(label{"process", int8(p), "applies the record, and drops its copies", -1, ""}, t)
	}
	if q.insKey != 0 && q.insOK != 0 {
		t := s
		r := &t.procs[p]
		r.copies[q.insKey-1] = 1 + q.insVer
		r.insKey = 0
		emit(label{"process", int8(p), "makes a near copy of", int8(q.insKey - 1), ""}, t)
	}
	for k := range d.keys {
		if q.copies[k] != 0 {
			t := s
			t.procs[p].copies[k] = 0
			emit(label{"process", int8(p), "forgets its near copy of", int8(k), ""}, t)
		}
	}
	if !d.leaseLoss {
		return
	}
	if q.lease != 0 {
		t := s
		t.procs[p] = proc{todo: q.todo}
		emit(label{"process", int8(p), "loses its lease for near copies", -1, ""}, t)
	} else {
		t := s
		t.procs[p] = proc{lease: 1}
		emit(label{"process", int8(p), "wipes its copies, and has a new lease", -1, ""}, t)
	}
}

// insert notes that a process is about to make a copy, for which it noted the generation just now.
func (d *design) insert(s *State, i, k int, ver uint8) {
	if !d.near {
		return
	}
	q := &s.procs[d.procOf(i)]
	if q.lease != 0 && q.insKey == 0 {
		q.insKey, q.insVer, q.insOK = uint8(k+1), ver, 1
	}
}

func (d *design) loadStep(s State, i int, emit emitter) {
	l := &s.loads[i]
	if l.top == 0 {
		for k := range d.keys {
			t := s
			t.loads[i] = load{top: uint8(k + 1), at: uint8(k), need: s.floor}
			d.ask(t, i, k, emit)
		}
		return
	}
	t := s
	for k := range d.keys {
		if inFlight(&t.loads[i], k) {
			d.abandon(&t, i, k)
		}
	}
	t.loads[i] = load{}
	emit(label{"loader", int8(i), "gives up, or dies", -1, ""}, t)
	k := int(l.at)
	what := label{"loader", int8(i), "", int8(k), ""}
	switch l.stage {
	case ask:
		d.ask(s, i, k, emit)
	case marking:
		t := s
		n := &t.loads[i]
		if d.heldAtFill || t.tagHeld == 0 {
			n.mark |= 1 << k
		}
		d.descend(&t, i, k)
		what.does, what.how = "reads the last record and which tags are held, for", d.tells(&t, i, k)
		emit(what, t)
	case reading:
		t := s
		d.descend(&t, i, 0)
		what.does, what.how = "reads the row for", ofRow(t.loads[i].ver)
		emit(what, t)
	case add:
		t := s
		if raw && (l.live>>k&1 == 0 || l.mark>>k&1 == 0) {
			t.loads[i].live &^= 1 << k
			t.loads[i].stage = fill
			what.does = "will not fill"
			emit(what, t)
			return
		}
		t.index[k] = present
		t.loads[i].stage = check
		what.does = "adds to the index"
		emit(what, t)
	case check:
		t := s
		t.loads[i].stage = fill
		if raw && l.mark>>k&1 == 0 {
			t.loads[i].live &^= 1 << k
		}
		if d.heldAtFill && t.tagHeld != 0 {
			t.loads[i].live &^= 1 << k
		}
		what.does = "looks again at the records, for"
		emit(what, t)
	case fill:
		t := s
		ver := l.ver
		if l.nx>>k&1 != 0 {
			if t.docs[k].kind != missing {
				return
			}
			t.docs[k] = doc{kind: leased}
		} else if l.live>>k&1 == 0 {
			d.leave(&t, i, k, false)
			d.got(&t, i, k, ver)
			what.does, what.how = "does not fill, or is refused:", ofRow(ver)
			emit(what, t)
			return
		}
		isOld := d.marksCount && d.tags>>k&1 != 0 && l.mark>>k&1 == 0
		t.store(k, ver)
		if isOld {
			t.docs[k].old = 1
		}
		d.insert(&t, i, k, ver)
		d.leave(&t, i, k, true)
		d.got(&t, i, k, ver)
		what.does, what.how = "fills", ofRow(ver)
		emit(what, t)
		if d.near { // a copy may not be made
			t.procs[d.procOf(i)].insKey = s.procs[d.procOf(i)].insKey
			emit(what, t)
		}
		if d.late && s.late.verb == 0 {
			t := s
			t.late = late{verb: lateFill, key: uint8(k), ver: ver, live: 1}
			t.loads[i].live &^= 1 << k
			d.leave(&t, i, k, false)
			d.got(&t, i, k, ver)
			what.how += ", which is delayed and fails for it"
			emit(what, t)
		}
	}
}

func ofRow(ver uint8) string { return " made from row " + string('0'+rune(ver)) }

// ask has a load look for a key, and take its lease, in one step.
func (d *design) ask(s State, i, k int, emit emitter) {
	what := label{"loader", int8(i), "", int8(k), ""}
	me := s.loads[i]
	top := int(me.top) == k+1
	if d.near {
		if q := &s.procs[d.procOf(i)]; q.lease != 0 && q.copies[k] != 0 {
			t := s
			ver := q.copies[k] - 1
			d.got(&t, i, k, ver)
			what.does, what.how = "reads its near copy of", ofRow(ver)
			if !top && !d.noNearInside {
				emit(what, t)
			}
		}
	}
	if d.joins {
		for j := range d.loads {
			if j != i && d.procOf(i) == d.procOf(j) && inFlight(&s.loads[j], k) {
				t := s
				t.loads[i].stage, t.loads[i].join = joined, uint8(j+1)
				what.does, what.how = "joins the flight of", " of loader "+string('0'+rune(j))
				emit(what, t)
			}
		}
	}
	begin := func(does string, live, mark bool) {
		t := s
		n := &t.loads[i]
		n.at = uint8(k)
		n.stage = ask
		if live {
			n.live |= 1 << k
		}
		for j := range d.loads {
			if j != i && t.loads[j].top != 0 && d.procOf(i) == d.procOf(j) {
				t.loads[j].since |= 1 << k
			}
		}
		if mark && d.tags>>k&1 != 0 {
			n.stage = marking
			what.does, what.how = does, ""
		} else {
			d.descend(&t, i, k)
			what.does, what.how = does, d.tells(&t, i, k)
		}
		emit(what, t)
	}
	switch c := s.docs[k]; c.kind {
	case missing:
		s.docs[k] = doc{kind: leased}
		s.kill(k)
		begin("takes the lease of", true, true)
	case leased:
		begin("waits no longer, and loads without a fill", false, false)
	case held:
		if d.taint || d.taintLag && c.holders&lag != 0 {
			s.loads[i].live = 0
		}
		if d.nxAfterHold {
			s.loads[i].nx |= 1 << k
		}
		begin("sees the hold, and loads without a fill", false, false)
	case value:
		t := s
		if c.old != 0 {
			t.loads[i].mark = 0
		}
		d.got(&t, i, k, c.ver)
		what.does, what.how = "finds", ofRow(c.ver)
		if !top || d.joins {
			emit(what, t)
		}
		if d.near {
			q := &t.procs[d.procOf(i)]
			if q.lease != 0 && q.insKey == 0 {
				d.insert(&t, i, k, c.ver)
				emit(what, t)
			}
		}
		if top && !d.noRefresh {
			begin("begins to refresh", true, true)
		}
	}
}

func (d *design) tells(s *State, i, k int) string {
	if l := &s.loads[i]; k == 0 && l.stage >= add {
		return ", and reads row " + string('0'+rune(l.ver))
	}
	return ""
}

// descend has a load ask for what a key is made from.
func (d *design) descend(s *State, i, k int) {
	l := &s.loads[i]
	if k > 0 {
		l.at, l.stage = uint8(k-1), ask
		return
	}
	if raw && l.stage != reading {
		l.at, l.stage = 0, reading
		return
	}
	l.ver = s.version
	if d.replica {
		l.ver = s.replica
	}
	l.at = 0
	l.stage = d.ending(0)
}

func (d *design) ending(k int) stage {
	if d.tags>>k&1 != 0 {
		return add
	}
	return fill
}

// inFlight reports whether a load has a flight of its own for a key.
func inFlight(l *load, k int) bool {
	if l.top == 0 || int(l.top)-1 < k || int(l.at) > k {
		return false
	}
	if l.acc != 0 && k == 1 { // diamond: L has been read, S is being read
		return false
	}
	return int(l.at) < k || l.stage == marking || l.stage == reading || l.stage == add || l.stage == check || l.stage == fill
}

// leave ends a flight. A caller that joined it takes the result, or asks again.
func (d *design) leave(s *State, i, k int, decided bool) {
	for j := range d.loads {
		l := &s.loads[j]
		if l.stage == joined && int(l.join) == i+1 && int(l.at) == k {
			l.stage, l.join = ask, 0
			if decided || (d.joinAny || d.joinInherit && l.since>>k&1 != 0) && int(s.loads[i].at) == k {
				d.got(s, j, k, s.loads[i].ver)
			}
		}
		l.since &^= 1 << k
	}
}

// abandon ends a flight that found nothing.
func (d *design) abandon(s *State, i, k int) {
	for j := range d.loads {
		l := &s.loads[j]
		if l.stage == joined && int(l.join) == i+1 && int(l.at) == k {
			l.stage, l.join = ask, 0
		}
		l.since &^= 1 << k
	}
}

// got gives a load the value of a key that it asked for.
func (d *design) got(s *State, i, k int, ver uint8) {
	l := &s.loads[i]
	if int(l.top) == k+1 {
		if d.joins && ver < l.need {
			s.bad = 1
		}
		s.loads[i] = load{}
		return
	}
	parent := k + 1
	if d.diamond && l.top == 3 {
		switch {
		case k == 1: // L; now S
			l.acc = 1 + ver
			l.at, l.stage = 0, ask
			return
		case l.acc != 0:
			ver = min(ver, l.acc-1)
			l.acc = 0
			parent = 2
		}
	}
	l.ver, l.at, l.stage = ver, uint8(parent), d.ending(parent)
}

func keyOf(o op) int8 {
	switch o.verb {
	case rm, hold, tryHold, tryHoldAll, tryRel, rel, relLag, rmLag, readIndex, rmFound, unindex, scanRm, scanHold, relFound, try:
		return int8(o.key)
	}
	return -1
}

// run executes a command of a writer.
func (d *design) run(s *State, i int, o op) {
	w := &s.writers[i]
	k := int(o.key)
	bit := d.holderBit(i)
	switch o.verb {
	case rm, try:
		if s.docs[k].kind != held {
			s.remove(k)
		}
	case rmAll:
		for k := range d.keys {
			if o.key>>k&1 != 0 && s.docs[k].kind != held {
				s.remove(k)
			}
		}
	case rmLag:
		s.lagFor = s.version
		s.place(k, lag)
	case hold, tryHold:
		s.place(k, bit)
	case rel, relLag:
		isThere := s.docs[k].kind == held && s.docs[k].holders&bit != 0
		gone := !isThere || d.stamps && w.lost>>k&1 != 0
		if gone && w.over == 0 {
			w.gone = 1
		}
		if o.verb == relLag {
			s.lagFor = s.version
			s.place(k, lag)
		}
		switch {
		case isThere:
			s.expire(k, bit)
		case s.docs[k].kind != held && !d.keepsGone:
			s.remove(k)
		}
	case holdTag:
		s.tagHeld |= 1 << i
	case relTag, relTagRecord:
		if s.tagHeld>>i&1 == 0 || d.stamps && w.lost&tagBit != 0 {
			if w.over == 0 {
				w.gone = 1
			}
		}
		s.tagHeld &^= 1 << i
		if o.verb == relTagRecord {
			s.unmark()
		}
	case record:
		s.unmark()
	case readIndex:
		w.found &^= 1 << k
		if s.index[k]&present != 0 {
			s.index[k] |= 1 << i
			w.found |= 1 << k
		}
	case rmFound:
		if w.found>>k&1 != 0 && s.docs[k].kind != held {
			s.remove(k)
		}
	case unindex:
		if w.found>>k&1 != 0 && s.index[k]>>i&1 != 0 {
			s.index[k] = 0
		}
		w.found &^= 1 << k
	case note:
		w.names = o.key
		for p := range d.procs() {
			s.procs[p].todo |= 1 << i
		}
	}
}

func (s *State) unmark() {
	for k := range s.docs {
		if s.docs[k].kind == value {
			s.docs[k].old = 1
		}
	}
	for i := range s.loads {
		s.loads[i].mark = 0
	}
}

// sendable reports whether a command that is executed late makes a difference.
func sendable(v verb) bool {
	switch v {
	case hold, rel, holdTag, relTag:
		return true
	}
	return false
}

func (d *design) writerStep(s State, i int, emit emitter) {
	w := &s.writers[i]
	if w.over != 0 {
		return
	}
	if d.crash && (w.at > 0 || w.prog != [4]uint8{}) {
		t := s
		t.writers[i].over = 1
		emit(label{"writer", int8(i), "dies", -1, ""}, t)
	}
	d.retryStep(s, i, emit)
	groups := d.programs[i].groups
	g := groups[w.at]
	for th := range g {
		if int(w.prog[th]) == len(g[th]) {
			continue
		}
		o := g[th][w.prog[th]]
		what := label{"writer", int8(i), verbNames[o.verb], keyOf(o), ""}
		if d.programs[i].tx {
			what.who = "InTx of writer"
		}
		step := func(t State, how string) {
			n := &t.writers[i]
			n.prog[th]++
			for th := range g {
				if int(n.prog[th]) < len(g[th]) {
					what.how = how
					emit(what, t)
					return
				}
			}
			n.at, n.prog = n.at+1, [4]uint8{}
			if int(n.at) == len(groups) {
				n.over = 1
			}
			what.how = how
			emit(what, t)
		}
		t := s
		n := &t.writers[i]
		switch o.verb {
		case write, commit:
			if w.committed == 0 {
				t.version++
				n.ver, n.committed = t.version, 1
				if o.verb == commit && d.promise2 && w.lost == 0 {
					t.floor = max(t.floor, n.ver)
				}
			} else {
				what.does = "goes on"
			}
			step(t, "")
		case hold:
			d.run(&t, i, o)
			n.lost &^= 1 << o.key
			step(t, "")
		case holdTag:
			d.run(&t, i, o)
			n.lost &^= tagBit
			step(t, "")
		case tryHold:
			if w.committed == 0 {
				f := s
				f.writers[i].lost |= 1 << o.key
				save := what
				what.does = "fails to hold"
				func() {
					t := f
					n := &t.writers[i]
					n.prog[th]++
					done := true
					for th := range g {
						done = done && int(n.prog[th]) == len(g[th])
					}
					if done {
						n.at, n.prog = n.at+1, [4]uint8{}
					}
					emit(what, t)
				}()
				what = save
			}
			d.run(&t, i, o)
			n.lost &^= 1 << o.key
			step(t, "")
		case tryHoldAll, tryRel:
			f := s
			save := what
			what.does = "fails to hold"
			if o.verb == tryRel {
				what.does = "fails to release"
			}
			m := &f.writers[i]
			m.pend |= 1 << o.key
			if d.retry >= asGroup {
				m.after |= d.all()
			}
			m.prog[th]++
			done := true
			for th := range g {
				done = done && int(m.prog[th]) == len(g[th])
			}
			if done {
				m.at, m.prog = m.at+1, [4]uint8{}
			}
			emit(what, f)
			what = save
			if o.verb == tryRel {
				d.run(&t, i, op{rel, o.key})
			} else {
				d.run(&t, i, op{hold, o.key})
				n.lost &^= 1 << o.key
			}
			step(t, "")
		case wait:
			for p := range d.procs() {
				if s.procs[p].todo>>i&1 != 0 && s.procs[p].lease != 0 {
					return
				}
			}
			step(t, "")
		case again:
			if n.gone != 0 {
				n.gone = 0
				n.at, n.prog = o.key, [4]uint8{}
				emit(what, t)
			} else {
				what.does = "found no hold gone"
				step(t, "")
			}
		case snapshot:
			n.found = 0
			for k := range d.keys {
				if s.docs[k].kind != missing {
					n.found |= 1 << k << 4
				}
			}
			step(t, "")
		case scanRm, scanHold:
			there := s.docs[o.key].kind != missing
			must := w.found>>o.key&0x10 != 0
			if there {
				if o.verb == scanRm {
					d.run(&t, i, op{rm, o.key})
				} else {
					d.run(&t, i, op{hold, o.key})
					n.lost &^= 1 << o.key
					n.found |= 1 << o.key
				}
				step(t, "")
			}
			if !must {
				t := s
				what.does = "scans and does not meet"
				step(t, "")
			}
		case relFound:
			if w.found>>o.key&1 != 0 {
				d.run(&t, i, op{rel, o.key})
				n.found &^= 1 << o.key
			} else {
				what.does = "has not met"
			}
			step(t, "")
		case try:
			// It fails.
			f := s
			save := what
			what.does = "fails to invalidate"
			m := &f.writers[i]
			if m.pend != 0 && (d.retry == thenAllAfter || d.retry >= asGroup) {
				m.after |= 1 << o.key
			}
			m.pend |= 1 << o.key
			m.prog[th]++
			if int(m.prog[th]) == len(g[th]) {
				m.at, m.prog = m.at+1, [4]uint8{}
			}
			emit(what, f)
			what = save
			d.run(&t, i, o)
			switch {
			case w.pend == 0 || d.retry == pendingOnly:
			case w.rphase == 2 && d.retry >= untilHeld && w.pend == 0x80 && w.after == 0:
				n.held |= 1 << o.key
			default:
				n.after |= 1 << o.key
			}
			step(t, "")
		case settled:
			if w.pend == 0 && w.after == 0 && w.rphase == 0 {
				step(t, "")
			}
		case end:
			t.floor = max(t.floor, n.ver)
			step(t, "") // it may go on in the background
		default:
			d.run(&t, i, o)
			step(t, "")
		}
		if d.late && s.late.verb == 0 && sendable(o.verb) {
			t := s
			d.run(&t, i, o)
			n := &t.writers[i]
			switch o.verb {
			case hold:
				n.lost &^= 1 << o.key
			case holdTag:
				n.lost &^= tagBit
			}
			t.late = late{verb: uint8(o.verb), key: o.key, who: uint8(i)}
			step(t, "; it will be executed again")
			t = s
			t.late = late{verb: uint8(o.verb), key: o.key, who: uint8(i)}
			what.how = "; the command is delayed, and fails for it: it tries again"
			emit(what, t)
		}
	}
}

// retryStep is what a process does in the background about invalidations that failed.
func (d *design) retryStep(s State, i int, emit emitter) {
	w := &s.writers[i]
	what := label{"writer", int8(i), "sends again, in the background: removes", -1, ""}
	switch d.retry {
	case noRetry:
	case pendingOnly, thenAfter, thenAllAfter:
		for k := range d.keys {
			if w.pend>>k&1 != 0 {
				t := s
				d.run(&t, i, op{rm, uint8(k)})
				n := &t.writers[i]
				if n.pend &^= 1 << k; n.pend == 0 {
					n.pend, n.after = n.after, 0
				}
				what.key = int8(k)
				emit(what, t)
			}
		}
	case inOrder:
		// rset is where it stands: what is pending and after, lowest key first (the calls were made in that order).
		for k := range d.keys {
			if (w.pend|w.after)>>k&1 != 0 {
				t := s
				d.run(&t, i, op{rm, uint8(k)})
				n := &t.writers[i]
				n.pend &^= 1 << k
				n.after &^= 1 << k
				if n.pend == 0 {
					n.pend, n.after = n.after, 0
				}
				what.key = int8(k)
				emit(what, t)
				break
			}
		}
	case asGroup, untilHeld, untilHeldAtMost:
		switch w.rphase {
		case 0:
			if w.pend != 0 {
				t := s
				n := &t.writers[i]
				n.rset, n.rphase, n.rdone = w.pend|w.after, 1, 0
				n.pend, n.after = 0x80, 0 // what fails or is invalidated from now on waits for the next round
				what.does = "begins to send again"
				emit(what, t)
			}
		case 1, 2:
			for k := range d.keys {
				if w.rset>>k&1 == 0 || w.rdone>>k&1 != 0 {
					continue
				}
				t := s
				n := &t.writers[i]
				if w.rphase == 1 {
					d.run(&t, i, op{hold, uint8(k)})
					n.lost &^= 1 << k
					what.does = "sends again: holds"
				} else {
					d.run(&t, i, op{rel, uint8(k)})
					what.does = "sends again: releases"
				}
				n.rdone |= 1 << k
				if n.rdone == n.rset {
					n.rdone = 0
					n.rphase++
					switch {
					case n.rphase == 3 && n.gone != 0: // a hold was gone: once more
						n.rphase, n.gone = 1, 0
						if d.retry == untilHeld {
							n.rset |= n.held
						}
						n.held = 0
					case n.rphase == 3:
						n.rphase, n.rset, n.held = 0, 0, 0
						n.pend &^= 0x80
						if n.pend == 0 {
							n.pend, n.after = n.after, 0
						}
					}
				}
				what.key = int8(k)
				emit(what, t)
			}
		}
	}
}
