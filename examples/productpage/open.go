package main

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"
)

// contextTimeouts is for clients with hooks that return soon: their commands then need no goroutine of their own.
const contextTimeouts = true

// openRedis connects over line to the Redis at addr, or to the Cluster at several addresses with commas between them. Without
// one it starts a Redis inside this process.
func openRedis(addr string, line *line) (rdb redis.UniversalClient, stop func(), err error) {
	if addr != "" {
		rdb = redis.NewUniversalClient(&redis.UniversalOptions{
			Addrs: strings.Split(addr, ","), Dialer: line.dial, ContextTimeoutEnabled: contextTimeouts})
		return rdb, func() { rdb.Close() }, nil
	}
	server, err := miniredis.Run()
	if err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go letExpire(server, done)
	rdb = redis.NewClient(&redis.Options{Addr: server.Addr(), Dialer: line.dial, ContextTimeoutEnabled: contextTimeouts})
	return rdb, func() { close(done); rdb.Close(); server.Close() }, nil
}

// letExpire tells server that time goes by. (Its ClockTTL would do the same by looking at every key at each command.)
func letExpire(server *miniredis.Miniredis, done <-chan struct{}) {
	const step = 100 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			server.FastForward(step)
		case <-done:
			return
		}
	}
}

// maxConns bounds the connections to the database.
const maxConns = 16

// openDatabase connects to the Postgres of dsn. Without one it opens a SQLite inside this process.
func openDatabase(ctx context.Context, dsn string) (db *sql.DB, stop func(), err error) {
	if dsn == "" {
		return openSQLite()
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, nil, err
	}
	// A database that has a table of products already keeps it: these get a schema of their own, unless the DSN names one.
	ours := config.RuntimeParams["search_path"] == ""
	if ours {
		config.RuntimeParams["search_path"] = "productpage"
	}
	db = stdlib.OpenDB(*config)
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	if ours {
		if _, err := db.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS productpage`); err != nil {
			return nil, nil, errors.Join(err, db.Close())
		}
	}
	return db, func() { db.Close() }, nil
}

// openSQLite opens a database in a directory of its own, which stop removes: a database in memory would serve one
// connection at a time.
func openSQLite() (db *sql.DB, stop func(), err error) {
	dir, err := os.MkdirTemp("", "productpage-")
	if err != nil {
		return nil, nil, err
	}
	db, err = sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(dir, "products.db"))+
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=busy_timeout(5000)&_txlock=immediate")
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	return db, func() { db.Close(); os.RemoveAll(dir) }, nil
}
