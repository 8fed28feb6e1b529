package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/redisstore"
	"github.com/asidecache/aside/internal/testserver"
)

// What the model says of a document is what the library's scripts do to it: the same random commands go through the
// model, through miniredis and through a real Redis, and after each of them all three hold the same document and have
// given the same answer.
func TestTheScriptsDoToADocumentWhatTheModelSays(t *testing.T) {
	mini := miniredis.RunT(t)
	servers := []*server{
		newServer(t, "miniredis", mini.Addr(), mini.FastForward),
		newServer(t, "Redis", testserver.Redis(t).Addr, nil),
	}
	for seed := range uint64(100) {
		r := &rig{t: t, random: rand.New(rand.NewPCG(seed, 0)), servers: servers}
		for _, s := range servers {
			s.tokens = []string{""}
			s.client.FlushAll(t.Context())
		}
		for range 40 {
			r.step()
			if r.check(); t.Failed() {
				t.Fatalf("seed %d:\n%s", seed, strings.Join(r.log, "\n"))
			}
		}
	}
}

// A rig is one sequence of commands.
type rig struct {
	t       *testing.T
	random  *rand.Rand
	servers []*server
	doc     document
	last    uint8 // token of the model
	isLease [256]bool
	log     []string
}

// A server knows which of its tokens is which of the model's.
type server struct {
	name        string
	client      *redis.Client
	scripts     map[string]*redis.Script
	tokens      []string
	nonce       int
	fastForward func(time.Duration) // its clock stands still for TTLs, if this is not nil
}

func newServer(t *testing.T, name, addr string, fastForward func(time.Duration)) *server {
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	return &server{name: name, client: client, scripts: redisstore.Named(), fastForward: fastForward}
}

const (
	key  = "model:1"
	long = 600_000 // ms: longer than the test

	claimCommand = 7
)

// step runs a random command.
func (r *rig) step() {
	who := r.random.IntN(lagging)
	from := uint8(r.random.IntN(int(r.last) + 1))
	if r.random.IntN(2) == 0 && r.doc.token != 0 {
		from = r.doc.token // what is there, more often than by chance
	}
	command := r.random.IntN(14)
	if r.doc.kind == present && r.random.IntN(3) == 0 {
		command = claimCommand // which only a value knows
	}
	switch command {
	case 0, 1, 2:
		r.lease("")
	case 3, 4:
		version := uint8(r.random.IntN(10))
		ok := r.doc.fill(from, r.last+1, version)
		r.issue(ok, false)
		r.run(ok, "fill", func(s *server) []any {
			doc, stampAt := s.valueOf(version)
			return []any{s.prefix(r, from), doc, stampAt, long, time.Now().Add(time.Hour).UnixMilli()}
		})
	case 5:
		ok := r.doc.is(from)
		r.run(ok, "renew", func(s *server) []any { return []any{s.prefix(r, from), long} })
	case 6:
		ok := r.doc.release(from)
		r.run(ok, "release", func(s *server) []any { return []any{s.prefix(r, from), long} })
	case claimCommand:
		if r.isLease[from] || from == 0 {
			return // only values are claimed
		}
		ok := r.doc.claim(from)
		r.run(ok, "claim", func(s *server) []any {
			return []any{s.prefix(r, from), len(s.prefix(r, from)) + len(`,"fresh":`) + 13 + len(`,"claim":`), long, long, ""}
		})
	case 8, 9:
		was := r.doc.hold(who)
		r.run(was, "hold", func(s *server) []any { return []any{holderTokens[who], long, 0, s.next()} })
	case 10:
		r.briefHold(who)
	case 11:
		lag := r.random.IntN(4) == 0
		was := r.doc.unhold(who, lag)
		r.run(was, "hold", func(s *server) []any { return []any{holderTokens[who], 0, map[bool]int{true: long}[lag], s.next()} })
	case 12:
		existed := r.doc.kind != missing && r.doc.kind != held
		r.doc.invalidate()
		r.run(existed, "invalidate", func(*server) []any { return nil })
	case 13:
		r.evictOrSpoil()
	}
}

// lease asks for the lease, with the document that the caller could not use.
func (r *rig) lease(unusable string) {
	ok := r.doc.lease(r.last + 1)
	r.issue(ok, true)
	r.run(ok, "lease", func(s *server) []any { return []any{s.next(), long, unusable} })
}

// issue makes the tokens known that servers are about to make.
func (r *rig) issue(ok, lease bool) {
	if ok {
		r.last++
		r.isLease[r.last] = lease
	}
}

// briefHold places a hold that has expired when it returns, unless its holder has a longer one: only its end shortens that.
func (r *rig) briefHold(who int) {
	was := r.doc.hold(who)
	r.run(was, "hold", func(s *server) []any { return []any{holderTokens[who], 1, 0, s.next()} })
	if !was {
		r.doc.unhold(who, false)
	}
	for _, s := range r.servers {
		for before := s.now(r.t); s.now(r.t) < before+2; {
		}
		if s.fastForward != nil {
			s.fastForward(2 * time.Millisecond)
		}
	}
}

// evictOrSpoil deletes the key, or puts there what nobody can read, and has a caller find that: it is given the lease.
func (r *rig) evictOrSpoil() {
	const spoilt = "?"
	spoil := r.random.IntN(2) == 0
	r.log = append(r.log, fmt.Sprintf("evict, spoil: %v", spoil))
	for _, s := range r.servers {
		r.must(s.client.Del(r.t.Context(), key).Err())
		if spoil {
			r.must(s.client.Set(r.t.Context(), key, spoilt, 0).Err())
		}
	}
	r.doc = document{}
	if !spoil {
		return
	}
	for _, script := range []string{"fill", "release", "renew"} { // nobody's lease is gone by that
		r.run(false, script, func(s *server) []any { return []any{s.prefix(r, r.last), "", 0, long, long} })
	}
	r.lease(spoilt)
}

// valueOf makes a document, and tells where in it the server's time belongs.
func (s *server) valueOf(version uint8) (doc string, stampAt int) {
	id := `{"id":"` + s.next() + "-"
	return fmt.Sprintf(`%s%017d","fresh":%13d,"claim":%13d,"value":%d}`, id, 0, 0, 0, version), len(id)
}

// prefix is how the document begins that a load started from.
func (s *server) prefix(r *rig, from uint8) string {
	if r.isLease[from] {
		return `{"lease":"` + s.tokens[from] + `"`
	}
	return `{"id":"` + s.tokens[from] + `"`
}

// next makes a nonce.
func (s *server) next() string {
	s.nonce++
	return strconv.Itoa(s.nonce)
}

func (s *server) now(t *testing.T) int64 {
	now, err := s.client.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return now.UnixMilli()
}

// run runs a script on all servers, and compares the answers with the model's.
func (r *rig) run(want bool, script string, args func(s *server) []any) {
	r.t.Helper()
	r.log = append(r.log, fmt.Sprintf("%s %v: %v, then %+v", script, args(r.servers[0]), want, r.doc))
	for _, s := range r.servers {
		reply, err := s.scripts[script].Run(context.Background(), s.client, []string{key}, args(s)...).Result()
		r.must(err)
		if got := s.did(reply); got != want {
			r.t.Errorf("%s answers %v to %s, and the model %v", s.name, reply, script, want)
		}
	}
}

// check compares the document of each server with the model's.
func (r *rig) check() {
	r.t.Helper()
	for _, s := range r.servers {
		text, err := s.client.Get(r.t.Context(), key).Result()
		if err != redis.Nil {
			r.must(err)
		}
		got := readDocument(r.t, text, s.now(r.t))
		if got.token != "" && len(s.tokens) == int(r.last) {
			s.tokens = append(s.tokens, got.token) // it was made just now
		}
		want := stored{
			kind: r.doc.kind, token: s.tokens[r.doc.token], version: int(r.doc.version),
			waited: r.doc.waited, claimed: r.doc.claimed, holders: r.doc.holders,
		}
		if got != want {
			r.t.Errorf("%s holds %+v, and the model %+v", s.name, got, want)
		}
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// did reports whether the last script did what it is for: it answers with a number above 0 (a claim, with its time), for a
// lease with the document, which has the nonce of who got it, or for a hold with its id, which has the nonce of who placed it:
// that hold was there before.
func (s *server) did(reply any) bool {
	nonce := strconv.Itoa(s.nonce) + "-"
	switch reply := reply.(type) {
	case int64:
		return reply > 0
	case string:
		return strings.HasPrefix(reply, `{"lease":"`+nonce)
	case []any:
		id := reply[1].(string)
		return id != "" && !strings.HasPrefix(id, nonce)
	}
	return false
}
