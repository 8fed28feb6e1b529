package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/durations"
	"github.com/asidecache/aside/internal/redisstore"
)

// InvalidateAll, and all else that removes whatever a Cache has: nobody knows the names, so the servers are
// walked over.
//
//	removeEntries   one walk, for all caches of a client at once
//	walk            every primary, and once more if slots were moving
//	walkOne         one server, page by page, and from the start if another server answers
//	removePage      one page: as Invalidate would remove these names
//
// A walk may take minutes. It holds nothing, since a whole cache cannot be held: what is filled behind it
// was loaded after InvalidateAll began, and may stay.

// removeEntries walks once over all that is there.
func (c *Core) removeEntries(ctx context.Context, accounts []*account, tell func(a *account, entries int)) error {
	by, prefixes := make(map[string]*account, len(accounts)), make([]string, len(accounts))
	for i, a := range accounts {
		by[a.of], prefixes[i] = a, a.of
	}
	return c.walk(ctx, commonPrefix(prefixes), func(ctx context.Context, names []string) error {
		var entries []subject
		for _, name := range names {
			if a := by[prefixOf(name)]; a != nil {
				entries = append(entries, subject{a, name})
			}
		}
		return c.removePage(ctx, entries, tell)
	})
}

// tellRemoved tells of entries that were removed, whatever Cache they are of.
func (c *Core) tellRemoved(ctx context.Context) func(*account, int) {
	return func(_ *account, entries int) { c.Teller.removed(ctx, entries) }
}

// A visitor is called with pages of names, on several goroutines for a Cluster.
type visitor = func(ctx context.Context, names []string) error

// walk visits the names that begin with prefix. It visits a name that is there all the time at
// least once.
func (c *Core) walk(ctx context.Context, prefix string, visit visitor) error {
	if cluster, ok := c.Store.RDB.(*redis.ClusterClient); ok {
		return c.walkAll(ctx, cluster, prefix, visit)
	}
	if err := c.alone(ctx); err != nil {
		return err
	}
	node, _ := c.Store.Client.Get()
	return c.walkOne(ctx, node, prefix, visit)
}

// errManyNodes says that the client does not show all nodes of its Cluster.
var errManyNodes = errors.New("InvalidateAll needs the redis.ClusterClient itself")

// alone returns errManyNodes if an AutoPipeliner, which does not show what is behind it, talks to a
// Cluster: SCAN would see only one of its nodes.
func (c *Core) alone(ctx context.Context) error {
	if showsItsNodes(c.Store.RDB) {
		return nil
	}
	info, err := askNode(ctx, c.Store, func(ctx context.Context, rdb redis.UniversalClient) (string, error) {
		return rdb.Info(ctx, "cluster").Result()
	})
	if err == nil && strings.Contains(info, "cluster_enabled:1") {
		err = fmt.Errorf("aside: cache %q has a %T over a Cluster: %w", c.Name, c.Store.RDB, errManyNodes)
	}
	return err
}

// askNode is ask about no entry in particular: the breaker learns nothing from how it ends, but others are told if it fails.
func askNode[T any](ctx context.Context, s *redisstore.Store, fn redisstore.Call[T]) (T, error) {
	got, err := redisstore.Ask(ctx, s, "", fn)
	if err != nil && err != ctx.Err() {
		s.Failed(err)
	}
	return got, err
}

// walkAll walks over every primary, until the slots stood still during a pass. While a slot is being moved, its keys go
// from a node that is yet to be scanned to one that has been: then a second pass finds them there.
func (c *Core) walkAll(ctx context.Context, cluster *redis.ClusterClient, prefix string, visit visitor) error {
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

// layout tells which primary has which slots, and which are being moved: what each primary says of
// itself, since only the primary knows which are being moved. A ClusterClient may also be one of
// servers that are no Cluster, as NewFailoverClusterClient makes it, or ClusterSlots of its
// options: those know no slots, and none moves.
func (c *Core) layout(ctx context.Context, cluster *redis.ClusterClient) (string, error) {
	var layout string
	_, err := c.persist(ctx, func() (err error) {
		layout, err = c.layoutOnce(ctx, cluster)
		return err
	})
	return layout, err
}

func (c *Core) layoutOnce(ctx context.Context, cluster *redis.ClusterClient) (string, error) {
	return askNode(ctx, c.Store, func(ctx context.Context, _ redis.UniversalClient) (string, error) {
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

// walkOne walks over one server. A cursor means something to the run of the server that gave it, and nothing to a replica that was
// promoted since, or to a server that was restarted: then the walk begins again.
func (c *Core) walkOne(ctx context.Context, node redis.Cmdable, prefix string, visit visitor) error {
	pattern := globEscaper.Replace(prefix) + "*"
	for cursor, run := uint64(0), ""; ; {
		var p scanned
		lost, err := c.persist(ctx, func() (err error) {
			p, err = c.scan(ctx, node, cursor, pattern)
			return err
		})
		if err != nil {
			return err
		}
		if cursor != 0 && (p.run != run || lost && run == "") {
			cursor = 0
			continue
		}
		if err := visit(ctx, p.names); err != nil {
			return err
		}
		if cursor, run = p.next, p.run; cursor == 0 {
			return nil
		}
	}
}

// A scanned is what one SCAN found.
type scanned struct {
	names []string
	next  uint64 // cursor
	run   string // of the server that answered; "" if it does not tell
}

// scan sends a SCAN, and asks in the same pipeline, so of the same server, which run of it answers.
func (c *Core) scan(ctx context.Context, node redis.Cmdable, cursor uint64, pattern string) (scanned, error) {
	return askNode(ctx, c.Store, func(ctx context.Context, _ redis.UniversalClient) (scanned, error) {
		var found *redis.ScanCmd
		var info *redis.StringCmd
		redisstore.Pipelined(ctx, node, func(p redis.Pipeliner) {
			found, info = p.Scan(ctx, cursor, pattern, 1000), p.Info(ctx, "server")
		})
		names, next, err := found.Result() // INFO may be forbidden: then the run is not known
		return scanned{names, next, serverRun(info.Val())}, err
	})
}

// serverRun finds the id of a run of Redis, which is another one after each start.
func serverRun(info string) string {
	_, after, _ := strings.Cut(info, "\nrun_id:")
	run, _, _ := strings.Cut(after, "\r")
	return run
}

// persist calls fn, which sends commands. It calls fn again while Redis does not answer, four times
// at most: one command that is lost must not cost all that was done before it. It reports whether
// any was lost.
func (c *Core) persist(ctx context.Context, fn func() error) (lost bool, err error) {
	for pause := firstRetry; ; pause *= 2 {
		err = fn()
		if !redisstore.Unreachable(err) || pause > 4*firstRetry {
			return lost, err
		}
		lost = true
		select {
		case <-time.After(durations.Jittered(pause, 0.2)):
		case <-ctx.Done():
			return lost, ctx.Err()
		}
	}
}

// removePage removes entries.
func (c *Core) removePage(ctx context.Context, entries []subject, tell func(a *account, entries int)) error {
	left := entries
	_, err := c.persist(ctx, func() (err error) { // a further try is about what is left, and what is removed is told once
		sent := left
		left, err = c.attempt(ctx, c.removeTasks(sent))
		isLeft := setOf(left)
		removed := make(map[*account]int)
		for _, e := range sent {
			if !isLeft[e] {
				removed[e.of]++
			}
		}
		for a, n := range removed {
			tell(a, n)
		}
		return err
	})
	return cmp.Or(err, ctx.Err())
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// commonPrefix is what all texts begin with.
func commonPrefix(texts []string) string {
	common := texts[0]
	for _, text := range texts[1:] {
		for !strings.HasPrefix(text, common) {
			common = common[:len(common)-1]
		}
	}
	return common
}
