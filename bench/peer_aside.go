package main

import (
	"context"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

var asideLibrary = library{
	name:   "aside",
	codecs: []string{"json", "sonic", "msgpack"},
	lacks:  "–",
	open:   func(e env) (peer, error) { return openAside(e) },
}

type asidePeer struct {
	cache *aside.Cache[int64, Product]
	rdb   *redis.Client
}

func openAside(e env, more ...aside.Option) (peer, error) {
	rdb := newGoRedis(e.addr)
	opts := []aside.Option{
		aside.WithTTL(ttl), aside.WithBatch(e.loadMany), aside.WithLogger(slog.New(slog.DiscardHandler)),
	}
	if _, isDefault := e.codec.(jsonCodec); !isDefault {
		opts = append(opts, aside.WithCodec(e.codec))
	}
	c, err := aside.New(rdb, e.prefix, e.load, append(opts, more...)...)
	return &asidePeer{c, rdb}, err
}

func (a *asidePeer) Get(ctx context.Context, id int64) (Product, error) { return a.cache.Get(ctx, id) }

func (a *asidePeer) GetMany(ctx context.Context, ids []int64) (map[int64]Product, error) {
	return a.cache.GetMany(ctx, ids)
}

func (a *asidePeer) Invalidate(ctx context.Context, id int64) error {
	return a.cache.Invalidate(ctx, id)
}

func (a *asidePeer) Close() {
	a.cache.Close()
	a.rdb.Close()
}
