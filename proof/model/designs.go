package main

import "github.com/asidecache/aside/internal/protocol"

// A design is a protocol with bounds within which it is explored.
type design struct {
	name    string
	deep    bool // takes longer than a minute, or more than a gigabyte
	explore func() finding
}

func entry(name string, change func(d *entryDesign)) design {
	d := entryDesign{
		loaders: 2, writers: 2, again: 1,
		load:  []entryStep{leaseEntry, loadRow, fillEntry},
		plain: []entryStep{writeRow, removeEntry, returns},
		tx:    []entryStep{holdEntry, commitRow, unholdEntry, returns},
	}
	change(&d)
	return design{name: "entry: " + name, explore: d.model().explore}
}

func flights(name string, change func(d *flightDesign)) design {
	d := flightDesign{serves: protocol.Serves, callers: 2}
	change(&d)
	return design{name: "flights: " + name, explore: d.model().explore}
}

func tags(name string, change func(d *tagDesign)) design {
	d := tagDesign{
		loaders: 1, writers: 2,
		load:  []tagStep{lease, mark, load, add, check, fill},
		plain: []tagStep{write, record, read, remove, unindex, done},
		tx:    []tagStep{hold, record, read, remove, commit, record, read, remove, unindex, unhold, done},
	}
	change(&d)
	return design{name: "tags: " + name, explore: d.model().explore}
}

// ours are the library's protocol, and what it could as well be. In none of them may a promise break.
var ours = []design{
	entry("2 loaders, 2 writers", func(d *entryDesign) {}),
	entry("1 loader, 2 writers, 2 late commands at a time", func(d *entryDesign) { d.loaders, d.again = 1, 2 }),
	entry("1 loader, 2 writers, a replica that lags", func(d *entryDesign) {
		d.loaders, d.replica = 1, true
		d.plain = []entryStep{writeRow, removeForLag, returns}
		d.tx = []entryStep{holdEntry, commitRow, unholdForLag, returns}
	}),
	entry("1 loader, 2 writers, a replica that lags, and all is removed once it has caught up", func(d *entryDesign) {
		d.loaders, d.replica = 1, true
		d.plain = []entryStep{writeRow, removeEntry, awaitReplica, removeEntry, returns}
		d.tx = []entryStep{holdEntry, commitRow, unholdForLag, returns}
	}),
	flights("2 callers, 2 writers", func(d *flightDesign) {}),
	flights("3 callers, without Redis", func(d *flightDesign) { d.noRedis, d.callers = true, 3 }),
	deep(flights("3 callers, 2 writers", func(d *flightDesign) { d.callers = 3 })),
	tags("1 loader, 2 writers", func(d *tagDesign) {}),
	tags("1 loader, 3 plain writers", func(d *tagDesign) { d.writers, d.tx = 3, nil }),
	tags("1 loader, 2 writers, holds are evicted", func(d *tagDesign) { d.holdersEvicted = true }),
	tags("the mark is read before the lease", func(d *tagDesign) {
		d.load = []tagStep{mark, lease, load, add, check, fill}
	}),
	tags("the journal is read, then the holds, then the lease is taken", func(d *tagDesign) {
		d.load = []tagStep{epoch, heldTags, lease, load, add, check, fill}
	}),
	tags("nothing is ever taken from the index", func(d *tagDesign) {
		d.plain = []tagStep{write, record, read, remove, done}
		d.tx = []tagStep{hold, record, read, remove, commit, record, read, remove, unhold, done}
	}),
	deep(tags("2 loaders, 2 writers", func(d *tagDesign) { d.loaders = 2 })),
}

func deep(d design) design {
	d.deep = true
	return d
}

// broken are designs that others have, or that were tempting. Each must break a promise, or the model sees nothing.
var broken = []design{
	entry("plain cache-aside", func(d *entryDesign) { d.load[0], d.blind, d.tx = lookEntry, true, nil }),
	entry("fills by SET NX", func(d *entryDesign) { d.load[0], d.setNX, d.tx = lookEntry, true, nil }),
	entry("a token for each process", func(d *entryDesign) { d.tokens, d.tx = processMakes, nil }),
	entry("a token for each call", func(d *entryDesign) { d.tokens, d.tx = callMakes, nil }),
	entry("a refresh stores whatever is there", func(d *entryDesign) { d.refreshBlind, d.tx = true, nil }),
	entry("an invalidation inside the transaction, without a hold", func(d *entryDesign) {
		d.plain, d.tx = nil, []entryStep{removeEntry, commitRow, returns}
	}),
	entry("holds overwrite each other", func(d *entryDesign) { d.oneHolder, d.plain = true, nil }),
	entry("to end a hold that is gone does nothing", func(d *entryDesign) { d.keepsGone, d.plain = true, nil }),
	entry("a replica that lags, without a lag", func(d *entryDesign) { d.replica = true }),
	entry("a hold that removes the document and may not write it again, since its slot moves", func(d *entryDesign) {
		d.removesFirst, d.plain = true, nil
	}),
	entry("holds that nobody renews while others are placed", func(d *entryDesign) { d.lapses, d.plain = true, nil }),
	entry("an InTx inside another that failed is released with it, before its COMMIT lands", func(d *entryDesign) {
		d.plain, d.tx = nil, []entryStep{holdEntry, unholdEntry, commitRow, returns}
	}),

	flights("joins after the fill was sent", func(d *flightDesign) { d.lateForget, d.lateSeal = true, true }),
	flights("a load counts as begun when it has ended", func(d *flightDesign) { d.lateBegin = true }),
	flights("joins a load that nothing will decide", func(d *flightDesign) { d.noRedis, d.noClose = true, true }),
	flights("joins at any time", func(d *flightDesign) {
		d.serves = func(_, _, _ uint64, _ bool) bool { return true }
	}),
	flights("joins of whatever was decided", func(d *flightDesign) {
		d.serves = func(arrived, began, _ uint64, decided bool) bool { return began > arrived || decided }
	}),
	flights("joins before the seal, though the fill was refused", func(d *flightDesign) {
		d.serves = func(arrived, began, sealed uint64, _ bool) bool { return began > arrived || arrived < sealed }
	}),

	tags("the index is cleaned by name", func(d *tagDesign) { d.plainRemoval, d.tx = true, nil }),
	tags("the index is cleared when it is read", func(d *tagDesign) {
		d.plain, d.tx = []tagStep{write, record, clear, remove, done}, nil
	}),
	tags("the index is cleaned before the documents are removed", func(d *tagDesign) {
		d.plain, d.tx = []tagStep{write, record, read, unindex, remove, done}, nil
	}),
	tags("scores that repeat", func(d *tagDesign) { d.scoresRepeat, d.tx = true, nil }),
	tags("no second look at the journal", func(d *tagDesign) {
		d.load, d.tx = []tagStep{lease, mark, load, add, fill}, nil
	}),
	tags("the index is written after the second look", func(d *tagDesign) {
		d.load, d.tx = []tagStep{lease, mark, load, check, add, fill}, nil
	}),
	tags("the mark is read after the load", func(d *tagDesign) {
		d.load, d.tx = []tagStep{lease, load, mark, add, check, fill}, nil
	}),
	tags("the lease comes after the load", func(d *tagDesign) {
		d.load, d.tx = []tagStep{mark, load, add, check, lease, fill}, nil
	}),
	tags("the index is read before the record is made", func(d *tagDesign) {
		d.plain, d.tx = []tagStep{write, read, record, remove, unindex, done}, nil
	}),
	tags("ids of records made by clients", func(d *tagDesign) { d.clientIDs, d.tx = true, nil }),
	tags("a record that is gone is no news", func(d *tagDesign) { d.forgiving, d.tx = true, nil }),
	tags("a fill stores whatever is there", func(d *tagDesign) { d.uncompared, d.tx = true, nil }),
	tags("the index is evicted alone", func(d *tagDesign) { d.indexEvicted, d.tx = true, nil }),
	tags("fills have no deadline", func(d *tagDesign) { d.noDeadline, d.tx = true, nil }),
	tags("InTx without a hold", func(d *tagDesign) {
		d.plain, d.tx = nil, []tagStep{record, read, remove, commit, record, read, remove, unindex, done}
	}),
	tags("holds are looked at when the load ends", func(d *tagDesign) {
		d.plain, d.load = nil, []tagStep{lease, epoch, load, add, check, heldAgain, fill}
	}),
	tags("holds are looked at before the journal", func(d *tagDesign) {
		d.plain, d.load = nil, []tagStep{lease, heldTags, epoch, load, add, check, fill}
	}),
	tags("holds are looked at before the journal and when the load ends", func(d *tagDesign) {
		d.plain, d.load = nil, []tagStep{lease, heldTags, epoch, load, add, check, heldAgain, fill}
	}),
	tags("the record is made before the hold", func(d *tagDesign) {
		d.plain, d.tx = nil, []tagStep{record, hold, read, remove, commit, record, read, remove, unindex, unhold, done}
	}),
	tags("a hold without a record", func(d *tagDesign) {
		d.plain, d.tx = nil, []tagStep{hold, read, remove, commit, record, read, remove, unindex, unhold, done}
	}),
	tags("a hold that removes nothing", func(d *tagDesign) {
		d.plain, d.tx = nil, []tagStep{hold, record, commit, record, read, remove, unindex, unhold, done}
	}),
	tags("a release that only ends the hold, which may be evicted", func(d *tagDesign) {
		d.plain, d.holdersEvicted = nil, true
		d.tx = []tagStep{hold, record, read, remove, commit, unhold, done}
	}),
}
