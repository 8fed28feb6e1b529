package asidepg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A commit reaches the stream when it is in the log, and other sessions see it later: Postgres first waits for synchronous
// standbys. An invalidation in between would let a load cache the old row, so a feed waits until the commit can be seen.
//
// The stream has transaction ids of 32 bits. A snapshot has ids of 64 bits. Their upper half is how
// often the ids have been used up. Only the lower halves are compared, modulo 2^32. To extend the
// id of the stream with zeros instead would be wrong once a cluster has used 2^32 ids: every
// transaction would count as visible.

// A snapshot says which transactions other sessions can see.
type snapshot struct {
	taken time.Time // the zero snapshot sees nothing
	xmin  uint32    // whatever is older has ended
	xmax  uint32    // no transaction from here on had ended
	xip   []uint32  // those below xmax that had not
}

// parseSnapshot reads pg_current_snapshot(): xmin:xmax:xip,xip,…
func parseSnapshot(text string) (s snapshot, err error) {
	fields := strings.Split(text, ":")
	if len(fields) != 3 {
		return s, fmt.Errorf("asidepg: %q is no snapshot", text)
	}
	if fields[2] != "" {
		for id := range strings.SplitSeq(fields[2], ",") {
			xid, err := lowerHalf(id)
			if err != nil {
				return snapshot{}, err
			}
			s.xip = append(s.xip, xid)
		}
	}
	var errs [2]error
	s.xmin, errs[0] = lowerHalf(fields[0])
	s.xmax, errs[1] = lowerHalf(fields[1])
	if err = errors.Join(errs[:]...); err != nil {
		return snapshot{}, err
	}
	s.taken = time.Now()
	return s, nil
}

func lowerHalf(id string) (uint32, error) {
	full, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("asidepg: transaction id: %w", err)
	}
	return uint32(full), nil
}

// sees reports whether the transaction has ended, and a read that begins now sees what it did. That
// holds as long as less than 2^31 transactions have begun since: an old snapshot is not asked.
func (s snapshot) sees(xid uint32) bool {
	return !s.taken.IsZero() && int32(xid-s.xmax) < 0 && !slices.Contains(s.xip, xid)
}

const (
	firstLook = 5 * time.Millisecond
	slowLook  = 250 * time.Millisecond

	longestTrusted = time.Minute // in which no server begins 2^31 transactions
)

// awaitVisible returns nil once the transaction can be seen by other sessions.
func (h *holder) awaitVisible(ctx context.Context, xid uint32) error {
	if time.Since(h.snapshot.taken) > longestTrusted {
		h.snapshot = snapshot{}
	}
	for pause := firstLook; !h.snapshot.sees(xid); pause = min(2*pause, slowLook) {
		now, err := h.db.snapshot(ctx)
		if err != nil {
			return err
		}
		h.snapshot = now
		if now.sees(xid) || h.ungated {
			return nil
		}
		h.tell("hidden")
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// awaitEnd returns nil once all transactions have ended that have been given an id by now.
func awaitEnd(ctx context.Context, db *database) error {
	var id string // a new one: a snapshot does not say which ids have been given out
	if err := db.query(ctx, `SELECT pg_current_xact_id()::text`, nil, &id); err != nil {
		return err
	}
	xid, err := lowerHalf(id)
	if err != nil {
		return err
	}
	for pause := firstLook; ; pause = min(2*pause, slowLook) {
		now, err := db.snapshot(ctx)
		if err != nil {
			return err
		}
		if int32(xid-now.xmin) <= 0 {
			return nil
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// sleep returns early, with the cause, if ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
