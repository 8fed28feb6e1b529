package aside

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// A parcel is the steps that one command runs: a single one, or several of one script, on an entry each. A command for
// each would cost both sides more than what the script does.
type parcel struct {
	script int
	steps  []int // places in the steps that were given to send
}

const mostInParcel = 64 // so that Redis is not kept from others for long

// parcels divides steps, which one server runs if together holds. The keys of a script must be those of one server.
func parcels(steps []step, together bool) []parcel {
	all := make([]parcel, 0, len(steps))
	var filling [len(scripts)]int // 1 + the place of a script's last parcel
	for i, st := range steps {
		p := filling[st.script] - 1
		if together && p >= 0 && st.script <= lastOfEntries && len(all[p].steps) < mostInParcel {
			all[p].steps = append(all[p].steps, i)
			continue
		}
		all = append(all, parcel{st.script, []int{i}})
		filling[st.script] = len(all)
	}
	return all
}

// command returns the script, keys and arguments of a parcel.
func (p parcel) command(steps []step) (_ *redis.Script, keys []string, args []any) {
	first := steps[p.steps[0]]
	if len(p.steps) == 1 {
		return scripts[p.script].one, first.keys(), first.args
	}
	keys, args = make([]string, 0, len(p.steps)), make([]any, 0, len(p.steps)*len(first.args))
	for _, i := range p.steps {
		keys = append(keys, steps[i].name)
		args = append(args, steps[i].args...)
	}
	return scripts[p.script].many, keys, args
}

// unpack puts what Redis answered to a parcel into the replies of its steps.
func (p parcel) unpack(cmd *redis.Cmd, steps []step, replies []reply) {
	result, err := cmd.Result()
	results := []any{result}
	if len(p.steps) > 1 && err == nil {
		if results, _ = result.([]any); len(results) != len(p.steps) {
			err = unexpected(result)
		}
	}
	for n, i := range p.steps {
		if err != nil {
			replies[i] = reply{err: err}
		} else {
			replies[i] = steps[i].reply(results[n])
		}
	}
}

// send sends EVALSHA, which needs a server that knows the script. The first EVAL of each script teaches it, so that not
// even a first miss needs a further round trip. A server that does not know it all the same (one that was restarted, that
// was failed over to, or another node than the one that was taught) is sent EVAL next.
func (s *store) send(ctx context.Context, rdb redis.UniversalClient, steps []step) []reply {
	_, single := rdb.(*redis.Client) // the nodes of a Cluster must each be taught
	together := single && !s.scattered.Load()
	parcels := parcels(steps, together)
	cmds := make([]*redis.Cmd, len(parcels))
	var taught []*redis.Script // by this very pipeline
	pipelined(ctx, rdb, len(parcels), func(i int, c redis.Cmdable) {
		script, keys, args := parcels[i].command(steps)
		if s.isKnown(parcels[i]).Load() || slices.Contains(taught, script) {
			cmds[i] = script.EvalSha(ctx, c, keys, args...)
			return
		}
		cmds[i] = script.Eval(ctx, c, keys, args...)
		if single {
			taught = append(taught, script)
		}
	})
	var untaught []int
	for i, cmd := range cmds {
		if hasPrefix(cmd.Err(), "NOSCRIPT") {
			untaught = append(untaught, i)
		}
	}
	if untaught != nil {
		pipelined(ctx, rdb, len(untaught), func(j int, c redis.Cmdable) {
			script, keys, args := parcels[untaught[j]].command(steps)
			cmds[untaught[j]] = script.Eval(ctx, c, keys, args...)
		})
	}
	replies := make([]reply, len(steps))
	for i, cmd := range cmds {
		parcels[i].unpack(cmd, steps, replies)
		if cmd.Err() == nil {
			s.isKnown(parcels[i]).Store(true)
		}
	}
	if together {
		s.sendScattered(ctx, rdb, steps, replies)
	}
	return replies
}

// sendScattered sends once more, each by itself, the steps whose keys a server would not take together: it is the node of a
// Cluster, or stands for one. That is remembered, but others may have sent theirs before.
func (s *store) sendScattered(ctx context.Context, rdb redis.UniversalClient, steps []step, replies []reply) {
	var again []int
	for i, r := range replies {
		if isCrossSlot(r.err) {
			again = append(again, i)
		}
	}
	if again == nil {
		return
	}
	s.scattered.Store(true)
	apart := make([]step, len(again))
	for j, i := range again {
		apart[j] = steps[i]
	}
	for j, r := range s.send(ctx, rdb, apart) {
		replies[again[j]] = r
	}
}

func isCrossSlot(err error) bool { return hasPrefix(err, "CROSSSLOT") }

// hasPrefix is redis.HasErrorPrefix, which allocates for no error, too.
func hasPrefix(err error, prefix string) bool { return err != nil && redis.HasErrorPrefix(err, prefix) }

func (s *store) isKnown(p parcel) *atomic.Bool {
	if len(p.steps) == 1 {
		return &s.known[p.script].one
	}
	return &s.known[p.script].many
}

// giveBack returns the leases that Redis gave too late: nobody waits for the answer any more, and nobody will load.
func (s *store) giveBack(ctx context.Context, rdb redis.UniversalClient, steps []step, replies []reply) {
	var back []step
	for i, r := range replies {
		if steps[i].script == scriptLease && r.ok {
			e := parse(r.doc)
			back = append(back, releaseStep(steps[i].name, e.prefix(), returnedLife))
		}
	}
	if back == nil {
		return
	}
	s.breaker.start(func() { // this call has no time left
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
		defer cancel()
		s.send(ctx, rdb, back)
	})
}

// reply reads what the script returned: a number, a number and a text, or for a lease the document that there is now. In a
// parcel of several, it may be the text of an error.
func (st step) reply(result any) reply {
	switch r := result.(type) {
	case int64:
		if st.script != scriptLease {
			return reply{ok: r > 0, at: r}
		}
	case string:
		if st.script == scriptLease {
			return reply{ok: st.made(r), doc: bytesOf(r)}
		}
	case []any:
		if len(r) == 1 {
			if text, isText := r[0].(string); isText {
				return reply{err: scriptError(text)}
			}
		}
		if len(r) == 2 && st.script != scriptLease {
			code, isCode := r[0].(int64)
			text, isText := r[1].(string)
			if isCode && isText {
				return reply{ok: code == 1, doc: bytesOf(text)}
			}
		}
	}
	return reply{err: unexpected(result)}
}

// A scriptError is what Redis said of one key of a script for many.
type scriptError string

func (e scriptError) Error() string { return string(e) }
func (scriptError) RedisError()     {}

func unexpected(result any) error {
	return fmt.Errorf("aside: Redis answered a script with %v", result)
}

// made reports whether doc is a lease that this step has made, perhaps when it was sent before and its answer was lost.
func (st step) made(doc string) bool {
	return strings.HasPrefix(doc, leasePrefix+st.args[0].(string)+"-")
}
