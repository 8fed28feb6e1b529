package main

import (
	"context"
	"errors"

	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/stores/cache"
	"github.com/zeromicro/go-zero/core/stores/redis"
	"github.com/zeromicro/go-zero/core/syncx"
)

// goZeroLibrary is the cache below go-zero's generated models. Its client and its JSON are its own.
var goZeroLibrary = library{
	name:   "go-zero",
	codecs: []string{"json"},
	lacks:  "coherence with slow loads and joiners; one load across processes; reads while Redis is down; errors of Del",
	open:   openGoZero,
}

// go-zero writes a line of statistics to our output every minute, from the moment that it is linked in.
func init() { logx.Disable() }

var errNoProduct = errors.New("no product")

type goZeroPeer struct {
	env
	cache cache.Cache
}

func openGoZero(e env) (peer, error) {
	rds, err := redis.NewRedis(redis.RedisConf{
		Host: e.addr, Type: redis.NodeType, NonBlock: true, MaintNotifications: "disabled", Protocol: 3,
	})
	if err != nil {
		return nil, err
	}
	node := cache.NewNode(rds, syncx.NewSingleFlight(), cache.NewStat("bench"), errNoProduct, cache.WithExpiry(ttl))
	return &goZeroPeer{e, node}, nil
}

func (g *goZeroPeer) Get(ctx context.Context, id int64) (p Product, err error) {
	err = g.cache.TakeCtx(ctx, &p, g.key(id), func(v any) error {
		loaded, err := g.load(ctx, id)
		*v.(*Product) = loaded
		return err
	})
	return p, err
}

func (g *goZeroPeer) Invalidate(ctx context.Context, id int64) error {
	return g.cache.DelCtx(ctx, g.key(id))
}
func (g *goZeroPeer) Close() {} // go-zero keeps its clients for the life of the process
