// Command bench compares this library with raw go-redis and with other libraries.
//
//	go run ./bench                     every workload, about a quarter of an hour
//	go run ./bench -quick              the same, in about a minute: to see that it works
//	go run ./bench -only hit,miss      some workloads
//	go run ./bench -peers aside,raw    some libraries
//	go run ./bench -out markdown -svg docs/img > tables.md   as docs/benchmarks.md has them
//	go run ./bench -only growth        how costs grow with keys, value size, instances and writes
//
// It starts its own redis-server and Postgres. See slots.go for how figures are taken, and each workload's file for what
// it measures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// A workload is one kind of use. run prints its tables.
type workload struct {
	name  string
	title string
	about string
	extra bool // only run when named
	run   func(*run) error
}

var workloads = append([]workload{
	hitWorkload, allocsWorkload, codecsWorkload, concurrentWorkload, missWorkload, concurrentMissesWorkload,
	concurrentInvalidationsWorkload, stampedeWorkload, batchWorkload, hungWorkload, mixWorkload, memoryWorkload,
	seenWorkload, raceWorkload, nearWorkload, nearProcessesWorkload, compileWorkload,
}, growthWorkloads...)

// A run is what the workloads share.
type run struct {
	ctx    context.Context
	host   *host
	addr   string        // of the Redis that all peers share
	admin  *redis.Client // for what is not measured
	quick  bool
	peers  []string // names of libraries; all if empty
	report *report
	svg    string // directory; none if empty
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == stampedeChild {
		if err := stampedeProcess(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(compileLog) != "" {
		if err := runTool(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	redis.SetLogger(&logging.VoidLogger{}) // a hung Redis has much to say
	h := &host{}
	err := bench(h)
	h.close()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(h *host) error {
	only := flag.String("only", "", "comma-separated `workloads`: "+workloadNames()+" (default all but growth)")
	peers := flag.String("peers", "", "comma-separated `libraries`: "+libraryNames()+" (default all)")
	quick := flag.Bool("quick", false, "a minute in all, with figures to match")
	svg := flag.String("svg", "", "draw plots into this `directory`")
	out := flag.String("out", "text", "text or markdown")
	flag.Parse()

	r := &run{ctx: context.Background(), host: h, quick: *quick, peers: split(*peers), svg: *svg}
	r.report = &report{out: os.Stdout, markdown: *out == "markdown"}
	chosen, err := choose(split(*only))
	if err != nil {
		return err
	}
	if err := r.validate(*out); err != nil {
		return err
	}
	r.addr = h.redis().Addr
	r.admin = redis.NewClient(&redis.Options{Addr: r.addr, ReadTimeout: time.Minute}) // FLUSHALL takes long after growth
	defer r.admin.Close()
	r.report.heading(machine(r.ctx, r.admin), "go run ./bench "+strings.Join(os.Args[1:], " "))
	var failed []error // which the workloads after it need not suffer from
	for _, w := range chosen {
		if err := r.do(w); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", w.name, err))
		}
	}
	return errors.Join(failed...)
}

func (r *run) validate(out string) error {
	if out != "text" && out != "markdown" {
		return fmt.Errorf("-out %s: text or markdown", out)
	}
	for _, name := range r.peers {
		if !slices.ContainsFunc(libraries, func(l library) bool { return l.name == name }) {
			return fmt.Errorf("-peers %s: there are %s", name, libraryNames())
		}
	}
	if r.svg != "" {
		return os.MkdirAll(r.svg, 0o755)
	}
	return nil
}

func (r *run) do(w workload) error {
	if err := r.admin.FlushAll(r.ctx).Err(); err != nil {
		return err
	}
	r.report.section(w.title, w.about)
	return w.run(r)
}

func choose(only []string) (chosen []workload, err error) {
	for _, name := range only {
		if !slices.ContainsFunc(workloads, func(w workload) bool { return w.isMeant(name) }) {
			return nil, fmt.Errorf("-only %s: there are %s", name, workloadNames())
		}
	}
	for _, w := range workloads {
		if slices.ContainsFunc(only, w.isMeant) || len(only) == 0 && !w.extra {
			chosen = append(chosen, w)
		}
	}
	return chosen, nil
}

// isMeant holds for its name and for that of its family: growth is all of growth-keys and the others.
func (w workload) isMeant(name string) bool {
	return w.name == name || strings.HasPrefix(w.name, name+"-")
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func workloadNames() string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return strings.Join(names, ", ")
}

func libraryNames() string {
	var names []string
	for _, l := range libraries {
		names = append(names, l.name)
	}
	return strings.Join(names, ", ")
}
