package near_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/near"
)

func TestAReadIsServedFromTheProcessUntilItIsInvalidatedElsewhere(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a, b := r.reader(), r.reader()
		a.warm(1)
		gets := a.tap.count("get")
		for range 100 {
			a.shows(1, "lamp")
		}
		if n := a.tap.count("get"); n != gets {
			t.Errorf("%d reads went to Redis", n-gets)
		}
		b.mustWrite(1, "chair")
		a.shows(1, "chair")
		b.shows(1, "chair")
		a.mustWrite(1, "table")
		a.shows(1, "table")
		b.shows(1, "table")
	})
}

func TestTagsPrefixesAndAbsences(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		a, b := r.reader(), r.reader()
		put := func(id int, absent bool, tags ...string) {
			a.copies.Put(id, a.copies.Note(name(id)), "old", absent, tags, in(time.Hour))
			if _, is, ok := a.copies.Get(id); !ok || is != absent {
				t.Errorf("product %d: a copy is served: %v, absent: %v", id, ok, is)
			}
		}
		served := func(id int) bool { _, _, ok := a.copies.Get(id); return ok }
		put(1, false, "red", "big and small")
		put(2, true)
		put(3, false, "blue")
		r.must(b.log.Tell(context.Background(), near.About{Tags: []string{"big and small"}}))
		if served(1) || !served(2) || !served(3) {
			t.Errorf("after one tag: %v %v %v", served(1), served(2), served(3))
		}
		put(1, false, "red", "big and small")
		r.must(b.log.Tell(context.Background(), near.About{Prefixes: []string{"category:"}}))
		if !served(1) || !served(2) || !served(3) {
			t.Error("another cache was invalidated, and copies are gone")
		}
		r.must(b.log.Tell(context.Background(), near.About{Prefixes: []string{prefix}}))
		if served(1) || served(2) || served(3) {
			t.Error("all was invalidated, and copies are served")
		}
	})
}

func TestACopyIsServedForItsAgeOnly(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a := r.reader()
		a.copies.Put(1, a.copies.Note(name(1)), "one", false, nil, in(5*time.Second))
		a.copies.Put(2, a.copies.Note(name(2)), "two", false, nil, in(time.Hour))
		noted := a.copies.Note(name(3))
		r.pass(4 * time.Second)
		a.copies.Put(3, noted, "three", false, nil, in(time.Hour))
		a.copies.Put(4, a.copies.Note(name(4)), "four", false, nil, in(0))
		served := func(id int) bool { _, _, ok := a.copies.Get(id); return ok }
		if !served(1) || !served(2) || !served(3) || served(4) {
			t.Errorf("after 4 s: %v %v %v %v", served(1), served(2), served(3), served(4))
		}
		r.pass(time.Second)
		if served(1) || !served(2) {
			t.Errorf("after 5 s: %v %v", served(1), served(2))
		}
		for range 54 {
			r.pass(time.Second)
			served(2)
		}
		if !served(2) || !served(3) {
			t.Errorf("after 59 s: %v %v", served(2), served(3))
		}
		r.pass(time.Second)
		if served(2) || served(3) { // 3 was noted at the beginning
			t.Errorf("after a minute: %v %v", served(2), served(3))
		}
		r.pass(15 * time.Second)
		if n := a.copies.Len(); n != 0 {
			t.Errorf("%d copies that are not served any more take memory", n)
		}
	})
}

// Callers put copies of one key at the same time. Before 2.4 otter kept some of them for ever, beyond its bound.
func TestThereAreNoMoreCopiesThanMayBeWhoeverPutsThem(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a := r.reader()
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				for id := range 50_000 {
					a.copies.Put(id, a.copies.Note(name(id)), "lamp", false, nil, in(time.Hour))
				}
			})
		}
		group.Wait()
		r.until("there are 1000 copies", func() bool { return a.copies.Len() == 1000 })
	})
}

func TestAHitAllocatesNothing(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a := r.reader()
		a.copies.Put(1, a.copies.Note(name(1)), "one", false, []string{"red"}, in(time.Hour))
		if n := testing.AllocsPerRun(1000, func() {
			if _, _, ok := a.copies.Get(1); !ok {
				t.Error("no copy is served")
			}
		}); n != 0 {
			t.Errorf("a hit allocates %v times", n)
		}
	})
}
