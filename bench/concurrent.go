package main

import (
	"fmt"
	"math/rand"
	"time"
)

var concurrentWorkload = workload{
	name:  "concurrent",
	title: "Concurrent hits",
	about: "1, 8, 64 and 256 goroutines read the 1 KB product without a pause from 10,000 cached keys (2,000 with " +
		"-quick), drawn evenly or by Zipf's law " +
		"(s = 1.1: the hottest key has 15 % of the reads). Client and Redis share the machine's cores. " +
		"CPU is what the whole client process and the whole Redis server used, over the reads.",
	run: runConcurrent,
}

const concurrentKeys = 10_000

var levels = []int{1, 8, 64, 256}

// A crowd is one slot of one level.
type crowd struct {
	perSecond      float64
	p50, p99       float64 // µs
	client, server float64 // µs of CPU a read
}

func runConcurrent(r *run) error {
	peers, err := r.open(r.variants(everything), 1<<10, 0)
	if err != nil {
		return err
	}
	defer closeAll(peers)
	keys := concurrentKeys
	if r.quick {
		keys = 2_000
	}
	if err := r.fill(peers, keys); err != nil {
		return err
	}
	for _, d := range []draw{evenly(keys), zipf(keys)} {
		if err := r.concurrent(peers, d); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) concurrent(peers []opened, d draw) error {
	reps, length := r.slots(15, 60*time.Millisecond)
	byLevel := make([][][]crowd, len(levels))
	for i, level := range levels {
		for _, o := range peers { // connections first
			if _, err := r.crowdSlot(o, d, level, length/3); err != nil {
				return err
			}
		}
		figures, err := interleave(reps, peers, func(o opened) (crowd, error) { return r.crowdSlot(o, d, level, length) })
		if err != nil {
			return err
		}
		byLevel[i] = figures
	}
	r.throughputTable(fmt.Sprintf("Throughput, %s keys", d.name), "reads", peers, byLevel)
	r.latencyTable(peers, d, byLevel)
	r.cpuTable(peers, d, byLevel)
	return r.concurrentPlots(peers, d, byLevel)
}

// A draw is a long list of keys that goroutines read along, each from a place of its own: drawing costs nothing then.
type draw struct {
	name string
	ids  []int64
}

func evenly(keys int) draw {
	rng := rand.New(rand.NewSource(1))
	d := draw{name: "even", ids: make([]int64, 1<<18)}
	for i := range d.ids {
		d.ids[i] = int64(rng.Intn(keys))
	}
	return d
}

func zipf(keys int) draw {
	z := rand.NewZipf(rand.New(rand.NewSource(1)), 1.1, 1, uint64(keys-1))
	d := draw{name: "zipf", ids: make([]int64, 1<<18)}
	for i := range d.ids {
		d.ids[i] = int64(z.Uint64())
	}
	return d
}

func (r *run) crowdSlot(o opened, d draw, goroutines int, length time.Duration) (crowd, error) {
	loads := o.source.loads.Load()
	serverBefore, err := redisCPU(r.ctx, r.admin)
	if err != nil {
		return crowd{}, err
	}
	clientBefore := clientCPU()
	all, took, err := together(d, goroutines, length, r.reading(o.peer))
	if err != nil {
		return crowd{}, err
	}
	client := clientCPU() - clientBefore
	serverAfter, err := redisCPU(r.ctx, r.admin)
	if n := o.source.loads.Load() - loads; n > 0 && err == nil {
		err = fmt.Errorf("%d of %d hits were loads", n, all.n)
	}
	reads := float64(all.n)
	return crowd{
		perSecond: reads / took.Seconds(),
		p50:       micros(all.quantile(0.50)), p99: micros(all.quantile(0.99)),
		client: micros(client) / reads, server: micros(serverAfter-serverBefore) / reads,
	}, err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// throughputTable is of reads, misses or invalidations.
func (r *run) throughputTable(title, what string, peers []opened, byLevel [][][]crowd) {
	t := &table{
		title:   title,
		columns: []string{"library", "codec"},
		notes: []string{"Thousands of " + what + " a second, best slot / median; × is the median ratio to raw json, = that to " +
			"raw with the same codec (more is better)."},
	}
	for _, level := range levels {
		t.columns = append(t.columns, fmt.Sprintf("%d goroutines", level), "×", "=")
	}
	t.columns = append(t.columns, "does not promise")
	for i, o := range peers {
		row := []string{o.name, o.codec}
		for l := range levels {
			c := crowdComparison(peers, byLevel[l], func(c crowd) float64 { return c.perSecond / 1000 })
			toBase, toSame := c.ratios(i)
			row = append(row, figure(c.series[i].max())+" / "+figure(c.series[i].median()), ratio(toBase), ratio(toSame))
		}
		t.add(append(row, o.caveat())...)
	}
	r.report.print(t)
}

func crowdComparison(peers []opened, figures [][]crowd, pick func(crowd) float64) *comparison {
	c := &comparison{peers: peers}
	for _, slots := range figures {
		c.series = append(c.series, seriesOf(slots, pick))
	}
	return c
}

func (r *run) latencyTable(peers []opened, d draw, byLevel [][][]crowd) {
	t := &table{
		title:   fmt.Sprintf("Latency, %s keys", d.name),
		columns: []string{"library", "codec"},
		notes:   []string{"µs, median over the slots; × is the median ratio of p99 to raw json's (less is better)."},
	}
	crowded := []int{2, 3}
	for _, l := range crowded {
		t.columns = append(t.columns, fmt.Sprintf("p50 at %d", levels[l]), fmt.Sprintf("p99 at %d", levels[l]), "×", "=")
	}
	t.columns = append(t.columns, "does not promise")
	for i, o := range peers {
		row := []string{o.name, o.codec}
		for _, l := range crowded {
			p50 := crowdComparison(peers, byLevel[l], func(c crowd) float64 { return c.p50 })
			p99 := crowdComparison(peers, byLevel[l], func(c crowd) float64 { return c.p99 })
			toBase, toSame := p99.ratios(i)
			row = append(row, figure(p50.series[i].median()), figure(p99.series[i].median()), ratio(toBase), ratio(toSame))
		}
		t.add(append(row, o.caveat())...)
	}
	r.report.print(t)
}

func (r *run) cpuTable(peers []opened, d draw, byLevel [][][]crowd) {
	at := len(levels) - 1
	t := &table{
		title: fmt.Sprintf("CPU at %d goroutines, %s keys", levels[at], d.name),
		notes: []string{"µs of CPU a read, median over the slots (less is better)."},
		columns: []string{"library", "codec", "client", "× raw json", "× raw, same codec",
			"Redis", "× raw json", "× raw, same codec", "does not promise"},
	}
	client := crowdComparison(peers, byLevel[at], func(c crowd) float64 { return c.client })
	server := crowdComparison(peers, byLevel[at], func(c crowd) float64 { return c.server })
	for i, o := range peers {
		row := []string{o.name, o.codec}
		for _, c := range []*comparison{client, server} {
			toBase, toSame := c.ratios(i)
			row = append(row, figure(c.series[i].median()), ratio(toBase), ratio(toSame))
		}
		t.add(append(row, o.caveat())...)
	}
	r.report.print(t)
}

// concurrentPlots leaves out what is served in the process: it would press the rest to the ground.
func (r *run) concurrentPlots(peers []opened, d draw, byLevel [][][]crowd) error {
	throughput := plot{xLabel: "goroutines", yLabel: "reads/s", title: "Hits a second, " + d.name + " keys (more is better)"}
	p99 := plot{xLabel: "goroutines", yLabel: "µs", title: "p99 of a hit, " + d.name + " keys (less is better)"}
	for _, level := range levels {
		throughput.xs = append(throughput.xs, float64(level))
	}
	p99.xs = throughput.xs
	for i, o := range peers {
		if o.local {
			continue
		}
		t, l := curve{name: o.variant.String()}, curve{name: o.variant.String()}
		for at := range levels {
			slots := byLevel[at][i]
			t.ys = append(t.ys, seriesOf(slots, func(c crowd) float64 { return c.perSecond }).median())
			l.ys = append(l.ys, seriesOf(slots, func(c crowd) float64 { return c.p99 }).median())
		}
		throughput.curves, p99.curves = append(throughput.curves, t), append(p99.curves, l)
	}
	if err := r.curves(&throughput, "throughput-"+d.name); err != nil {
		return err
	}
	return r.curves(&p99, "p99-"+d.name)
}
