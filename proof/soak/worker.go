package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/proof/soak/history"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// A job is what a worker process is told to do.
type job struct {
	DSN     string
	Redis   []string          // of the servers
	Via     map[string]string // the proxy in front of each
	Seed    uint64
	Rows    table
	Slot    int // of this process, which has lonely rows of its own
	Readers int
	Writers int
	Pause   time.Duration // between the writes of a writer, on average
	Near    bool          // there are near copies
	Verify  float64       // hits a second that each Cache compares with its loader
	Feed    string        // the replication slot of the feed
	Break   string
}

// Times of the cache under test: short, so that everything expires often.
const (
	ttl         = 4 * time.Second
	stale       = time.Second
	hold        = 2 * time.Second
	brief       = 1500 * time.Millisecond // WithHold of a second Cache of the same name
	loadTimeout = 5 * time.Second
	nearAge     = 2 * time.Second
	lag         = 500 * time.Millisecond // of WithReplicaLag
	behind      = 400 * time.Millisecond // how far the standby is behind, at most

	// bound is after how long nothing stale is left, whatever went wrong: a load, the lease that it fills under, which
	// a stopped process or a slow network may keep for some seconds, and the life of what it filled.
	bound = loadTimeout + ttl + stale + 10*time.Second

	// lost is after how long nothing is left of what a failover brought back: a value that was stored before, or filled
	// by a load that had begun before. A fill is refused when its load has taken longer than the loader and four commands
	// may, of 250 ms each. It is the same for what the index of a tag has lost, and for what was kept for longer by a clock of Redis
	// that was set back.
	lost = loadTimeout + 4*250*time.Millisecond + ttl + stale + longestStep
)

// A row is what is cached.
type row struct {
	ID      int
	Version int64
}

// A worker is one process that reads, writes and invalidates.
type worker struct {
	job
	db     *pgxpool.Pool
	caches map[string]*aside.Cache[int, row]
	briefs map[string]*aside.Cache[int, row] // of the same names, with a shorter WithHold: nobody reads them
	stand  standby
	rec    *history.Recorder
	owing  owing

	told map[history.Kind]int64 // how many of a kind were; settle's
}

// workerMain is the process. It ends when its standard input does.
func workerMain(arg string) {
	log.SetFlags(0)
	var w worker
	if err := json.Unmarshal([]byte(arg), &w.job); err != nil {
		log.Fatal(err)
	}
	w.rec = history.NewRecorder(os.NewFile(3, "history"), func(error) { os.Exit(1) }) // the parent is gone
	if err := w.open(); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	go w.rec.Beat(20*time.Millisecond, nil)
	w.run(ctx)
	w.rec.Flush()
}

func (w *worker) open() error {
	config, err := pgxpool.ParseConfig(w.DSN)
	if err != nil {
		return err
	}
	config.MaxConns = 12
	if w.db, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return err
	}
	redis.SetLogger(silence{})
	rdb := w.dial()
	w.caches, w.briefs = make(map[string]*aside.Cache[int, row]), make(map[string]*aside.Cache[int, row])
	for _, first := range w.Rows.firsts() {
		name := w.Rows.cache(first)
		if w.caches[name], err = w.newCache(rdb, first, hold, w.Rows.Keys); err != nil {
			return err
		}
		if w.briefs[name], err = w.newCache(rdb, first, brief, 0); err != nil {
			return err
		}
	}
	return nil
}

// newCache is the Cache of the sort of rows that first is one of. It has so many near copies, if
// there are any.
func (w *worker) newCache(rdb redis.UniversalClient, first int, life time.Duration, near int) (*aside.Cache[int, row], error) {
	load, loadMany := w.load, w.loadMany
	if w.Rows.isMade(first) {
		load, loadMany = w.makeOne, w.makeMany
	}
	opts := []aside.Option{
		aside.WithBatch(loadMany), aside.WithTTL(ttl), aside.WithStale(stale), aside.WithHold(life),
		aside.WithLoadTimeout(loadTimeout), aside.WithLogger(slog.New(slog.DiscardHandler)),
		aside.WithVerify(w.Verify), aside.WithObserver(aside.Observer{Verify: w.verified}),
	}
	if w.Rows.tagged(first) {
		opts = append(opts, aside.WithTags(w.tagsOf))
	}
	if w.Rows.lagging(first) && !w.Rows.isMade(first) && w.Break != breakLag {
		opts = append(opts, aside.WithReplicaLag(lag))
	}
	if w.Near && !(w.Break == breakUntold && w.Slot == 0) {
		opts = append(opts, aside.WithNear(near, nearAge))
	}
	return aside.New(rdb, w.Rows.cache(first), load, opts...)
}

// verified tells which hits are called stale.
func (w *worker) verified(_ context.Context, v aside.VerifyInfo) {
	if v.Verdict != aside.Stale {
		return
	}
	key, err := strconv.Atoi(strings.TrimPrefix(v.Name, v.Cache+":"))
	if err != nil {
		panic(err)
	}
	w.tell(history.CalledStale, key, 0, 0, 0)
}

func (w *worker) cache(key int) *aside.Cache[int, row] { return w.caches[w.Rows.cache(key)] }

func (w *worker) tagsOf(key int, r row) []string {
	if w.Break == breakUntagged && r.Version%4 == 0 {
		return nil
	}
	return []string{w.Rows.tag(key)}
}

// silence is the log of a client whose server is killed again and again.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// dial goes through the proxies, also where a Cluster tells its own addresses.
func (w *worker) dial() redis.UniversalClient {
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:         w.Redis,
		IsClusterMode: len(w.Redis) > 1,
		PoolSize:      w.Readers + w.Writers + 8,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if via, ok := w.Via[addr]; ok {
				addr = via
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	})
}

func (w *worker) run(ctx context.Context) {
	var group sync.WaitGroup
	for i := range w.Readers {
		group.Go(func() { w.read(ctx, rand.New(rand.NewPCG(w.Seed, uint64(i)))) })
	}
	for i := range w.Writers {
		group.Go(func() { w.write(ctx, rand.New(rand.NewPCG(w.Seed, uint64(1000+i)))) })
	}
	for i, first := range w.Rows.firsts() {
		group.Go(func() { w.readLonely(ctx, rand.New(rand.NewPCG(w.Seed, uint64(2000+i))), first) })
	}
	group.Go(func() { w.settle(ctx) })
	group.Go(func() { w.follow(ctx) })
	group.Go(func() { w.stand.follow(ctx, w.db) })
	group.Wait()
}

// read reads one key or several, again and again: sources, or what is made from them.
func (w *worker) read(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		what := w.Rows.source
		if random.IntN(3) == 0 {
			what = w.Rows.made
		}
		first := w.first(random)
		if random.IntN(8) == 0 {
			first = w.Rows.firstFed()
		}
		if random.IntN(5) == 0 {
			w.get(ctx, what(w.pick(random, first)))
		} else {
			w.getMany(ctx, w.some(random, what(first), 24))
		}
	}
}

// first draws the first row of a sort that is written through the library. What has tags costs more, and has a third of the reads and writes.
func (w *worker) first(random *rand.Rand) int {
	return [...]int{0, 0, 0, 0, 1, 2}[random.IntN(6)] * w.Rows.size()
}

// some draws n keys of the sort that begins with first, or all that are not lonely.
func (w *worker) some(random *rand.Rand, first, n int) []int {
	keys := random.Perm(w.Rows.Keys)[:min(w.Rows.Keys, n)]
	for i := range keys {
		keys[i] += first
	}
	return keys
}

// readLonely reads a key that hardly anybody else reads, although all write it. Its loads are slow.
// A key that many wait for has a new lease as soon as the old one is void. This one has none for a
// while, and in that time a lease that comes late or twice does its harm.
func (w *worker) readLonely(ctx context.Context, random *rand.Rand, first int) {
	for ctx.Err() == nil {
		slot := w.Slot
		if random.IntN(10) == 0 {
			slot = random.IntN(w.Rows.Processes)
		}
		w.get(ctx, first+w.Rows.Keys+slot)
		pause(ctx, time.Duration(random.IntN(20))*time.Millisecond)
	}
}

// pick draws a key of a sort: one in two times the one that all processes are at just then, so that writes meet loads and writes.
func (w *worker) pick(random *rand.Rand, first int) int {
	if random.IntN(2) == 0 {
		return w.Rows.hot(first)
	}
	return first + random.IntN(w.Rows.Keys)
}

// get is one recorded read.
func (w *worker) get(ctx context.Context, key int) {
	ctx = context.WithoutCancel(ctx)
	start := history.Now()
	got, err := w.cache(key).Get(ctx, key)
	end := history.Now()
	if err != nil {
		w.readFailed(key, start, end, err)
		return
	}
	w.rec.Add(w.readEvent(key, got, start, end))
}

// getMany is one recorded read of keys of one sort.
func (w *worker) getMany(ctx context.Context, keys []int) {
	ctx = context.WithoutCancel(ctx)
	start := history.Now()
	got, err := w.cache(keys[0]).GetMany(ctx, keys)
	end := history.Now()
	if err != nil {
		w.readFailed(keys[0], start, end, err)
		return
	}
	events := make([]history.Event, len(keys))
	for i, key := range keys {
		events[i] = w.readEvent(key, got[key], start, end) // one that is missing has no version, which nobody wrote
	}
	w.rec.Add(events...)
}

// readEvent is of what was read; the value of another key is one that nobody wrote.
func (w *worker) readEvent(key int, got row, start, end int64) history.Event {
	if got.ID != key {
		got.Version = -1
	}
	return history.Event{Kind: history.Read, Key: uint16(key), Version: got.Version, Start: start, End: end}
}

func (w *worker) readFailed(key int, start, end int64, err error) {
	kind := history.ReadError
	if errors.As(err, new(loadError)) || errors.Is(err, context.DeadlineExceeded) { // a load timed out: reads have no deadline
		kind = history.LoadError
	} else {
		log.Printf("soak: read of %d: %v", key, err)
	}
	w.rec.Add(history.Event{Kind: kind, Key: uint16(key), Start: start, End: end})
}

// A loadError is the loader's.
type loadError struct{ error }

func (e loadError) Unwrap() error { return e.error }

func (w *worker) load(ctx context.Context, key int) (row, error) {
	start := history.Now()
	r := row{ID: key}
	if had := w.stood([]int{key}, start); had != nil {
		r = had[key]
	} else if err := w.db.QueryRow(ctx, "SELECT version FROM rows WHERE id = $1", key).Scan(&r.Version); err != nil {
		return r, loadError{err}
	}
	w.dawdle(key)
	w.rec.Add(history.Event{Kind: history.Load, Key: uint16(key), Start: start, End: history.Now()})
	return r, nil
}

func (w *worker) loadMany(ctx context.Context, keys []int) (map[int]row, error) {
	start := history.Now()
	found := w.stood(keys, start)
	if found == nil {
		rows, err := w.db.Query(ctx, "SELECT id, version FROM rows WHERE id = ANY($1)", keys)
		if err != nil {
			return nil, loadError{err}
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
		if err != nil {
			return nil, loadError{err}
		}
		found = make(map[int]row, len(all))
		for _, r := range all {
			found[r.ID] = r
		}
	}
	w.dawdle(keys[0])
	for id := range found {
		w.rec.Add(history.Event{Kind: history.Load, Key: uint16(id), Start: start, End: history.Now()})
	}
	return found, nil
}

// stood are rows as the standby has them, nil if they are not loaded from there.
func (w *worker) stood(keys []int, now int64) map[int]row {
	if !w.Rows.lagging(keys[0]) {
		return nil
	}
	return w.stand.rows(keys, now)
}

// makeOne makes a row from its source, which it reads through a cache.
func (w *worker) makeOne(ctx context.Context, key int) (row, error) {
	all, err := w.makeMany(ctx, []int{key})
	return all[key], err
}

func (w *worker) makeMany(ctx context.Context, keys []int) (map[int]row, error) {
	start := history.Now()
	sources := make([]int, len(keys))
	for i, key := range keys {
		sources[i] = w.Rows.source(key)
	}
	found, err := w.cache(sources[0]).GetMany(ctx, sources)
	if err != nil {
		return nil, err
	}
	w.dawdle(keys[0])
	made := make(map[int]row, len(keys))
	for i, key := range keys {
		made[key] = row{ID: key, Version: found[sources[i]].Version}
		if found[sources[i]].ID != sources[i] {
			made[key] = row{ID: key, Version: -1} // which nobody wrote
		}
		w.rec.Add(history.Event{Kind: history.Load, Key: uint16(key), Start: start, End: history.Now()})
	}
	return made, nil
}

// dawdle makes some loads slow, after they have seen the row: that is when a write overtakes them.
func (w *worker) dawdle(key int) {
	if n := rand.IntN(200); w.Rows.lonely(key) {
		time.Sleep(time.Duration(n) * time.Millisecond)
	} else if n < 8 {
		time.Sleep(time.Duration((n+1)*(n+1)) * 4 * time.Millisecond)
	}
}
