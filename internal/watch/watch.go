// Package watch shows package asidetest the invalidations that are made under a ctx.
package watch

import (
	"context"
	"time"
)

// An Invalidation is what one call has invalidated.
type Invalidation struct {
	Cache string
	Names []string // nil for all of the cache
	Tags  []string // in place of names
	Ended bool     // told again when its InTx has ended; tags are then as Redis has them
}

type key struct{}

// Package aside sets these, which it does not export.
var (
	MissAsHit any                                      // the aside.Option of asidetest.MissAsHit
	Bounds    func(cache any) (lag, ttl time.Duration) // of an *aside.Cache: its WithReplicaLag, and the shortest its entries may live
)

// With returns a ctx under which fn is called at the end of each invalidation, on its caller's goroutine, which waits.
func With(ctx context.Context, fn func(Invalidation)) context.Context {
	return context.WithValue(ctx, key{}, fn)
}

// Tell calls the function of With, if ctx has one.
func Tell(ctx context.Context, i Invalidation) {
	if fn, ok := ctx.Value(key{}).(func(Invalidation)); ok {
		fn(i)
	}
}
