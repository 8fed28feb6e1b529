package main

import (
	"context"
	"time"
)

// A cost is what the demo's database is made to take for a query: as long as the database of a busy shop takes for it, on as
// many cores as that one has. The database lies in this process, or on this machine, and its tables are small. It would answer
// in microseconds, and no cache would be worth having.
//
// Each query holds one of the cores for so long, and waits for its turn while all are taken. A write takes a turn too. The zero
// cost lets everything pass.
type cost struct {
	query time.Duration
	cores chan struct{} // a free place is a core with nothing to do; nil for any number
}

func newCost(query time.Duration, cores int) cost {
	if query == 0 {
		return cost{}
	}
	return cost{query: query, cores: make(chan struct{}, cores)}
}

// capacity returns how many queries a second there can be, or 0 if nothing bounds them.
func (c cost) capacity() float64 {
	if c.query == 0 {
		return 0
	}
	return float64(cap(c.cores)) * float64(time.Second) / float64(c.query)
}

// turn waits for a core, which the caller gives back with done.
func (c cost) turn(ctx context.Context) (done func(), err error) {
	if c.cores == nil {
		return func() {}, ctx.Err()
	}
	select {
	case c.cores <- struct{}{}:
		return func() { <-c.cores }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask runs a query and takes the rest of its cost. ctx bounds the wait for a turn. What has begun is not cancelled: under load
// that costs a connection each time, and the queries that have waited longest would be lost in their last milliseconds.
func ask[V any](ctx context.Context, c *SQLCatalog, query func(ctx context.Context) (V, error)) (v V, err error) {
	done, err := c.cost.turn(ctx)
	if err != nil {
		return v, err
	}
	defer done()
	c.queries.Add(1)
	end := time.Now().Add(c.cost.query)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	v, err = query(ctx)
	time.Sleep(time.Until(end))
	return v, err
}
