package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/jsonvalue"
	"github.com/asidecache/aside/internal/redisstore"
)

// How a core begins and ends, and what it is asked for meanwhile: its Stats.

func NewCore(name string, c Config) *Core { return &Core{Name: name, Prefix: name + ":", Config: c} }

// Validate checks the client, the name and the options. badValue and badTypes are the errors that the edge has for V, and for
// the options that know K and V.
func (c *Core) Validate(rdb redis.UniversalClient, noLoader bool, badValue, badTypes error) error {
	errs := []error{redisstore.CheckClient(rdb), c.Config.Near.validate(rdb)}
	if c.Name == "" {
		errs = append(errs, errors.New("the name is empty"))
	}
	if noLoader {
		errs = append(errs, errors.New("the loader is nil"))
	}
	return errors.Join(append(errs, badValue, c.Config.validate(), badTypes)...)
}

// Open makes the core ready for use.
func (c *Core) Open(typed edge, t reflect.Type, rdb redis.UniversalClient) error {
	c.edge = typed
	c.member = &redisstore.Member{Name: c.Name, Logger: c.Config.Logger, Tell: c.told.add, Probe: c.probe}
	c.Config.Logger = guardedLogger(c.Config.Logger)
	c.Teller = Teller{
		cache: c.Name, redis: redisstore.AddressOf(rdb), observers: c.Config.Observers, Readers: readersOf(c.Config.Observers),
		logger: c.Config.Logger,
	}
	c.notFound = append([]error{ErrNotFound, sql.ErrNoRows}, c.Config.NotFound...)
	c.version = c.versionOf(t)
	if c.Config.AEADs != nil {
		c.seal = &Seal{c.Config.AEADs, c.version}
	}
	c.places = make(loadLimiter, c.Config.MaxLoads)
	c.warm.every = WarmEvery
	c.flights.init(&c.Clock)
	c.direct.init(&c.Clock)
	if err := c.connect(rdb, stored{t, reflect.TypeOf(c.Config.Codec), c.version}); err != nil {
		return err
	}
	c.joinNear(rdb)
	c.edge.OpenNear()
	if c.Config.Verify > 0 {
		c.Verifier = newVerifier(c, c.Config.Verify)
	}
	return nil
}

func (c *Core) versionOf(t reflect.Type) int64 {
	if c.Config.Shape != nil {
		return jsonvalue.Version(*c.Config.Shape, c.Config.Version)
	}
	return jsonvalue.Version(jsonvalue.ShapeOf(t, c.Config.Codec), c.Config.Version)
}

// connect makes the Redis side. It fails before the other caches of the client notice anything of this one.
func (c *Core) connect(rdb redis.UniversalClient, as stored) error {
	c.background.Init()
	c.Peers = peersOf(rdb)
	c.ledger = c.Peers.ledger
	books := redisstore.BooksOf(c.Config.Scope)
	c.entries, c.tags = c.ledger.account(c.Prefix), c.ledger.tagAccount(books)
	if err := c.entries.join(c.Config.Scope, as); err != nil {
		return err
	}
	c.entries.lags(c.Config.Lag)
	c.tags.lags(c.Config.Lag)
	c.told.start, c.told.tell = c.background.Start, c.redisChanged
	c.Store = redisstore.New(redisstore.Config{
		RDB: rdb, Timeout: c.Config.Timeout, Books: books,
		Breaker: c.Peers.breakers.Join(c.member, rdb, c.Config.Timeout),
		Start:   c.background.Start, Closing: c.background.Closing,
		Failed: c.redisFailed, TooLarge: c.tooLarge,
	})
	c.polls.read, c.polls.tick, c.polls.usual = c.readPolled, c.Clock.Tick, c.usual
	c.polls.up = func(name string) bool { return c.Store.Breaker.Up(name, redisstore.Writes) }
	return nil
}

// readPolled reads what calls wait for. That is no time that they spend on Redis, unless it fails.
func (c *Core) readPolled(ctx context.Context, names []string) []redisstore.Reply {
	b := redisstore.NewBudget(c.Config.Timeout)
	return c.Store.LookMany(ctx, &b, names)
}

func (c *Core) Stats() Stats {
	s := c.n.snapshot()
	s.Down, s.WritesDown = c.Store.Breaker.AnyDown(redisstore.Reads), c.Store.Breaker.AnyDown(redisstore.Writes)
	s.PendingInvalidations = c.pendingCount()
	c.edge.NearStats(&s)
	return s
}

func (c *Core) Shutdown(ctx context.Context) error { return withCause(ctx, c.shutdown(ctx)) }

func (c *Core) shutdown(ctx context.Context) error {
	done, first := c.background.Close()
	if first {
		c.entries.leave()
		if err := c.leaveNear(ctx); err != nil {
			return fmt.Errorf("aside: cache %q is closed, and its near copies end by themselves: %w", c.Name, err)
		}
	}
	if err := waitFor(ctx, done); err != nil {
		return fmt.Errorf("aside: cache %q is closed, and its work in the background goes on: %w", c.Name, err)
	}
	if err := waitFor(ctx, c.Peers.breakers.Leave(c.Store.Breaker, c.member)); err != nil {
		return fmt.Errorf("aside: cache %q is closed, and a probe of Redis goes on: %w", c.Name, err)
	}
	return c.unconfirmed(ctx)
}

// waitFor waits until done is closed or ctx ends.
func waitFor(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
