package main

import (
	"fmt"
	"time"
)

var codecsWorkload = workload{
	name:  "codecs",
	title: "Codecs",
	about: "What WithCodec buys: this library with each codec, one goroutine, 64 cached keys. Time of a hit, the process's " +
		"CPU for it, and MEMORY USAGE of an entry in Redis.",
	run: func(r *run) error {
		for _, size := range []int{1 << 10, 16 << 10} {
			if err := r.codecs(size); err != nil {
				return err
			}
		}
		return nil
	},
}

func (r *run) codecs(size int) error {
	peers := make([]opened, 0, len(codecs))
	defer func() { closeAll(peers) }()
	var memory []float64
	for _, codec := range []string{"json", "sonic", "json+s2", "msgpack"} {
		one, err := r.open([]variant{{asideLibrary, codec}}, size, 0) // and nothing else is in Redis
		if err != nil {
			return err
		}
		peers = append(peers, one...)
		if err := r.fill(one, hitKeys); err != nil {
			return err
		}
		bytes, err := r.memoryUsage()
		if err != nil {
			return err
		}
		memory = append(memory, bytes/hitKeys)
	}
	if err := r.fill(peers, hitKeys); err != nil { // all at once now
		return err
	}
	reps, length := r.slots(60, 20*time.Millisecond)
	figures, err := interleave(reps, peers, func(o opened) (timing, error) { return r.hitSlot(o, length) })
	if err != nil {
		return err
	}
	t := &table{
		title:   fmt.Sprintf("Hit of %d KB by codec", size>>10),
		columns: []string{"codec", "best µs", "median µs", "× json", "CPU, best µs", "× json", "bytes in Redis", "× json", ""},
	}
	c := newComparison("", peers, figures)
	for i, o := range peers {
		t.add(o.codec, figure(c.series[i].min()), figure(c.series[i].median()), ratio(c.series[i].over(c.series[0])),
			figure(c.cpu[i].min()), ratio(c.cpu[i].over(c.cpu[0])), figure(memory[i]), figure(memory[i]/memory[0]), "")
	}
	r.report.print(t)
	return nil
}
