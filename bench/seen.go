package main

import (
	"fmt"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asideotel"
	"github.com/asidecache/aside/asideprom"
)

// What it costs a hit to be seen: metrics, traces and verification, against the same hit without.

var seenWorkload = workload{
	name:  "seen",
	title: "What it costs to be seen",
	extra: true,
	about: "The 1 KB product with JSON, one goroutine, 64 keys in turn, all of them cached: by Redis, and as near copies, where the " +
		"same nanoseconds weigh more. Ratios are taken within one turn. The metrics are not scraped meanwhile.",
	run: func(r *run) error {
		for _, near := range []bool{false, true} {
			if err := r.seen(near); err != nil {
				return err
			}
		}
		return nil
	},
}

// A seer has what makes the options under which a Cache is seen, and with what it is told of the Cache.
type seer struct {
	name, short string
	make        func() (aside.Option, func(...aside.AnyCache), error)
}

var seers = []seer{
	{"nothing", "no", func() (aside.Option, func(...aside.AnyCache), error) {
		return nil, func(...aside.AnyCache) {}, nil
	}},
	{"WithVerify(10)", "ve", func() (aside.Option, func(...aside.AnyCache), error) {
		return aside.WithVerify(10), func(...aside.AnyCache) {}, nil
	}},
	{"asideprom", "pr", func() (aside.Option, func(...aside.AnyCache), error) {
		c := asideprom.NewCollector()
		return aside.WithObserver(c.Observer()), c.Add, nil
	}},
	{"asideotel, metrics", "om", func() (aside.Option, func(...aside.AnyCache), error) {
		t, err := asideotel.New(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())), nil)
		if err != nil {
			return nil, nil, err
		}
		return aside.WithObserver(t.Observer()), t.Add, nil
	}},
	{"asideotel, metrics and traces", "ot", func() (aside.Option, func(...aside.AnyCache), error) {
		t, err := asideotel.New(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())), sdktrace.NewTracerProvider())
		if err != nil {
			return nil, nil, err
		}
		return aside.WithObserver(t.Observer()), t.Add, nil
	}},
}

// library is aside under a seer.
func (s seer) library(near bool) library {
	l := asideLibrary
	l.name = fmt.Sprintf("seen-%s-%v", s.short, near) // a part of the keys, which should be as long for all
	l.open = func(e env) (peer, error) {
		option, add, err := s.make()
		if err != nil {
			return nil, err
		}
		more := []aside.Option{option}
		if near {
			more = append(more, aside.WithNear(hitKeys, time.Hour), aside.WithShared())
		}
		p, err := openAside(e, more...)
		if err == nil {
			add(p.(*asidePeer).cache)
		}
		return p, err
	}
	return l
}

func (r *run) seen(near bool) error {
	var all []variant
	for _, s := range seers {
		all = append(all, variant{s.library(near), "json"})
	}
	peers, err := r.open(all, 1<<10, 0)
	if err != nil {
		return err
	}
	defer closeAll(peers)
	if err := r.fill(peers, hitKeys); err != nil {
		return err
	}
	reps, length := r.slots(200, 20*time.Millisecond)
	figures, err := interleave(reps, peers, func(o opened) (timing, error) { return r.seenSlot(o, length) })
	if err != nil {
		return err
	}
	title := "A hit in Redis"
	if near {
		title = "A near hit, of values that are shared"
	}
	return r.printSeen(title, peers, figures)
}

// seenSlot is hitSlot for a cache that may load meanwhile, to verify.
func (r *run) seenSlot(o opened, length time.Duration) (timing, error) {
	const atOnce = 64
	return timed(length, func() (int, error) {
		for id := range int64(atOnce) {
			if _, err := o.peer.Get(r.ctx, id%hitKeys); err != nil {
				return 0, err
			}
		}
		return atOnce, nil
	})
}

func (r *run) printSeen(title string, peers []opened, figures [][]timing) error {
	t := &table{title: title, columns: []string{"seen by", "best ns", "median ns", "× nothing", "middle half", "CPU, best ns", "× nothing", "allocations", "bytes"}}
	var plain, plainCPU series
	for i, o := range peers {
		wall := seriesOf(figures[i], func(t timing) float64 { return 1000 * t.wall })
		cpu := seriesOf(figures[i], func(t timing) float64 { return 1000 * t.cpu })
		if i == 0 {
			plain, plainCPU = wall, cpu
		}
		allocs, bytes, err := r.allocsOfHit(o)
		if err != nil {
			return err
		}
		t.add(seers[i].name, figure(wall.min()), figure(wall.median()), ratio(wall.over(plain)), spread(wall.over(plain)),
			figure(cpu.min()), ratio(cpu.over(plainCPU)), figure(allocs), figure(bytes))
	}
	r.report.print(t)
	return nil
}
