package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/asidecache/aside"
)

// An app is the repository, its cache, and what they stand on.
type app struct {
	db     *SQLCatalog
	cached *CachedCatalog
	stops  []func()
}

func newApp(ctx context.Context, cfg config) (_ *app, err error) {
	a := &app{}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	db, stop, err := openDatabase(ctx, cfg.postgres)
	if err != nil {
		return nil, err
	}
	a.stops = append(a.stops, stop)
	rdb, stop, err := openRedis(cfg.redis)
	if err != nil {
		return nil, err
	}
	a.stops = append(a.stops, stop)

	a.db = newSQLCatalog(db)
	a.cached, err = NewCachedCatalog(rdb, a.db, append(cfg.options, aside.WithTTL(5*time.Minute))...)
	if err != nil {
		return nil, err
	}
	a.stops = append(a.stops, func() { a.cached.Close() })
	seeded, err := a.db.setUp(ctx)
	if err == nil && seeded && cfg.redis != "" {
		// That was a write like any other: this Redis may have served another database before.
		if err := a.cached.InvalidateAll(ctx); err != nil {
			slog.WarnContext(ctx, "other processes may serve old pages until Redis is back", "error", err)
		}
	}
	return a, err
}

// close undoes newApp, the last first.
func (a *app) close() {
	for i := len(a.stops) - 1; i >= 0; i-- {
		a.stops[i]()
	}
}

// serve answers requests until ctx ends, then lets those under way finish.
func (a *app) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: a.handler(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*requestTimeout)
	defer cancel()
	return server.Shutdown(ctx)
}

// handler gives the pages of products a whole Catalog, and the one that needs a single read a function: that of a Cache is
// the same as that of the repository.
func (a *app) handler() http.Handler {
	return handler(a.cached, a.cached.categories.Get, a.stats)
}

func (a *app) stats() any {
	return struct {
		DatabaseQueries int64
		Caches          map[string]aside.Stats
	}{a.db.Queries(), a.cached.Stats()}
}
