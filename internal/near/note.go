package near

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near/nearscript"
)

var noteScript = redis.NewScript(nearscript.Head + nearscript.Note)

// A Note is one invalidation on its way to the readers. Its life:
//
//	Note            nothing is sent
//	Script, Told    optional: NOTE travels in the caller's pipeline, behind the removal
//	Wait            drops the copies of this process; sends NOTE if it has no record, together with what others send;
//	                then waits until no reader can serve a copy from before the removal
//	ended           with nil, or with an error: then readers may still serve such copies, and all of it has to be done again
type Note struct {
	log   *Log
	about string
	nonce string        // of the record that Script appends
	rec   *told         // that Script has appended, nil if there is none
	lost  int           // records that were lost
	done  chan struct{} // closed when it has ended
	err   error         // how it has ended
}

// A told is a record that is in LOG, and what waits for it.
type told struct {
	record
	at    int64 // when the reply to NOTE was there
	notes []*Note
	due   int64 // when LOW is to be sent
	pause int64 // after that
}

// Note returns an invalidation to be told to the readers once what it is about has been removed from Redis.
func (l *Log) Note(a About) *Note {
	return &Note{log: l, about: string(a.appendTo(nil)), nonce: l.writer.nonce(), done: make(chan struct{})}
}

// Tell tells the readers of an invalidation, and waits for them. What it is about has been removed from Redis: the reply to that was
// there before the call.
func (l *Log) Tell(ctx context.Context, a About) error { return l.Note(a).Wait(ctx) }

// Script is NOTE, for a pipeline to a single server in which it stands behind the removal. It is sent at most once. Told is
// called with the reply.
func (n *Note) Script() (script *redis.Script, keys []string, args []any) {
	return noteScript, []string{n.log.Key}, n.log.noteArgs(n.nonce, n.about)
}

// Told takes the reply to Script. The caller does not call it if a removal that stood before NOTE
// failed or has to be sent again, even if NOTE was answered. Then the record is older than the
// removal: a reader may have applied the record, and then read what was yet to be removed. Wait
// then sends NOTE by itself, as it does if err is not nil.
func (n *Note) Told(answer any, err error) {
	if err != nil {
		return
	}
	at := now()
	id, alone, readers, err := parseNote(answer)
	if err != nil {
		return
	}
	n.log.writer.readers.Store(readers)
	n.rec = newTold(record{id, n.nonce}, at, n)
	if alone {
		n.end(nil)
	}
}

// Wait returns nil when no process serves a copy of what was invalidated: each reader has dropped it, or has lost its lease.
// That takes a round trip or two as a rule, and Δ beside a reader that hangs or has crashed. Wait returns an error when ctx
// ends, or Redis cannot be asked, or the record was lost again and again.
func (n *Note) Wait(ctx context.Context) error {
	if n.about == "" {
		return nil
	}
	n.log.drop(n.about)
	select {
	case <-n.done: // no other reader may have a lease
		return n.err
	default:
	}
	n.log.writer.add(n)
	select {
	case <-n.done:
		return n.err
	case <-ctx.Done():
		return fmt.Errorf("near copies: waiting for other processes: %w", ctx.Err())
	}
}

func (n *Note) end(err error) {
	n.err = err
	close(n.done)
}

// add has a Note told: by a record of its own if Script made one, else by the next that is made. While a NOTE
// is under way, those that come gather for one record about all of them. So writes that come side by side
// cost the readers one record, and the server one script.
func (w *writer) add(n *Note) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n.rec != nil {
		w.await(n.rec)
		return
	}
	w.notes = append(w.notes, n)
	if !w.noting {
		w.noting = true
		go w.note()
	}
}

// note sends NOTE as long as there are notes. Each record is about all that has gathered meanwhile.
func (w *writer) note() {
	for {
		w.mu.Lock()
		notes := w.notes
		w.notes = nil
		w.noting = len(notes) > 0
		w.mu.Unlock()
		if len(notes) == 0 {
			return
		}
		w.noteAll(notes)
	}
}

func (w *writer) noteAll(notes []*Note) {
	var about []string
	for _, n := range notes {
		about = append(about, n.about)
	}
	nonce := w.nonce()
	ctx, cancel := context.WithTimeout(context.Background(), Delta)
	defer cancel()
	answer, err := w.log.run(ctx, noteScript, w.log.noteArgs(nonce, strings.Join(about, " ")))
	at := now() // Δ is counted from the reply: a lease may begin until the record is there
	var id string
	var alone bool
	var readers int64
	if err == nil {
		id, alone, readers, err = parseNote(answer)
	}
	if err != nil || alone { // no reader has a lease, and one that begins now begins empty
		for _, n := range notes {
			n.end(wrapped(err))
		}
		return
	}
	w.readers.Store(readers)
	rec := newTold(record{id, nonce}, at, notes...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.await(rec)
}

func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("near copies: telling other processes: %w", err)
}

func newTold(r record, at int64, notes ...*Note) *told {
	return &told{record: r, at: at, notes: notes, due: at + firstPause, pause: firstPause * 3 / 2}
}

func (l *Log) noteArgs(nonce, about string) []any {
	return []any{milliseconds(life), milliseconds(Delta), l.self(), keep, nonce, about, long}
}

func parseNote(answer any) (id string, alone bool, readers int64, err error) {
	if list, ok := answer.([]any); ok && len(list) == 3 {
		id, ok0 := list[0].(string)
		is, ok1 := list[1].(int64)
		readers, ok2 := list[2].(int64)
		if ok0 && ok1 && ok2 {
			return id, is == 1, readers, nil
		}
	}
	return "", false, 0, unexpected(answer)
}
