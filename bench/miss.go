package main

import (
	"fmt"
	"time"
)

var missWorkload = workload{
	name:  "miss",
	title: "Misses",
	about: "One goroutine reads keys that nobody has read, 1 KB, with a loader that takes no time: all that is measured is what " +
		"the library does around a load. Commands sent are counted with MONITOR, commands that Redis ran, in scripts too, with INFO " +
		"commandstats, both in a pass of their own, per miss.",
	run: func(r *run) error {
		peers, err := r.open(r.variants(everything), 1<<10, 0)
		if err != nil {
			return err
		}
		defer closeAll(peers)
		if err := r.fill(peers, hitKeys); err != nil {
			return err
		}

		reps, length := r.slots(60, 20*time.Millisecond)
		figures, err := interleave(reps, peers, func(o opened) (float64, error) { return r.missSlot(o, length) })
		if err != nil {
			return err
		}
		c := &comparison{title: "Miss, 1 KB", peers: peers}
		for _, slots := range figures {
			c.series = append(c.series, series(slots))
		}
		if err := r.missTable(c); err != nil {
			return err
		}
		return r.bars("miss", c)
	},
}

func (r *run) missSlot(o opened, length time.Duration) (float64, error) {
	loads := o.source.loads.Load()
	n, start := 0, time.Now()
	for time.Since(start) < length {
		if _, err := o.peer.Get(r.ctx, freshID()); err != nil {
			return 0, err
		}
		n++
	}
	took := time.Since(start)
	if o.source.loads.Load()-loads != int64(n) {
		return 0, fmt.Errorf("%d misses were %d loads", n, o.source.loads.Load()-loads)
	}
	return took.Seconds() * 1e6 / float64(n), nil
}

func (r *run) missTable(c *comparison) error {
	t := &table{title: c.title, columns: []string{"library", "codec", "best µs", "median µs", "× raw json", "middle half",
		"× raw, same codec", "commands sent", "commands run", "does not promise"}}
	for i, o := range c.peers {
		sent, ran, err := r.missCommands(o)
		if err != nil {
			return err
		}
		toBase, toSame := c.ratios(i)
		t.add(o.name, o.codec, figure(c.series[i].min()), figure(c.series[i].median()), ratio(toBase), spread(toBase),
			ratio(toSame), figure(sent), figure(ran), o.caveat())
	}
	r.report.print(t)
	return nil
}

// missCommands returns how many commands a miss sends, and how many Redis runs for it.
func (r *run) missCommands(o opened) (sent, ran float64, err error) {
	const misses = 100
	time.Sleep(20 * time.Millisecond) // for those who fill after they have returned
	before, err := commandsRun(r.ctx, r.admin)
	if err != nil {
		return 0, 0, err
	}
	w, err := tap(r.addr)
	if err != nil {
		return 0, 0, err
	}
	for range misses {
		if _, err := o.peer.Get(r.ctx, freshID()); err != nil {
			return 0, 0, err
		}
	}
	time.Sleep(20 * time.Millisecond)
	wire, err := w.stop(r.ctx, r.admin)
	if err != nil {
		return 0, 0, err
	}
	after, err := commandsRun(r.ctx, r.admin)
	const own = 1 // the EXISTS that ends the tap
	return float64(wire) / misses, float64(after-before-own) / misses, err
}
