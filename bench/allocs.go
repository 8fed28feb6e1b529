package main

import (
	"runtime"
)

var allocsWorkload = workload{
	name:  "allocs",
	title: "Allocations of a hit",
	about: "The 1 KB product, one goroutine. The fewest of five runs of 500 hits, since other goroutines of a client " +
		"allocate, too.",
	run: func(r *run) error {
		peers, err := r.open(r.variants(everything), 1<<10, 0)
		if err != nil {
			return err
		}
		defer closeAll(peers)
		if err := r.fill(peers, hitKeys); err != nil {
			return err
		}
		t := &table{columns: []string{"library", "codec", "allocations", "bytes", "more than raw, same codec",
			"does not promise"}}
		raw := map[string]float64{}
		for _, o := range peers {
			n, bytes, err := r.allocsOfHit(o)
			if err != nil {
				return err
			}
			if o.name == base.name {
				raw[o.codec] = n
			}
			more := "–"
			if same, ok := raw[o.codec]; ok {
				more = figure(n - same)
			}
			t.add(o.name, o.codec, figure(n), figure(bytes), more, o.caveat())
		}
		r.report.print(t)
		return nil
	},
}

func (r *run) allocsOfHit(o opened) (allocs, bytes float64, err error) {
	const runs, hits = 5, 500
	var before, after runtime.MemStats
	for i := range runs {
		runtime.GC()
		runtime.ReadMemStats(&before)
		for id := range int64(hits) {
			if _, err := o.peer.Get(r.ctx, id%hitKeys); err != nil {
				return 0, 0, err
			}
		}
		runtime.ReadMemStats(&after)
		n := float64(after.Mallocs-before.Mallocs) / hits
		if i == 0 || n < allocs {
			allocs, bytes = n, float64(after.TotalAlloc-before.TotalAlloc)/hits
		}
	}
	return float64(int(allocs + 0.5)), bytes, nil
}
