package aside

import (
	"cmp"
	"context"

	"github.com/asidecache/aside/internal/engine"
)

// A Change is what a write has changed of one Cache: rows, by their keys, or what has tags. Keys and Tags make one, and Invalidate
// takes any number of them, of caches with any K and V. The zero Change is none.
type Change struct{ of engine.Change }

// Keys says that the rows of keys have changed. It does nothing by itself; give it to Invalidate.
func (c *Cache[K, V]) Keys(keys ...K) Change { return Change{c.change(keys)} }

func (c *Cache[K, V]) change(keys []K) engine.Change {
	names, err := c.namesOf(keys)
	return engine.Change{Of: c.core, Names: names, Err: err}
}

// Tags says that the rows behind tags have changed, as InvalidateTags does. It does nothing by itself; give it to Invalidate.
func (c *Cache[K, V]) Tags(tags ...string) Change {
	return Change{engine.Change{Of: c.core, Tags: tags}}
}

// Invalidate says what one write has changed, of one cache or several: it removes what is cached for the keys, and for whatever has
// the tags, and voids the loads under way.
//
//	err := aside.Invalidate(ctx, products.Keys(id), lists.Keys(old, new), lists.Tags("category:7"))
//
// Outside InTx, call it after the change is committed. When it returns nil, no Get that starts
// later, in any process, returns what was loaded before Invalidate was called. A loader that reads
// other caches may make one of these entries from another. No such Get returns what was made from
// an old row: all are removed in one step, or held before any of them is released.
//
// Invalidate waits for Redis to confirm. One key, or up to 500 keys on one server, take one round
// trip. More keys, or several on a Cluster, take two round trips to each server concerned for each
// 500 keys. Tags take those two as well, and three more for each thousand of the entries that have
// them. Two of these three are made for each 500 tags even if no entry has them. Each round trip
// waits at most for the longest WithRedisTimeout of the caches. If a server confirms none of 500
// keys, the rest of its keys is left to the background. If Redis is known to be down, nothing
// waits: the error comes at once. Caches with other clients are done one after the other, in the
// order in which they are given. It is sent even if ctx has ended, and does not end with it: the
// rows have changed, whether or not anybody still listens.
//
// An error says that Redis did not confirm all of it. What it did not confirm is tried again in the
// background until it is confirmed, together with what this process has invalidated since through
// the same client. Until then the caches of this process that were given that client read those
// keys from the loader. If tags are not confirmed, those of them with WithTags read all their
// entries from the loader. Other caches may serve what is cached. After a commit do not return that
// error to the caller that asked for the write: the write has happened, and a second try would do
// it twice.
//
// Inside InTx, it holds the keys and the tags until the transaction has ended: nothing is cached for them, and this process and all
// others load. An error says that a hold could not be placed, or that earlier ones were not renewed in time, while there is
// still time to roll back. If it is ignored, they are invalidated when InTx ends after a commit, and held then if the
// outcome is unknown.
func Invalidate(ctx context.Context, changes ...Change) error {
	all := make([]engine.Change, len(changes))
	for i, ch := range changes {
		all[i] = ch.of
	}
	return engine.Invalidate(ctx, all...)
}

// Invalidate is the function of that name for keys of this Cache.
func (c *Cache[K, V]) Invalidate(ctx context.Context, keys ...K) error {
	return engine.Invalidate(ctx, c.change(keys))
}

// InvalidateTags says that the rows behind tags have changed. It reaches every entry that was
// filled with one of the tags, in every cache on this Redis that has WithTags and this scope, and
// every load under way that would fill such an entry. For each of these it does what Invalidate
// does for one. It returns nil at once if there are no tags. It is the function Invalidate for
// tags.
//
// If an ACL protects some of the entries (NOPERM), which are another application's then, it invalidates the others and returns
// an error. Nothing but those entries is kept from reads, and tried again.
//
// Inside InTx it holds the tags until the transaction has ended, as Invalidate does keys: nothing is filled that has one of
// them. Reads inside InTx go to the loader from here on, if their cache has WithTags.
func (c *Cache[K, V]) InvalidateTags(ctx context.Context, tags ...string) error {
	return engine.Invalidate(ctx, c.Tags(tags...).of)
}

// namesOf returns the names of keys. It leaves out those that cannot be rendered, under which nothing is cached, and returns the
// first error.
func (c *Cache[K, V]) namesOf(keys []K) (names []string, first error) {
	names = make([]string, 0, len(keys))
	for _, key := range keys {
		name, err := c.typed.nameOf(key)
		if err == nil {
			names = append(names, name)
		}
		first = cmp.Or(first, err)
	}
	return names, first
}

// InvalidateAll says that any row may have changed: it does for every entry of the Cache, and for every load under way,
// what Invalidate does for one.
//
// It scans the key space of every primary twice: while the first scan goes on, a loader that reads
// caches may make an entry from another one that is still the old one. (Where one is made from
// another that is made from a third, call it twice.) So it takes time in proportion to all that
// Redis holds, this Cache's or not. It sends twice a SCAN for each thousand keys, and one command
// for each 500 entries, or in a Cluster for each entry. It stops when ctx ends, with its error;
// call it again. Each of its commands waits at most WithRedisTimeout. A Cluster whose slots move
// meanwhile is scanned again. Through an AutoPipeliner over a Cluster it returns an error, since
// that shows one node only.
//
// A command that Redis does not answer is sent again, up to three times, so that a few that are lost do not matter. Where a
// server was restarted, or replaced by its replica, the scan of it begins again. If Redis fails it all the same, it returns the
// error and is tried again in the background. Until that has succeeded, this Cache, and what else this process has of its name
// and client, reads all keys from the loader. While InvalidateAll runs for the first time, reads may use Redis: they overlap it.
//
// Inside InTx it acts once the transaction has ended, before InTx returns, and reads inside go to
// the loader. If the outcome is unknown it acts again in the background, WithHold later. By then
// the COMMIT has landed, if it ever lands. It holds nothing: until it has acted, other reads may be
// served what is cached.
func (c *Cache[K, V]) InvalidateAll(ctx context.Context) error {
	return engine.InvalidateAll(ctx, []*engine.Core{c.core})
}
