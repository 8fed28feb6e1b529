package aside_test

import (
	"cmp"
	"context"
	"fmt"
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

// An apart is a proxy: it takes one command at a time, and a script of several keys not at all, as the node of a Cluster would. So
// a test may do something between any two commands of a removal.
type apart struct {
	joins  bool // it takes scripts of several keys all the same
	before func(cmd redis.Cmder)

	mu   sync.Mutex
	sent map[string]int // commands by verb and key
}

func (a *apart) send(_ context.Context, cmds []redis.Cmder, send sender) (first error) {
	for _, cmd := range cmds {
		first = cmp.Or(first, a.one(cmd, send))
	}
	return first
}

func (a *apart) one(cmd redis.Cmder, send sender) error {
	if err := crossSlot(cmd); err != nil && !a.joins {
		return refuse(err, cmd)
	}
	if a.before != nil && !internal(cmd) {
		a.before(cmd)
	}
	return send(cmd)
}

// at does something before the nth command of a verb on a key; n counts from 1.
func (a *apart) at(do map[string]func(cmd redis.Cmder)) {
	a.sent = make(map[string]int)
	a.before = func(cmd redis.Cmder) {
		args := cmd.Args()
		if len(args) < 4 {
			return
		}
		what := fmt.Sprint(aside.Verb(cmd), " ", args[3])
		a.mu.Lock()
		a.sent[what]++
		fn := do[fmt.Sprint(what, " ", a.sent[what])]
		a.mu.Unlock()
		if fn != nil {
			fn(cmd)
		}
	}
}

// chain opens caches each of which is made from the next one: the names are in this order. All have one tag.
func chain(t *testing.T, rdb redis.UniversalClient, rows *table, names ...string) []*aside.Cache[int, product] {
	t.Helper()
	caches := make([]*aside.Cache[int, product], len(names))
	load := rows.load
	for i, name := range slices.Backward(names) {
		caches[i] = open(t, rdb, name, load, patient, aside.WithTags(func(int, product) []string { return []string{"chain"} }))
		load = caches[i].Get
	}
	return caches
}

func priceOf(t *testing.T, c *aside.Cache[int, product]) int {
	t.Helper()
	return mustGet(t, c, 1).Price
}

func TestAllOfAGroupIsHeldBeforeAnyOfItIsReleased(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows, rdb, proxy := newTable(product{1, "lamp", 100}), r.dial(t), new(apart)
		writer, reader := chain(t, rdb, rows, "page", "category"), chain(t, r.dial(t), rows, "page", "category")
		priceOf(t, reader[0])
		rows.setPrice(1, 90)
		rdb.AddHook(through(proxy.send))
		read := func(redis.Cmder) { priceOf(t, reader[0]) }
		proxy.at(map[string]func(redis.Cmder){"invalidate category:1 1": read, "hold category:1 1": read, "hold category:1 2": read})
		equal(t, "the error", aside.Invalidate(t.Context(), writer[0].Keys(1), writer[1].Keys(1)), nil)
		equal(t, "the page", priceOf(t, reader[0]), 90)
		equal(t, "the holds", proxy.sent["hold category:1"], 2)
	})
}

// One script removes up to 500 keys. If they are more, there are several commands.
func TestMoreKeysThanOneScriptRemovesAreHeldFirst(t *testing.T) {
	for _, n := range []int{499, 500} {
		t.Run(fmt.Sprint(n, " and one"), func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				rdb, proxy := r.dial(t), &apart{joins: true}
				writer, reader := chain(t, rdb, rows, "page", "category"), chain(t, r.dial(t), rows, "page", "category")
				priceOf(t, reader[0])
				rows.setPrice(1, 90)
				keys := idsFrom(0, n+1)[1:]
				slices.Reverse(keys)
				verbs := make(map[string]int)
				proxy.before = func(cmd redis.Cmder) {
					if verbs[aside.Verb(cmd)]++; slices.Contains(cmd.Args(), any("category:1")) {
						priceOf(t, reader[0])
					}
				}
				rdb.AddHook(through(proxy.send))
				equal(t, "the error", aside.Invalidate(t.Context(), writer[0].Keys(1), writer[1].Keys(keys...)), nil)
				equal(t, "the page", priceOf(t, reader[0]), 90)
				equal(t, "whether they were held", verbs["hold"] > 0, n == 500)
			})
		})
	}
}

// The hold of the page is evicted before the category is held, of which the page is then made. When the first hold is released, the
// table is made of that page.
func TestAHoldThatWasGoneHasAllHeldAgain(t *testing.T) {
	for name, duplicate := range map[string]bool{"it is gone at the end": false, "another copy of the command has placed it again": true} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows, rdb, proxy := newTable(product{1, "lamp", 100}), r.dial(t), new(apart)
				writer, reader := chain(t, rdb, rows, "table", "page", "category"), chain(t, r.dial(t), rows, "table", "page", "category")
				rdb.AddHook(through(proxy.send))
				mustInvalidate(t, writer[0], 2, 3) // finds out that keys must share a slot
				priceOf(t, reader[0])
				rows.setPrice(1, 90)
				var placed []any
				proxy.at(map[string]func(redis.Cmder){
					"hold page:1 1": func(cmd redis.Cmder) { placed = slices.Clone(cmd.Args()) },
					"hold category:1 1": func(redis.Cmder) {
						r.del("page:1")
						equal(t, "the page", priceOf(t, reader[1]), 100)
					},
					"hold page:1 2": func(redis.Cmder) {
						equal(t, "the table", priceOf(t, reader[0]), 100)
						if duplicate {
							time.Sleep(time.Millisecond)
							equal(t, "the error of the copy", r.raw.Do(t.Context(), placed...).Err(), nil)
						}
					},
				})
				equal(t, "the error", aside.Invalidate(t.Context(), writer[0].Keys(1), writer[1].Keys(1), writer[2].Keys(1)), nil)
				equal(t, "the table at last", priceOf(t, reader[0]), 90)
			})
		})
	}
}

// Within a transaction, what a hold that is gone lets be cached is older than the COMMIT.
func TestAHoldOfATransactionThatWasGoneHasAllHeldAgain(t *testing.T) {
	for name, duplicate := range map[string]bool{"it is gone at the end": false, "another copy of the command has placed it again": true} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows, rdb, proxy := newTable(product{1, "lamp", 100}), r.dial(t), new(apart)
				writer, reader := chain(t, rdb, rows, "page", "category"), chain(t, r.dial(t), rows, "page", "category")
				rdb.AddHook(through(proxy.send))
				var placed []any
				proxy.at(map[string]func(redis.Cmder){
					"hold category:1 1": func(cmd redis.Cmder) { placed = slices.Clone(cmd.Args()) },
					"hold category:1 2": func(redis.Cmder) {
						equal(t, "the page, of the old category", priceOf(t, reader[0]), 100)
						if duplicate {
							time.Sleep(time.Millisecond)
							equal(t, "the error of the copy", r.raw.Do(t.Context(), placed...).Err(), nil)
						}
					},
				})
				inTx(t, func(ctx context.Context) error {
					err := aside.Invalidate(ctx, writer[0].Keys(1), writer[1].Keys(1))
					r.del("category:1")
					priceOf(t, reader[1])
					rows.setPrice(1, 90)
					return err
				})
				equal(t, "the page", priceOf(t, reader[0]), 90)
			})
		})
	}
}

// While the category is still there, the journal is lost, and so is the hold of the tag: a page is made, and has the tag.
func TestAHoldOfTagsThatWasGoneHasAllHeldAgain(t *testing.T) {
	for name, duplicate := range map[string]bool{"it is gone at the end": false, "another copy of the command has placed it again": true} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows, rdb, proxy := newTable(product{1, "lamp", 100}), r.dial(t), new(apart)
				// They are removed in the order of their names.
				writer, reader := chain(t, rdb, rows, "a page", "category"), chain(t, r.dial(t), rows, "a page", "category")
				priceOf(t, reader[0])
				rows.setPrice(1, 90)
				rdb.AddHook(through(proxy.send))
				var placed []any
				proxy.at(map[string]func(redis.Cmder){
					"record aside-tags 1": func(cmd redis.Cmder) { placed = slices.Clone(cmd.Args()) },
					"invalidate category:1 1": func(redis.Cmder) {
						r.del("aside-tags")
						equal(t, "the page", priceOf(t, reader[0]), 100)
						if duplicate {
							time.Sleep(time.Millisecond)
							equal(t, "the error of the copy", r.raw.Do(t.Context(), placed...).Err(), nil)
						}
					},
				})
				equal(t, "the error", writer[0].InvalidateTags(t.Context(), "chain"), nil)
				equal(t, "the page at last", priceOf(t, reader[0]), 90)
			})
		})
	}
}

// What may be cached of what was removed is not old, but of what lags it is.
func TestWhatLagsIsRemovedFirst(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		openBoth := func(rdb redis.UniversalClient) (pages, categories *aside.Cache[int, product]) {
			categories = open(t, rdb, "category", rows.load, patient, aside.WithReplicaLag(10*time.Second))
			return open(t, rdb, "page", categories.Get, patient), categories
		}
		rdb, proxy := r.dial(t), &apart{joins: true}
		pages, categories := openBoth(rdb)
		reader, _ := openBoth(r.dial(t))
		priceOf(t, reader)
		rows.setPrice(1, 90)
		rdb.AddHook(through(proxy.send))
		proxy.before = func(redis.Cmder) { priceOf(t, reader) }
		equal(t, "the error", aside.Invalidate(t.Context(), pages.Keys(1), categories.Keys(1)), nil)
		equal(t, "the page", priceOf(t, reader), 90)
	})
}

// Both fail at first, and then the category alone.
func TestWhatIsConfirmedBeforeWhatItIsMadeFromIsRepeated(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows, rdb := newTable(product{1, "lamp", 100}), r.dial(t)
		writer, reader := chain(t, rdb, rows, "page", "category"), chain(t, r.dial(t), rows, "page", "category")
		rdb.AddHook(through(new(apart).send)) // each has a command of its own
		page, category := refusing(rdb, "page:1"), refusing(rdb, "category:1")
		page.Store(true)
		category.Store(true)
		priceOf(t, reader[0])
		rows.setPrice(1, 90)
		for _, c := range writer {
			if c.Invalidate(t.Context(), 1) == nil {
				t.Error("Invalidate returned nil")
			}
		}
		page.Store(false)
		time.Sleep(10 * time.Second)
		equal(t, "the page in another process, which knows of nothing", priceOf(t, reader[0]), 100)
		category.Store(false)
		r.until(func() bool { return writer[1].Stats().PendingInvalidations == 0 })
		equal(t, "the page once nothing is pending", priceOf(t, reader[0]), 90)
	})
}

// The page was made again from the old category before that is gone, and Redis' answer to its Invalidate is late.
func TestWhatIsUnderWayDuringARoundJoinsItsGroup(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		rdb, tap := r.tapped()
		writer, reader := chain(t, rdb, rows, "page", "category"), chain(t, r.dial(t), rows, "page", "category")
		priceOf(t, reader[0])
		rows.setPrice(1, 90)
		tap.answer("scan", redisError("OOM"))
		if writer[1].InvalidateAll(t.Context()) == nil {
			t.Error("InvalidateAll returned nil")
		}
		late, done := tap.after("invalidate"), make(chan error)
		go func() { done <- writer[0].Invalidate(t.Context(), 1) }()
		late.wait()
		equal(t, "the page in another process, which knows of nothing", priceOf(t, reader[0]), 100)
		tap.answer("scan", nil)
		r.until(func() bool { return writer[1].Stats().PendingInvalidations == 0 })
		late.release()
		equal(t, "the error", <-done, nil)
		time.Sleep(time.Minute)
		equal(t, "the page once nothing is pending", priceOf(t, reader[0]), 90)
	})
}

// The product and the page fail. The category is invalidated once more while they do, and Redis' answer to that is later than the round
// that makes the failure good: the page would be made from the old category.
func TestAPageIsNotMadeFromWhatIsRepeatedAfterIt(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		rdb, tap := r.tapped()
		names := []string{"page", "category", "product"}
		writer, reader := chain(t, rdb, rows, names...), chain(t, r.dial(t), rows, names...)
		rdb.AddHook(through(new(apart).send))
		fails := refusing(rdb, "page:1", "product:1")
		priceOf(t, reader[0])
		rows.setPrice(1, 90)
		fails.Store(true)
		var first sync.Once
		released, answer, all := make(chan struct{}), make(chan struct{}), make(chan error)
		rdb.AddHook(through(func(_ context.Context, cmds []redis.Cmder, send sender) error {
			err := send(cmds...)
			if err == nil && endsHold(cmds[0]) && cmds[0].Args()[3] == "category:1" {
				first.Do(func() { close(released); <-answer })
			}
			return err
		}))
		go func() { all <- aside.Invalidate(t.Context(), writer[0].Keys(1), writer[1].Keys(1), writer[2].Keys(1)) }()
		<-released
		removed, once := tap.after("invalidate"), make(chan error)
		go func() { once <- writer[1].Invalidate(t.Context(), 1) }()
		removed.wait()
		equal(t, "the category, which is made again", priceOf(t, reader[1]), 100)
		close(answer)
		if <-all == nil {
			t.Error("Invalidate of all returned nil")
		}
		fails.Store(false)
		r.until(func() bool { return writer[2].Stats().PendingInvalidations+writer[0].Stats().PendingInvalidations == 0 })
		priceOf(t, reader[0])
		removed.release()
		equal(t, "the error", <-once, nil)
		time.Sleep(time.Minute)
		for i, c := range reader {
			equal(t, "the "+names[i]+" once nothing is pending", priceOf(t, c), 90)
		}
	})
}

// The tag is held, and the old row is not removed yet, when the list is invalidated, and made again from that row.
func TestWhatIsInvalidatedWhileARoundRemovesWhatHasATagJoinsIt(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		table := newTable(product{1, "lamp", 100})
		rdb, tap := r.tapped()
		listsOf := func(rdb redis.UniversalClient) (rows, lists *aside.Cache[int, product]) {
			rows = open(t, rdb, "row", table.load, patient, categories)
			return rows, open(t, rdb, "list", rows.Get, patient)
		}
		rows, lists := listsOf(rdb)
		_, reader := listsOf(r.dial(t))
		priceOf(t, reader)
		table.setPrice(1, 90)
		tap.answer("zrangebyscore", redisError("OOM"))
		if rows.InvalidateTags(t.Context(), "lamp") == nil {
			t.Error("InvalidateTags returned nil")
		}
		removal := tap.before("zrangebyscore")
		tap.answer("zrangebyscore", nil)
		removal.wait()
		equal(t, "the error", lists.Invalidate(t.Context(), 1), nil)
		equal(t, "the list in another process, which knows of nothing", priceOf(t, reader), 100)
		removal.release()
		r.until(func() bool { return rows.Stats().PendingInvalidations == 0 })
		time.Sleep(time.Minute)
		equal(t, "the list once nothing is pending", priceOf(t, reader), 90)
	})
}

// Nobody will grant the right, and what is invalidated after it is not made of another application's entries.
func TestWhatMayNotBeTouchedHasNothingSentAgainButItself(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb, tap := r.tapped()
		var refused, others atomic.Int64
		rdb.AddHook(onKey("test:1", func() error {
			refused.Add(1)
			return redisError("NOPERM this user has no permissions to access the key")
		}))
		rdb.AddHook(onKey("test:2", func() error {
			others.Add(1)
			return nil
		}))
		c := newCache(t, rdb, newTable(product{2, "lamp", 100}).load)
		if c.Invalidate(t.Context(), 1) == nil {
			t.Error("Invalidate returned nil")
		}
		for range 3 {
			mustInvalidate(t, c, 2)
			time.Sleep(10 * time.Second)
		}
		tap.answer("invalidate", redisError("OOM"))
		if c.Invalidate(t.Context(), 2) == nil {
			t.Error("Invalidate returned nil")
		}
		tap.answer("invalidate", nil)
		time.Sleep(10 * time.Second)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 1)
		equal(t, "whether it is tried again", refused.Load() > 20, true)
		equal(t, "the commands about another key", others.Load(), 4) // and one was not sent
	})
}

// The two that failed are held one after the other; which of them comes first is not known, and the other one is what it is made
// from. When both are held, a table that is made from the first is invalidated.
func TestWhatIsInvalidatedDuringARoundIsSentAgainIfAHoldWasGone(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows, rdb, proxy := newTable(product{1, "lamp", 100}), r.dial(t), new(apart)
		var mu sync.Mutex
		madeFrom := make(map[string]string)
		process := func(rdb redis.UniversalClient) map[string]*aside.Cache[int, product] {
			caches := make(map[string]*aside.Cache[int, product])
			for _, name := range []string{"a", "b", "table"} {
				caches[name] = open(t, rdb, name, func(ctx context.Context, id int) (product, error) {
					mu.Lock()
					source := caches[madeFrom[name]]
					mu.Unlock()
					if source != nil {
						return source.Get(ctx, id)
					}
					return rows.load(ctx, id)
				}, patient)
			}
			return caches
		}
		writer, reader := process(rdb), process(r.dial(t))
		priceOf(t, reader["a"])
		priceOf(t, reader["b"])
		rows.setPrice(1, 90)
		rdb.AddHook(through(proxy.send))
		fails := refusing(rdb, "a:1", "b:1")
		fails.Store(true)
		if aside.Invalidate(t.Context(), writer["a"].Keys(1), writer["b"].Keys(1)) == nil {
			t.Error("Invalidate returned nil")
		}
		fails.Store(false)
		var held []string
		proxy.before = func(cmd redis.Cmder) {
			if aside.Verb(cmd) != "hold" || len(held) >= 3 {
				return
			}
			name, _, _ := strings.Cut(cmd.Args()[3].(string), ":")
			switch held = append(held, name); len(held) {
			case 2:
				mu.Lock()
				madeFrom["table"], madeFrom[held[0]] = held[0], held[1]
				mu.Unlock()
				r.del(held[0] + ":1")
				equal(t, "the one", priceOf(t, reader[held[0]]), 100)
			case 3: // all is held
				equal(t, "the error", writer["table"].Invalidate(context.Background(), 1), nil)
				equal(t, "the table, of the one", priceOf(t, reader["table"]), 100)
			}
		}
		r.until(func() bool {
			return writer["a"].Stats().PendingInvalidations+writer["b"].Stats().PendingInvalidations == 0
		})
		synctest.Wait()
		equal(t, "the holds that were placed", len(held), 3)
		equal(t, "the table at last", priceOf(t, reader["table"]), 90)
	})
}

func TestTheHoldsOfAllCachesAreLeftToExpireIfAnInnerInTxFailed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		caches := chain(t, r.dial(t), newTable(product{1, "lamp", 100}), "page", "category")
		for _, inner := range []int{0, 1} {
			inTx(t, func(ctx context.Context) error {
				_ = aside.InTx(ctx, func(ctx context.Context) error {
					_ = caches[inner].Invalidate(ctx, 1)
					return errDown
				})
				return caches[1-inner].Invalidate(ctx, 1)
			})
			equal(t, "whether the page is held", r.held("page:1"), true)
			equal(t, "whether the category is held", r.held("category:1"), true)
			time.Sleep(time.Minute)
		}
	})
}

// Two pages wait for one load of the category.
func TestWhoJoinsALoadThatLagsCachesNothing(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb, proxy := r.dial(t), &apart{joins: true}
		categories := open(t, rdb, "category", newTable(product{1, "lamp", 100}).load, patient, aside.WithReplicaLag(10*time.Second))
		pages := open(t, rdb, "page", func(ctx context.Context, _ int) (product, error) { return categories.Get(ctx, 1) }, patient)
		mustInvalidate(t, categories, 1)
		joined := make(chan struct{})
		rdb.AddHook(through(proxy.send))
		proxy.at(map[string]func(redis.Cmder){"lease category:1 1": func(redis.Cmder) { <-joined }})
		var group sync.WaitGroup
		for id := range 2 {
			group.Go(func() { mustGet(t, pages, id) })
		}
		synctest.Wait()
		close(joined)
		group.Wait()
		for id := range 2 {
			equal(t, "whether the page is cached", strings.Contains(r.get(fmt.Sprint("page:", id)), "value"), false)
		}
		equal(t, "the joins", categories.Stats().Joins, 1)
	})
}

// Each command takes so long that the holds would expire many times before all entries with the tag are removed.
func TestARemovalMayTakeLongerThanItsHoldsLast(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb, tap := r.tapped()
		c := newCache(t, rdb, newTable(product{1, "lamp", 100}).load, categories)
		priceOf(t, c)
		score := float64(time.Now().Add(time.Hour).UnixMicro())
		for i := range 5000 {
			equal(t, "the error", r.raw.ZAdd(t.Context(), "aside-tag=lamp", redis.Z{Score: score + float64(i), Member: fmt.Sprint("test:x", i)}).Err(), nil)
		}
		tap.become(func(string) error { time.Sleep(240 * time.Millisecond); return nil })
		began := time.Now()
		equal(t, "the error", aside.Invalidate(t.Context(), c.Keys(2), c.Tags("lamp")), nil)
		if took := time.Since(began); took < 4*time.Second {
			t.Errorf("it took %v, so this test shows nothing", took)
		}
		equal(t, "the entry", r.get("test:1"), "")
		equal(t, "how often it was held", tap.sent("record"), 1)
	})
}

// While what failed is sent again, and again while what came after it is, another key is invalidated. In the end nothing is sent.
func TestWhatIsInvalidatedWhileAllIsHeldIsNotSentAgain(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb, proxy := r.dial(t), new(apart)
		c := newCache(t, rdb, newTable().load)
		rdb.AddHook(through(proxy.send))
		fails := refusing(rdb, "test:1")
		var commands, key atomic.Int64
		key.Store(1)
		proxy.before = func(cmd redis.Cmder) {
			if commands.Add(1); !fails.Load() && endsHold(cmd) {
				time.Sleep(time.Millisecond)
				mustInvalidate(t, c, int(key.Add(1)))
			}
		}
		fails.Store(true)
		if c.Invalidate(t.Context(), 1) == nil {
			t.Error("Invalidate returned nil")
		}
		mustInvalidate(t, c, 1000) // which is to be repeated, so that there are two to hold
		fails.Store(false)
		time.Sleep(time.Second)
		commands.Store(0)
		time.Sleep(time.Second)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
		equal(t, "the commands", commands.Load(), 0)
		equal(t, "the keys that were invalidated meanwhile, at the two releases of one round", key.Load()-1, 2)
	})
}

// GetMany hands on what its loads have met, as Get does.
func TestWhatIsMadeByGetManyFromWhatLagsIsNotCached(t *testing.T) {
	for name, invalidate := range map[string]func(c *aside.Cache[int, product]) error{
		"by key": func(c *aside.Cache[int, product]) error { return c.Invalidate(context.Background(), 1) },
		"by tag": func(c *aside.Cache[int, product]) error { return c.InvalidateTags(context.Background(), "lamp") },
	} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rdb := r.dial(t)
				rows := open(t, rdb, "row", newTable(product{1, "lamp", 100}).load, patient, categories, aside.WithReplicaLag(10*time.Second))
				many := func(c *aside.Cache[int, product]) aside.Loader[int, product] {
					return func(ctx context.Context, id int) (product, error) {
						found, err := c.GetMany(ctx, []int{id})
						return found[id], err
					}
				}
				pages := open(t, rdb, "page", many(rows), patient)
				tables := open(t, rdb, "table", many(pages), patient)
				equal(t, "the error", invalidate(rows), nil)
				priceOf(t, tables)
				for _, name := range []string{"row:1", "page:1", "table:1"} {
					equal(t, "whether it is cached: "+name, strings.Contains(r.get(name), "value"), false)
				}
			})
		})
	}
}

// A hold that arrives late would outlive its transaction.
func TestNoHoldIsSentToARedisThatIsKnownToBeDown(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, w := inWeather(r, newTable(product{1, "lamp", 100}).load)
		w.refuse(errDown)
		for c.Invalidate(t.Context(), 2) == nil || !c.Stats().WritesDown {
			synctest.Wait()
		}
		inTx(t, func(ctx context.Context) error {
			w.sentSince()
			if err := c.Invalidate(ctx, 1); err == nil || !strings.Contains(err.Error(), "known to be down") {
				t.Errorf("inside InTx, Invalidate returned %v", err)
			}
			equal(t, "the commands that it sent", len(w.sentSince()), 0)
			return nil
		})
		w.become(nil)
	})
}
