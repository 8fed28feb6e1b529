package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidepg"
	"github.com/asidecache/aside/internal/testserver"
	"github.com/asidecache/aside/proof/soak/history"
	"github.com/jackc/pgx/v5"
)

// publication is what the feeds read.
const publication = "soak"

func startPostgres(t testing.TB) *testserver.OwnPostgres {
	return testserver.PostgresWith(t, "wal_level=logical", "max_connections=200")
}

// writeSQL writes the rows that are fed, and calls nothing of the library, until stop is closed.
func (s *soak) writeSQL(stop <-chan struct{}) {
	ctx := context.Background()
	db := s.connect(ctx)
	defer db.Close(ctx)
	random := rand.New(rand.NewPCG(s.plan.seed, 1))
	for {
		select {
		case <-time.After(time.Duration(random.ExpFloat64() * float64(s.plan.pause))):
		case <-stop:
			return
		}
		if err := s.writeRow(ctx, db, s.fedRow(random)); err != nil {
			s.accuse(fmt.Sprintf("nobody wrote by SQL any more: %v", err))
			return
		}
	}
}

// fedRow draws the row that all are at, any other, or one that hardly anybody reads.
func (s *soak) fedRow(random *rand.Rand) int {
	rows := s.rows()
	if random.IntN(2) == 0 {
		return rows.hot(rows.firstFed())
	}
	return rows.firstFed() + random.IntN(rows.size())
}

func (s *soak) writeRow(ctx context.Context, db *pgx.Conn, key int) error {
	var version int64
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) (err error) {
		version, err = update(ctx, tx, key)
		if err == nil {
			s.rec.Tell(history.Event{Kind: history.Write, Key: uint16(key), Version: version, Flag: history.SQL})
		}
		return err
	})
	if err == nil {
		s.tell(history.Commit, uint16(key), version)
	}
	return err
}

// follow runs the feed of this process: it reads the slot, or stands by.
func (w *worker) follow(ctx context.Context) {
	feed, err := asidepg.New(w.DSN, asidepg.Config{Slot: w.Feed, Publication: publication, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	source := w.cache(w.Rows.firstFed())
	made := w.cache(w.Rows.made(w.Rows.firstFed()))
	feed.OnGap(aside.Caches{source, made}.InvalidateAll)
	feed.On("public.rows", func(ctx context.Context, c asidepg.Change) error {
		id := int(c.Int64s("id")[0])
		if !w.Rows.fed(id) || w.Break == breakUnfed && rand.IntN(4) == 0 {
			return nil
		}
		start := history.Now()
		err := aside.Invalidate(ctx, source.Keys(id), made.Keys(w.Rows.made(id)))
		if err == nil {
			w.tell(history.Invalidated, id, 0, 0, start)
			w.tell(history.Invalidated, w.Rows.made(id), 0, 0, start)
		}
		return err
	})
	told, end := context.WithCancel(ctx)
	defer end()
	go w.tellBehind(told, feed)
	if err := feed.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// tellBehind tells again and again what the feed has handled, by its own figure. Before the feed has caught up for the first time, that
// bounds nothing, and is at least the time since Run began.
func (w *worker) tellBehind(ctx context.Context, feed *asidepg.Feed) {
	var running int64 // a time when Run had begun
	for ctx.Err() == nil {
		now := history.Now()
		behind := feed.Stats().Behind.Nanoseconds()
		switch {
		case behind == 0:
		case running == 0:
			running = history.Now()
		case now-behind > running:
			w.rec.Tell(history.Event{Kind: history.Fed, Key: history.AllKeys, Version: behind, Start: now - behind})
		}
		pause(ctx, 50*time.Millisecond)
	}
}
