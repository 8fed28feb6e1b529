package main

import (
	"context"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidisaside"
)

// rueidisLibrary is to rueidis what raw is to go-redis: a GET, which rueidis pipelines with those of other goroutines.
var rueidisLibrary = library{
	name:   "rueidis",
	codecs: []string{"json", "sonic"},
	lacks:  "everything: a client, not a cache",
	open: func(e env) (peer, error) {
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{e.addr}, DisableCache: true})
		return &rueidisPeer{e, client}, err
	},
}

type rueidisPeer struct {
	env
	client rueidis.Client
}

func (r *rueidisPeer) Get(ctx context.Context, id int64) (p Product, err error) {
	name := r.key(id)
	s, err := r.client.Do(ctx, r.client.B().Get().Key(name).Build()).ToString()
	if err == nil {
		err = decodeString(r.codec, s, &p)
		return p, err
	}
	if !rueidis.IsRedisNil(err) {
		return p, err
	}
	if p, err = r.load(ctx, id); err != nil {
		return p, err
	}
	if s, err = encodeString(r.codec, &p); err != nil {
		return p, err
	}
	return p, r.client.Do(ctx, r.client.B().Set().Key(name).Value(s).Ex(ttl).Build()).Error()
}

func (r *rueidisPeer) Invalidate(ctx context.Context, id int64) error {
	return r.client.Do(ctx, r.client.B().Del().Key(r.key(id)).Build()).Error()
}

func (r *rueidisPeer) Close() { r.client.Close() }

// rueidisAsideLibrary is rueidis' own cache-aside. Its hits are served from the memory of the process, which Redis
// tells of changes.
var rueidisAsideLibrary = library{
	name:   "rueidisaside",
	codecs: []string{"json", "sonic"},
	local:  true,
	lacks:  "coherence between processes until Redis' push has arrived; reads while Redis is down",
	open:   func(e env) (peer, error) { return openRueidisAside(e, false) },
}

// rueidisAsidePlainLibrary is the same without that memory. Waiting for another process needs that
// memory as well.
var rueidisAsidePlainLibrary = library{
	name:   "rueidisaside -csc",
	codecs: []string{"json", "sonic"},
	sleeps: true,
	lacks:  "waking those who wait for a load: measured for its hits alone; reads while Redis is down",
	open:   func(e env) (peer, error) { return openRueidisAside(e, true) },
}

type rueidisAsidePeer struct {
	env
	client rueidisaside.CacheAsideClient
	typed  rueidisaside.TypedCacheAsideClient[Product]
}

func openRueidisAside(e env, disableCache bool) (peer, error) {
	client, err := rueidisaside.NewClient(rueidisaside.ClientOption{
		ClientOption: rueidis.ClientOption{InitAddress: []string{e.addr}, DisableCache: disableCache},
	})
	if err != nil {
		return nil, err
	}
	typed := rueidisaside.NewTypedCacheAsideClient(client,
		func(p *Product) (string, error) { return encodeString(e.codec, p) },
		func(s string) (*Product, error) {
			p := new(Product)
			return p, decodeString(e.codec, s, p)
		})
	return &rueidisAsidePeer{e, client, typed}, nil
}

func (r *rueidisAsidePeer) Get(ctx context.Context, id int64) (Product, error) {
	p, err := r.typed.Get(ctx, ttl, r.key(id), func(ctx context.Context, _ string) (*Product, error) {
		loaded, err := r.load(ctx, id)
		return &loaded, err
	})
	if err != nil {
		return Product{}, err
	}
	return *p, nil
}

func (r *rueidisAsidePeer) Invalidate(ctx context.Context, id int64) error {
	return r.typed.Del(ctx, r.key(id))
}
func (r *rueidisAsidePeer) Close() { r.client.Close() }
