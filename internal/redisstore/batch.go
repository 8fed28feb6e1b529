package redisstore

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// A batcher lets callers share round trips when they ask one primary at the same time. It is for
// callers that read, or for callers that write. The two do not travel together, since a server that
// pauses writes would hold up the reads as well.
//
// As long as there are few calls, each goes by itself, on its caller's goroutine if the client is
// bounded, and pays for nothing else. If there are more, or a batch is under way, calls gather for
// one pipeline. The first caller of a batch lets the goroutines run that are ready to, since some
// of them are about to ask as well. Then it sends the batch. So no caller waits for a reply before
// it asks, and the busier the process is, the more of its commands share a round trip. Only while
// many are under way, callers gather until one of them has landed.
//
// Scripts only travel together: each is run for its caller. Reads of one name in one batch are one
// read. But while a read of a name is under way, a caller that asks for the name must not have the
// reply to that read: an Invalidate that the caller knows of may have overtaken it. Such callers
// share a read that follows it.
//
// The life of a batch:
//
//	gather   its first caller is about to send it, and others join
//	queue    it was to be sent, but mostFlying are under way: others still join
//	again    beside these: reads of its names are under way, and it waits for one of them to land
//	flying   it was sent, and nobody joins
//	landed   its replies are there, and all callers that wait for it wake
type batcher struct {
	store *Store
	kind  Kind

	mu      sync.Mutex        // guards the rest
	flying  int               // what is under way: batches, and what goes by itself
	batches int               // of these
	alone   [mostAlone]string // the names of what goes by itself, which need not pay for a map
	reading map[string]int    // how many batches under way read a name
	gather  *batch            // its first caller is about to send it
	queue   []*batch          // too much is under way for these; the oldest comes first
	again   *batch            // reads of names that were under way: sent when a read of one of them has landed
}

const (
	mostAlone  = 2  // that go by themselves at a time: two would lose more by sharing than they save
	mostFlying = 8  // under way: each needs a connection
	mostShared = 64 // ops of one batch
	mostOwn    = 4  // ops of one caller in a batch
)

// A batch is what several callers send together.
type batch struct {
	ctx       context.Context // of its first caller
	start     time.Time       // when that caller came
	left      time.Duration   // what that caller had left then
	ops       []Op
	decodings []*Decoding // of reads that several callers share; else nil
	gone      []int       // ops whose callers have left; guarded by the batcher
	done      chan struct{}
	replies   []Reply // once done
}

func (s *Store) batcherOf(name string, k Kind) *batcher {
	node := ""
	if s.Breaker.cluster {
		node = s.Breaker.addrOf(name)
	}
	l, ok := s.batchers[k].Load(node)
	if !ok {
		l, _ = s.batchers[k].LoadOrStore(node, &batcher{store: s, kind: k, reading: make(map[string]int)})
	}
	return l.(*batcher)
}

// mayShare reports whether the ops of a call may travel with those of others. Three sorts may not.
// What one call removes together is one command, or several in an order. A large fill would hold
// the others up. A call with little time left would have the others wait for less than
// WithRedisTimeout.
func (s *Store) mayShare(b *Budget, ops []Op) bool {
	if len(ops) > mostOwn || b.Left < s.Timeout/2 {
		return false
	}
	for _, o := range ops {
		removes := o.Verb == ScriptInvalidate || o.Verb == ScriptHold
		if removes && len(ops) > 1 || o.Verb == ScriptFill && len(o.Args[1].([]byte)) >= LargeBytes {
			return false
		}
	}
	return true
}

// run runs the ops of one caller.
func (l *batcher) run(ctx context.Context, b *Budget, ops []Op) []Reply {
	l.mu.Lock()
	if seat := l.seat(ops[0].Name); seat != nil {
		l.goAlone(seat, ops[0].Name)
		defer l.landAlone(seat)
		return l.store.runNow(ctx, b, l.kind, ops)
	}
	r, at, leads := l.join(ctx, b, ops)
	l.mu.Unlock()
	came := time.Now()
	if leads && l.lead(ctx, b, r, len(ops)) {
		defer l.land(r, nil)
		return l.store.runNow(ctx, b, l.kind, ops)
	}
	return l.await(ctx, b, r, ops[0].Name, at, len(ops), came)
}

// await waits for the replies to n ops of a batch, but no longer than the budget lasts, or ctx. name is
// that of the first.
//
// A batch ends with the budget of its first caller. Only a caller with less than that needs a timer
// of its own: so most callers that join a batch set none.
func (l *batcher) await(ctx context.Context, b *Budget, r *batch, name string, at, n int, came time.Time) []Reply {
	pool, end := l.store.poolOf(name), came.Add(b.Left)
	var over <-chan struct{} // nil if the batch has landed before
	var waiters *waiters
	if end.Before(r.start.Add(r.left)) {
		waiters = pool.begin()
		over = pool.deadlines.until(waiters, came, b.Left).Done()
	}
	select {
	case <-r.done:
	case <-over:
		if l.leave(r, at, n) {
			b.Spend()
			err, _ := outcome(pool, b.total, end, waiters, errLeft)
			return failed(n, err)
		}
	case <-ctx.Done():
		if l.leave(r, at, n) {
			return failed(n, ctx.Err())
		}
	}
	b.Left -= time.Since(came)
	replies := r.replies[at : at+n]
	if slices.ContainsFunc(replies, func(r Reply) bool { return IsOver(r.Err) }) {
		b.Spend()
	}
	return replies
}

// leave is called by a caller that waits no more. It returns false if the replies are there. Redis
// may execute what the caller asked for all the same. If it gives the caller a lease, the lease is
// given back when the batch lands.
func (l *batcher) leave(r *batch, at, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.replies != nil {
		return false
	}
	for i := range n {
		r.gone = append(r.gone, at+i)
	}
	return true
}

// seat returns where the name of a call that goes by itself is kept, or nil if the call must share.
// It must share while a batch is under way: the process is busy, and shared round trips cost both
// sides less.
func (l *batcher) seat(name string) *string {
	if l.flying >= mostAlone || l.gather != nil || l.batches > 0 || l.underWay(name) {
		return nil
	}
	return &l.alone[slices.Index(l.alone[:], "")] // fewer are flying than there are
}

// goAlone takes a seat, and unlocks.
func (l *batcher) goAlone(seat *string, name string) {
	*seat = name
	l.flying++
	l.mu.Unlock()
}

// underWay reports whether a read of a name is under way.
func (l *batcher) underWay(name string) bool {
	return l.kind == Reads && (slices.Contains(l.alone[:], name) || l.reading[name] > 0)
}

// join adds the ops of a caller to the first of these batches that takes them: the one for names
// that are under way, if the caller's name is; the one that is about to be sent; the last one that
// waits in the queue; a new one that the caller leads. A read is one op.
func (l *batcher) join(ctx context.Context, b *Budget, ops []Op) (r *batch, at int, leads bool) {
	again := l.underWay(ops[0].Name)
	if again && l.again == nil {
		l.again = newBatch(ctx, b)
	}
	switch {
	case again && l.again.takes(ops):
		r = l.again
	case l.gather.takes(ops):
		r = l.gather
	case len(l.queue) > 0 && l.queue[len(l.queue)-1].takes(ops):
		r = l.queue[len(l.queue)-1]
	default:
		r, leads = newBatch(ctx, b), true
		l.gather = r
	}
	if at = r.find(ops[0]); at >= 0 {
		r.share(at)
		return r, at, leads
	}
	at = len(r.ops)
	r.ops, r.decodings = append(r.ops, ops...), append(r.decodings, make([]*Decoding, len(ops))...)
	return r, at, leads
}

// share notes that a read is one of several callers.
func (r *batch) share(at int) {
	if r.decodings[at] == nil {
		r.decodings[at] = new(Decoding)
	}
}

func newBatch(ctx context.Context, b *Budget) *batch {
	return &batch{ctx: ctx, start: time.Now(), left: b.Left, done: make(chan struct{})}
}

// takes reports whether the ops of one more caller have room.
func (r *batch) takes(ops []Op) bool {
	return r != nil && (len(r.ops)+len(ops) <= mostShared || r.find(ops[0]) >= 0)
}

// find returns the place of a read, if there is the same one.
func (r *batch) find(read Op) int {
	if read.Verb != readDocument {
		return -1
	}
	return r.place(read.Name)
}

func (r *batch) place(name string) int {
	return slices.IndexFunc(r.ops, func(o Op) bool { return o.Name == name })
}

func (r *batch) has(name string) bool { return r.place(name) >= 0 }

// lead is called by the first caller of a batch; own is how many of its ops are that caller's. lead
// lets the goroutines join that are ready to run, and then sends the batch. If too much is under
// way, it puts the batch in the queue, from where it is sent later. If nobody has joined the batch,
// lead returns true, and leaves the sending to its caller.
func (l *batcher) lead(ctx context.Context, b *Budget, r *batch, own int) (alone bool) {
	runtime.Gosched() // no timer: where nobody else is ready, the caller goes on at once
	l.mu.Lock()
	if l.gather == r {
		l.gather = nil
	}
	if l.flying >= mostFlying {
		l.enqueue(r)
		l.mu.Unlock()
		return false
	}
	l.takeOff(r)
	l.mu.Unlock()
	if len(r.ops) == own && r.decodings[0] == nil {
		return true
	}
	// A bounded client ends a command by its ctx, so the caller may send on its own goroutine. Any other
	// client may hang for longer, and then the caller must be able to leave.
	if _, ok := l.store.callsInline(ctx, b); ok {
		l.fly(r)
	} else {
		go l.fly(r)
	}
	return false
}

// enqueue has a batch wait behind those that are older, so that none waits for ever.
func (l *batcher) enqueue(r *batch) {
	i, _ := slices.BinarySearchFunc(l.queue, r.start, func(q *batch, start time.Time) int { return q.start.Compare(start) })
	l.queue = slices.Insert(l.queue, i, r)
}

func (l *batcher) takeOff(r *batch) {
	l.flying++
	l.batches++
	if l.kind == Reads {
		for _, o := range r.ops {
			l.reading[o.Name]++
		}
	}
}

// fly sends a batch. The time of a batch begins with its first caller. What the batch waited for
// began earlier, so that has landed, or given up, before the time is over.
func (l *batcher) fly(r *batch) {
	replies := failed(len(r.ops), errLeft) // if go-redis panics: nobody may wait for ever
	defer func() { l.land(r, replies) }()
	b := Budget{total: l.store.Timeout, Left: r.left - time.Since(r.start)}
	replies = l.store.runNow(context.WithoutCancel(r.ctx), &b, l.kind, r.ops)
	for i := range replies {
		if replies[i].Err == errSpent {
			replies[i].Err = TimeoutError{after: b.total, wait: forTurn}
		}
	}
}

// land ends a batch. Leases that are nobody's any more are given back.
func (l *batcher) land(r *batch, replies []Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.replies = replies
	close(r.done)
	l.batches--
	if l.kind == Reads {
		for _, o := range r.ops {
			if l.reading[o.Name]--; l.reading[o.Name] == 0 {
				delete(l.reading, o.Name)
			}
		}
	}
	l.landed(r.has)
	if r.gone != nil {
		l.giveBack(r)
	}
}

// giveBack returns the leases whose callers have left.
func (l *batcher) giveBack(r *batch) {
	ops, replies := make([]Op, len(r.gone)), make([]Reply, len(r.gone))
	for i, at := range r.gone {
		ops[i], replies[i] = r.ops[at], r.replies[at]
	}
	rdb, _ := l.store.Client.Get()
	l.store.giveBack(r.ctx, rdb, ops, replies)
}

func (l *batcher) landAlone(seat *string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := *seat
	*seat = ""
	l.landed(func(other string) bool { return other == name })
}

// landed lets batches fly now that something is no longer under way. about tells the names that it
// was about.
func (l *batcher) landed(about func(name string) bool) {
	l.flying--
	// One of its names has landed, perhaps not all. That is enough: a read that is sent now is sent after
	// all of its callers have asked, and that is what they need. (It waited only to be one read for many.)
	if l.again != nil && slices.ContainsFunc(l.again.ops, func(o Op) bool { return about(o.Name) }) {
		l.enqueue(l.again)
		l.again = nil
	}
	for len(l.queue) > 0 && l.flying < mostFlying {
		r := l.queue[0]
		l.queue = slices.Delete(l.queue, 0, 1)
		l.takeOff(r)
		go l.fly(r)
	}
}
