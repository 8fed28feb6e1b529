package engine

import (
	"bytes"
	"context"
	"time"

	"github.com/asidecache/aside/internal/diff"
	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/durations"
	"github.com/asidecache/aside/internal/redisstore"
)

// A verifier compares hits with what the loader returns, a few of them in each second. So a writer that forgets to invalidate is
// found where it happens. This is the life of one verification:
//
//	sighted    the sieve has chosen a hit. Its document is kept, and the reader goes on
//	           round: load twice; does a read still get that document?
//	match      the first load returned what the hit did
//	unstable   the two loads differ
//	overtaken  a read would get another document, or none: an invalidation was under way
//	suspect    else. After a second another round decides:
//	stale      it ended as the first did. It is told, and two more rounds, at 10 and at 60 seconds, log whether it lasts
//
// No clock is compared: the document itself is the witness. A write removes it, or a hold does before the write can be seen, so
// one that is still there when the loader has returned something else for a second was not invalidated.
//
// A verification ends without a verdict if it cannot be made: the loader fails, no place is free, an invalidation is pending in
// this process, or Redis was not reached within the last seconds. Then the writers of other processes may not have reached it either,
// and are about to.
type verifier struct {
	*Core
	Sieve  sieve
	logged Seldom
}

// The times of the rounds, after the first one, and after the lag of replicas of the database.
var verifyAgain = [...]time.Duration{time.Second, 10 * time.Second, time.Minute}

// settling is how long nothing is verified after a failure to reach Redis. Other processes probe
// Redis once in a second. Once a probe has found it, they try again at least once in a second what
// is pending.
const settling = 3 * time.Second

// A Sighting is a hit that is verified.
type Sighting struct {
	Name    string
	ctx     context.Context // of the loads
	newWant func() *Want    // makes one of the key
	Entry   document.Entry  // that was read; None for a near copy
	Got     *Want           // has the value, or the absence, that the reader got; of a near copy at once, else once it is decoded
	Of      Witness
	Near    bool
}

func newVerifier(c *Core, perSecond float64) *verifier {
	v := &verifier{Core: c}
	v.Sieve.init(perSecond, &c.background)
	return v
}

// Sights returns a sighting if the hit of a document may be verified, else nil. It is called before the document is decoded, as a
// codec may keep and change what it decodes.
func (c *Core) Sights(m *Mode, name string, e *document.Entry) *Sighting {
	if c.Verifier == nil {
		return nil
	}
	return c.Verifier.sights(m, name, e)
}

func (v *verifier) sights(m *Mode, name string, e *document.Entry) *Sighting {
	if !v.Sieve.Passes(name) || m.inTx() {
		return nil
	}
	s := &Sighting{Name: name, Entry: *e, Of: WitnessOf(e)}
	s.Entry.Value, s.Entry.Token, s.Entry.Tags = bytes.Clone(e.Value), nil, nil
	return s
}

// settled reports whether Redis was reached all the time lately.
func (v *verifier) settled() bool {
	lost := v.unreached.Load()
	return lost == nil || time.Since(*lost) >= settling
}

// Start verifies a hit in the background, if it has its turn. newWant makes a want of its key.
func (v *verifier) Start(ctx context.Context, s *Sighting, newWant func() *Want) {
	if !v.settled() || !v.Sieve.take(s.Name) {
		return
	}
	begun := false
	defer func() {
		if !begun { // also if the user's code in refreshCtx has ended this goroutine
			v.Sieve.done(s.Name)
		}
	}()
	loadCtx, err := v.refreshCtx(ctx) // nobody waits for these loads, as for those of a refresh
	if err != nil {
		return
	}
	s.ctx, s.newWant = loadCtx, newWant
	begun = v.background.Start(func() { v.verify(s) })
}

// verify makes the rounds.
func (v *verifier) verify(s *Sighting) {
	defer v.Sieve.done(s.Name)
	if s.Got == nil && !v.decode(s) {
		return
	}
	found, ok := v.round(s)
	if !ok {
		return
	}
	if found.verdict != Stale {
		v.tell(s, found.verdict)
		return
	}
	began, told := time.Now(), false
	for _, after := range verifyAgain {
		if !v.background.Pause(durations.Saturated(v.longestLag(), after) - time.Since(began)) {
			return
		}
		switch found, ok = v.round(s); {
		case !ok: // the next may
		case found.verdict == Stale:
			v.warn(s, found.at)
			if !told {
				v.tell(s, Stale)
			}
			told = true
		case told:
			return // it has lasted for less
		case found.verdict == Match: // by now: two loads that differ
			v.tell(s, Unstable)
			return
		default:
			v.tell(s, found.verdict)
			return
		}
	}
}

// longestLag is how far behind replicas of the database may be.
func (v *verifier) longestLag() time.Duration {
	if !v.Tagged {
		return v.entries.longestLag()
	}
	return max(v.entries.longestLag(), v.tags.longestLag())
}

// A finding is what one round has found.
type finding struct {
	verdict Verdict // as if the round were the last
	at      string  // where the value and the load differ
}

// round loads, and compares. ok is false if there is nothing to be said.
func (v *verifier) round(s *Sighting) (f finding, ok bool) {
	first, ok := v.load(s)
	if !ok {
		return f, false
	}
	at, differs, ok := v.differ(s.Got, first)
	switch {
	case !ok:
		return f, false
	case !differs:
		return finding{verdict: Match}, true
	}
	second, ok := v.load(s)
	if !ok {
		return f, false
	}
	_, differs, ok = v.differ(first, second)
	switch {
	case !ok:
		return f, false
	case differs:
		return finding{verdict: Unstable}, true
	}
	stands, ok := v.stands(s)
	switch {
	case !ok:
		return f, false
	case !stands:
		return finding{verdict: Overtaken}, true
	}
	return finding{Stale, at}, true
}

// load calls the loader if there is a place for it, and returns what a hit would return then. It is the last in line: a load that
// somebody waits for has taken the place before.
func (v *verifier) load(s *Sighting) (*Want, bool) {
	if !v.usable(s.Name) || !v.places.try() {
		return nil, false
	}
	w := s.newWant()
	l := v.loadFor(s.ctx, []*Want{w}, false, LoadInfo{Verify: true})[0]
	v.places.give()
	switch {
	case l.lagged:
		return nil, false
	case l.Absent():
		w.err = l.err
		return w, true
	case l.err != nil || l.Data == nil:
		return nil, false
	}
	w = s.newWant() // the load may have left what it writes to
	w.Data = l.Data
	return w, v.read(w, &document.Entry{State: document.Present, Value: v.unshared(l.Data)})
}

// decode makes of the document what the reader got.
func (v *verifier) decode(s *Sighting) bool {
	s.Got = s.newWant()
	s.Got.Data = s.Entry.Value
	s.Entry.Value = v.unshared(s.Entry.Value)
	return v.read(s.Got, &s.Entry)
}

// read decodes into a want. It runs code of the user's.
func (v *verifier) read(w *Want, e *document.Entry) bool {
	err, failed := isolated(context.Background(), func() error { return v.edge.Read(w, e) })
	w.err = err
	return failed == nil && (err == nil || isAbsence(err))
}

// differ compares two answers. Bytes that are equal need no look at the values. The values are compared by methods of the
// user's, which may panic.
func (v *verifier) differ(a, b *Want) (at string, differs, ok bool) {
	switch {
	case a.err != nil && b.err != nil:
		return "", false, true
	case a.err != nil || b.err != nil:
		return "the row is there or is not", true, true
	case a.Data != nil && bytes.Equal(a.Data, b.Data):
		return "", false, true
	}
	found, err := isolated(context.Background(), func() (found struct {
		diff.Difference
		any bool
	}) {
		found.Difference, found.any = diff.First(v.edge.ValueIn(a), v.edge.ValueIn(b))
		return found
	})
	return found.Path, found.any, err == nil
}

// stands reports whether a read would still get the document. ok is false if it cannot be told.
func (v *verifier) stands(s *Sighting) (stands, ok bool) {
	if s.Near {
		if of, near := v.edge.NearWitness(s.Got); near {
			return of.is(s.Of), v.ready(s.Name)
		}
	}
	b := redisstore.NewBudget(v.Config.Timeout)
	l := v.Store.Look(s.ctx, &b, s.Name)
	e := document.Parse(l.Doc)
	return WitnessOf(&e).is(s.Of), l.Err == nil && v.ready(s.Name)
}

// ready reports whether a verdict on a name may be given.
func (v *verifier) ready(name string) bool { return v.usable(name) && v.settled() }

func (v *verifier) tell(s *Sighting, verdict Verdict) {
	v.Teller.verify(s.ctx, VerifyInfo{Name: s.Name, Verdict: verdict, Age: s.age()})
}

// age is 0 for a document whose id does not tell when it was stored, or if the clocks differ.
func (s *Sighting) age() time.Duration {
	if s.Of.stored == 0 {
		return 0
	}
	return max(0, time.Since(time.UnixMilli(s.Of.stored)))
}

// warn logs a document that is stale, without the values, which may be secret.
func (v *verifier) warn(s *Sighting, at string) {
	if v.logged.now() {
		v.Config.Logger.Warn("aside: an entry is stale: it differs from what the loader returns, and nobody has invalidated it",
			"cache", v.Name, "name", s.Name, "age", s.age(), "path", at)
	}
}
