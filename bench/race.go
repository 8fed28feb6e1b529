package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside"
)

// The race of a slow load with a write, which is what the comparison in the README begins with.

var raceWorkload = workload{
	name:  "race",
	title: "Writes that overtake loads",
	extra: true,
	about: "64 keys, all of them hot, and 4 instances of each library, each with 16 goroutines that read and one that writes every 0 to 10 ms. A load sees the row, and " +
		"returns it 0 to 5 ms later. A read is stale if it returns an older version than was invalidated before the read began. The rows are in memory.",
	run: runRace,
}

const (
	raceKeys      = 64
	raceInstances = 4
	raceReaders   = 16 // of an instance
)

// asideNearLibrary is aside with near copies.
var asideNearLibrary = library{
	name: "aside, near copies", codecs: []string{"json"}, local: true, lacks: asideLibrary.lacks,
	open: func(e env) (peer, error) { return openAside(e, aside.WithNear(1000, time.Minute)) },
}

func runRace(r *run) error {
	length := 5 * time.Second
	if r.quick {
		length = 300 * time.Millisecond
	}
	t := &table{columns: []string{"library", "codec", "reads", "writes", "stale in a million", "does not promise"}}
	for _, v := range append(r.variants(func(v variant) bool { return !v.sleeps && v.byDefault() }), variant{asideNearLibrary, "json"}) {
		s, err := r.race(v, length)
		if err != nil {
			return fmt.Errorf("%v: %w", v, err)
		}
		t.add(v.name, v.codec, fmt.Sprint(s.reads), fmt.Sprint(s.writes), figure(float64(s.stale)/float64(s.reads)*1e6), v.lacks)
	}
	r.report.print(t)
	return nil
}

// race has instances of one library read and write for so long.
func (r *run) race(v variant, length time.Duration) (tally, error) {
	c := &contest{product: newProduct(0, 1<<10)}
	var instances []opened
	defer func() { closeAll(instances) }()
	var peers []peer
	for range raceInstances {
		p, err := v.openOn(r.addr, c)
		if err != nil {
			return tally{}, err
		}
		instances, peers = append(instances, opened{variant: v, peer: p}), append(peers, p)
	}
	return c.run(r.ctx, peers, raceReaders, func() { time.Sleep(rand.N(10 * time.Millisecond)) }, length)
}

// A contest is the rows of a race.
type contest struct {
	product  Product
	versions [raceKeys]atomic.Int64 // that are committed
	told     [raceKeys]atomic.Int64 // that were committed and then invalidated
}

// A tally is what came of a race.
type tally struct {
	reads, writes, stale int64
	took                 time.Duration
}

// run has each peer read by so many goroutines, and written through by one, which pauses after each write.
func (c *contest) run(ctx context.Context, peers []peer, readers int, pause func(), length time.Duration) (t tally, err error) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var mu sync.Mutex // guards t and err
	var all sync.WaitGroup
	add := func(of tally, failed error) {
		mu.Lock()
		defer mu.Unlock()
		t.reads, t.writes, t.stale = t.reads+of.reads, t.writes+of.writes, t.stale+of.stale
		err = errors.Join(err, failed)
	}
	start := time.Now()
	for _, p := range peers {
		for range readers {
			all.Go(func() { add(c.read(ctx, p)) })
		}
		all.Go(func() { add(c.write(ctx, p, pause)) })
	}
	all.Wait()
	t.took = time.Since(start)
	return t, err
}

func (c *contest) load(ctx context.Context, id int64) (Product, error) {
	p := c.product
	p.ID, p.Version = id, c.versions[id].Load()
	time.Sleep(rand.N(5 * time.Millisecond))
	return p, ctx.Err()
}

func (c *contest) loadMany(ctx context.Context, ids []int64) (map[int64]Product, error) {
	found := make(map[int64]Product, len(ids))
	for _, id := range ids { // nothing here reads batches
		p, err := c.load(ctx, id)
		if err != nil {
			return nil, err
		}
		found[id] = p
	}
	return found, nil
}

func (c *contest) read(ctx context.Context, p peer) (t tally, _ error) {
	for ; ctx.Err() == nil; t.reads++ {
		id := rand.Int64N(raceKeys)
		least := c.told[id].Load()
		got, err := p.Get(context.WithoutCancel(ctx), id)
		if err != nil {
			return t, err
		}
		if got.Version < least {
			t.stale++
		}
	}
	return t, nil
}

func (c *contest) write(ctx context.Context, p peer, pause func()) (t tally, _ error) {
	for ; ctx.Err() == nil; pause() {
		id := rand.Int64N(raceKeys)
		version := c.versions[id].Add(1)
		if err := p.Invalidate(context.WithoutCancel(ctx), id); err != nil {
			return t, err
		}
		t.writes++
		for known := c.told[id].Load(); known < version && !c.told[id].CompareAndSwap(known, version); known = c.told[id].Load() {
		}
	}
	return t, nil
}
