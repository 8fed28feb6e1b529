package engine

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/redisstore"
)

// Near copies: where the data path meets package near, which has the protocol. docs/near.md tells what it promises and costs.
//
// A Cache with WithNear joins the near.Log of its client and scope. Its accounts know the Log, so every invalidation of what is
// theirs is told to it, whatever Cache makes it: once the documents are removed, or held in a transaction, and before the call
// returns. A Cache with copies looks at them before it looks in Redis, and makes copies of what a look has found and of what a fill
// has stored.

// A NearConfig is what WithNear was given.
type NearConfig struct {
	Entries int
	MaxAge  time.Duration
}

func (n *NearConfig) validate(rdb redis.UniversalClient) error {
	switch {
	case n == nil:
		return nil
	case n.Entries < 0:
		return fmt.Errorf("WithNear(%d, %v): the number of entries must be at least 0", n.Entries, n.MaxAge)
	case n.MaxAge < time.Millisecond:
		return fmt.Errorf("WithNear(%d, %v): the age must be at least %v", n.Entries, n.MaxAge, time.Millisecond)
	case rdb != nil && !reflect.ValueOf(rdb).Comparable():
		return fmt.Errorf("WithNear: a %T cannot be compared, so its caches would not know of each other", rdb)
	}
	return nil
}

// joinNear joins the Log of the client and the scope, if the Cache has WithNear.
func (c *Core) joinNear(rdb redis.UniversalClient) {
	if c.Config.Near == nil {
		return
	}
	key := "aside-near" + strings.TrimPrefix(c.Store.Books.Journal, redisstore.BooksOf("").Journal)
	c.NearLog = near.Join(near.Config{Client: rdb, Key: key, Do: c.doNear, Warn: c.warnNear})
	c.entries.near.Store(c.NearLog)
	c.tags.near.Store(c.NearLog)
}

// doNear runs a call of near, unless Redis is known to be down.
func (c *Core) doNear(ctx context.Context, call func(context.Context, redis.Cmdable) error) error {
	if c.Store.Breaker.DownFor("", redisstore.Reads) {
		return errKnownDown
	}
	_, err := redisstore.Ask(ctx, c.Store, "", func(ctx context.Context, rdb redis.UniversalClient) (none struct{}, _ error) {
		return none, call(ctx, rdb)
	})
	return err
}

func (c *Core) warnNear(what string, err error) {
	if err != nil && c.logged.now() {
		c.Config.Logger.Warn("aside: near copies do not work at present, so reads go to Redis", "cache", c.Name, "what", what, "error", err)
	}
}

// leaveNear ends the near copies of a Cache that is closed.
func (c *Core) leaveNear(ctx context.Context) error {
	if c.NearLog == nil {
		return nil
	}
	c.edge.DetachNear()
	return c.NearLog.Leave(ctx)
}

// tell has all processes forget their near copies of subjects, which are removed from Redis or held there, and waits until none can
// serve one. What was not told has failed.
func (c *Core) tell(ctx context.Context, subjects []subject) (failed []subject, err error) {
	begun := time.Now()
	logs, abouts, parts := aboutsOf(subjects)
	for i, log := range logs {
		if why := log.Tell(ctx, *abouts[i]); why != nil {
			failed, err = append(failed, parts[i]...), cmp.Or(err, why)
		}
	}
	if logs != nil {
		c.n.nearWaits.Add(int64(time.Since(begun)))
		c.n.nearTold.Add(1)
	}
	return failed, err
}

// dropNear has this process forget its near copies of subjects.
func dropNear(subjects []subject) {
	logs, abouts, _ := aboutsOf(subjects)
	for i, log := range logs {
		log.Drop(*abouts[i])
	}
}

// aboutsOf sorts out what is to be told to each Log.
func aboutsOf(subjects []subject) (logs []*near.Log, abouts []*near.About, parts [][]subject) {
	at := make(map[*near.Log]int)
	for _, s := range subjects {
		log := s.of.near.Load()
		if log == nil {
			continue
		}
		i, ok := at[log]
		if !ok {
			i = len(logs)
			at[log], logs, abouts, parts = i, append(logs, log), append(abouts, new(near.About)), append(parts, nil)
		}
		parts[i] = append(parts[i], s)
		switch a := abouts[i]; {
		case s.name == "" && s.of.books != nil:
			a.Prefixes = append(a.Prefixes, "") // whatever has a tag: nobody knows what that is
		case s.name == "":
			a.Prefixes = append(a.Prefixes, s.of.of)
		case s.of.books != nil:
			a.Tags = append(a.Tags, s.name)
		default:
			a.Names = append(a.Names, s.name)
		}
	}
	return logs, abouts, parts
}

// MayBeNear reports whether a read may be served a near copy. Reads inside a load look past them:
// what is made from an old copy might be filled after that was dropped. Reads inside InTx look past
// them as well, and reads while an invalidation is pending.
func (c *Core) MayBeNear(ctx context.Context) bool {
	return c.entries.barring.Load() == 0 && (!c.Tagged || c.tags.barring.Load() == 0) &&
		ctx.Err() == nil && ModeOf(ctx) == nil && insideOf(ctx) == nil
}
