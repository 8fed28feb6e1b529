package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/asidecache/aside"
)

const (
	instanceKeys    = 500
	instanceReaders = 4 // goroutines of each
	instanceDelay   = 2 * time.Millisecond
	// instanceTimeout is WithRedisTimeout here, not the default of 250 ms: on a machine without the cores for 64 instances
	// replies take longer than that, each instance takes Redis for down, and loads all keys for itself, as it should.
	instanceTimeout = 5 * time.Second
)

// growInstances reads every key once from each of ever more instances: clients of their own, caches of one name.
func growInstances(r *run) error {
	t := &table{title: "Number of instances",
		columns: []string{"library", "instances", "reads", "loads", "loads of a key", "ms", "commands a read", "bytes a read",
			"waits a load", "Redis failed", ""},
		notes: []string{fmt.Sprintf("Each instance has a client of its own and reads all of %d keys, of which none is cached, "+
			"with %d goroutines; a load takes %v. The instances live in one process, and share nothing but Redis. Commands are "+
			"those that clients send, bytes what goes to Redis and back. Aside has WithRedisTimeout(%v), since it would read past a "+
			"Redis that answers later, with a load by each instance: \"Redis failed\" must be 0 for the loads to mean anything.",
			instanceKeys, instanceReaders, instanceDelay, instanceTimeout)}}
	p := &plot{title: fmt.Sprintf("Loads by number of instances, %d keys", instanceKeys), xLabel: "instances", yLabel: "loads"}
	p.curves = []curve{{name: "raw json"}, {name: "aside json"}}
	for n := 1; n <= 64; n *= 2 {
		p.xs = append(p.xs, float64(n))
		for i, open := range []func(env) (*counted, error){countedRaw, countedAside} {
			w, err := r.wave(open, n)
			if err != nil {
				return err
			}
			loads, reads := float64(w.loads), float64(n*instanceKeys)
			p.curves[i].ys = append(p.curves[i].ys, loads)
			t.add(w.name, strconv.Itoa(n), strconv.Itoa(n*instanceKeys), strconv.Itoa(w.loads), figure(loads/instanceKeys),
				figure(w.took.Seconds()*1e3), figure(float64(w.sent)/reads), figure(w.bytes/reads),
				figure(float64(w.waits)/loads), strconv.Itoa(w.failed), "")
		}
	}
	r.report.print(t)
	return r.curves(p, "growth-instances")
}

// A wave is what the reads of all instances came to.
type wave struct {
	name                       string
	loads, sent, waits, failed int
	bytes                      float64
	took                       time.Duration
}

func (r *run) wave(open func(env) (*counted, error), instances int) (w wave, err error) {
	if err := r.admin.FlushAll(r.ctx).Err(); err != nil {
		return w, err
	}
	all := make([]*counted, instances)
	for i := range all {
		s := newSource(1<<10, instanceDelay)
		if all[i], err = open(env{addr: r.addr, prefix: "bench-wave", codec: codecs["json"], load: s.load}); err != nil {
			return w, err
		}
		defer all[i].Close()
		all[i].source = s
	}
	if err := r.readByAll(all, []int{-1, -2, -3, -4}); err != nil { // connections first
		return w, err
	}
	for _, o := range all {
		o.restart()
	}
	before, err := r.traffic()
	if err != nil {
		return w, err
	}
	start := time.Now()
	err = r.readByAll(all, rand.Perm(instanceKeys))
	w.took = time.Since(start)
	after, failed := r.traffic()
	w.bytes = after.sum() - before.sum()
	for _, o := range all {
		s := o.since()
		w.name, w.loads, w.sent = o.name, w.loads+int(o.source.loads.Load()), w.sent+int(o.sent.Load())
		w.waits, w.failed = w.waits+int(s.Waits), w.failed+int(s.RedisErrors)
	}
	return w, errors.Join(err, failed)
}

// readByAll has all instances read ids in the same order, so that they meet at every key.
func (r *run) readByAll(all []*counted, ids []int) error {
	errs := make([]error, len(all)*instanceReaders)
	var wg sync.WaitGroup
	for i := range errs {
		o, part := all[i/instanceReaders], i%instanceReaders
		wg.Go(func() {
			for _, id := range ids[part*len(ids)/instanceReaders : (part+1)*len(ids)/instanceReaders] {
				if _, errs[i] = o.Get(r.ctx, int64(id)); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func countedAside(e env) (*counted, error) {
	return newCountedAside(e, aside.WithTTL(ttl), aside.WithRedisTimeout(instanceTimeout))
}
