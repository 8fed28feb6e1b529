package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

var hungWorkload = workload{
	name:  "hung",
	title: "Redis hung",
	about: "Redis is stopped with SIGSTOP: its port accepts, and nothing answers. One goroutine reads " +
		"four keys, one after the other, with no deadline of its own; a load takes 5 ms. Milliseconds until the read " +
		"returned, and what. All clients have their default timeouts.",
	run: runHung,
}

const hungLoad = 5 * time.Millisecond

// An answer is what a read returned, and after how long.
type answer struct {
	took time.Duration
	err  error
	late bool // it had not returned when our patience ended
}

func (a answer) String() string {
	switch {
	case a.late:
		return fmt.Sprintf("> %.0f, nothing", a.took.Seconds()*1e3)
	case a.err != nil:
		return fmt.Sprintf("%.0f, error", a.took.Seconds()*1e3)
	}
	return fmt.Sprintf("%.0f, value", a.took.Seconds()*1e3)
}

func runHung(r *run) error {
	server := r.host.redis() // left running: go-zero never closes its client, which would dial a dead one for ever
	shared := r.addr
	r.addr = server.Addr
	peers, err := r.open(r.variants(variant.byDefault), 1<<10, hungLoad)
	r.addr = shared
	if err != nil {
		return err
	}
	for _, o := range peers { // connections first
		if _, err := o.peer.Get(r.ctx, 0); err != nil {
			return fmt.Errorf("%v: %w", o.variant, err)
		}
	}
	patience := 40 * time.Second
	if r.quick {
		patience = time.Second
	}
	server.Stop()
	answers := readHung(r.ctx, peers, patience)
	server.Continue() // or closing would wait as well
	closeAll(peers)

	t := &table{columns: []string{"library", "codec", "first read, ms", "second", "third", "fourth", "does not promise"}}
	for i, o := range peers {
		row := []string{o.name, o.codec}
		for _, a := range answers[i] {
			row = append(row, a.String())
		}
		t.add(append(row, o.caveat())...)
	}
	r.report.print(t)
	return nil
}

// readHung has all peers read at a time: they only wait.
func readHung(ctx context.Context, peers []opened, patience time.Duration) [][4]answer {
	answers := make([][4]answer, len(peers))
	var wg sync.WaitGroup
	for i, o := range peers {
		wg.Go(func() {
			for n := range answers[i] {
				answers[i][n] = readOnce(ctx, o, int64(1000+n), patience)
			}
		})
	}
	wg.Wait()
	return answers
}

func readOnce(ctx context.Context, o opened, id int64, patience time.Duration) answer {
	done := make(chan answer, 1)
	start := time.Now()
	go func() {
		_, err := o.peer.Get(ctx, id)
		done <- answer{took: time.Since(start), err: err}
	}()
	select {
	case a := <-done:
		return a
	case <-time.After(patience):
		return answer{took: patience, late: true}
	}
}
