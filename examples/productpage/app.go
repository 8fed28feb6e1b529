package main

import (
	"context"
	"database/sql"
	"errors"
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

	a.db = &SQLCatalog{db: db}
	a.cached, err = NewCachedCatalog(rdb, a.db, aside.WithTTL(5*time.Minute))
	if err != nil {
		return nil, err
	}
	a.stops = append(a.stops, func() { a.cached.Close() })
	seeded, err := a.db.setUp(ctx)
	if err == nil && seeded && cfg.redis != "" {
		// That was a write like any other: this Redis may have served another database before.
		err = a.invalidateAll(ctx)
	}
	if errors.Is(err, ErrNotInvalidated) {
		slog.WarnContext(ctx, "old pages may be served until their TTL", "error", err)
		err = nil
	}
	return a, err
}

// invalidateAll invalidates all products that there are.
func (a *app) invalidateAll(ctx context.Context) error {
	for i := range categories {
		products, err := a.db.ProductsInCategory(ctx, int64(i+1))
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := a.cached.invalidate(ctx, products...); err != nil {
			return err
		}
	}
	return nil
}

// close undoes newApp, the last first.
func (a *app) close() {
	for i := len(a.stops) - 1; i >= 0; i-- {
		a.stops[i]()
	}
}

// serve answers requests until ctx ends, then lets those under way finish.
func (a *app) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: handler(a.cached, a.stats), ReadHeaderTimeout: 5 * time.Second}
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

func (a *app) stats() any {
	return struct {
		DatabaseQueries int64
		Caches          map[string]aside.Stats
	}{a.db.Queries(), a.cached.Stats()}
}
