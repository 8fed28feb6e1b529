// Command cost measures what a feed costs Postgres, and how long after a commit it has invalidated. It starts a Postgres and a
// Redis of its own, from the installed binaries:
//
//	go run ./asidepg/cost
//
// Everything runs on one machine: pgbench, Postgres, Redis and the feed share its cores. Where something else runs there too, compare the CPU
// time of a commit, not the commits a second. Postgres writes to disk (fsync is on).
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidepg"
	"github.com/asidecache/aside/internal/testserver"
)

var (
	seconds = flag.Int("seconds", 10, "how long each run of pgbench takes")
	rounds  = flag.Int("rounds", 3, "runs of each kind, of which the median counts")
	clients = flag.Int("clients", 8, "sessions of pgbench")
	writes  = flag.Int("writes", 2000, "commits whose delay is measured")
	rate    = flag.Int("rate", 200, "commits a second while the delay is measured")
)

func main() {
	flag.Parse()
	if err := testserver.Run(func(t testing.TB) { measure(t.Context(), t) }); err != nil {
		log.Fatal(err)
	}
}

// A bench is a database of pgbench with a cache of its accounts.
type bench struct {
	*testserver.OwnPostgres
	db       *pgx.Conn
	accounts *aside.Cache[int64, int64]
}

func measure(ctx context.Context, t testing.TB) {
	b := &bench{OwnPostgres: testserver.PostgresWith(t, "fsync=on", "wal_level=replica")}
	rdb := redis.NewClient(&redis.Options{Addr: testserver.Redis(t).Addr})
	t.Cleanup(func() { rdb.Close() })
	b.accounts = must(aside.New(rdb, "account", func(context.Context, int64) (int64, error) { return 0, nil }))
	t.Cleanup(func() { b.accounts.Close() })
	b.pgbench("-i", "-q", "-s", "10")

	kinds := []*kind{
		{name: "wal_level = replica"},
		{name: "wal_level = logical, no feed", logical: true},
		{name: "a feed", logical: true, feed: true},
		{name: "a feed, REPLICA IDENTITY FULL", logical: true, feed: true, full: true},
	}
	for range *rounds { // in turns, since a machine that is shared is faster at one time than at another
		for _, k := range kinds {
			k.commits = append(k.commits, b.commits(ctx, k))
		}
	}
	fmt.Printf("| pgbench, %d sessions | commits a second: median, lowest to highest | log | walsender | feed |\n|---|---|---|---|---|\n", *clients)
	for _, k := range kinds {
		slices.Sort(k.commits)
		n := float64(k.done)
		fmt.Printf("| %s | %.0f, %.0f to %.0f | %.0f bytes | %.0f µs | %.0f µs |\n", k.name, k.commits[len(k.commits)/2], k.commits[0], k.commits[len(k.commits)-1],
			float64(k.log)/n, float64(k.walsender.Microseconds())/n, float64(k.process.Microseconds())/n)
	}
	fmt.Printf("\n| from COMMIT returned to Invalidate returned, %d commits a second | p50 | p99 |\n|---|---|---|\n", *rate)
	for _, loaded := range []bool{false, true} {
		delays := b.delays(ctx, loaded)
		name := "nothing else"
		if loaded {
			name = "beside pgbench"
		}
		at := func(p float64) time.Duration {
			return delays[int(p*float64(len(delays)-1))].Round(10 * time.Microsecond)
		}
		fmt.Printf("| %s | %v | %v |\n", name, at(0.5), at(0.99))
	}
}

type kind struct {
	name                string
	logical, feed, full bool
	commits             []float64     // a second, of each run
	done                int64         // commits of all runs, and what they cost:
	log                 int64         // bytes
	walsender, process  time.Duration // of CPU: Postgres' process that streams, and this one
}

// restart starts the server again with what the kind needs, and connects.
func (b *bench) restart(ctx context.Context, k *kind) {
	level, identity := "replica", "DEFAULT"
	if k.logical {
		level = "logical"
	}
	if k.full {
		identity = "FULL"
	}
	b.Stop()
	b.Start("wal_level=" + level)
	b.db = must(pgx.Connect(ctx, b.DSN))
	b.exec(ctx, `DROP PUBLICATION IF EXISTS aside`)
	b.exec(ctx, `ALTER TABLE pgbench_accounts REPLICA IDENTITY `+identity)
	b.exec(ctx, `CREATE PUBLICATION aside FOR TABLE pgbench_accounts`)
	b.exec(ctx, `CHECKPOINT`)
}

func (b *bench) exec(ctx context.Context, sql string, args ...any) {
	_, err := b.db.Exec(ctx, sql, args...)
	check(err)
}

// commits returns the commits a second of one run of pgbench.
func (b *bench) commits(ctx context.Context, k *kind) float64 {
	b.restart(ctx, k)
	defer b.db.Close(ctx)
	if k.feed {
		stop := b.feed(ctx, func(asidepg.Op, int64) {})
		defer func() {
			stop()
			b.exec(ctx, `SELECT pg_drop_replication_slot('aside')`)
		}()
	}
	log, walsender, process := b.logEnd(ctx), b.walsender(ctx), cpu()
	out := b.pgbench(b.load()...)
	k.log += b.logEnd(ctx) - log
	k.walsender += b.walsender(ctx) - walsender
	k.process += cpu() - process
	k.done += int64(number(out, `actually processed: ([0-9]+)`))
	return number(out, `tps = ([0-9.]+)`)
}

// number is what a pattern finds in the output of pgbench.
func number(out, pattern string) float64 {
	found := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if found == nil {
		log.Fatal(out)
	}
	return must(strconv.ParseFloat(found[1], 64))
}

func (b *bench) logEnd(ctx context.Context) (bytes int64) {
	check(b.db.QueryRow(ctx, `SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&bytes))
	return bytes
}

// walsender is the CPU time of the process that streams, zero if there is none or it cannot be read.
func (b *bench) walsender(ctx context.Context) time.Duration {
	var pid int
	check(b.db.QueryRow(ctx, `SELECT coalesce(min(active_pid), 0) FROM pg_replication_slots`).Scan(&pid))
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, system := must(strconv.Atoi(fields[11])), must(strconv.Atoi(fields[12]))
	return time.Duration(user+system) * 10 * time.Millisecond // Linux counts in hundredths
}

// cpu is the CPU time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (b *bench) load() []string {
	return []string{"-n", "-N", "-c", strconv.Itoa(*clients), "-j", "2", "-T", strconv.Itoa(*seconds)}
}

func (b *bench) pgbench(args ...string) string {
	cmd := b.Command("pgbench", append(args, b.DSN)...)
	cmd.Stderr = nil
	out, err := cmd.Output()
	if err != nil {
		log.Fatalf("pgbench: %v\n%s", err, out)
	}
	return string(out)
}

// feed runs a feed that invalidates accounts, and returns once it reads its slot. handled is told of each account that has been invalidated.
func (b *bench) feed(ctx context.Context, handled func(op asidepg.Op, id int64)) (stop func()) {
	f := must(asidepg.New(b.DSN, asidepg.Config{Slot: "aside", Publication: "aside", Logger: slog.New(slog.DiscardHandler)}))
	f.OnGap(func(context.Context) error { return nil })
	f.On("public.pgbench_accounts", func(ctx context.Context, c asidepg.Change) error {
		ids := c.Int64s("aid")
		err := b.accounts.Invalidate(ctx, ids...)
		for _, id := range ids {
			handled(c.Op, id)
		}
		return err
	})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	for f.Stats().Behind == 0 || f.Stats().Holder == "" {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(2 * time.Second) // until it has caught up
	return func() {
		cancel()
		check(<-done)
	}
}

// delays measures how long after each commit its account is invalidated, in ascending order.
func (b *bench) delays(ctx context.Context, loaded bool) []time.Duration {
	b.restart(ctx, &kind{logical: true})
	defer b.db.Close(ctx)
	var mu sync.Mutex
	invalidated := make(map[int64]time.Time)
	stop := b.feed(ctx, func(op asidepg.Op, id int64) {
		mu.Lock()
		defer mu.Unlock()
		if op == asidepg.Update {
			invalidated[id] = time.Now()
		}
	})
	defer stop()
	const first = 10_000_000 // ids that pgbench does not write
	b.exec(ctx, `DELETE FROM pgbench_accounts WHERE aid >= $1`, first)
	b.exec(ctx, `INSERT INTO pgbench_accounts SELECT $1 + i, 1, 0, '' FROM generate_series(0, $2 - 1) i`, first, *writes)
	if loaded {
		cmd := b.Command("pgbench", append(append([]string{"-R", "1000"}, b.load()...), b.DSN)...)
		cmd.Args = slices.Replace(cmd.Args, len(cmd.Args)-2, len(cmd.Args)-1, "3600")
		check(cmd.Start())
		defer func(cmd *exec.Cmd) { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() }(cmd)
	}
	time.Sleep(2 * time.Second)
	committed := make(map[int64]time.Time)
	for tick, i := time.Tick(time.Second/time.Duration(*rate)), 0; i < *writes; i++ {
		<-tick
		id := int64(first + i)
		b.exec(ctx, `UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = $1`, id)
		committed[id] = time.Now()
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		mu.Lock()
		n := len(invalidated)
		mu.Unlock()
		if n >= *writes {
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	var delays []time.Duration
	for id, at := range committed {
		if invalidated[id].IsZero() {
			log.Fatalf("account %d was not invalidated", id)
		}
		delays = append(delays, max(0, invalidated[id].Sub(at))) // the client may learn of the commit last
	}
	slices.Sort(delays)
	return delays
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
