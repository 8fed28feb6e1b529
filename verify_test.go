package aside_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// Verification compares hits with the loader. What it calls stale must be, and what nobody invalidated must be found.

// verifying makes a cache of rows whose hits are verified.
func verifying(r *rig, load aside.Loader[int, product], opts ...aside.Option) (*aside.Cache[int, product], *verified) {
	r.t.Helper()
	v := new(verified)
	c, _ := steady(r, load, append(v.options(1000), opts...)...)
	return c, v
}

func TestAWriterThatForgetsIsFound(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, v := verifying(r, rows.load)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		equal(t, "the price of a hit", mustGet(t, c, 1).Price, 100)
		r.until(func() bool { return v.verdicts() != "" }) // which is told once it is counted
		equal(t, "the stale hits", c.Stats().Verified.Stale, 1)
		v.mu.Lock()
		defer v.mu.Unlock()
		if len(v.infos) != 1 || v.infos[0].Verdict != aside.Stale || v.infos[0].Name != "test:1" || v.infos[0].Cache != "test" {
			t.Errorf("the Observer was told %+v", v.infos)
		}
		for _, word := range []string{"an entry is stale", "cache=test", "name=test:1", "age=1", "path=.Price"} {
			if !strings.Contains(v.text.String(), word) {
				t.Errorf("the line %q does not say %q", v.text.String(), word)
			}
		}
	})
}

func TestAnInsertThatForgetsIsFound(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable()
		c, v := verifying(r, rows.load)
		_, _ = c.Get(t.Context(), 1)
		_, _ = c.Get(t.Context(), 1)
		synctest.Wait()
		equal(t, "the verdicts on an absence that is right", v.verdicts(), "match")
		rows.setPrice(1, 90)
		if _, err := c.Get(t.Context(), 1); !errors.Is(err, aside.ErrNotFound) {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		equal(t, "the verdicts", v.verdicts(), "match stale")
	})
}

func TestAWriterThatForgetsIsFoundByGetMany(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "chair", 50})
		c, v := verifying(r, rows.load)
		mustGetMany(t, c, 1, 2)
		rows.setPrice(2, 40)
		mustGetMany(t, c, 1, 2)
		time.Sleep(2 * time.Second)
		equal(t, "the verdicts", v.verdicts(), "match stale")
	})
}

func TestNothingIsCalledStaleBelowASecond(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, v := verifying(r, rows.load)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		mustGet(t, c, 1)
		time.Sleep(999 * time.Millisecond)
		equal(t, "the verdicts after 999 ms", v.verdicts(), "")
		mustInvalidate(t, c, 1)
		time.Sleep(time.Minute)
		equal(t, "the verdicts once it is invalidated", v.verdicts(), "overtaken")
		equal(t, "the lines", v.staleLines(), 0)
	})
}

// The write is in the database, and its Invalidate comes while the rows are loaded.
func TestAnInvalidationThatIsUnderWayOvertakes(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		var meanwhile atomic.Pointer[func()]
		c, v := verifying(r, func(ctx context.Context, id int) (product, error) {
			if f := meanwhile.Load(); f != nil {
				(*f)()
			}
			return rows.load(ctx, id)
		})
		mustGet(t, c, 1)
		mustGet(t, c, 1)
		r.until(func() bool { return v.verdicts() == "match" })
		rows.setPrice(1, 90)
		invalidate := func() { mustInvalidate(t, c, 1) }
		meanwhile.Store(&invalidate)
		mustGet(t, c, 1)
		r.until(func() bool { return v.verdicts() != "match" })
		equal(t, "the verdicts", v.verdicts(), "match overtaken")
	})
}

func TestALoaderThatReturnsDifferentThingsIsUnstable(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var n atomic.Int64
		c, v := verifying(r, func(_ context.Context, id int) (product, error) { return product{ID: id, Price: int(n.Add(1))}, nil })
		mustGet(t, c, 1)
		mustGet(t, c, 1)
		time.Sleep(2 * time.Minute)
		equal(t, "the verdicts", v.verdicts(), "unstable")
	})
}

// A loader that reads replicas of the database returns what was there before, for as long as they lag.
func TestAReplicaThatLagsMakesNothingStale(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 90})
		const lag = 20 * time.Second
		c, v := verifying(r, rows.load, aside.WithReplicaLag(lag))
		mustGet(t, c, 1) // from a replica that is current
		rows.setPrice(1, 100)
		mustGet(t, c, 1) // and verified at another, which is not
		time.Sleep(lag)
		rows.setPrice(1, 90)
		time.Sleep(time.Minute)
		equal(t, "the verdicts", v.verdicts(), "unstable")
	})
}

// It is found once, and logged as long as it lasts: after one second, ten, and a minute. Then the next hit has its turn.
func TestAnEntryThatStaysStaleIsCountedOnceAndLoggedThrice(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, v := verifying(r, rows.load)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		for range 55 {
			mustGet(t, c, 1)
			time.Sleep(time.Second)
		}
		equal(t, "the lines after 55 s", v.staleLines(), 1) // a second is too soon after the first, so that is told at a minute
		for range 10 {
			mustGet(t, c, 1)
			time.Sleep(time.Second)
		}
		equal(t, "the verdicts", v.verdicts(), "stale stale")
		equal(t, "the lines", v.staleLines(), 2)
	})
}

func TestNoHitIsVerifiedUnlessItIsAskedFor(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, v := verifying(r, rows.load, aside.WithVerify(0))
		for range 3 {
			mustGet(t, c, 1)
		}
		synctest.Wait()
		equal(t, "the loads", rows.loads.Load(), 1)
		equal(t, "the verdicts", v.verdicts(), "")
	})
}

func TestWhatMayDifferIsNotVerified(t *testing.T) {
	tests := map[string]func(t *testing.T, c *aside.Cache[int, product], other *aside.Cache[int, product], tap *tap){
		"a hit inside InTx": func(t *testing.T, c, _ *aside.Cache[int, product], _ *tap) {
			_ = aside.InTx(t.Context(), func(ctx context.Context) error {
				_, err := c.Get(ctx, 1)
				_, _ = c.GetMany(ctx, []int{1})
				return err
			})
		},
		"a read under Bypass": func(t *testing.T, c, _ *aside.Cache[int, product], _ *tap) {
			_, _ = c.Get(aside.Bypass(t.Context()), 1)
		},
		"a read of a closed Cache": func(t *testing.T, c, _ *aside.Cache[int, product], _ *tap) {
			_ = c.Close()
			mustGet(t, c, 1)
		},
		"a key whose invalidation is pending": func(t *testing.T, c, _ *aside.Cache[int, product], tap *tap) {
			tap.answer("invalidate", errDown)
			_ = c.Invalidate(t.Context(), 1)
			mustGet(t, c, 1)
		},
		"a hit soon after Redis was not reached": func(t *testing.T, c, other *aside.Cache[int, product], tap *tap) {
			tap.answer("get", errDown)
			mustGet(t, c, 1)
			tap.answer("get", nil)
			time.Sleep(2 * time.Second)
			mustGet(t, c, 1)
		},
	}
	for name, read := range tests {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				v := new(verified)
				c, tap := steady(r, rows.load, v.options(1000)...)
				other, _ := steady(r, rows.load)
				mustGet(t, other, 1)
				rows.setPrice(1, 90)
				read(t, c, other, tap)
				synctest.Wait()
				time.Sleep(5 * time.Second)
				equal(t, "the loads to verify", c.Stats().Verified.Loads, 0)
				equal(t, "the verdicts", v.verdicts(), "")
			})
		})
	}
}

// Redis is lost for a moment between the first look and the second: other processes may have been unable to invalidate.
func TestAnOutageBetweenTwoLooksPutsTheVerdictOff(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "chair", 50})
		v := new(verified)
		c, tap := steady(r, rows.load, v.options(1000)...)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		mustGet(t, c, 1)
		synctest.Wait()
		tap.answer("get", errDown)
		mustGet(t, c, 2)
		tap.answer("get", nil)
		time.Sleep(5 * time.Second)
		equal(t, "the verdicts", v.verdicts(), "")
		time.Sleep(10 * time.Second)
		equal(t, "the verdicts of the look after that", v.verdicts(), "stale")
	})
}

func TestVerificationIsTheLastInLineForAPlace(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		going := make(chan struct{})
		c, v := verifying(r, func(ctx context.Context, id int) (product, error) {
			if id == 2 {
				<-going
			}
			return rows.load(ctx, id)
		}, aside.WithMaxLoads(1))
		mustGet(t, c, 1)
		done := getting(c, 2)
		synctest.Wait()
		mustGet(t, c, 1)
		synctest.Wait()
		equal(t, "the loads to verify while there is no place", c.Stats().Verified.Loads, 0)
		close(going)
		<-done
		mustGet(t, c, 1)
		synctest.Wait()
		equal(t, "the verdicts once there is", v.verdicts(), "match")
	})
}

func TestNoMoreHitsAreVerifiedThanAsked(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable()
		ids := idsFrom(0, 200)
		for _, id := range ids {
			rows.setPrice(id, 1)
		}
		v := new(verified)
		c, _ := steady(r, rows.load, v.options(5)...)
		mustGetMany(t, c, ids...)
		names := make(map[string]int)
		const seconds = 30
		for range seconds {
			for range 10 {
				mustGetMany(t, c, ids...)
				synctest.Wait()
				time.Sleep(100 * time.Millisecond)
			}
		}
		for _, i := range v.infos {
			names[i.Name]++
		}
		if n := len(v.infos); n > 5*(seconds+1) || n < seconds {
			t.Errorf("%d hits were verified in %d s", n, seconds)
		}
		// 200 names that had the same chance would be met once each, or not at all.
		if len(names) > len(v.infos)/2 {
			t.Errorf("%d keys were followed by %d verifications: these are not the same keys", len(names), len(v.infos))
		}
	})
}

// After a minute other keys have their turn, so that none is never looked at.
func TestEachKeyHasItsTurn(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable()
		ids := idsFrom(0, 20)
		for _, id := range ids {
			rows.setPrice(id, 1)
		}
		v := new(verified)
		c, _ := steady(r, rows.load, v.options(1)...)
		names := make(map[string]bool)
		for range 600 * 60 { // in each minute a few keys have their turn
			mustGetMany(t, c, ids...)
			synctest.Wait()
			time.Sleep(time.Second)
			for _, i := range v.infos {
				names[i.Name] = true
			}
			v.infos = v.infos[:0]
			if len(names) == len(ids) {
				return
			}
		}
		t.Errorf("of %d keys, %d were verified", len(ids), len(names))
	})
}

// A shuffledCodec writes the keys of a map in any order, as protobuf does and msgpack.
type shuffledCodec struct{}

func (shuffledCodec) Marshal(v any) ([]byte, error) {
	m := v.(map[string]int)
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	var parts []string
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%q:%d", k, m[k]))
	}
	return []byte("{" + strings.Join(parts, ",") + "}"), nil
}

func (shuffledCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

func TestACodecWithoutAnOrderOfKeysMakesNoDifference(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		v := new(verified)
		row := map[string]int{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}
		c, _ := steady(r, func(context.Context, int) (map[string]int, error) { return row, nil },
			append(v.options(1000), aside.WithCodec(shuffledCodec{}))...)
		mustGet(t, c, 1)
		for range 20 {
			mustGet(t, c, 1)
			synctest.Wait()
		}
		equal(t, "the verdicts", v.verdicts(), strings.TrimSpace(strings.Repeat("match ", 20)))
	})
}

// A codec that keeps and changes what it decodes, and a caller who changes what he got, change nothing of what is compared.
func TestWhatTheReaderDoesWithTheValueIsNotCompared(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		v := new(verified)
		c, _ := steady(r, func(context.Context, int) (kept, error) { return kept{[]byte("lamp")}, nil },
			append(v.options(1000), aside.WithCodec(keepingCodec{}))...)
		for range 3 {
			copy(mustGet(t, c, 1).data, "LAMP")
			synctest.Wait()
		}
		equal(t, "the verdicts", v.verdicts(), "match match")
	})
}

func TestNearCopiesAreVerifiedAsTheReaderGotThem(t *testing.T) {
	for name, write := range map[string]func(r *rig, c *aside.Cache[int, product]){
		"a writer that forgets":                   func(*rig, *aside.Cache[int, product]) {},
		"a DEL by hand, of which copies know not": func(r *rig, _ *aside.Cache[int, product]) { r.del("test:1") },
	} {
		t.Run(name, func(t *testing.T) {
			onEveryRedis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				c, v := verifying(r, rows.load, nearby)
				nearRead(t, r, c)
				r.until(func() bool { return c.Stats().Verified.Match > 0 })
				rows.setPrice(1, 90)
				write(r, c)
				r.until(func() bool { nearRead(t, r, c); return c.Stats().Verified.Stale > 0 })
				equal(t, "the lines", v.staleLines(), 1)
			})
		})
	}
}

// What is verified is a copy of the fill, then one of the document.
func TestANearCopyThatIsInvalidatedIsOvertaken(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, v := verifying(r, rows.load, nearby)
		nearRead(t, r, c)
		synctest.Wait()
		rows.setPrice(1, 90)
		equal(t, "the price", nearRead(t, r, c).Price, 100)
		synctest.Wait()
		mustInvalidate(t, c, 1)
		time.Sleep(time.Minute)
		verdicts := v.verdicts()
		if !strings.HasSuffix(verdicts, "overtaken") || strings.Contains(verdicts, "stale") {
			t.Errorf("the verdicts are %q", verdicts)
		}
	})
}

func TestCloseEndsVerificationsThatWait(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, v := verifying(r, rows.load)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		mustGet(t, c, 1)
		synctest.Wait()
		start := time.Now()
		equal(t, "what Close returns", c.Close(), nil)
		equal(t, "the time that Close takes", time.Since(start), 0)
		time.Sleep(time.Minute)
		equal(t, "the verdicts", v.verdicts(), "")
	})
}

// Readers and writers who invalidate, outside and inside InTx, by key and by tag, with refreshes: nothing is stale.
func TestCoherentReadsAreNeverCalledStale(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable()
		ids := idsFrom(0, 8)
		for _, id := range ids {
			rows.setPrice(id, 1)
		}
		slowly := func(ctx context.Context, id int) (product, error) {
			p, err := rows.load(ctx, id)
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			return p, err
		}
		v := new(verified)
		opts := append(v.options(1e6), aside.WithTTL(5*time.Second), aside.WithStale(time.Minute), aside.WithEarlyRefresh(1),
			aside.WithTags(func(id int, _ product) []string { return []string{fmt.Sprint(id)} }))
		var caches []*aside.Cache[int, product]
		for range 3 {
			c, _ := steady(r, slowly, opts...)
			caches = append(caches, c)
		}
		end := time.Now().Add(3 * time.Minute)
		var group sync.WaitGroup
		writes := []func(ctx context.Context, c *aside.Cache[int, product], id int) error{
			func(ctx context.Context, c *aside.Cache[int, product], id int) error {
				rows.setPrice(id, rand.Int())
				time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
				return c.Invalidate(ctx, id)
			},
			func(ctx context.Context, c *aside.Cache[int, product], id int) error {
				rows.setPrice(id, rand.Int())
				return c.InvalidateTags(ctx, fmt.Sprint(id))
			},
			func(ctx context.Context, c *aside.Cache[int, product], id int) error {
				return aside.InTx(ctx, func(ctx context.Context) error {
					err := c.Invalidate(ctx, id)
					time.Sleep(time.Duration(rand.IntN(3000)) * time.Millisecond)
					rows.setPrice(id, rand.Int())
					return err
				})
			},
		}
		for _, c := range caches {
			for _, write := range writes {
				group.Go(func() {
					for time.Now().Before(end) {
						if err := write(t.Context(), c, ids[rand.IntN(len(ids))]); err != nil {
							t.Error(err)
						}
						time.Sleep(time.Duration(rand.IntN(10_000)) * time.Millisecond)
					}
				})
			}
			group.Go(func() {
				for time.Now().Before(end) {
					mustGetMany(t, c, ids...)
					time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
				}
			})
		}
		group.Wait()
		var sum aside.Verified
		for _, c := range caches {
			s := c.Stats().Verified
			sum.Loads += s.Loads
			sum.Match, sum.Unstable, sum.Overtaken, sum.Stale = sum.Match+s.Match, sum.Unstable+s.Unstable, sum.Overtaken+s.Overtaken, sum.Stale+s.Stale
		}
		equal(t, "the stale hits", sum.Stale, 0)
		if sum.Match < 1000 || sum.Overtaken == 0 {
			t.Errorf("the test shows little: %+v", sum)
		}
		t.Logf("%+v", sum)
	})
}

// What is sealed is compared once it is opened: two seals of one value differ.
func TestASealedEntryIsVerifiedByWhatItSeals(t *testing.T) {
	for _, near := range [][]aside.Option{nil, {nearby}} {
		onMiniredis(t, func(t *testing.T, r *rig) {
			rows := newTable(product{1, "lamp", 100})
			c, v := verifying(r, rows.load, append(near, sealed)...)
			mustGet(t, c, 1)
			mustGet(t, c, 1)
			synctest.Wait()
			equal(t, "the verdicts", v.verdicts(), "match")
			rows.setPrice(1, 90)
			mustGet(t, c, 1)
			time.Sleep(2 * time.Second)
			equal(t, "the verdicts once a writer has forgotten", v.verdicts(), "match stale")
		})
	}
}
