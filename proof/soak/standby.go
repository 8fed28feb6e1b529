package main

import (
	"context"
	"sync"
	"time"

	"github.com/asidecache/aside/proof/soak/history"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A standby stands for a replica of the database that is behind it: it has what all rows were a while ago. How far it is behind
// is known exactly, also on a busy machine, as that of a real one is not.
type standby struct {
	mu    sync.Mutex
	looks []look // in their order
}

// A look is what the rows were at some time after at.
type look struct {
	at       int64
	versions []int64
}

// follow looks at the rows again and again.
func (s *standby) follow(ctx context.Context, db *pgxpool.Pool) {
	for ctx.Err() == nil {
		at := history.Now()
		if rows, err := db.Query(ctx, "SELECT version FROM rows ORDER BY id"); err == nil {
			if versions, err := pgx.CollectRows(rows, pgx.RowTo[int64]); err == nil {
				s.mu.Lock()
				s.looks = append(s.looks, look{at, versions})
				s.forget(at)
				s.mu.Unlock()
			}
		}
		pause(ctx, 25*time.Millisecond)
	}
}

// forget drops the looks that are too long ago. s.mu is held.
func (s *standby) forget(now int64) {
	n := 0
	for n < len(s.looks) && s.looks[n].at < now-behind.Nanoseconds() {
		n++
	}
	s.looks = append(s.looks[:0], s.looks[n:]...)
}

// rows are as old as they may be at that time: by no more than behind. It returns nil if there is no such look.
func (s *standby) rows(keys []int, now int64) map[int]row {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	if len(s.looks) == 0 {
		return nil
	}
	found := make(map[int]row, len(keys))
	for _, key := range keys {
		found[key] = row{ID: key, Version: s.looks[0].versions[key]}
	}
	return found
}
