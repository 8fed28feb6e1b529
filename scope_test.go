package aside_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

// scoped makes a cache of a name, by which tests of scopes tell the applications apart.
func scoped(t *testing.T, rdb redis.UniversalClient, name string, load aside.Loader[int, product], opts ...aside.Option) *aside.Cache[int, product] {
	t.Helper()
	c, err := aside.New(rdb, name, load, append([]aside.Option{aside.WithLogger(logger(t)), patient, categories}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Scopes and tags that would be taken for each other if they were joined carelessly.
func TestInvalidateTagsReachesItsOwnScopeAndNoOther(t *testing.T) {
	cases := []struct{ scope, tag string }{
		{"", "a"}, {"a", "a"}, {"A", "a"}, {"", "s"}, {"s", ""}, {"a", "b=c"}, {"a=b", "c"}, {"a%3Db", "c"}, {"", "-a=a"}, {"", "a=a"},
		{"-a", "a"}, {"a-", "a"}, {"%", "a"}, {"a:b", "a"}, {"{a}", "a"}, {"{aside-tags}", "a"}, {"a b", "a"}, {"\x00\xff", "a"},
		{strings.Repeat("long", 100), "a"}, {strings.Repeat("long", 101), "a"},
	}
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable()
		caches := make([]*aside.Cache[int, product], len(cases))
		for i, of := range cases {
			rows.rows[i] = product{i, of.tag, 100}
			caches[i] = scoped(t, r.dial(t), fmt.Sprint("app", i), rows.load, aside.WithScope(of.scope))
			mustGet(t, caches[i], i)
		}
		for i, of := range cases {
			loads := rows.loads.Load()
			mustInvalidateTags(t, caches[i], of.tag)
			for j := range caches {
				mustGet(t, caches[j], j)
			}
			equal(t, fmt.Sprintf("the loads after InvalidateTags of %q in %q", of.tag, of.scope), rows.loads.Load()-loads, 1)
		}
		equal(t, "the keys that hold a colon or a brace", len(keysWith(r, "*aside-*[:{}]*")), 0)
	})
}

func TestHoldOfATagIsOfItsScope(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		mine := scoped(t, r.dial(t), "mine", rows.load, aside.WithScope("mine"))
		twin := scoped(t, r.dial(t), "twin", rows.load, aside.WithScope("mine"))
		other := scoped(t, r.dial(t), "other", rows.load)
		inTx(t, func(ctx context.Context) error {
			mustHoldTags(t, ctx, mine, "lamps")
			for _, c := range []*aside.Cache[int, product]{twin, other} {
				mustGet(t, c, 1)
			}
			equal(t, "the entry of the scope", r.get("twin:1"), "")
			equal(t, "whether there is that of another", r.get("other:1") != "", true)
			return nil
		})
	})
}

func TestCachesOfOneNameWithDifferentScopesAreRefused(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamps", 100})
		rdb := r.dial(t)
		first := newCache(t, rdb, rows.load, aside.WithScope("shop"))
		_ = newCache(t, rdb, rows.load, aside.WithScope("shop"))
		for _, scope := range []string{"", "Shop"} {
			c, err := aside.New(rdb, "test", rows.load, aside.WithScope(scope))
			if c != nil || err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", scope)) || !strings.Contains(err.Error(), `"shop"`) {
				t.Errorf("New with the scope %q beside \"shop\": %v", scope, err)
			}
		}
		scoped(t, rdb, "another name", rows.load)
		newCache(t, r.dial(t), rows.load) // another client
		equal(t, "the error of Close", first.Close(), nil)
		equal(t, "the error of a second Close", first.Close(), nil)
		if _, err := aside.New(rdb, "test", rows.load); err == nil {
			t.Error("New with another scope, while one of two caches is open")
		}
	})
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		first := newCache(t, rdb, newTable().load, aside.WithScope("shop"))
		equal(t, "the error of Close", first.Close(), nil)
		newCache(t, rdb, newTable().load)
	})
}

// withACL is a Redis with users who have these rules.
func withACL(t *testing.T, users map[string]string) map[string]*rig {
	s := testserver.Redis(t)
	admin := closed(t, redis.NewClient(&redis.Options{Addr: s.Addr}))
	rigs := make(map[string]*rig)
	for user, rules := range users {
		args := []any{"ACL", "SETUSER", user, "on", ">secret"}
		for rule := range strings.FieldsSeq(rules) {
			args = append(args, rule)
		}
		equal(t, "the error of ACL SETUSER", admin.Do(t.Context(), args...).Err(), nil)
		dial := func(t *testing.T) redis.UniversalClient {
			return closed(t, redis.NewClient(&redis.Options{Addr: s.Addr, Username: user, Password: "secret", DisableIdentity: true}))
		}
		rigs[user] = &rig{t: t, shared: true, dial: dial, raw: admin}
	}
	return rigs
}

func TestTheRulesOfTheManualAreEnough(t *testing.T) {
	rules := aclOfManual(t)
	t.Run("without tags", func(t *testing.T) {
		r := withACL(t, map[string]string{"shop": rules[0]})["shop"]
		rows := newTable(product{1, "lamps", 100}, product{2, "desks", 200})
		c, err := aside.New(r.dial(t), "product", rows.load, append(stale, patient, aside.WithBatch(rows.loadMany))...)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 2 {
			mustGet(t, c, 1)
			mustGetMany(t, c, 1, 2)
		}
		inTx(t, func(ctx context.Context) error { return c.Invalidate(ctx, 1, 2) })
		mustGet(t, c, 1)
		mustInvalidate(t, c, 1, 2)
		mustGet(t, c, 1)
		equal(t, "RedisErrors", c.Stats().RedisErrors, 0)
		equal(t, "what Redis refused", refusedBy(t, r.raw), "")
	})
	t.Run("with tags", func(t *testing.T) {
		r := withACL(t, map[string]string{"shop": rules[0] + " " + rules[1]})["shop"]
		t.Cleanup(aside.WarmEvery(10 * time.Millisecond)) // undone once its caches are closed
		rows := newTable(product{1, "lamps", 100})
		rdb, tap := r.tapped()
		c := scoped(t, rdb, "product", rows.load, aside.WithScope("shop"), aside.WithReplicaLag(time.Millisecond))
		for range 2 {
			mustGet(t, c, 1)
			r.until(func() bool { mustGet(t, c, 1); return tap.sent("warm") > 0 })
			mustInvalidateTags(t, c, "lamps")
			inTx(t, func(ctx context.Context) error { return c.InvalidateTags(ctx, "lamps") })
			time.Sleep(10 * time.Millisecond)
		}
		equal(t, "RedisErrors", c.Stats().RedisErrors, 0)
		equal(t, "what Redis refused", refusedBy(t, r.raw), "")
	})
	t.Run("for InvalidateAll", func(t *testing.T) {
		r := withACL(t, map[string]string{"shop": rules[0] + " " + rules[3]})["shop"]
		rows := newTable(product{1, "lamps", 100})
		c, err := aside.New(r.dial(t), "product", rows.load, patient)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		mustGet(t, c, 1)
		equal(t, "the error of InvalidateAll", c.InvalidateAll(t.Context()), nil)
		equal(t, "the document", r.get("product:1"), "")
		equal(t, "RedisErrors", c.Stats().RedisErrors, 0)
		equal(t, "what Redis refused", refusedBy(t, r.raw), "")
	})
	t.Run("with near copies", func(t *testing.T) {
		r := withACL(t, map[string]string{"shop": rules[0] + " " + rules[2]})["shop"]
		rows := newTable(product{1, "lamps", 100})
		opts := []aside.Option{patient, aside.WithScope("shop"), aside.WithNear(10, time.Minute)}
		reader, err := aside.New(r.dial(t), "product", rows.load, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		writer, err := aside.New(r.dial(t), "product", rows.load, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer writer.Close()
		for range 3 {
			nearRead(t, r, reader)
			mustInvalidate(t, writer, 1)
		}
		equal(t, "RedisErrors", reader.Stats().RedisErrors+writer.Stats().RedisErrors, 0)
		equal(t, "what Redis refused", refusedBy(t, r.raw), "")
	})
}

// The tests that need a Redis run once more, in a process of their own, whose clients have the rules of the manual: for the keys of
// any cache and any scope.
func TestTheSuiteRunsUnderTheRulesOfTheManual(t *testing.T) {
	if os.Getenv("ASIDE_TEST_ACL") == "" || suiteRules != "" {
		t.Skip("it runs the other tests once more, for over a minute: set ASIDE_TEST_ACL=1")
	}
	sharedRedis.Get(t) // which skips where there is none
	rules := strings.NewReplacer("product:", "*:", "-shop", "*").Replace(strings.Join(aclOfManual(t), " "))
	suite := exec.Command(os.Args[0], "-test.run", "/^redis$", "-test.short", "-test.timeout", "10m")
	suite.Env = append(os.Environ(), suiteEnv+"="+rules)
	if out, err := suite.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Two applications have ACLs, one tag, and one scope, since nobody has given them two.
func TestEntriesThatMayNotBeTouchedKeepNobodyElseFromTheCache(t *testing.T) {
	base := "+@all ~aside-tags* ~aside-tag=* "
	rigs := withACL(t, map[string]string{"a": base + "~a:*", "b": base + "~b:*"})
	rows := newTable()
	var ids []int
	for id := range 1200 {
		rows.rows[id] = product{id, "lamps", 100}
		ids = append(ids, id)
	}
	mine := scoped(t, rigs["a"].dial(t), "a", rows.load, aside.WithBatch(rows.loadMany))
	other := scoped(t, rigs["b"].dial(t), "b", rows.load, aside.WithBatch(rows.loadMany))
	mustGetMany(t, other, ids...)
	mustGetMany(t, mine, ids...)
	rows.setPrice(7, 90)
	for _, where := range []string{"outside InTx", "inside"} {
		mustGetMany(t, mine, ids...)
		invalidate := func(ctx context.Context) error { return mine.InvalidateTags(ctx, "lamps") }
		var err error
		if where == "inside" {
			var inner error
			err = aside.InTx(t.Context(), func(ctx context.Context) error { inner = invalidate(ctx); return nil })
			equal(t, "the error of InTx", err, nil)
			err = inner
		} else {
			err = invalidate(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), "NOPERM") || !strings.Contains(err.Error(), `"b:`) {
			t.Errorf("InvalidateTags %s: %v", where, err)
		}
		left := slices.DeleteFunc(keysWith(rigs["a"], "*:*"), func(key string) bool { return strings.HasPrefix(key, "b:") })
		equal(t, "the entries of its own that are left", len(left), 0)
		equal(t, "PendingInvalidations", mine.Stats().PendingInvalidations, 0)
		equal(t, "the price", mustGet(t, mine, 7).Price, 90)
		hits := mine.Stats().Hits
		mustGet(t, mine, 7)
		equal(t, "the hits", mine.Stats().Hits-hits, 1)
	}
}

// A rule that keeps an application from its own entries is a mistake: then what could not be removed is owed.
func TestOwnEntriesThatMayNotBeTouchedAreOwed(t *testing.T) {
	r := withACL(t, map[string]string{"a": "+@all ~*"})["a"]
	rows := newTable(product{1, "lamps", 100}, product{2, "desks", 100})
	rdb := r.dial(t)
	c := scoped(t, rdb, "a", rows.load)
	sibling := scoped(t, rdb, "sibling", rows.load)
	mustGet(t, c, 1)
	mustGet(t, sibling, 1)
	mustGet(t, sibling, 2)
	acl := func(rules ...any) {
		t.Helper()
		equal(t, "the error of ACL SETUSER", r.raw.Do(t.Context(), append([]any{"ACL", "SETUSER", "a"}, rules...)...).Err(), nil)
	}
	acl("resetkeys", "~aside-tag*")
	rows.setPrice(1, 90)
	if err := c.InvalidateTags(t.Context(), "lamps"); err == nil {
		t.Error("InvalidateTags returned nil")
	}
	equal(t, "Owed by the one", c.Stats().PendingInvalidations, 1)
	equal(t, "Owed by the other", sibling.Stats().PendingInvalidations, 1)
	acl("~*")
	equal(t, "the price of the one", mustGet(t, c, 1).Price, 90)
	equal(t, "the price of the other", mustGet(t, sibling, 1).Price, 90)
	r.until(func() bool { return c.Stats().PendingInvalidations+sibling.Stats().PendingInvalidations == 0 })
	equal(t, "the price of the one", mustGet(t, c, 1).Price, 90)
	equal(t, "the price of the other", mustGet(t, sibling, 1).Price, 90)
	hits := sibling.Stats().Hits
	mustGet(t, sibling, 2)
	equal(t, "the hits of another tag", sibling.Stats().Hits-hits, 1)
}

// aclOfManual returns the rules that docs/security.md gives: for a cache, for tags, for near copies, and for InvalidateAll.
func aclOfManual(t *testing.T) (rules []string) {
	for line := range strings.Lines(strings.Join(blocks(t, "docs/security.md", "text"), "")) {
		if rule, ok := strings.CutPrefix(line, "ACL SETUSER shop "); ok {
			rules = append(rules, strings.TrimPrefix(rule, "on >secret "))
		}
	}
	if len(rules) != 4 {
		t.Fatalf("docs/security.md has %d rules, want 4", len(rules))
	}
	return rules
}
