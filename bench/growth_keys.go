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
		notes:   []string{fmt.Sprintf("%d bytes of JSON; keys read evenly at random, of %d drawn beforehand. The entries of both are in "+
			"one Redis, so there are twice as many. %s", jsonSize(newProduct(0, 100)), len(evenly(1).ids), why)}}
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
		for _, o := range peers {
			if err := r.settle(o, n); err != nil {
				return err
			}
		}
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
	if info, err := r.admin.InfoMap(r.ctx, "memory").Result(); err == nil {
		used, _ := strconv.ParseFloat(info["Memory"]["used_memory"], 64) // a number, if Redis says so
		t.notes = append(t.notes, fmt.Sprintf("At the last step Redis used %s, that is %s bytes an entry, its tables included, "+
			"in the mean of both.", info["Memory"]["used_memory_human"], figure(used/float64(have*len(peers)))))
	}
	r.report.print(t)
	return p.draw(r.svg, "growth-keys")
}

// keySteps ends where memory does.
func (r *run) keySteps() (steps []int, why string) {
	steps = []int{1_000, 10_000, 100_000, 1_000_000, 10_000_000}
	const each = 800 // bytes, both libraries' entries and room to grow their table
	free := memory("MemAvailable")
	switch {
	case r.quick:
		return steps[:4], "10M keys are left to a run without -quick."
	case free < 10_000_000*each*3/2:
		return steps[:4], fmt.Sprintf("10M keys would not fit: %d GB of memory are free.", free>>30)
	}
	return steps, ""
}

// copies makes entries from..to out of entry 0, inside of Redis, with the TTL that the others have.
func (r *run) copies(o opened, from, to int) error {
	return r.forIDs(o, from, to, `redis.call('SET', name, document, 'PX', ARGV[3])`)
}

// settle looks up every entry. A table of Redis that has grown is moved to its new place by a step with each look, as the
// copies have left it to be: figures would have that in them.
func (r *run) settle(o opened, keys int) error { return r.forIDs(o, 0, keys, `redis.call('EXISTS', name)`) }

// forIDs runs a line of Lua for the entry of each id from..to.
func (r *run) forIDs(o opened, from, to int, line string) error {
	prefix := "bench-" + o.name + "-" + o.codec + ":"
	script := redis.NewScript(`
		local document = redis.call('GET', KEYS[1] .. '0')
		for id = ARGV[1], ARGV[2] do
			local name = KEYS[1] .. string.format('%d', id)
			` + line + `
		end
		return redis.status_reply('OK')`)
	const chunk = 5_000 // a longer script would keep a busy machine from answering others
	for at := from; at < to; at += chunk {
		last := strconv.Itoa(min(at+chunk, to) - 1)
		if err := script.Run(r.ctx, r.admin, []string{prefix}, at, last, ttl.Milliseconds()).Err(); err != nil {
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
