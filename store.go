package aside

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A store is the Redis side: one method for each thing that the data path does to a document. Every command is about one
// key, so none of them cares which node of a Cluster owns it, and a slot may move at any moment.
//
// The protocol stands on three rules, kept by the scripts:
//
//   - A token is made by the server in the script that stores it, from the caller's nonce and the server's time. A
//     command that a client, a proxy or the network executes twice makes two tokens, so the late one cannot revive a
//     lease that an Invalidate has voided. (A token made by the client can: SET NX with it, delayed, does just that.)
//   - A script that replaces a document compares first that it is the one that the work began with.
//   - Nothing but a fill that compared stores a value.
type store struct {
	rdb     redis.UniversalClient
	timeout time.Duration // what one call of the user may spend on Redis
	lease   time.Duration // how long a lease lives unless renewed
	breaker *breaker
	nonces  nonces
	known   [len(scripts)]atomic.Bool // scripts that a server has been sent, see send
	failed  func(err error)
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

// look reads one document; nil is the missing key.
func (s *store) look(ctx context.Context, b *budget, name string) ([]byte, error) {
	doc, err := within(ctx, b, func(ctx context.Context) ([]byte, error) {
		doc, err := s.rdb.Get(ctx, name).Bytes()
		return doc, notNil(err)
	}, func(err error) { s.note([]string{name}, []reply{{err: err}}, false) })
	switch {
	case err == nil:
		s.breaker.succeeded(name, false)
	case err != ctx.Err() && err != errSpent:
		s.note([]string{name}, []reply{{err: err}}, false)
	}
	return doc, err
}

// probe asks the server of name whether it would write. Nothing has this member, so nothing changes, whatever lies under
// the name; but a read-only replica refuses the command.
func (s *store) probe(ctx context.Context, name string) error {
	b := newBudget(s.timeout)
	_, err := within(ctx, &b, func(ctx context.Context) (int64, error) {
		return s.rdb.SRem(ctx, name, "aside: are you there?").Result()
	}, nil)
	return err
}

// A reply is what Redis answered for one of several names.
type reply struct {
	ok  bool // the script did what it is for
	doc []byte
	err error
}

// lookMany reads documents in one round trip to each server concerned.
func (s *store) lookMany(ctx context.Context, b *budget, names []string) []reply {
	return spread(s, b, names, itself, func(b *budget, part []string) []reply {
		return s.each(ctx, b, part, false, func(ctx context.Context) []reply {
			if _, single := s.rdb.(*redis.Client); single && len(part) > 1 {
				return s.mget(ctx, part)
			}
			return s.getAll(ctx, part) // the names of an MGET must share a slot
		})
	})
}

// mget takes what is no string for a missing key, as MGET does; the lease finds out.
func (s *store) mget(ctx context.Context, names []string) []reply {
	values, err := s.rdb.MGet(ctx, names...).Result()
	replies := make([]reply, len(names))
	for i := range replies {
		if err != nil {
			replies[i].err = err
		} else if doc, ok := values[i].(string); ok {
			replies[i].doc = []byte(doc)
		}
	}
	return replies
}

func (s *store) getAll(ctx context.Context, names []string) []reply {
	cmds := make([]*redis.StringCmd, len(names))
	s.pipelined(ctx, len(names), func(i int, c redis.Cmdable) { cmds[i] = c.Get(ctx, names[i]) })
	replies := make([]reply, len(names))
	for i, cmd := range cmds {
		doc, err := cmd.Bytes()
		replies[i] = reply{doc: doc, err: notNil(err)}
	}
	return replies
}

// pipelined has n commands sent together; one alone needs no pipeline. Each command tells its own outcome: in a Cluster,
// some nodes may answer where others do not.
func (s *store) pipelined(ctx context.Context, n int, queue func(i int, c redis.Cmdable)) {
	if n == 1 {
		queue(0, s.rdb)
		return
	}
	_, _ = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range n {
			queue(i, p)
		}
		return nil
	})
}

// each does the work of several names within the budget, and notes how it went.
func (s *store) each(
	ctx context.Context, b *budget, names []string, write bool, work func(ctx context.Context) []reply,
) []reply {
	all := func(err error) []reply {
		replies := make([]reply, len(names))
		for i := range replies {
			replies[i].err = err
		}
		return replies
	}
	replies, err := within(ctx, b,
		func(ctx context.Context) ([]reply, error) { return work(ctx), nil },
		func(err error) { s.note(names, all(err), write) })
	if err != nil {
		replies = all(err)
	}
	if err == nil || err != ctx.Err() && err != errSpent {
		s.note(names, replies, write)
	}
	return replies
}

// scripts are all the ways in which the library writes. Each is given one key, KEYS[1], the entry.
var scripts = [...]*redis.Script{
	// ARGV: nonce, life of the lease in ms, the document that the caller could not use ('' for none).
	//
	//	{1, lease}     the caller has the lease: the entry was missing, a returned lease, or still that document
	//	{0, document}  it holds another document: a value, or a lease, which is marked as waited for
	//
	// A lease without a TTL was not made by this library and would never end: it is replaced.
	scriptLease: redis.NewScript(`
		local doc = redis.call('GET', KEYS[1])
		if doc and doc ~= ARGV[3] then
			local lease = doc:sub(1, 10) == '{"lease":"'
			if not lease then return {0, doc} end
			if doc:sub(-17) ~= ',"returned":true}' and redis.call('PTTL', KEYS[1]) >= 0 then
				if doc:sub(-2) == '"}' then
					redis.call('SET', KEYS[1], doc:sub(1, -2) .. ',"waited":true}', 'KEEPTTL')
				end
				return {0, doc}
			end
		end
		local now = redis.call('TIME')
		local lease = '{"lease":"' .. ARGV[1] .. '-' .. now[1] .. '.' .. now[2] .. '"}'
		redis.call('SET', KEYS[1], lease, 'PX', ARGV[2])
		return {1, lease}`),

	// ARGV: how the document begins that the load started from, nonce, the new document after its id, its life in ms.
	//
	//	1  stored
	//	0  refused: that document is gone
	scriptFill: redis.NewScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		local now = redis.call('TIME')
		local id = ARGV[2] .. '-' .. now[1] .. '.' .. now[2]
		redis.call('SET', KEYS[1], '{"id":"' .. id .. ARGV[3], 'PX', ARGV[4])
		return 1`),

	// ARGV: how the lease begins, its new life in ms.
	//
	//	1  renewed
	//	0  it is gone
	scriptRenew: redis.NewScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		return redis.call('PEXPIRE', KEYS[1], ARGV[2])`),

	// ARGV: how the document begins that the load started from, for how many ms those who wait are told.
	//
	//	1  removed, or left as a returned lease to those who wait for it
	//	0  it is gone
	scriptRelease: redis.NewScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		if redis.call('GET', KEYS[1]) == ARGV[1] .. ',"waited":true}' then
			local set = redis.pcall('SET', KEYS[1], ARGV[1] .. ',"returned":true}', 'PX', ARGV[2])
			if not set.err then return 1 end
		end
		redis.call('DEL', KEYS[1]) -- which a server that is out of memory does, too
		return 1`),

	// ARGV: how the document begins, where its claim stands, for how many ms to claim it, and '' to claim it only if
	// nobody has, or what to write after the claim.
	//
	//	1  claimed
	//	0  it is gone, or somebody else's
	//
	// SETRANGE leaves the TTL as it is.
	scriptClaim: redis.NewScript(`
		if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
		local now = redis.call('TIME')
		local ms = now[1] * 1000 + math.floor(now[2] / 1000)
		local at = tonumber(ARGV[2])
		if ARGV[4] == '' and (tonumber(redis.call('GETRANGE', KEYS[1], at, at + 12)) or 0) > ms then return 0 end
		redis.call('SETRANGE', KEYS[1], at, string.format('%13.0f', ms + ARGV[3]) .. ARGV[4])
		return 1`),

	// ARGV: a holder's token, for how many ms from now it holds the entry (0 ends that), for how many ms from now nothing
	// may be cached because replicas of the database lag (0 for none): the holder "lag", who is never shortened.
	//
	//	1   done
	//	-1  there is a hold in a format that this version does not know, which stays as it is
	//
	// Whatever else there was is removed first, which a server that is out of memory does, too. A hold that is gone when
	// it ends, evicted or deleted, has let loads begin that saw the row from before: that is why ending it removes them.
	// What the last holder leaves is no key.
	scriptHold: redis.NewScript(`
		local doc = redis.call('GET', KEYS[1])
		local now = redis.call('TIME')
		local ms = now[1] * 1000 + math.floor(now[2] / 1000)
		local holders, last, lag = {}, 0, 0
		local function add(token, expiry)
			holders[#holders + 1] = cjson.encode(token) .. ':' .. string.format('%.0f', expiry)
			last = math.max(last, expiry)
		end
		if doc and doc:sub(1, 8) == '{"hold":' then
			local ok, decoded = pcall(cjson.decode, doc)
			if not ok or type(decoded.hold) ~= 'table' or next(decoded.hold) == nil then return -1 end
			for field in pairs(decoded) do
				if field ~= 'hold' then return -1 end
			end
			for token, expiry in pairs(decoded.hold) do
				if type(token) ~= 'string' or type(expiry) ~= 'number' then return -1 end
				if token == 'lag' then
					lag = expiry
				elseif token ~= ARGV[1] and expiry > ms then
					add(token, expiry)
				end
			end
		elseif doc then
			redis.call('DEL', KEYS[1])
		end
		if tonumber(ARGV[2]) > 0 then add(ARGV[1], ms + ARGV[2]) end
		if tonumber(ARGV[3]) > 0 then lag = math.max(lag, ms + ARGV[3]) end
		if lag > ms then add('lag', lag) end
		if last == 0 then
			redis.call('DEL', KEYS[1])
		else
			redis.call('SET', KEYS[1], '{"hold":{' .. table.concat(holders, ',') .. '}}', 'PX', string.format('%.0f', last - ms))
		end
		return 1`),

	//	1  removed
	//	0  there was nothing, or a hold, which stays: under a hold nothing is cached
	scriptInvalidate: redis.NewScript(`
		if redis.call('GETRANGE', KEYS[1], 0, 7) == '{"hold":' then return 0 end
		return redis.call('DEL', KEYS[1])`),
}

const (
	scriptLease = iota
	scriptFill
	scriptRenew
	scriptRelease
	scriptClaim
	scriptHold
	scriptInvalidate
)

// A step is one run of a script on one entry.
type step struct {
	name   string
	script int
	args   []any
}

func (s *store) leaseStep(name string, unusable []byte) step {
	return step{name, scriptLease, []any{s.nonces.next(), s.lease.Milliseconds(), unusable}}
}

func (s *store) fillStep(name, prefix string, rest []byte, life time.Duration) step {
	return step{name, scriptFill, []any{prefix, s.nonces.next(), rest, max(1, life.Milliseconds())}}
}

func (s *store) renewStep(name, prefix string) step {
	return step{name, scriptRenew, []any{prefix, s.lease.Milliseconds()}}
}

func releaseStep(name, prefix string) step {
	return step{name, scriptRelease, []any{prefix, returnedLife.Milliseconds()}}
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
	return s.each(ctx, b, names, true, func(ctx context.Context) []reply {
		cmds := s.send(ctx, steps)
		replies := make([]reply, len(steps))
		for i, cmd := range cmds {
			replies[i] = steps[i].reply(cmd)
			if replies[i].err == nil {
				s.known[steps[i].script].Store(true)
			}
		}
		if ctx.Err() != nil {
			s.giveBack(context.WithoutCancel(ctx), steps, replies)
		}
		return replies
	})
}

// giveBack returns the leases that Redis gave too late: nobody waits for the answer any more, and nobody will load.
func (s *store) giveBack(ctx context.Context, steps []step, replies []reply) {
	var back []step
	for i, r := range replies {
		if steps[i].script == scriptLease && r.ok {
			e := parse(r.doc)
			back = append(back, releaseStep(steps[i].name, e.prefix()))
		}
	}
	if back != nil {
		s.send(ctx, back)
	}
}

// send sends EVALSHA, which needs a server that knows the script. The first EVAL of each script teaches it, so that not
// even a first miss needs a further round trip. A server that does not know it all the same (one that was restarted, that
// was failed over to, or another node than the one that was taught) is sent EVAL next.
func (s *store) send(ctx context.Context, steps []step) []*redis.Cmd {
	cmds := make([]*redis.Cmd, len(steps))
	_, single := s.rdb.(*redis.Client) // the nodes of a Cluster must each be taught
	var taught [len(scripts)]bool
	s.pipelined(ctx, len(steps), func(i int, c redis.Cmdable) {
		st := steps[i]
		if taught[st.script] || s.known[st.script].Load() {
			cmds[i] = scripts[st.script].EvalSha(ctx, c, []string{st.name}, st.args...)
		} else {
			taught[st.script] = single
			cmds[i] = scripts[st.script].Eval(ctx, c, []string{st.name}, st.args...)
		}
	})
	var untaught []int
	for i, cmd := range cmds {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			untaught = append(untaught, i)
		}
	}
	if untaught != nil {
		s.pipelined(ctx, len(untaught), func(j int, c redis.Cmdable) {
			i := untaught[j]
			cmds[i] = scripts[steps[i].script].Eval(ctx, c, []string{steps[i].name}, steps[i].args...)
		})
	}
	return cmds
}

// reply reads what the script returned: a number, or a number and a document.
func (st step) reply(cmd *redis.Cmd) reply {
	result, err := cmd.Result()
	if err != nil {
		return reply{err: err}
	}
	switch r := result.(type) {
	case int64:
		return reply{ok: r == 1}
	case []any:
		if len(r) == 2 {
			code, isCode := r[0].(int64)
			doc, isDoc := r[1].(string)
			if isCode && isDoc {
				return reply{ok: code == 1 || st.made(doc), doc: []byte(doc)}
			}
		}
	}
	return reply{err: fmt.Errorf("aside: Redis answered a script with %v", result)}
}

// made reports whether doc is a lease that this very step has made: the client lost the answer and sent the command again.
func (st step) made(doc string) bool {
	return st.script == scriptLease && strings.HasPrefix(doc, leasePrefix+st.args[0].(string)+"-")
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
