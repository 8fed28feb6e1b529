package aside_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// Random calls of one process, whose commands fail at random, against a register for each row. Each row has a source, and is made from
// it through its cache. The rules of the register:
//
//   - What a call that returned nil was about is read by everybody as it was when the call began.
//   - What a call that failed was about is read so by its own process.
//   - Once nothing is pending, all calls count as if they had returned nil, in their order: what was made from a source is as new as the
//     calls for the source that had ended before the call for it began.
func TestRandomInvalidationsThatFailLeaveNothingStale(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				w := newWorld(r, seed)
				var readers sync.WaitGroup
				for range 4 {
					readers.Go(w.read)
				}
				for range 12 {
					w.faulty.become(w.n(4), w.n(2*worldRows))
					var calls sync.WaitGroup
					for range 1 + w.n(3) {
						calls.Go(w.call)
					}
					calls.Wait()
					w.sleep(100)
					if w.n(2) == 0 {
						w.settle()
					}
				}
				w.settle()
				w.over.Store(true)
				readers.Wait()
				for key := range 2 * worldRows {
					w.readKey(key, w.everybody, "at the end")
					w.readKey(key, w.process, "at the end, in the process of the calls")
				}
			})
		})
	}
}

// worldRows is how many sources there are. Row worldRows+n is made from n.
const worldRows = 2

// A world is what a random test acts on.
type world struct {
	t                  *testing.T
	faulty             *faulty
	process, everybody *readers // who reads: where the calls are made, and elsewhere
	calm, over         atomic.Bool

	mu        sync.Mutex // guards the rest
	random    *rand.Rand
	now       int // orders the beginnings and ends of calls
	committed [worldRows]int
	ended     []ended
}

// An ended is a call that has returned, be it with an error.
type ended struct {
	keys       []int
	began, end int
	versions   [worldRows]int     // that were committed when it began
	sure       [2 * worldRows]int // what everybody had to read at least when it began
}

// Readers are the two caches of a process, and what the register says that it reads at least.
type readers struct {
	sources, made *aside.Cache[int, int]
	least         [2 * worldRows]int
}

func newWorld(r *rig, seed uint64) *world {
	w := &world{t: r.t, random: rand.New(rand.NewPCG(seed, 0))}
	w.faulty = &faulty{world: w, apart: seed%2 == 1}
	w.faulty.become(0, 0)
	rdb := r.dial(r.t)
	rdb.AddHook(through(w.faulty.send))
	w.process, w.everybody = w.open(rdb), w.open(r.dial(r.t))
	return w
}

func (w *world) open(rdb redis.UniversalClient) *readers {
	opts := []aside.Option{aside.WithLogger(logger(w.t)), aside.WithTTL(time.Hour)}
	tags := aside.WithTags(func(key, _ int) []string { return []string{fmt.Sprint("tag", key%worldRows)} })
	opts = append(opts, tags)
	sources := aside.Must(aside.New(rdb, "source", func(_ context.Context, key int) (int, error) {
		w.mu.Lock()
		version := w.committed[key]
		w.mu.Unlock()
		w.sleep(10)
		return version, nil
	}, opts...))
	made := aside.Must(aside.New(rdb, "made", func(ctx context.Context, key int) (int, error) {
		version, err := sources.Get(ctx, key-worldRows)
		w.sleep(10)
		return version, err
	}, opts...))
	w.t.Cleanup(func() { made.Close(); sources.Close() })
	return &readers{sources: sources, made: made}
}

// n draws a number below n.
func (w *world) n(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

// call writes a row, or none, and invalidates it, what is made from it, or more.
func (w *world) call() {
	key := w.n(worldRows)
	made, caches := key+worldRows, aside.Caches{w.process.sources, w.process.made}
	ctx := context.Background()
	switch w.n(10) {
	case 0:
		w.invalidate(key, []int{key}, func() error { return w.process.sources.Invalidate(ctx, key) })
	case 1:
		w.invalidate(-1, []int{made}, func() error { return w.process.made.Invalidate(ctx, made) })
	case 2, 6, 7:
		w.invalidate(key, []int{key}, func() error { return w.process.sources.Invalidate(ctx, key) })
		w.invalidate(-1, []int{made}, func() error { return w.process.made.Invalidate(ctx, made) })
	case 3, 4:
		w.invalidate(key, []int{key, made}, func() error {
			return aside.Invalidate(ctx, w.process.made.Keys(made), w.process.sources.Keys(key))
		})
	case 5:
		w.invalidate(key, []int{key, made}, func() error { return w.process.made.InvalidateTags(ctx, fmt.Sprint("tag", key)) })
	case 8:
		w.invalidate(key, idsFrom(0, 2*worldRows), func() error { return caches.InvalidateAll(ctx) })
	case 9:
		w.inTx(key, made)
	}
}

// invalidate writes a row, unless it is -1, and then makes a call about keys.
func (w *world) invalidate(row int, keys []int, call func() error) {
	began := w.begin(row, keys)
	err := call()
	w.end(began, err)
}

// inTx holds a row and what is made from it, and then writes it. If it cannot hold them, it does not write.
func (w *world) inTx(key, made int) {
	var committed ended
	err := aside.InTx(context.Background(), func(ctx context.Context) error {
		if err := aside.Invalidate(ctx, w.process.made.Keys(made), w.process.sources.Keys(key)); err != nil {
			return aside.RolledBack(err)
		}
		committed = w.begin(key, []int{key, made})
		w.end(committed, nil) // by the hold
		return nil
	})
	if err == nil && w.process.pending() > 0 {
		err = errors.New("the release has failed")
	}
	if committed.keys != nil {
		w.end(committed, err)
	}
}

func (w *world) begin(row int, keys []int) ended {
	w.mu.Lock()
	defer w.mu.Unlock()
	if row >= 0 {
		w.committed[row]++
	}
	w.now++
	return ended{keys: keys, began: w.now, versions: w.committed, sure: w.everybody.least}
}

func (w *world) end(c ended, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now++
	c.end = w.now
	w.ended = append(w.ended, c)
	if err == nil {
		w.everybody.raise(c, func(source int) int { return c.sure[source] })
		return
	}
	for _, key := range c.keys { // its own process reads past the cache; but what is made alone, others may have made from what they knew
		if key < worldRows {
			w.process.least[key] = max(w.process.least[key], c.versions[key])
		}
	}
}

// raise says what a call obliges: of what is made and was invalidated alone, what its source had been obliged to.
func (rs *readers) raise(c ended, before func(source int) int) {
	for _, key := range c.keys {
		source := key % worldRows
		version := c.versions[source]
		if !slices.Contains(c.keys, source) {
			version = before(source)
		}
		rs.least[key] = max(rs.least[key], version)
	}
}

func (rs *readers) pending() int {
	return rs.sources.Stats().PendingInvalidations + rs.made.Stats().PendingInvalidations
}

// settle waits until nothing is pending. Then all calls count as if they had returned nil. No call is under way.
func (w *world) settle() {
	w.faulty.become(0, 0)
	for w.process.pending() > 0 {
		time.Sleep(20 * time.Millisecond)
	}
	w.calm.Store(true)
	defer w.calm.Store(false)
	time.Sleep(2 * time.Second) // for what is confirmed, and repeated since it may have been made from what was not
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.ended {
		w.everybody.raise(c, func(source int) int {
			version := c.sure[source]
			for _, earlier := range w.ended {
				if earlier.end < c.began && slices.Contains(earlier.keys, source) {
					version = max(version, earlier.versions[source])
				}
			}
			return version
		})
	}
	w.ended = nil
}

// read reads rows again and again, in one process or the other.
func (w *world) read() {
	for !w.over.Load() {
		key := w.n(2 * worldRows)
		if w.n(3) == 0 {
			w.readKey(key, w.process, "in the process of the calls")
		} else {
			w.readKey(key, w.everybody, "elsewhere")
		}
		for w.sleep(20); w.calm.Load(); {
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// sleep sleeps for less than so many ms.
func (w *world) sleep(ms int) { time.Sleep(time.Duration(w.n(ms)) * time.Millisecond) }

func (w *world) readKey(key int, rs *readers, where string) {
	w.mu.Lock()
	least := max(rs.least[key], w.everybody.least[key])
	w.mu.Unlock()
	cache := rs.sources
	if key >= worldRows {
		cache = rs.made
	}
	version, err := cache.Get(context.Background(), key)
	w.mu.Lock()
	defer w.mu.Unlock()
	if most := w.committed[key%worldRows]; err != nil || version < least || version > most {
		w.t.Errorf("row %d is read %s as of version %d, want %d to %d; the error is %v", key, where, version, least, most, err)
	}
}

// A faulty connection loses commands and answers, and delays them. If it is apart, it takes no script of several keys, so that
// what is removed together is held and released.
type faulty struct {
	world  *world
	apart  bool
	loses  atomic.Bool
	broken atomic.Value // a name whose commands all fail, "" for none
}

// become chooses what goes wrong from now on: nothing, commands of all kinds now and then, those of one row, or both.
func (f *faulty) become(mode, key int) {
	f.loses.Store(mode&1 != 0)
	name := ""
	if mode&2 != 0 {
		name = [...]string{"source", "made"}[key/worldRows] + ":" + strconv.Itoa(key)
	}
	f.broken.Store(name)
}

func (f *faulty) send(_ context.Context, cmds []redis.Cmder, send sender) (first error) {
	if internal(cmds[0]) {
		return send(cmds...)
	}
	f.world.sleep(5)
	lost, refused := false, -1
	if f.loses.Load() && f.world.n(4) == 0 {
		switch f.world.n(3) {
		case 0:
			return refuse(errDown, cmds...)
		case 1:
			lost = true
		case 2:
			refused = f.world.n(len(cmds))
		}
	}
	for i, cmd := range cmds {
		apart := crossSlot(cmd)
		switch {
		case i == refused, f.broken.Load() != "" && slices.Contains(cmd.Args(), f.broken.Load()):
			cmd.SetErr(outOfMemory)
		case f.apart && apart != nil:
			cmd.SetErr(apart)
		default:
			_ = send(cmd)
		}
		first = cmp.Or(first, cmd.Err())
	}
	if lost { // they were executed
		return refuse(errDown, cmds...)
	}
	return first
}
