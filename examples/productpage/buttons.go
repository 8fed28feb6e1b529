package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// What the load offers, in reads a second.
const (
	quiet = 100
	busy  = 300
	peak  = 1000
)

// A button of /live is POST /live/{what}/{how}. The ctx of one is bounded as that of any request.
type button func(ctx context.Context) error

// buttons has them by "what/how". What is built later gets its own here, and a place among the others in page.html.
func (l *live) buttons() map[string]button {
	return map[string]button{
		"load/start":        l.load(true, 0, "load on"),
		"load/stop":         l.load(false, 0, "load off"),
		"load/quiet":        l.load(true, quiet, "quiet"),
		"load/busy":         l.load(true, busy, "busy"),
		"load/peak":         l.load(true, peak, "peak"),
		"cache/on":          l.cache(true),
		"cache/off":         l.cache(false),
		"near/on":           l.near(true),
		"near/off":          l.near(false),
		"redis/kill":        l.killRedis,
		"redis/restore":     l.restoreRedis,
		"invalidate/forget": l.forget,
		"invalidate/again":  l.remember,
		"price/change":      l.changePrice,
		"category/rename":   l.renameCategory,
		"sql/write":         l.writeSQL,
		"counters/reset":    func(context.Context) error { l.startOver(); return nil },
	}
}

// register serves the page, its events and its buttons.
func (l *live) register(mux *http.ServeMux) {
	buttons := l.buttons()
	mux.HandleFunc("GET /live", l.page)
	mux.HandleFunc("GET /live/events", l.events)
	mux.HandleFunc("POST /live/{what}/{how}", func(w http.ResponseWriter, r *http.Request) {
		press, ok := buttons[r.PathValue("what")+"/"+r.PathValue("how")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		endpoint(func(r *http.Request) (any, error) { return struct{}{}, press(r.Context()) }).serve(w, r)
	})
}

// An about is what the page says of the demo.
type about struct {
	Query                time.Duration
	Cores                int
	Capacity             string // "" for any
	Products             int
	Patience             time.Duration
	Quiet, Busy, Peak    int
	Writes               int
	Verify               float64
	EmbeddedDB, OwnRedis bool
	Feed                 bool
	Near                 bool // there can be near copies
}

func (l *live) page(w http.ResponseWriter, r *http.Request) {
	a := about{
		Query: l.app.db.cost.query, Cores: cap(l.app.db.cost.cores), Products: len(l.app.site.ledger.seeded), Patience: patience,
		Quiet: quiet, Busy: busy, Peak: peak, Writes: writeRate,
		Verify: l.app.seeing.verify, EmbeddedDB: l.app.embeddedDB, OwnRedis: l.app.ownRedis,
		Feed: l.app.feed != nil, Near: l.app.nearby != nil,
	}
	if c := l.app.db.cost.capacity(); c > 0 {
		a.Capacity = english.Sprintf("%.0f", c)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	pages.ExecuteTemplate(w, "live", a)
}

// events sends news as server-sent events, until the browser leaves.
func (l *live) events(w http.ResponseWriter, r *http.Request) {
	updates, end := l.watch()
	defer end()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	for {
		select {
		case n, ok := <-updates:
			if !ok {
				return
			}
			body, err := json.Marshal(n)
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(w, "data: %s\n\n", body); err != nil || out.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-l.closed.Done():
			return
		}
	}
}

// load switches the load, and if rate is not 0, to that.
func (l *live) load(on bool, to float64, mark string) button {
	return func(context.Context) error {
		rate := l.setLoad(on, to)
		text := "The load has stopped."
		if on {
			text = english.Sprintf("The load is %.0f reads a second.", rate)
		}
		l.note(mark, text)
		return nil
	}
}

func (l *live) cache(on bool) button {
	return func(context.Context) error {
		l.app.site.uncached.Store(!on)
		if on {
			l.note("cache on", "The cache is on: reads go through Redis.")
		} else {
			l.note("cache off", "The cache is off: each read is a database query.")
		}
		return nil
	}
}

func (l *live) near(on bool) button {
	return func(context.Context) error {
		if l.app.nearby == nil {
			return fmt.Errorf("%w: the program was started with -near 0", errBadRequest)
		}
		l.app.site.near.Store(on)
		if on {
			l.note("near copies", "Near copies are on: what was read lately comes from the memory of this process, and a write waits until no process has a copy of it.")
		} else {
			l.note("no near copies", "Near copies are off: each read asks Redis.")
		}
		return nil
	}
}

func (l *live) killRedis(context.Context) error {
	l.app.line.kill()
	l.note("Redis killed", "Redis is dead: its connections broke, and new ones are refused. Reads go to the database; those of one product at once share a query.")
	return nil
}

func (l *live) restoreRedis(context.Context) error {
	l.app.line.restore()
	l.note("Redis back", "Redis is back, with the entries that it had. What was written meanwhile is invalidated before anything is read from it.")
	return nil
}

func (l *live) forget(context.Context) error {
	l.app.site.forget()
	text := "Writes forget to invalidate: Redis goes on serving what it has."
	if l.app.feed != nil {
		text = "Writes forget to invalidate. The feed reads of them in the log of Postgres, and invalidates: they are stale until it has."
	}
	l.note("invalidation forgotten", text)
	return nil
}

func (l *live) remember(ctx context.Context) error {
	text := "Writes invalidate again. InvalidateAll removed what was forgotten."
	if err := l.app.site.remember(ctx); err != nil {
		text = fmt.Sprintf("Writes invalidate again. InvalidateAll is tried until it succeeds, and nothing is read from Redis before: %v.", err)
	}
	l.note("invalidation again", text)
	return nil
}

// changePrice changes that of the product that is read most, and tells what the next reads see.
func (l *live) changePrice(ctx context.Context) error {
	id := l.app.site.ledger.seeded[0].ID
	before, err := l.app.db.ProductByID(ctx, id)
	if err != nil {
		return err
	}
	cents := int64(990) + (before.Cents+310-990)%5000
	after, err := l.app.site.SetPrice(ctx, id, cents)
	if err != nil {
		return err
	}
	story := fmt.Sprintf("%s costs %s instead of %s.", after.Name, money(cents), money(before.Cents))
	for _, which := range []string{"The next read", "The one after"} {
		story += " " + readBack(ctx, which, after.Version, func(ctx context.Context) (string, int64, error) {
			p, err := l.app.site.ProductByID(ctx, id)
			return money(p.Cents), p.Version, err
		})
	}
	l.note("price", story)
	return nil
}

// writeSQL changes the same price by plain SQL, as somebody does who has never heard of the cache, and tells when the feed has invalidated it.
func (l *live) writeSQL(ctx context.Context) error {
	if l.app.feed == nil {
		return errNoFeed
	}
	p := l.app.site.ledger.seeded[0]
	cents, err := l.app.site.setPriceBySQL(ctx, p.ID)
	if err != nil {
		return err
	}
	start := time.Now()
	for stale := 0; ; stale++ {
		seen, err := l.app.site.ProductByID(ctx, p.ID)
		if err != nil {
			return err
		}
		if seen.Cents == cents {
			l.note("SQL", fmt.Sprintf("By plain SQL, %s costs %s. Nothing told the cache, but Postgres told the feed: the price was to be read after %.1f ms. Reads in between that saw the old one: %d.",
				p.Name, money(cents), milliseconds(time.Since(start)), stale))
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// renameCategory renames that of the same product: by a tag, since nobody knows by which keys its pages are cached.
func (l *live) renameCategory(ctx context.Context) error {
	first := l.app.site.ledger.seeded[0]
	before, err := l.app.db.CategoryByID(ctx, first.CategoryID)
	if err != nil {
		return err
	}
	name := first.Category
	if before.Name == name {
		name += "s & co"
	}
	after, err := l.app.site.RenameCategory(ctx, before.ID, name)
	if err != nil {
		return err
	}
	story := fmt.Sprintf("%s is called %s now, on the pages of %d products.", before.Name, name, before.Products)
	for _, which := range []string{"The next read of one", "The one after"} {
		story += " " + readBack(ctx, which, after.Version, func(ctx context.Context) (string, int64, error) {
			p, err := l.app.site.ProductBySlug(ctx, first.Shop, first.Slug)
			return p.Category, p.CategoryVersion, err
		})
	}
	l.note("rename", story)
	return nil
}

// readBack tells what a read sees after a write. It should see at least the version of that write.
func readBack(ctx context.Context, which string, version int64, read func(context.Context) (saw string, v int64, err error)) string {
	var from source
	start := time.Now()
	saw, v, err := read(noting(ctx, &from))
	took := milliseconds(time.Since(start))
	switch {
	case err != nil:
		return fmt.Sprintf("%s fails: %v.", which, err)
	case v < version:
		return fmt.Sprintf("%s still sees %s, from %s in %.2f ms: it is stale.", which, saw, theWord(from.From), took)
	default:
		return fmt.Sprintf("%s sees it, from %s in %.2f ms.", which, theWord(from.From), took)
	}
}

func theWord(from string) string {
	if from == fromDatabase {
		return "the database"
	}
	return from
}

func money(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
