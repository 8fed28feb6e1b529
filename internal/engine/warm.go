package engine

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/redisstore"
)

// A Redis that is full evicts what is used least. A hit reads its entry and nothing else, so the
// index of its tag, which only fills touch, would be evicted long before the entry, and
// InvalidateTags would no longer find the entry.
//
// So each Cache notes the entries that it hits, with their tags, which their documents name. Once a minute it looks them up
// in the indexes, which makes those as warm as the entries. An entry that its index has lost all the same (by an eviction, a
// DEL or a failover) is removed, unless it has been replaced since: so it is served for a minute at most, and not for its TTL.
type warm struct {
	mu   sync.RWMutex
	hits map[string]hitEntry // by name, since the last round
	size int                 // of their texts, in bytes
	told bool                // of the policy: only rounds use it, one at a time

	every time.Duration // WarmEvery of when the Cache was made
}

// A hitEntry is an entry with tags that was hit.
type hitEntry struct {
	prefix string // of its document
	tags   string // rendered, with spaces between them
}

var WarmEvery = time.Minute // a variable for the tests

const mostWarm = 4 << 20 // bytes of text that are noted: of tens of thousands of entries, as a rule

// keepWarm notes a hit. An entry that is hit all the time pays for one lookup in a map, under a lock that
// readers share.
func (c *Core) keepWarm(name string, e *document.Entry) {
	if len(e.Tags) == 0 || !c.Tagged {
		return
	}
	c.warm.mu.RLock()
	_, noted := c.warm.hits[name]
	c.warm.mu.RUnlock()
	if !noted {
		c.noteWarm(name, hitEntry{e.Prefix(), string(e.Tags)})
	}
}

func (c *Core) noteWarm(name string, e hitEntry) {
	w := &c.warm
	w.mu.Lock()
	defer w.mu.Unlock()
	first := w.hits == nil
	if first {
		w.hits = make(map[string]hitEntry)
	}
	if w.size += len(name) + len(e.prefix) + len(e.tags); w.size <= mostWarm {
		w.hits[name] = e
	}
	if first {
		c.background.Start(c.warmUp)
	}
}

// warmUp is one round. The next one begins with the next hit.
func (c *Core) warmUp() {
	select {
	case <-time.After(c.warm.every):
	case <-c.background.Closing.Done():
		return
	}
	ctx, w := c.background.Closing, &c.warm
	w.mu.Lock()
	hits := w.hits
	w.hits, w.size = nil, 0
	w.mu.Unlock()
	if !w.told {
		w.told = c.tellPolicy(ctx)
	}
	c.removeLost(ctx, hits, c.lostByIndexes(ctx, hits))
}

// removeLost removes entries that are missing in an index, unless they have been replaced since they were hit.
func (c *Core) removeLost(ctx context.Context, hits map[string]hitEntry, names []string) {
	var ops []redisstore.Op
	for _, name := range names {
		ops = append(ops, redisstore.ReleaseOp(name, hits[name].prefix, 0))
	}
	var removed []string
	for chunk := range slices.Chunk(ops, redisstore.ChunkSize) {
		for i, r := range c.Store.RunAlone(ctx, chunk...) {
			if r.OK {
				removed = append(removed, chunk[i].Name)
			}
		}
	}
	if removed != nil && c.logged.now() {
		c.Config.Logger.Warn("aside: the indexes of tags have lost entries, so these are removed",
			"cache", c.Name, "entries", len(removed), "name", removed[0])
	}
}

// lostByIndexes looks entries up in the indexes of their tags, and returns those that are missing in one.
func (c *Core) lostByIndexes(ctx context.Context, hits map[string]hitEntry) (lost []string) {
	names := make(map[string][]any) // by index
	for name, e := range hits {
		for tag := range strings.SplitSeq(e.tags, " ") {
			index := c.Store.Books.Index(tag)
			names[index] = append(names[index], name)
		}
	}
	var ops []redisstore.Op
	for index, all := range names {
		for chunk := range slices.Chunk(all, redisstore.ChunkSize) {
			ops = append(ops, redisstore.WarmOp(index, chunk))
		}
	}
	for chunk := range slices.Chunk(ops, redisstore.ChunkSize) {
		chunk = only(chunk, func(op redisstore.Op) bool { return c.Store.Breaker.Up(op.Name, redisstore.Writes) })
		if len(chunk) == 0 || ctx.Err() != nil { // what was not looked up is not lost
			continue
		}
		for i, r := range c.Store.RunAlone(ctx, chunk...) {
			lost = append(lost, missingOf(chunk[i], r)...)
		}
	}
	slices.Sort(lost)
	return slices.Compact(lost)
}

// missingOf returns those of the entries given to scriptWarm that the index lacks.
func missingOf(op redisstore.Op, r redisstore.Reply) (names []string) {
	for field := range strings.FieldsSeq(string(r.Doc)) {
		if i, err := strconv.Atoi(field); err == nil && 0 < i && i <= len(op.Args) {
			names = append(names, op.Args[i-1].(string))
		}
	}
	return names
}

// tellPolicy logs if Redis may evict an index before its entries, and reports whether it could learn that.
func (c *Core) tellPolicy(ctx context.Context) bool {
	info, err := redisstore.Ask(ctx, c.Store, "", func(ctx context.Context, rdb redis.UniversalClient) (string, error) {
		return rdb.Info(ctx, "memory").Result()
	})
	if err != nil {
		return false
	}
	policy, limit := infoField(info, "maxmemory_policy"), infoField(info, "maxmemory")
	if limit != "0" && !slices.Contains([]string{"", "noeviction", "volatile-ttl"}, policy) {
		c.Config.Logger.Warn("aside: Redis may evict the index of a tag before its entries: use noeviction or volatile-ttl",
			"cache", c.Name, "maxmemory-policy", policy)
	}
	return true
}

// infoField is what INFO says of a field.
func infoField(info, field string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
