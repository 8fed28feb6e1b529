package redisstore

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/document"
)

// Large are the values that cannot be brought within WithRedisTimeout, while Redis answers small commands. Each read of one
// would cost its caller that time, and the client a connection, for nothing.
//
// When a read runs out of time after its command was sent, the store asks for the sizes of what was read, in the background. If
// Redis answers, it does not hang, so the breaker forgets the failure. If one of the values is large, it is put off: for a second
// nothing reads or stores it, and its reads go to the loader. After that one read tries again. It goes by itself, so no other
// entry shares its command. If it fails, the value is put off for twice as long, up to longestPutOff; if it brings a value, all is
// forgotten. What cannot be written in time is put off in the same way.
type Large struct {
	Count    atomic.Int64 // of names, so that reads take no lock while there are none
	weighing atomic.Bool  // sizes are being asked for

	mu    sync.Mutex // guards the rest
	names map[string]putOff
}

// errPutOff stands for the answer of Redis about a value that is left alone.
var errPutOff = errors.New("aside: put off")

// A putOff says how long a value is left alone.
type putOff struct {
	until  time.Time
	pause  time.Duration
	trying bool // a read finds out whether it can be read now
}

const (
	LargeBytes     = 64 << 10 // what is smaller is not late for its size
	firstPutOff    = time.Second
	longestPutOff  = 10 * time.Minute
	mostLarge      = 1000 // names
	rememberPutOff = longestPutOff
)

// Has reports whether a value was put off lately, so that no other entry may depend on its being read.
func (l *Large) Has(name string) bool {
	if l.Count.Load() == 0 {
		return false // nearly always
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.names[name]
	return ok && !p.old(time.Now())
}

func (p putOff) old(now time.Time) bool { return now.Sub(p.until) > rememberPutOff }

// try reports whether the caller is the one that finds out whether a value can be read now. It must
// call tried.
func (l *Large) try(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.names[name]
	if !ok {
		return true // just forgotten
	}
	if p.trying || time.Now().Before(p.until) {
		return false
	}
	p.trying = true
	l.names[name] = p
	return true
}

// tried ends what try began.
func (l *Large) tried(name string, found looked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.names[name]
	switch {
	case !ok:
	case found.Err != nil:
		l.leave(name, p.pause)
	case bytes.HasPrefix(found.Doc, []byte(document.IDPrefix)):
		l.forget(name)
	default: // there is no value
		p.trying = false
		l.names[name] = p
	}
}

// PutOff leaves a value alone, and reports whether that is the first time.
func (l *Large) PutOff(name string) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	p, again := l.names[name]
	if now.Before(p.until) {
		return false // by another read that was under way
	}
	if !again || p.old(now) {
		l.makeRoom(now)
		p.pause = 0
	}
	l.leave(name, p.pause)
	return p.pause == 0
}

// leave leaves a value alone for twice as long as the last time.
func (l *Large) leave(name string, last time.Duration) {
	pause := min(max(2*last, firstPutOff), longestPutOff)
	l.names[name] = putOff{until: time.Now().Add(pause), pause: pause}
	l.Count.Store(int64(len(l.names)))
}

// makeRoom forgets what was put off long ago, and if that is not enough some other.
func (l *Large) makeRoom(now time.Time) {
	if l.names == nil {
		l.names = make(map[string]putOff)
	}
	for name, p := range l.names {
		if p.old(now) {
			l.forget(name)
		}
	}
	for name := range l.names {
		if len(l.names) < mostLarge {
			return
		}
		l.forget(name)
	}
}

func (l *Large) forget(name string) {
	delete(l.names, name)
	l.Count.Store(int64(len(l.names)))
}

// lookLarge reads a document whose value was put off, one caller at a time.
func (s *Store) lookLarge(ctx context.Context, b *Budget, name string) (found looked) {
	if !s.Large.try(name) {
		return looked{Err: errPutOff}
	}
	defer func() { s.Large.tried(name, found) }()
	return s.lookAlone(ctx, b, name)
}

// suspect finds out in the background whether reads of names ran out of time because of the size of a value.
func (s *Store) suspect(names []string, replies []Reply) {
	var late []string
	for i, r := range replies {
		var ranOut TimeoutError
		if errors.As(r.Err, &ranOut) && (ranOut.wait == forAnswer || ranOut.wait == forSomething) && len(late) < ChunkSize {
			late = append(late, names[i])
		}
	}
	if late != nil {
		s.Weigh(late, 0)
	}
}

// Weigh does so for names, one call at a time. size is that of the first name's value, or 0 if it
// is not known.
func (s *Store) Weigh(names []string, size int) {
	if !s.Breaker.Up(names[0], Reads) || !s.Large.weighing.CompareAndSwap(false, true) {
		return
	}
	weigh := func() {
		defer s.Large.weighing.Store(false)
		s.weighNow(names, size)
	}
	if !s.Start(weigh) {
		s.Large.weighing.Store(false) // the Cache is closed
	}
}

// weighNow puts off the largest of the values, unless it is only one among many.
func (s *Store) weighNow(names []string, size int) {
	sizes, ok := s.sizes(names)
	if !ok {
		return // it was not the size
	}
	sizes[0] = max(sizes[0], size)
	largest, all := 0, 0
	for i, n := range sizes {
		all += n
		if n > sizes[largest] {
			largest = i
		}
	}
	n := sizes[largest]
	if n < LargeBytes || n < all/4 {
		return
	}
	s.Breaker.succeeded(names[0], Reads) // it was the size
	if s.Large.PutOff(names[largest]) {
		s.TooLarge(names[largest], n)
	}
}

// sizes asks for the sizes of documents, 0 for what is none. ok is false if Redis does not answer that, either.
func (s *Store) sizes(names []string) (sizes []int, ok bool) {
	replies, err := Ask(s.Closing, s, names[0], func(ctx context.Context, rdb redis.UniversalClient) ([]Reply, error) {
		cmds := make([]*redis.IntCmd, len(names))
		pipelined(ctx, rdb, len(names), func(i int, c redis.Cmdable) { cmds[i] = c.StrLen(ctx, names[i]) })
		replies := make([]Reply, len(names))
		for i, cmd := range cmds {
			replies[i] = Reply{At: cmd.Val(), Err: cmd.Err()}
		}
		return replies, firstUnanswered(replies)
	})
	if err != nil {
		return nil, false
	}
	sizes = make([]int, len(names))
	for i, r := range replies {
		sizes[i] = int(r.At)
	}
	return sizes, true
}
