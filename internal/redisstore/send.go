package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/document"
)

// How ops become commands of one round trip, and what Redis answers to each.
//
//	ops ──commandsOf──▶ commands ──queue──▶ a pipeline ──unpack──▶ replies, in the order of the ops
//
// What one op costs does not depend on its neighbours, and neither does what it is answered: a
// script for several keys calls the script for one on each, and puts an error of one key in that
// key's place. So the rest of the library thinks of ops alone, and this file may put them together
// as it likes.

// A command does one op, or several of one verb, each about a key of its own. A command for each would cost both sides more than
// what the op does.
type command struct {
	verb int
	ops  []int // places in the ops that were given to send
}

// mostInCommand is how many ops of a verb one command does. Redis does nothing else meanwhile, and a
// script takes it some four microseconds for each key.
func mostInCommand(verb int) int {
	switch {
	case verb == readDocument:
		return math.MaxInt // MGET costs Redis little more than the bytes
	case verb == ScriptInvalidate:
		return ChunkSize // what one call removes is removed in one atomic step: promise 9
	case verb <= LastOfEntries:
		return 64
	default:
		return 1 // a script of a journal or an index is about many tags or entries as it is
	}
}

// commandsOf divides ops into commands, of several ops each if together holds. A Cluster refuses a command
// whose keys are in different slots, even if one node has them all: there each op is a command of its own.
//
// Ops of one verb keep their order. Those of different verbs need none: an op that must follow another
// is sent once that was answered.
func commandsOf(ops []Op, together bool) []command {
	var all []command
	var filling [numberOfVerbs]int // 1 + the place of the last command of a kind
	for i, o := range ops {
		p := filling[o.Verb] - 1
		if together && p >= 0 && len(all[p].ops) < mostInCommand(o.Verb) {
			all[p].ops = append(all[p].ops, i)
			continue
		}
		all = append(all, command{o.Verb, []int{i}})
		filling[o.Verb] = len(all)
	}
	return all
}

// queue sends a command, or adds it to c if that is a pipeline. A script that isKnown is sent as
// EVALSHA.
func (p command) queue(ctx context.Context, c redis.Cmdable, ops []Op, isKnown func(*redis.Script) bool) redis.Cmder {
	first := ops[p.ops[0]]
	switch {
	case p.verb == readPage:
		page := redis.ZRangeBy{Min: first.Args[0].(string), Max: "+inf", Count: first.Args[1].(int64)}
		return c.ZRangeByScoreWithScores(ctx, first.Name, &page)
	case p.verb == readDocument && len(p.ops) == 1:
		return c.Get(ctx, first.Name)
	case p.verb == readDocument:
		names, _ := p.arguments(ops)
		return c.MGet(ctx, names...)
	}
	script, keys, args := scripts[p.verb].one, []string{first.Name}, first.Args
	if len(p.ops) > 1 {
		script = scripts[p.verb].many
		keys, args = p.arguments(ops)
	}
	if isKnown(script) {
		return script.EvalSha(ctx, c, keys, args...)
	}
	return script.Eval(ctx, c, keys, args...)
}

// arguments are those of a command for several keys.
func (p command) arguments(ops []Op) (keys []string, args []any) {
	keys, args = make([]string, 0, len(p.ops)), make([]any, 0, len(p.ops)*len(ops[p.ops[0]].Args))
	for _, i := range p.ops {
		keys = append(keys, ops[i].Name)
		args = append(args, ops[i].Args...)
	}
	return keys, args
}

// unpack puts what Redis answered to a command into the replies of its ops.
func (p command) unpack(answer redis.Cmder, ops []Op, replies []Reply) {
	switch cmd := answer.(type) {
	case *redis.StringCmd:
		doc, err := cmd.Bytes() // not a copy: go-redis made the string for this reply alone
		replies[p.ops[0]] = Reply{Doc: doc, Err: notNil(err)}
	case *redis.ZSliceCmd:
		page, err := cmd.Result()
		if page == nil && err == nil { // the page of an index that is not there is empty
			err = errors.New("aside: a command has no answer")
		}
		replies[p.ops[0]] = Reply{page: page, Err: err}
	case *redis.SliceCmd:
		values, err := cmd.Result()
		p.each(values, err, replies, func(_ int, value any) (r Reply) {
			if doc, ok := value.(string); ok { // anything but a string counts as a missing key, as for MGET; the lease finds out
				r.Doc = bytesOf(doc)
			}
			return r
		})
	case *redis.Cmd:
		result, err := cmd.Result()
		results := []any{result}
		if len(p.ops) > 1 {
			results, _ = result.([]any)
		}
		p.each(results, err, replies, func(i int, result any) Reply { return ops[i].reply(result) })
	}
}

// each makes the replies of the ops from the results that one command gave, or from its error.
func (p command) each(results []any, err error, replies []Reply, replyOf func(i int, result any) Reply) {
	if err == nil && len(results) != len(p.ops) { // a proxy, or a Redis that lies: nothing of it is believed
		err = fmt.Errorf("aside: Redis answered a command for %d keys with %d results", len(p.ops), len(results))
	}
	for n, i := range p.ops {
		if err != nil {
			replies[i].Err = err
		} else {
			replies[i] = replyOf(i, results[n])
		}
	}
}

// send sends ops in one round trip. Scripts go as EVALSHA, which needs a server that knows them. The first EVAL of each teaches
// it, so that not even a first miss needs a further round trip. A server that does not know a script all the same (one that was
// restarted, that was failed over to, or another node than the one that was taught) is sent EVAL next.
func (s *Store) send(ctx context.Context, rdb redis.UniversalClient, ops []Op) []Reply {
	together := s.Together()
	replies := s.sendCommands(ctx, rdb, ops, together)
	if together && len(ops) > 1 { // else nothing was put together that could be refused for it
		s.sendApart(ctx, rdb, ops, replies)
	}
	return replies
}

// Together reports whether one command may have keys of all kinds: there is one server.
func (s *Store) Together() bool {
	_, single := s.RDB.(*redis.Client)
	return single && !s.scattered.Load()
}

// sendCommands sends each op once. If the server did not know its script, it sends the op a second
// time. That is safe: NOSCRIPT says that nothing was run. No other failure is sent again here,
// since a command whose answer was lost may have been executed.
func (s *Store) sendCommands(ctx context.Context, rdb redis.UniversalClient, ops []Op, together bool) []Reply {
	commands := commandsOf(ops, together)
	cmds := make([]redis.Cmder, len(commands))

	// A pipeline is executed in order. So the first EVAL of a script in it teaches the server what the
	// next one needs, and that may be an EVALSHA. The nodes of a Cluster must each be taught.
	var taught []*redis.Script
	_, single := rdb.(*redis.Client)
	pipelined(ctx, rdb, len(commands), func(i int, c redis.Cmdable) {
		cmds[i] = commands[i].queue(ctx, c, ops, func(script *redis.Script) bool {
			known := s.isKnown(commands[i]).Load() || slices.Contains(taught, script)
			if !known && single {
				taught = append(taught, script)
			}
			return known
		})
	})
	var untaught []int
	for i, cmd := range cmds {
		if hasPrefix(cmd.Err(), "NOSCRIPT") {
			untaught = append(untaught, i)
		}
	}
	if untaught != nil {
		isUnknown := func(*redis.Script) bool { return false }
		pipelined(ctx, rdb, len(untaught), func(j int, c redis.Cmdable) {
			cmds[untaught[j]] = commands[untaught[j]].queue(ctx, c, ops, isUnknown)
		})
	}
	replies := make([]Reply, len(ops))
	for i, cmd := range cmds {
		p := commands[i]
		p.unpack(cmd, ops, replies)
		if cmd.Err() == nil && p.verb < len(scripts) { // reads are verbs behind those of the scripts
			s.isKnown(p).Store(true)
		}
	}
	return replies
}

// sendApart sends once more, each by itself, the ops whose keys a server would not take together. Either it
// is the node of a Cluster, or a proxy that stands for one. That is remembered, but others may have sent
// theirs before. Or an ACL protects one of the keys: then its neighbours must not fail with it. Both
// errors say that the command was not run.
func (s *Store) sendApart(ctx context.Context, rdb redis.UniversalClient, ops []Op, replies []Reply) {
	var again []int
	for i, r := range replies {
		if isCrossSlot(r.Err) {
			s.scattered.Store(true)
		}
		if isCrossSlot(r.Err) || IsForbidden(r.Err) {
			again = append(again, i)
		}
	}
	if again == nil {
		return
	}
	apart := make([]Op, len(again))
	for j, i := range again {
		apart[j] = ops[i]
	}
	for j, r := range s.sendCommands(ctx, rdb, apart, false) {
		replies[again[j]] = r
	}
}

func isCrossSlot(err error) bool { return hasPrefix(err, "CROSSSLOT") }

// hasPrefix is redis.HasErrorPrefix, which allocates even where there is no error.
func hasPrefix(err error, prefix string) bool { return err != nil && redis.HasErrorPrefix(err, prefix) }

func (s *Store) isKnown(p command) *atomic.Bool {
	if len(p.ops) == 1 {
		return &s.known[p.verb].one
	}
	return &s.known[p.verb].many
}

// giveBack returns the leases that Redis gave too late. Nobody waits for the answer any more, and nobody
// will load: without this, readers in all processes would wait for a lease that only its expiry ends.
func (s *Store) giveBack(ctx context.Context, rdb redis.UniversalClient, ops []Op, replies []Reply) {
	var back []Op
	for i, r := range replies {
		if ops[i].Verb == ScriptLease && r.OK {
			e := document.Parse(r.Doc)
			back = append(back, ReleaseOp(ops[i].Name, e.Prefix(), ReturnedLife))
		}
	}
	if back == nil {
		return
	}
	s.Start(func() { // this call has no time left
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
		defer cancel()
		s.send(ctx, rdb, back)
	})
}

// reply reads what the script returned: a number, a number and a text, or for a lease the document that there is now. In a
// command of several, it may be the text of an error.
func (o Op) reply(result any) Reply {
	switch r := result.(type) {
	case int64:
		if o.Verb != ScriptLease {
			return Reply{OK: r > 0, At: r}
		}
	case string:
		if o.Verb == ScriptLease {
			return Reply{OK: o.made(r), Doc: bytesOf(r)}
		}
	case []any:
		if len(r) == 1 {
			if text, isText := r[0].(string); isText {
				return Reply{Err: scriptError(text)}
			}
		}
		if len(r) == 2 && o.Verb != ScriptLease {
			code, isCode := r[0].(int64)
			text, isText := r[1].(string)
			if isCode && isText {
				return Reply{OK: code == 1, Doc: bytesOf(text)}
			}
		}
	}
	return Reply{Err: unexpected(result)}
}

// A scriptError is what Redis said of one key of a script for many.
type scriptError string

func (e scriptError) Error() string { return string(e) }
func (scriptError) RedisError()     {}

func unexpected(result any) error {
	return fmt.Errorf("aside: Redis answered a script with a %T", result) // which may be as large, or as secret, as a value
}

// made reports whether doc is a lease that this op has made, perhaps when it was sent before and its answer was lost.
func (o Op) made(doc string) bool {
	return strings.HasPrefix(doc, document.LeasePrefix+o.Args[0].(string)+"-")
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

// note keeps count of what Redis did and failed to do for names. That something else lies under a name is no failure.
func (s *Store) note(names []string, replies []Reply, k Kind) {
	if later := k == Reads && s.suspect(names, replies); !later {
		s.Breaker.report(names, replies, k)
	}
	last := ""
	for _, r := range replies {
		if r.Err != nil && !IsWrongType(r.Err) && r.Err.Error() != last { // once, if it was one for all of them
			last = r.Err.Error()
			s.Failed(r.Err)
		}
	}
}

// lookAlone sends a GET.
func (s *Store) lookAlone(ctx context.Context, b *Budget, name string) looked {
	var doc []byte
	var err error
	p := s.poolOf(name)
	if rdb, ok := s.callsInline(ctx, b); ok { // spelled out, since within would have both funcs allocated
		doc, err = inline(ctx, p, b, rdb, func(ctx context.Context, rdb redis.UniversalClient) ([]byte, error) {
			return get(ctx, rdb, name)
		})
	} else {
		doc, err = detached(ctx, p, b, rdb, func(ctx context.Context, rdb redis.UniversalClient) ([]byte, error) {
			return get(ctx, rdb, name)
		}, func(err error) { s.note([]string{name}, []Reply{{Err: err}}, Reads) })
	}
	// The caller's own cancellation says nothing of Redis, and neither does a budget that was spent
	// before: what spent it has been noted.
	switch {
	case err == nil:
		s.Breaker.succeeded(name, Reads)
	case err != ctx.Err() && err != errSpent:
		s.note([]string{name}, []Reply{{Err: err}}, Reads)
	}
	return looked{Doc: doc, Err: err}
}

func get(ctx context.Context, rdb redis.UniversalClient, name string) ([]byte, error) {
	doc, err := rdb.Get(ctx, name).Bytes()
	return doc, notNil(err)
}
