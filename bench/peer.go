package main

import (
	"context"
	"strconv"
	"time"
)

// ttl is the TTL of every entry: longer than any run, so that no figure has an expiry in it.
const ttl = time.Hour

// A peer is one library with one codec on one Redis, wired up as its documentation shows for cache-aside reads.
type peer interface {
	Get(ctx context.Context, id int64) (Product, error)
	Invalidate(ctx context.Context, id int64) error
	Close()
}

// A batcher is a peer whose library reads many keys in one call.
type batcher interface {
	GetMany(ctx context.Context, ids []int64) (map[int64]Product, error)
}

// An env is what a peer is opened with.
type env struct {
	addr     string // of Redis
	prefix   string // of its key names
	codec    codec
	load     func(ctx context.Context, id int64) (Product, error)
	loadMany func(ctx context.Context, ids []int64) (map[int64]Product, error)
}

func (e env) key(id int64) string {
	b := append(make([]byte, 0, 64), e.prefix...)
	return string(strconv.AppendInt(append(b, ':'), id, 10))
}

func (e env) keys(ids []int64) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = e.key(id)
	}
	return names
}

// A library is what the tables compare.
type library struct {
	name   string
	codecs []string // that it allows, its default first
	local  bool     // its hits are served from the memory of the process
	lacks  string   // what it does not promise, by its documentation and source
	sleeps bool     // a read that waits for another's load is never woken: no place among writes without deadlines
	open   func(env) (peer, error)
}

var libraries = []library{
	rawLibrary, asideLibrary, goRedisCacheLibrary, rueidisLibrary, rueidisAsidePlainLibrary, rueidisAsideLibrary,
	goZeroLibrary, sturdycLibrary, rockscacheLibrary, otterLibrary,
}

// A variant is a library with one of its codecs.
type variant struct {
	library
	codec string
}

func (v variant) String() string { return v.name + " " + v.codec }

// base is what ratios are to.
var base = variant{rawLibrary, "json"}

func (v variant) isBase() bool { return v.String() == base.String() }

// byDefault reports whether this is the library as it comes.
func (v variant) byDefault() bool { return v.codec == v.codecs[0] }

// A database is what peers load from.
type database interface {
	load(ctx context.Context, id int64) (Product, error)
	loadMany(ctx context.Context, ids []int64) (map[int64]Product, error)
}

func (v variant) openOn(addr string, db database) (peer, error) {
	return v.open(env{
		addr: addr, prefix: "bench-" + v.name + "-" + v.codec, codec: codecs[v.codec], load: db.load, loadMany: db.loadMany,
	})
}
