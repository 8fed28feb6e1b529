package main

import (
	"fmt"
	"time"
)

var missWorkload = workload{
	name:  "miss",
	title: "Misses",
	about: "One goroutine reads keys that nobody has read, 1 KB, with a loader that takes no time: all that is measured is " +
		"what the library does around a load. Commands sent are counted with MONITOR, commands that Redis ran, in scripts " +
		"too, with INFO commandstats, both in a pass of their own, per miss.",
	run: func(r *run) error {
		peers, err := r.open(r.andSealed(r.variants(everything)), 1<<10, 0)
		if err != nil {
			return err
		}
		defer closeAll(peers)
		if err := r.fill(peers, hitKeys); err != nil {
			return err
		}

		reps, length := r.slots(60, 20*time.Millisecond)
		figures, err := interleave(reps, peers, func(o opened) (timing, error) { return r.missSlot(o, length) })
		if err != nil {
			return err
		}
		sent, ran := column{title: "commands sent"}, column{title: "commands run"}
		for _, o := range peers {
			s, n, err := r.missCommands(o)
			if err != nil {
				return err
			}
			sent.cells, ran.cells = append(sent.cells, figure(s)), append(ran.cells, figure(n))
		}
		c := newComparison("Miss, 1 KB", peers, figures)
		r.compare(c, sent, ran)
		return r.bars("miss", c)
	},
}

func (r *run) missSlot(o opened, length time.Duration) (timing, error) {
	loads, misses := o.source.loads.Load(), int64(0)
	t, err := timed(length, func() (int, error) {
		misses++
		_, err := o.peer.Get(r.ctx, freshID())
		return 1, err
	})
	if n := o.source.loads.Load() - loads; n != misses && err == nil {
		err = fmt.Errorf("%d misses were %d loads", misses, n)
	}
	return t, err
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
