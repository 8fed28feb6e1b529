package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// An insideLoad is what the ctx of a load says of the reads under it: they are made for that load. The load holds its place,
// and perhaps leases, while such a read waits for flights, leases and places of others, which may be held by loads that wait
// for this one. So the read waits for others only as long as it has patience, and then loads for itself, in the place of the
// load that it is made for.
//
// A load knows the loads above it as well. A read of a key that one of them loads would wait for itself, so it does not wait.
type insideLoad struct {
	of    *Core    // of the Cache that loads
	names []string // what it loads
	info  LoadInfo // without its end
	above *insideLoad

	inVain atomic.Int64 // ns that reads inside have waited for others in vain: no time that such a load usually takes
	lagged atomic.Bool  // a read inside met what replicas of the database may lack, see lags
}

type insideKey struct{}

// insideOf returns the load that a ctx is of, nil if it is of none.
func insideOf(ctx context.Context) *insideLoad {
	in, _ := ctx.Value(insideKey{}).(*insideLoad)
	return in
}

// withInside returns a ctx that is of the load in, or of none if that is nil.
func withInside(ctx context.Context, in *insideLoad) context.Context {
	if insideOf(ctx) == in {
		return ctx
	}
	return context.WithValue(ctx, insideKey{}, in)
}

// enterLoad begins a load of names, and returns its ctx.
func (c *Core) enterLoad(ctx context.Context, info LoadInfo, names ...string) (context.Context, loading, *insideLoad) {
	info.Cache, info.Keys = c.Name, len(names)
	in := &insideLoad{of: c, names: names, info: info, above: insideOf(ctx)}
	ctx, loading := c.Teller.load(context.WithValue(ctx, insideKey{}, in), info)
	return ctx, loading, in
}

// LoadOf is that of package aside.
func LoadOf(ctx context.Context) (info LoadInfo, ok bool) {
	if in := insideOf(ctx); in != nil {
		return in.info, true
	}
	return LoadInfo{}, false
}

// lags notes that a read for the load met an entry, or a tag, for which nothing is cached because
// replicas of the database lag (WithReplicaLag). What it got may be old. What the load makes of it
// may then be old as well, and perhaps nobody has noted a lag for that. So the load fills nothing,
// and the loads that it is made for fill nothing either.
func (in *insideLoad) lags() {
	for ; in != nil; in = in.above {
		in.lagged.Store(true)
	}
}

// mayLag reports whether what is loaded without a lease may be made of what replicas lack: nobody has looked whether it is held.
func (c *Core) mayLag() bool {
	return c.entries.longestLag() > 0 || c.Tagged && c.tags.longestLag() > 0
}

// noteLag has the load that ctx is of know of that.
func (c *Core) noteLag(ctx context.Context) {
	if c.mayLag() {
		insideOf(ctx).lags()
	}
}

// waited notes that a read inside has waited in vain for so long.
func (in *insideLoad) waited(d time.Duration) {
	for ; in != nil; in = in.above {
		in.inVain.Add(int64(d))
	}
}

// took is how long the load has taken since start, without what its reads have waited in vain.
func (in *insideLoad) took(start time.Time) time.Duration {
	return max(0, time.Since(start)-time.Duration(in.inVain.Load()))
}

// loadsAbove counts by how many of the loads above a read its name is being loaded.
func (c *Core) loadsAbove(ctx context.Context, name string) (loads int) {
	for in := insideOf(ctx); in != nil; in = in.above {
		if in.of == c && slices.Contains(in.names, name) {
			loads++
		}
	}
	return loads
}

// shortestPatience is how long a read inside a load waits for others at least, unless WithLoadTimeout is that short.
const shortestPatience = 200 * time.Millisecond

// patience is how long a read waits for what others load: inside a load, for twice what such a load usually takes.
func (c *Core) patience(ctx context.Context) time.Duration {
	if insideOf(ctx) == nil {
		return c.Config.LoadTimeout
	}
	return min(max(2*c.usual(), shortestPatience), c.Config.LoadTimeout/2)
}

// cycle is the error of a key that two loads above the read are loading.
func (c *Core) cycle() error {
	return fmt.Errorf("aside: the loader of cache %q reads, to load a key, that key", c.Name)
}

// ctxOfLoad is the ctx of a load whose first caller has ctx: with its values, or those that WithLoadContext takes from them, and
// without its end.
func (c *Core) ctxOfLoad(ctx context.Context) (context.Context, error) {
	if c.LoadCtx != nil {
		in := insideOf(ctx)
		if ctx = c.LoadCtx(ctx); ctx == nil {
			return nil, errNoLoadCtx
		}
		ctx = withInside(ctx, in)
	}
	return context.WithoutCancel(ctx), nil
}

var errNoLoadCtx = errors.New("aside: the function of WithLoadContext returned nil")

// usual is how long the last load took that this process knows of, its own or one that it waited for.
func (c *Core) usual() time.Duration {
	return time.Duration(c.lastTook.Load()) * time.Millisecond
}
