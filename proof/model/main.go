package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

func ours() tagDesign {
	return tagDesign{
		loaders: 1, writers: 2,
		load:  []tagStep{lease, epoch, heldTags, load, add, check, fill},
		plain: []tagStep{write, record, read, remove, unindex, done},
		tx:    []tagStep{hold, record, read, remove, commit, record, read, remove, unindex, unhold, done},
	}
}

func try(name string, change func(d *tagDesign)) {
	if len(os.Args) > 1 && !strings.Contains(name, os.Args[1]) {
		return
	}
	d := ours()
	change(&d)
	start := time.Now()
	f := d.model().explore()
	fmt.Printf("== %-60s %9d states %6.1fs %s\n", name, f.states, time.Since(start).Seconds(), f.broken)
	for _, step := range f.trace {
		fmt.Println("      ", step)
	}
}

func main() {
	try("B plain SREM", func(d *tagDesign) { d.plainRemoval = true })
	try("B clear at read", func(d *tagDesign) {
		d.plain = []tagStep{write, record, clear, remove, done}
		d.tx = nil
	})
	try("B no check", func(d *tagDesign) { d.load = []tagStep{lease, epoch, heldTags, load, add, fill}; d.tx = nil })
	try("B add after check", func(d *tagDesign) { d.load = []tagStep{lease, epoch, heldTags, load, check, add, fill}; d.tx = nil })
	try("B read before record", func(d *tagDesign) { d.plain = []tagStep{write, read, record, remove, unindex, done}; d.tx = nil })
	try("B held only at the end", func(d *tagDesign) {
		d.load = []tagStep{lease, epoch, load, add, check, heldAgain, fill}
		d.plain = nil
	})
	try("B held before E1", func(d *tagDesign) { d.load = []tagStep{lease, heldTags, epoch, load, add, check, fill}; d.plain = nil })
	try("B held before E1 and at end", func(d *tagDesign) {
		d.load = []tagStep{lease, heldTags, epoch, load, add, check, heldAgain, fill}
		d.plain = nil
	})
	try("B tx: record before hold", func(d *tagDesign) { d.plain = nil; d.tx[0], d.tx[1] = d.tx[1], d.tx[0] })
	try("B tx: no record", func(d *tagDesign) {
		d.plain = nil
		d.tx = []tagStep{hold, read, remove, commit, record, read, remove, unindex, unhold, done}
	})
	try("B tx: no read and remove", func(d *tagDesign) {
		d.plain = nil
		d.tx = []tagStep{hold, record, commit, record, read, remove, unindex, unhold, done}
	})
	try("B tx: no hold", func(d *tagDesign) {
		d.plain = nil
		d.tx = []tagStep{record, read, remove, unindex, commit, record, read, remove, unindex, done}
	})
	try("B unindex before remove", func(d *tagDesign) { d.tx = nil; d.plain = []tagStep{write, record, read, unindex, remove, done} })
	try("B index evicted", func(d *tagDesign) { d.indexEvicted = true; d.tx = nil })
	try("B index expires", func(d *tagDesign) { d.indexExpires = true; d.tx = nil })
	try("B scores repeat", func(d *tagDesign) { d.scoresRepeat = true; d.tx = nil })
	try("B client ids", func(d *tagDesign) { d.clientIDs = true; d.tx = nil })
	try("B forgiving", func(d *tagDesign) { d.forgiving = true; d.tx = nil })
	try("B uncompared", func(d *tagDesign) { d.uncompared = true; d.tx = nil })
	try("B E1 after load", func(d *tagDesign) { d.load = []tagStep{lease, heldTags, load, epoch, add, check, fill}; d.tx = nil })
	try("B lease after load", func(d *tagDesign) { d.load = []tagStep{epoch, heldTags, load, add, check, lease, fill}; d.tx = nil })

	try("? lease after epoch and held", func(d *tagDesign) { d.load = []tagStep{epoch, heldTags, lease, load, add, check, fill} })
	try("? lease between", func(d *tagDesign) { d.load = []tagStep{epoch, lease, heldTags, load, add, check, fill} })
	try("? tx: release only unholds", func(d *tagDesign) {
		d.tx = []tagStep{hold, record, read, remove, commit, unhold, done}
	})
	try("? tx: holders evicted", func(d *tagDesign) { d.holdersEvicted = true })
	try("B tx: holders evicted, release only unholds", func(d *tagDesign) {
		d.holdersEvicted = true
		d.tx = []tagStep{hold, record, read, remove, commit, unhold, done}
		d.plain = nil
	})
	try("? tx: unhold first", func(d *tagDesign) {
		d.holdersEvicted = true
		d.tx = []tagStep{hold, record, read, remove, commit, unhold, record, read, remove, unindex, done}
	})
	try("? tx unindexes before commit too", func(d *tagDesign) {
		d.tx = []tagStep{hold, record, read, remove, unindex, commit, record, read, remove, unindex, unhold, done}
	})
	try("? never unindex", func(d *tagDesign) {
		d.plain = []tagStep{write, record, read, remove, done}
		d.tx = []tagStep{hold, record, read, remove, commit, record, read, remove, unhold, done}
	})
	try("0 ours", func(d *tagDesign) {})
	try("3 ours plain", func(d *tagDesign) { d.writers = 3; d.tx = nil })
	try("22 ours", func(d *tagDesign) { d.loaders = 2 })
}
