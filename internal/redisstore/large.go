package redisstore

import (
	"bytes"
	"context"
	"errors"
	"slices"
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
// Redis answers, and they are large together, it does not hang, so the breaker forgets the failure. Values that are large by
// themselves are put off: for a second nothing reads or stores them, and their reads go to the loader. After that one read tries
// again. It goes by itself, so no other entry shares its command, and the breaker hears of its failure only if Redis does not tell
// the size either. If it fails, the value is put off for twice as long, up to longestPutOff; if it brings a value, all is
// forgotten. What cannot be written in time is put off in the same way.
type Large struct {
	Count atomic.Int64 // of names, so that reads take no lock while there are none

	mu       sync.Mutex // guards the rest
	names    map[string]putOff
	late     []Late // are to be weighed
	weighing bool   // somebody does, who has the rest
	silent   bool   // Redis has not told a size
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

// A Late is a call that has run out of time, perhaps because of the size of a value.
type Late struct {
	Kind  Kind
	Names []string
	Size  int     // of the first name's value, or 0 if it is not known
	told  []Reply // what the breaker is told of the call if it was not the size; nil if it was told
}

// suspect has the reads weighed that ran out of time. later tells that the breaker is told by then: a read that tries a large value
// is expected to be late.
func (s *Store) suspect(names []string, replies []Reply) (later bool) {
	late := Late{Kind: Reads}
	for i, r := range replies {
		if waitedForAnswer(r.Err) && len(late.Names) < ChunkSize {
			late.Names = append(late.Names, names[i])
		}
	}
	if late.Names == nil {
		return false
	}
	if later = len(names) == 1 && s.Large.Has(names[0]); later {
		late.told = replies
	}
	s.Weigh(late)
	return later
}

func waitedForAnswer(err error) bool {
	if err == nil {
		return false // before anything is allocated
	}
	var ranOut TimeoutError
	return errors.As(err, &ranOut) && (ranOut.wait == forAnswer || ranOut.wait == forSomething)
}

// Weigh finds out in the background whether a call ran out of time because of the size of a value.
func (s *Store) Weigh(l Late) {
	if s.Large.await(l) && !s.Start(s.weighAll) {
		for s.Large.next() != nil { // the Cache is closed
		}
	}
}

// await adds a call to those that are to be weighed, and reports whether somebody must begin to weigh.
func (l *Large) await(late Late) (begin bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = append(l.late, late)
	begin = !l.weighing
	l.weighing = true
	return begin
}

// next takes the calls that are to be weighed. If there are none, the weighing ends.
func (l *Large) next() (late []Late) {
	l.mu.Lock()
	defer l.mu.Unlock()
	late, l.late = l.late, nil
	l.weighing = late != nil
	return late
}

// weighAll weighs the calls one after the other. The breaker is told of those that were not late for their size.
func (s *Store) weighAll() {
	for late := s.Large.next(); late != nil; late = s.Large.next() {
		for _, l := range late {
			if !s.weigh(l) && l.told != nil {
				s.Breaker.report(l.Names, l.told, l.Kind)
			}
		}
	}
}

// weigh puts off the values that made a call late, and reports whether it was their size. Once Redis has not told a size, it is not
// asked again before it has done something that it was asked for: nothing but probes is sent to a Redis that is down.
func (s *Store) weigh(l Late) (large bool) {
	if s.Large.silent && s.Breaker.fails() {
		return false
	}
	sizes, ok := s.sizes(l.Names)
	if s.Large.silent = !ok; !ok {
		return false
	}
	sizes[0] = max(sizes[0], l.Size)
	all := 0
	for _, n := range sizes {
		all += n
	}
	if all < LargeBytes {
		return false
	}
	s.Breaker.succeeded(l.Names[0], l.Kind)
	for _, i := range heaviest(sizes, all) {
		if s.Large.PutOff(l.Names[i]) {
			s.TooLarge(l.Names[i], sizes[i])
		}
	}
	return true
}

// heaviest returns the places of the largest values: as many as make up half of all, or none if the large ones are no more than a
// quarter of it. So what can be read together is found after a few calls.
func heaviest(sizes []int, all int) (places []int) {
	large := 0
	for i, n := range sizes {
		if n >= LargeBytes {
			places = append(places, i)
			large += n
		}
	}
	if large < all/4 {
		return nil
	}
	slices.SortFunc(places, func(i, j int) int { return sizes[j] - sizes[i] })
	taken := 0
	for n, i := range places {
		if taken += sizes[i]; taken >= all/2 {
			return places[:n+1]
		}
	}
	return places
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
