package main

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// An operation does something with the row of an id, and reports whether it was a read.
type operation func(id int64) (read bool, err error)

func (r *run) reading(p peer) operation {
	return func(id int64) (bool, error) {
		_, err := p.Get(r.ctx, id)
		return true, err
	}
}

// together has goroutines operate for length without a pause, and returns how long their reads took. Each goroutine draws
// from a place of its own.
func together(d draw, goroutines int, length time.Duration, op operation) (*histogram, time.Duration, error) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	histograms := make([]histogram, goroutines)
	errs := make([]error, goroutines)
	begin := make(chan struct{})
	for g := range goroutines {
		wg.Go(func() {
			<-begin
			for at := rand.IntN(len(d.ids)); !stop.Load() && errs[g] == nil; at++ {
				var read bool
				start := time.Now()
				if read, errs[g] = op(d.ids[at%len(d.ids)]); read {
					histograms[g].record(time.Since(start))
				}
			}
		})
	}
	start := time.Now()
	close(begin)
	time.Sleep(length)
	stop.Store(true)
	wg.Wait()
	took := time.Since(start)
	all := new(histogram)
	for g := range histograms {
		if errs[g] != nil {
			return nil, 0, errs[g]
		}
		all.add(&histograms[g])
	}
	return all, took, nil
}
