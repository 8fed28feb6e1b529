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
// Each row is the source of another one, which is made from it: its loader reads the source through a cache. Half of the writes
// invalidate both: in one call, by a tag that both have, in one InTx, or the source first. In InTx, two Caches of one name with
// another WithHold may hold the row, and now and then thousands of other keys are held beside it.
//
// Half of the rows are cached with tags: each has one of its own, and the writers choose at random
// whether they invalidate the row or the tag, or, rarely, everything, inside InTx and outside. Half
// of those with tags are loaded from a standby that is behind, and cached with WithReplicaLag.
//
// The rows of one sort are written by SQL alone, in no process: the writer has never heard of the
// cache. Each process runs a feed (asidepg), and one of them at a time invalidates what has been
// committed. These rows may be stale, but no longer than the feeds say that they are behind.
//
// It needs redis-server and PostgreSQL, and starts its own: for a third of the time a Cluster of three primaries, each
// with a replica, and then one Redis; half of that time all processes have near copies. With gcc, the clock of Redis is set
// forward and back. The last line counts operations and violations; the exit status is 1 if there was a
// violation, and 2 if it could not run. A violation is printed with what led to it, in order. The seed decides which
// faults there are, when, and for how long; what the processes are doing just then is up to the machine.
//
// With -break, a mistake is made, and the run ends as soon as the checker has found a violation. The writers forget (plain
// writes are not invalidated), are early (they are invalidated before the COMMIT), nohold (writes in InTx invalidate
// outside of it), or make it in the wrong order (what is made from a row is invalidated before the row). Values are untagged (some are not given their tag). Or the network loses commands and answers for them:
// release (one in ten invalidations), renew (renewals of holds), index (one in ten places in indexes). Or loads are blind: they
// do not see which tags are held. Or what is loaded from the standby is cached without WithReplicaLag (lag). Or one of three processes
// that have near copies does not tell the others (untold). Or the feed calls changes handled that it has not invalidated (unfed).
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
	nears     string
	near      bool // of a part
	verify    float64
	clocked   bool // the clock of Redis can be set
	faults    []string
	mistake   string
	processes int
	readers   int
	writers   int
	keys      int
	pause     time.Duration
	out       io.Writer
	postgres  func(t testing.TB) *testserver.OwnPostgres
}

// What -near may be.
const (
	halfNear = "half"
	onlyNear = "on"
	noNear   = "off"
)

// What -redis may be.
const (
	bothKinds = "both"
	single    = "single"
	cluster   = "cluster"
)

// parts are the plan with one kind of Redis each, without near copies and with them.
func (p plan) parts() (all []plan) {
	for _, part := range p.kinds() {
		switch near := part; p.nears {
		case noNear:
			all = append(all, part)
		case onlyNear:
			near.near = true
			all = append(all, near)
		default:
			near.near, near.length = true, part.length/2
			part.length -= near.length
			all = append(all, part, near)
		}
	}
	return all
}

func (p plan) kinds() []plan {
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

// nearAge is for how long near copies are served, 0 if there are none.
func (p plan) nearAge() time.Duration {
	if p.near {
		return nearAge
	}
	return 0
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
	p := plan{out: os.Stdout, postgres: startPostgres}
	var faults string
	f := flag.NewFlagSet("soak", flag.ExitOnError)
	f.DurationVar(&p.length, "for", time.Minute, "how long the processes run")
	f.Uint64Var(&p.seed, "seed", 1, "of the fault schedule")
	f.StringVar(&p.redis, "redis", bothKinds, "single, cluster (three primaries and their replicas), or both, one after the other")
	f.Float64Var(&p.verify, "verify", 0, "hits a second that each cache compares with its loader: none may be called stale unless it is")
	f.StringVar(&p.nears, "near", halfNear, "half (of the time all processes have near copies), on or off")
	f.StringVar(&faults, "faults", "all", "all, none, or a list of "+strings.Join(kindNames(), ","))
	f.StringVar(&p.mistake, "break", "", "a mistake that the checker must find: "+strings.Join(breaks[1:], ", "))
	f.IntVar(&p.processes, "processes", 3, "that read and write")
	f.IntVar(&p.readers, "readers", 6, "goroutines of a process")
	f.IntVar(&p.writers, "writers", 2, "goroutines of a process")
	f.IntVar(&p.keys, "keys", 32, "rows without tags, as many with, and as many that are loaded from a standby, and as many that are written by SQL, that all processes read; each has one more of all")
	f.DurationVar(&p.pause, "pause", 50*time.Millisecond, "between the writes of a goroutine, on average")
	_ = f.Parse(args)
	if !slices.Contains([]string{bothKinds, single, cluster}, p.redis) {
		return p, fmt.Errorf("-redis %s: it must be single, cluster or both", p.redis)
	}
	if !slices.Contains([]string{halfNear, onlyNear, noNear}, p.nears) {
		return p, fmt.Errorf("-near %s: it must be half, on or off", p.nears)
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
