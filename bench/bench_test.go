package main

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/testserver"
)

// A comparison is worth nothing if a peer is wired up wrongly: one that always loads, or never stores, looks slow or fast.
func TestEveryPeerStoresAndInvalidates(t *testing.T) {
	server := testserver.Redis(t)
	for _, l := range append(libraries, asideTaggedLibrary, asideSealedLibrary) {
		for _, c := range l.codecs {
			v := variant{l, c}
			t.Run(v.String(), func(t *testing.T) { storesAndInvalidates(t, v, server.Addr) })
		}
	}
}

func storesAndInvalidates(t *testing.T, v variant, addr string) {
	s := newSource(1<<10, 0)
	p, err := v.openOn(addr, s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r := &run{ctx: t.Context()}
	o := opened{v, p, s}
	if err := r.fillOne(o, 5); err != nil {
		t.Fatal(err)
	}
	stored := s.loads.Load()
	if got, err := p.Get(t.Context(), 3); err != nil || got.ID != 3 || jsonSize(got) != jsonSize(newProduct(3, 1<<10)) {
		t.Fatalf("a hit returned %+v, %v", got, err)
	}
	if n := s.loads.Load(); n != stored {
		t.Fatalf("a hit made %d loads", n-stored)
	}
	if err := p.Invalidate(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	// Not the first read of every peer: rockscache returns the old value first, and refreshes.
	for deadline := time.Now().Add(10 * time.Second); s.loads.Load() == stored; time.Sleep(time.Millisecond) {
		if _, err := p.Get(t.Context(), 3); err != nil || time.Now().After(deadline) {
			t.Fatalf("nothing was loaded after an invalidation; %v", err)
		}
	}
}

func TestBatchesOfEveryPeerAreComplete(t *testing.T) {
	server := testserver.Redis(t)
	for _, l := range libraries {
		s := newSource(1<<10, 0)
		p, err := variant{l, l.codecs[0]}.openOn(server.Addr, s)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		b, ok := p.(batcher)
		if !ok {
			continue
		}
		for _, loads := range []string{"all", "no"} { // twice: loaded, then cached
			found, err := b.GetMany(t.Context(), []int64{7, 8, 9})
			if err != nil || len(found) != 3 || found[8].ID != 8 {
				t.Errorf("%s: with %s loads: %v, %v", l.name, loads, found, err)
			}
		}
	}
}

func TestTheWiretapTellsWhatClientsSendFromWhatScriptsRun(t *testing.T) {
	rdb := newGoRedis(testserver.Redis(t).Addr)
	defer rdb.Close()
	ctx := t.Context()
	before, err := commandsRun(ctx, rdb)
	if err != nil {
		t.Fatal(err)
	}
	w, err := tap(rdb.Options().Addr)
	if err != nil {
		t.Fatal(err)
	}
	rdb.Set(ctx, "a", "1", 0)
	redis.NewScript(`redis.call('GET', 'a') return redis.call('GET', 'a')`).Eval(ctx, rdb, nil)
	rdb.Ping(ctx)
	sent, err := w.stop(ctx, rdb)
	if err != nil || sent != 2 {
		t.Errorf("%d commands were sent, want SET and EVAL; %v", sent, err)
	}
	after, err := commandsRun(ctx, rdb)
	if ran := after - before; err != nil || ran != 5 {
		t.Errorf("%d commands were run, want SET, EVAL, two GET and the tap's own EXISTS; %v", ran, err)
	}
}

func TestQuantilesOfAHistogramAreWithinABucket(t *testing.T) {
	h := new(histogram)
	for i := range 1000 {
		h.record(time.Duration(i+1) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0: time.Microsecond, 0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond} {
		if got := h.quantile(q); got < want || got > want+want/16+time.Microsecond {
			t.Errorf("quantile %g is %v, want %v or up to a bucket more", q, got, want)
		}
	}
}

func TestEveryDurationHasABucketThatHoldsIt(t *testing.T) {
	for d := time.Duration(1); d < time.Hour; d += d/7 + 1 {
		b := bucketOf(d)
		if upperBound(b) < d || b > 0 && upperBound(b-1) >= d {
			t.Errorf("%v is in bucket %d, which ends at %v", d, b, upperBound(b))
		}
	}
}

func TestRatiosAreTakenWithinARepetition(t *testing.T) {
	raw, slow := series{10, 100, 20}, series{20, 200, 40} // the machine was busy in the second
	if r := slow.over(raw); r.min() != 2 || r.max() != 2 || r.median() != 2 {
		t.Errorf("the ratios are %v", r)
	}
	if r := slow.over(nil); r != nil || ratio(r) != "–" {
		t.Errorf("without a base the ratios are %v", r)
	}
}

func TestMarkdownTablesHaveOneRuleForEachColumn(t *testing.T) {
	var b strings.Builder
	tab := &table{columns: []string{"library", "µs", "note"}}
	tab.add("aside", "1", "–")
	(&report{out: &b, markdown: true}).print(tab)
	want := "| library | µs | note |\n|---------|---:|------|\n| aside   |  1 | –    |\n\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// Both sides of the comparison: a race that finds nothing says nothing.
func TestTheRaceIsLostByHandAndWonByAside(t *testing.T) {
	r := &run{ctx: t.Context(), addr: testserver.Redis(t).Addr}
	for _, v := range []variant{base, {asideLibrary, "json"}, {asideNearLibrary, "json"}} {
		var stale int64
		for range 20 {
			s, err := r.race(v, 300*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if stale += s.stale; stale > 0 || v.name != base.name && s.reads > 0 && s.writes > 0 {
				break
			}
		}
		if found, want := stale > 0, v.isBase(); found != want {
			t.Errorf("%v: %d stale reads", v, stale)
		}
	}
}
