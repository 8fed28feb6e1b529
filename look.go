package aside

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// looks are the reads of single documents at one primary. As long as there are few, each goes by itself, on its caller's
// goroutine if the client is bounded, and pays for nothing else. More of them, and all as long as such a round is under way,
// gather for one command for all: its first caller lets those run who are ready to, since some of them are about to read as
// well, and then sends it. So nobody waits for a reply before he asks, and the busier the process is, the more of its reads
// share a round trip. Only while many commands are under way, callers gather until one of them has landed.
//
// Who asks for a name of which a read is under way may not have its reply: an Invalidate that he knows of may have overtaken
// it. With others like him he shares a read that follows it.
type looks struct {
	store *store

	mu     sync.Mutex        // guards the rest
	flying int               // commands under way
	alone  [mostAlone]string // the names of reads that go by themselves, which need not pay for a map
	aloft  map[string]int    // how many rounds under way are about a name
	gather *round            // its first caller is about to send it
	queue  []*round          // too many commands are under way for these; the oldest comes first
	again  *round            // of names that were under way: sent when a read of one of them has landed
}

const (
	mostAlone  = 2  // reads that go by themselves at a time: two would lose more by sharing than they save
	mostFlying = 8  // commands under way, each of which needs a connection
	mostNames  = 64 // in one round
)

// A round is one command for the documents of several names.
type round struct {
	ctx    context.Context // of its first caller
	start  time.Time       // when he came
	names  []string
	shared []bool // by several callers
	done   chan struct{}
	looked []looked // once done
}

// A looked is what a look found.
type looked struct {
	doc    []byte // nil is the missing key
	err    error
	shared *decoding // nil if doc is the caller's own
}

// A decoding is done once for several callers; see decodeFor.
type decoding struct {
	once  sync.Once
	value any
	ok    bool
}

// look reads the document of a name.
func (s *store) look(ctx context.Context, b *budget, name string) looked {
	l := s.looksFor(name)
	l.mu.Lock()
	if slot := l.slot(name); slot != nil {
		*slot = name
		l.flying++
		l.mu.Unlock()
		defer l.landAlone(slot)
		return s.lookAlone(ctx, b, name)
	}
	r, i, leads := l.join(ctx, name)
	l.mu.Unlock()
	came := time.Now()
	if leads && l.lead(ctx, b, r) {
		defer l.land(r)
		return s.lookAlone(ctx, b, name)
	}
	select {
	case <-r.done:
		b.left -= time.Since(came)
		if r.looked[i].err != nil {
			b.spend()
		}
		return r.looked[i]
	case <-ctx.Done():
		return looked{err: ctx.Err()}
	}
}

func (s *store) looksFor(name string) *looks {
	node := ""
	if s.breaker.cluster {
		node = s.breaker.nodeOf(name)
	}
	l, ok := s.looks.Load(node)
	if !ok {
		l, _ = s.looks.LoadOrStore(node, &looks{store: s, aloft: make(map[string]int)})
	}
	return l.(*looks)
}

// lookAlone sends a GET.
func (s *store) lookAlone(ctx context.Context, b *budget, name string) looked {
	var doc []byte
	var err error
	if rdb, ok := s.callsHere(ctx, b); ok { // spelled out, since within would have both funcs allocated
		doc, err = here(ctx, s, b, rdb, func(ctx context.Context, rdb redis.UniversalClient) ([]byte, error) {
			return get(ctx, rdb, name)
		})
	} else {
		doc, err = apart(ctx, b, rdb, func(ctx context.Context, rdb redis.UniversalClient) ([]byte, error) {
			return get(ctx, rdb, name)
		}, func(err error) { s.note([]string{name}, []reply{{err: err}}, false) })
	}
	switch {
	case err == nil:
		s.breaker.succeeded(name, false)
	case err != ctx.Err() && err != errSpent:
		s.note([]string{name}, []reply{{err: err}}, false)
	}
	return looked{doc: doc, err: err}
}

func get(ctx context.Context, rdb redis.UniversalClient, name string) ([]byte, error) {
	doc, err := rdb.Get(ctx, name).Bytes()
	return doc, notNil(err)
}

// slot returns where the name of a read is kept that goes by itself, or nil if it may not.
func (l *looks) slot(name string) *string {
	if l.flying >= mostAlone || l.gather != nil || len(l.aloft) > 0 || l.underWay(name) {
		return nil
	}
	return &l.alone[slices.Index(l.alone[:], "")] // fewer are flying than there are
}

func (l *looks) underWay(name string) bool {
	return slices.Contains(l.alone[:], name) || l.aloft[name] > 0
}

// join adds a caller to the first of these that takes him: the round for names that are under way, if his is, the one that
// is about to be sent, the last one that cannot be, one that he leads.
func (l *looks) join(ctx context.Context, name string) (r *round, i int, leads bool) {
	again := l.underWay(name)
	if again && l.again == nil {
		l.again = newRound(ctx)
	}
	switch {
	case again && l.again.takes(name):
		r = l.again
	case l.gather.takes(name):
		r = l.gather
	case len(l.queue) > 0 && l.queue[len(l.queue)-1].takes(name):
		r = l.queue[len(l.queue)-1]
	default:
		r, leads = newRound(ctx), true
		l.gather = r
	}
	if i = slices.Index(r.names, name); i >= 0 {
		r.shared[i] = true
		return r, i, leads
	}
	r.names, r.shared = append(r.names, name), append(r.shared, false)
	return r, len(r.names) - 1, leads
}

func newRound(ctx context.Context) *round {
	return &round{ctx: ctx, start: time.Now(), done: make(chan struct{})}
}

func (r *round) takes(name string) bool {
	return r != nil && (len(r.names) < mostNames || r.has(name))
}

func (r *round) has(name string) bool { return r != nil && slices.Contains(r.names, name) }

// lead sends a round once those have joined it who were ready to run, or has it sent when that may be. If nobody has joined
// it, it leaves the sending to its caller, and returns true.
func (l *looks) lead(ctx context.Context, b *budget, r *round) (alone bool) {
	runtime.Gosched()
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
	if len(r.names) == 1 && !r.shared[0] {
		return true
	}
	if _, ok := l.store.callsHere(ctx, b); ok {
		l.fly(r)
	} else {
		go l.fly(r)
	}
	return false
}

// enqueue has a round wait behind those that are older, so that none waits for ever.
func (l *looks) enqueue(r *round) {
	i, _ := slices.BinarySearchFunc(l.queue, r.start, func(q *round, start time.Time) int { return q.start.Compare(start) })
	l.queue = slices.Insert(l.queue, i, r)
}

func (l *looks) takeOff(r *round) {
	l.flying++
	for _, name := range r.names {
		l.aloft[name]++
	}
}

// fly sends the command of a round. Its time began with its first caller: what it waited for began earlier, so it has
// landed, or given up, before that time is over.
func (l *looks) fly(r *round) {
	defer l.land(r)
	defer close(r.done)
	b := budget{total: l.store.timeout, left: l.store.timeout - time.Since(r.start)}
	r.looked = make([]looked, len(r.names))
	for i, reply := range l.store.lookMany(context.WithoutCancel(r.ctx), &b, r.names) {
		if reply.err == errSpent {
			reply.err = timeoutError{b.total}
		}
		r.looked[i] = looked{doc: reply.doc, err: reply.err}
		if r.shared[i] {
			r.looked[i].shared = new(decoding)
		}
	}
}

func (l *looks) land(r *round) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range r.names {
		if l.aloft[name]--; l.aloft[name] == 0 {
			delete(l.aloft, name)
		}
	}
	l.landed(r.names...)
}

func (l *looks) landAlone(slot *string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := *slot
	*slot = ""
	l.landed(name)
}

// landed lets rounds fly now that a command for names is no longer under way.
func (l *looks) landed(names ...string) {
	l.flying--
	if l.again != nil && slices.ContainsFunc(names, l.again.has) {
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
