package main

import (
	"fmt"
	"time"
)

var batchWorkload = workload{
	name:  "batch",
	title: "Batches of 100",
	about: "One call for 100 keys of 1 KB: all of them cached, or every other one, the rest loaded in one batch that " +
		"takes no time. Time of the call. A library without such a call is left out: 100 calls " +
		"in turn take 100 times its serial hit.",
	run: func(r *run) error {
		peers, err := r.open(r.variants(everything), 1<<10, 0)
		if err != nil {
			return err
		}
		defer closeAll(peers)
		var able []opened
		for _, o := range peers {
			if _, ok := o.peer.(batcher); ok {
				able = append(able, o)
			}
		}
		if err := r.fill(able, batchSize); err != nil {
			return err
		}
		if err := r.batches(able, "all cached", "batch-all", 0); err != nil {
			return err
		}
		return r.batches(able, "half cached", "batch-half", batchSize/2)
	},
}

const batchSize = 100

func (r *run) batches(peers []opened, title, file string, missing int) error {
	reps, length := r.slots(40, 30*time.Millisecond)
	figures, err := interleave(reps, peers, func(o opened) (timing, error) { return r.batchSlot(o, missing, length) })
	if err != nil {
		return err
	}
	c := newComparison("100 keys, "+title, peers, figures)
	r.compare(c)
	return r.bars(file, c)
}

// batchSlot has fresh keys take the place of missing ones, so that nothing needs deleting.
func (r *run) batchSlot(o opened, missing int, length time.Duration) (timing, error) {
	ids := make([]int64, batchSize)
	for i := range ids {
		ids[i] = int64(i)
	}
	return timed(length, func() (int, error) {
		for i := range missing {
			ids[2*i] = freshID()
		}
		found, err := o.peer.(batcher).GetMany(r.ctx, ids)
		first, last := ids[0], ids[batchSize-1]
		if err == nil && (len(found) != batchSize || found[first].ID != first || found[last].ID != last) {
			err = fmt.Errorf("a batch of %d returned %d products", batchSize, len(found))
		}
		return 1, err
	})
}
