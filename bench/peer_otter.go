package main

import (
	"context"

	"github.com/maypok86/otter/v2"
)

// otterLibrary is a map in the process: no Redis, no decoding, and nobody to tell the other processes. It is the floor
// that no cache in Redis reaches.
var otterLibrary = library{
	name:   "otter",
	codecs: []string{"none"},
	local:  true,
	lacks:  "other processes: each has its own copy and its own loads; callers share one value",
	open: func(e env) (peer, error) {
		c, err := otter.New(&otter.Options[int64, Product]{
			MaximumSize: 100_000, ExpiryCalculator: otter.ExpiryWriting[int64, Product](ttl),
		})
		return &otterPeer{e, c}, err
	},
}

type otterPeer struct {
	env
	cache *otter.Cache[int64, Product]
}

func (o *otterPeer) Get(ctx context.Context, id int64) (Product, error) {
	return o.cache.Get(ctx, id, otter.LoaderFunc[int64, Product](o.load))
}

func (o *otterPeer) GetMany(ctx context.Context, ids []int64) (map[int64]Product, error) {
	return o.cache.BulkGet(ctx, ids, otter.BulkLoaderFunc[int64, Product](o.loadMany))
}

func (o *otterPeer) Invalidate(_ context.Context, id int64) error {
	o.cache.Invalidate(id)
	return nil
}

func (o *otterPeer) Close() { o.cache.StopAllGoroutines() }
