package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/near"
)

const nearProcesses = 3 // beside the one that writes

// A nearProcess is a peer with what keeps its near copies in use.
type nearProcess struct {
	peer  *asidePeer
	pause func() (resume func())
}

// nearProcesses opens a writer without copies, and processes that have some.
func (r *run) nearProcesses(prefix string, n int) (writer *asidePeer, all []nearProcess, err error) {
	s := newSource(1<<10, 0)
	e := env{addr: r.addr, prefix: prefix, codec: codecs["json"], load: s.load, loadMany: s.loadMany}
	open := func(entries int) (*asidePeer, error) {
		p, err := openAside(e, aside.WithNear(entries, nearAge), aside.WithRedisTimeout(instanceTimeout))
		if err != nil {
			return nil, err
		}
		return p.(*asidePeer), nil
	}
	if writer, err = open(0); err != nil {
		return nil, nil, err
	}
	for range n {
		p, err := open(hitKeys)
		if err != nil {
			return writer, all, err
		}
		all = append(all, nearProcess{p, func() func() { resume, _ := near.PauseOf(p.rdb); return resume }})
		if err := r.warm(opened{variant{asideLibrary, "json"}, p, s}, hitKeys); err != nil {
			return writer, all, err
		}
	}
	return writer, all, nil
}

// nearInvalidations is an Invalidate alone, beside three near processes, and beside three when one
// of them hangs.
func (r *run) nearInvalidations() error {
	if err := r.admin.FlushAll(r.ctx).Err(); err != nil {
		return err
	}
	writer, readers, err := r.nearProcesses("bench-near-inv", nearProcesses)
	defer func() {
		for _, p := range readers {
			p.peer.Close()
		}
	}()
	if err != nil {
		return err
	}
	defer writer.Close()
	s := newSource(1<<10, 0)
	plain, err := openAside(env{addr: r.addr, prefix: "bench-plain-inv", codec: codecs["json"], load: s.load, loadMany: s.loadMany})
	if err != nil {
		return err
	}
	defer plain.Close()

	if err := writer.Invalidate(r.ctx, 1); err != nil { // the first one of all may wait: nobody knows of all processes yet
		return err
	}
	n, hung := 2000, 10
	if r.quick {
		n, hung = 100, 2
	}
	var without, with, alone, stopped histogram
	took := func(h *histogram, p peer, id int64) error {
		start := time.Now()
		err := p.Invalidate(r.ctx, id)
		h.record(time.Since(start))
		return err
	}
	for i := range n { // by turns: what is busy at the moment is so for both
		id := int64(i % hitKeys)
		for _, p := range readers {
			if _, err := p.peer.Get(r.ctx, id); err != nil {
				return err
			}
		}
		for h, p := range map[*histogram]peer{&without: plain, &with: writer} {
			if err := took(h, p, id); err != nil {
				return err
			}
		}
	}
	for range hung {
		if err := r.warm(opened{variant{asideLibrary, "json"}, readers[0].peer, s}, hitKeys); err != nil {
			return err
		}
		resume := readers[0].pause()
		err := took(&stopped, writer, 1)
		resume()
		if err != nil {
			return err
		}
	}
	for _, p := range readers {
		p.peer.Close()
	}
	readers = nil
	for i := range n {
		if err := took(&alone, writer, int64(i%hitKeys)); err != nil {
			return err
		}
	}
	t := &table{title: "Invalidate beside near copies", columns: []string{"Invalidate", "calls", "p50 ms", "p99 ms", "p50 beyond plain", "p99 beyond plain", ""},
		notes: []string{fmt.Sprintf("One call after the other, of a key that %d processes (clients of their own in this process) have read since the last one.", nearProcesses)}}
	for _, row := range []struct {
		name string
		h    *histogram
	}{
		{"without near copies", &without}, {"WithNear, nobody has copies", &alone}, {"three processes have copies", &with}, {"one of the three hangs", &stopped},
	} {
		ms := func(q float64) float64 { return micros(row.h.quantile(q)) / 1000 }
		base := func(q float64) float64 { return micros(without.quantile(q)) / 1000 }
		t.add(row.name, fmt.Sprint(row.h.n), figure(ms(0.5)), figure(ms(0.99)), figure(ms(0.5)-base(0.5)), figure(ms(0.99)-base(0.99)), "")
	}
	r.report.print(t)
	return nil
}

const (
	nearRaceReaders = 4                    // goroutines of an instance
	nearRacePause   = 5 * time.Millisecond // between two writes of one writer
)

// nearRace is the race of the table in the README, with near copies.
func (r *run) nearRace() error {
	opens := []struct {
		name string
		open func(env) (peer, error)
	}{
		{"bare GET, SET, DEL", rawLibrary.open},
		{"aside", func(e env) (peer, error) { return openAside(e, aside.WithRedisTimeout(instanceTimeout)) }},
		{"aside, near copies", func(e env) (peer, error) {
			return openAside(e, aside.WithRedisTimeout(instanceTimeout), aside.WithNear(hitKeys, nearAge))
		}},
		{"aside, near copies, WithShared", func(e env) (peer, error) {
			return openAside(e, aside.WithRedisTimeout(instanceTimeout), aside.WithNear(hitKeys, nearAge), aside.WithShared())
		}},
	}
	if err := r.admin.FlushAll(r.ctx).Err(); err != nil {
		return err
	}
	type racer struct {
		rows  *contest
		peers []peer
	}
	racers := map[string]*racer{}
	var all []opened
	for i, o := range opens {
		rc := &racer{rows: &contest{product: newProduct(0, 1<<10)}}
		for range raceInstances {
			p, err := o.open(env{addr: r.addr, prefix: fmt.Sprint("bench-race-", i), codec: codecs["json"], load: rc.rows.load, loadMany: rc.rows.loadMany})
			if err != nil {
				return err
			}
			defer p.Close()
			rc.peers = append(rc.peers, p)
		}
		racers[o.name] = rc
		all = append(all, opened{variant: variant{library{name: o.name}, "json"}})
	}
	reps, length := r.slots(10, time.Second)
	slot := func(o opened) (tally, error) {
		return racers[o.name].rows.run(r.ctx, racers[o.name].peers, nearRaceReaders, func() { time.Sleep(nearRacePause) }, length)
	}
	for range 2 { // the first turn is not counted: connections and leases come first
		for _, o := range all {
			if _, err := slot(o); err != nil {
				return err
			}
		}
	}
	figures, err := interleave(reps, all, slot)
	if err != nil {
		return err
	}
	t := &table{title: "The race", columns: []string{"cache", "1000 reads/s, best", "median", "× bare", "writes/s", "stale reads", "in a million", ""},
		notes: []string{fmt.Sprintf("%d keys, %d processes (clients of their own) with %d readers each, loads of 0 to 5 ms, %d writers that pause for %v. "+
			"A read is stale if it began after an Invalidate had returned, and saw an older row.", raceKeys, raceInstances, nearRaceReaders, raceInstances, nearRacePause)}}
	base := seriesOf(figures[0], func(t tally) float64 { return float64(t.reads) / t.took.Seconds() })
	for i, o := range all {
		reads := seriesOf(figures[i], func(t tally) float64 { return float64(t.reads) / t.took.Seconds() })
		stale := seriesOf(figures[i], func(t tally) float64 { return float64(t.stale) })
		writes := seriesOf(figures[i], func(t tally) float64 { return float64(t.writes) / t.took.Seconds() })
		t.add(o.name, figure(reads.max()/1000), figure(reads.median()/1000), ratio(reads.over(base)), figure(writes.median()),
			figure(stale.mean()*float64(len(stale))), figure(stale.mean()/(reads.mean()*length.Seconds())*1e6), "")
	}
	r.report.print(t)
	return nil
}

// nearCommands counts what an idle process sends, and what reads cost that are nearly all from memory.
func (r *run) nearCommands() error {
	if err := r.admin.FlushAll(r.ctx).Err(); err != nil {
		return err
	}
	s := newSource(1<<10, 0)
	rdb := newGoRedis(r.addr)
	defer rdb.Close()
	open := func(name string, entries int) (*aside.Cache[int64, Product], error) {
		return aside.New(rdb, name, s.load, aside.WithTTL(ttl), aside.WithLogger(slog.New(slog.DiscardHandler)), aside.WithNear(entries, nearAge))
	}
	cache, err := open("bench-near-zipf", concurrentKeys*9/10)
	if err != nil {
		return err
	}
	defer cache.Close()
	other, err := open("bench-near-idle", 500)
	if err != nil {
		return err
	}
	defer other.Close()
	d := zipf(concurrentKeys)
	length, n := 10*time.Second, 1_000_000
	if r.quick {
		length, n = 2*time.Second, 100_000
	}
	zipfed := func(n int) error {
		for i := range n {
			id := d.ids[(i*7919)%len(d.ids)]
			if i%1000 == 999 {
				if err := cache.Invalidate(r.ctx, id); err != nil {
					return err
				}
				continue
			}
			if _, err := cache.Get(r.ctx, id); err != nil {
				return err
			}
		}
		return nil
	}
	if err := zipfed(n / 4); err != nil {
		return err
	}
	if _, err := other.Get(r.ctx, 1); err != nil {
		return err
	}
	t := &table{title: "Commands with near copies", columns: []string{"", "reads", "near hits", "writes", "seconds", "commands", "a read", "a second", ""},
		notes: []string{"Commands are those that the client sends, by MONITOR. The first row is one process with two caches that nobody reads; " +
			"in the second, one goroutine reads 10,000 keys by Zipf's law (s = 1.1), of which 9,000 may have near copies, and invalidates a key in place of each 1,000th read."}}
	count := func(name string, do func() error, writes int) error {
		before := cache.Stats()
		w, err := tap(r.addr)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := do(); err != nil {
			return err
		}
		took := time.Since(start).Seconds()
		sent, err := w.stop(r.ctx, r.admin)
		if err != nil {
			return err
		}
		after := cache.Stats()
		near := after.NearHits - before.NearHits
		reads := near + after.Hits + after.Misses - before.Hits - before.Misses
		perRead, share := "–", "–"
		if reads > 0 {
			perRead, share = figure(float64(sent)/float64(reads)), fmt.Sprintf("%.1f %%", 100*float64(near)/float64(reads))
		}
		t.add(name, fmt.Sprint(reads), share, fmt.Sprint(writes), figure(took), fmt.Sprint(sent), perRead, figure(float64(sent)/took), "")
		return nil
	}
	if err := count("idle", func() error { time.Sleep(length); return nil }, 0); err != nil {
		return err
	}
	if err := count("zipf", func() error { return zipfed(n) }, n/1000); err != nil {
		return err
	}
	r.report.print(t)
	return nil
}
