package aside

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

// A store is the Redis side: one method for each thing that the data path does to a document. Every script is given one key,
// or several that one server owns, so none of them cares which node of a Cluster that is, and a slot may move at any moment.
//
// The protocol stands on three rules, kept by the scripts:
//
//   - A token is made by the server in the script that stores it, from the caller's nonce and the server's time. A
//     command that a client, a proxy or the network executes twice makes two tokens, so the late one cannot revive a
//     lease that an Invalidate has voided. (A token made by the client can: SET NX with it, delayed, does just that.)
//   - A script that replaces a document compares first that it is the one that the work began with.
//   - Nothing but a fill that compared stores a value.
type store struct {
	client    boundedClient
	deadlines deadlines
	timeout   time.Duration // what one call of the user may spend on Redis
	looks     sync.Map      // *looks by primary
	lease     time.Duration // how long a lease lives unless renewed
	breaker   *breaker
	nonces    nonces
	known     [len(scripts)]struct{ one, many atomic.Bool } // scripts that a server has been sent, see send
	scattered atomic.Bool                                   // a Client has said that keys must share a slot
	failed    func(err error)
}

// note keeps count of what Redis did and failed to do. That something else lies under a name is no failure.
func (s *store) note(names []string, replies []reply, write bool) {
	s.breaker.report(names, replies, write)
	last := ""
	for _, r := range replies {
		if r.err != nil && !isWrongType(r.err) && r.err.Error() != last { // once, if it was one for all of them
			last = r.err.Error()
			s.failed(r.err)
		}
	}
}

// returnedLife is how long a returned lease stays to be seen by those who wait for it: several of their polls.
const returnedLife = time.Second

// probe asks the server of name whether it would write. Nothing has this member, so nothing changes, whatever lies under
// the name; but a read-only replica refuses the command.
//
// A primary of a Cluster may have been replaced. One that is gone cannot say so, and by itself the client looks for its
// successor but once a minute.
func (s *store) probe(ctx context.Context, name string) error {
	if cluster, ok := s.client.rdb.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx) // in the background: a later probe meets the successor
	}
	b := newBudget(s.timeout)
	_, err := within(ctx, s, &b, func(ctx context.Context, rdb redis.UniversalClient) (int64, error) {
		return rdb.SRem(ctx, name, "aside: are you there?").Result()
	}, nil)
	return err
}

// ask calls Redis about no entry, and so says nothing to the breaker.
func ask[T any](ctx context.Context, s *store, fn call[T]) (T, error) {
	b := newBudget(s.timeout)
	got, err := within(ctx, s, &b, fn, nil)
	if err != nil && err != ctx.Err() {
		s.failed(err)
	}
	return got, err
}

// A reply is what Redis answered for one of several names.
type reply struct {
	ok  bool  // the script did what it is for
	at  int64 // the number that it returned
	doc []byte
	err error
}

// lookMany reads documents in one round trip to each server concerned.
func (s *store) lookMany(ctx context.Context, b *budget, names []string) []reply {
	return spread(s, b, names, itself, func(b *budget, part []string) []reply {
		return s.each(ctx, b, part, false, func(ctx context.Context, rdb redis.UniversalClient) []reply {
			if _, single := rdb.(*redis.Client); single && len(part) > 1 && !s.scattered.Load() {
				if replies := mget(ctx, rdb, part); !isCrossSlot(replies[0].err) {
					return replies
				}
				s.scattered.Store(true)
			}
			return getAll(ctx, rdb, part) // the names of an MGET must share a slot
		})
	})
}

// mget takes what is no string for a missing key, as MGET does; the lease finds out.
func mget(ctx context.Context, rdb redis.UniversalClient, names []string) []reply {
	values, err := rdb.MGet(ctx, names...).Result()
	if err == nil && len(values) != len(names) {
		err = fmt.Errorf("aside: Redis answered an MGET of %d keys with %d values", len(names), len(values))
	}
	replies := make([]reply, len(names))
	for i := range replies {
		if err != nil {
			replies[i].err = err
		} else if doc, ok := values[i].(string); ok {
			replies[i].doc = bytesOf(doc)
		}
	}
	return replies
}

// bytesOf returns the bytes of a string that nobody else has. They are not nil, which would be the missing key.
func bytesOf(s string) []byte {
	if s == "" {
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

func getAll(ctx context.Context, rdb redis.UniversalClient, names []string) []reply {
	cmds := make([]*redis.StringCmd, len(names))
	pipelined(ctx, rdb, len(names), func(i int, c redis.Cmdable) { cmds[i] = c.Get(ctx, names[i]) })
	replies := make([]reply, len(names))
	for i, cmd := range cmds {
		doc, err := cmd.Bytes()
		replies[i] = reply{doc: doc, err: notNil(err)}
	}
	return replies
}

// pipelined has n commands sent together; one alone needs no pipeline. Each command tells its own outcome: in a Cluster,
// some nodes may answer where others do not.
func pipelined(ctx context.Context, rdb redis.UniversalClient, n int, queue func(i int, c redis.Cmdable)) {
	if n == 1 {
		queue(0, rdb)
		return
	}
	_, _ = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range n {
			queue(i, p)
		}
		return nil
	})
}

// each does the work of several names within the budget, and notes how it went.
func (s *store) each(
	ctx context.Context, b *budget, names []string, write bool,
	work func(ctx context.Context, rdb redis.UniversalClient) []reply,
) []reply {
	all := func(err error) []reply {
		replies := make([]reply, len(names))
		for i := range replies {
			replies[i].err = err
		}
		return replies
	}
	replies, err := within(ctx, s, b,
		func(ctx context.Context, rdb redis.UniversalClient) ([]reply, error) { return work(ctx, rdb), nil },
		func(err error) { s.note(names, all(err), write) })
	if err != nil {
		replies = all(err)
	}
	if err == nil || err != ctx.Err() && err != errSpent {
		s.note(names, replies, write)
	}
	return replies
}

// A step is one run of a script on one entry.
type step struct {
	name   string
	script int
	args   []any
}

func (st step) keys() []string {
	if st.script == scriptMark {
		return []string{journalName, heldTagsName} // which share a slot
	}
	return []string{st.name}
}

func (s *store) leaseStep(name string, unusable []byte) step {
	return step{name, scriptLease, []any{s.nonces.next(), s.lease.Milliseconds(), unusable}}
}

func (s *store) fillStep(
	name, prefix string, h header, value []byte, isJSON bool, life time.Duration, latest int64,
) step {
	h.nonce = s.nonces.next()
	return step{name, scriptFill, []any{prefix, h.document(value, isJSON), h.stampAt(), max(1, life.Milliseconds()), latest}}
}

func (s *store) renewStep(name, prefix string) step {
	return step{name, scriptRenew, []any{prefix, s.lease.Milliseconds()}}
}

func releaseStep(name, prefix string, told time.Duration) step {
	return step{name, scriptRelease, []any{prefix, told.Milliseconds()}}
}

func holdStep(name, token string, life, lag time.Duration) step {
	return step{name, scriptHold, []any{token, life.Milliseconds(), lag.Milliseconds()}}
}

// invalidateStep removes an entry; with a lag, nothing is cached for that long.
func (s *store) invalidateStep(name string, lag time.Duration) step {
	if lag > 0 {
		return holdStep(name, "lag", 0, lag)
	}
	return step{name: name, script: scriptInvalidate}
}

func claimStep(name string, e *entry, life time.Duration) step {
	return step{name, scriptClaim, []any{e.prefix(), e.claimAt(), life.Milliseconds(), ""}}
}

func backoffStep(name string, e *entry, backoff time.Duration) step {
	field := appendPadded([]byte(backoffField), backoff.Milliseconds(), backoffWidth)
	return step{name, scriptClaim, []any{e.prefix(), e.claimAt(), backoff.Milliseconds(), field}}
}

func (s *store) markStep() step {
	return step{journalName, scriptMark, []any{s.nonces.next(), journalLife.Milliseconds()}}
}

// recordSteps are about at most so many tags each as Lua takes arguments.
func (s *store) recordSteps(tags []string) (steps []step) {
	for chunk := range slices.Chunk(tags, chunkSize) {
		var fields []any
		for _, tag := range chunk {
			fields = append(fields, "tag", tag)
		}
		steps = append(steps, s.recordStep(fields...))
	}
	return steps
}

func (s *store) recordStep(fields ...any) step {
	args := []any{s.nonces.next(), journalLife.Milliseconds(), journalLength}
	return step{journalName, scriptRecord, append(args, fields...)}
}

func sinceStep(m mark) step { return step{journalName, scriptSince, []any{m.id, m.nonce}} }

func holdTagsStep(tags []string, token string, life, lag time.Duration) step {
	args := []any{token, life.Milliseconds(), lag.Milliseconds()}
	for _, tag := range tags {
		args = append(args, tag)
	}
	return step{heldTagsName, scriptHoldTags, args}
}

func unindexStep(index string, entries []redis.Z) step {
	var args []any
	for _, e := range entries {
		args = append(args, e.Member, formatScore(e.Score))
	}
	return step{index, scriptUnindex, args}
}

// formatScore writes a whole number as Redis reads it.
func formatScore(score float64) string { return strconv.FormatFloat(score, 'f', 0, 64) }

// readIndex reads the first entries of an index from a score on.
func (s *store) readIndex(ctx context.Context, b *budget, index, from string, count int64) ([]redis.Z, error) {
	page, err := within(ctx, s, b, func(ctx context.Context, rdb redis.UniversalClient) ([]redis.Z, error) {
		return rdb.ZRangeByScoreWithScores(ctx, index, &redis.ZRangeBy{Min: from, Max: "+inf", Count: count}).Result()
	}, nil)
	if err == nil || err != ctx.Err() {
		s.note([]string{index}, []reply{{err: err}}, false)
	}
	return page, err
}

// run runs the steps in one round trip to each server concerned.
func (s *store) run(ctx context.Context, b *budget, steps []step) []reply {
	return spread(s, b, steps, func(st step) string { return st.name }, func(b *budget, part []step) []reply {
		return s.runPart(ctx, b, part)
	})
}

// runPart runs the steps of one part of spread.
func (s *store) runPart(ctx context.Context, b *budget, steps []step) []reply {
	names := make([]string, len(steps))
	for i, st := range steps {
		names[i] = st.name
	}
	return s.each(ctx, b, names, true, func(ctx context.Context, rdb redis.UniversalClient) []reply {
		replies := s.send(ctx, rdb, steps)
		if ctx.Err() != nil {
			s.giveBack(ctx, rdb, steps, replies)
		}
		return replies
	})
}

// A nonce tells one command from all others; see store for why it alone is no token.
type nonces struct {
	process string
	count   atomic.Uint64
}

func newNonces() nonces {
	return nonces{process: rand.Text()[:16]} // 80 bits
}

func (n *nonces) next() string {
	return n.process + "-" + strconv.FormatUint(n.count.Add(1), 36)
}

// notNil drops the error that stands for a missing key.
func notNil(err error) error {
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// isWrongType reports whether something that is no string lies under the name. Within a script, Redis before 7 puts
// the code inside the message.
func isWrongType(err error) bool {
	return err != nil && strings.Contains(err.Error(), "WRONGTYPE")
}
