package redisstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Probe asks the primary of name for what a circuit is for. It also drops the connections to it
// that are dead: else reads would find those one by one, each in WithRedisTimeout, when the circuit
// has closed.
//
// A primary of a Cluster may have been replaced. A primary that is gone cannot say so, and by
// itself the client looks for its successor only once a minute.
func (s *Store) Probe(ctx context.Context, name string, k Kind) error {
	if cluster, ok := s.RDB.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx) // in the background: a later probe meets the successor
	}
	_, err := Ask(ctx, s, name, func(ctx context.Context, rdb redis.UniversalClient) (int64, error) {
		if k == Reads {
			return rdb.Exists(ctx, name).Result() // of a value it would fetch, a GET may take longer than a probe has
		}
		// Nothing has this member, so nothing changes, whatever lies under the name.
		return rdb.SRem(ctx, name, "aside: are you there?").Result()
	})
	var refused redis.Error
	if alive := Unreachable(err) && errors.As(err, &refused); !alive {
		s.dropDead(ctx, name)
	}
	return err
}

// dropDead has each connection that is idle in the pools of name's primary answer, all at once. go-redis drops those that do
// not within WithRedisTimeout: their peer is gone, and nobody told them. The PINGs go past the hooks of the client, which nothing
// bounds. What is behind an AutoPipeliner cannot be seen.
func (s *Store) dropDead(ctx context.Context, name string) {
	p := s.poolOf(name)
	node := p.node()
	if node == nil {
		return
	}
	node = node.WithTimeout(s.Timeout) // a copy that shares the pools
	node.Options().MaxRetries, node.Options().Limiter = 0, nil
	b := NewBudget(s.Timeout)
	_, _ = detached(ctx, p, &b, node, func(ctx context.Context, _ redis.UniversalClient) (none struct{}, _ error) {
		pingIdle(ctx, node, s.Timeout/8)
		return none, nil
	}, nil)
}

// pingIdle sends a PING over each connection that is idle in the pools of node, and waits for the
// answers. go-redis has a pool of its own for pipelines. A server that is not Redis may answer so
// that go-redis panics.
func pingIdle(ctx context.Context, node *redis.Client, patience time.Duration) {
	stats := node.PoolStats()
	single, piped := int(stats.IdleConns), 0
	if p := PipelineStats(stats); p != nil {
		piped = int(p.IdleConns)
	}
	m := &muster{all: make(chan struct{}), patience: patience}
	m.missing.Store(int64(single + piped))
	var group sync.WaitGroup
	for range single {
		group.Go(func() {
			answerOf(ctx, node, func(ctx context.Context, _ redis.UniversalClient) (any, error) {
				return node.Do(ctx, "ping", m).Result()
			})
		})
	}
	for range piped {
		group.Go(func() {
			answerOf(ctx, node, func(ctx context.Context, _ redis.UniversalClient) ([]redis.Cmder, error) {
				return node.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Do(ctx, "ping", m).Err() })
			})
		})
	}
	group.Wait()
}

// A muster has commands wait for each other until each has a connection. Else a command that is
// answered soon would give its connection to the next command, and the dead connections would not
// be asked. go-redis asks for the text of an argument when it has taken a connection. Other
// commands may have taken some meanwhile, so nobody waits for long.
type muster struct {
	missing  atomic.Int64
	all      chan struct{}
	patience time.Duration
}

func (m *muster) MarshalBinary() ([]byte, error) {
	if m.missing.Add(-1) == 0 {
		close(m.all)
	}
	select {
	case <-m.all:
	case <-time.After(m.patience):
	}
	return []byte("aside"), nil
}
