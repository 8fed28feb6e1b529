package aside_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

// Observers and loggers that panic, end their goroutine or ask for little.

// A brokenHandler does something else than to log.
type brokenHandler struct{ instead func() }

func (h brokenHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (h brokenHandler) Handle(context.Context, slog.Record) error { h.instead(); return nil }
func (h brokenHandler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h brokenHandler) WithGroup(string) slog.Handler             { return h }

// A handler is asked whether it wants a line, and that may break as well.
type choosyHandler struct {
	slog.Handler
	ask func() bool
}

func (h choosyHandler) Enabled(context.Context, slog.Level) bool { return h.ask() }

func TestALoggerIsAskedWhatItWants(t *testing.T) {
	asks := map[string]func() bool{
		"nothing":                 func() bool { return false },
		"it panics":               func() bool { panic("hook") },
		"it calls runtime.Goexit": func() bool { runtime.Goexit(); return true },
	}
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				lines := 0
				logs := choosyHandler{brokenHandler{func() { lines++ }}, ask}
				c, _ := steady(r, func(context.Context, int) (product, error) { panic("boom") }, aside.WithLogger(slog.New(logs)))
				equal(t, "what Get panics with", raisedIn(c), any("boom"))
				equal(t, "the lines", lines, 0)
			})
		})
	}
}

// It is told in the log, not on every read.
func TestAnObserverThatBreaksIsLoggedOnceInAWhile(t *testing.T) {
	for how, breaks := range breaking() {
		t.Run("it "+how, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				lines := 0
				c, _ := steady(r, newTable(product{1, "lamp", 100}).load, aside.WithLogger(slog.New(brokenHandler{func() { lines++ }})),
					aside.WithObserver(aside.Observer{
						Load: func(context.Context, aside.LoadInfo) { breaks() },
						Fill: func(context.Context, aside.FillInfo) { breaks() },
					}))
				mustGet(t, c, 1)
				equal(t, "the lines", lines, 1)
				time.Sleep(20 * time.Second)
				mustInvalidate(t, c, 1)
				mustGet(t, c, 1)
				equal(t, "the lines, later", lines, 2)
			})
		})
	}
}

func TestEachObserverIsToldInTheOrderGiven(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var order []string
		read := func(who string) aside.Option {
			return aside.WithObserver(aside.Observer{Read: func(context.Context, aside.ReadInfo) { order = append(order, who) }})
		}
		c, _ := steady(r, newTable(product{1, "lamp", 100}).load, read("a"), aside.WithObserver(aside.Observer{}), read("b"))
		mustGet(t, c, 1)
		equal(t, "who was told", fmt.Sprint(order), "[a b]")
	})
}

// Without that, nothing is logged for an hour once the clock has been set back by one.
func TestWhatIsLoggedSeldomGoesByTheMonotonicClock(t *testing.T) {
	now := time.Now()
	log := aside.Seldom()
	equal(t, "the first", log(now), true)
	equal(t, "after 9 s", log(now.Add(9*time.Second)), false)
	equal(t, "after 9 s, when the clock was set on by an hour", log(aside.Stepped(now.Add(9*time.Second), time.Hour)), false)
	equal(t, "after 11 s, when the clock was set back by an hour", log(aside.Stepped(now.Add(11*time.Second), -time.Hour)), true)
}

// A lease that is not given back would be renewed for ever, and its place never be free again.
func TestAnObserverOrLoggerThatBreaksEndsNothingElse(t *testing.T) {
	for how, breaks := range breaking() {
		observer := aside.Observer{
			Load:       func(context.Context, aside.LoadInfo) { breaks() },
			Fill:       func(context.Context, aside.FillInfo) { breaks() },
			Invalidate: func(context.Context, aside.InvalidateInfo) { breaks() },
			Removed:    func(context.Context, aside.RemovedInfo) { breaks() },
			RedisError: func(context.Context, aside.RedisErrorInfo) { breaks() },
			Down:       func(aside.DownInfo) { breaks() },
		}
		if how == "panics" { // a Goexit in Read is the caller's own
			observer.Read = func(context.Context, aside.ReadInfo) { breaks() }
		}
		t.Run("it "+how, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
				load := func(ctx context.Context, id int) (product, error) {
					if id == 666 {
						panic("loader")
					}
					return rows.load(ctx, id)
				}
				y := new(tally)
				c, tap := steady(r, load, append(stale, aside.WithMaxLoads(1), aside.WithLogger(slog.New(brokenHandler{breaks})),
					aside.WithObserver(observer), aside.WithObserver(y.observer()))...)
				for range 2 {
					equal(t, "the price of a miss or a hit", mustGet(t, c, 1).Price, 100)
				}
				equal(t, "Hits", c.Stats().Hits, 1)
				func() {
					defer func() { equal(t, "what Get panics with", recover(), any("loader")) }()
					_, _ = c.Get(t.Context(), 666)
				}()
				time.Sleep(5 * time.Second) // the lease is seen to have been returned for a second
				equal(t, "the document of a load that panicked", r.get("test:666"), "")
				mustGetMany(t, c, 1, 2)
				mustInvalidate(t, c, 1, 2)
				if err := c.InvalidateAll(t.Context()); err != nil {
					t.Error(err)
				}
				mustGet(t, c, 1)
				rows.fail(errors.New("no"))
				time.Sleep(2 * time.Minute)
				equal(t, "the price while a refresh fails", mustGet(t, c, 1).Price, 100)
				synctest.Wait()
				rows.fail(nil)
				tap.down()
				for range 3 {
					equal(t, "the price when Redis is down", mustGet(t, c, 2).Price, 200)
				}
				equal(t, "Down", c.Stats().Down, true)
				for _, verb := range []string{"get", "exists", "srem", "lease", "fill"} {
					tap.answer(verb, nil)
				}
				r.until(func() bool { return !c.Stats().Down })
				mustGet(t, c, 2)
				mustGet(t, c, 2)
				equal(t, "Loading", c.Stats().Loading, 0)
				synctest.Wait()
				equal(t, "what the other Observer counts", fmt.Sprintf("%+v", y.Stats), fmt.Sprintf("%+v", told(c.Stats())))
			})
		})
	}
}
