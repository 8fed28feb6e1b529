package main

import (
	"context"

	"github.com/dtm-labs/rockscache"
	"github.com/redis/go-redis/v9"
)

// rockscacheLibrary is rockscache with its default options, which is its weak mode: reads after TagAsDeleted get the old
// value until the new one has been loaded.
var rockscacheLibrary = library{
	name:   "rockscache",
	codecs: []string{"json", "sonic"},
	lacks:  "new value after an invalidation (it returns the old one and refreshes); reads while Redis is down; short waits",
	open: func(e env) (peer, error) {
		rdb := newGoRedis(e.addr)
		return &rockscachePeer{e, rdb, rockscache.NewClient(rdb, rockscache.NewDefaultOptions())}, nil
	},
}

type rockscachePeer struct {
	env
	rdb    *redis.Client
	client *rockscache.Client
}

func (r *rockscachePeer) Get(ctx context.Context, id int64) (p Product, err error) {
	s, err := r.client.Fetch2(ctx, r.key(id), ttl, func() (string, error) {
		loaded, err := r.load(ctx, id)
		if err != nil {
			return "", err
		}
		return encodeString(r.codec, &loaded)
	})
	if err != nil {
		return p, err
	}
	err = decodeString(r.codec, s, &p)
	return p, err
}

func (r *rockscachePeer) GetMany(ctx context.Context, ids []int64) (map[int64]Product, error) {
	texts, err := r.client.FetchBatch2(ctx, r.keys(ids), ttl, func(missing []int) (map[int]string, error) {
		return r.fetchMany(ctx, ids, missing)
	})
	if err != nil {
		return nil, err
	}
	found := make(map[int64]Product, len(ids))
	for i, s := range texts {
		var p Product
		if err := decodeString(r.codec, s, &p); err != nil {
			return nil, err
		}
		found[ids[i]] = p
	}
	return found, nil
}

func (r *rockscachePeer) fetchMany(ctx context.Context, ids []int64, missing []int) (map[int]string, error) {
	wanted := make([]int64, len(missing))
	for i, at := range missing {
		wanted[i] = ids[at]
	}
	loaded, err := r.loadMany(ctx, wanted)
	if err != nil {
		return nil, err
	}
	texts := make(map[int]string, len(missing))
	for _, at := range missing {
		p := loaded[ids[at]]
		if texts[at], err = encodeString(r.codec, &p); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

func (r *rockscachePeer) Invalidate(ctx context.Context, id int64) error {
	return r.client.TagAsDeleted2(ctx, r.key(id))
}

func (r *rockscachePeer) Close() { r.rdb.Close() }
