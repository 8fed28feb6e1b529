package aside

import (
	"context"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/redis/go-redis/v9"
)

// owedTags are the invalidations of tags that Redis has not confirmed. Nobody knows which entries have the tags, so until
// they are confirmed, this process reads no entry that might from the cache. All its caches on one client share them.
type owedTags struct {
	owed
	lag atomic.Int64 // the longest WithReplicaLag of the caches on the client
}

// lags notes the WithReplicaLag of one of the caches.
func (o *owedTags) lags(d time.Duration) {
	for {
		if old := o.lag.Load(); old >= int64(d) || o.lag.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

func newOwedTags(rdb redis.UniversalClient) *owedTags {
	return &owedTags{owed: owed{most: mostOwed(rdb)}}
}

// owedTagsOf finds the owedTags of a client, for as long as any Cache has them.
func owedTagsOf(rdb redis.UniversalClient) *owedTags {
	if !reflect.TypeOf(rdb).Comparable() {
		return newOwedTags(rdb) // a client of the user's own making
	}
	for {
		shared := newOwedTags(rdb)
		pointer := weak.Make(shared)
		before, found := owedTagsByClient.LoadOrStore(rdb, pointer)
		if !found {
			runtime.AddCleanup(shared, func(rdb redis.UniversalClient) { owedTagsByClient.CompareAndDelete(rdb, pointer) }, rdb)
			return shared
		}
		if shared = before.(weak.Pointer[owedTags]).Value(); shared != nil {
			return shared
		}
		owedTagsByClient.CompareAndDelete(rdb, before)
	}
}

var owedTagsByClient sync.Map // weak.Pointer[owedTags] by redis.UniversalClient

// oweTags has tags invalidated in the background, and kept from reads until then.
func (c *Cache[K, V]) oweTags(tags []string) {
	c.owedTags.incur(tags)
	c.retryTags(c.owedTags.fail(tags))
}

// owesTags reports whether an entry of this Cache may have a tag that is owed. A Cache that was closed may have left it
// behind, and is relieved here.
func (c *Cache[K, V]) owesTags() bool {
	if c.tagsFunc == nil || c.owedTags.count.Load() == 0 {
		return false // nearly always
	}
	c.retryTags(c.owedTags.resume())
	return true
}

func (c *Cache[K, V]) retryTags(begin bool) {
	c.payInBackground(begin, &c.owedTags.owed, c.payTagsOnce)
}

// payTagsOnce tries each of the tags that are owed, and reports whether any was.
func (c *Cache[K, V]) payTagsOnce(ctx context.Context) bool {
	tags, all, number := c.owedTags.due()
	if all && c.removeEveryTag(ctx) == nil {
		c.owedTags.settleAll(number, true)
	}
	for tag := range slices.Chunk(tags, 1) {
		if ctx.Err() == nil && c.removeTags(ctx, tag) == nil {
			c.owedTags.settle(tag, number)
		}
	}
	return all || len(tags) > 0
}
