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
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/asidecache/aside"
	"github.com/redis/go-redis/v9/logging"
)

type config struct {
	addr     string
	redis    string
	postgres string
	load     loadConfig
	options  []aside.Option // of every cache
}

func main() {
	var cfg config
	flag.StringVar(&cfg.addr, "addr", "localhost:8080", "`address` to listen on")
	flag.StringVar(&cfg.redis, "redis", "", "`address` of Redis, or of the nodes of a Cluster with commas between them; embedded if empty")
	flag.StringVar(&cfg.postgres, "postgres", "", "`DSN` of Postgres; an embedded SQLite if empty")
	flag.DurationVar(&cfg.load.duration, "load", 0, "instead of serving, read and write for so long, first without the cache and then with it, and print what that took")
	flag.Float64Var(&cfg.load.rate, "rate", 2000, "reads a second of -load; as many as go if 0")
	flag.BoolVar(&cfg.load.noInvalidate, "no-invalidate", false, "let -load forget to invalidate, to see it count stale reads")
	flag.Parse()
	if flag.NArg() > 0 || cfg.load.duration < 0 || cfg.load.rate < 0 {
		flag.Usage()
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, cfg)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "productpage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg config) error {
	logging.Disable() // go-redis reports each failed connection; aside reports once that Redis is down
	a, err := newApp(ctx, cfg)
	if err != nil {
		return err
	}
	defer a.close()
	if cfg.load.duration > 0 {
		return a.runLoad(ctx, os.Stdout, cfg.load)
	}
	listener, err := net.Listen("tcp", cfg.addr)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/products/1\n", listener.Addr())
	return a.serve(ctx, listener)
}
