package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// growInstances reads every key once from each of ever more instances: clients of their own, caches of one name.
func growInstances(r *run) error {
	const keys = 500
	t := &table{title: "Number of instances",
		columns: []string{"library", "instances", "reads", "loads", "loads of a key", "ms", "commands a read", ""},
		notes: []string{fmt.Sprintf("Each instance has a client of its own and reads all of %d keys, "+
			"of which none is cached, with 4 goroutines; a load takes 2 ms. "+
			"The instances live in one process, and share nothing but Redis.", keys)}}
	p := &plot{title: "Loads by number of instances, 500 keys", xLabel: "instances", yLabel: "loads"}
	p.curves = []curve{{name: "raw json"}, {name: "aside json"}}
	for n := 1; n <= 64; n *= 2 {
		p.xs = append(p.xs, float64(n))
		for i, v := range []variant{base, asideJSON} {
			loads, ran, took, err := r.readAll(v, n, keys)
			if err != nil {
				return err
			}
			p.curves[i].ys = append(p.curves[i].ys, float64(loads))
			t.add(v.name, strconv.Itoa(n), strconv.Itoa(n*keys), strconv.Itoa(loads), figure(float64(loads)/keys),
				figure(took.Seconds()*1e3), figure(float64(ran)/float64(n*keys)), "")
		}
	}
	r.report.print(t)
	return p.draw(r.svg, "growth-instances")
}

func (r *run) readAll(v variant, instances, keys int) (loads, ran int, took time.Duration, err error) {
	peers := make([]opened, instances)
	for i := range peers {
		opened, err := r.open([]variant{v}, 1<<10, 2*time.Millisecond)
		if err != nil {
			return 0, 0, 0, err
		}
		peers[i] = opened[0]
		if _, err := peers[i].peer.Get(r.ctx, -1); err != nil { // connections first
			return 0, 0, 0, err
		}
		peers[i].source.loads.Store(0)
	}
	defer closeAll(peers)
	before, err := commandsRun(r.ctx, r.admin)
	if err != nil {
		return 0, 0, 0, err
	}
	errs := make(chan error, instances*4)
	var wg sync.WaitGroup
	start := time.Now()
	ids := rand.Perm(keys) // one order for all, so that they meet at every key
	for _, o := range peers {
		for part := range 4 {
			wg.Go(func() {
				for _, id := range ids[part*keys/4 : (part+1)*keys/4] {
					if _, err := o.peer.Get(r.ctx, int64(id)); err != nil {
						errs <- err
						return
					}
				}
			})
		}
	}
	wg.Wait()
	took = time.Since(start)
	close(errs)
	for _, o := range peers {
		loads += int(o.source.loads.Load())
	}
	after, err := commandsRun(r.ctx, r.admin)
	if err == nil {
		err = <-errs
	}
	return loads, after - before, took, err
}
