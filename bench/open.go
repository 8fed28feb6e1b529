package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// variants are what this run compares: raw with JSON first, whatever was asked for, since ratios are to it.
func (r *run) variants(keep func(variant) bool) []variant {
	var all []variant
	for _, l := range libraries {
		for _, c := range l.codecs {
			v := variant{l, c}
			if v.isBase() || (len(r.peers) == 0 || slices.Contains(r.peers, l.name)) && keep(v) {
				all = append(all, v)
			}
		}
	}
	return all
}

func everything(variant) bool { return true }

// open empties the shared Redis and opens the variants on it, each with a source of its own for products of size bytes.
func (r *run) open(all []variant, size int, delay time.Duration) ([]opened, error) {
	if err := r.admin.FlushAll(r.ctx).Err(); err != nil {
		return nil, err
	}
	var peers []opened
	for _, v := range all {
		s := newSource(size, delay)
		p, err := v.openOn(r.addr, s)
		if err != nil {
			closeAll(peers)
			return nil, fmt.Errorf("%v: %w", v, err)
		}
		peers = append(peers, opened{v, p, s})
	}
	return peers, nil
}

// closeAll does not wait for clients that do not come back, as rueidis' does not always after a FLUSHALL.
func closeAll(peers []opened) {
	for _, o := range peers {
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			o.peer.Close()
		}()
		select {
		case <-closed:
		case <-time.After(5 * time.Second):
		}
	}
}

// fill has every key below n cached by each of the peers, and sees that they are products.
func (r *run) fill(peers []opened, n int) error {
	for _, o := range peers {
		if err := r.fillOne(o, n); err != nil {
			return fmt.Errorf("%v: fill: %w", o.variant, err)
		}
	}
	return nil
}

// fillOne reads all keys until that loads nothing: some libraries fill after they have returned, and on a busy machine a
// fill may come too late for its timeout, or a circuit breaker open.
func (r *run) fillOne(o opened, n int) error {
	err := fmt.Errorf("%d keys do not stay in the cache", n)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		loads := o.source.loads.Load()
		failed := readEach(n, func(id int64) error {
			p, err := o.peer.Get(r.ctx, id)
			if err == nil && (p.SKU != o.source.product.SKU || len(p.Variants) != len(o.source.product.Variants)) {
				err = fmt.Errorf("key %d returned %+v", id, p)
			}
			return err
		})
		if failed == nil && o.source.loads.Load() == loads {
			return nil
		}
		err = cmp.Or(failed, err)
	}
	return err
}

// readEach calls read for every key below n, with a few goroutines.
func readEach(n int, read func(id int64) error) error {
	const goroutines = 16
	errs := make([]error, goroutines)
	var next atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for id := next.Add(1) - 1; id < int64(n) && errs[g] == nil; id = next.Add(1) - 1 {
				errs[g] = read(id)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
