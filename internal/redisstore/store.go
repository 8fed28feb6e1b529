// Package redisstore is the one door to Redis. It knows ops, each about one key: to read a document
// or a page of an index, or to run one of the scripts that keep the protocol. It lets callers that
// run side by side share round trips, bounds the time that each may spend, and knows which
// primaries can be reached. What a document means for a read, and when something is invalidated, is
// for others.
package redisstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Store is the Redis side: one method for each thing that the data path does to a document. Every script is given one key,
// or several that one server owns, so none of them cares which node of a Cluster that is, and a slot may move at any moment.
//
// The protocol stands on three rules, kept by the scripts:
//
//   - A token is made by the server in the script that stores it, from the caller's nonce and the server's time. A
//     command that a client, a proxy or the network executes twice makes two tokens, so the late one cannot revive a
//     lease that an Invalidate has voided. (A token made by the client can: SET NX with it, delayed, does just that.)
//   - A script that replaces a document compares first that it is the one that the work began with.
//   - Nothing but a fill that compared stores a value.
type Store struct {
	Config
	Client    boundedClient
	pool      *pool         // of a Client
	pools     sync.Map      // *pool by primary, of a ClusterClient
	batchers  [2]sync.Map   // *batcher by kind, and by primary
	Lease     time.Duration // how long a lease lives unless renewed
	nonces    nonces
	known     [len(scripts)]struct{ one, many atomic.Bool } // scripts that a server has been sent, see send
	scattered atomic.Bool                                   // a Client has said that keys must share a slot
	Large     Large
}

// A Config is what a store needs of its Cache.
type Config struct {
	RDB      redis.UniversalClient
	Timeout  time.Duration // what one call of the user may spend on Redis
	Books    Books         // of its tags
	Breaker  *breaker
	Start    func(func()) bool            // runs something in the background of the Cache
	Closing  context.Context              // ends with it
	Failed   func(err error)              // is told of each failure of Redis
	TooLarge func(name string, bytes int) // for WithRedisTimeout
}

func New(c Config) *Store {
	pool := newPool(c.RDB, "", "", c.Closing)
	return &Store{
		Config: c,
		Client: newBounded(c.RDB, c.Timeout, &pool.greetings),
		pool:   pool,
		Lease:  max(2*time.Second, 4*c.Timeout),
		nonces: newNonces(),
	}
}

// LookMany reads documents in one round trip to each server concerned.
func (s *Store) LookMany(ctx context.Context, b *Budget, names []string) []Reply {
	ops := make([]Op, len(names))
	for i, name := range names {
		ops[i] = readOp(name)
	}
	return s.read(ctx, b, ops)
}

// RunAlone is run, with a budget of its own.
func (s *Store) RunAlone(ctx context.Context, ops ...Op) []Reply {
	b := NewBudget(s.Timeout)
	return s.Run(ctx, &b, ops)
}

// Run runs scripts in one round trip to each server concerned. The scripts of other callers may
// share it.
func (s *Store) Run(ctx context.Context, b *Budget, ops []Op) []Reply {
	return perPrimary(s, b, ops, func(b *Budget, part []Op) []Reply {
		if s.mayShare(b, part) {
			return s.batcherOf(part[0].Name, Writes).run(ctx, b, part)
		}
		return s.runNow(ctx, b, Writes, part)
	})
}

// read reads in one round trip to each server concerned.
func (s *Store) read(ctx context.Context, b *Budget, ops []Op) []Reply {
	return perPrimary(s, b, ops, func(b *Budget, part []Op) []Reply { return s.runNow(ctx, b, Reads, part) })
}
