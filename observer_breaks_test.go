package aside_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
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
