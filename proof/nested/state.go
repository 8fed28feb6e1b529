package main

import "github.com/asidecache/aside/proof/states"

// What is modelled: a chain of entries, key 0 (S) made from the row, each other one from the one before (S→P, or S→L→P), in one
// Redis key each. A value is nothing but the version of the row that it was made from, through whatever entries.
// All fields are bytes, so that a State has no padding and can be compared as bytes.

const (
	maxKeys    = 4
	maxLoads   = 3
	maxWriters = 2
)

type State struct {
	version uint8 // of the row
	replica uint8 // of the row on the replica
	lagFor  uint8 // the version that the replica will have when the lag is over
	floor   uint8 // no value that was made from an older row may be served or cached
	bad     uint8 // a Get that began after the promise returned an older value
	docs    [maxKeys]doc
	tagHeld uint8          // writers that hold the tag
	index   [maxKeys]uint8 // present: the entry is in the index of the tag; and writers whose score, as they read it, is still good
	loads   [maxLoads]load
	writers [maxWriters]writer
	procs   [maxLoads]proc
	late    late
}

type kind uint8

const (
	missing kind = iota
	leased
	value
	held
)

type doc struct {
	kind    kind
	ver     uint8
	holders uint8 // writers, and lag
	old     uint8 // marksCount: there was a record of its tag since the mark of its load
}

const (
	lag     = 0x80
	present = 0x80
	tagBit  = 0x80 // in writer.lost
)

// A load is a Get under way, with the Gets that its loader makes, and theirs. Whether a token still is that of the document is one
// bit: tokens are never used again.
type load struct {
	top   uint8 // 1 + the key that was asked for; 0: nothing is under way
	at    uint8 // the key that it is about now
	stage stage
	live  uint8 // keys whose document is still the one that the load started from
	mark  uint8 // keys: the mark of the load is still the last record, and the tag was not held
	ver   uint8
	acc   uint8 // diamond: 1 + version that came from the other source
	need  uint8 // joins: the floor when the Get began
	join  uint8 // 1 + the load whose flight it waits for
	nx    uint8 // designs: keys that it fills if there is nothing, although it began under a hold
	since uint8 // keys whose flight of another load began after this Get did
}

type stage uint8

const (
	ask stage = iota
	marking
	add
	check
	fill
	joined
	reading // raw: the row is read in a step of its own
)

type writer struct {
	at        uint8    // group of its program
	prog      [4]uint8 // in each thread of it
	ver       uint8
	lost      uint8 // keys whose hold was lost after it had been confirmed (or was never placed)
	gone      uint8 // a release, or a hold placed again, found the hold gone
	found     uint8 // what the index or the scan showed
	names     uint8 // of its last record for near copies
	committed uint8
	over      uint8
	pend      uint8 // keys whose invalidation failed
	after     uint8 // keys that were invalidated since
	held      uint8 // keys that were invalidated since all that is sent again was held
	rset      uint8 // what a retry is about
	rphase    uint8
	rdone     uint8
}

// A proc is what a process keeps in its memory.
type proc struct {
	copies [maxKeys]uint8 // 1 + version
	lease  uint8          // it may serve copies
	todo   uint8          // writers whose record it has not applied
	insKey uint8          // 1 + key of a copy that is about to be made
	insVer uint8
	insOK  uint8 // its generation has not been raised
}

// A late command is executed later than its sender was told, or again.
type late struct{ verb, key, who, ver, live uint8 }

type verb uint8

const (
	nothing verb = iota
	write
	commit
	rm
	rmAll
	hold
	tryHold
	tryHoldAll // plain: if it fails it is pending
	tryRel     // if it fails it is pending
	rel
	relLag
	rmLag
	holdTag
	relTag
	relTagRecord
	record
	readIndex
	rmFound
	unindex
	note
	wait
	again
	snapshot
	scanRm
	scanHold
	relFound
	try
	settled
	end
)

var verbNames = [...]string{
	write: "changes the row", commit: "commits", rm: "removes", rmAll: "removes in one atomic step all keys",
	hold: "holds", tryHoldAll: "holds", tryRel: "releases", tryHold: "holds", rel: "releases", relLag: "releases, with the lag,", rmLag: "removes, with a lag,",
	holdTag: "holds the tag", relTag: "releases the tag", relTagRecord: "appends a record and releases the tag in one step", record: "appends a record of the tag", readIndex: "reads the index, as to",
	rmFound: "removes, as found in the index,", unindex: "takes from the index", note: "sends the record for near copies",
	wait: "has waited until every process has applied it or lost its lease", again: "found a hold gone, and holds all again",
	snapshot: "begins to scan", scanRm: "scans and removes", scanHold: "scans and holds", relFound: "releases what it found,",
	try: "invalidates", settled: "has nothing pending any more", end: "returns nil",
}

// A program is what a writer does: groups, one after the other, of threads, which run side by side.
type op struct {
	verb verb
	key  uint8 // or a mask of keys, or where to go on
}
type thread []op
type group []thread

type program struct {
	name   string
	tx     bool
	groups []group
}

// A design is a protocol with bounds within which it is explored.
type design struct {
	name     string
	keys     int
	loads    int
	oneProc  bool // all loads are of one process
	programs []program

	tags         uint8 // keys that have the tag
	heldAtFill   bool  // the hold of a tag is looked at before the fill, not when the load is marked
	near         bool
	leaseLoss    bool // a process may lose its lease for near copies, and come back
	joins        bool
	joinAny      bool // a joiner takes whatever the flight found
	joinInherit  bool // the Get inside a loader counts as arrived when the Get outside did
	noEvict      bool
	evictHold    bool // holds may be evicted as well
	late         bool // a command may be executed late, or again
	stamps       bool // a release knows a hold that was placed again from the one that was confirmed
	keepsGone    bool // to release a hold that is gone does nothing
	replica      bool
	diamond      bool // P is made from L and from S
	retry        retry
	promise2     bool // a Get after the COMMIT returned must see the new row
	crash        bool // writers may die
	noRefresh    bool
	sharedToken  bool // all writers hold by one token
	taint        bool // a load that saw a hold fills nothing, and neither do the loads that it is for
	nxAfterHold  bool // a load that began under a hold fills if there is nothing
	taintLag     bool // taint, but only by holds of a lag
	marksCount   bool // tags: the mark of what was read counts as the load's own
	noNearInside bool // a Get inside a loader does not look at near copies
}

type retry uint8

const (
	noRetry         retry = iota
	pendingOnly           // only what failed is sent again, in any order
	thenAfter             // R3 as stated: what was confirmed since is sent again once nothing is pending, in any order
	thenAllAfter          // the same, and also what failed since
	inOrder               // from the oldest that failed on, in the order of the calls
	asGroup               // what failed and all since: held, all of it, then released
	untilHeld             // asGroup, but what is invalidated once all is held is not sent again, unless a hold was gone
	untilHeldAtMost       // the same, and not even then
)

func (d *design) all() uint8 { return 1<<d.keys - 1 }

func (d *design) procOf(i int) int {
	if d.oneProc {
		return 0
	}
	return i
}

func (d *design) procs() int {
	if !d.near {
		return 0
	}
	if d.oneProc {
		return 1
	}
	return d.loads
}

func (d *design) start(s *State) {
	for p := range d.procs() {
		s.procs[p].lease = 1
	}
	for i := len(d.programs); i < maxWriters; i++ {
		s.writers[i].over = 1
	}
}

// raw keeps states as they are, and has what is one step otherwise done in several, to check what normal does.
var raw bool

func (d *design) wrong(s *State) string {
	if s.bad != 0 {
		return "a Get that began after the promise returns a value from the old row"
	}
	for k := range d.keys {
		if s.docs[k].kind == value && s.docs[k].ver < s.floor {
			return "Redis has " + d.keyName(k) + " made from the old row"
		}
		for p := range d.procs() {
			if c := s.procs[p].copies[k]; c != 0 && c-1 < s.floor && s.procs[p].lease != 0 {
				return "a near copy of " + d.keyName(k) + " is served that was made from the old row"
			}
		}
	}
	return ""
}

// normal gives states that nothing will ever tell apart one form, and takes the steps that nobody can see.
func (d *design) normal(s State) State {
	for i, again := 0, false; i < d.loads || again; i++ {
		if i == d.loads {
			i, again = 0, false
		}
		for {
			l := &s.loads[i]
			if l.top == 0 || l.stage != add && l.stage != check && l.stage != fill {
				break
			}
			k := int(l.at)
			if d.tags>>k&1 != 0 && l.mark>>k&1 == 0 && l.stage != fill {
				l.live &^= 1 << k // barred; once it has looked at the records for the last time, nothing bars it
			}
			if (l.live|l.nx)>>k&1 != 0 || d.joins || raw { // a caller that joins a flight sees how long it lasts
				break
			}
			ver := l.ver
			d.leave(&s, i, k, false)
			d.got(&s, i, k, ver)
			again = true
		}
	}
	for i := range s.loads {
		l := &s.loads[i]
		if l.top == 0 {
			*l = load{}
			continue
		}
		if !d.joins {
			l.need = 0
		}
		if !d.joinInherit {
			l.since = 0
		}
		if l.stage == ask || l.stage == marking || l.stage == joined {
			l.ver = 0
		}
		l.mark &= l.live
		for k := range d.keys {
			if l.mark>>k&1 != 0 && int(l.at) == k && l.stage == fill {
				l.mark &^= 1 << k
				if d.marksCount {
					l.mark |= 1 << k
				}
			}
		}
	}
	for i := range s.writers {
		w := &s.writers[i]
		if w.over != 0 {
			names := w.names
			*w = writer{over: 1}
			for p := range d.procs() {
				if s.procs[p].todo>>i&1 != 0 {
					w.names = names
				}
			}
		}
	}
	for p := range d.procs() {
		q := &s.procs[p]
		if q.lease == 0 {
			*q = proc{} // it wipes all when it comes back
		}
		if q.insKey == 0 || q.insOK == 0 {
			q.insKey, q.insVer, q.insOK = 0, 0, 0
		}
	}
	if s.late.verb == 200 && s.late.live == 0 {
		s.late = late{}
	}
	if d.loads < 2 || d.oneProc && d.near || raw {
		return s
	}
	if d.loads == 2 {
		t := s.swapped(0, 1)
		if states.Less(&t, &s) {
			return t
		}
		return s
	}
	if d.joins {
		return s
	}
	for _, p := range [...][2]int{{0, 1}, {1, 2}, {0, 1}} { // a sort
		t := s.swapped(p[0], p[1])
		if states.Less(&t, &s) {
			s = t
		}
	}
	return s
}

func (s State) swapped(a, b int) State {
	s.loads[a], s.loads[b] = s.loads[b], s.loads[a]
	s.procs[a], s.procs[b] = s.procs[b], s.procs[a]
	for i := range s.loads {
		switch j := &s.loads[i].join; int(*j) {
		case a + 1:
			*j = uint8(b + 1)
		case b + 1:
			*j = uint8(a + 1)
		}
	}
	return s
}
