package aside

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/watch"
)

// InvalidateAll says that any row may have changed: it does for every entry of the Cache, and for every load under way,
// what Invalidate does for one.
//
// It scans the key space of every primary, so it takes time in proportion to all that Redis holds, this Cache's or not: a
// SCAN for each thousand keys, and one command for each 64 entries, or in a Cluster for each. It stops when ctx ends, with
// its error; call it again. Each of its commands waits at most WithRedisTimeout. A Cluster whose slots move meanwhile is
// scanned again. Through an AutoPipeliner over a Cluster it returns an error, since that shows one node only.
//
// If Redis fails it, it returns the error and is tried again in the background, until which it and what else
// this process has of its name and client read all keys from the loader.
//
// Inside InTx it acts once the transaction has ended, before InTx returns, and reads inside go to the loader. If the outcome
// is unknown it acts again in the background, WithHold later, when a COMMIT has landed if ever. It holds nothing: until it
// has acted, other reads may be served what is cached.
func (c *Cache[K, V]) InvalidateAll(ctx context.Context) error {
	defer watch.Tell(ctx, watch.Invalidation{Cache: c.name})
	if err := c.alone(context.WithoutCancel(ctx)); errors.Is(err, errManyNodes) {
		return err // nothing is owed: it would fail for ever, and no key be read from the cache
	}
	if t := txOf(ctx); t != nil && t.with(c, func(p *part) { p.all = true }) {
		return nil
	}
	return c.invalidateAll(ctx)
}

func (c *Cache[K, V]) invalidateAll(ctx context.Context) error {
	number := c.owed.incurAll()
	err := c.removeAll(ctx)
	if err == nil {
		c.settleAllKeys(number)
		return nil
	}
	c.retry(c.owed.failAll())
	return fmt.Errorf("aside: not all of cache %q is invalidated: %w", c.name, err)
}

// removeAll removes every entry that was there, as a value or as a lease, when it was called: SCAN returns each key that
// is there all the time, and one that comes later began later.
func (c *Cache[K, V]) removeAll(ctx context.Context) error {
	return c.walk(ctx, c.prefix, c.removePage)
}

// A visitor is called with pages of names, on several goroutines for a Cluster.
type visitor = func(ctx context.Context, names []string) error

// walk visits the names that begin with prefix, those that are there all the time at least once.
func (c *Cache[K, V]) walk(ctx context.Context, prefix string, visit visitor) error {
	if cluster, ok := c.store.client.rdb.(*redis.ClusterClient); ok {
		return c.walkAll(ctx, cluster, prefix, visit)
	}
	if err := c.alone(ctx); err != nil {
		return err
	}
	node, _ := c.store.client.get()
	return c.walkOne(ctx, node, prefix, visit)
}

// errManyNodes says that the client does not show all nodes of its Cluster.
var errManyNodes = errors.New("InvalidateAll needs the redis.ClusterClient itself")

// showsItsNodes reports whether all nodes behind a client can be walked over.
func showsItsNodes(rdb redis.UniversalClient) bool {
	switch rdb.(type) {
	case *redis.Client, *redis.ClusterClient:
		return true
	default:
		return false
	}
}

// alone returns errManyNodes if a client that does not show what is behind it, an AutoPipeliner, talks to a Cluster, of
// which SCAN would see one node.
func (c *Cache[K, V]) alone(ctx context.Context) error {
	if showsItsNodes(c.store.client.rdb) {
		return nil
	}
	info, err := askNode(ctx, c.store, func(ctx context.Context, rdb redis.UniversalClient) (string, error) {
		return rdb.Info(ctx, "cluster").Result()
	})
	if err == nil && strings.Contains(info, "cluster_enabled:1") {
		err = fmt.Errorf("aside: cache %q has a %T over a Cluster: %w", c.name, c.store.client.rdb, errManyNodes)
	}
	return err
}

// askNode is ask about no entry in particular: the breaker learns nothing from how it ends, but others are told if it fails.
func askNode[T any](ctx context.Context, s *store, fn call[T]) (T, error) {
	got, err := ask(ctx, s, fn)
	if err != nil && err != ctx.Err() {
		s.failed(err)
	}
	return got, err
}

// walkAll walks over every primary, until the slots stood still during a pass. While a slot is being moved, its keys go
// from a node that is yet to be scanned to one that has been: then a second pass finds them there.
func (c *Cache[K, V]) walkAll(ctx context.Context, cluster *redis.ClusterClient, prefix string, visit visitor) error {
	for last := ""; ; {
		before, err := c.layout(ctx, cluster)
		if err != nil {
			return err
		}
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return c.walkOne(ctx, node, prefix, visit)
		})
		if err != nil {
			return err
		}
		after, err := c.layout(ctx, cluster)
		if err != nil {
			return err
		}
		moving := strings.Contains(after, " [")
		if before == after && (!moving || last == after) {
			return nil
		}
		last = after
	}
}

// layout tells which primary has which slots, and which are being moved: what each primary says of itself, since only it
// knows the latter. A ClusterClient may also be one of servers that are no Cluster, as NewFailoverClusterClient makes it, or
// ClusterSlots of its options: those know no slots, and none moves.
func (c *Cache[K, V]) layout(ctx context.Context, cluster *redis.ClusterClient) (string, error) {
	return askNode(ctx, c.store, func(ctx context.Context, _ redis.UniversalClient) (string, error) {
		var mu sync.Mutex
		var lines []string
		err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			nodes, err := node.ClusterNodes(ctx).Result()
			if err != nil && strings.Contains(err.Error(), "cluster support disabled") {
				mu.Lock()
				lines = append(lines, node.Options().Addr)
				mu.Unlock()
				return nil
			}
			for line := range strings.Lines(nodes) {
				// id, address, flags, primary, ping, pong, epoch, link, slots
				if fields := strings.Fields(line); len(fields) >= 8 && strings.Contains(fields[2], "myself") {
					mu.Lock()
					lines = append(lines, fields[0]+" "+strings.Join(fields[8:], " "))
					mu.Unlock()
				}
			}
			return err
		})
		slices.Sort(lines)
		return strings.Join(lines, "\n"), err
	})
}

// walkOne walks over one server.
func (c *Cache[K, V]) walkOne(ctx context.Context, node redis.Cmdable, prefix string, visit visitor) error {
	type page struct {
		names []string
		next  uint64
	}
	pattern := globEscaper.Replace(prefix) + "*"
	for cursor := uint64(0); ; {
		p, err := askNode(ctx, c.store, func(ctx context.Context, _ redis.UniversalClient) (page, error) {
			names, next, err := node.Scan(ctx, cursor, pattern, 1000).Result()
			return page{names, next}, err
		})
		if err != nil {
			return err
		}
		if err := visit(ctx, p.names); err != nil {
			return err
		}
		if cursor = p.next; cursor == 0 {
			return nil
		}
	}
}

// owns reports whether an entry is of a cache of this name, and not of one whose name begins with it.
func (c *Cache[K, V]) owns(name string) bool {
	key, ok := strings.CutPrefix(name, c.prefix)
	return ok && !strings.Contains(key, ":")
}

// removePage removes the entries among names.
func (c *Cache[K, V]) removePage(ctx context.Context, names []string) error {
	names = only(names, c.owns)
	failed, err := c.remove(ctx, names, 0)
	c.n.invalidations.Add(uint64(len(names) - len(failed)))
	if err != nil {
		return err
	}
	if observe := c.config.observer.InvalidateAll; observe != nil && len(names) > 0 {
		observe(ctx, InvalidateAllInfo{Cache: c.name, Entries: len(names)})
	}
	return ctx.Err()
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)
