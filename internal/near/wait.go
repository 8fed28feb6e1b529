package near

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near/nearscript"
)

var lowScript = redis.NewScript(nearscript.Head + nearscript.Low)

const (
	firstPause   = int64(400 * time.Microsecond) // between the reply to NOTE and LOW, and then half as long again each time
	longestPoll  = int64(10 * time.Millisecond)
	inARow       = 8   // LOW that a process may send at once; beyond that, one in a share for each reader
	mostInLow    = 200 // records
	mostLost     = 3   // records of one invalidation
	notThere     = -1  // answers of LOW
	readersReady = 1
)

// How a writer waits until no reader can serve what it has removed. A record that NOTE has appended waits
// here, until LOW tells one of these:
//
//	ready      every live reader has acknowledged the record, or has lost its entry, and so its lease
//	late       Δ is over since the reply to NOTE, so the lease of every reader that has not is over as well;
//	           but only if this LOW, which was sent after that, still finds the record
//	not there  the record was lost, by a failover or a flush: NOTE is sent again, a few times
//
// LOW asks about all records that wait, and one LOW at a time is under way: a process with very many
// writers sends no more of them than one with a single writer.

var errLost = errors.New("near copies: the record of the invalidation was lost in Redis again and again")

// await adds a record to those that are waited for. w.mu is held.
func (w *writer) await(rec *told) {
	w.records = append(w.records, rec)
	if !w.asking {
		w.asking = true
		go w.ask()
		return
	}
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// ask sends LOW as long as something waits: when the first of the records is due, and then about all of them.
func (w *writer) ask() {
	for {
		w.mu.Lock()
		due := int64(0)
		for _, rec := range w.records {
			if due == 0 || rec.due < due {
				due = rec.due
			}
		}
		w.asking = due != 0
		w.mu.Unlock()
		if due == 0 {
			return
		}
		// The pace of LOW is that of NEWS: the more readers, the slower. A few may go at once, so that a lone
		// writer does not wait for its turn.
		each := max(1, w.readers.Load()) * int64(share)
		due = max(due, w.allowed-(inARow-1)*each)
		if pause := due - now(); pause > 0 {
			w.pause(time.Duration(pause))
			continue
		}
		w.allowed = max(w.allowed, now()) + each
		w.low()
	}
}

func (w *writer) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.kick:
	}
}

// low sends one LOW, and ends what need not wait any longer. Even when Δ is over, a LOW that was
// sent after that must see that the record is still there: a failover may have lost the record, and
// then readers may not have seen it although they have a lease.
func (w *writer) low() {
	w.mu.Lock()
	slices.SortStableFunc(w.records, func(a, b *told) int { return int(min(max(a.due-b.due, -1), 1)) })
	asked := slices.Clone(w.records[:min(len(w.records), mostInLow)])
	w.mu.Unlock()
	args := []any{milliseconds(Delta), w.log.self()}
	for _, rec := range asked {
		args = append(args, rec.id, rec.nonce)
	}
	sent := now()
	ctx, cancel := context.WithTimeout(context.Background(), Delta)
	defer cancel()
	answer, err := w.log.run(ctx, lowScript, args)
	answers, ok := answer.([]any)
	if err == nil && (!ok || len(answers) != len(asked)) {
		err = unexpected(answer)
	}
	for i, rec := range asked {
		late := sent-rec.at >= int64(Delta) // judged by when LOW was sent: its answer is of then, or later
		switch {
		case err != nil && late:
			w.ended(rec, wrapped(err))
		case err != nil:
			w.again(rec)
		case answers[i] == int64(notThere):
			w.lost(rec)
		case answers[i] == int64(readersReady) || late:
			w.ended(rec, nil)
		default:
			w.again(rec)
		}
	}
}

// again has a record asked about once more: later each time, but not later than Δ, when the answer is final.
func (w *writer) again(rec *told) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rec.due = now() + rec.pause
	if over := rec.at + int64(Delta); rec.due > over && now() < over {
		rec.due = over
	}
	rec.pause = min(rec.pause*3/2, longestPoll)
}

func (w *writer) remove(rec *told) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = slices.DeleteFunc(w.records, func(r *told) bool { return r == rec })
}

func (w *writer) ended(rec *told, err error) {
	w.remove(rec)
	for _, n := range rec.notes {
		n.end(err)
	}
}

// lost sends NOTE again, for each that shared the record. A Redis that loses records as fast as they are made
// has no memory for them, or is being flushed: then the caller gets an error, and the ledger tries again.
func (w *writer) lost(rec *told) {
	w.remove(rec)
	for _, n := range rec.notes {
		if n.lost++; n.lost == mostLost {
			n.end(errLost)
			continue
		}
		n.rec = nil
		w.add(n)
	}
}
