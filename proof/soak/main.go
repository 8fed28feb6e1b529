// Soak runs several processes that read, write and invalidate a few hot rows through the library, while Redis,
// connections and the processes themselves are killed, stopped, delayed and more, and checks every read. From the root of
// the repository:
//
//	go run ./proof/soak -for 1m
//	go run ./proof/soak -for 30m -seed 7
//	go run ./proof/soak -for 20s -faults none
//	go run ./proof/soak -for 20s -faults kill,flush,lease
//	go run ./proof/soak -for 1m -redis cluster -faults failover,switch,migrate
//	go run ./proof/soak -for 10s -break early
//
// Half of the rows are cached with tags: each has one of its own, and those who write choose at random whether they
// invalidate the row or the tag, or, rarely, everything.
//
// It needs redis-server and PostgreSQL, and starts its own: for a third of the time a Cluster of three primaries, each
// with a replica, and then one Redis. The last line counts operations and violations; the exit status is 1 if there was a
// violation, and 2 if it could not run. A violation is printed with what led to it, in order. The seed decides which
// faults there are, when, and for how long; what the processes are doing just then is up to the machine.
//
// With -break, a mistake is made, and the run ends as soon as the checker has found a violation. The writers forget (plain
// writes are not invalidated), are early (they are invalidated before the COMMIT), or nohold (writes in InTx invalidate
// outside of it). Values are untagged (some are not given their tag). Or the network loses commands and answers for them:
// release (one in ten invalidations), index (one in ten places in indexes), record (the records of the journal), holdtags
// (one in three holds of tags, or their ends).
//
// Package history says what a read must return, and which cases are allowed and counted apart.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/testserver"
)

// A plan is what the flags say.
type plan struct {
	length    time.Duration
	seed      uint64
	redis     string
	cluster   bool // of a part
	faults    []string
	mistake   string
	processes int
	readers   int
	writers   int
	keys      int
	pause     time.Duration
	out       io.Writer
	postgres  func(t testing.TB) *testserver.PostgresServer
}

// What -redis may be.
const (
	bothKinds = "both"
	single    = "single"
	cluster   = "cluster"
)

// parts are the plan with one kind of Redis each.
func (p plan) parts() []plan {
	alone, spread := p, p
	alone.redis, spread.redis, spread.cluster = single, cluster, true
	switch p.redis {
	case single:
		return []plan{alone}
	case cluster:
		return []plan{spread}
	}
	spread.length = p.length / 3
	alone.length = p.length - spread.length
	return []plan{spread, alone}
}

func (p plan) rows() table { return table{p.keys, p.processes} }

func main() {
	if len(os.Args) == 3 && os.Args[1] == "worker" {
		workerMain(os.Args[2])
		return
	}
	log.SetFlags(0)
	p, err := parse(os.Args[1:])
	if err != nil {
		log.Println("soak:", err)
		os.Exit(2)
	}
	var violations int64
	err = testserver.Run(func(t testing.TB) { violations = p.run(t) })
	switch {
	case err != nil:
		log.Println("soak:", err)
		os.Exit(2)
	case violations > 0:
		os.Exit(1)
	}
}

func parse(args []string) (plan, error) {
	p := plan{out: os.Stdout, postgres: testserver.Postgres}
	var faults string
	f := flag.NewFlagSet("soak", flag.ExitOnError)
	f.DurationVar(&p.length, "for", time.Minute, "how long the processes run")
	f.Uint64Var(&p.seed, "seed", 1, "of the fault schedule")
	f.StringVar(&p.redis, "redis", bothKinds, "single, cluster (three primaries and their replicas), or both, one after the other")
	f.StringVar(&faults, "faults", "all", "all, none, or a list of "+strings.Join(kindNames(), ","))
	f.StringVar(&p.mistake, "break", "", "a mistake that the checker must find: "+strings.Join(breaks[1:], ", "))
	f.IntVar(&p.processes, "processes", 3, "that read and write")
	f.IntVar(&p.readers, "readers", 6, "goroutines of a process")
	f.IntVar(&p.writers, "writers", 2, "goroutines of a process")
	f.IntVar(&p.keys, "keys", 32, "rows without tags, and as many with, that all processes read; each has one more of both")
	f.DurationVar(&p.pause, "pause", 50*time.Millisecond, "between the writes of a goroutine, on average")
	_ = f.Parse(args)
	if !slices.Contains([]string{bothKinds, single, cluster}, p.redis) {
		return p, fmt.Errorf("-redis %s: it must be single, cluster or both", p.redis)
	}
	if !slices.Contains(breaks, p.mistake) {
		return p, fmt.Errorf("-break %s: it must be one of %s", p.mistake, strings.Join(breaks[1:], ", "))
	}
	if p.processes < 1 || p.readers < 1 || p.writers < 0 || p.keys < 1 || p.keys > 1000 {
		return p, fmt.Errorf("-processes and -readers must be at least 1, -writers at least 0, -keys within 1 and 1000")
	}
	var err error
	p.faults, err = parseFaults(faults)
	return p, err
}

func parseFaults(list string) ([]string, error) {
	switch list {
	case "all":
		return kindNames(), nil
	case "none", "":
		return nil, nil
	}
	names := strings.Split(list, ",")
	for _, name := range names {
		if !slices.Contains(kindNames(), name) {
			return nil, fmt.Errorf("-faults %s: there is no %q; there are %s", list, name, strings.Join(kindNames(), ","))
		}
	}
	return names, nil
}
