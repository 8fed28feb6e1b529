package main

import (
	"context"
	"errors"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

// rawLibrary is no library: the GET, Unmarshal and SET that a team writes first, on go-redis with its default options.
// Nothing that stores in Redis through go-redis, one command at a time, can be faster.
var rawLibrary = library{
	name:   "raw",
	codecs: []string{"json", "sonic", "msgpack"},
	lacks:  "everything: a slow load stores the old row after the delete; every miss loads; reads while Redis is down",
	open:   func(e env) (peer, error) { return &rawPeer{e, newGoRedis(e.addr)}, nil },
}

func newGoRedis(addr string) *redis.Client { return redis.NewClient(&redis.Options{Addr: addr}) }

type rawPeer struct {
	env
	rdb *redis.Client
}

func (r *rawPeer) Get(ctx context.Context, id int64) (p Product, err error) {
	name := r.key(id)
	data, err := r.rdb.Get(ctx, name).Bytes()
	if err == nil {
		err = r.codec.Unmarshal(data, &p)
		return p, err
	}
	if !errors.Is(err, redis.Nil) {
		return p, err
	}
	if p, err = r.load(ctx, id); err != nil {
		return p, err
	}
	if data, err = r.codec.Marshal(&p); err != nil {
		return p, err
	}
	return p, r.rdb.Set(ctx, name, data, ttl).Err()
}

func (r *rawPeer) GetMany(ctx context.Context, ids []int64) (map[int64]Product, error) {
	values, err := r.rdb.MGet(ctx, r.keys(ids)...).Result()
	if err != nil {
		return nil, err
	}
	found := make(map[int64]Product, len(ids))
	var missing []int64
	for i, v := range values {
		s, ok := v.(string)
		if !ok {
			missing = append(missing, ids[i])
			continue
		}
		var p Product
		if err := r.codec.Unmarshal(unsafe.Slice(unsafe.StringData(s), len(s)), &p); err != nil {
			return nil, err
		}
		found[ids[i]] = p
	}
	return found, r.fillMany(ctx, missing, found)
}

func (r *rawPeer) fillMany(ctx context.Context, missing []int64, found map[int64]Product) error {
	if len(missing) == 0 {
		return nil
	}
	loaded, err := r.loadMany(ctx, missing)
	if err != nil {
		return err
	}
	pipe := r.rdb.Pipeline()
	for id, p := range loaded {
		data, err := r.codec.Marshal(&p)
		if err != nil {
			return err
		}
		pipe.Set(ctx, r.key(id), data, ttl)
		found[id] = p
	}
	_, err = pipe.Exec(ctx)
	return err
}

func (r *rawPeer) Invalidate(ctx context.Context, id int64) error {
	return r.rdb.Del(ctx, r.key(id)).Err()
}
func (r *rawPeer) Close() { r.rdb.Close() }
