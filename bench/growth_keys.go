package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// growKeys fills Redis with ever more entries, each a copy of one that the library stored.
func growKeys(r *run) error {
	peers, err := r.open([]variant{base, asideJSON}, 100, 0)
	if err != nil {
		return err
	}
	defer closeAll(peers)
	if err := r.fill(peers, 1); err != nil {
		return err
	}
	steps, why := r.keySteps()
	t := &table{title: "Number of keys",
		columns: []string{"library", "keys", "best µs", "median µs", "× raw", "64 goroutines, 1000/s", "p99 µs", ""},
		notes:   []string{fmt.Sprintf("%d bytes of JSON; keys read evenly at random. %s", jsonSize(newProduct(0, 100)), why)}}
	p := &plot{title: "A hit by number of keys", xLabel: "keys", yLabel: "µs"}
	p.curves = []curve{{name: "raw json"}, {name: "aside json"}}
	have := 1
	for _, n := range steps {
		for _, o := range peers {
			if err := r.copies(o, have, n); err != nil {
				return err
			}
		}
		have = n
		p.xs = append(p.xs, float64(n))
		c, crowds, err := r.randomReads(peers, n)
		if err != nil {
			return err
		}
		for i, o := range peers {
			toBase, _ := c.ratios(i)
			p.curves[i].ys = append(p.curves[i].ys, c.series[i].median())
			t.add(o.name, short(float64(n)), figure(c.series[i].min()), figure(c.series[i].median()), ratio(toBase),
				figure(seriesOf(crowds[i], func(c crowd) float64 { return c.perSecond / 1000 }).median()),
				figure(seriesOf(crowds[i], func(c crowd) float64 { return c.p99 }).median()), "")
		}
	}
	if used, err := r.admin.InfoMap(r.ctx, "memory").Result(); err == nil {
		t.notes = append(t.notes, "At the last step Redis used "+used["Memory"]["used_memory_human"]+", for both.")
	}
	r.report.print(t)
	return p.draw(r.svg, "growth-keys")
}

// keySteps ends where memory does.
func (r *run) keySteps() (steps []int, why string) {
	steps = []int{1_000, 10_000, 100_000, 1_000_000, 10_000_000}
	const each = 700 // bytes, both libraries' entries and room to grow their table
	free := memory("MemAvailable")
	switch {
	case r.quick:
		return steps[:4], "10M keys are left to a run without -quick."
	case free < 10_000_000*each*3/2:
		return steps[:4], fmt.Sprintf("10M keys would not fit: %d GB of memory are free.", free>>30)
	}
	return steps, ""
}

// copies makes entries from..to out of entry 0, inside of Redis.
func (r *run) copies(o opened, from, to int) error {
	prefix := "bench-" + o.name + "-" + o.codec + ":"
	copied := redis.NewScript(`
		local document = redis.call('GET', KEYS[1] .. '0')
		for id = ARGV[1], ARGV[2] do redis.call('SET', KEYS[1] .. string.format('%d', id), document) end
		return redis.status_reply('OK')`)
	const chunk = 5_000 // a longer script would keep a busy machine from answering others
	for at := from; at < to; at += chunk {
		last := strconv.Itoa(min(at+chunk, to) - 1)
		if err := copied.Run(r.ctx, r.admin, []string{prefix}, at, last).Err(); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) randomReads(peers []opened, keys int) (*comparison, [][]crowd, error) {
	reps, length := r.slots(20, 50*time.Millisecond)
	d := evenly(keys)
	serial, err := interleave(reps, peers, func(o opened) (float64, error) {
		all, took, err := together(d, 1, length, r.reading(o.peer))
		if err != nil {
			return 0, err
		}
		return micros(took) / float64(all.n), nil
	})
	if err != nil {
		return nil, nil, err
	}
	c := &comparison{peers: peers}
	for _, slots := range serial {
		c.series = append(c.series, series(slots))
	}
	crowds, err := interleave(reps, peers, func(o opened) (crowd, error) { return r.crowdSlot(o, d, 64, length) })
	return c, crowds, err
}
