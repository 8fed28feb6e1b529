// Package watch shows package asidetest the invalidations that are made under a ctx.
package watch

import "context"

// An Invalidation is what one call has invalidated.
type Invalidation struct {
	Cache string
	Names []string // nil for all of the cache
	Tags  []string // in place of names
}

type key struct{}

// With returns a ctx under which fn is called at the end of each invalidation, on its caller's goroutine, which waits.
func With(ctx context.Context, fn func(Invalidation)) context.Context {
	return context.WithValue(ctx, key{}, fn)
}

// Tell tells of an invalidation whom it may concern.
func Tell(ctx context.Context, i Invalidation) {
	if fn, ok := ctx.Value(key{}).(func(Invalidation)); ok {
		fn(i)
	}
}
