package asidetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asidecache/aside/internal/watch"
)

// A watched is a write under watch: what it invalidates is noted, and read at once.
type watched struct {
	ctx     context.Context // of the reads; that of the write may hold a transaction
	entries []entry
	readers sync.WaitGroup

	mu    sync.Mutex // guards the rest
	ended bool
	seen  []watch.Invalidation
}

// run runs write, and waits for the reads.
func (w *watched) run(write func(context.Context) error) error {
	for _, e := range w.entries {
		e.begin()
	}
	defer w.readers.Wait()
	defer w.end()
	return write(watch.With(w.ctx, w.invalidated))
}

func (w *watched) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, e := range w.entries {
		e.end()
	}
}

// invalidated reads all entries, those too whose turn has not come: one read for each is what it takes to find an
// Invalidate that was too early. The reads run beside the write, whose locks they may need.
func (w *watched) invalidated(i watch.Invalidation) {
	w.mu.Lock()
	if w.ended {
		w.mu.Unlock()
		return
	}
	w.seen = append(w.seen, i)
	var now sync.WaitGroup
	for _, e := range w.entries {
		now.Go(func() { e.read(w.ctx) })
	}
	done := make(chan struct{})
	w.readers.Go(func() { // before the lock is free: run may wait for the readers then
		now.Wait()
		close(done)
	})
	w.mu.Unlock()
	waitAMoment(done)
}

// A moment is long for a read, and short for a test whose reads cannot end before its write.
var moment = 250 * time.Millisecond

const momentTurns = 200_000

// waitAMoment waits until done is closed, for a moment. Inside a synctest bubble the clock stands still while a goroutine
// waits for a mutex, so that a timer could wait forever: there, a moment is a number of turns.
func waitAMoment(done <-chan struct{}) {
	if !inBubble() {
		select {
		case <-done:
		case <-time.After(moment):
		}
		return
	}
	for range momentTurns {
		select {
		case <-done:
			return
		default:
			runtime.Gosched()
		}
	}
}

// inBubble reports whether the caller is in a synctest bubble, whose clock stands still while anybody runs.
func inBubble() bool {
	start := time.Now()
	for range 1000 {
		runtime.Gosched()
	}
	return time.Since(start) == 0
}

// mistake says what may have left an old value in the entry of that name.
func (w *watched) mistake(cache, name string, e entry) string {
	names, all, n := w.of(cache)
	switch {
	case all || names[name]:
		return fmt.Sprintf("the write invalidates %s too early: whoever reads just then finds the row as it was, and caches it again. "+
			"Call Invalidate after the COMMIT, or run the transaction, with its COMMIT, in aside.InTx", name)
	case e.made() > n:
		return fmt.Sprintf("the write does not Invalidate %s, or does so too early, with a ctx that is not the one it was given", name)
	default:
		return fmt.Sprintf("the write does not Invalidate %s. It %s", name, w.instead())
	}
}

// of returns what was invalidated of a cache: names, or all of it, and how many that were.
func (w *watched) of(cache string) (names map[string]bool, all bool, n int) {
	names = make(map[string]bool)
	for _, i := range w.seen {
		if i.Cache != cache || i.Tags != nil {
			continue // which entries have a tag is not known
		}
		all = all || i.Names == nil
		n += len(i.Names)
		for _, name := range i.Names {
			names[name] = true
		}
	}
	return names, all, n
}

// touched reports whether one of the entries was invalidated, or may have been.
func (w *watched) touched() bool {
	return slices.ContainsFunc(w.entries, w.touches)
}

// touches reports whether an entry was invalidated, or may have been.
func (w *watched) touches(e entry) bool {
	if slices.ContainsFunc(w.seen, func(i watch.Invalidation) bool { return i.Tags != nil }) {
		return true
	}
	cache, name := e.identify(w.ctx)
	names, all, n := w.of(cache)
	return all || names[name] || e.made() > n
}

// instead says what was invalidated.
func (w *watched) instead() string {
	var did []string
	for _, i := range w.seen {
		if i.Ended { // the call has been told of
			continue
		}
		switch did = append(did, i.Names...); {
		case i.Tags != nil:
			did = append(did, fmt.Sprintf("tags %q, which the entry does not have, or too early", i.Tags))
		case i.Names == nil:
			did = append(did, fmt.Sprintf("all of cache %q", i.Cache))
		}
	}
	if did == nil {
		return "invalidated nothing"
	}
	return "invalidated " + strings.Join(did, ", ")
}
