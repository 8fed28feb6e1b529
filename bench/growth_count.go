package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// A counted is a peer whose commands are counted as its client sends them: what scripts run inside Redis is left out.
type counted struct {
	peer
	name   string
	source *source
	sent   atomic.Int64
	trips  atomic.Int64
	stats  func() aside.Stats
	began  aside.Stats
}

func countedRaw(e env) (*counted, error) {
	c := &counted{name: rawLibrary.name, stats: func() aside.Stats { return aside.Stats{} }}
	rdb := newGoRedis(e.addr)
	rdb.AddHook(c)
	c.peer = &rawPeer{e, rdb}
	return c, nil
}

func newCountedAside(e env, opts ...aside.Option) (*counted, error) {
	c := &counted{name: asideLibrary.name}
	rdb := newGoRedis(e.addr)
	rdb.AddHook(c)
	cache, err := aside.New(rdb, e.prefix, e.load, append(opts, aside.WithLogger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		return nil, err
	}
	c.peer, c.stats = &asidePeer{cache, rdb}, cache.Stats
	return c, nil
}

// restart counts from here on.
func (c *counted) restart() {
	c.source.loads.Store(0)
	c.sent.Store(0)
	c.trips.Store(0)
	c.began = c.stats()
}

// since is what the library has counted since the restart, as far as it is asked for.
func (c *counted) since() aside.Stats {
	s := c.stats()
	return aside.Stats{Waits: s.Waits - c.began.Waits, RedisErrors: s.RedisErrors - c.began.RedisErrors}
}

func (c *counted) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.count(cmd)
		return next(ctx, cmd)
	}
}

func (c *counted) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.count(cmds...)
		return next(ctx, cmds)
	}
}

// count leaves out what a new connection says to begin with.
func (c *counted) count(cmds ...redis.Cmder) {
	n := 0
	for _, cmd := range cmds {
		if counts(cmd.Name()) {
			n++
		}
	}
	if n > 0 {
		c.sent.Add(int64(n))
		c.trips.Add(1)
	}
}

// A traffic is what went over the wire since Redis began, in bytes.
type traffic struct{ in, out float64 }

func (t traffic) sum() float64 { return t.in + t.out }

// traffic is Redis' own count, by INFO stats: what clients sent, and what they were sent.
func (r *run) traffic() (t traffic, err error) {
	info, err := r.admin.InfoMap(r.ctx, "stats").Result()
	if err != nil {
		return t, err
	}
	for field, to := range map[string]*float64{"total_net_input_bytes": &t.in, "total_net_output_bytes": &t.out} {
		if *to, err = strconv.ParseFloat(info["Stats"][field], 64); err != nil {
			return t, fmt.Errorf("INFO stats: %s: %w", field, err)
		}
	}
	return t, nil
}
