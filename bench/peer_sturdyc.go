package main

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/viccon/sturdyc"
)

// sturdycLibrary is sturdyc with Redis as its distributed storage. The TTL of its memory is a nanosecond, so that hits
// come from Redis as everyone else's do; with a longer one, nothing would tell this process of another's writes.
var sturdycLibrary = library{
	name:   "sturdyc",
	codecs: []string{"json"},
	lacks:  "invalidation of Redis; coherence; one load across processes; a bound on a hung Redis; a fill when it returns",
	open:   openSturdyc,
}

type sturdycPeer struct {
	env
	rdb    *redis.Client
	client *sturdyc.Client[Product]
}

func openSturdyc(e env) (peer, error) {
	rdb := newGoRedis(e.addr)
	const capacity, shards, evictPercent = 100_000, 64, 10
	client := sturdyc.New[Product](capacity, shards, time.Nanosecond, evictPercent,
		sturdyc.WithEvictionInterval(time.Hour), sturdyc.WithNoContinuousEvictions(),
		sturdyc.WithDistributedStorage(sturdycStorage{rdb}), sturdyc.WithLog(&sturdyc.NoopLogger{}))
	return &sturdycPeer{e, rdb, client}, nil
}

func (s *sturdycPeer) Get(ctx context.Context, id int64) (Product, error) {
	return s.client.GetOrFetch(ctx, s.key(id), func(ctx context.Context) (Product, error) { return s.load(ctx, id) })
}

func (s *sturdycPeer) GetMany(ctx context.Context, ids []int64) (map[int64]Product, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	name := func(text string) string { return s.prefix + ":" + text }
	found, err := s.client.GetOrFetchBatch(ctx, texts, name, s.fetchMany)
	if err != nil {
		return nil, err
	}
	products := make(map[int64]Product, len(found))
	for _, p := range found {
		products[p.ID] = p
	}
	return products, nil
}

func (s *sturdycPeer) fetchMany(ctx context.Context, texts []string) (map[string]Product, error) {
	ids := make([]int64, len(texts))
	for i, text := range texts {
		ids[i], _ = strconv.ParseInt(text, 10, 64) // which GetMany has formatted
	}
	loaded, err := s.loadMany(ctx, ids)
	found := make(map[string]Product, len(loaded))
	for id, p := range loaded {
		found[strconv.FormatInt(id, 10)] = p
	}
	return found, err
}

func (s *sturdycPeer) Invalidate(ctx context.Context, id int64) error {
	s.client.Delete(s.key(id))
	return s.rdb.Del(ctx, s.key(id)).Err()
}

func (s *sturdycPeer) Close() { s.rdb.Close() }

// sturdycStorage is the adapter that sturdyc asks its users to write.
type sturdycStorage struct{ rdb *redis.Client }

func (s sturdycStorage) Get(ctx context.Context, key string) ([]byte, bool) {
	b, err := s.rdb.Get(ctx, key).Bytes()
	return b, err == nil
}

func (s sturdycStorage) Set(ctx context.Context, key string, value []byte) {
	s.rdb.Set(ctx, key, value, ttl)
}

func (s sturdycStorage) GetBatch(ctx context.Context, keys []string) map[string][]byte {
	values, _ := s.rdb.MGet(ctx, keys...).Result() // an error is all misses
	found := make(map[string][]byte, len(keys))
	for i, v := range values {
		if text, ok := v.(string); ok {
			found[keys[i]] = []byte(text)
		}
	}
	return found
}

func (s sturdycStorage) SetBatch(ctx context.Context, records map[string][]byte) {
	pipe := s.rdb.Pipeline()
	for key, value := range records {
		pipe.Set(ctx, key, value, ttl)
	}
	_, _ = pipe.Exec(ctx) // the interface has no error
}
