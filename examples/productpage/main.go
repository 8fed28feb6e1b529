// Command productpage serves products over HTTP, out of Postgres and through Redis. Without flags it brings both along.
//
//	go run ./examples/productpage
//	go run ./examples/productpage -redis localhost:6379 -postgres postgres://localhost/shop
//	go run ./examples/productpage -load 10s
//
// catalog.go, sql.go and sqlwrite.go are the repository as it was before the cache; cached.go is all that the cache adds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/asidecache/aside"
	"github.com/redis/go-redis/v9/logging"
)

type config struct {
	addr     string
	redis    string
	postgres string
	cost     cost
	load     loadConfig
	verify   float64
	metrics  bool
	traces   io.Writer // nil: none
	seal     bool
	feed     bool
	near     int            // copies in the process that each cache may have; 0: no cache knows of any
	options  []aside.Option // of every cache
}

func main() {
	cfg, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	} else if err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, cfg)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "productpage:", err)
		os.Exit(1)
	}
}

// parseFlags has said what is wrong when it returns an error.
func parseFlags(args []string) (cfg config, err error) {
	flags := flag.NewFlagSet("productpage", flag.ContinueOnError)
	flags.StringVar(&cfg.addr, "addr", "localhost:8080", "`address` to listen on")
	flags.StringVar(&cfg.redis, "redis", "", "`address` of Redis, or of the nodes of a Cluster with commas between them; embedded if empty")
	flags.StringVar(&cfg.postgres, "postgres", "", "`DSN` of Postgres; an embedded SQLite if empty")
	flags.BoolVar(&cfg.seal, "seal", false, "seal what Redis holds, with a key that is made at the start")
	flags.BoolVar(&cfg.feed, "feed", false, "invalidate what is written past the cache, as a feed of the commits of -postgres tells")
	flags.IntVar(&cfg.near, "near", 10_000, "how many near copies each cache may have in this process, once /live has switched them on; 0 for no near copies at all")
	query := flags.Duration("query", 10*time.Millisecond, "how long each query takes one core of the database; 0 for as long as it takes")
	cores := flags.Int("cores", 4, "how many cores the database has")
	flags.DurationVar(&cfg.load.duration, "load", 0, "instead of serving, read and write for so long, first without the cache and then with it, and print what that took")
	flags.Float64Var(&cfg.load.rate, "rate", 1000, "reads a second of -load; as many as go if 0")
	flags.BoolVar(&cfg.load.noInvalidate, "no-invalidate", false, "let -load forget to invalidate, to see it count stale reads")
	flags.Float64Var(&cfg.verify, "verify", 2, "how many hits a second of each cache are compared with the database, to find who forgets to invalidate; 0 for none")
	flags.BoolVar(&cfg.metrics, "metrics", false, "serve /metrics for Prometheus, during -load as well")
	traces := flags.Bool("traces", false, "write OpenTelemetry spans of requests and loads to stdout")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	if *traces {
		cfg.traces = os.Stdout
	}
	if err := check(flags, cfg, *query, *cores); err != nil {
		fmt.Fprintln(flags.Output(), "productpage:", err)
		flags.Usage()
		return config{}, err
	}
	cfg.cost = newCost(*query, *cores)
	return cfg, nil
}

// check refuses what makes no sense.
func check(flags *flag.FlagSet, cfg config, query time.Duration, cores int) error {
	const maxRate = 1e6
	switch load := cfg.load; {
	case flags.NArg() > 0:
		return fmt.Errorf("what is %q?", flags.Arg(0))
	case load.duration < 0:
		return errors.New("-load must not be negative")
	case !(load.rate >= 0 && load.rate <= maxRate): // NaN neither
		return fmt.Errorf("-rate must lie between 0 and %d", int(maxRate))
	case !(cfg.verify >= 0 && cfg.verify <= maxRate):
		return fmt.Errorf("-verify must lie between 0 and %d", int(maxRate))
	case cfg.feed && cfg.postgres == "":
		return errors.New("-feed needs -postgres, with wal_level = logical: the embedded SQLite tells nobody of its commits")
	case cfg.near < 0 || cfg.near > maxRate:
		return fmt.Errorf("-near must lie between 0 and %d", int(maxRate))
	case query < 0 || cores < 1:
		return errors.New("-query must not be negative, and -cores must be at least 1")
	}
	return nil
}

func run(ctx context.Context, cfg config) error {
	logging.Disable() // go-redis reports each failed connection; aside reports once that Redis is down
	a, err := newApp(ctx, cfg)
	if err != nil {
		return err
	}
	defer a.close()
	if cfg.load.duration > 0 {
		stop, err := a.seeing.serveMetrics(cfg.addr)
		if err != nil {
			return err
		}
		defer stop()
		return a.runLoad(ctx, os.Stdout, cfg.load)
	}
	listener, err := net.Listen("tcp", cfg.addr)
	if err != nil {
		return err
	}
	fmt.Printf("the shop   http://%[1]s/\nthe load   http://%[1]s/live\n", listener.Addr())
	return a.serve(ctx, listener)
}
