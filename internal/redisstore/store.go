// Package redisstore is the one door to Redis. It knows ops, each about one key: to read a document
// or a page of an index, or to run one of the scripts that keep the protocol. It lets callers that
// run side by side share round trips, bounds the time that each may spend, and knows which
// primaries can be reached. What a document means for a read, and when something is invalidated, is
// for others.
package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/document"
)

// A Store is the Redis side: one method for each thing that the data path does to a document. Every script is given one key,
// or several that one server owns, so none of them cares which node of a Cluster that is, and a slot may move at any moment.
//
// The protocol stands on three rules, kept by the scripts:
//
//   - A token is made by the server in the script that stores it, from the caller's nonce and the server's time. A
//     command that a client, a proxy or the network executes twice makes two tokens, so the late one cannot revive a
//     lease that an Invalidate has voided. (A token made by the client can: SET NX with it, delayed, does just that.)
//   - A script that replaces a document compares first that it is the one that the work began with.
//   - Nothing but a fill that compared stores a value.
type Store struct {
	Config
	Client    boundedClient
	pool      *pool         // of a Client
	pools     sync.Map      // *pool by primary, of a ClusterClient
	batchers  [2]sync.Map   // *batcher by kind, and by primary
	Lease     time.Duration // how long a lease lives unless renewed
	nonces    nonces
	known     [len(scripts)]struct{ one, many atomic.Bool } // scripts that a server has been sent, see send
	scattered atomic.Bool                                   // a Client has said that keys must share a slot
	Large     Large
}

// A Config is what a store needs of its Cache.
type Config struct {
	RDB      redis.UniversalClient
	Timeout  time.Duration // what one call of the user may spend on Redis
	Books    Books         // of its tags
	Breaker  *breaker
	Start    func(func()) bool            // runs something in the background of the Cache
	Closing  context.Context              // ends with it
	Failed   func(err error)              // is told of each failure of Redis
	TooLarge func(name string, bytes int) // for WithRedisTimeout
}

func New(c Config) *Store {
	pool := newPool(c.RDB, "", "", c.Closing)
	return &Store{
		Config: c,
		Client: newBounded(c.RDB, c.Timeout, &pool.greetings),
		pool:   pool,
		Lease:  max(2*time.Second, 4*c.Timeout),
		nonces: newNonces(),
	}
}

// note keeps count of what Redis did and failed to do. That something else lies under a name is no failure.
func (s *Store) note(names []string, replies []Reply, k Kind) {
	s.Breaker.report(names, replies, k)
	if k == Reads {
		s.suspect(names, replies)
	}
	last := ""
	for _, r := range replies {
		if r.Err != nil && !IsWrongType(r.Err) && r.Err.Error() != last { // once, if it was one for all of them
			last = r.Err.Error()
			s.Failed(r.Err)
		}
	}
}

// ReturnedLife is how long a returned lease stays to be seen by the processes that wait for it:
// several of their polls.
const ReturnedLife = time.Second

// A Reply is what Redis answered for one of several names.
type Reply struct {
	OK   bool  // the script did what it is for
	At   int64 // the number that it returned
	Doc  []byte
	page []redis.Z // of an index
	Err  error
}

// LookMany reads documents in one round trip to each server concerned.
func (s *Store) LookMany(ctx context.Context, b *Budget, names []string) []Reply {
	ops := make([]Op, len(names))
	for i, name := range names {
		ops[i] = readOp(name)
	}
	return s.read(ctx, b, ops)
}

// bytesOf returns the bytes of a string that nobody else has. They are not nil, which would be the missing key.
func bytesOf(s string) []byte {
	if s == "" {
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// pipelined has n commands sent together; one alone needs no pipeline. Each command tells its own outcome: in a Cluster,
// some nodes may answer where others do not.
func pipelined(ctx context.Context, rdb redis.UniversalClient, n int, queue func(i int, c redis.Cmdable)) {
	if n == 1 {
		queue(0, rdb)
		return
	}
	Pipelined(ctx, rdb, func(p redis.Pipeliner) {
		for i := range n {
			queue(i, p)
		}
	})
}

// Pipelined sends the commands that queue puts in a pipeline. If the pipeline fails and none of its commands says so, none was
// answered: then all of them get its error. A go-redis that gives up a handshake leaves them without one, and a hook of the user
// may. Some commands look then as if Redis had found nothing.
func Pipelined(ctx context.Context, c redis.Cmdable, queue func(p redis.Pipeliner)) {
	cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error { queue(p); return nil })
	if err == nil || slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return cmd.Err() != nil }) {
		return
	}
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
}

// runNow runs ops of one kind, which go to one primary, in a round trip of their own, and notes how it went.
func (s *Store) runNow(ctx context.Context, b *Budget, k Kind, ops []Op) []Reply {
	names := make([]string, len(ops))
	for i, o := range ops {
		names[i] = o.Name
	}
	replies, err := within(ctx, s, b, names[0],
		func(ctx context.Context, rdb redis.UniversalClient) ([]Reply, error) {
			replies := s.send(ctx, rdb, ops)
			if ctx.Err() != nil {
				s.giveBack(ctx, rdb, ops, replies)
			}
			return replies, firstUnanswered(replies)
		},
		func(err error) { s.note(names, failed(len(names), err), k) })
	if replies == nil {
		replies = failed(len(names), err)
	}
	for i := range replies {
		if IsOver(err) && unanswered(replies[i].Err) {
			replies[i].Err = err // which says why
		}
	}
	if err == nil || err != ctx.Err() && err != errSpent {
		s.note(names, replies, k)
	}
	return replies
}

// failed are n replies that did not come.
func failed(n int, err error) []Reply {
	replies := make([]Reply, n)
	for i := range replies {
		replies[i].Err = err
	}
	return replies
}

// unanswered reports whether a command failed and Redis has not said why.
func unanswered(err error) bool {
	if err == nil {
		return false // before anything is allocated
	}
	var answer redis.Error
	return !errors.As(err, &answer)
}

func firstUnanswered(replies []Reply) error {
	for _, r := range replies {
		if unanswered(r.Err) {
			return r.Err
		}
	}
	return nil
}

// An Op is what is done about one key in one command: a run of a script, or a read.
type Op struct {
	Name string
	Verb int // or a read
	Args []any
}

func readOp(name string) Op { return Op{Name: name, Verb: readDocument} }

func (s *Store) LeaseOp(name string, unusable []byte) Op {
	return Op{name, ScriptLease, []any{s.nonces.next(), s.Lease.Milliseconds(), unusable}}
}

func (s *Store) FillOp(
	name, prefix string, h document.Header, value []byte, isJSON bool, life time.Duration, latest int64,
) Op {
	h.Nonce = s.nonces.next()
	return Op{name, ScriptFill, []any{prefix, h.Render(value, isJSON), h.StampAt(), max(1, life.Milliseconds()), latest}}
}

func (s *Store) RenewOp(name, prefix string) Op {
	return Op{name, ScriptRenew, []any{prefix, s.Lease.Milliseconds()}}
}

func ReleaseOp(name, prefix string, told time.Duration) Op {
	return Op{name, ScriptRelease, []any{prefix, told.Milliseconds()}}
}

// HoldOp has token hold an entry for life, or no longer if that is 0, and notes the lag.
func (s *Store) HoldOp(name, token string, life, lag time.Duration) Op {
	return Op{name, ScriptHold, []any{token, life.Milliseconds(), lag.Milliseconds(), s.nonces.next()}}
}

// InvalidateOp removes an entry; with a lag, nothing is cached for that long.
func (s *Store) InvalidateOp(name string, lag time.Duration) Op {
	if lag > 0 {
		return s.HoldOp(name, "", 0, lag)
	}
	return Op{Name: name, Verb: ScriptInvalidate}
}

// ClaimOp claims a document for life. A claim that has longer than longest to go was made before a clock was set back.
func ClaimOp(name string, e *document.Entry, life, longest time.Duration) Op {
	return Op{name, ScriptClaim, []any{e.Prefix(), e.ClaimAt(), life.Milliseconds(), longest.Milliseconds(), ""}}
}

func BackoffOp(name string, e *document.Entry, backoff time.Duration) Op {
	field := document.BackoffField(backoff)
	return Op{name, ScriptClaim, []any{e.Prefix(), e.ClaimAt(), backoff.Milliseconds(), 0, field}}
}

func (s *Store) MarkOp() Op {
	return Op{s.Books.Journal, ScriptMark, []any{s.nonces.next(), journalLife.Milliseconds()}}
}

// RecordOp records that tags are invalidated, has holder hold them for life, unless that is 0, and notes the lag. (Lua takes
// no more than some thousands of arguments.)
func (s *Store) RecordOp(b Books, holder string, life, lag time.Duration, tags ...string) Op {
	args := []any{s.nonces.next(), journalLife.Milliseconds(), journalLength, holder, life.Milliseconds(), lag.Milliseconds()}
	return Op{b.Journal, ScriptRecord, appendAny(args, tags)}
}

func (s *Store) SinceOp(last Record) Op {
	return Op{s.Books.Journal, ScriptSince, []any{last.Score, last.Nonce}}
}

// HoldTagsOp has holder hold tags for life, or no longer if that is 0, and notes the lag. If a record is given, it is looked for.
func (s *Store) HoldTagsOp(b Books, holder string, life, lag time.Duration, made Record, tags ...string) Op {
	args := []any{holder, life.Milliseconds(), lag.Milliseconds(), made.Nonce, made.Score}
	return Op{b.Journal, ScriptHoldTags, appendAny(args, tags)}
}

func appendAny(args []any, texts []string) []any {
	for _, text := range texts {
		args = append(args, text)
	}
	return args
}

// RunAlone is run, with a budget of its own.
func (s *Store) RunAlone(ctx context.Context, ops ...Op) []Reply {
	b := NewBudget(s.Timeout)
	return s.Run(ctx, &b, ops)
}

// Run runs scripts in one round trip to each server concerned. The scripts of other callers may
// share it.
func (s *Store) Run(ctx context.Context, b *Budget, ops []Op) []Reply {
	return perPrimary(s, b, ops, func(b *Budget, part []Op) []Reply {
		if s.mayShare(b, part) {
			return s.batcherOf(part[0].Name, Writes).run(ctx, b, part)
		}
		return s.runNow(ctx, b, Writes, part)
	})
}

// read reads in one round trip to each server concerned.
func (s *Store) read(ctx context.Context, b *Budget, ops []Op) []Reply {
	return perPrimary(s, b, ops, func(b *Budget, part []Op) []Reply { return s.runNow(ctx, b, Reads, part) })
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

// IsWrongType reports whether something that is no string lies under the name. Within a script, Redis before 7 puts
// the code inside the message.
func IsWrongType(err error) bool {
	return err != nil && strings.Contains(err.Error(), "WRONGTYPE")
}

// IsForbidden reports whether an ACL protects a key.
func IsForbidden(err error) bool { return err != nil && strings.Contains(err.Error(), "NOPERM") }
