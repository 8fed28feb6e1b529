package asidepg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
)

// A watch goes with a slot that this process holds or makes. Once a second, whatever the handlers are doing, it looks how far
// behind the slot is, confirms what has been handled, and keeps the slot moving while nothing happens.
//
// Before it confirms, it looks at the catalog: a position is confirmed only if no table was altered
// before it without the feed knowing. So the next feed that takes the slot finds the ALTER TABLE,
// which is later than the position.
type watch struct {
	*run
	db      *database
	slot    string
	stream  *stream // nil while the slot is made
	handled *position

	quiet int           // looks in a row that found the position where it was, behind the end of the log
	last  pglogrepl.LSN // the position then
}

const (
	watchEvery  = time.Second
	giveUpTries = 100 // 10 s
	quietLooks  = 3   // then the feed emits a message
)

// watched calls fn with a ctx that ends when the watch finds what ends the session, and returns why.
func (r *run) watched(outer context.Context, w *watch, fn func(ctx context.Context) error) error {
	ctx, end := context.WithCancelCause(outer)
	var found error
	done := make(chan struct{})
	go func() {
		defer close(done)
		found = w.loop(ctx)
		end(found)
	}()
	err := fn(ctx)
	end(errDone)
	<-done
	if !errors.Is(found, errDone) { // it ended first, or is why fn has ended
		err = found
	}
	if outer.Err() != nil {
		w.leave()
	}
	return err
}

// errDone ends a watch whose session has ended.
var errDone = errors.New("asidepg: the session has ended")

func (w *watch) loop(ctx context.Context) error {
	for {
		if err := w.look(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, watchEvery); err != nil {
			return err
		}
	}
}

// leave confirms what has been handled when Run ends.
func (w *watch) leave() {
	if w.stream != nil {
		_ = w.confirm(context.Background())
	}
}

func (w *watch) look(ctx context.Context) error {
	w.tell("look")
	asked := time.Now()
	s, err := w.db.slot(ctx, w.slot)
	if err != nil {
		return err
	}
	if err := w.checkSlot(s); err != nil {
		return err
	}
	handled := w.handled.at()
	w.stats.hold(asked, s, handled)
	if behind := behind(s.end, handled); behind > w.config.MaxBehind {
		return w.giveUp(ctx, behind)
	}
	if w.stream == nil {
		return nil
	}
	w.trouble.over()
	if err := w.confirm(ctx); err != nil {
		return err
	}
	return w.nudge(ctx, s.end, handled)
}

// confirm confirms what has been handled, unless a table was altered: then the session starts again, from what is confirmed.
func (w *watch) confirm(ctx context.Context) error {
	handled := w.handled.at()
	if handled <= w.stream.confirmed() {
		return w.stream.reply()
	}
	w.tell("confirm")
	tables, err := w.tables(ctx, w.db)
	if err != nil {
		return err
	}
	if !w.catalog.same(tables) {
		w.tell("altered")
		return errAgain
	}
	return w.stream.confirm(handled)
}

// nudge emits a message if the position stays behind the end of the log while nothing happens. The message comes back in the
// stream, and moves the position.
func (w *watch) nudge(ctx context.Context, end, handled pglogrepl.LSN) error {
	if handled >= end || handled != w.last || w.handled.busy.Load() {
		w.quiet, w.last = 0, handled
		return nil
	}
	if w.quiet++; w.quiet < quietLooks {
		return nil
	}
	w.quiet = 0
	w.tell("nudge")
	var at string
	return w.db.query(ctx, `SELECT pg_logical_emit_message(false, 'asidepg', $1)::text`, []any{w.slot}, &at)
}

// giveUp drops the slot, so that Postgres can remove the log that the slot keeps. It does not wait for handlers: they may be what
// hangs. That there is no slot tells this process, or whichever is first, of the gap.
func (w *watch) giveUp(ctx context.Context, behind int64) error {
	if w.stream != nil {
		w.stream.close()
	}
	ctx = context.WithoutCancel(ctx) // that the stream is closed ends the session
	for range giveUpTries {
		err := w.db.drop(ctx, w.slot)
		if err == nil {
			return fmt.Errorf("asidepg: the feed was %d bytes behind, and MaxBehind is %d: it has dropped slot %s", behind, w.config.MaxBehind, w.slot)
		}
		if !isCode(err, objectInUse) { // Postgres has not noticed yet that the stream is closed
			return err
		}
		if err := sleep(ctx, firstPause); err != nil {
			return err
		}
	}
	return fmt.Errorf("asidepg: slot %s is too far behind, and Postgres does not let go of it", w.slot)
}
