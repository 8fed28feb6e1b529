package main

import (
	"fmt"
	"time"
)

var hitWorkload = workload{
	name:  "hit",
	title: "Serial hits",
	about: "One goroutine reads 64 keys in turn, all of them cached. Time of a read. On a network, the round trip outweighs " +
		"all of this.",
	run: func(r *run) error {
		for _, size := range []int{1 << 10, 16 << 10} {
			if err := r.hits(size); err != nil {
				return err
			}
		}
		return nil
	},
}

const hitKeys = 64

func (r *run) hits(size int) error {
	peers, err := r.open(r.variants(everything), size, 0)
	if err != nil {
		return err
	}
	defer closeAll(peers)
	if err := r.fill(peers, hitKeys); err != nil {
		return err
	}
	reps, length := r.slots(60, 20*time.Millisecond)
	figures, err := interleave(reps, peers, func(o opened) (float64, error) { return r.hitSlot(o, length) })
	if err != nil {
		return err
	}
	c := comparison{title: fmt.Sprintf("Hit, %d KB", size>>10), unit: "µs", peers: peers}
	for _, slots := range figures {
		c.series = append(c.series, series(slots))
	}
	r.compare(&c)
	return r.bars(fmt.Sprintf("hit-%dkb", size>>10), &c)
}

// slots returns how many repetitions a workload has, and how long each slot is.
func (r *run) slots(reps int, length time.Duration) (int, time.Duration) {
	if r.quick {
		return 3, length / 2
	}
	return reps, length
}

// hitSlot returns the microseconds of a read.
func (r *run) hitSlot(o opened, length time.Duration) (float64, error) {
	loads := o.source.loads.Load()
	n, start := 0, time.Now()
	var took time.Duration
	for took < length {
		for range 8 { // the clock costs as much as a read from memory
			if _, err := o.peer.Get(r.ctx, int64(n%hitKeys)); err != nil {
				return 0, err
			}
			n++
		}
		took = time.Since(start)
	}
	if o.source.loads.Load() != loads {
		return 0, fmt.Errorf("%d of %d hits were loads", o.source.loads.Load()-loads, n)
	}
	return took.Seconds() * 1e6 / float64(n), nil
}
