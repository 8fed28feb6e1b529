package main

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// A handler that compares as the documentation of pgx does gets one answer from the database and from the cache, whatever
// the repository makes of the error.
func TestEveryAbsenceIsPgxErrNoRows(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), testserver.Postgres(t).DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	defer rdb.Close()
	query := func(ctx context.Context, id int64) (name string, err error) {
		err = conn.QueryRow(ctx, `SELECT 'lamp' WHERE $1 < 0`, id).Scan(&name)
		return name, err
	}
	for name, load := range map[string]aside.Loader[int64, string]{
		"pgx": query,
		"sql": func(ctx context.Context, id int64) (string, error) {
			name, err := query(ctx, id)
			if errors.Is(err, pgx.ErrNoRows) {
				err = sql.ErrNoRows
			}
			return name, err
		},
		"aside": func(context.Context, int64) (string, error) { return "", aside.ErrNotFound },
	} {
		c, err := aside.New(rdb, name, load)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, when := range []string{"loaded", "remembered"} {
			_, err := c.Get(t.Context(), 1)
			for _, target := range []error{pgx.ErrNoRows, sql.ErrNoRows, aside.ErrNotFound} {
				if !errors.Is(err, target) {
					t.Errorf("%s, %s: %v is no %v", name, when, err, target)
				}
			}
		}
		if loads := c.Stats().Loads; loads != 1 {
			t.Errorf("%s: there were %d loads", name, loads)
		}
	}
}
