package main

import (
	"context"

	"github.com/go-redis/cache/v9"
	"github.com/redis/go-redis/v9"
)

// goRedisCacheLibrary is go-redis/cache v9 without its local cache, which nothing invalidates in other processes.
var goRedisCacheLibrary = library{
	name:   "go-redis/cache",
	codecs: []string{"msgpack", "json", "sonic"},
	lacks:  "coherence with slow loads and joiners; one load across processes; a bound on waiting for a hung Redis",
	open: func(e env) (peer, error) {
		rdb := newGoRedis(e.addr)
		opts := &cache.Options{Redis: rdb}
		if _, isDefault := e.codec.(msgpackCodec); !isDefault {
			opts.Marshal, opts.Unmarshal = e.codec.Marshal, e.codec.Unmarshal
		}
		return &goRedisCachePeer{e, rdb, cache.New(opts)}, nil
	},
}

type goRedisCachePeer struct {
	env
	rdb   *redis.Client
	cache *cache.Cache
}

func (g *goRedisCachePeer) Get(ctx context.Context, id int64) (p Product, err error) {
	err = g.cache.Once(&cache.Item{
		Ctx: ctx, Key: g.key(id), Value: &p, TTL: ttl,
		Do: func(*cache.Item) (any, error) {
			loaded, err := g.load(ctx, id)
			return &loaded, err
		},
	})
	return p, err
}

func (g *goRedisCachePeer) Invalidate(ctx context.Context, id int64) error {
	return g.cache.Delete(ctx, g.key(id))
}
func (g *goRedisCachePeer) Close() { g.rdb.Close() }
