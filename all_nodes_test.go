package aside_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

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
func TestInvalidateAllEndsThoughNodesListTheirReplicasInDifferentOrders(t *testing.T) {
	r := clusterRig(t)
	rdb := r.dial(t)
	var calls atomic.Int64
	var steady atomic.Bool // all say the same from now on
	rdb.AddHook(through(func(_ context.Context, cmds []redis.Cmder, send sender) error {
		err := send(cmds...)
		if cmd, ok := cmds[0].(*redis.ClusterSlotsCmd); ok && err == nil {
			replicas := []redis.ClusterNode{{ID: "a", Addr: "10.0.0.1:1"}, {ID: "b", Addr: "10.0.0.2:1"}}
			if calls.Add(1)%2 == 0 && !steady.Load() {
				slices.Reverse(replicas)
			}
			slots := slices.Clone(cmd.Val())
			for i := range slots {
				slots[i].Nodes = append(slices.Clone(slots[i].Nodes), replicas...)
			}
			cmd.SetVal(slots)
		}
		return err
	}))
	c := newCache(t, rdb, newTable().load, patient)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	equal(t, "its error", c.InvalidateAll(ctx), nil)
	steady.Store(true) // else Close would not end either
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
			node.AddHook(beforeScans(func() { <-moved }))
		case to:
			node.AddHook(through(func(_ context.Context, cmds []redis.Cmder, send sender) error {
				err := send(cmds...)
				if cmds[0].Name() == "scan" {
					once.Do(func() { close(scanned) })
				}
				return err
			}))
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
