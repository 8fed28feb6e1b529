package main

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"time"
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
		columns: []string{"library", "keys", "best µs", "median µs", "× raw", "64 goroutines, 1000/s", "p99 µs", "Redis µs a read", ""},
		notes: []string{fmt.Sprintf("%d bytes of JSON; keys read evenly at random, of %d drawn beforehand. The entries of both are in "+
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
				figure(seriesOf(crowds[i], func(c crowd) float64 { return c.p99 }).median()),
				figure(seriesOf(crowds[i], func(c crowd) float64 { return c.server }).median()), "")
		}
	}
	if info, err := r.admin.InfoMap(r.ctx, "memory").Result(); err == nil {
		used, _ := strconv.ParseFloat(info["Memory"]["used_memory"], 64) // a number, if Redis says so
		t.notes = append(t.notes, fmt.Sprintf("At the last step Redis used %s, that is %s bytes an entry, its tables included, "+
			"in the mean of both.", info["Memory"]["used_memory_human"], figure(used/float64(have*len(peers)))))
	}
	r.report.print(t)
	return r.curves(p, "growth-keys")
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

// copies makes entries from..to out of entry 0, with the TTL that the others have.
func (r *run) copies(o opened, from, to int) error {
	document, err := r.admin.Get(r.ctx, o.prefix()+"0").Bytes()
	if err != nil {
		return err
	}
	rest := append([]byte(fmt.Sprintf("\r\n$%d\r\n", len(document))), document...)
	rest = append(rest, fmt.Sprintf("\r\n$2\r\nPX\r\n$7\r\n%d\r\n", ttl.Milliseconds())...)
	return r.bulk(from, to, 1, "*5\r\n$3\r\nSET", o.prefix(), rest)
}

// settle looks up every entry. A table of Redis that has grown is moved to its new place by a step with each look, and the
// copies leave off in the middle of that: figures would have it in them.
func (r *run) settle(o opened, keys int) error {
	const atOnce = 100
	return r.bulk(0, keys, atOnce, fmt.Sprintf("*%d\r\n$6\r\nEXISTS", atOnce+1), o.prefix(), []byte("\r\n"))
}

// bulk sends commands for the entries from..to, a number of them in each, and waits for their end. Each command is its
// head, the names, and the rest. A client would take
// minutes for 20 million, so they are written here, and not answered.
func (r *run) bulk(from, to, atOnce int, head, prefix string, rest []byte) error {
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	w := bufio.NewWriterSize(conn, 1<<20)
	w.WriteString("*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n")
	for id := from; id < to; {
		w.WriteString(head)
		for range atOnce {
			name := strconv.AppendInt([]byte(prefix), int64(min(id, to-1)), 10)
			fmt.Fprintf(w, "\r\n$%d\r\n%s", len(name), name)
			id++
		}
		w.Write(rest)
	}
	w.WriteString("*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n")
	if err := w.Flush(); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && answer != "+OK\r\n" {
		err = fmt.Errorf("bulk: Redis answered %q", answer)
	}
	return err
}

// prefix is how the names of o's entries begin.
func (o opened) prefix() string { return "bench-" + o.name + "-" + o.codec + ":" }

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
