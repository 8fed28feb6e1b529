package asidepg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
)

// A run is one call of Run. It tries session after session: a session connects, looks at the slot, and then makes it, holds it, or
// stands by until it is free. Whatever a session knew is gone when it fails, except what is here.
type run struct {
	*Feed
	plan    plan
	version int  // of the server, server_version_num
	started bool // the checks of the start have passed: from here on, Run returns no error

	trouble  *trouble   // of sessions; over when one of them works
	covering sync.Mutex // one gap at a time among the handlers of a transaction
}

const (
	firstPause   = 100 * time.Millisecond // after a session that failed
	longestPause = 5 * time.Second
	standby      = time.Second // how often a feed that stands by looks
)

// loop runs sessions until ctx ends.
func (r *run) loop(ctx context.Context) error {
	r.stats.start()
	r.trouble = r.newTrouble("the connection to Postgres")
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := r.session(ctx)
		if ctx.Err() != nil {
			r.trouble.leave()
			return nil
		}
		var config *configError
		if err = r.explained(err); !r.started && errors.As(err, &config) {
			return err
		}
		if r.trouble.since.IsZero() {
			pause = firstPause
		}
		if !errors.Is(err, errAgain) {
			r.trouble.note(err)
		}
		if sleep(ctx, pause) != nil {
			r.trouble.leave()
			return nil
		}
	}
}

// errAgain ends a session that is to be followed by another one, without anything having failed.
var errAgain = errors.New("asidepg: the session starts again")

// session returns when the connection is lost, the slot is given up, or ctx ends.
func (r *run) session(ctx context.Context) error {
	db, err := connect(ctx, r.server)
	if err != nil {
		return err
	}
	defer db.close()
	if err := r.checkServer(ctx, db); err != nil {
		return err
	}
	if _, err := r.tables(ctx, db); err != nil {
		return err
	}
	for {
		asked := time.Now()
		s, err := db.slot(ctx, r.config.Slot)
		if err == nil {
			err = r.checkSlot(s)
		}
		if err != nil {
			return err
		}
		r.stats.see(asked, s)
		switch {
		case !s.exists || s.lost:
			err = r.makeSlot(ctx, db, s)
		case s.pid == 0:
			err = r.hold(ctx, db)
		default:
			err = r.mayStream(ctx)
		}
		switch {
		case err == errMade:
			continue
		case err != nil && !isCode(err, objectInUse):
			return err
		}
		r.trouble.over() // another process has the slot, or was faster
		if err := sleep(ctx, standby); err != nil {
			return err
		}
	}
}

// mayStream returns nil if the role may read the slot, which a process that stands by finds out at its start.
func (r *run) mayStream(ctx context.Context) error {
	if r.started {
		return nil
	}
	conn, _, err := r.openStream(ctx)
	if err != nil {
		return err
	}
	r.started = true
	return conn.Close(ctx)
}

// errMade says that the slot is there.
var errMade = errors.New("asidepg: the slot was made")

// makeSlot makes the slot, after a gap, and returns errMade. It returns nil if another process is at it.
//
// If the process is killed in between, the next one must know that the gap has not been told. So the slot is made under another
// name, as a temporary one that Postgres drops with the connection. It gets its name when OnGap has returned nil.
func (r *run) makeSlot(ctx context.Context, db *database, old slot) error {
	why := "there was no slot"
	if old.lost {
		why = "Postgres has removed the log that the slot needs (wal_status is lost)"
		if err := db.drop(ctx, r.config.Slot); err != nil {
			return err
		}
	}
	temporary := r.config.Slot + "_new"
	r.tell("make slot")
	var at string
	err := db.slowQuery(ctx, `SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput', true)`, []any{temporary}, &at)
	switch {
	case isCode(err, duplicateObject):
		return nil // another process is at it
	case err != nil:
		return err
	}
	r.started = true
	r.tell("slot made")
	start, err := pglogrepl.ParseLSN(at)
	if err != nil {
		return err
	}
	switch now, err := db.slot(ctx, r.config.Slot); {
	case err != nil:
		return err
	case now.exists && !now.lost: // another process has made it since, and told its gap
		return cmp.Or(db.drop(ctx, temporary), errMade)
	}
	return r.watched(ctx, &watch{run: r, db: db, slot: temporary, handled: newPosition(start)}, func(ctx context.Context) error {
		// A commit that is earlier than the slot may not be visible yet: see visible.go.
		if err := awaitEnd(ctx, db); err != nil {
			return err
		}
		if err := r.gap(ctx, db, why); err != nil {
			return err
		}
		r.tell("name slot")
		var named string
		err := db.query(ctx, `SELECT lsn::text FROM pg_copy_logical_replication_slot($1, $2, false)`, []any{temporary, r.config.Slot}, &named)
		if isCode(err, duplicateObject) { // somebody else has made one, which may begin later
			err = r.gap(ctx, db, "the slot was made by somebody else")
		}
		if err != nil {
			return err
		}
		r.tell("drop temporary slot")
		return cmp.Or(db.drop(ctx, temporary), errMade)
	})
}

// gap calls the handlers of OnGap until all have returned nil.
func (r *run) gap(ctx context.Context, db *database, why string) error {
	r.config.Logger.WarnContext(ctx, "asidepg: a gap, so everything is invalidated", "why", why)
	s, err := db.slot(ctx, r.config.Slot)
	if err != nil {
		return err
	}
	before, err := db.snapshot(ctx)
	if err != nil {
		return err
	}
	tables, err := r.tables(ctx, db)
	if err != nil {
		return err
	}
	r.stats.gap()
	r.tell("gap")
	for _, handle := range r.plan.gaps {
		if err := r.deliver(ctx, "OnGap", func(ctx context.Context) error { return handle(ctx) }); err != nil {
			return err
		}
	}
	r.tell("gap handled")
	r.catalog.gap(tables, before, s.end)
	return nil
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// why the feed that has just taken the slot may have missed changes, "" if it has not.
func (r *run) missed(tables map[string]table, confirmed, switched pglogrepl.LSN) string {
	if confirmed <= switched {
		return fmt.Sprintf("Postgres is on a new timeline since %s, and the slot was confirmed up to %s", switched, confirmed)
	}
	return r.catalog.why(tables)
}
