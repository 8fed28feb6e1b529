package aside_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// A proxyError is made as pgx.ErrNoRows is since pgx 5.7: it is sql.ErrNoRows by errors.Is, and has a text of its own.
type proxyError struct{ error }

func (proxyError) Error() string   { return "no rows in result set" }
func (p proxyError) Unwrap() error { return p.error }

// A mirror claims to be whatever claims to be it.
type mirror struct{ of error }

func (m *mirror) Error() string        { return "a mirror" }
func (m *mirror) Is(target error) bool { return errors.Is(target, m.of) }

// A noProduct is a not-found error that is a type.
type noProduct struct{ ID int }

func (e noProduct) Error() string { return fmt.Sprintf("no product %d", e.ID) }

func isNoProduct(err error) bool { return errors.As(err, new(noProduct)) }

func noProductOf(id int) error { return noProduct{id} }

// absences are the errors for the absent row of 1, by how its reader learns of it. answer is what the loader does.
func absences(t *testing.T, r *rig, answer func() (*product, error), opts ...aside.Option) map[string]error {
	r.flush()
	start := make(chan struct{})
	load := func(context.Context, int) (*product, error) { <-start; return answer() }
	batch := func(context.Context, []int) (map[int]*product, error) {
		if p, err := answer(); err != nil {
			return nil, err
		} else if p != nil {
			return map[int]*product{1: p}, nil
		}
		return nil, nil
	}
	found := make(map[string]error)
	var many error // what the Observer is told of a GetMany
	told := aside.WithObserver(aside.Observer{Read: func(_ context.Context, r aside.ReadInfo) { many = r.Err }})
	getMany := func(how string, c *aside.Cache[int, *product], ctx context.Context) {
		if rows, err := c.GetMany(ctx, []int{1}); len(rows) > 0 || err != nil {
			t.Errorf("%s: GetMany returned %v, %v", how, rows, err)
		}
		found[how] = many
	}

	c, _ := steady(r, load, opts...)
	other, _ := steady(r, load, opts...)
	batched, _ := steady(r, load, append(opts, aside.WithBatch(batch), told)...)
	first, joiner := make(chan error), make(chan error)
	go func() { _, err := c.Get(t.Context(), 1); first <- err }()
	synctest.Wait()
	go func() { _, err := c.Get(t.Context(), 1); joiner <- err }()
	synctest.Wait()
	close(start)
	found["loaded"], found["joined"] = <-first, <-joiner
	_, found["remembered"] = c.Get(t.Context(), 1)
	_, found["remembered by another process"] = other.Get(t.Context(), 1)
	equal(t, "the number of loads", c.Stats().Loads+other.Stats().Loads, 1)
	_, found["loaded under Bypass"] = c.Get(aside.Bypass(t.Context()), 1)
	getMany("remembered, of many", batched, t.Context())
	getMany("batched under Bypass", batched, aside.Bypass(t.Context()))
	r.del("test:1")
	getMany("batched", batched, t.Context())
	return found
}

func TestEveryAbsenceAnswersForEveryWayToSayThatThereIsNoRow(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		record, gone := errors.New("record not found"), errors.New("gone") // GORM's, and one that others wrap
		userGone := fmt.Errorf("user: %w", gone)
		other, err := aside.New(r.dial(t), "other", func(context.Context, int) (int, error) { return 0, sql.ErrNoRows })
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		_, loadedElsewhere := other.Get(t.Context(), 1)
		_, rememberedElsewhere := other.Get(t.Context(), 1)
		ways := map[string]error{
			"ErrNotFound": aside.ErrNotFound, "sql.ErrNoRows": sql.ErrNoRows, "as pgx says it": proxyError{sql.ErrNoRows},
			"wrapped": fmt.Errorf("product 1: %w", sql.ErrNoRows), "by a method Is": &mirror{sql.ErrNoRows},
			"WithNotFound": record, "WithNotFound, wrapped": fmt.Errorf("product 1: %w", record), "by a method Is, WithNotFound": &mirror{record},
			"WithNotFound, which wraps": userGone,
			"another Cache's":           loadedElsewhere, "another Cache's, remembered": rememberedElsewhere,
			"no error": nil,
		}
		for way, said := range ways {
			answer := func() (*product, error) { return nil, said }
			for how, err := range absences(t, r, answer, aside.WithNotFound(record, userGone)) {
				for target, want := range ways {
					if want != nil && !errors.Is(err, want) {
						t.Errorf("said by %s, %s: %v does not answer for %s", way, how, err, target)
					}
				}
				if !errors.Is(err, gone) {
					t.Errorf("said by %s, %s: %v does not answer for what an error of WithNotFound wraps", way, how, err)
				}
				if errors.Is(err, io.EOF) || errors.Is(err, proxyError{io.EOF}) || errors.Is(err, nil) {
					t.Errorf("said by %s, %s: %v answers for errors that say something else", way, how, err)
				}
			}
		}
	})
}

func TestErrorsThatAreComparedWithEachOtherDoNotRecurseForEver(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		none := func(context.Context, int) (int, error) { return 0, aside.ErrNotFound }
		one, _ := steady(r, none)
		_, first := one.Get(t.Context(), 1)
		two, _ := steady(r, none, aside.WithNotFound(first, aside.ErrNotFound, &mirror{first}))
		_, second := two.Get(t.Context(), 1)
		self := &mirror{}
		self.of = second
		for _, err := range []error{first, second} {
			for _, target := range []error{first, second, fmt.Errorf("%w, %w", first, second)} {
				equal(t, fmt.Sprintf("whether %v is %v", err, target), errors.Is(err, target), true)
			}
			for _, target := range []error{&mirror{first}, &mirror{second}, self} {
				_ = errors.Is(err, target) // whatever it says, it says it
			}
		}
	})
}

func TestEveryAbsenceIsTheTypeOfErrorThatWithNotFoundFuncMakes(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		for way, said := range map[string]error{
			"the type": noProduct{1}, "the type, wrapped": fmt.Errorf("shop: %w", noProduct{1}),
			"sql.ErrNoRows": sql.ErrNoRows, "WithNotFound": io.EOF, "no error": nil,
		} {
			answer := func() (*product, error) { return nil, said }
			opts := []aside.Option{aside.WithNotFoundFunc(isNoProduct, noProductOf), aside.WithNotFound(io.EOF)}
			for how, err := range absences(t, r, answer, opts...) {
				var typed noProduct
				if !errors.As(err, &typed) || typed.ID != 1 || !errors.Is(err, noProduct{1}) || errors.Is(err, noProduct{2}) {
					t.Errorf("said by %s, %s: %v is not the error of the key", way, how, err)
				}
				if !errors.Is(err, aside.ErrNotFound) || !errors.Is(err, io.EOF) {
					t.Errorf("said by %s, %s: %v does not answer for what other absences answer for", way, how, err)
				}
				if strings.HasPrefix(how, "remembered") {
					equal(t, "the text, "+how, err.Error(), "no product 1")
				} else if said != nil && how != "batched under Bypass" { // where the Observer is told what GetMany says of it
					equal(t, "the text, "+how, err.Error(), said.Error())
				}
			}
		}
	})
}

// What WithNotFoundFunc makes may say more than the loader did: also that must not depend on whether the absence is remembered.
func TestEveryAbsenceAnswersForAllThatWithNotFoundFuncSaysOfItsKey(t *testing.T) {
	noSuchPage := errors.New("no such page")
	more := aside.WithNotFoundFunc(isNoProduct, func(id int) error { return fmt.Errorf("%w: %w", noSuchPage, noProduct{id}) })
	onMiniredis(t, func(t *testing.T, r *rig) {
		for way, said := range map[string]error{"the type": noProduct{1}, "sql.ErrNoRows": sql.ErrNoRows, "no error": nil} {
			for how, err := range absences(t, r, func() (*product, error) { return nil, said }, more) {
				if !errors.Is(err, noSuchPage) || !isNoProduct(err) || !errors.Is(err, aside.ErrNotFound) {
					t.Errorf("said by %s, %s: %v does not answer for all of it", way, how, err)
				}
			}
		}
	})
}

func TestARememberedAbsenceNamesTheCacheAndTheRedisKey(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for _, opts := range [][]aside.Option{
			nil, {aside.WithNotFoundFunc(isNoProduct, func(int) error { return nil })},
		} {
			r.flush()
			c, _ := process(r, newTable().load, opts...)
			_, err := c.Get(t.Context(), 7)
			equal(t, "the text of what was loaded", err.Error(), sql.ErrNoRows.Error())
			_, err = c.Get(t.Context(), 7)
			equal(t, "the text", err.Error(), `aside: not found: cache "test" has no row for "test:7"`)
		}
	})
}

// panicOf returns what fn panics with.
func panicOf(fn func()) (with any) {
	defer func() { with = recover() }()
	fn()
	return nil
}

func TestAPanicInWithNotFoundFuncReachesTheCallersOfTheLoadAndGivesItsLeaseBack(t *testing.T) {
	for name, option := range map[string]aside.Option{
		"is":         aside.WithNotFoundFunc(func(error) bool { panic("boom") }, noProductOf),
		"remembered": aside.WithNotFoundFunc(isNoProduct, func(int) error { panic("boom") }),
	} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable()
				if name == "is" {
					rows.fail(io.EOF)
				}
				c, _ := steady(r, rows.load, option, aside.WithBatch(rows.loadMany))
				for ctx, how := range map[context.Context]string{t.Context(): "Redis", aside.Bypass(t.Context()): "Bypass"} {
					equal(t, "what Get panics with, "+how, panicOf(func() { _, _ = c.Get(ctx, 1) }), any("boom"))
					equal(t, "what GetMany panics with, "+how, panicOf(func() { _, _ = c.GetMany(ctx, []int{1, 2}) }), any("boom"))
				}
				equal(t, "the leases that are left", r.get("test:1")+r.get("test:2"), "")
				equal(t, "LoadErrors", c.Stats().LoadErrors, 4)
			})
		})
	}
}

func TestAPanicInWithNotFoundFuncDuringARefreshLeavesTheValue(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		opts := append(stale, aside.WithNotFoundFunc(func(error) bool { panic("boom") }, noProductOf), aside.WithBatch(rows.loadMany))
		c, _ := steady(r, rows.load, opts...)
		mustGet(t, c, 1)
		rows.fail(io.EOF)
		for range 2 {
			time.Sleep(2 * time.Minute)
			equal(t, "the price", mustGet(t, c, 1).Price, 100)
			synctest.Wait()
			time.Sleep(2 * time.Minute)
			equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1)), "1:100")
			synctest.Wait()
		}
		equal(t, "LoadErrors", c.Stats().LoadErrors, 4)
	})
}

// It is found there, or adopted when another process has loaded it.
func TestAPanicInWithNotFoundFuncReachesWhoFindsARememberedAbsence(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		start := make(chan struct{})
		holder, _ := steady(r, func(context.Context, int) (product, error) { <-start; return product{}, sql.ErrNoRows })
		rows := newTable(product{2, "desk", 200})
		c, _ := steady(r, rows.load, aside.WithNotFoundFunc(isNoProduct, func(int) error { panic("boom") }))
		go func() { _, _ = holder.Get(t.Context(), 1) }()
		synctest.Wait() // it has the lease
		get := func() { _, _ = c.Get(t.Context(), 1) }
		getMany := func() { _, _ = c.GetMany(t.Context(), []int{1, 2}) }
		waiters := make(chan any)
		for _, read := range []func(){get, getMany} {
			go func() { waiters <- panicOf(read) }()
		}
		synctest.Wait()
		close(start)
		for range 2 {
			equal(t, "what a waiter panics with", <-waiters, any("boom"))
		}
		for _, read := range []func(){get, getMany} {
			equal(t, "what a reader panics with", panicOf(read), any("boom"))
		}
		equal(t, "the price of the other key", mustGet(t, c, 2).Price, 200)
		equal(t, "the number of its loads", rows.loads.Load(), 1)
	})
}

// The error of an absent hit names its key, so it is made for each; nothing else is.
func TestAnAbsentHitAllocatesItsErrorAndOtherwiseABareGet(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector allocates too; run go test without -race")
	}
	r := realRig(t)
	c := newCache(t, r.raw, newTable().load, patient)
	_, _ = c.Get(t.Context(), 1234)
	id := 1234
	bare := testing.AllocsPerRun(1000, func() {
		if _, err := r.raw.Get(context.Background(), fmt.Sprint("test:", id)).Bytes(); err != nil {
			t.Fatal(err)
		}
	})
	hit := testing.AllocsPerRun(1000, func() {
		if _, err := c.Get(context.Background(), id); !errors.Is(err, aside.ErrNotFound) {
			t.Fatal(err)
		}
	})
	if hit > bare+1 {
		t.Errorf("an absent hit allocates %v times, a bare GET %v times", hit, bare)
	}
}
