package asidepg

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jackc/pglogrepl"
)

const (
	firstRetry = 50 * time.Millisecond
	slowRetry  = 5 * time.Second
)

// deliver calls a handler until it returns nil, or ctx ends. In the log, the handler is named who.
func (r *run) deliver(ctx context.Context, who string, handle func(ctx context.Context) error) error {
	failing := r.newTrouble(who)
	for pause := firstRetry; ; pause = min(2*pause, slowRetry) {
		err := guarded(ctx, handle)
		if err == nil {
			failing.over()
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		failing.note(err)
		r.tell("failed")
		if err := sleep(ctx, pause); err != nil {
			failing.leave()
			return err
		}
	}
}

// guarded makes an error of a panic, and of a Goexit.
func guarded(ctx context.Context, handle func(ctx context.Context) error) (err error) {
	done := make(chan struct{})
	go func() { // which Goexit ends
		defer close(done)
		err = errors.New("asidepg: the handler has ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("asidepg: the handler panicked: %v\n%s", p, debug.Stack())
			}
		}()
		err = handle(ctx)
	}()
	<-done
	return err
}

// coverMissing is about a change whose handler asked for a column that the stream does not have. It returns nil if a gap has
// invalidated what the handler would have, and that can only be once the replica identity has been changed: until then
// each change would be a gap, and nobody would know.
func (r *run) coverMissing(ctx context.Context, db *database, begin *pglogrepl.BeginMessage, err error) error {
	var missing *missingColumn
	if !errors.As(err, &missing) || missing.never {
		return err
	}
	r.covering.Lock()
	defer r.covering.Unlock()
	if r.catalog.covers(begin.Xid, begin.FinalLSN) {
		return nil
	}
	tables, asked := r.tables(ctx, db)
	if asked != nil {
		return asked
	}
	if !tables[missing.table].streams(missing.column) {
		return err
	}
	return r.gap(ctx, db, fmt.Sprintf("a change of %s is from before its replica identity had column %s", missing.table, missing.column))
}

// A trouble is something that fails again and again. It is told in the log when it begins, once a minute, and when it is over.
type trouble struct {
	*run
	what   string
	since  time.Time // zero: nothing has failed
	logged time.Time
	tries  int
}

const logEvery = time.Minute

func (r *run) newTrouble(what string) *trouble { return &trouble{run: r, what: what} }

func (t *trouble) note(err error) {
	now := time.Now()
	if t.since.IsZero() {
		t.since = now
		t.stats.failing(+1)
	}
	t.tries++
	t.stats.fail(fmt.Errorf("%s: %w", t.what, err))
	if now.Sub(t.logged) >= logEvery {
		t.logged = now
		t.config.Logger.Error("asidepg: failed, and is tried again; the feed does not go on before it succeeds", "what", t.what, "tries", t.tries, "since", t.since, "err", err)
	}
}

func (t *trouble) over() {
	if t.since.IsZero() {
		return
	}
	t.config.Logger.Info("asidepg: succeeds again", "what", t.what, "tries", t.tries, "after", time.Since(t.since))
	t.leave()
}

// leave forgets what failed, without it having succeeded.
func (t *trouble) leave() {
	if !t.since.IsZero() {
		t.stats.failing(-1)
	}
	t.since, t.logged, t.tries = time.Time{}, time.Time{}, 0
}
