package forge_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

func TestMain(m *testing.M) {
	logging.Disable()
	os.Exit(m.Run())
}

const (
	keys      = 6 // of each cache
	processes = 3
	forgers   = 3

	enoughReads     = 20_000
	enoughForgeries = 150             // of each kind
	longEnough      = 3 * time.Second // for entries to end many times
)

var names = []string{"user", "order"}

// A row shows of which entry and which version it is.
type row struct {
	Name    string
	Version int
}

// A life is how long a version of a row was there: at 0 it still is.
type life struct {
	absent bool
	until  time.Time
}

// A world is the truth, and what is known of all that was ever sealed.
type world struct {
	mu   sync.Mutex
	rows map[string][]life            // by name, each version; the last one is the present
	ends map[string]map[int]time.Time // by name, of each version the latest end that was sealed
}

func newWorld() *world {
	w := &world{rows: make(map[string][]life), ends: make(map[string]map[int]time.Time)}
	for _, cache := range names {
		for key := range keys {
			name := nameOf(cache, key)
			w.rows[name], w.ends[name] = []life{{}}, make(map[int]time.Time)
		}
	}
	return w
}

func nameOf(cache string, key int) string { return fmt.Sprintf("%s:%d", cache, key) }

// load is the loader of a cache.
func (w *world) load(cache string, key int) (row, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := nameOf(cache, key)
	version := len(w.rows[name]) - 1
	if w.rows[name][version].absent {
		return row{}, absence{version}
	}
	return row{name, version}, nil
}

// An absence tells which version it is, where it was loaded: Redis does not remember that.
type absence struct{ version int }

func (absence) Error() string        { return "no row" }
func (absence) Is(target error) bool { return target == aside.ErrNotFound }

// write makes the next version of a row, which is absent now and then.
func (w *world) write(cache string, key int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := nameOf(cache, key)
	lives := w.rows[name]
	lives[len(lives)-1].until = time.Now()
	w.rows[name] = append(lives, life{absent: rand.IntN(4) == 0})
}

// sealed notes the end of what is sealed.
func (w *world) sealed(name string, absent bool, end time.Time, value []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var r row
	if !absent {
		_ = json.Unmarshal(value, &r)
	}
	for version, life := range w.rows[name] { // an absence is one of all that there were
		if life.absent == absent && (absent || version == r.Version) && end.After(w.ends[name][version]) {
			w.ends[name][version] = end
		}
	}
}

// judge says what is wrong with the answer to a read that began then.
func (w *world) judge(cache string, key int, began time.Time, r row, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := nameOf(cache, key)
	absent := errors.Is(err, aside.ErrNotFound)
	switch {
	case err != nil && !absent:
		return err
	case err == nil && (r.Name != name || r.Version >= len(w.rows[name]) || w.rows[name][r.Version].absent):
		return fmt.Errorf("it never had %+v", r)
	}
	var last time.Time // when what was read ended at latest
	for version, life := range w.rows[name] {
		if end := w.ends[name][version]; life.absent == absent && (absent || version == r.Version) && end.After(last) {
			last = end
		}
		if life.absent == absent && (absent || version == r.Version) &&
			(life.until.IsZero() || !life.until.Before(began) || w.ends[name][version].After(began)) {
			return nil
		}
	}
	return fmt.Errorf("%+v, %v is over: its end was %v before the read began", r, err, began.Sub(last))
}

// A witness is an AEAD that tells the world what it seals.
type witness struct {
	cipher.AEAD
	world *world
}

func (a witness) Seal(dst, nonce, plaintext, bound []byte) []byte {
	end := time.UnixMilli(int64(binary.BigEndian.Uint64(plaintext)))
	a.world.sealed(string(bound[9:]), bound[8] == 1, end, plaintext[8:])
	return a.AEAD.Seal(dst, nonce, plaintext, bound)
}

func newWitness(t *testing.T, w *world) witness {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return witness{aead, w}
}

// A forger knows each document that was ever there, and has no key.
type forger struct {
	rdb  *redis.Client
	seen map[string][]string // by name
}

// forgeries are what a forger does to an entry, whose document there is now. They return another document, "" for none.
var forgeries = []func(f *forger, name, doc string) string{
	func(_ *forger, _, doc string) string { // a bit is flipped
		if doc == "" {
			return ""
		}
		flipped := []byte(doc)
		flipped[rand.IntN(len(flipped))] ^= 1 << rand.IntN(8)
		return string(flipped)
	},
	func(f *forger, name, _ string) string { return f.any(name) }, // replayed
	func(f *forger, name, _ string) string { // replayed, as if it were fresh for ever
		doc := f.any(name)
		if at := strings.Index(doc, `"fresh":`); at >= 0 && len(doc) > at+21 {
			doc = doc[:at] + `"fresh":9999999999999` + doc[at+21:]
		}
		return doc
	},
	func(f *forger, _, _ string) string { return f.any(randomName()) }, // moved
	func(f *forger, name, doc string) string { // the header of one, and the bytes of another
		header, _, _ := strings.Cut(doc, "\n")
		_, bytes, ok := strings.Cut(f.any(name), "\n")
		if !ok || !strings.HasSuffix(header, "}") || !strings.Contains(header, `"sealed":`) {
			return ""
		}
		return header[:strings.Index(header, `"sealed":`)] + fmt.Sprintf(`"sealed":%d}`, len(bytes)) + "\n" + bytes
	},
	func(_ *forger, _, doc string) string { // an absence becomes a value, and a value an absence
		if strings.Contains(doc, `"absent":true,`) {
			return strings.Replace(doc, `"absent":true,`, ``, 1)
		}
		return strings.Replace(doc, `,"sealed":`, `,"absent":true,"sealed":`, 1)
	},
	func(_ *forger, name, doc string) string { // made up, in the clear
		version := "0"
		if _, rest, ok := strings.Cut(doc, `"v":`); ok {
			version, _, _ = strings.Cut(rest, ",")
		}
		return fmt.Sprintf(`{"id":"x","fresh":9999999999999,"v":%s,"value":{"Name":%q,"Version":0}}`, version, name)
	},
	func(*forger, string, string) string { return `{"lease":"x-1-2.3","life":20}` },
	func(*forger, string, string) string { return `{"hold":{"x":{"id":"x","expiry":1,"life":1}}}` },
	func(*forger, string, string) string { return "" }, // deleted
}

func randomName() string { return nameOf(names[rand.IntN(len(names))], rand.IntN(keys)) }

// any returns a document that a name has had, "" if none is known.
func (f *forger) any(name string) string {
	if docs := f.seen[name]; len(docs) > 0 {
		return docs[rand.IntN(len(docs))]
	}
	return ""
}

// forge makes one forgery.
func (f *forger) forge(ctx context.Context, kind int) error {
	name := randomName()
	doc, err := f.rdb.Get(ctx, name).Result()
	if err != nil && err != redis.Nil {
		return err
	}
	if f.seen[name] = append(f.seen[name], doc); len(f.seen[name]) > 2000 {
		f.seen[name] = f.seen[name][1000:]
	}
	forged := forgeries[kind](f, name, doc)
	switch {
	case forged == "":
		return f.rdb.Del(ctx, name).Err()
	case strings.HasPrefix(forged, `{"lease`), strings.HasPrefix(forged, `{"hold`): // else nobody would read anything else
		return f.rdb.Set(ctx, name, forged, 5*time.Millisecond).Err()
	default:
		return f.rdb.Set(ctx, name, forged, 0).Err()
	}
}

func TestNoForgedRowIsServed(t *testing.T) {
	server := testserver.Redis(t)
	dial := func() *redis.Client {
		rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
		t.Cleanup(func() { rdb.Close() })
		return rdb
	}
	w := newWorld()
	aead := newWitness(t, w)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	var reads atomic.Int64
	var forged [64]atomic.Int64
	var wrong sync.Once
	var caches []*aside.Cache[int, row]
	for p := range processes {
		rdb := dial()
		for _, name := range names {
			opts := []aside.Option{
				aside.WithSeal(aead), aside.WithTTL(20 * time.Millisecond), aside.WithStale(20 * time.Millisecond),
				aside.WithAbsentTTL(20 * time.Millisecond), aside.WithLoadTimeout(5 * time.Second), aside.WithRedisTimeout(time.Minute),
				aside.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
				aside.WithNear(p*keys/2, time.Second), // one process has no copies, one has some, and one has all
			}
			load := func(_ context.Context, key int) (row, error) { return w.load(name, key) }
			c, err := aside.New(rdb, name, load, opts...)
			if err != nil {
				t.Fatal(err)
			}
			caches = append(caches, c)
			group.Go(func() {
				for ctx.Err() == nil {
					key := rand.IntN(keys)
					began := time.Now()
					var r row
					var err error
					if rand.IntN(2) == 0 {
						r, err = c.Get(context.Background(), key)
					} else {
						var many map[int]row
						if many, err = c.GetMany(context.Background(), []int{key}); err == nil && len(many) == 0 {
							err = aside.ErrNotFound
						}
						r = many[key]
					}
					if err := w.judge(name, key, began, r, err); err != nil {
						wrong.Do(func() { t.Errorf("a read of %s returned what it should not: %v", nameOf(name, key), err) })
						stop()
					}
					reads.Add(1)
				}
			})
			group.Go(func() {
				for ctx.Err() == nil {
					key := rand.IntN(keys)
					w.write(name, key)
					_ = c.Invalidate(context.Background(), key)
					time.Sleep(5 * time.Millisecond)
				}
			})
		}
	}
	for range forgers {
		f := &forger{dial(), make(map[string][]string)}
		group.Go(func() {
			for ctx.Err() == nil {
				kind := rand.IntN(len(forgeries))
				if err := f.forge(context.Background(), kind); err != nil {
					wrong.Do(func() { t.Error(err) })
					stop()
				}
				forged[kind].Add(1)
			}
		})
	}
	for start := time.Now(); ctx.Err() == nil; {
		enough := reads.Load() >= enoughReads && time.Since(start) >= longEnough
		for kind := range forgeries {
			enough = enough && forged[kind].Load() >= enoughForgeries
		}
		if enough {
			stop()
		}
		time.Sleep(10 * time.Millisecond)
	}
	group.Wait()
	var s struct{ hits, absent, near, unusable uint64 }
	for _, c := range caches {
		of := c.Stats()
		s.hits, s.absent, s.near, s.unusable = s.hits+of.Hits+of.StaleHits, s.absent+of.AbsentHits, s.near+of.NearHits, s.unusable+of.Unusable
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d reads, %+v", reads.Load(), s)
	if s.hits == 0 || s.absent == 0 || s.near == 0 || s.unusable == 0 {
		t.Errorf("of %d reads, these were of each kind: %+v", reads.Load(), s)
	}
}
