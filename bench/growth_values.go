package main

import (
	"strconv"
	"time"
)

func growValues(r *run) error {
	sizes := []int{100, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10}
	all := []variant{base, rawSonic, asideJSON, asideSonic}
	t := &table{title: "Size of the value", columns: []string{"library", "codec", "bytes of JSON", "best µs", "median µs",
		"× raw json", "× raw, same codec", ""}}
	p := &plot{title: "A hit by size of the value", xLabel: "bytes", yLabel: "µs"}
	for _, v := range all {
		p.curves = append(p.curves, curve{name: v.String()})
	}
	for _, size := range sizes {
		c, err := r.serialHits(all, size)
		if err != nil {
			return err
		}
		bytes := jsonSize(newProduct(0, size))
		p.xs = append(p.xs, float64(bytes))
		for i, o := range c.peers {
			toBase, toSame := c.ratios(i)
			p.curves[i].ys = append(p.curves[i].ys, c.series[i].median())
			t.add(o.name, o.codec, strconv.Itoa(bytes), figure(c.series[i].min()), figure(c.series[i].median()),
				ratio(toBase), ratio(toSame), "")
		}
	}
	r.report.print(t)
	return r.curves(p, "growth-values")
}

func (r *run) serialHits(all []variant, size int) (*comparison, error) {
	peers, err := r.open(all, size, 0)
	if err != nil {
		return nil, err
	}
	defer closeAll(peers)
	if err := r.fill(peers, hitKeys); err != nil {
		return nil, err
	}
	reps, length := r.slots(30, 30*time.Millisecond)
	figures, err := interleave(reps, peers, func(o opened) (timing, error) { return r.hitSlot(o, length) })
	return newComparison("", peers, figures), err
}
