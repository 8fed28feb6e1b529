package main

// A document is what one entry's key holds, and its methods are what the scripts of the library do to it. The
// conformance test runs the same commands through them and through the scripts.
type document struct {
	kind    kind
	token   uint8 // of the lease, or the id of the value; made by the server
	version uint8 // of the row that the value was loaded from. That there was no row is a version like any other.
	waited  bool  // somebody waits for the lease
	claimed bool  // somebody refreshes it, which no promise depends on
	holders holders
}

type kind uint8

const (
	missing kind = iota
	leased
	returned // a lease that ended without a value
	present
	held
)

const (
	holderCount = 3
	lagging     = holderCount - 1 // the holder that no transaction ends
)

type holders [holderCount]bool

// is reports whether it is still the document that a load started from.
func (d *document) is(from uint8) bool {
	return (d.kind == leased || d.kind == returned || d.kind == present) && d.token == from
}

// lease gives the lease, with the token fresh, if nobody has it and there is no value.
func (d *document) lease(fresh uint8) bool {
	switch d.kind {
	case missing, returned:
		*d = document{kind: leased, token: fresh}
		return true
	case leased:
		d.waited = true
	}
	return false
}

// fill stores a value, whose id is fresh, in place of the document that its load started from.
func (d *document) fill(from, fresh, version uint8) bool {
	if !d.is(from) {
		return false
	}
	*d = document{kind: present, token: fresh, version: version}
	return true
}

// claim has one process refresh a value.
func (d *document) claim(from uint8) bool {
	if d.kind != present || !d.is(from) || d.claimed {
		return false
	}
	d.claimed = true
	return true
}

// release gives a lease back.
func (d *document) release(from uint8) bool {
	if !d.is(from) {
		return false
	}
	if d.kind == leased && d.waited {
		*d = document{kind: returned, token: from}
	} else {
		*d = document{}
	}
	return true
}

// hold adds a holder, and removes whatever else there was. It reports whether the holder was there.
func (d *document) hold(who int) (was bool) {
	was = d.holders[who]
	d.holders[who] = true
	*d = document{kind: held, holders: d.holders}
	return was
}

// unhold ends what one holder holds, and removes whatever else there was: if the hold is gone, loads have begun that saw
// the row from before. With a lag, nothing is cached for a while longer. It reports whether the hold was there.
func (d *document) unhold(who int, lag bool) (was bool) {
	was = d.holders[who]
	d.holders[who] = false
	d.holders[lagging] = d.holders[lagging] || lag
	if d.holders == (holders{}) {
		*d = document{}
	} else {
		*d = document{kind: held, holders: d.holders}
	}
	return was
}

// invalidate removes the document, unless it is held: then there is no value.
func (d *document) invalidate() {
	if d.kind != held {
		*d = document{}
	}
}
