package aside_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// took returns how long fn takes.
func took(fn func()) time.Duration {
	start := time.Now()
	fn()
	return time.Since(start)
}

// inTx runs a transaction that must succeed.
func inTx(t *testing.T, fn func(ctx context.Context) error) {
	t.Helper()
	if err := aside.InTx(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func mustInvalidate[K comparable, V any](t *testing.T, c *aside.Cache[K, V], keys ...K) {
	t.Helper()
	if err := c.Invalidate(context.Background(), keys...); err != nil {
		t.Fatal(err)
	}
}

// A taggedCache is a Cache of any types.
type taggedCache interface {
	InvalidateTags(ctx context.Context, tags ...string) error
}

func mustInvalidateTags(t *testing.T, c taggedCache, tags ...string) {
	t.Helper()
	mustHoldTags(t, context.Background(), c, tags...)
}

// mustHoldTags invalidates tags under the ctx of a transaction.
func mustHoldTags(t *testing.T, ctx context.Context, c taggedCache, tags ...string) {
	t.Helper()
	if err := c.InvalidateTags(ctx, tags...); err != nil {
		t.Fatalf("InvalidateTags(%q): %v", tags, err)
	}
}

// mustGet reads a key that must be there.
func mustGet[K comparable, V any](t *testing.T, c *aside.Cache[K, V], key K) V {
	t.Helper()
	v, err := c.Get(context.Background(), key)
	if err != nil {
		t.Fatalf("Get(%v): %v", key, err)
	}
	return v
}

// mustGetMany reads keys without an error.
func mustGetMany[K comparable, V any](t *testing.T, c *aside.Cache[K, V], keys ...K) map[K]V {
	t.Helper()
	found, err := c.GetMany(t.Context(), keys)
	if err != nil {
		t.Fatalf("GetMany(%v): %v", keys, err)
	}
	return found
}

func getting(c *aside.Cache[int, product], id int) <-chan result {
	done := make(chan result, 1)
	go func() {
		p, err := c.Get(context.Background(), id)
		done <- result{p, err}
	}()
	return done
}

// result is what a Get in another goroutine returned.
type result struct {
	product
	err error
}

func price(t *testing.T, what string, done <-chan result, want int) {
	t.Helper()
	r := <-done
	if r.err != nil {
		t.Fatalf("%s: %v", what, r.err)
	}
	equal(t, what, r.Price, want)
}

func gettingMany(ctx context.Context, c *aside.Cache[int, product], ids ...int) <-chan manyResult {
	done := make(chan manyResult, 1)
	go func() {
		found, err := c.GetMany(ctx, ids)
		done <- manyResult{prices(found), err}
	}()
	return done
}

// manyResult is what a GetMany in another goroutine returned: the prices and the error.
type manyResult struct {
	prices string
	err    error
}

func finds(t *testing.T, who string, done <-chan manyResult, want string) {
	t.Helper()
	r := <-done
	if r.err != nil {
		t.Fatalf("%s: %v", who, r.err)
	}
	equal(t, "what "+who+" finds", r.prices, want)
}

func prices(found map[int]product) string {
	list := make([]string, 0, len(found))
	for id, p := range found {
		list = append(list, fmt.Sprintf("%d:%d", id, p.Price))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// missAtOnce reads rows that are in no cache, side by side.
func missAtOnce(c *aside.Cache[int, product], from, n int) {
	var group sync.WaitGroup
	for id := range n {
		group.Go(func() { _, _ = c.Get(context.Background(), from+id) })
	}
	group.Wait()
}

// nearRead reads row 1 until it comes from memory: the first reads ask for a lease.
func nearRead(t *testing.T, r *rig, c *aside.Cache[int, product]) product {
	t.Helper()
	var p product
	r.until(func() bool {
		before := c.Stats().NearHits
		p = mustGet(t, c, 1)
		return c.Stats().NearHits > before
	})
	return p
}

// isCached reports whether a Get fills product 1.
func isCached(t *testing.T, c *aside.Cache[int, product]) bool {
	t.Helper()
	mustGet(t, c, 1)
	hits := c.Stats().Hits
	mustGet(t, c, 1)
	return c.Stats().Hits > hits
}

// raisedIn returns what Get panics with.
func raisedIn(c *aside.Cache[int, product]) (p any) {
	defer func() { p = recover() }()
	_, err := c.Get(context.Background(), 1)
	return fmt.Errorf("Get returned %w", err)
}

// made is what New says to opts, for a cache of products by id.
func made(t *testing.T, opts ...aside.Option) error {
	t.Helper()
	rdb := closed(t, redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})) // New does no I/O
	_, err := aside.New(rdb, "test", newTable().load, opts...)
	return err
}

type markKey struct{}

// down makes the breaker open.
func down(t *testing.T, c *aside.Cache[int, product]) {
	t.Helper()
	for i := range 3 {
		equal(t, "Down, before it was noticed", c.Stats().Down, false)
		_, _ = c.Get(t.Context(), 1001+i)
	}
	equal(t, "Down, after three failures", c.Stats().Down, true)
}

// costs runs fn and checks what it has cost: the commands, and the round trips that they took.
func costs(t *testing.T, tap *tap, what string, fn func(), want string, trips int) {
	t.Helper()
	tap.reset()
	fn()
	verbs, n := tap.count()
	equal(t, "the commands of "+what, fmt.Sprint(verbs), want)
	equal(t, "the round trips of "+what, n, trips)
}

// noStaleReadWhile reads and writes in several processes, and checks that no read begins after an Invalidate and sees a
// row from before.
func noStaleReadWhile(t *testing.T, r *rig, timeout aside.Option, during func()) {
	own := *r // of a subtest: r may be its parent's, which it must not fail
	r, own.t = &own, t
	rows := newTable(product{1, "lamp", 1})
	writer, _ := process(r, rows.load, timeout)
	r.until(func() bool { return writer.Invalidate(t.Context(), 1) == nil })
	slow := func(ctx context.Context, id int) (product, error) {
		p, err := rows.load(ctx, id)
		time.Sleep(rand.N(5 * time.Millisecond)) // time for a write after it has read
		return p, err
	}
	var written atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer end() // after a t.Fatal, too
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var readers []*aside.Cache[int, product]
	for range 4 {
		c, _ := process(r, slow, timeout)
		readers = append(readers, c)
		for range 2 {
			wg.Go(func() {
				for !stopped() {
					least := int(written.Load())
					if p, err := c.Get(t.Context(), 1); err != nil || p.Price < least {
						t.Errorf("Get returned %v, %v after %d was written", p, err, least)
						return
					}
				}
			})
		}
	}
	wg.Go(func() {
		for version := 2; !stopped(); version++ {
			rows.setPrice(1, version)
			start := time.Now()
			if writer.Invalidate(t.Context(), 1) == nil {
				written.Store(int64(version))
			}
			// Now and then a load and some hits fit in between, however long a command takes.
			time.Sleep(rand.N(5*time.Millisecond + 12*time.Since(start)))
		}
	})
	during()
	r.until(func() bool {
		var hits uint64
		for _, c := range readers {
			hits += c.Stats().Hits
		}
		return t.Failed() || written.Load() > 100 && hits > 100
	})
	end()
}

// refusedBy tells what Redis has refused its users, by its own account.
func refusedBy(t testing.TB, admin redis.UniversalClient) string {
	entries, err := admin.Do(context.Background(), "ACL", "LOG").Slice()
	if err != nil {
		t.Fatal(err)
	}
	var refused []string
	for _, entry := range entries {
		if fields, ok := entry.(map[any]any); ok {
			refused = append(refused, fmt.Sprint(fields["username"], ": ", fields["reason"], " ", fields["object"]))
		} else {
			refused = append(refused, fmt.Sprint(entry))
		}
	}
	return strings.Join(refused, ", ")
}

// inUse is how many bytes of memory the process needs.
func inUse() int {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// raceDetector reports whether the test binary was built with -race.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// logger shows what the library logs with the test that it belongs to.
func logger(t *testing.T) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

var silent = slog.New(slog.DiscardHandler)

// A log keeps what was logged.
type log struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (l *log) Enabled(context.Context, slog.Level) bool { return true }

func (l *log) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Level.String()+" "+r.Message)
	return nil
}

// lines are what is logged, as text.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// option has a Cache log to it.
func (l *lines) option() aside.Option { return aside.WithLogger(slog.New(slog.NewTextHandler(l, nil))) }

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A verified is what one Cache with WithVerify has told.
type verified struct {
	lines
	infos []aside.VerifyInfo // guarded by mu
}

func (v *verified) options(perSecond float64) []aside.Option {
	return []aside.Option{
		aside.WithVerify(perSecond), aside.WithEarlyRefresh(0), aside.WithTTL(time.Hour),
		v.option(),
		aside.WithObserver(aside.Observer{Verify: func(_ context.Context, i aside.VerifyInfo) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.infos = append(v.infos, i)
		}}),
	}
}

// verdicts are what was told, in order.
func (v *verified) verdicts() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []string
	for _, i := range v.infos {
		all = append(all, string(i.Verdict))
	}
	return strings.Join(all, " ")
}

func (v *verified) staleLines() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Count(v.text.String(), "an entry is stale")
}

// blocks returns the code blocks of a page in a language.
func blocks(t *testing.T, page, language string) []string {
	t.Helper()
	var found []string
	fence := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$")
	for _, m := range fence.FindAllStringSubmatch(read(t, page), -1) {
		found = append(found, m[1])
	}
	return found
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// until waits for something that happens by itself in another goroutine.
func (r *rig) until(done func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			r.t.Fatal("it did not happen within a minute")
		}
		if r.virtual {
			synctest.Wait()
		}
		time.Sleep(time.Millisecond)
	}
}

// untilMisses waits until n reads of c have missed, and the last one had the time to join a flight: in virtual time for
// certain. Where it had not, it begins a flight of its own, and the test passes without having shown anything.
func (r *rig) untilMisses(c interface{ Stats() aside.Stats }, n uint64) {
	r.t.Helper()
	r.until(func() bool { return c.Stats().Misses >= n })
	if r.virtual {
		synctest.Wait()
	}
}

// A tally is Stats as an Observer counts it.
type tally struct {
	mu sync.Mutex
	aside.Stats
	reads int
}

func (y *tally) observer() aside.Observer {
	count := func(add func()) {
		y.mu.Lock()
		defer y.mu.Unlock()
		add()
	}
	return aside.Observer{
		Read:       func(_ context.Context, r aside.ReadInfo) { count(func() { y.read(r) }) },
		Load:       func(_ context.Context, l aside.LoadInfo) { count(func() { y.load(l) }) },
		Fill:       func(_ context.Context, f aside.FillInfo) { count(func() { y.fill(f) }) },
		Invalidate: func(_ context.Context, i aside.InvalidateInfo) { count(func() { y.invalidate(i) }) },
		Removed: func(_ context.Context, r aside.RemovedInfo) {
			count(func() { y.Invalidations += uint64(r.Entries) })
		},
		RedisError: func(context.Context, aside.RedisErrorInfo) { count(func() { y.RedisErrors++ }) },
		Verify:     func(_ context.Context, v aside.VerifyInfo) { count(func() { y.verify(v) }) },
	}
}

func (y *tally) read(r aside.ReadInfo) {
	y.reads++
	*map[aside.Outcome]*uint64{
		aside.Hit: &y.Hits, aside.StaleHit: &y.StaleHits, aside.AbsentHit: &y.AbsentHits, aside.Miss: &y.Misses,
		aside.NearHit: &y.NearHits,
	}[r.Outcome]++
	if errors.Is(r.Err, aside.ErrOverloaded) {
		y.Overloaded++
	}
}

func (y *tally) load(l aside.LoadInfo) {
	y.Loads++
	if l.Refresh {
		y.Refreshes++
	}
	if l.Verify {
		y.Verified.Loads++
	}
	if l.Err != nil && !errors.Is(l.Err, aside.ErrNotFound) {
		y.LoadErrors++
	}
}

func (y *tally) verify(v aside.VerifyInfo) {
	*map[aside.Verdict]*uint64{
		aside.Match: &y.Verified.Match, aside.Unstable: &y.Verified.Unstable, aside.Overtaken: &y.Verified.Overtaken,
		aside.Stale: &y.Verified.Stale,
	}[v.Verdict]++
}

func (y *tally) fill(f aside.FillInfo) {
	switch {
	case f.Err != nil:
		y.FillErrors++
	case f.Refused:
		y.Refused++
	default:
		y.Fills++
	}
}

func (y *tally) invalidate(i aside.InvalidateInfo) {
	y.Invalidations += uint64(len(i.Names))
	if i.Err != nil {
		y.InvalidationErrors++
	}
}

// told is what both count.
func told(s aside.Stats) aside.Stats {
	s.Joins, s.Waits, s.Unusable, s.WrongTypes, s.PendingInvalidations, s.Down = 0, 0, 0, 0, 0, false
	s.NearEntries, s.NearWaits, s.NearTold = 0, 0, 0
	return s
}
