// Package engine is the protocol of the cache, without K and V: what becomes of one entry, of an invalidation that is pending, of a
// transaction, of tags and of near copies. Package aside is the typed edge on top of it. The engine sees the edge as two interfaces,
// edge for one entry and answer for a GetMany. What it asks of Redis goes through package redisstore. docs/code.md has the map.
package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/background"
	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/jsonvalue"
	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/redisstore"
)

// A Core is all of a Cache that knows neither K nor V. It is compiled once, and not for each type that a service caches.
type Core struct {
	edge     edge
	Batches  bool // there is a batch loader
	Name     string
	Prefix   string // of all its Redis keys
	Config   Config
	version  int64                                 // of documents
	seal     *Seal                                 // nil without WithSeal
	Tagged   bool                                  // its entries may have tags
	LoadCtx  func(context.Context) context.Context // nil if none
	notFound []error

	Store      *redisstore.Store
	flights    flights // that use Redis
	direct     flights // that do not
	places     loadLimiter
	Clock      clock
	polls      polls
	refreshing refreshing
	warm       warm
	lastTook   atomic.Int64 // ms of a load, see usual
	streak     streak
	Peers      *Peers
	ledger     *ledger   // of the peers
	entries    *account  // of this name
	tags       *account  // of this scope
	NearLog    *near.Log // nil without WithNear
	background background.Group
	told       announcer          // of a Redis that is down, or back
	member     *redisstore.Member // as its breaker knows it
	logged     Seldom             // of an entry
	sample     sample             // of what was loaded
	Verifier   *verifier          // of hits; nil without WithVerify
	Teller
}

// An edge is what a core needs of the side of its Cache that knows K and V. Each want is of a key, and has room for its value:
// only the edge looks at these. All of its methods run code of the user's.
type edge interface {
	// LoadOne calls the loader, and leaves the value in the want. A row that is not there is a notFoundError.
	LoadOne(ctx context.Context, w *Want) error

	// LoadMany calls the batch loader, and is LoadOne for each want.
	LoadMany(ctx context.Context, wants []*Want) []error

	// Encode makes what is to be stored of the value that was loaded.
	Encode(w *Want) Loaded

	// Read takes the value, or the absence, out of a document, which answers. The error is ErrUnusable if the value cannot be
	// decoded.
	Read(w *Want, e *document.Entry) error

	// Share decodes the value that another want has loaded, or read. The error is ErrUnusable if it cannot be decoded.
	Share(w *Want, data []byte, shared *redisstore.Decoding) error

	// Remembered is the error that the user has for an absence, nil if none.
	Remembered(w *Want) error

	// WillFill is called before the fill of a want is sent, and Filled once Redis has accepted it: near copies are made of it.
	WillFill(w *Want)
	Filled(w *Want)
	OpenNear()
	DetachNear()
	NearStats(s *Stats)

	// ValueIn is the value of a want. NearWitness tells which document the near copy was made of
	// that a read would get. Both are for the verifier.
	ValueIn(w *Want) reflect.Value
	NearWitness(w *Want) (Witness, bool)
}

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

// A found is what Redis has for a read.
type found struct {
	Entry  document.Entry // none if it was not asked
	Doc    []byte
	Shared *redisstore.Decoding // nil if doc is the caller's own
}

// Find looks up the document of a name, if it may be read from Redis. It returns no error: what Redis does not
// answer is a miss, whose load goes on without Redis.
func (c *Core) Find(ctx context.Context, m *Mode, b *redisstore.Budget, name string) (f found) {
	if !c.usable(name) || m.wrote(c, name) {
		return f
	}
	l := c.Store.Look(ctx, b, name)
	if l.Err != nil && ctx.Err() == nil { // a caller that has left says nothing of Redis
		c.lookFailed(name, b, l.Err)
	}
	return found{document.Parse(l.Doc), l.Doc, l.Shared}
}

// lookFailed has the rest of a call do without Redis.
func (c *Core) lookFailed(name string, b *redisstore.Budget, err error) {
	b.Spend()
	if redisstore.IsWrongType(err) {
		c.foreign(name)
	}
}

// ErrUnusable says that a document is no answer: there is none, it is no value, or it cannot be read.
var ErrUnusable = errors.New("aside: unusable document")

// Answers reports whether a document answers a read, if its value can be decoded, and opens it if it is sealed.
// A document that this version of the library would lay out in another way (e.Ours is false) answers as long
// as it is fresh: a script could not find the field in which its refresh is claimed. Others may share the
// document.
func (c *Core) Answers(name string, e *document.Entry, shared *redisstore.Decoding) bool {
	return (e.State == document.Present || e.State == document.Absent) && e.Version == c.version &&
		(e.Ours || time.Now().UnixMilli() <= e.Fresh) &&
		(c.seal == nil && !e.Sealed || c.opens(name, e, shared))
}

// Hit notes that a document has answered a read, and reports whether a refresh is due.
func (c *Core) Hit(m *Mode, r *Reading, e *document.Entry, now time.Time) (due bool) {
	c.Count(r, outcomeOf(e, now))
	c.streak.hit()
	c.keepWarm(r.Name, e)
	return c.due(e, now) && !m.inTx()
}

// AsksAtOnce reports whether a read asks for the lease of a name at once, without a look. Redis
// answers with the document if there is one. That saves a round trip where reads keep missing, and
// takes Redis longer where they hit. A place must be free, which a read that hits does not need,
// and a large value is looked at by one reader at a time.
func (c *Core) AsksAtOnce(name string) bool {
	return c.streak.misses() && len(c.places) <= cap(c.places)/2 && c.fillable(name) && !c.Store.Large.Has(name)
}

// A streak tells whether reads keep missing: more than nine in ten for a while, without those that join another's load. Where reads
// hit, it is only read.
type streak struct{ n atomic.Int32 }

const (
	longStreak    = 50
	longestStreak = 2 * longStreak
)

func (s *streak) misses() bool { return s.n.Load() >= longStreak }

func (s *streak) miss() {
	if s.n.Load() < longestStreak {
		s.n.Add(1)
	}
}

func (s *streak) hit() {
	if s.n.Load() > 0 {
		s.n.Store(max(0, s.n.Load()-9)) // what others count meanwhile may be lost
	}
}

// outcomeOf is the kind of a hit.
func outcomeOf(e *document.Entry, now time.Time) Outcome {
	switch {
	case e.State == document.Absent:
		return AbsentHit
	case now.UnixMilli() > e.Fresh:
		return StaleHit
	default:
		return Hit
	}
}

// Unusable returns the document of e if a lease should replace it: it is neither missing nor in a state that passes.
func (c *Core) Unusable(e *document.Entry, doc []byte) []byte {
	switch e.State {
	case document.Unknown, document.Present, document.Absent:
		c.n.unusable.Add(1)
		return doc
	default:
		return nil
	}
}

func (c *Core) Stats() Stats {
	s := c.n.snapshot()
	s.Down, s.WritesDown = c.Store.Breaker.AnyDown(redisstore.Reads), c.Store.Breaker.AnyDown(redisstore.Writes)
	s.PendingInvalidations = c.pendingCount()
	c.edge.NearStats(&s)
	return s
}

func (c *Core) Shutdown(ctx context.Context) error {
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
		return EndOf(ctx)
	}
}

// Bypassed reports whether a read goes to the loader and nowhere else.
func (c *Core) Bypassed(m *Mode) bool {
	return m != nil && m.bypass || c.background.Closing.Err() != nil
}

// usable reports whether a name may be read from Redis: Redis answers, and no pending invalidation
// keeps the name from being read.
func (c *Core) usable(name string) bool {
	return c.Store.Breaker.Up(name, redisstore.Reads) && !c.mayNotRead(name)
}

// fillable reports whether Redis may be asked to store what is loaded for a name.
func (c *Core) fillable(name string) bool {
	return c.usable(name) && c.Store.Breaker.Up(name, redisstore.Writes) &&
		(!c.Tagged || c.Store.Breaker.Up(c.Store.Books.Journal, redisstore.Writes))
}

// tooLarge logs that a value is too large for WithRedisTimeout.
func (c *Core) tooLarge(name string, bytes int) {
	c.Config.Logger.Warn("aside: a value is too large to be read or written within WithRedisTimeout, so it is loaded",
		"cache", c.Name, "name", name, "bytes", bytes, "timeout", c.Config.Timeout)
}

// foreign counts a name under which something lies that is no string.
func (c *Core) foreign(name string) {
	c.n.wrongTypes.Add(1)
	if c.logged.now() {
		c.Config.Logger.Warn("aside: not a string, so not a cache entry: reads go to the loader", "cache", c.Name, "name", name)
	}
}
