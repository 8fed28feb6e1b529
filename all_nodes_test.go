package aside_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// It could only scan one node of them. Nothing is owed, for ever, by what can never be done.
func TestInvalidateAllThroughAnAutoPipelinerOverAClusterIsRefused(t *testing.T) {
	r := autoPipelined(t, clusterRig(t))
	c, _ := process(r, newTable(product{1, "lamp", 100}).load)
	mustGet(t, c, 1)
	err := c.InvalidateAll(t.Context())
	if err == nil || !strings.Contains(err.Error(), "redis.ClusterClient") {
		t.Errorf("InvalidateAll returned %v", err)
	}
	equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
	mustGet(t, c, 1)
	equal(t, "Hits", c.Stats().Hits, 1)
}

// NewFailoverClusterClient makes such a client, with the primary that a sentinel names. What InvalidateAll owes, nothing but
// its success pays.
func TestInvalidateAllThroughAClusterClientOfAServerThatIsNoCluster(t *testing.T) {
	r := realRig(t)
	addr := sharedRedis.Get(t).Addr
	r.dial = func(t *testing.T) redis.UniversalClient {
		return closed(t, redis.NewClusterClient(&redis.ClusterOptions{
			ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
				return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: addr}}}}, nil
			},
		}))
	}
	rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
	c, _ := process(r, rows.load)
	mustGet(t, c, 1)
	mustGet(t, c, 2)
	equal(t, "the error of InvalidateAll", c.InvalidateAll(t.Context()), nil)
	equal(t, "the document of the first", r.get("test:1"), "")
	equal(t, "the document of the second", r.get("test:2"), "")
	mustGet(t, c, 1)
	mustGet(t, c, 1)
	equal(t, "Hits", c.Stats().Hits, 1)
}

// Every node lists the replicas of a primary in an order of its own.
type shuffledReplicas struct {
	tap
	calls  atomic.Int64
	steady atomic.Bool // all say the same from now on
}

func (s *shuffledReplicas) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd, ok := cmd.(*redis.ClusterSlotsCmd); ok && err == nil {
			replicas := []redis.ClusterNode{{ID: "a", Addr: "10.0.0.1:1"}, {ID: "b", Addr: "10.0.0.2:1"}}
			if s.calls.Add(1)%2 == 0 && !s.steady.Load() {
				slices.Reverse(replicas)
			}
			slots := slices.Clone(cmd.Val())
			for i := range slots {
				slots[i].Nodes = append(slices.Clone(slots[i].Nodes), replicas...)
			}
			cmd.SetVal(slots)
		}
		return err
	}
}

func TestInvalidateAllEndsThoughNodesListTheirReplicasInDifferentOrders(t *testing.T) {
	r := clusterRig(t)
	rdb := r.dial(t)
	hook := new(shuffledReplicas)
	rdb.AddHook(hook)
	c := newCache(t, rdb, newTable().load, patient)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	equal(t, "its error", c.InvalidateAll(ctx), nil)
	hook.steady.Store(true) // else Close would not end either
}

// A scanHook calls before and after each SCAN of one node.
type scanHook struct {
	tap
	before, after func()
}

func (h *scanHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "scan" {
			return next(ctx, cmds)
		}
		h.before()
		defer h.after()
		return next(ctx, cmds)
	}
}

// The slot changes its owner only after the last of its keys has moved, so the topology is the same before and after.
func TestInvalidateAllFindsAKeyThatMovesBehindItsBack(t *testing.T) {
	t.Parallel()
	r, s := ownCluster(t)
	from := s.Primary("{t}:1").Addr
	to := ""
	for i, node := range s.Nodes {
		if node.Addr == from {
			to = s.Nodes[(i+1)%len(s.Nodes)].Addr
		}
	}
	scanned, moved := make(chan struct{}), make(chan struct{})
	var once sync.Once
	rdb := r.dial(t).(*redis.ClusterClient)
	rdb.OnNewNode(func(node *redis.Client) {
		switch node.Options().Addr {
		case from:
			node.AddHook(&scanHook{before: func() { <-moved }, after: func() {}})
		case to:
			node.AddHook(&scanHook{before: func() {}, after: func() { once.Do(func() { close(scanned) }) }})
		}
	})
	rows := newTable(product{1, "lamp", 100}, product{2, "desk", 100})
	make2 := func(rdb redis.UniversalClient) *aside.Cache[int, product] {
		c, err := aside.New(rdb, "{t}", rows.load, patient)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c, reader := make2(rdb), make2(r.dial(t))
	mustGet(t, reader, 1)
	mustGet(t, reader, 2)
	rows.setPrice(1, 90)
	rows.setPrice(2, 90)
	s.Migrate("{t}:1", func() {
		done := make(chan error)
		go func() { done <- c.InvalidateAll(context.Background()) }()
		<-scanned // the target
		host, port, _ := net.SplitHostPort(to)
		source := closed(t, redis.NewClient(&redis.Options{Addr: from}))
		if err := source.Do(context.Background(), "MIGRATE", host, port, "{t}:2", 0, 5000).Err(); err != nil {
			t.Error(err)
		}
		close(moved)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	equal(t, "the price of the key that had moved before", mustGet(t, reader, 1).Price, 90)
	equal(t, "the price of the key that moved meanwhile", mustGet(t, reader, 2).Price, 90)
}

func TestInvalidateAllSparesCachesWhoseNamesLookAlike(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		names := []string{"a", "a:b", "a*", "a[1]", "a1", "a?", `a\`, "ab", "b"}
		for _, mine := range names {
			r.flush()
			caches := make(map[string]*aside.Cache[int, product])
			rows := newTable(product{1, "lamp", 100})
			for _, name := range names {
				c, err := aside.New(r.dial(t), name, rows.load, patient)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				caches[name] = c
				mustGet(t, c, 1)
			}
			if err := caches[mine].InvalidateAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			for name, c := range caches {
				hits := c.Stats().Hits
				mustGet(t, c, 1)
				equal(t, "whether "+name+" still hits after InvalidateAll of "+mine, c.Stats().Hits > hits, name != mine)
			}
		}
	})
}

func TestHoldsSurviveInvalidateAll(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		other, _ := process(r, rows.load)
		inTx(t, func(ctx context.Context) error {
			err := c.Invalidate(ctx, 1)
			if err := other.InvalidateAll(context.Background()); err != nil {
				t.Error(err)
			}
			mustGet(t, other, 1)
			if doc := r.get("test:1"); !strings.HasPrefix(doc, `{"hold":`) {
				t.Errorf("the document is %s", doc)
			}
			return err
		})
		equal(t, "the document after the commit", r.get("test:1"), "")
	})
}

func TestInvalidateAllThatFailedIsFinishedInTheBackgroundAndAllReadsLoadUntilThen(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		c, tap := process(r, rows.load)
		other, _ := process(r, rows.load)
		mustGet(t, c, 1)
		mustGet(t, c, 2)
		tap.answer("scan", redisError("OOPS"))
		rows.setPrice(1, 90)
		if err := c.InvalidateAll(t.Context()); !errors.Is(err, redisError("OOPS")) {
			t.Errorf("InvalidateAll returned %v", err)
		}
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
		hits := c.Stats().Hits
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
		mustGet(t, c, 2)
		_, err := c.GetMany(t.Context(), []int{1, 2})
		equal(t, "the error of GetMany", err, nil)
		equal(t, "the hits meanwhile", c.Stats().Hits-hits, 0)
		tap.answer("scan", nil)
		time.Sleep(2 * time.Second)
		equal(t, "Owed at last", c.Stats().PendingInvalidations, 0)
		equal(t, "the price in the other process", mustGet(t, other, 1).Price, 90)
		mustGet(t, c, 1)
		equal(t, "whether it hits again", c.Stats().Hits > hits, true)
	})
}

func TestInvalidateAllOfATransactionWhoseOutcomeIsUnknownIsDoneAgainAfterWithHold(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load, aside.WithHold(10*time.Second))
		_ = aside.InTx(t.Context(), func(ctx context.Context) error {
			_ = c.InvalidateAll(ctx)
			return errDown
		})
		mustGet(t, c, 1)
		rows.setPrice(1, 90) // the COMMIT lands
		time.Sleep(10 * time.Second)
		synctest.Wait()
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

func TestInvalidateAllOfATransactionThatCommittedScansTwice(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, tap := process(r, newTable().load)
		inTx(t, func(ctx context.Context) error { return c.InvalidateAll(ctx) })
		time.Sleep(time.Hour)
		equal(t, "the number of scans", tap.sent("scan"), 2)
	})
}

// ManyNodes is an AutoPipeliner over a Cluster, as far as InvalidateAll can tell.
type manyNodes struct{ redis.UniversalClient }

func (m manyNodes) Info(ctx context.Context, _ ...string) *redis.StringCmd {
	return redis.NewStringResult("cluster_enabled:1", ctx.Err())
}

func TestInvalidateAllThroughAClientThatDoesNotShowAllNodesIsAnErrorAndNotOwed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c := newCache(t, redis.UniversalClient(manyNodes{r.dial(t)}), rows.load)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		for what, ctx := range map[string]context.Context{"with a ctx": t.Context(), "with a ctx that has ended": over} {
			if c.InvalidateAll(ctx) == nil {
				t.Errorf("%s it returned nil", what)
			}
			inTx(t, func(inside context.Context) error {
				if c.InvalidateAll(inside) == nil {
					t.Error("inside InTx it returned nil")
				}
				return nil
			})
		}
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
	})
}

// It cannot tell at first, since Redis is down.
func TestInvalidateAllThatCanNeverSucceedIsNotOwedForEver(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		rdb := &lateNodes{manyNodes: manyNodes{r.dial(t)}}
		c := newCache(t, redis.UniversalClient(rdb), rows.load)
		rdb.down.Store(true)
		if c.InvalidateAll(t.Context()) == nil {
			t.Error("it returned nil")
		}
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
		rdb.down.Store(false)
		time.Sleep(time.Minute)
		equal(t, "Owed, once it can tell", c.Stats().PendingInvalidations, 0)
		mustGet(t, c, 1)
		mustGet(t, c, 1)
		equal(t, "the hits", c.Stats().Hits, 1)
	})
}

type lateNodes struct {
	manyNodes
	down atomic.Bool
}

func (l *lateNodes) Info(ctx context.Context, section ...string) *redis.StringCmd {
	if l.down.Load() {
		return redis.NewStringResult("", errDown)
	}
	return l.manyNodes.Info(ctx, section...)
}

// CrossSlots is the node of a Cluster to a client that does not know.
type crossSlots struct{ tap }

func (h *crossSlots) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		args := cmd.Args()
		if strings.HasPrefix(strings.ToLower(args[0].(string)), "eval") && args[2].(int) > 1 {
			time.Sleep(time.Millisecond)
			cmd.SetErr(redisError("CROSSSLOT Keys in request don't hash to the same slot"))
			return cmd.Err()
		}
		return next(ctx, cmd)
	}
}

func TestTwoAtOnceFindThatKeysMustShareASlot(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		rdb.AddHook(new(crossSlots))
		c := newCache(t, rdb, newTable().load)
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() { equal(t, "Invalidate", c.Invalidate(context.Background(), 1, 2), nil) })
		}
		group.Wait()
	})
}

// What is invalidated is held and released after such an error; holds are placed once.
func TestTheFirstHoldsOfAClientThatDoesNotKnowOfSlotsArePlaced(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		rdb.AddHook(new(crossSlots))
		c := newCache(t, rdb, newTable().load)
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				inTx(t, func(ctx context.Context) error { return c.Invalidate(ctx, 1, 2) })
			})
		}
		group.Wait()
	})
}

func TestAScanThatFailsIsARedisError(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var told []error
		c, tap := process(r, newTable().load, aside.WithObserver(aside.Observer{
			RedisError: func(_ context.Context, r aside.RedisErrorInfo) { told = append(told, r.Err) },
		}))
		refusal := redisError("NOPERM this user has no permissions to run the 'scan' command")
		tap.answer("scan", refusal)
		if err := c.InvalidateAll(t.Context()); !errors.Is(err, refusal) {
			t.Errorf("InvalidateAll returned %v", err)
		}
		equal(t, "RedisErrors", c.Stats().RedisErrors, 1)
		if len(told) != 1 || told[0] != error(refusal) {
			t.Errorf("the Observer was told of %v", told)
		}
	})
}
