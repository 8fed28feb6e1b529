package aside_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// Whatever Redis answers, no call panics or hangs, and no read returns what neither the loader nor a document has.

// A reply is a line:
//
//	$text   a string, in which \n is a line break
//	:12     an integer
//	,1.5    a double
//	-text   an error
//	_       nil
//	*2      an array of what the next lines say
//	%       a map of what the next line says to itself
//	~       no answer, for as long as go-redis waits for one
//
// Any other line is a string, too. In a string, <nonce> is that of the command.
func parseReply(lines []string) (r any, rest []string) {
	if len(lines) == 0 {
		return errDown, nil
	}
	line, rest := lines[0], lines[1:]
	if line == "" {
		return "", rest
	}
	text := line[1:]
	switch line[0] {
	case '$':
		return strings.ReplaceAll(text, `\n`, "\n"), rest
	case ':':
		n, _ := strconv.ParseInt(text, 10, 64) // what is too large is the largest
		return n, rest
	case ',':
		x, _ := strconv.ParseFloat(text, 64)
		return x, rest
	case '-':
		return redisError(text), rest
	case '_':
		return nil, rest
	case '*':
		n, _ := strconv.Atoi(text)
		all := []any{}
		for range min(n, len(rest)) {
			r, rest = parseReply(rest)
			all = append(all, r)
		}
		return all, rest
	case '%':
		r, rest = parseReply(rest)
		return map[any]any{fmt.Sprint(r): r}, rest
	case '~':
		return noAnswer{}, rest
	}
	return line, rest
}

type noAnswer struct{}

// A parrot is a hook that answers the commands in the place of Redis: each with the next reply, then a few hundred more
// with the last one, and then as if nothing listened.
type parrot struct {
	mu      sync.Mutex
	replies []any
	left    int
}

func newParrot(script string) *parrot {
	p := &parrot{left: 300}
	for lines := strings.Split(script, "\n"); len(lines) > 0; {
		var r any
		r, lines = parseReply(lines)
		p.replies = append(p.replies, r)
	}
	return p
}

func (p *parrot) next() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left--; p.left < 0 {
		return errDown
	}
	r := p.replies[0]
	if len(p.replies) > 1 {
		p.replies = p.replies[1:]
	}
	return r
}

func (p *parrot) send(_ context.Context, cmds []redis.Cmder, _ sender) (first error) {
	for _, cmd := range cmds {
		answer(cmd, p.next())
		first = cmp.Or(first, cmd.Err())
	}
	return first
}

// answer gives a command a reply as go-redis reads it: what is of a type that the command does not have is an error.
func answer(cmd redis.Cmder, r any) {
	if _, ok := r.(noAnswer); ok {
		time.Sleep(5 * time.Second)
		r = errors.New("i/o timeout")
	}
	if r == nil {
		r = redis.Nil
	}
	if err, ok := r.(error); ok {
		cmd.SetErr(err)
		return
	}
	if nonce, ok := nonceOf(cmd); ok {
		r = withNonce(r, nonce)
	}
	if !take(cmd, r) {
		cmd.SetErr(fmt.Errorf("redis: can't parse reply: %v", r))
	}
}

// nonceOf is the first argument of a script on one key.
func nonceOf(cmd redis.Cmder) (nonce string, ok bool) {
	if args := cmd.Args(); len(args) > 4 {
		nonce, ok = args[4].(string)
	}
	return nonce, ok
}

func withNonce(r any, nonce string) any {
	switch r := r.(type) {
	case string:
		return strings.ReplaceAll(r, "<nonce>", nonce)
	case []any:
		list := make([]any, len(r)) // the same reply may be given again
		for i := range r {
			list[i] = withNonce(r[i], nonce)
		}
		return list
	}
	return r
}

func take(cmd redis.Cmder, r any) bool {
	list, isList := r.([]any)
	_, isMap := r.(map[any]any)
	switch cmd := cmd.(type) {
	case *redis.Cmd:
		cmd.SetVal(r)
		return true
	case *redis.StringCmd:
		cmd.SetVal(fmt.Sprint(r)) // numbers too
		return !isList && !isMap
	case *redis.IntCmd:
		n, ok := r.(int64)
		cmd.SetVal(n)
		return ok
	case *redis.SliceCmd:
		cmd.SetVal(list)
		return isList
	case *redis.ZSliceCmd:
		cmd.SetVal(membersOf(list))
		return isList
	case *redis.ScanCmd:
		cursor := uint64(len(list)) // so that an empty page is the last one
		cmd.SetVal(namesIn(list), cursor)
		return isList
	default:
		panic(fmt.Sprintf("the library sent a %T, which no reply is known for", cmd))
	}
}

func membersOf(list []any) (members []redis.Z) {
	for pair := range slices.Chunk(list, 2) {
		score, _ := strconv.ParseFloat(fmt.Sprint(pair[len(pair)-1]), 64)
		members = append(members, redis.Z{Member: fmt.Sprint(pair[0]), Score: score})
	}
	return members
}

func namesIn(list []any) (names []string) {
	for _, r := range list {
		names = append(names, "test:"+strings.TrimPrefix(fmt.Sprint(r), "test:")) // as MATCH has it
	}
	return names
}

// A sayer is a cache whose Redis is a parrot, and what its loader says.
type sayer struct {
	*aside.Cache[int, string]
	t    *testing.T
	raw  bool
	says error
	docs []string // strings that are among the replies
}

const fromTheLoader = "the row"

var errNoDatabase = errors.New("no database")

// says are what a loader may say: a row, that there is none, an error.
var says = []error{nil, aside.ErrNotFound, errNoDatabase}

func newSayer(t *testing.T, script string, says error, raw bool) *sayer {
	parrot := newParrot(script)
	s := &sayer{t: t, raw: raw, says: says, docs: stringsIn(parrot.replies)}
	opts := []aside.Option{
		aside.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		aside.WithStale(time.Minute),
		aside.WithShape(""), // the version of the documents is 0
		aside.WithTags(func(int, string) []string { return []string{"tag"} }),
		aside.WithObserver(aside.Observer{RedisError: s.noPanic}),
	}
	if raw {
		opts = append(opts, aside.WithCodec(rawCodec{}))
	}
	rdb := closed(t, redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}))
	rdb.AddHook(through(parrot.send))
	s.Cache = newCache(t, rdb, func(context.Context, int) (string, error) {
		if says != nil {
			return "", says
		}
		return fromTheLoader, nil
	}, opts...)
	return s
}

// noPanic looks for panics that the library took for one of a hook: the parrot's do not.
func (s *sayer) noPanic(_ context.Context, r aside.RedisErrorInfo) {
	err := r.Err
	if strings.Contains(err.Error(), "panicked") {
		s.t.Errorf("a reply made the library panic: %v", err)
	}
}

func stringsIn(r any) (found []string) {
	switch r := r.(type) {
	case string:
		return []string{r}
	case []any:
		for _, element := range r {
			found = append(found, stringsIn(element)...)
		}
	case map[any]any:
		for _, element := range r {
			found = append(found, stringsIn(element)...)
		}
	case int64, float64:
		return []string{fmt.Sprint(r)} // which GET reads as a string
	}
	return found
}

// A header in the library's layout, and where the value or the absence begins.
var laidOut = regexp.MustCompile(`(?s)^\{"id":"[^"]+","fresh":[ \d-]{13},"claim":[ \d-]{13},"backoff":[ \d-]{5},` +
	`"took": *-?\d+,"v": *-?0+(,"absent":true\}$|,"size": *(\d+)(?:,"value":(.*)\}|\}\n(.*))$)`)

// holds tells what a document holds, if it is well-formed: in the library's layout, or else as JSON.
func (s *sayer) holds(doc string) (value string, absent, ok bool) {
	if m := laidOut.FindStringSubmatch(doc); m != nil {
		if m[2] == "" {
			return "", true, true
		}
		data := m[3] + m[4]
		if size, err := strconv.Atoi(m[2]); err == nil && size == len(data) {
			value, ok = s.decoded(data)
			return value, false, ok
		}
	}
	var d struct {
		ID     string
		V      int
		Absent bool
		Value  json.RawMessage
	}
	if json.Unmarshal([]byte(doc), &d) != nil || d.ID == "" || d.V != 0 {
		return "", false, false
	}
	if d.Absent {
		return "", true, true
	}
	value, ok = s.decoded(string(d.Value))
	return value, false, ok && d.Value != nil
}

func (s *sayer) decoded(data string) (value string, ok bool) {
	if s.raw {
		return data, true
	}
	return value, json.Unmarshal([]byte(data), &value) == nil
}

// check says whether a read may return this.
func (s *sayer) check(value string, err error) {
	s.t.Helper()
	if err == nil && s.says == nil && value == fromTheLoader || err != nil && s.says != nil && errors.Is(err, s.says) {
		return
	}
	for _, doc := range s.docs {
		v, absent, ok := s.holds(doc)
		switch {
		case !ok:
		case absent && errors.Is(err, aside.ErrNotFound), !absent && err == nil && v == value:
			return
		}
	}
	s.t.Errorf("a read returned %q, %v", value, err)
}

// calls are what is done with the cache. Errors of invalidations are Redis' own.
var calls = []func(s *sayer){
	func(s *sayer) { s.check(s.Get(s.t.Context(), 1)) },
	func(s *sayer) {
		found, err := s.GetMany(s.t.Context(), []int{1, 2, 3})
		for _, value := range found {
			s.check(value, nil)
		}
		if err != nil {
			s.check("", err)
		}
	},
	func(s *sayer) { _ = s.Invalidate(s.t.Context(), 1, 2) },
	func(s *sayer) { _ = s.InvalidateTags(s.t.Context(), "tag", "other") },
	func(s *sayer) { _ = s.InvalidateAll(s.t.Context()) },
	func(s *sayer) { _ = aside.InTx(s.t.Context(), s.transact) },
	func(s *sayer) {
		err := aside.InTx(s.t.Context(), func(ctx context.Context) error { return errors.Join(s.transact(ctx), errNoDatabase) })
		if !errors.Is(err, errNoDatabase) {
			s.t.Errorf("InTx returned %v", err)
		}
	},
	func(s *sayer) { s.check(s.Get(s.t.Context(), 1)); s.check(s.Get(s.t.Context(), 1)) },
}

func (s *sayer) transact(ctx context.Context) error {
	_ = s.Invalidate(ctx, 1)
	_ = s.InvalidateTags(ctx, "tag")
	s.check(s.Get(ctx, 1))
	s.check(s.Get(ctx, 2))
	time.Sleep(11 * time.Second) // until the holds are renewed
	return nil
}

// longest is more than any of the calls may take, in virtual time: GetMany waits WithLoadTimeout for others, and each of
// the commands of InvalidateTags, WithRedisTimeout.
const longest = time.Minute

func FuzzReplies(f *testing.F) {
	for what := range len(calls) * len(says) * 2 {
		for _, script := range replySeeds {
			f.Add(byte(what), strings.Join(script, "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, what byte, script string) {
		synctest.Test(t, func(t *testing.T) {
			t.Cleanup(func() { time.Sleep(time.Hour) }) // until the commands that were left behind have ended
			w := int(what)
			call, says, raw := calls[w%len(calls)], says[w/len(calls)%len(says)], w/len(calls)/len(says)%2 == 1
			s := newSayer(t, script, says, raw)
			start := time.Now()
			call(s)
			if took := time.Since(start); took > longest {
				t.Errorf("it took %v", took)
			}
		})
	})
}

const (
	freshDoc  = `{"id":"a-1-1.5","fresh":9999999999999,"claim":            0,"backoff":    0,"took":3,"v":0,"size":5,"value":"row"}`
	staleDoc  = `{"id":"a-1-1.5","fresh":            1,"claim":            0,"backoff":    0,"took":3,"v":0,"size":5,"value":"row"}`
	absentDoc = `{"id":"a-1-1.5","fresh":9999999999999,"claim":            0,"backoff":    0,"took":3,"v":0,"absent":true}`
	bytesDoc  = `{"id":"a-1-1.5","fresh":9999999999999,"claim":            0,"backoff":    0,"took":3,"v":0,"size":5}\nbytes`
	leaseDoc  = `{"lease":"a-1-946684800.000005"}`
	ownLease  = `{"lease":"<nonce>-946684800.000005"}`
)

// replySeeds have each shape of a reply, where it belongs and where it does not.
var replySeeds = [][]string{
	{},
	{"_"}, {"~"}, {":1"}, {":0"}, {":-1"}, {":9223372036854775807"}, {":99999999999999999999"}, {",nan"}, {",1.5"},
	{"%", ":1"}, {"*0"}, {"*1", ":1"}, {"*2", ":1", "_"}, {"*2", "_", "_"}, {"*2", ":1", "*1", "$x"}, {"*3", "_", "_", "_"},
	{"*4", "$" + freshDoc, "$" + freshDoc, "$" + freshDoc, "$" + freshDoc},
	{"-"}, {"-\xff\x00"}, {"-ERR %!s"}, {"-NOSCRIPT No matching script"}, {"-MOVED 1 127.0.0.1:1"}, {"-LOADING it"},
	{"-WRONGTYPE Operation against a key"}, {"-OOM command not allowed"}, {"-READONLY You can't write"},

	// documents, read by a hit, and told by the lease script
	{"$"}, {"$" + freshDoc}, {"$" + staleDoc}, {"$" + absentDoc}, {"$" + bytesDoc}, {"$" + leaseDoc},
	{"$" + freshDoc[:len(freshDoc)-1]}, {"$" + freshDoc[:60]}, {"$" + bytesDoc[:len(bytesDoc)-1]}, {"$" + bytesDoc + "!"},
	{"$" + strings.Replace(freshDoc, `"size":5`, `"size":4`, 1)}, {"$" + strings.Replace(freshDoc, `"v":0`, `"v":1`, 1)},
	{"$" + strings.Replace(freshDoc, `"fresh":9`, `"fresh":0`, 1)}, {"$" + strings.Replace(freshDoc, `"id"`, `"ie"`, 1)},
	{"$" + strings.Replace(bytesDoc, `"size":5`, `"size":-5`, 1)}, {"$" + strings.Replace(bytesDoc, `"size":5`, `"size":999999999999999999`, 1)},
	{`${"id":"x","value":"by hand","fresh":9999999999999}`}, {`${"id":"x","value":null,"fresh":9999999999999}`},
	{`${"hold":{"token":9999999999999}}`}, {`${"hold":`}, {`${"lease":"`}, {`${"lease":"x","returned":true}`}, {"$null"}, {"$[]"},
	{"_", "$" + freshDoc}, {"_", "$" + absentDoc}, {"_", "$" + leaseDoc, "$" + freshDoc},
	{"_", "$" + leaseDoc, `${"lease":"a-1-946684800.000005","returned":true}`}, {"_", "$"},
	{"*3", "$" + freshDoc, "$" + absentDoc, "_", "$" + staleDoc}, {"*1", "$" + freshDoc}, {"*3", ":1", "*0", "-ERR x"},

	// a whole miss: look, lease and mark, index, check, fill
	{"_", "$" + ownLease, "*2", ":1", "$1-1 nonce", ":1", "*2", ":1", "$", ":1", "$" + freshDoc},
	{"_", "$" + ownLease, "*2", ":1", "$1-1 nonce tag", ":1", "*2", ":1", "$tag", ":0"},
	{"_", "$" + ownLease, "*2", ":1", "$1-1", ":1", "*2", ":0", "$", "-OOM x"},
	{"_", "$" + ownLease, "-ERR x", "_", "_", "_", "_"}, {"_", "*2", ":1", "$" + ownLease}, {"_", "*1", "$ERR x"},
	{"_", `${"lease":"<nonce>-no time"}`, "*2", ":1", "$  ", "~"}, {"_", `${"lease":"<nonce>-`}, {"_", ":1"},

	// a refresh: look, claim and mark, index, check, fill
	{"$" + staleDoc, ":946684800000", "*2", ":1", "$1-1 nonce", ":1", "*2", ":1", "$", ":1"},
	{"$" + staleDoc, ":9223372036854775807", "*2", ":1", "$1-1 nonce", ":1", "*2", ":1", "$", ":0"},

	// a tag: record, index, remove, take out of the index
	{":1", "*2", "$test:1", "$5", ":1", ":1", "*0"}, {":1", "*3", "$test:1", "$nan", "$", ":1"}, {":1", "*2", "$", "$inf", ":0", "-ERR x"},
	{":1", ":1", ":1", "*0"}, {"*1", "$test:1", ":1", "*0"}, {"*2", "$test:1", "$test:2:3", ":1", ":0", "*1", "$test:", "_"},
}
