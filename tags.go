package aside

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/watch"
)

// Tags: how what was filled from a row is found, when it is not the entry of the row.
//
// Three kinds of Redis keys keep book of them, of all caches together. They hold no colon, so no cache has them.
//
//	aside-tags           the journal, a stream: each record names tags that were invalidated
//	{aside-tags}-held    the tags that transactions hold, a sorted set by expiry, in the same slot of a Cluster
//	aside-tag=<tag>      the index, a sorted set by expiry: the entries that were filled with the tag
//
// The tags of a value are known only when it is loaded. So a load begins with a mark: the last record of the journal, and
// the tags that are held. It ends with three steps, each of which waits for the one before:
//
//  1. add the entry to the index of each of its tags
//  2. read the journal: the marked record is still there, no later one names one of the tags, and none was held
//  3. fill, which replaces the document that the load started from
//
// InvalidateTags takes three steps, too:
//
//  1. append a record to the journal
//  2. read the indexes of the tags
//  3. invalidate each entry found there; only then take them out of the index
//
// A load that began before its step 1 has its mark before the record. If it reads the journal after the record, it does
// not fill. If before, then it has added the entry to the index before: InvalidateTags finds it there, and removes what
// the load has filled, or voids what it would replace. The keys may live on different nodes: nothing but the order of the
// steps counts.
//
// Inside InTx the tags are held first, and so on until the transaction has ended: a load that begins meanwhile, and might
// have read the row from before the commit, does not fill, however late it ends.
//
// What may come late or twice: a record, which costs a fill or two; an index, which adds the entry again; the removal from
// an index, which compares scores. A score is made by the server, another one each time that an entry is added.
// (To remove by name alone would lose an entry that has been added since.)
const (
	journalName   = "aside-tags"
	heldTagsName  = "{aside-tags}-held"
	indexPrefix   = "aside-tag="
	journalLife   = 24 * time.Hour
	journalLength = 4096 // records that are kept: a load during which more were made does not fill
	indexPage     = 1000
)

// InvalidateTags says that the rows behind tags have changed: it does for every entry that was filled with one of them, in
// every cache on this Redis that has WithTags, and for every load under way that would be, what Invalidate does for one.
// It returns nil at once if there are no tags.
//
// It takes a round trip for the tags together, and for each tag one for each thousand of its entries and two for each 500;
// it waits at most WithRedisTimeout for each, and is sent whatever becomes of ctx. An error says that Redis did not confirm
// it all. It is tried again in the background until it is confirmed, and until then the caches of this process that have
// WithTags and were given the same client go to the loader.
//
// Inside InTx it holds the tags until the transaction has ended, as Invalidate does keys: nothing is filled that has one of
// them. Reads inside InTx go to the loader from here on, if their cache has WithTags.
func (c *Cache[K, V]) InvalidateTags(ctx context.Context, tags ...string) error {
	if len(tags) == 0 {
		return nil
	}
	start := time.Now()
	err := c.holdOrRemoveTags(context.WithoutCancel(ctx), renderTags(tags))
	if observe := c.config.observer.Invalidate; observe != nil {
		observe(ctx, InvalidateInfo{Cache: c.name, Tags: tags, Took: time.Since(start), Err: err})
	}
	watch.Tell(ctx, watch.Invalidation{Cache: c.name, Tags: tags})
	return err
}

// renderTags escapes tags as parts of keys are: they hold no space, which separates them in Redis.
func renderTags(tags []string) []string {
	rendered := make([]string, len(tags))
	for i, tag := range tags {
		if rendered[i] = string(shortened(appendEscaped(nil, tag, false), 0)); tag == "" {
			rendered[i] = "%" // which no other tag is: lists of tags are separated by spaces
		}
	}
	slices.Sort(rendered)
	return slices.Compact(rendered)
}

func (c *Cache[K, V]) holdOrRemoveTags(ctx context.Context, tags []string) error {
	if t := txOf(ctx); t != nil {
		return c.holdTags(ctx, t, tags)
	}
	return c.invalidateTags(ctx, tags)
}

// invalidateTags removes what has the tags, and remembers if it could not.
func (c *Cache[K, V]) invalidateTags(ctx context.Context, tags []string) error {
	err := c.removeTags(ctx, tags)
	if err == nil {
		return nil
	}
	c.n.invalidationErrors.Add(uint64(len(tags)))
	c.oweTags(tags)
	return fmt.Errorf("aside: %d tags not invalidated, the first is %q: %w", len(tags), tags[0], err)
}

// removeTags is one attempt for all of tags.
func (c *Cache[K, V]) removeTags(ctx context.Context, tags []string) error {
	if lag := c.owedTags.longestLag(); lag > 0 {
		if err := c.runTagHolds(ctx, tags, "lag", 0, lag); err != nil {
			return err
		}
	}
	if err := firstError(c.store.runAlone(ctx, c.store.recordSteps(tags)...)); err != nil {
		return err
	}
	for _, tag := range tags {
		if err := c.removeIndexed(ctx, indexPrefix+tag); err != nil {
			return err
		}
	}
	return nil
}

// removeEveryTag is an attempt for whatever has a tag.
func (c *Cache[K, V]) removeEveryTag(ctx context.Context) error {
	if err := firstError(c.store.runAlone(ctx, c.store.recordStep("all", ""))); err != nil {
		return err
	}
	return c.walk(ctx, indexPrefix, func(ctx context.Context, indexes []string) error {
		for _, index := range indexes {
			if err := c.removeIndexed(ctx, index); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// removeIndexed invalidates the entries of an index, and then takes them out. It goes by score, on which a failover has no
// bearing: an entry that is added again only moves to where it is still to come. One that somebody else takes out
// meanwhile has been invalidated before.
func (c *Cache[K, V]) removeIndexed(ctx context.Context, index string) error {
	for from, count := "0", indexPage; ; {
		page, err := c.store.readIndex(ctx, index, from, int64(count))
		if err != nil {
			return err
		}
		for chunk := range slices.Chunk(page, chunkSize) {
			if err := ctx.Err(); err != nil {
				return err // the Cache is being closed
			}
			if err := c.removeMembers(ctx, index, chunk); err != nil {
				return err
			}
		}
		if len(page) < count {
			return nil
		}
		last := formatScore(page[count-1].Score)
		if last == from {
			count *= 2 // a whole page has the same score, and could not be taken out
		}
		from = last
	}
}

// removeMembers invalidates entries of an index.
func (c *Cache[K, V]) removeMembers(ctx context.Context, index string, entries []redis.Z) error {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Member.(string)
	}
	if _, err := c.remove(ctx, names, 0); err != nil {
		return err
	}
	c.n.invalidations.Add(uint64(len(names)))
	c.store.runAlone(ctx, unindexStep(index, entries)) // if this fails, they expire
	return nil
}

// firstError is nil if Redis confirmed all.
func firstError(replies []reply) error {
	for _, r := range replies {
		if r.err != nil {
			return r.err
		}
	}
	return nil
}
