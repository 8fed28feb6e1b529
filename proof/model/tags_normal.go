package main

import "slices"

// What the server makes is unique: of equal meaning is any number that nothing in the state knows.
func (s *tagState) freshToken() uint8 {
	return unused(func(n uint8) bool {
		return n == s.doc.token || n == s.again.token ||
			slices.ContainsFunc(s.loaders[:], func(l tagLoader) bool { return l.token == n })
	})
}

func (s *tagState) freshScore() uint8 {
	return unused(func(n uint8) bool {
		return n == s.index || n == s.again.token ||
			slices.ContainsFunc(s.writers[:], func(w tagWriter) bool { return w.read == n })
	})
}

func (s *tagState) freshRecord() uint8 {
	return unused(func(n uint8) bool {
		return slices.ContainsFunc(s.journal[:], func(r tagRecord) bool { return r.id == n }) ||
			slices.ContainsFunc(s.loaders[:], func(l tagLoader) bool { return l.epoch == n })
	})
}

const (
	gone = 14 // a record that is no longer in the journal, or would not make a difference
	lost = 15 // a token or a score that has been replaced, and never comes again
)

func unused(used func(n uint8) bool) uint8 {
	n := uint8(1)
	for used(n) {
		n++
	}
	return n
}

// normal gives states that nothing will ever tell apart one form.
func (d *tagDesign) normal(s tagState) tagState {
	for i := range d.loaders {
		d.forgetOfLoader(&s, &s.loaders[i])
	}
	for i := range d.writers {
		d.forgetOfWriter(&s, &s.writers[i])
	}
	if !d.clientIDs && !d.forgiving {
		d.forgetRecords(&s)
	}
	s.doc.waited = false // nobody is to be told of a release
	if s.again.verb == fill && s.again.token != s.doc.token && !d.uncompared ||
		s.again.verb == unindex && s.again.token != s.index && !d.scoresRepeat && !d.plainRemoval {
		s.again = tagCommand{}
	}
	d.renumber(&s)
	return s
}

// forgetOfLoader forgets what will make no difference to a load any more.
func (d *tagDesign) forgetOfLoader(s *tagState, l *tagLoader) {
	if l.refuse && slices.Index(d.load, add) < int(l.at) {
		*l = tagLoader{}
		return
	}
	if l.at > 0 && d.load[l.at] == load { // the earlier it reads the row, the older what it finds
		l.version = s.version
		l.at++
	}
	if slices.Index(d.load, check) < int(l.at) {
		l.epoch = 0
	}
	if l.token != 0 && l.token != s.doc.token && !d.uncompared {
		l.token, l.version, l.refuse = lost, 0, true
	}
	if l.refuse && l.epoch != 0 && !d.clientIDs {
		l.epoch = gone
	}
}

// forgetOfWriter forgets what will make no difference to a writer any more.
func (d *tagDesign) forgetOfWriter(s *tagState, w *tagWriter) {
	if !w.started || w.dead {
		return
	}
	rest := d.steps(w.tx)[w.at:]
	if rest[0] == done {
		s.floor = max(s.floor, w.version)
		*w = tagWriter{started: true, dead: true}
		return
	}
	if w.read != s.index && w.read != 0 && !d.scoresRepeat {
		w.read = lost
	}
	if w.version <= s.floor {
		w.version = 0
	}
	if w.at > 0 && !slices.Contains(rest, remove) && !slices.Contains(rest, unindex) {
		w.read = 0
	}
}

// renumber gives tokens and scores the least numbers: which they are makes no difference.
func (d *tagDesign) renumber(s *tagState) {
	var tokens, scores renaming
	tokens.rename(&s.doc.token)
	for i := range d.loaders {
		tokens.rename(&s.loaders[i].token)
	}
	if s.again.verb == fill {
		tokens.rename(&s.again.token)
	}
	if d.scoresRepeat {
		return
	}
	scores.rename(&s.index)
	for i := range d.writers {
		scores.rename(&s.writers[i].read)
	}
	if s.again.verb == unindex {
		scores.rename(&s.again.token)
	}
}

// A load that will be refused anyway needs not to know why, and a journal that nobody has read may as well be missing.
func (d *tagDesign) forgetRecords(s *tagState) {
	first := journalLen
	for i := range d.loaders {
		l := &s.loaders[i]
		if l.epoch == 0 {
			continue
		}
		if l.epoch == gone || !d.unchanged(s, l.epoch) {
			l.epoch = gone
			continue
		}
		first = min(first, slices.IndexFunc(s.journal[:], func(r tagRecord) bool { return r.id == l.epoch }))
	}
	var journal [journalLen]tagRecord
	copy(journal[:], s.journal[first:])
	journal[0].names = false
	s.journal = journal
	var records renaming
	for i := range s.journal {
		records.rename(&s.journal[i].id)
	}
	for i := range d.loaders {
		if l := &s.loaders[i]; l.epoch != gone {
			records.rename(&l.epoch)
		}
	}
}

// A renaming numbers names in the order in which they are met.
type renaming struct {
	to   [16]uint8
	last uint8
}

func (r *renaming) rename(name *uint8) {
	if *name == 0 || *name >= gone {
		return
	}
	if r.to[*name] == 0 {
		r.last++
		r.to[*name] = r.last
	}
	*name = r.to[*name]
}
