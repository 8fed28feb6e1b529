package aside

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// looks are the reads of single documents at one primary. A few go by themselves, each on its caller's goroutine if the
// client is bounded, so that a lone caller pays for nothing else. While those are under way, the next callers gather for a
// round: one command for all of them, sent when nearly all of the others have landed. The more reads there are at a time,
// the more of them share a round trip.
//
// Who asks for a name of which a read is under way gathers, too. He may not have the reply of one that was sent before (an
// Invalidate that he knows of may have overtaken it), and with others like him he shares the next.
type looks struct {
	store *store

	mu      sync.Mutex // guards the rest
	flying  int        // reads and rounds under way
	names   map[string]int
	waiting []*round // the last one gathers
}

const (
	mostAlone  = 8  // reads under way, with one more that goes by itself
	mostRounds = 2  // reads and rounds under way, once callers gather: few, so that each round is large
	mostNames  = 64 // in one round
)

// A round is one command for the documents of several names.
type round struct {
	ctx    context.Context // the values of the first caller's
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

// A decoding is done once for several callers, if they may share the value.
type decoding struct {
	once  sync.Once
	value any
	ok    bool
}

// look reads the document of a name.
func (s *store) look(ctx context.Context, b *budget, name string) looked {
	if b.spent() {
		return looked{err: errSpent}
	}
	l := s.looksFor(name)
	l.mu.Lock()
	if l.mayFly(name) {
		l.takeOff(name)
		l.mu.Unlock()
		defer l.land(name)
		return s.lookAlone(ctx, b, name)
	}
	r, i := l.join(ctx, name)
	l.mu.Unlock()
	select {
	case <-r.done:
		b.left -= time.Since(r.start)
		if err := r.looked[i].err; err != nil {
			b.spend()
			s.breaker.report([]string{name}, []reply{{err: err}}, false) // each caller whom Redis fails counts
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
		l, _ = s.looks.LoadOrStore(node, &looks{store: s, names: make(map[string]int)})
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

func (l *looks) mayFly(name string) bool {
	return l.flying < mostAlone && len(l.waiting) == 0 && l.names[name] == 0
}

func (l *looks) takeOff(names ...string) {
	l.flying++
	for _, name := range names {
		l.names[name]++
	}
}

// land lets the rounds fly that have waited longest.
func (l *looks) land(names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying--
	for _, name := range names {
		if l.names[name]--; l.names[name] == 0 {
			delete(l.names, name)
		}
	}
	for len(l.waiting) > 0 && l.flying < mostRounds {
		r := l.waiting[0]
		l.waiting = slices.Delete(l.waiting, 0, 1)
		l.takeOff(r.names...)
		go l.fly(r)
	}
}

// join adds a caller to the round that gathers. There is a read under way, and rounds fly when it has landed if not before.
func (l *looks) join(ctx context.Context, name string) (r *round, i int) {
	if n := len(l.waiting); n > 0 && len(l.waiting[n-1].names) < mostNames {
		r = l.waiting[n-1]
	} else {
		r = &round{ctx: context.WithoutCancel(ctx), start: time.Now(), done: make(chan struct{})}
		l.waiting = append(l.waiting, r)
	}
	if i = slices.Index(r.names, name); i >= 0 {
		r.shared[i] = true
		return r, i
	}
	r.names, r.shared = append(r.names, name), append(r.shared, false)
	return r, len(r.names) - 1
}

// fly sends the command of a round. Its time began with its first caller: what it waited for began earlier, so it has
// landed, or given up, before that time is over.
func (l *looks) fly(r *round) {
	defer l.land(r.names...)
	defer close(r.done)
	b := budget{total: l.store.timeout, left: l.store.timeout - time.Since(r.start)}
	r.looked = make([]looked, len(r.names))
	for i, reply := range l.store.lookMany(r.ctx, &b, r.names) {
		if reply.err == errSpent {
			reply.err = timeoutError{b.total}
		}
		r.looked[i] = looked{doc: reply.doc, err: reply.err}
		if r.shared[i] {
			r.looked[i].shared = new(decoding)
		}
	}
}
