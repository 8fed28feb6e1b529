package main

import (
	"fmt"
	"time"
)

var hitWorkload = workload{
	name:  "hit",
	title: "Serial hits",
	about: "One goroutine reads 64 keys in turn, all of them cached. Time of a read. On a network, the round trip " +
		"outweighs all of this.",
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
	peers, err := r.open(r.andSealed(r.variants(everything)), size, 0)
	if err != nil {
		return err
	}
	defer closeAll(peers)
	if err := r.fill(peers, hitKeys); err != nil {
		return err
	}
	reps, length := r.slots(60, 20*time.Millisecond)
	figures, err := interleave(reps, peers, func(o opened) (timing, error) { return r.hitSlot(o, length) })
	if err != nil {
		return err
	}
	c := newComparison(fmt.Sprintf("Hit, %d KB", size>>10), peers, figures)
	r.compare(c)
	return r.bars(fmt.Sprintf("hit-%dkb", size>>10), c)
}

// slots returns how many repetitions a workload has, and how long each slot is.
func (r *run) slots(reps int, length time.Duration) (int, time.Duration) {
	if r.quick {
		return 3, length / 2
	}
	return reps, length
}

// A timing is one serial slot: microseconds an operation, by the clock and of this process's CPU.
type timing struct{ wall, cpu float64 }

// timed calls op, which does n operations, until length has passed.
func timed(length time.Duration, op func() (n int, err error)) (timing, error) {
	done, cpu, start := 0, clientCPU(), time.Now()
	for time.Since(start) < length {
		n, err := op()
		if err != nil {
			return timing{}, err
		}
		done += n
	}
	wall := time.Since(start)
	return timing{micros(wall) / float64(done), micros(clientCPU()-cpu) / float64(done)}, nil
}

func (r *run) hitSlot(o opened, length time.Duration) (timing, error) {
	const atOnce = 8 // the clock costs as much as a read from memory
	loads, id := o.source.loads.Load(), int64(0)
	t, err := timed(length, func() (int, error) {
		for range atOnce {
			if _, err := o.peer.Get(r.ctx, id%hitKeys); err != nil {
				return 0, err
			}
			id++
		}
		return atOnce, nil
	})
	if n := o.source.loads.Load() - loads; n > 0 && err == nil {
		err = fmt.Errorf("%d of %d hits were loads", n, id)
	}
	return t, err
}
