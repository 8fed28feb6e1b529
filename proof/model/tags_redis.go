package main

import "slices"

// What Redis does in the model of tags.

// run executes a command, and returns the answer.
func (d *tagDesign) run(s *tagState, c tagCommand) uint8 {
	switch c.verb {
	case lease:
		if s.doc.lease(s.freshToken()) || s.doc.kind == present { // a refresh starts from the value
			return s.doc.token
		}
	case mark, epoch:
		if s.journal[0].id == 0 {
			s.journal[0] = tagRecord{id: s.freshRecord()}
		}
		return s.last().id
	case record:
		id := s.freshRecord()
		if d.clientIDs {
			id = 100 + c.who
		}
		s.append(tagRecord{id: id, names: true})
	case add:
		switch {
		case d.scoresRepeat:
			s.index++
		default:
			s.index = s.freshScore()
		}
	case fill:
		if d.uncompared {
			c.token = s.doc.token
			s.doc.lease(c.token)
		}
		s.doc.fill(c.token, s.freshToken(), c.value)
	case read:
		return s.index
	case clear:
		was := s.index
		s.index = 0
		return was
	case remove:
		s.doc.invalidate()
	case unindex:
		if s.index == c.token || d.plainRemoval {
			s.index = 0
		}
	case hold:
		s.held[c.who] = true
	case unhold:
		s.held[c.who] = false
	}
	return 0
}

func (s *tagState) last() tagRecord {
	last := s.journal[0]
	for _, r := range s.journal {
		if r.id != 0 {
			last = r
		}
	}
	return last
}

// append trims the journal if it is full.
func (s *tagState) append(r tagRecord) {
	for i := range s.journal {
		if s.journal[i].id == 0 {
			s.journal[i] = r
			return
		}
	}
	copy(s.journal[:], s.journal[1:])
	s.journal[journalLen-1] = r
}

// redis is what happens without a process: eviction, expiry, trimming, and commands that come late or again.
func (d *tagDesign) redis(s tagState, emit func(label, tagState)) {
	if s.doc.kind != missing {
		t := s
		t.doc = document{}
		emit(label{"the document", nobody, "expires or is evicted", ""}, t)
	}
	if s.journal[0].id != 0 {
		t := s
		t.journal = [journalLen]tagRecord{}
		emit(label{"the journal", nobody, "is evicted", ""}, t)
	}
	if s.journal[1].id != 0 {
		t := s
		copy(t.journal[:], s.journal[1:])
		t.journal[journalLen-1] = tagRecord{}
		emit(label{"the journal", nobody, "is trimmed by one record", ""}, t)
	}
	if s.index != 0 && !d.scoresRepeat { // or else time would pass
		emit(label{"the entry", nobody, "expires in the index", ""}, d.expireIndex(s))
	}
	for i := range d.writers {
		w := s.writers[i]
		if !s.held[i] {
			continue
		}
		t := s
		t.held[i] = false
		if w.committed || w.dead {
			emit(label{"the hold of writer", i, "expires", ""}, t)
		} else if d.holdersEvicted {
			t.writers[i].unheld = true
			emit(label{"the hold of writer", i, "is evicted", ""}, t)
		}
	}
	if s.again.verb != end {
		t := s
		d.run(&t, s.again)
		emit(label{"Redis", nobody, "executes a command of before: ", tagStepNames[s.again.verb]}, t)
		t = s
		t.again = tagCommand{}
		emit(label{"the late command", nobody, "is lost", ""}, t)
	}
}

// expireIndex: a fill is refused once its deadline has passed, and the index entry outlives what
// was filled before it. So when the entry of the index expires, the document has, and the fills of
// all loads that added the entry are refused.
func (d *tagDesign) expireIndex(s tagState) tagState {
	s.index = 0
	if d.indexEvicted {
		return s
	}
	if s.doc.kind == present {
		s.doc = document{}
	}
	if d.noDeadline {
		return s
	}
	if s.again.verb == fill {
		s.again = tagCommand{}
	}
	added := slices.Index(d.load, add)
	for i, l := range s.loaders {
		if int(l.at) > added {
			s.loaders[i] = tagLoader{}
		}
	}
	return s
}
