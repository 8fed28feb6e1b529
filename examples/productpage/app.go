package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidepg"
	"github.com/redis/go-redis/v9"
)

// An app is the repository, its cache, what they stand on, and what the demo can do to them.
type app struct {
	db     *SQLCatalog
	cached *CachedCatalog
	nearby *CachedCatalog // the same with near copies; nil without -near
	site   *switched
	seeing *seeing
	rdb    redis.UniversalClient
	feed   *asidepg.Feed // nil if there is none
	line   line          // to Redis
	sent   counter

	embeddedDB, ownRedis bool // inside this process
	stops                []func()
}

func newApp(ctx context.Context, cfg config) (_ *app, err error) {
	a := &app{embeddedDB: cfg.postgres == "", ownRedis: cfg.redis == ""}
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
	rdb, stop, err := openRedis(cfg.redis, &a.line)
	if err != nil {
		return nil, err
	}
	a.stops, a.rdb = append(a.stops, stop), rdb
	rdb.AddHook(&a.sent)

	if err := a.reachRedis(ctx, rdb, cfg); err != nil {
		return nil, err
	}
	a.db = newSQLCatalog(db, cfg.cost)
	a.seeing, err = newSeeing(cfg.verify, cfg.metrics, cfg.traces)
	if err != nil {
		return nil, err
	}
	a.stops = append(a.stops, a.seeing.close)
	opts := append(slices.Concat(cfg.options, a.seeing.options()), aside.WithTTL(5*time.Minute), aside.WithMaxLoads(maxLoads), aside.WithObserver(noteSource))
	if cfg.seal {
		aead, err := newAEAD()
		if err != nil {
			return nil, err
		}
		opts = append(opts, aside.WithSeal(aead))
	}
	if err := a.openCaches(cfg, opts); err != nil {
		return nil, err
	}
	if err := a.setUp(ctx, cfg); err != nil {
		return nil, err
	}
	if cfg.feed {
		if err := a.startFeed(ctx, cfg.postgres); err != nil {
			return nil, err
		}
	}
	ledger, err := newLedger(ctx, a.db)
	a.site = &switched{db: a.db, cached: a.cached, nearby: a.nearby, ledger: ledger}
	return a, err
}

// nearAge bounds what somebody may see who forgets to invalidate.
const nearAge = 10 * time.Second

// openCaches opens the CachedCatalog, and with -near another one on the same entries that has near copies as well. Then the first one is as
// a process that has none: WithNear(0) has it tell the other what it invalidates.
func (a *app) openCaches(cfg config, opts []aside.Option) (err error) {
	open := func(opts []aside.Option) (*CachedCatalog, error) {
		c, err := NewCachedCatalog(a.rdb, a.db, opts...)
		if err == nil {
			a.stops = append(a.stops, func() { c.Close() })
			a.seeing.add(c.all)
		}
		return c, err
	}
	if cfg.near == 0 {
		a.cached, err = open(opts)
		return err
	}
	a.cached, err = open(append(slices.Clone(opts), aside.WithNear(0, nearAge)))
	if err == nil {
		a.nearby, err = open(append(slices.Clone(opts), aside.WithNear(cfg.near, nearAge)))
	}
	return err
}

// caches are all caches, those with near copies last.
func (a *app) caches() aside.Caches {
	if a.nearby == nil {
		return a.cached.all
	}
	return slices.Concat(a.cached.all, a.nearby.all)
}

// maxLoads bounds the queries of each cache that wait for the database. Without Redis there are too many for it: then few wait
// there for long, and most of what comes meanwhile shares the load of one that waits for a place.
const maxLoads = 8

// reachRedis names a Redis that does not answer. A shop opens without it; to measure its cache would make no sense.
func (a *app) reachRedis(ctx context.Context, rdb redis.UniversalClient, cfg config) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := rdb.Ping(ctx).Err()
	switch {
	case err == nil:
	case cfg.load.duration > 0:
		return fmt.Errorf("no Redis answers at %s: %w", cfg.redis, err)
	default:
		slog.WarnContext(ctx, "no Redis answers: every read goes to the database until one does", "address", cfg.redis, "error", err)
	}
	return nil
}

// setUp fills an empty database. That is a write like any other: this Redis may have served another database before.
func (a *app) setUp(ctx context.Context, cfg config) error {
	seeded, err := a.db.setUp(ctx)
	if err != nil || !seeded || cfg.redis == "" {
		return err
	}
	if err := a.cached.InvalidateAll(ctx); err != nil {
		slog.WarnContext(ctx, "other processes may serve old pages until Redis is back", "error", err)
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
	live := newLive(a)
	defer live.close()
	mux := a.handler()
	live.register(mux)
	server := &http.Server{Handler: http.NewCrossOriginProtection().Handler(a.seeing.traced(mux)), ReadHeaderTimeout: 5 * time.Second}
	server.RegisterOnShutdown(live.leave)
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

// handler serves the API and the shop.
func (a *app) handler() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/", apiHandler(a.site, a.site.CategoryByID, a.stats))
	mux.HandleFunc("GET /entries/{key}", a.entry)
	shop{a.site}.register(mux)
	a.seeing.register(mux)
	return mux
}

func (a *app) stats() any {
	var near map[string]aside.Stats
	if a.nearby != nil {
		near = a.nearby.Stats()
	}
	return struct {
		DatabaseQueries, RedisCommands int64
		Caches                         map[string]aside.Stats
		WithNearCopies                 map[string]aside.Stats `json:",omitempty"`
	}{a.db.Queries(), a.sent.commands.Load(), a.cached.Stats(), near}
}
