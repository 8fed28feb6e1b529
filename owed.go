package aside

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/redis/go-redis/v9"
)

// owed are the invalidations that Redis has not confirmed. One is owed from before its first attempt is sent until an
// attempt is confirmed that was sent no earlier than it was called. As long as a name is owed, this process does not read
// it from the cache, whatever has become of the attempts: all its caches of one name and client share them. Those that
// failed are tried again in the background, and none is given up: how long another process keeps what it stored is not
// known here.
//
// An attempt settles what was owed when it was sent and nothing newer: an Invalidate that is called while another is under
// way may speak of a later write.
type owed struct {
	count  atomic.Int64 // of debts, so that reads take no lock while there are none
	lag    atomic.Int64 // the longest WithReplicaLag of those that share these
	paying sync.Mutex   // held while what is owed is sent
	most   int          // names that are remembered that failed, see mostOwed

	mu     sync.Mutex // guards the rest
	names  map[string]debt
	every  debt   // owed for all names, if its number is not 0
	last   uint64 // number of a debt
	trying bool   // a goroutine is at work
	left   bool   // by one that has stopped, whose Cache was closed
}

// A debt is the newest invalidation that is owed for a name.
type debt struct {
	number uint64
	failed bool
}

// owedOf finds what is owed in a scope: that of the names that begin with a prefix, or of tags if it is "". It is there as
// long as any Cache has it.
func owedOf(rdb redis.UniversalClient, scope string) *owed {
	if !reflect.ValueOf(rdb).Comparable() {
		return newOwed(rdb) // a client of the user's own making
	}
	key := owedKey{rdb, scope}
	for {
		shared := newOwed(rdb)
		pointer := weak.Make(shared)
		before, found := owedByKey.LoadOrStore(key, pointer)
		if !found {
			runtime.AddCleanup(shared, func(key owedKey) { owedByKey.CompareAndDelete(key, pointer) }, key)
			return shared
		}
		if shared = before.(weak.Pointer[owed]).Value(); shared != nil {
			return shared
		}
		owedByKey.CompareAndDelete(key, before)
	}
}

type owedKey struct {
	rdb   redis.UniversalClient
	scope string
}

var owedByKey sync.Map // weak.Pointer[owed] by owedKey

func newOwed(rdb redis.UniversalClient) *owed { return &owed{most: mostOwed(rdb)} }

// lags notes the WithReplicaLag of a Cache that shares these.
func (o *owed) lags(d time.Duration) {
	for {
		if old := o.lag.Load(); old >= int64(d) || o.lag.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// longestLag is what each invalidation must note: whatever Cache makes it, it may be about entries of another that lag.
func (o *owed) longestLag() time.Duration { return time.Duration(o.lag.Load()) }

// mostOwed is how many names are remembered that failed. Beyond it all names are owed, which ends with a SCAN of every node:
// where the client may not show them it would never end, so there is no bound.
func mostOwed(rdb redis.UniversalClient) int {
	if showsItsNodes(rdb) {
		return 10_000
	}
	return math.MaxInt
}

// incur notes that names are owed, until an attempt with the number that it returns.
func (o *owed) incur(names []string) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.names == nil {
		o.names = make(map[string]debt)
	}
	o.last++
	for _, name := range names {
		o.names[name] = debt{number: o.last, failed: o.names[name].failed}
	}
	o.recount()
	return o.last
}

// incurAll notes that all names are owed.
func (o *owed) incurAll() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last++
	o.every = debt{number: o.last, failed: o.every.failed}
	o.recount()
	return o.last
}

// settle notes that an attempt was confirmed.
func (o *owed) settle(names []string, number uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		if o.names[name].number <= number {
			delete(o.names, name)
		}
	}
	o.recount()
}

// settleAll notes that an attempt for all names was confirmed. It settles those that were owed one by one, too, unless each
// is owed more than that it is removed.
func (o *owed) settleAll(number uint64, each bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, d := range o.names {
		if each && d.number <= number {
			delete(o.names, name)
		}
	}
	if o.every.number <= number {
		o.every = debt{}
	}
	o.recount()
}

// fail notes that an attempt failed, and reports whether somebody must begin to try again.
func (o *owed) fail(names []string) (begin bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		if d, ok := o.names[name]; ok {
			d.failed = true
			o.names[name] = d
		}
	}
	if len(o.names) > o.most && o.countFailed() > o.most { // those under way end soon
		o.last++
		o.every = debt{number: o.last, failed: true}
		maps.DeleteFunc(o.names, func(_ string, d debt) bool { return d.failed })
	}
	return o.begin()
}

func (o *owed) failAll() (begin bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.every.number != 0 {
		o.every.failed = true
	}
	return o.begin()
}

// resume reports whether somebody must begin to try again, since whoever did has stopped.
func (o *owed) resume() (begin bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.left && o.begin()
}

func (o *owed) begin() bool {
	o.recount()
	if o.trying || o.count.Load() == 0 {
		return false
	}
	o.trying, o.left = true, false
	return true
}

func (o *owed) recount() {
	n := len(o.names)
	if o.every.number != 0 {
		n++
	}
	o.count.Store(int64(n))
}

// has reports whether name must not be read from the cache.
func (o *owed) has(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.names[name]
	return ok || o.every.number != 0
}

// due returns what is to be tried again, with a number that settles it. If nothing is, whoever is trying ends.
func (o *owed) due() (names []string, all bool, number uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, d := range o.names {
		if d.failed {
			names = append(names, name)
		}
	}
	all = o.every.failed
	o.trying = o.trying && (len(names) > 0 || all)
	return names, all, o.last
}

// stop notes that nobody tries, though something is owed.
func (o *owed) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.trying, o.left = false, true
}

// failedCount is how many invalidations failed and are still owed.
func (o *owed) failedCount() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.countFailed()
	if o.every.failed {
		n++
	}
	return n
}

func (o *owed) countFailed() (n int) {
	for _, d := range o.names {
		if d.failed {
			n++
		}
	}
	return n
}

const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// pay tries again until nothing that failed is owed. It runs in the background.
func (c *Cache[K, V]) pay(o *owed, once func(context.Context) bool) {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		select {
		case <-time.After(jittered(pause, 0.2)):
		case <-c.background.closing.Done():
			o.stop() // Close tries once more
			return
		}
		if !once(c.background.closing) {
			return
		}
	}
}

// retry begins to try again in the background, unless somebody does already.
func (c *Cache[K, V]) retry(begin bool) {
	c.payInBackground(begin, c.owed, c.payOnce)
}

func (c *Cache[K, V]) payInBackground(begin bool, o *owed, once func(context.Context) bool) {
	if begin && !c.background.start(func() { c.pay(o, once) }) {
		o.stop() // the Cache is closed
	}
}

// owes reports whether a name is owed. A Cache that was closed may have left that behind, and is relieved here.
func (c *Cache[K, V]) owes(name string) bool {
	if c.owed.count.Load() == 0 {
		return false // nearly always
	}
	c.retry(c.owed.resume())
	return c.owed.has(name)
}

// probe asks whether the server of name is back. If so, what is owed is sent before anything is read from it again.
func (c *Cache[K, V]) probe(ctx context.Context, name string) error {
	err := c.store.probe(ctx, name)
	if !unreachable(err) && c.owed.count.Load() > 0 {
		c.payOnce(ctx)
	}
	return err
}

// payOnce sends what failed and is still owed, and reports whether anything was. One at a time: each probe of a Redis that
// has just come back would else begin a SCAN of its own.
func (c *Cache[K, V]) payOnce(ctx context.Context) bool {
	if !c.owed.paying.TryLock() {
		return true
	}
	defer c.owed.paying.Unlock()
	names, all, number := c.owed.due()
	if all {
		err := c.removeAll(ctx)
		if errors.Is(err, errManyNodes) { // and always will
			c.config.logger.Error("aside: InvalidateAll cannot be tried again, and is given up", "cache", c.name, "error", err)
			err = nil
		}
		if err == nil {
			c.settleAllKeys(number)
			return true
		}
	}
	_, _ = c.remove(ctx, names, number)
	return all || len(names) > 0
}

// settleAllKeys settles what an InvalidateAll has paid. A key that is owed the lag is yet to be held, if it was not there.
func (c *Cache[K, V]) settleAllKeys(number uint64) {
	c.owed.settleAll(number, c.owed.longestLag() == 0)
}

// owedCount is how many keys and tags are owed.
func (c *Cache[K, V]) owedCount() int { return c.owed.failedCount() + c.owedTags.failedCount() }

// unpaid is what Close says of invalidations that are lost with the process.
func (c *Cache[K, V]) unpaid() error {
	if c.owedCount() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.config.loadTimeout)
	defer cancel()
	c.payOnce(ctx)
	c.payTagsOnce(ctx)
	n := c.owedCount()
	if n == 0 {
		return nil
	}
	return fmt.Errorf("aside: cache %q closed with %d invalidations that Redis has not confirmed", c.name, n)
}
