package main

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/asidecache/aside"
)

const (
	tick    = 500 * time.Millisecond
	history = 180 // ticks that a page shows at first
)

// A live is what /live shows and switches: a load on the site, what it comes to each half second, and what somebody did.
//
// It ticks from newLive until close. Before its first load it reads each page once: a shop does not open at its peak. The load
// runs while it is switched on, as it is at first, and somebody watches. Each watcher is sent all that is remembered, and then what is new; one that does not keep up is hung up on, and its browser comes again.
type live struct {
	app    *app
	meter  meter
	start  time.Time
	closed context.Context
	leave  func() // ends what watchers wait for
	wg     sync.WaitGroup

	mu       sync.Mutex
	watchers map[chan news]bool
	warm     bool
	samples  []sample // the last ones
	notes    []note   // the same
	loading  bool
	rate     float64
	running  float64  // the rate of the load that runs now, or 0
	traffic  *traffic // that load
	end      func()   // ends it
	checked  int      // products in answers, since the counters were last reset
	stale    int
	verified verified  // the same
	told     time.Time // when a stale entry was noted
}

// A sample is what half a second came to. Rates are by the second.
type sample struct {
	At      float64  `json:"at"` // seconds since the start
	Offered float64  `json:"offered"`
	Reads   float64  `json:"reads"`
	GaveUp  float64  `json:"gave_up"`
	Failed  float64  `json:"failed"`
	Queries float64  `json:"queries"`
	Writes  float64  `json:"writes"`
	Sent    float64  `json:"commands"` // to Redis
	Hit     *float64 `json:"hit"`      // of 1; nil if no cache was asked
	Near    *float64 `json:"near"`     // the part of it that came from memory
	P50     *float64 `json:"p50"`      // in milliseconds; nil without reads
	P99     *float64 `json:"p99"`
	Checked int      `json:"checked"` // since the counters were last reset
	Stale   int      `json:"stale"`
	Behind  *float64 `json:"behind"` // how many milliseconds the feed may be behind; nil if there is none
	// Verified are the hits that were compared with the database, and Found the stale ones among them: what one sees without the checker.
	Verified int `json:"verified"`
	Found    int `json:"found"`
}

// A note is what somebody did. Mark is its short form, in the charts.
type note struct {
	At   float64 `json:"at"`
	Mark string  `json:"mark,omitempty"`
	Text string  `json:"text"`
}

// A state is how everything is switched. Down is whether the caches know that Redis is.
type state struct {
	Load   bool    `json:"load"`
	Rate   float64 `json:"rate"`
	Cache  bool    `json:"cache"`
	Near   bool    `json:"near"`
	Redis  bool    `json:"redis"`
	Down   bool    `json:"down"`
	Forget bool    `json:"forget"`
}

// news is what a watcher is sent.
type news struct {
	Reset   bool     `json:"reset"` // forget what was sent before
	State   state    `json:"state"`
	Samples []sample `json:"samples"`
	Notes   []note   `json:"notes"`
}

func newLive(a *app) *live {
	l := &live{app: a, start: time.Now(), watchers: map[chan news]bool{}, loading: true, rate: peak}
	tell := l.found
	a.seeing.stale.Store(&tell)
	l.closed, l.leave = context.WithCancel(context.Background())
	l.note("", "Each page is read once, as in a shop that has been open for a while. The load begins after that.")
	l.wg.Go(l.run)
	l.wg.Go(l.warmUp)
	return l
}

// warmUp ends with the first load, whatever becomes of the reads.
func (l *live) warmUp() {
	err := l.app.warmUp(l.closed)
	if l.closed.Err() != nil {
		return
	}
	if err != nil {
		slog.Warn("not every page could be read", "error", err)
	}
	l.note("", "Each page has been read once. From now on the load runs while somebody watches.")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warm = true
	l.steer()
}

// close waits until nothing is under way.
func (l *live) close() {
	l.mu.Lock() // steer starts nothing more
	l.leave()
	l.mu.Unlock()
	l.wg.Wait()
}

// now is the time as the page has it.
func (l *live) now() float64 { return time.Since(l.start).Seconds() }

// run takes a sample at each tick.
func (l *live) run() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last, queries, sent, lookups, verified := time.Now(), l.app.db.Queries(), l.app.sent.commands.Load(), l.app.lookups(), l.app.verified()
	for {
		select {
		case <-ticker.C:
		case <-l.closed.Done():
			return
		}
		now, q, n, lk, v := time.Now(), l.app.db.Queries(), l.app.sent.commands.Load(), l.app.lookups(), l.app.verified()
		s := sampleOf(l.meter.take(), now.Sub(last), q-queries, n-sent, lk.since(lookups))
		if l.app.feed != nil {
			behind := milliseconds(l.app.feed.Stats().Behind)
			s.Behind = &behind
		}
		l.add(s, v.since(verified))
		last, queries, sent, lookups, verified = now, q, n, lk, v
	}
}

func sampleOf(t tally, took time.Duration, queries, sent int64, lookups lookups) sample {
	rate := func(n int) float64 { return float64(n) / took.Seconds() }
	s := sample{
		Offered: rate(t.offered()), Reads: rate(t.reads), GaveUp: rate(t.gaveUp), Failed: rate(t.failed),
		Queries: rate(int(queries)), Writes: rate(t.writes), Sent: rate(int(sent)),
		Checked: t.checked, Stale: t.stale,
	}
	if ratio, ok := lookups.ratio(); ok {
		near := lookups.share(lookups.near)
		s.Hit, s.Near = &ratio, &near
	}
	if t.latency.count > 0 {
		p50, p99 := milliseconds(t.latency.quantile(0.50)), milliseconds(t.latency.quantile(0.99))
		s.P50, s.P99 = &p50, &p99
	}
	return s
}

// add remembers a sample, whose counters are what is new, and sends it.
func (l *live) add(s sample, v verified) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checked += s.Checked
	l.stale += s.Stale
	l.verified.all += v.all
	l.verified.stale += v.stale
	s.At, s.Checked, s.Stale, s.Verified, s.Found = l.now(), l.checked, l.stale, l.verified.all, l.verified.stale
	l.samples = lastOf(append(l.samples, s), history)
	l.send(news{Samples: []sample{s}})
}

// note remembers what somebody did, and sends it.
func (l *live) note(mark, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := note{l.now(), mark, text}
	l.notes = lastOf(append(l.notes, n), history)
	l.send(news{Notes: []note{n}})
}

// found notes a stale entry that verification has found, and then none for ten seconds: there will be more.
func (l *live) found(v aside.VerifyInfo) {
	l.mu.Lock()
	silent := time.Since(l.told) < 10*time.Second
	if !silent {
		l.told = time.Now()
	}
	l.mu.Unlock()
	if !silent {
		l.note("found", tellStale(v))
	}
}

func lastOf[T any](all []T, n int) []T { return all[max(len(all)-n, 0):] }

// send tells every watcher; mu is held.
func (l *live) send(n news) {
	n.State = l.state()
	for w := range l.watchers {
		select {
		case w <- n:
		default:
			l.drop(w)
		}
	}
}

// state is called with mu held.
func (l *live) state() state {
	down := false
	for _, s := range l.app.cached.Stats() {
		down = down || s.Down
	}
	return state{
		Load: l.loading, Rate: l.rate, Cache: !l.app.site.uncached.Load(), Near: l.app.site.near.Load(), Redis: !l.app.line.cut(),
		Down: down, Forget: l.app.site.forgetful.Load(),
	}
}

// watch returns a channel of news that is closed for a watcher that does not keep up, and what ends the watching.
func (l *live) watch() (updates <-chan news, end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := make(chan news, 20)
	l.watchers[w] = true
	w <- l.all()
	l.steer()
	return w, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.drop(w)
	}
}

// all is what a watcher is sent first; mu is held.
func (l *live) all() news {
	return news{Reset: true, State: l.state(), Samples: l.samples, Notes: l.notes}
}

// drop is called with mu held, and may be called again.
func (l *live) drop(w chan news) {
	if l.watchers[w] {
		delete(l.watchers, w)
		close(w)
		l.steer()
	}
}

// steer has the load run that should, if any; mu is held. It returns the load that it ended: reads
// of it may be under way.
func (l *live) steer() (ended *traffic) {
	rate := 0.0
	if l.loading && l.warm && len(l.watchers) > 0 && l.closed.Err() == nil {
		rate = l.rate
	}
	if rate == l.running {
		return nil
	}
	if l.running > 0 {
		l.end()
		ended = l.traffic
	}
	if l.running = rate; rate > 0 {
		ctx, cancel := context.WithCancel(l.closed)
		l.traffic, l.end = &traffic{site: l.app.site, meter: &l.meter, forgive: 50 * time.Millisecond}, cancel
		l.traffic.start(ctx, rate)
		l.wg.Go(l.traffic.wait)
	}
	return ended
}

// setLoad switches the load, to a rate or, with 0, to that which it had, and returns its rate. Nothing of the load before is
// under way then.
func (l *live) setLoad(on bool, rate float64) float64 {
	l.mu.Lock()
	l.loading, l.rate = on, cmp.Or(rate, l.rate)
	rate, ended := l.rate, l.steer()
	l.mu.Unlock()
	if ended != nil {
		ended.wait()
	}
	return rate
}

// startOver forgets what was counted.
func (l *live) startOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meter.take()
	l.samples, l.notes, l.checked, l.stale, l.verified = nil, nil, 0, 0, verified{}
	l.send(l.all())
}
