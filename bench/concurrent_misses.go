package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/asidecache/aside"
)

var concurrentMissesWorkload = workload{
	name:  "concurrent-misses",
	title: "Concurrent misses",
	about: "1, 8, 64 and 256 goroutines read keys that nobody has read, 1 KB, with a loader that takes no time: all that is " +
		"measured is what the library does around a load. aside-tagged is aside with one tag for each value, which no other " +
		"library has. Client and Redis share the machine's cores.",
	run: func(r *run) error {
		all := r.variants(variant.byDefault)
		if len(r.peers) == 0 || slices.Contains(r.peers, asideLibrary.name) {
			all = append(all, variant{asideTaggedLibrary, "json"})
		}
		peers, err := r.open(all, 1<<10, 0)
		if err != nil {
			return err
		}
		defer closeAll(peers)
		return r.levels("Misses", "misses", peers, r.missesSlot)
	},
}

var concurrentInvalidationsWorkload = workload{
	name:  "concurrent-invalidations",
	title: "Concurrent invalidations",
	about: "1, 8, 64 and 256 goroutines invalidate one key at a time, out of 10,000 of which none is cached. For raw that is a " +
		"DEL. Client and Redis share the machine's cores.",
	run: func(r *run) error {
		peers, err := r.open(r.variants(variant.byDefault), 1<<10, 0)
		if err != nil {
			return err
		}
		defer closeAll(peers)
		return r.levels("Invalidations", "invalidations", peers, r.invalidationsSlot)
	},
}

// asideTaggedLibrary gives each value one of a hundred tags.
var asideTaggedLibrary = library{
	name: "aside-tagged", codecs: []string{"json"}, lacks: asideLibrary.lacks,
	open: func(e env) (peer, error) {
		return openAside(e, aside.WithTags(func(id int64, _ Product) []string { return []string{fmt.Sprint("shelf ", id%100)} }))
	},
}

// levels measures what slot does with each number of goroutines, and prints one table.
func (r *run) levels(title, what string, peers []opened, slot func(opened, int, time.Duration) (crowd, error)) error {
	reps, length := r.slots(15, 60*time.Millisecond)
	var byLevel [][][]crowd
	for _, level := range levels {
		for _, o := range peers { // connections first
			if _, err := slot(o, level, length/3); err != nil {
				return fmt.Errorf("%v: %w", o.variant, err)
			}
		}
		figures, err := interleave(reps, peers, func(o opened) (crowd, error) { return slot(o, level, length) })
		if err != nil {
			return err
		}
		byLevel = append(byLevel, figures)
	}
	r.throughputTable(title, what, peers, byLevel)
	return nil
}

func (r *run) missesSlot(o opened, goroutines int, length time.Duration) (crowd, error) {
	loads := o.source.loads.Load()
	all, took, err := together(anyKeys, goroutines, length, func(int64) (bool, error) {
		_, err := o.peer.Get(r.ctx, freshID())
		return true, err
	})
	if err != nil {
		return crowd{}, err
	}
	if n := o.source.loads.Load() - loads; n < int64(all.n) {
		return crowd{}, fmt.Errorf("%d misses were %d loads", all.n, n)
	}
	return crowd{perSecond: float64(all.n) / took.Seconds()}, nil
}

func (r *run) invalidationsSlot(o opened, goroutines int, length time.Duration) (crowd, error) {
	all, took, err := together(anyKeys, goroutines, length, func(id int64) (bool, error) {
		return true, o.peer.Invalidate(r.ctx, id)
	})
	if err != nil {
		return crowd{}, err
	}
	return crowd{perSecond: float64(all.n) / took.Seconds()}, nil
}

var anyKeys = evenly(concurrentKeys)
