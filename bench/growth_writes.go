package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

func growWrites(r *run) error {
	t := &table{title: "Share of writes",
		columns: []string{"library", "writes", "1000 reads/s", "p50 µs", "p99 µs", "loads in 1,000 reads", ""},
		notes:   []string{"64 goroutines, 10,000 keys by Zipf's law; a write is an Invalidate alone, a load takes 1 ms."}}
	p := &plot{title: "Reads per second by share of writes", xLabel: "writes in 1,000", yLabel: "reads/s"}
	p.curves = []curve{{name: "raw json"}, {name: "aside json"}}
	peers, err := r.open([]variant{base, asideJSON}, 1<<10, 0)
	if err != nil {
		return err
	}
	defer closeAll(peers)
	if err := r.fill(peers, concurrentKeys); err != nil {
		return err
	}
	for _, o := range peers {
		o.source.delay = time.Millisecond
	}
	reps, length := r.slots(9, 150*time.Millisecond)
	d := zipf(concurrentKeys)
	for _, perMille := range []int{1, 10, 50, 100, 250, 500} {
		p.xs = append(p.xs, float64(perMille))
		figures, err := interleave(reps, peers, func(o opened) (blend, error) { return r.writeSlot(o, d, perMille, length) })
		if err != nil {
			return err
		}
		for i, o := range peers {
			of := func(pick func(blend) float64) float64 { return seriesOf(figures[i], pick).median() }
			rate := of(func(b blend) float64 { return b.perSecond })
			p.curves[i].ys = append(p.curves[i].ys, rate)
			t.add(o.name, fmt.Sprintf("%g %%", float64(perMille)/10), figure(rate/1000),
				figure(of(func(b blend) float64 { return b.p50 })), figure(of(func(b blend) float64 { return b.p99 })),
				figure(of(func(b blend) float64 { return b.loads })), "")
		}
	}
	r.report.print(t)
	return r.curves(p, "growth-writes")
}

// writeSlot has a share of the operations invalidate the key instead of reading it.
func (r *run) writeSlot(o opened, d draw, perMille int, length time.Duration) (blend, error) {
	loads := o.source.loads.Load()
	all, took, err := together(d, 64, length, func(id int64) (bool, error) {
		if rand.IntN(1000) < perMille {
			return false, o.peer.Invalidate(r.ctx, id)
		}
		_, err := o.peer.Get(r.ctx, id)
		return true, err
	})
	if err != nil {
		return blend{}, err
	}
	reads := float64(all.n)
	return blend{
		perSecond: reads / took.Seconds(), p50: micros(all.quantile(0.5)), p99: micros(all.quantile(0.99)),
		loads: float64(o.source.loads.Load()-loads) / reads * 1e3,
	}, nil
}
