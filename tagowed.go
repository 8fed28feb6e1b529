package aside

import (
	"context"
	"slices"
)

// The invalidations of tags that are owed. Nobody knows which entries have the tags, so until they are confirmed, this process
// reads no entry that might from the cache. All its caches on one client share them.

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
	c.payInBackground(begin, c.owedTags, c.payTagsOnce)
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
