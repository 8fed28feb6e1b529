package aside_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// A shop is caches over caches, as one process has them: a page is made from the row of its category, which its loader reads
// through the cache of categories.
type shop struct {
	categories *aside.Cache[int, product]
	pages      *aside.Cache[int, product]
	category   int // of page 1
}

func openShop(t *testing.T, rdb redis.UniversalClient, categories *table, tagOfPages string) *shop {
	t.Helper()
	tagged := func(tag string) aside.Option {
		return aside.WithTags(func(int, product) []string { return []string{tag} })
	}
	s := &shop{category: 1, categories: open(t, rdb, "category", categories.load, patient, tagged("catalogue"))}
	s.pages = open(t, rdb, "page", func(ctx context.Context, id int) (product, error) {
		return s.categories.Get(ctx, s.category)
	}, patient, tagged(tagOfPages))
	return s
}

func (s *shop) page(t *testing.T) int {
	t.Helper()
	return mustGet(t, s.pages, 1).Price
}

// While the category is about to be removed, another process makes the page anew, from the old category.
func TestWhatIsMadeFromWhatOneCallInvalidatesIsNotMadeFromTheOldRow(t *testing.T) {
	ways := map[string]struct {
		verb       string // before which the page is read
		invalidate func(ctx context.Context, s *shop) error
	}{
		"by a tag":             {"invalidate", func(ctx context.Context, s *shop) error { return s.pages.InvalidateTags(ctx, "catalogue") }},
		"by a tag, at the end": {"holdtags", func(ctx context.Context, s *shop) error { return s.pages.InvalidateTags(ctx, "catalogue") }},
		"by a tag and a key": {"invalidate", func(ctx context.Context, s *shop) error {
			return aside.Invalidate(ctx, s.pages.Keys(1), s.categories.Tags("catalogue"))
		}},
		"all of both, in one InTx": {"scan", func(ctx context.Context, s *shop) error {
			return aside.InTx(ctx, func(ctx context.Context) error {
				return errors.Join(s.pages.InvalidateAll(ctx), s.categories.InvalidateAll(ctx))
			})
		}},
		"all of both, one after the other": {"scan", func(ctx context.Context, s *shop) error {
			return errors.Join(s.categories.InvalidateAll(ctx), s.pages.InvalidateAll(ctx))
		}},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100})
				rdb, tap := r.tapped()
				writer, reader := openShop(t, rdb, rows, "catalogue"), openShop(t, r.dial(t), rows, "catalogue")
				for n := range 6 { // before the first command of that kind, or the second, …
					r.flush()
					rows.setPrice(1, 100)
					mustGet(t, reader.categories, 1)
					rows.setPrice(1, 90)
					gates := make([]*gate, n+1)
					for i := range gates {
						gates[i] = tap.before(way.verb)
					}
					done := make(chan error, 1)
					go func() { done <- way.invalidate(context.Background(), writer) }()
					synctest.Wait()
					for _, g := range gates[:n] {
						g.release()
						synctest.Wait()
					}
					reader.page(t)
					gates[n].release()
					equal(t, "the error", <-done, nil)
					equal(t, fmt.Sprintf("the page, which was read before command %d", n), reader.page(t), 90)
					tap.noGates()
				}
			})
		})
	}
}

// The category lies on another server than the page, and is removed later.
func TestWhatOneCallInvalidatesOnSeveralServersIsHeldFirst(t *testing.T) {
	for _, evicted := range []bool{false, true} {
		t.Run(fmt.Sprint("the hold of the page is evicted: ", evicted), func(t *testing.T) {
			r := clusterRig(t)
			id := 1 // of a page that lies on another server
			for r.serverOf("page:1") == r.serverOf(fmt.Sprint("category:", id)) {
				id++
			}
			rows := newTable(product{id, "lamps", 100})
			g := &gate{reached: make(chan struct{}), open: make(chan struct{})}
			var once sync.Once
			slow := onKey(fmt.Sprint("category:", id), func() error {
				once.Do(func() {
					close(g.reached)
					<-g.open
				})
				return nil
			})
			rdb := r.dial(t)
			writer, reader := openShop(t, rdb, rows, "catalogue"), openShop(t, r.dial(t), rows, "catalogue")
			for _, s := range []*shop{writer, reader} {
				s.category = id
			}
			writer.page(t) // so that the servers are known
			rdb.AddHook(slow)
			rows.setPrice(id, 90)
			done := make(chan error, 1)
			go func() {
				done <- aside.Invalidate(context.Background(), writer.pages.Keys(1), writer.categories.Keys(id))
			}()
			g.wait()
			r.until(func() bool { return r.held("page:1") || !strings.Contains(r.get("page:1"), "value") })
			if evicted {
				r.del("page:1")
			}
			reader.page(t)
			g.release()
			equal(t, "the error", <-done, nil)
			equal(t, "the page", reader.page(t), 90)
		})
	}
}

// The category cannot be invalidated at first. What is made of it meanwhile is old, and is invalidated in vain.
func TestWhatFailedIsSentAgainWithAllThatCameAfterIt(t *testing.T) {
	ways := map[string]func(s *shop) error{
		"a key": func(s *shop) error { return s.pages.Invalidate(context.Background(), 1) },
		"a tag": func(s *shop) error { return s.pages.InvalidateTags(context.Background(), "pages") },
		"all":   func(s *shop) error { return s.pages.InvalidateAll(context.Background()) },
		"a key, in InTx": func(s *shop) error {
			return aside.InTx(context.Background(), func(ctx context.Context) error { return s.pages.Invalidate(ctx, 1) })
		},
	}
	for name, invalidate := range ways {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamps", 100})
				rdb := r.dial(t)
				fails := refusing(rdb, "category:1")
				writer, reader := openShop(t, rdb, rows, "pages"), openShop(t, r.dial(t), rows, "pages")
				reader.page(t)
				rows.setPrice(1, 90)
				fails.Store(true)
				if writer.categories.Invalidate(t.Context(), 1) == nil {
					t.Error("Invalidate returned nil")
				}
				equal(t, "the error of the page's", invalidate(writer), nil)
				equal(t, "the page in another process, which knows of nothing", reader.page(t), 100)
				fails.Store(false)
				r.until(func() bool { return writer.categories.Stats().PendingInvalidations == 0 })
				equal(t, "the page once nothing is pending", reader.page(t), 90)
			})
		})
	}
}

// An outage ends while writes go on, so that something is invalidated during each round.
func TestWhatIsSentAgainComesToAnEndThoughWritesGoOn(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb, tap := r.tapped()
		c := newCache(t, rdb, newTable().load)
		tap.answer("invalidate", redisError("OOM"))
		_ = c.Invalidate(t.Context(), 1)
		tap.answer("invalidate", nil)
		stop := make(chan struct{})
		var writer sync.WaitGroup
		writer.Go(func() {
			for i := 2; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					_ = c.Invalidate(context.Background(), i)
				}
			}
		})
		r.until(func() bool { return c.Stats().PendingInvalidations == 0 })
		time.Sleep(2 * time.Second)
		tap.reset()
		time.Sleep(2 * time.Second)
		close(stop)
		writer.Wait()
		if verbs, _ := tap.count(); slices.Contains(verbs, "hold") {
			t.Error("something is sent again still")
		}
	})
}

// For the lag, nothing is cached of the category, and so nothing that is made from it.
func TestWhatIsMadeFromWhatLagsIsNotCached(t *testing.T) {
	for name, invalidate := range map[string]func(ctx context.Context, s *shop) error{
		"by key": func(ctx context.Context, s *shop) error { return s.categories.Invalidate(ctx, 1) },
		"by key, at once": func(ctx context.Context, s *shop) error {
			return aside.Invalidate(ctx, s.pages.Keys(1), s.categories.Keys(1))
		},
		"by tag": func(ctx context.Context, s *shop) error { return s.categories.InvalidateTags(ctx, "categories") },
	} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				replica := newTable(product{1, "lamps", 100})
				s := new(shop)
				rdb := r.dial(t)
				s.categories = open(t, rdb, "category", replica.load, aside.WithReplicaLag(10*time.Second),
					aside.WithTags(func(int, product) []string { return []string{"categories"} }))
				s.pages = open(t, rdb, "page", func(ctx context.Context, id int) (product, error) { return s.categories.Get(ctx, id) })
				tables := open(t, rdb, "table", func(ctx context.Context, id int) (product, error) { return s.pages.Get(ctx, id) })
				equal(t, "the error", invalidate(t.Context(), s), nil)
				equal(t, "the error of the pages'", s.pages.Invalidate(t.Context(), 1), nil)
				equal(t, "the price in the lag", mustGet(t, tables, 1).Price, 100)
				time.Sleep(9 * time.Second)
				replica.setPrice(1, 90) // it has caught up
				time.Sleep(2 * time.Second)
				equal(t, "the price after the lag", mustGet(t, tables, 1).Price, 90)
				hits := tables.Stats().Hits
				mustGet(t, tables, 1)
				equal(t, "the hits of it now", tables.Stats().Hits-hits, 1)
			})
		})
	}
}

// An order changes rows of five caches.
func TestOneCallForAllThatAWriteChanged(t *testing.T) {
	test := func(t *testing.T, r *rig) {
		rdb, tap := r.tapped()
		var caches []*aside.Cache[int, product]
		for i := range 5 {
			caches = append(caches, open(t, rdb, fmt.Sprint("cache", i), newTable(product{1, "lamp", 100}).load, patient, categories))
		}
		var keys []aside.Change
		for _, c := range caches {
			mustGet(t, c, 1)
			keys = append(keys, c.Keys(1, 2, 1))
		}
		both := append(slices.Clone(keys), caches[0].Tags("lamp", "desk"), caches[1].Tags("lamp"))
		once := func(changes []aside.Change) {
			t.Helper()
			if err := aside.Invalidate(t.Context(), changes...); err != nil {
				t.Error(err)
			}
		}
		once(both) // teaches the scripts
		costs(t, tap, "five caches", func() { once(keys) }, "[invalidate]", 1)
		costs(t, tap, "five caches and two tags", func() { once(both) }, "[hold record zrangebyscore zrangebyscore hold holdtags]", 3)
		costs(t, tap, "nothing", func() { once([]aside.Change{{}, caches[0].Keys(), caches[0].Tags()}) }, "[]", 0)
		costs(t, tap, "five caches and two tags, in InTx", func() {
			inTx(t, func(ctx context.Context) error { return aside.Invalidate(ctx, both...) })
		}, "[hold record record zrangebyscore zrangebyscore hold holdtags holdtags]", 3)
		equal(t, "the entries that are left", len(keysWith(r, "cache*")), 0)
	}
	t.Run("miniredis", func(t *testing.T) { onMiniredis(t, test) })
	t.Run("redis", func(t *testing.T) { test(t, freshRig(t)) })
}

// Two clients are two servers to aside: what is made from another lies with the later one.
func TestChangesOfSeveralClientsAreMadeInTheirOrder(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		first, firstTap := r.tapped()
		second, secondTap := r.tapped()
		a, b := open(t, first, "a", newTable().load), open(t, second, "b", newTable().load)
		g := firstTap.before("invalidate")
		done := make(chan error, 1)
		go func() { done <- aside.Invalidate(context.Background(), a.Keys(1), b.Keys(1), a.Keys(2)) }()
		g.wait()
		synctest.Wait()
		equal(t, "the commands to the second", secondTap.sent("invalidate"), 0)
		g.release()
		equal(t, "the error", <-done, nil)
		equal(t, "the commands to the second", secondTap.sent("invalidate"), 1)
		equal(t, "the commands to the first", firstTap.sent("invalidate"), 1)
	})
}

func TestInvalidateTellsEachCacheOfItsPart(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb, tap := r.tapped()
		told := make(map[string]aside.InvalidateInfo)
		var mu sync.Mutex
		observed := aside.WithObserver(aside.Observer{Invalidate: func(_ context.Context, i aside.InvalidateInfo) {
			mu.Lock()
			defer mu.Unlock()
			told[i.Cache] = i
		}})
		a, b := open(t, rdb, "a", newTable().load, observed), open(t, rdb, "b", newTable().load, observed, categories)
		tap.answer("hold", redisError("OOM"))
		err := aside.Invalidate(t.Context(), a.Keys(1), b.Keys(2), b.Tags("lamp"))
		if err == nil || !strings.Contains(err.Error(), `the first is "a:1"`) {
			t.Errorf("Invalidate returned %v", err)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		equal(t, "the names of a", fmt.Sprint(told["a"].Names, told["a"].Tags), "[a:1] []")
		equal(t, "the names of b", fmt.Sprint(told["b"].Names, told["b"].Tags), "[b:2] [lamp]")
		equal(t, "whether both have the error", told["a"].Err != nil && told["b"].Err != nil, true)
	})
}

func TestRolledBackReleasesTheHolds(t *testing.T) {
	for name, fn := range map[string]func(ctx context.Context, invalidate func(context.Context) error) error{
		"at once": func(ctx context.Context, invalidate func(context.Context) error) error {
			_ = invalidate(ctx)
			return aside.RolledBack(errDown)
		},
		"an inner one passes it on": func(ctx context.Context, invalidate func(context.Context) error) error {
			return aside.InTx(ctx, func(ctx context.Context) error {
				_ = invalidate(ctx)
				return aside.RolledBack(errDown)
			})
		},
		"of an inner one alone": func(ctx context.Context, invalidate func(context.Context) error) error {
			err := aside.InTx(ctx, func(ctx context.Context) error {
				_ = invalidate(ctx)
				return aside.RolledBack(errDown)
			})
			_ = invalidate(ctx)
			_ = err // which was a savepoint
			return nil
		},
		"wrapped": func(ctx context.Context, invalidate func(context.Context) error) error {
			_ = invalidate(ctx)
			return fmt.Errorf("placing an order: %w", aside.RolledBack(errDown))
		},
	} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				c, _ := process(r, newTable(product{1, "lamp", 100}).load, categories)
				err := aside.InTx(t.Context(), func(ctx context.Context) error {
					return fn(ctx, func(ctx context.Context) error { return aside.Invalidate(ctx, c.Keys(1), c.Tags("lamp")) })
				})
				if name == "at once" || name == "an inner one passes it on" {
					equal(t, "the error", err, errDown)
				} else if err != nil && !errors.Is(err, errDown) {
					t.Errorf("the error is %v", err)
				}
				equal(t, "whether it is held", r.held("test:1"), false)
				equal(t, "the tags that are held", heldTags(t, r), 0)
				equal(t, "whether it is cached", isCached(t, c), true)
			})
		})
	}
}

// A page may be made anew from the old category, after the scan has passed it and before it comes to the category.
func TestInvalidateAllRemovesWhatIsMadeFromWhatItHasYetToReach(t *testing.T) {
	r := realRig(t)
	const n = 2000
	rows := newTable()
	for id := range n {
		rows.setPrice(id, 100)
	}
	open := func(rdb redis.UniversalClient) (categories, pages *aside.Cache[int, product]) {
		categories = aside.Must(aside.New(rdb, "category", rows.load, patient))
		pages = aside.Must(aside.New(rdb, "page", categories.Get, patient))
		t.Cleanup(func() { categories.Close(); pages.Close() })
		return categories, pages
	}
	categories, pages := open(r.dial(t))
	mustGetMany(t, categories, idsFrom(0, n)...)
	mustGetMany(t, pages, idsFrom(0, n)...)
	for id := range n {
		rows.setPrice(id, 90)
	}
	rdb, scans, between := r.dial(t), 0, -1
	rdb.AddHook(beforeScans(func() {
		if scans++; scans != 3 { // of the first scan; there are about six
			return
		}
		for id := range n {
			if r.get("page:"+strconv.Itoa(id)) == "" && r.get("category:"+strconv.Itoa(id)) != "" {
				between = id
				equal(t, "the page that is made meanwhile", mustGet(t, pages, id).Price, 100)
				return
			}
		}
	}))
	writtenTo, writtenFrom := open(rdb)
	equal(t, "InvalidateAll", aside.Caches{writtenFrom, writtenTo}.InvalidateAll(t.Context()), nil)
	if between < 0 {
		t.Fatal("the scan came to each category before its page")
	}
	equal(t, "the page", mustGet(t, pages, between).Price, 90)
}
