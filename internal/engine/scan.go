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
	"github.com/asidecache/aside/internal/watch"
)

// InvalidateAll, and all else that removes whatever a Cache has: nobody knows the names, so the servers are
// walked over.
//
//	removeAll       twice: entries by a walk, what has tags by its indexes
//	removeEntries   one walk, for all caches of a client at once
//	walk            every primary, and once more if slots were moving
//	walkOne         one server, page by page, and from the start if another server answers
//	removePage      one page: as Invalidate would remove these names
//
// A walk may take minutes. It holds nothing, since a whole cache cannot be held: what is filled behind it
// was loaded after InvalidateAll began, and may stay.

// removeAll removes every entry of accounts that was there, as a value or as a lease, when it was called: SCAN returns each key
// that is there all the time, and one that comes later began later. It does so twice, see InvalidateAll, and tells of how many.
func (c *Core) removeAll(ctx context.Context, accounts []*account, tell func(a *account, entries int)) (failed []subject, err error) {
	entries := only(accounts, func(a *account) bool { return a.books == nil })
	for range 2 {
		if len(entries) > 0 && len(failed) == 0 {
			if why := c.removeEntries(ctx, entries, tell); why != nil && !c.givenUp(why) {
				err = why
				for _, a := range entries {
					failed = append(failed, subject{a, ""})
				}
			}
		}
		for _, a := range accounts {
			all := subject{a, ""}
			if a.books == nil || slices.Contains(failed, all) {
				continue
			}
			if why := c.removeEveryTag(ctx, *a.books); why != nil && !c.givenUp(why) {
				failed, err = append(failed, all), cmp.Or(err, why)
			}
		}
	}
	return failed, err
}

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

// showsItsNodes reports whether all nodes behind a client can be walked over.
func showsItsNodes(rdb redis.UniversalClient) bool {
	switch rdb.(type) {
	case *redis.Client, *redis.ClusterClient:
		return true
	default:
		return false
	}
}

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

// prefixOf is what the names of the entries of a Cache begin with: no rendered key has a colon. A name without one is no entry.
func prefixOf(name string) string { return name[:strings.LastIndexByte(name, ':')+1] }

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

// InvalidateAll is InvalidateAll of caches of one client, and tells of each.
func InvalidateAll(ctx context.Context, caches []*Core) error {
	start := time.Now()
	err := invalidateAllOrLater(ctx, caches)
	for _, c := range caches {
		c.Teller.invalidate(ctx, InvalidateInfo{All: true, Took: time.Since(start), Err: err})
		watch.Tell(ctx, watch.Invalidation{Cache: c.Name})
	}
	return err
}

// invalidateAllOrLater is invalidateAll outside InTx. Inside, it leaves that to the end of InTx.
func invalidateAllOrLater(ctx context.Context, caches []*Core) error {
	lead := caches[0]
	if err := lead.alone(context.WithoutCancel(ctx)); errors.Is(err, errManyNodes) {
		return err // nothing is pending: it would fail for ever, and no key be read from the cache
	}
	if r := runOf(ctx); r != nil {
		open := false
		for _, c := range caches {
			open = r.use(c, func(p *part) { p.all = true })
		}
		if open { // it is removed once the transaction has ended: until then its rows may be those from before
			return r.tx.late()
		}
	}
	return lead.invalidateAll(ctx, caches)
}

// invalidateAll removes what caches have, and remembers what it could not.
func (c *Core) invalidateAll(ctx context.Context, caches []*Core) error {
	all := make([]subject, len(caches))
	by := make(map[*account]*Core, len(caches))
	for i, other := range caches {
		all[i], by[other.entries] = subject{other.entries, ""}, other
	}
	all = unique(all)
	began, number := time.Now(), c.ledger.add(all)
	failed, err := c.removeAll(ctx, accountsOf(all), func(a *account, entries int) { by[a].Teller.removed(ctx, entries) })
	failed, err = c.tellRest(ctx, all, failed, err)
	c.ended(all, failed, err, number, began)
	return notInvalidated(failed, all, err)
}

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
