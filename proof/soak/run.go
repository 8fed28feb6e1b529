package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/testserver"
	"github.com/asidecache/aside/proof/soak/history"
	"github.com/asidecache/aside/proof/soak/proxy"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// A soak is one run.
type soak struct {
	t        testing.TB
	plan     plan
	dsn      string
	feed     string // the replication slot
	servers  []*testserver.RedisServer
	ring     *testserver.RedisCluster // of the servers, nil if not a Cluster
	clock    *testserver.Clock        // of the servers, nil if it cannot be set
	proxies  [][]*proxy.Proxy         // of each process, to each server
	rec      *history.Recorder        // of this process
	slots    []*process
	news     chan news
	nearLost time.Time      // when a failover of what near copies are told by was last over
	found    chan struct{}  // closed when a mistake that was made on purpose is found
	pipes    sync.WaitGroup // of processes that have not ended

	mu    sync.Mutex // guards the rest
	names []string   // of the processes ever started
	ends  []string   // of processes, that should not have been
}

// News is what the checker is to be told.
type news struct {
	process int
	frame   history.Frame
	opened  int64 // the process is about to start, at that time
	closed  bool  // it has ended
}

// run runs all parts of a plan, prints a report of each and the sum of them, and returns the number of violations.
func (p plan) run(t testing.TB) int64 {
	var all sum
	clock, err := testserver.NewClock(t)
	switch {
	case err == nil:
		p.clocked = true
	case !errors.Is(err, testserver.ErrNoClock):
		t.Fatal(err)
	case slices.Contains(p.faults, "clock"):
		fmt.Fprintln(p.out, "soak: no clock steps:", err)
	}
	for _, part := range p.parts() {
		all.add(part.runPart(t, clock))
	}
	fmt.Fprintln(p.out, all)
	return all.violations
}

// runPart runs with one kind of Redis, and prints the report.
func (p plan) runPart(t testing.TB, clock *testserver.Clock) sum {
	s := &soak{
		t: t, plan: p, clock: clock, news: make(chan news, 256), found: make(chan struct{}),
		names: []string{"soak"}, slots: make([]*process, p.processes),
	}
	redis.SetLogger(silence{})
	initial := s.openDatabase()
	s.openRedis()
	defer s.closeRedis()
	s.openProxies()
	faults := schedule(p)
	results := make(chan history.Result)
	go func() { results <- s.check(faults, initial) }()
	finish := s.watch()

	for slot := range s.slots {
		s.spawn(slot)
	}
	start := time.Now()
	s.torment(faults, start)
	select {
	case <-time.After(time.Until(start.Add(p.length))):
	case <-s.found:
	}
	for _, proc := range s.slots {
		proc.finish()
	}
	s.pipes.Wait()
	finish()
	result := <-results
	s.blame(&result)
	report(p.out, p, faults, result, time.Since(start), s.name)
	return sumOf(result, len(faults))
}

// watch has this process tell what it sees and does, until finish is called, which must be the last news.
func (s *soak) watch() (finish func()) {
	stop := make(chan struct{})
	var observers sync.WaitGroup
	s.rec = history.NewRecorder(own{s}, func(err error) { panic(err) })
	s.news <- news{process: 0, opened: history.Now()}
	observers.Go(func() { s.rec.Beat(10*time.Millisecond, stop) })
	observers.Go(func() { s.observe(stop) })
	observers.Go(func() { s.writeSQL(stop) })
	return func() {
		close(stop)
		observers.Wait()
		s.rec.Flush()
		s.news <- news{process: 0, closed: true}
		close(s.news)
	}
}

// blame makes violations of what became of processes that nobody had killed.
func (s *soak) blame(r *history.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Violations += int64(len(s.ends))
	r.Printed = append(r.Printed, s.ends...)
}

func (s *soak) openDatabase() (initial []int64) {
	s.dsn, s.feed = s.plan.postgres(s.t).DSN, fmt.Sprintf("soak_%d", history.Now())
	ctx := context.Background()
	db := s.connect(ctx)
	defer db.Close(ctx)
	for _, q := range []string{
		// of a run before
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
		"DROP PUBLICATION IF EXISTS " + publication,
		"DROP TABLE IF EXISTS rows",
		"DROP SEQUENCE IF EXISTS versions",
		"CREATE SEQUENCE versions",
		"CREATE TABLE rows (id int PRIMARY KEY, version bigint NOT NULL)",
		"CREATE PUBLICATION " + publication + " FOR TABLE rows",
		fmt.Sprintf("INSERT INTO rows SELECT id, nextval('versions') FROM generate_series(0, %d) AS id", s.plan.rows().sources()-1),
	} {
		if _, err := db.Exec(ctx, q); err != nil {
			s.t.Fatal(err)
		}
	}
	versions, err := versions(ctx, db)
	if err != nil {
		s.t.Fatal(err)
	}
	return versions
}

func (s *soak) connect(ctx context.Context) *pgx.Conn {
	db, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		s.t.Fatal(err)
	}
	return db
}

func versions(ctx context.Context, db *pgx.Conn) ([]int64, error) {
	rows, err := db.Query(ctx, "SELECT version FROM rows ORDER BY id")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// observe reads the rows past the cache, again and again. What it sees has been committed,
// whichever process has died meanwhile.
func (s *soak) observe(stop <-chan struct{}) {
	ctx := context.Background()
	db := s.connect(ctx)
	defer db.Close(ctx)
	seen := make([]int64, s.plan.rows().sources())
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		now, err := versions(ctx, db)
		if err != nil { // the database has no faults: something has ended the run
			s.accuse(fmt.Sprintf("nobody observed the database any more: %v", err))
			return
		}
		for key, version := range now {
			if version != seen[key] {
				seen[key] = version
				s.tell(history.Observed, uint16(key), version)
			}
		}
	}
}

// accuse notes what must not happen, whatever the schedule does.
func (s *soak) accuse(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, fmt.Sprintf("VIOLATION: %s\n", what))
}

func (s *soak) openRedis() {
	if s.plan.cluster {
		s.ring = s.clock.Cluster(s.t, 3)
		s.ring.Replicate()
		s.servers = slices.Concat(s.ring.Nodes, s.ring.Replicas)
	} else {
		s.servers = []*testserver.RedisServer{s.clock.Redis(s.t)}
	}
}

// closeRedis ends the servers of this part, so that the next has the machine for itself.
func (s *soak) closeRedis() {
	for _, node := range s.servers {
		node.Kill()
	}
}

// primaries are those that serve now.
func (s *soak) primaries() []*testserver.RedisServer {
	if s.ring != nil {
		return s.ring.Nodes
	}
	return s.servers
}

func (s *soak) addrs() (addrs []string) {
	for _, node := range s.servers {
		addrs = append(addrs, node.Addr)
	}
	return addrs
}

func (s *soak) openProxies() {
	for range s.plan.processes {
		var proxies []*proxy.Proxy
		for _, addr := range s.addrs() {
			p, err := proxy.New(addr)
			if err != nil {
				s.t.Fatal(err)
			}
			if lost, ok := swallowed[s.plan.mistake]; ok {
				p.Swallow(lost.verb, lost.n)
			}
			switch s.plan.mistake {
			case breakRenew:
				p.SwallowAgain()
			case breakBlind:
				p.Blind()
			}
			proxies = append(proxies, p)
		}
		s.proxies = append(s.proxies, proxies)
	}
}

// swallowed are the commands that the proxies lose on purpose, one in so many.
var swallowed = map[string]struct {
	verb proxy.Verb
	n    int
}{
	breakRelease: {proxy.Invalidate, 10},
	breakIndex:   {proxy.Index, 10},
}

// check is the goroutine of the checker.
func (s *soak) check(faults []fault, initial []int64) history.Result {
	checker := history.NewChecker(history.Config{
		Keys: s.plan.rows().all(), Hold: hold, Brief: brief, Bound: bound, Lost: lost, Lag: lag, Near: s.plan.nearAge(), Window: time.Minute, Faults: len(faults) > 0,
		Tagged:  func(key uint16) bool { return s.plan.rows().tagged(int(key)) },
		Lagging: func(key uint16) bool { return s.plan.rows().lagging(int(key)) },
		Fed:     func(key uint16) bool { return s.plan.rows().fed(int(key)) },
		Made: func(key uint16) (uint16, bool) {
			return uint16(s.plan.rows().source(int(key))), s.plan.rows().isMade(int(key))
		},
		Fault:   func(number int64) string { return faults[number].String() },
		Process: s.name,
	}, initial)
	found := s.plan.mistake == ""
	for n := range s.news {
		if !found && checker.Violated() {
			found = true
			close(s.found)
		}
		switch {
		case n.opened != 0:
			checker.Open(n.process, n.opened)
		case n.closed:
			checker.Close(n.process)
		default:
			checker.Take(n.process, n.frame)
		}
	}
	return checker.Finish()
}

// own takes the frames of this process.
type own struct{ s *soak }

func (o own) Write(b []byte) (int, error) {
	f, err := history.ReadFrame(bytes.NewReader(b))
	o.s.news <- news{process: 0, frame: f}
	return len(b), err
}

// name is how a violation calls a process.
func (s *soak) name(number int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[number]
}
