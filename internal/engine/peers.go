package engine

import (
	"reflect"
	"runtime"
	"sync"
	"weak"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/redisstore"
)

// Peers are what the caches of this process that were given the same client share: what is pending, and what is known of a Redis that
// is down.
type Peers struct {
	ledger   *ledger
	breakers redisstore.Breakers
}

// peersOf returns those of a client. They are there as long as any Cache has them.
func peersOf(rdb redis.UniversalClient) *Peers {
	if !reflect.ValueOf(rdb).Comparable() {
		return newPeers(rdb) // a client of the user's own making
	}
	for {
		shared := newPeers(rdb)
		pointer := weak.Make(shared)
		before, found := peersByClient.LoadOrStore(rdb, pointer)
		if !found {
			runtime.AddCleanup(shared, func(rdb redis.UniversalClient) { peersByClient.CompareAndDelete(rdb, pointer) }, rdb)
			return shared
		}
		if shared = before.(weak.Pointer[Peers]).Value(); shared != nil {
			return shared
		}
		peersByClient.CompareAndDelete(rdb, before)
	}
}

var peersByClient sync.Map // weak.Pointer[peers] by client

func newPeers(rdb redis.UniversalClient) *Peers { return &Peers{ledger: newLedger(rdb)} }
