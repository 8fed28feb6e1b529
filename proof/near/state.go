package main

import (
	"math/bits"

	"github.com/asidecache/aside/proof/states"
)

// What is modelled. All fields are bytes, so that a State has no padding and can be compared as bytes.

const (
	maxReaders = 2
	maxWriters = 2
	maxLog     = 8
)

type State struct {
	version uint8 // of the row
	floor   uint8 // no Get that starts now may return an older version
	doc     kind  // what Redis holds for the key
	docV    uint8 // version of the value, or that the load under the lease has read
	holders uint8 // writers that hold it
	index   uint8 // tags: the score of the entry in the index of its tag; 0: it is not there
	near    table // LOG and READERS
	replica table // what a failover would bring back of them
	readers [maxReaders]reader
	writers [maxWriters]writer
	again   command // a command that is late, or is executed again
	told    message // a message that is under way
	since   uint8   // 1 + ticks since the last excused accident, 0 if that is longer ago than Δ
	left    uint8   // accidents that may still happen
}

type kind uint8

const (
	missing kind = iota
	leased
	value
	held
)

// A table is what Redis holds for near copies.
type table struct {
	log  [maxLog]rec // the oldest comes first; id 0: no more
	born uint8       // 1 + age of READERS in ticks, at most Δ; 0: there is no READERS
	ent  [maxReaders]entry
}

type rec struct {
	ref
	names uint8 // 1: the key, 2: another name that shares its generation, 0: other names
}

// A ref names a record.
type ref struct{ id, nonce uint8 }

// An entry of READERS.
type entry struct {
	left uint8 // ticks until it expires; 0: it has, or is gone
	pos  uint8 // id of the last record that the reader says to have applied
	fast uint8 // ticks by which the server's clock has been ahead
}

type newsStage uint8

const (
	idle newsStage = iota
	sent
	replied
)

type reader struct {
	copy    uint8 // 1 + version of the near copy; 0: none
	lease   uint8 // ticks of its own clock until its lease ends
	slow    uint8 // ticks by which its clock has been behind during the lease
	applied ref   // the last record that it has applied
	brought ref   // designs with XREAD: the last record that this has brought since, and that is applied as well

	news  newsStage
	age   uint8 // ticks of its own clock since NEWS was sent
	slip  uint8 // ticks by which that clock has been behind
	over  uint8 // the lease was over when NEWS was sent
	reset uint8 // the reply: it says RESET
	drop  uint8 // ... 1: a record names the key, 2: one names another that shares its generation
	last  ref   // ... the last record

	pend uint8 // designs that apply late: 1 drop, 2 drop everything, is still to be done

	get   newsStage // of a GET
	got   uint8     // 1 + version that it found
	noted uint8     // the generation was noted

	need   uint8 // 1 + floor when a near Get began that has seen that the lease is alive; 0: none is under way
	picked uint8 // designs that look the copy up first
}

type writer struct {
	at      uint8 // place in its program
	version uint8
	rec     ref   // its record
	wait    uint8 // ticks of its own clock until Δ has passed since the reply to NOTE
	fast    uint8 // ticks by which that clock has been ahead
	set     uint8 // designs that list readers: those that it waits for
	unheld  uint8 // its hold was lost before the commit: the promise is about the end of InTx
	gone    uint8 // it knows that its hold was lost
	score   uint8 // tags: what it found in the index
}

type verb uint8

const (
	nothing verb = iota
	doNews
	doNote
	doDeregister
)

type command struct {
	verb    verb
	who     uint8
	applied ref
	brought ref
}

// A message tells of a record.
type message struct {
	rec    ref
	before ref   // the record before it; 0: the reader has not got that
	names  uint8 // as in rec
	is     uint8 // 0: there is none
}

const listedAll = 0x80 // in writer.set: no reader's word is enough

// normal gives states that nothing will ever tell apart one form.
func (d *design) normal(s State) State {
	if d.raw {
		return s
	}
	for p := range d.readers {
		r := &s.readers[p]
		if r.news == idle {
			r.age, r.slip, r.over, r.reset, r.drop, r.last = 0, 0, 0, 0, 0, ref{}
		}
		if r.news == sent {
			r.reset, r.drop, r.last = 0, 0, ref{}
		}
		if r.lease == 0 {
			r.slow = 0
			// Nothing is served until a reply is applied, which drops everything, as the lease was over by then.
			if d.wipesFirst() && r.need == 0 {
				r.copy, r.get, r.got, r.noted = 0, idle, 0, 0
			}
		}
		if r.need == 1 { // nothing is too old for it
			r.need, r.picked = 0, 0
		}
	}
	for i := range s.writers {
		w := &s.writers[i]
		if w.at > 0 && d.at(i, w) == opEnd {
			*w = writer{at: w.at}
		}
		if !d.waits(i, w) {
			w.rec, w.set = ref{}, 0
			if !d.waitFromSend {
				w.wait, w.fast = 0, 0
			}
		}
		if w.wait == 0 {
			w.fast = 0
		}
	}
	if s.left == 0 {
		s.replica = table{}
	}
	d.forget(&s)
	d.shorten(&s, &s.near)
	d.shorten(&s, &s.replica)
	if d.readers < 2 || d.own {
		return s.renamed()
	}
	a, b := s.renamed(), s.swapped().renamed()
	if states.Less(&b, &a) {
		return b
	}
	return a
}

// forget drops references to records that are nowhere: they are no more than "not found".
func (d *design) forget(s *State) {
	if d.rawRefs() {
		return
	}
	lose := func(r *ref) {
		if r.id != 0 && s.near.find(*r) < 0 && s.replica.find(*r) < 0 {
			*r = ref{}
		}
	}
	loseBoth := func(applied, brought *ref) { // both must be there
		if brought.id == 0 {
			return
		}
		if lose(brought); brought.id == 0 || applied.id == 0 {
			*applied, *brought = ref{}, ref{}
		}
	}
	for p := range d.readers {
		r := &s.readers[p]
		lose(&r.applied)
		lose(&r.last)
		loseBoth(&r.applied, &r.brought)
	}
	for i := range s.writers {
		lose(&s.writers[i].rec)
	}
	lose(&s.again.applied)
	loseBoth(&s.again.applied, &s.again.brought)
	lose(&s.told.rec)
	lose(&s.told.before)
	// Only this counts of a position: which of the waiting writers' records it covers.
	for _, t := range []*table{&s.near, &s.replica} {
		for p := range t.ent {
			covers := uint8(0)
			for i := range s.writers {
				if id := s.writers[i].rec.id; id <= t.ent[p].pos {
					covers = max(covers, id)
				}
			}
			t.ent[p].pos = covers
		}
	}
}

// shorten drops records that make no difference to anybody.
func (d *design) shorten(s *State, t *table) {
	if d.rawRefs() {
		return
	}
	used := func(r ref) bool {
		for p := range d.readers {
			if s.readers[p].applied == r || s.readers[p].last == r || s.readers[p].brought == r {
				return true
			}
		}
		for i := range s.writers {
			if s.writers[i].rec == r {
				return true
			}
		}
		return s.again.applied == r || s.again.brought == r || s.told.rec == r || s.told.before == r
	}
	n := t.len()
	for i := 0; i < n-1; {
		r := t.log[i]
		if next := t.log[i+1].names; !used(r.ref) && (i == 0 || r.names == 0 || r.names == next || next == 1) {
			copy(t.log[i:], t.log[i+1:])
			n--
			t.log[n] = rec{}
			continue
		}
		i++
	}
}

// renamed numbers ids by rank, nonces in the order of their appearance.
func (s State) renamed() State {
	var ids [64]*uint8
	var nonces [32]*uint8
	n, m := 0, 0
	addRef := func(r *ref) {
		if r.id != 0 {
			ids[n] = &r.id
			n++
			nonces[m] = &r.nonce
			m++
		}
	}
	for _, t := range [2]*table{&s.near, &s.replica} {
		for i := range t.log {
			if t.log[i].id == 0 {
				break
			}
			addRef(&t.log[i].ref)
		}
		for p := range t.ent {
			if t.ent[p].pos != 0 {
				ids[n] = &t.ent[p].pos
				n++
			}
		}
	}
	for p := range s.readers {
		addRef(&s.readers[p].applied)
		addRef(&s.readers[p].brought)
		addRef(&s.readers[p].last)
	}
	for i := range s.writers {
		addRef(&s.writers[i].rec)
	}
	addRef(&s.again.applied)
	addRef(&s.again.brought)
	addRef(&s.told.rec)
	addRef(&s.told.before)
	var rank, name [64]uint8
	for i := range n {
		rank[*ids[i]] = 1
	}
	next := uint8(0)
	for i := 1; i < len(rank); i++ {
		if rank[i] != 0 {
			next++
			rank[i] = next
		}
	}
	for i := range n {
		*ids[i] = rank[*ids[i]]
	}
	next = 0
	for i := range m {
		p := nonces[i]
		if name[*p] == 0 {
			next++
			name[*p] = next
		}
		*p = name[*p]
	}
	return s
}

// swapped has the readers change places.
func (s State) swapped() State {
	s.readers[0], s.readers[1] = s.readers[1], s.readers[0]
	for _, t := range []*table{&s.near, &s.replica} {
		t.ent[0], t.ent[1] = t.ent[1], t.ent[0]
	}
	for i := range s.writers {
		set := s.writers[i].set
		s.writers[i].set = set&^3 | set&1<<1 | set>>1&1
	}
	if s.again.verb == doNews || s.again.verb == doDeregister {
		s.again.who = 1 - s.again.who
	}
	return s
}

func (t *table) len() int {
	for i, r := range t.log {
		if r.id == 0 {
			return i
		}
	}
	return maxLog
}

// find returns the place of a record, -1 if it is not there.
func (t *table) find(r ref) int {
	for i := range t.log {
		if t.log[i].ref == r && r.id != 0 {
			return i
		}
	}
	return -1
}

func (t *table) last() ref {
	if n := t.len(); n > 0 {
		return t.log[n-1].ref
	}
	return ref{}
}

// otherNonces, if not nil, makes nonces that are never used again, as real ones are.
var otherNonces func() uint8

func (s *State) freshNonce() uint8 {
	if otherNonces != nil {
		return otherNonces()
	}
	used := uint64(1)
	for _, t := range [2]*table{&s.near, &s.replica} {
		for i := range t.log {
			used |= 1 << t.log[i].nonce
		}
	}
	for p := range s.readers {
		used |= 1<<s.readers[p].applied.nonce | 1<<s.readers[p].brought.nonce | 1<<s.readers[p].last.nonce
	}
	for i := range s.writers {
		used |= 1 << s.writers[i].rec.nonce
	}
	used |= 1<<s.again.applied.nonce | 1<<s.again.brought.nonce | 1<<s.told.rec.nonce | 1<<s.told.before.nonce
	return uint8(bits.TrailingZeros64(^used))
}

func (s *State) highestID() (id uint8) {
	for p := range s.readers {
		r := &s.readers[p]
		id = max(id, r.applied.id, r.brought.id, r.last.id, s.near.ent[p].pos)
	}
	for i := range s.writers {
		id = max(id, s.writers[i].rec.id)
	}
	return max(id, s.again.applied.id, s.again.brought.id, s.told.rec.id)
}
