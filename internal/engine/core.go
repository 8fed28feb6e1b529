// Package engine is the protocol of the cache, without K and V: what becomes of one entry, of an invalidation that is pending, of a
// transaction, of tags and of near copies. Package aside is the typed edge on top of it. The engine sees the edge as two interfaces,
// edge for one entry and answer for a GetMany. What it asks of Redis goes through package redisstore. docs/code.md has the map.
package engine

import (
	"context"
	"sync/atomic"

	"github.com/asidecache/aside/internal/background"
	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/redisstore"
)

// A Core is all of a Cache that knows neither K nor V. It is compiled once, and not for each type that a service caches.
type Core struct {
	edge     edge
	Batches  bool // there is a batch loader
	Name     string
	Prefix   string // of all its Redis keys
	Config   Config
	version  int64                                 // of documents
	seal     *Seal                                 // nil without WithSeal
	Tagged   bool                                  // its entries may have tags
	LoadCtx  func(context.Context) context.Context // nil if none
	notFound []error

	Store      *redisstore.Store
	flights    flights // that use Redis
	direct     flights // that do not
	places     loadLimiter
	Clock      clock
	polls      polls
	refreshing refreshing
	warm       warm
	lastTook   atomic.Int64 // ms of a load, see usual
	streak     streak
	Peers      *Peers
	ledger     *ledger   // of the peers
	entries    *account  // of this name
	tags       *account  // of this scope
	NearLog    *near.Log // nil without WithNear
	background background.Group
	told       announcer          // of a Redis that is down, or back
	member     *redisstore.Member // as its breaker knows it
	logged     Seldom             // of an entry
	sample     sample             // of what was loaded
	Verifier   *verifier          // of hits; nil without WithVerify
	Teller
}

// tooLarge logs that a value is too large for WithRedisTimeout.
func (c *Core) tooLarge(name string, bytes int) {
	c.Config.Logger.Warn("aside: a value is too large to be read or written within WithRedisTimeout, so it is loaded",
		"cache", c.Name, "name", name, "bytes", bytes, "timeout", c.Config.Timeout)
}

// foreign counts a name under which something lies that is no string.
func (c *Core) foreign(name string) {
	c.n.wrongTypes.Add(1)
	if c.logged.now() {
		c.Config.Logger.Warn("aside: not a string, so not a cache entry: reads go to the loader", "cache", c.Name, "name", name)
	}
}
