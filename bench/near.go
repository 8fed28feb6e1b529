package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/asidecache/aside"
)

// Near copies, against what they stand on: the memory of the process for reads, an invalidation without them for writes. What they do to
// reads and writes together is in near_writes.go.

var nearWorkload = workload{
	name:  "near",
	title: "Near copies",
	extra: true,
	about: "The 1 KB product, which has slices and a pointer. All of it is measured in one run, and ratios are taken within one turn.",
	run: func(r *run) error {
		return errors.Join(r.nearHits(), r.nearInvalidations(), r.nearRace(), r.nearCommands())
	},
}

const nearAge = time.Hour

// asideNear is aside with near copies.
func asideNear(name string, more ...aside.Option) library {
	return library{name: name, codecs: []string{"json"}, local: true, lacks: asideLibrary.lacks, open: func(e env) (peer, error) {
		return openAside(e, append(more, aside.WithNear(2*concurrentKeys, nearAge))...)
	}}
}

// floors are what a read from memory is measured against. The first one is what ratios are to.
var floors = []library{
	{name: "otter, GetIfPresent", codecs: []string{"none"}, local: true, lacks: otterLibrary.lacks, open: func(e env) (peer, error) {
		p, err := otterLibrary.open(e)
		return present{p.(*otterPeer)}, err
	}},
	{name: "sync.Map", codecs: []string{"none"}, local: true, lacks: otterLibrary.lacks + "; no bound, no end", open: func(e env) (peer, error) {
		return &mapPeer{env: e}, nil
	}},
	{name: "reading the clock", codecs: []string{"none"}, local: true, lacks: "anything: it returns a zero Product", open: func(env) (peer, error) {
		return clockPeer{}, nil
	}},
}

// present looks without a loader, once it has loaded.
type present struct{ *otterPeer }

func (p present) Get(ctx context.Context, id int64) (Product, error) {
	if v, ok := p.cache.GetIfPresent(id); ok {
		return v, nil
	}
	return p.cache.Get(ctx, id, otter.LoaderFunc[int64, Product](p.load))
}

type mapPeer struct {
	env
	m sync.Map
}

func (p *mapPeer) Get(ctx context.Context, id int64) (Product, error) {
	if v, ok := p.m.Load(id); ok {
		return *v.(*Product), nil
	}
	v, err := p.load(ctx, id)
	p.m.Store(id, &v)
	return v, err
}

func (p *mapPeer) Invalidate(_ context.Context, id int64) error {
	p.m.Delete(id)
	return nil
}

func (p *mapPeer) Close() {}

type clockPeer struct{}

var clockRead atomic.Int64 // else the compiler might leave it out

func (clockPeer) Get(context.Context, int64) (p Product, err error) {
	if time.Now().IsZero() {
		clockRead.Add(1)
	}
	return p, nil
}

func (clockPeer) Invalidate(context.Context, int64) error { return nil }
func (clockPeer) Close()                                  {}

// nearHits is of one goroutine on 64 keys, and of 64 goroutines on 10,000.
func (r *run) nearHits() error {
	var all []variant
	for _, l := range append(append([]library{}, floors...), asideNear("aside, WithShared", aside.WithShared()), asideNear("aside, cloned")) {
		all = append(all, variant{l, l.codecs[0]})
	}
	peers, err := r.open(all, 1<<10, 0)
	if err != nil {
		return err
	}
	defer closeAll(peers)
	for _, o := range peers {
		if _, isClock := o.peer.(clockPeer); isClock {
			continue
		}
		if err := r.warm(o, concurrentKeys); err != nil {
			return fmt.Errorf("%v: %w", o.variant, err)
		}
	}
	reps, length := r.slots(60, 20*time.Millisecond)
	one, err := interleave(reps, peers, func(o opened) (timing, error) { return r.seenSlot(o, length) })
	if err != nil {
		return err
	}
	many, err := interleave(reps, peers, func(o opened) (float64, error) { return r.nearCrowd(o, evenly(concurrentKeys), 64, length) })
	if err != nil {
		return err
	}
	t := &table{title: "Near hits", columns: []string{"read", "best ns", "median ns", "× otter", "middle half", "allocations", "bytes",
		"64 goroutines, best ns", "throughput × otter"},
		notes: []string{"One goroutine reads 64 keys in turn; 64 goroutines read 10,000 keys, drawn evenly, where ns are of the clock over all reads."}}
	var ns, crowd []series
	for i := range peers {
		ns = append(ns, seriesOf(one[i], func(t timing) float64 { return 1000 * t.wall }))
		crowd = append(crowd, series(many[i]))
	}
	for i, o := range peers {
		allocs, bytes, err := r.allocsOfHit(o)
		if err != nil {
			return err
		}
		t.add(o.name, figure(ns[i].min()), figure(ns[i].median()), ratio(ns[i].over(ns[0])), spread(ns[i].over(ns[0])), figure(allocs), figure(bytes),
			figure(1e9/crowd[i].max()), ratio(crowd[i].over(crowd[0])))
	}
	r.report.print(t)
	return nil
}

// warm reads all keys until they come from memory.
func (r *run) warm(o opened, n int) error {
	if err := r.fillOne(o, n); err != nil {
		return err
	}
	p, ok := o.peer.(*asidePeer)
	if !ok {
		return nil
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		before := p.cache.Stats().NearHits
		if err := readEach(n, func(id int64) error { _, err := p.Get(r.ctx, id); return err }); err != nil {
			return err
		}
		if p.cache.Stats().NearHits-before == uint64(n) {
			return nil
		}
	}
	return errors.New("the keys do not stay in memory")
}

// nearCrowd returns how many reads a second goroutines make. Unlike together it reads no clock
// between them. They make room now and then, as goroutines do that also wait for something: else it
// would take hundreds of milliseconds until another one gets a turn, whether that ends the slot or
// keeps near copies current.
func (r *run) nearCrowd(o opened, d draw, goroutines int, length time.Duration) (perSecond float64, err error) {
	const atOnce = 64
	var stop atomic.Bool
	var reads atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, goroutines)
	start := time.Now()
	for g := range goroutines {
		wg.Go(func() {
			n := 0
			for at := rand.IntN(len(d.ids)); !stop.Load() && errs[g] == nil; n += atOnce {
				for range atOnce {
					if _, err := o.peer.Get(r.ctx, d.ids[at%len(d.ids)]); err != nil {
						errs[g] = err
					}
					at++
				}
				runtime.Gosched()
			}
			reads.Add(int64(n))
		})
	}
	time.Sleep(length)
	stop.Store(true)
	wg.Wait()
	return float64(reads.Load()) / time.Since(start).Seconds(), errors.Join(errs...)
}
