package main

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near/nearscript"
	"github.com/asidecache/aside/internal/testserver"
)

// atGivenTime has a script take the time, in ms, from the last argument.
func atGivenTime(script string) *redis.Script {
	const asks = "local ms, none = math.floor(us / 1000), "
	if strings.Count(nearscript.Head, asks) != 1 {
		panic("the head of the scripts has changed")
	}
	return redis.NewScript(strings.Replace(nearscript.Head, asks, "local ms, none = tonumber(table.remove(ARGV)), ", 1) + script)
}

var (
	newsScript = atGivenTime(nearscript.News)
	noteScript = atGivenTime(nearscript.Note)
	lowScript  = atGivenTime(nearscript.Low)
)

const (
	logKey = "aside-near"
	tick   = 100 // ms
	life   = 24 * 3600 * 1000
)

// A known is a record as the model and as Redis name it.
type known struct {
	ref
	id, nonce string
}

// The same random commands go through the model's functions and through the scripts, which give the same answers. In Redis, LOG and
// READERS are one key, and so only lost together.
func TestTheScriptsDoWhatTheModelSays(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) { conform(t, miniredis.RunT(t).Addr(), 60) })
	t.Run("redis", func(t *testing.T) { conform(t, testserver.Redis(t).Addr, 600) })
}

func conform(t *testing.T, addr string, sequences int64) {
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { rdb.Close() })
	seen := map[string]int{}
	for seed := range sequences {
		r := &rig{t: t, rdb: rdb, seed: seed, rnd: rand.New(rand.NewSource(seed)), seen: seen, ms: 1_234_567_890_100, records: []known{{}}}
		r.d = with("conformance", explicit(2, plain, plain))
		r.d.raw, r.d.keepPositions, r.d.stepBack, r.d.accident = true, true, true, 255
		r.must(rdb.FlushAll(context.Background()).Err())
		used := uint8(0)
		otherNonces = func() uint8 { used++; return used }
		for r.step = range 40 {
			r.play()
		}
		otherNonces = nil
	}
	for _, what := range []string{
		"NEWS, reset 0, drop 0, brought false", "NEWS, reset 0, drop 1, brought false", "NEWS, reset 1, drop 0, brought false",
		"NEWS, reset 0, drop 0, brought true", "NEWS, reset 0, drop 1, brought true", "NEWS, reset 1, drop 0, brought true",
		"NOTE 0", "NOTE 1", "LOW -1", "LOW 0", "LOW 1", "clock back", "trimmed", "flushed",
	} {
		if seen[what] == 0 {
			t.Errorf("not once: %s", what)
		}
	}
}

// A rig is one sequence of commands.
type rig struct {
	t       *testing.T
	rdb     *redis.Client
	d       design
	s       State
	seed    int64
	step    int
	rnd     *rand.Rand
	ms      int
	records []known
	seen    map[string]int
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("seed %d, step %d: %v", r.seed, r.step, err)
	}
}

func (r *rig) run(script *redis.Script, args ...any) []any {
	r.t.Helper()
	got, err := script.Run(context.Background(), r.rdb, []string{logKey}, append(args, r.ms)...).Slice()
	r.must(err)
	return got
}

func (r *rig) any() *known { return &r.records[r.rnd.Intn(len(r.records))] }

func (r *rig) of(x ref) *known {
	for i := range r.records {
		if r.records[i].ref == x {
			return &r.records[i]
		}
	}
	r.t.Fatalf("seed %d, step %d: no record %v", r.seed, r.step, x)
	return nil
}

func (r *rig) nonce() string { return fmt.Sprint("n", r.step) }

func (r *rig) play() {
	switch pick := r.rnd.Intn(16); {
	case pick < 5:
		r.news()
	case pick < 8:
		r.note(uint8(r.rnd.Intn(2)))
	case pick < 11:
		r.low()
	case pick < 13:
		r.ms += tick
		r.d.tick(&r.s.near)
	case pick == 13 && r.rnd.Intn(3) == 0:
		r.clockBack()
	case pick == 14 && r.rnd.Intn(3) == 0 && r.s.near.len() > 1:
		r.trim()
		r.seen["trimmed"]++
	case pick == 15 && r.rnd.Intn(9) == 0:
		r.must(r.rdb.Del(context.Background(), logKey).Err())
		r.s.near = table{}
		r.seen["flushed"]++
	}
	if r.s.near.len() == maxLog { // the model trims now
		r.trim()
	}
}

func (r *rig) news() {
	p, k, b := r.rnd.Intn(2), r.any(), &r.records[0]
	if r.rnd.Intn(3) == 0 && k.ref.id != 0 {
		if b = r.any(); b.ref.id <= k.ref.id { // it comes later, always
			b = &r.records[0]
		}
	}
	wasEmpty := r.s.near.len() == 0
	reset, drop, last := r.d.runNews(&r.s, uint8(p), k.ref, b.ref)
	got := r.run(newsScript, life, int(r.d.delta)*tick, 100, fmt.Sprint("r", p), r.nonce(), k.id, k.nonce, b.id, b.nonce)
	if wasEmpty {
		r.records = append(r.records, known{last, got[1].(string), r.nonce()})
	}
	want := r.of(last)
	dropped := slices.Contains(got[4:], any("=k"))
	if got[0] != int64(1-reset) || got[1] != want.id || got[2] != want.nonce || reset == 0 && dropped != (drop == 1) {
		r.t.Fatalf("seed %d, step %d: NEWS answers %v, the model says reset %d, drop %d, last %v", r.seed, r.step, got, reset, drop, want)
	}
	r.seen[fmt.Sprint("NEWS, reset ", reset, ", drop ", (1-reset)*drop, ", brought ", b.ref.id != 0)]++
}

func (r *rig) note(names uint8) {
	made := r.d.runNote(&r.s, names)
	got := r.run(noteScript, life, int(r.d.delta)*tick, "", 1000, r.nonce(), [...]string{"=other", "=k"}[names], 1000)
	r.records = append(r.records, known{made, got[0].(string), r.nonce()})
	r.s.near.expire() // as NOTE does
	if want := r.covered(made); got[1] != int64(want) {
		r.t.Fatalf("seed %d, step %d: NOTE answers %v, the model says %d", r.seed, r.step, got, want)
	}
	r.seen[fmt.Sprint("NOTE ", got[1])]++
}

func (r *rig) covered(x ref) uint8 {
	r.s.writers[0].rec = x
	defer func() { r.s.writers[0].rec = ref{} }()
	return b(r.d.covered(&r.s, 0))
}

func (r *rig) low() {
	k := r.any()
	if k.ref.id == 0 {
		return
	}
	self := r.rnd.Intn(2) // reader 0 is not waited for, if 0
	r.d.own, r.d.ownNotWaited = self == 0, self == 0
	want := -1
	if r.s.near.find(k.ref) >= 0 {
		want = int(r.covered(k.ref))
	}
	r.d.own, r.d.ownNotWaited = false, false
	got := r.run(lowScript, int(r.d.delta)*tick, [...]string{"r0", ""}[self], k.id, k.nonce)
	r.s.near.expire() // as LOW does
	if got[0] != int64(want) {
		r.t.Fatalf("seed %d, step %d: LOW answers %v, the model says %d", r.seed, r.step, got, want)
	}
	r.seen[fmt.Sprint("LOW ", want)]++
}

// clockBack sets the server's clock back. The first command to come writes that down.
func (r *rig) clockBack() {
	r.run(lowScript, int(r.d.delta)*tick, "") // else what has expired would be there again, which makes writers wait
	r.s.near.expire()
	r.ms -= 50 * tick
	for p := range r.s.near.ent {
		if e := &r.s.near.ent[p]; e.left > 0 {
			e.left = r.d.delta
		}
	}
	r.s.near.born = min(r.s.near.born, 1)
	r.note(0)
	r.seen["clock back"]++
}

func (r *rig) trim() {
	copy(r.s.near.log[:], r.s.near.log[1:])
	r.s.near.log[maxLog-1] = rec{}
	oldest, err := r.rdb.ZRangeArgs(context.Background(), redis.ZRangeArgs{Key: logKey, Start: "1e14", Stop: "+inf", ByScore: true, Count: 1}).Result()
	r.must(err)
	r.must(r.rdb.ZRem(context.Background(), logKey, oldest[0]).Err())
}

// An invalidation must work on a server that is out of memory, and leases should.
func TestTheScriptsWorkWithoutMemory(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: testserver.Redis(t).Addr})
	t.Cleanup(func() { rdb.Close() })
	ctx := context.Background()
	run := func(script string, args ...any) []any {
		t.Helper()
		got, err := rdb.Eval(ctx, nearscript.Head+script, []string{logKey}, args...).Slice()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if err := rdb.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		got := run(nearscript.News, life, 1000, 100, "r", fmt.Sprint("a", n), "", "", "", "")
		run(nearscript.Note, life, 1000, "", 100, fmt.Sprint("b", n), "=k", 1000)
		got = run(nearscript.News, life, 1000, 100, "r", "c", got[1], got[2], "", "")
		if got[0] != int64(1) || got[4] != "=k" {
			t.Errorf("NEWS answers %v", got)
		}
		if left := rdb.PTTL(ctx, logKey).Val(); left.Milliseconds() < life-60_000 {
			t.Errorf("LOG lives for %v", left)
		}
		if got := run(nearscript.Low, 1000, "", got[1], got[2]); got[0] != int64(0) {
			t.Errorf("LOW answers %v", got)
		}
	}
}

// No more than keep records are kept, and of the readers none is lost.
func TestLogKeepsItsNewestRecordsAndItsReaders(t *testing.T) {
	for name, addr := range map[string]string{"miniredis": miniredis.RunT(t).Addr(), "redis": testserver.Redis(t).Addr} {
		t.Run(name, func(t *testing.T) {
			rdb := redis.NewClient(&redis.Options{Addr: addr})
			t.Cleanup(func() { rdb.Close() })
			ctx := context.Background()
			eval := func(script string, args ...any) {
				t.Helper()
				if err := rdb.Eval(ctx, nearscript.Head+script, []string{logKey}, args...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			for _, reader := range []string{"one", "two"} {
				eval(nearscript.News, life, 60_000, 100, reader, "first", "", "", "", "")
			}
			for n := range 20 {
				eval(nearscript.Note, life, 60_000, "", 5, fmt.Sprint("n", n), "=k", 1000)
			}
			all := rdb.ZRange(ctx, logKey, 0, -1).Val()
			slices.Sort(all)
			want := []string{"", "eone", "etwo", "n15 =k", "n16 =k", "n17 =k", "n18 =k", "n19 =k", "pone", "ptwo"}
			if !slices.Equal(all, want) {
				t.Errorf("LOG has %q, want %q", all, want)
			}
		})
	}
}
