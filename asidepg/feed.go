package asidepg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Config says which slot a feed reads, and how.
type Config struct {
	// Slot is the name of the replication slot: lower-case letters, digits and underscores, at most 59 of them. Feeds with the
	// same slot stand by for each other. The feed makes the slot if it does not exist. While it does, the slot is temporary and
	// its name ends in "_new".
	Slot string

	// Publication is the name of the publication, which must exist.
	Publication string

	// MaxBehind is how many bytes of WAL the feed may be behind. If it is further behind, it drops its slot, so that Postgres
	// can remove the WAL, and makes another one, which is a gap. Zero means 1 GiB.
	MaxBehind int64

	// Parallel is how many changes of one transaction are handled at a time. Zero means 16: invalidations that run side by
	// side share round trips to Redis. With 1, a transaction's changes are handled in the order in which they were made.
	Parallel int

	// Logger is told of each gap, of what fails, and of when it succeeds again. Nil means slog.Default.
	Logger *slog.Logger
}

const (
	defaultMaxBehind = 1 << 30
	defaultParallel  = 16
)

// A Feed reads the commits of a database from a replication slot, and calls a handler for each change. Register the handlers,
// then call Run.
type Feed struct {
	config  Config
	server  *pgx.ConnConfig
	stats   stats
	catalog catalog
	step    func(name string) // of tests: tells what the feed is about to do

	ungated bool // of tests: the feed does not wait until a commit is visible
	deaf    bool // of tests: keepalives do not move the position

	mu      sync.Mutex // guards the rest
	plan    plan
	running bool
}

// A plan is what has been registered.
type plan struct {
	tables   map[string][]func(context.Context, Change) error // by schema.table
	messages map[string][]func(context.Context, Message) error
	gaps     []func(context.Context) error
}

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,59}$`)

// New returns a feed of the database that dsn names: a URL or key=value pairs, as pgx.ParseConfig takes them. It does no I/O.
// An error names the setting that is wrong.
//
// dsn must lead to Postgres itself, since a pooler passes on neither replication nor who is connected. If it names several hosts, the
// feed looks for the primary among them.
func New(dsn string, config Config) (*Feed, error) {
	server, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("asidepg: dsn: %w", err)
	}
	switch {
	case !slotName.MatchString(config.Slot):
		return nil, fmt.Errorf("asidepg: Slot is %q; it must have 1 to 59 lower-case letters, digits or underscores", config.Slot)
	case config.Publication == "":
		return nil, errors.New("asidepg: Publication is empty")
	case config.MaxBehind < 0:
		return nil, fmt.Errorf("asidepg: MaxBehind is %d; it must not be negative", config.MaxBehind)
	case config.Parallel < 0:
		return nil, fmt.Errorf("asidepg: Parallel is %d; it must not be negative", config.Parallel)
	}
	config.MaxBehind = cmp.Or(config.MaxBehind, defaultMaxBehind)
	config.Parallel = cmp.Or(config.Parallel, defaultParallel)
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	config.Logger = config.Logger.With("slot", config.Slot)
	return &Feed{config: config, server: configured(server), plan: plan{
		tables:   make(map[string][]func(context.Context, Change) error),
		messages: make(map[string][]func(context.Context, Message) error),
	}}, nil
}

// On has handle called for each row of table that a transaction has inserted, updated or deleted. table is written as
// schema.table, as the catalog spells it.
//
// handle runs when other sessions can see the commit, and after the handlers of all earlier commits have returned nil. Those
// of one commit run side by side, up to Config.Parallel. If handle returns an error or panics, it is called again, with
// pauses of 50 ms doubling to 5 s, until it returns nil; the feed does not go on before. It may be called again for changes that
// it has handled: when the feed, or Postgres, is restarted. ctx ends when Run's does, and when the feed loses its slot.
//
// Register handlers before Run: those of later are used by the next Run.
func (f *Feed) On(table string, handle func(ctx context.Context, c Change) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan.tables[table] = append(f.plan.tables[table], handle)
}

// OnGap has handle called when changes may have been missed: it invalidates everything that is made from the tables of On.
// Run needs one. It is called
//
//   - when the slot has been made: the first time, after somebody dropped it or Postgres invalidated it, and after the feed was
//     further behind than Config.MaxBehind;
//   - when Postgres is on a new timeline: a standby has been promoted, and the last commits of the old primary may be undone;
//   - when a table of On has been truncated, or altered: Postgres streams no change of a row that an ALTER TABLE makes.
//
// No change that follows is handled before handle has returned nil. It is tried again as a handler of On is.
func (f *Feed) OnGap(handle func(ctx context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan.gaps = append(f.plan.gaps, handle)
}

// OnMessage has handle called for each message with prefix that a transaction has emitted, in whatever language:
//
//	SELECT pg_logical_emit_message(true, 'aside', 'product:1234')
//
// It runs when and as a handler of On does. A message that is emitted with false, so outside its
// transaction, is handled at once, even if the transaction is rolled back later: code that writes
// rows must pass true.
func (f *Feed) OnMessage(prefix string, handle func(ctx context.Context, m Message) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan.messages[prefix] = append(f.plan.messages[prefix], handle)
}

// A Message is what a session has emitted with pg_logical_emit_message.
type Message struct {
	Prefix  string
	Content []byte
}

// Run reads the slot and calls the handlers. It blocks until ctx ends, and then returns nil. Run it in every process: one holds
// the slot, and the others look once a second whether it is free.
//
// Run returns an error at its start for what trying again cannot cure: no OnGap, settings of the server, the rights of the role, a
// table that is not as On needs it. The error says what to type. If Postgres cannot be reached, then or later, Run tries again,
// with pauses of 100 ms doubling to 5 s. Once it has started, it returns no error: what fails then is logged, told by Stats, and
// tried again.
//
// When Run has returned, no handler is running, the slot is free, and what has been handled is confirmed if Postgres could be reached.
func (f *Feed) Run(ctx context.Context) error {
	plan, err := f.begin()
	if err != nil {
		return err
	}
	defer f.end()
	return (&run{Feed: f, plan: plan}).loop(ctx)
}

// begin copies what has been registered, so that it does not change during the run.
func (f *Feed) begin() (plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch p := f.plan; {
	case f.running:
		return plan{}, errors.New("asidepg: Run is running already")
	case len(p.gaps) == 0:
		return plan{}, errors.New("asidepg: no OnGap: a feed misses changes when its slot is lost, and must be able to invalidate everything then")
	case len(p.tables) == 0 && len(p.messages) == 0:
		return plan{}, errors.New("asidepg: neither On nor OnMessage: the feed has nothing to do")
	}
	for _, table := range slices.Sorted(maps.Keys(f.plan.tables)) {
		if schema, name, _ := strings.Cut(table, "."); schema == "" || name == "" {
			return plan{}, fmt.Errorf("asidepg: On(%q): write the table as schema.table, such as %q", table, "public."+strings.Trim(table, "."))
		}
	}
	f.running = true
	return plan{tables: maps.Clone(f.plan.tables), messages: maps.Clone(f.plan.messages), gaps: slices.Clone(f.plan.gaps)}, nil
}

func (f *Feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = false
	f.stats.rest()
}

// Stats tells where the feed is. It does no I/O.
func (f *Feed) Stats() Stats { return f.stats.read(f.config.Slot) }

// Lag is the part of Stats that asideprom and asideotel export: the slot, Behind, and BytesBehind.
func (f *Feed) Lag() (slot string, behind time.Duration, bytes int64) {
	s := f.Stats()
	return s.Slot, s.Behind, s.BytesBehind
}

func (f *Feed) tell(step string) {
	if f.step != nil {
		f.step(step)
	}
}
