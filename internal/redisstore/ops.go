package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/document"
)

// What may be asked of Redis: an op for each thing that is done to a document or a book, and what it is answered. Nothing here
// sends anything but pipelined, which all that is sent together goes through.

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

// bytesOf returns the bytes of a string that nobody else has. They are not nil, which would be the missing key.
func bytesOf(s string) []byte {
	if s == "" {
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
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
