package aside

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// InvalidateAll says that any row may have changed: it does for every entry of the Cache, and for every load under way,
// what Invalidate does for one.
//
// It scans the key space of every primary, so it takes time in proportion to all that Redis holds, this Cache's or not,
// and two commands for each thousand keys besides one for each entry. It stops when ctx ends, with its error; call it
// again. Each of its commands waits at most WithRedisTimeout. A Cluster whose slots move meanwhile is scanned again.
//
// If Redis fails it, it returns the error and is tried again in the background, until which this process reads all keys
// from the loader. Inside InTx it acts once the transaction has ended, and reads inside go to the loader.
func (c *Cache[K, V]) InvalidateAll(ctx context.Context) error {
	if t := txOf(ctx); t != nil && t.with(c, func(p *part) { p.all = true }) {
		return nil
	}
	return c.invalidateAll(ctx)
}

func (c *Cache[K, V]) invalidateAll(ctx context.Context) error {
	number := c.owed.incurAll(c.expiry())
	err := c.removeAll(ctx)
	if err == nil {
		c.owed.settleAll(number)
		return nil
	}
	if c.owed.failAll() && !c.background.start(c.pay) {
		c.owed.stop()
	}
	return fmt.Errorf("aside: not all of cache %q is invalidated: %w", c.name, err)
}

// removeAll removes every entry that was there, as a value or as a lease, when it was called: SCAN returns each key that
// is there all the time, and one that comes later began later.
func (c *Cache[K, V]) removeAll(ctx context.Context) error {
	cluster, ok := c.store.rdb.(*redis.ClusterClient)
	if !ok {
		return c.removeFrom(ctx, c.store.rdb)
	}
	for {
		before, err := c.topology(ctx, cluster)
		if err != nil {
			return err
		}
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return c.removeFrom(ctx, node)
		})
		if err != nil {
			return err
		}
		after, err := c.topology(ctx, cluster)
		if err != nil || reflect.DeepEqual(before, after) {
			return err
		}
	}
}

func (c *Cache[K, V]) topology(ctx context.Context, cluster *redis.ClusterClient) ([]redis.ClusterSlot, error) {
	b := newBudget(c.config.timeout)
	return within(ctx, &b, func(ctx context.Context) ([]redis.ClusterSlot, error) {
		//lint:ignore SA1019 Redis 6 has no CLUSTER SHARDS
		slots, err := cluster.ClusterSlots(ctx).Result()
		slices.SortFunc(slots, func(a, b redis.ClusterSlot) int { return a.Start - b.Start })
		return slots, err
	}, func(error) {})
}

// removeFrom removes the entries of one server.
func (c *Cache[K, V]) removeFrom(ctx context.Context, node redis.Cmdable) error {
	type page struct {
		names []string
		next  uint64
	}
	pattern := globEscaper.Replace(c.prefix) + "*"
	for cursor := uint64(0); ; {
		b := newBudget(c.config.timeout)
		p, err := within(ctx, &b, func(ctx context.Context) (page, error) {
			names, next, err := node.Scan(ctx, cursor, pattern, 1000).Result()
			return page{names, next}, err
		}, func(error) {})
		if err != nil {
			return err
		}
		if err := c.removePage(ctx, p.names); err != nil {
			return err
		}
		if cursor = p.next; cursor == 0 {
			return nil
		}
	}
}

// removePage removes the entries among names: what belongs to a cache whose name begins with this one's is left alone.
func (c *Cache[K, V]) removePage(ctx context.Context, names []string) error {
	names = only(names, func(name string) bool { return !strings.Contains(name[len(c.prefix):], ":") })
	for chunk := range slices.Chunk(names, chunkSize) {
		if _, err := c.remove(ctx, chunk, 0); err != nil {
			return err
		}
		c.n.invalidations.Add(uint64(len(chunk)))
	}
	if observe := c.config.observer.InvalidateAll; observe != nil && len(names) > 0 {
		observe(ctx, len(names))
	}
	return ctx.Err()
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
