package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/redisstore"
)

// An answer is the side of a GetMany that knows K and V. Its keys are known to others by their places.
type answer interface {
	// Want makes a want of a key.
	Want(i int) *Want

	// Take gives the caller the value of a key from a document that answers. If that is an absence,
	// or cannot be decoded, it returns the error.
	Take(i int, e *document.Entry) error

	// Give gives the caller the value of a want.
	Give(w *Want)
}

// How a GetMany goes, for keys that can be rendered:
//
//	look       one MGET (on a Cluster one for each primary) reads all documents
//	sort out   what answers is a hit, and is not decoded yet; all else is a want
//	fetch      the wants begin to be brought, beside the caller
//	take       the caller decodes the hits meanwhile, and so uses the time in which others work
//	collect    the caller waits for the wants, and takes their values
//	           hits that could not be decoded become wants, and go through fetch and collect as well
//
// A GetMany uses no flights. Two calls of one process that miss the same keys meet at their leases,
// as two processes do. Flights of many keys would have to wait for each other, in any order, and a
// call would be as slow as the slowest of all that it shares a key with.

// ReadMany reads keys, as Get reads one. The last of them cannot be rendered, for the reasons in bad.
func (c *Core) ReadMany(ctx context.Context, reads []Reading, bad []error, a answer) error {
	m := ModeOf(ctx)
	named := len(reads) - len(bad)
	err := ErrNoReturn // until there is another: a panic of the loader, or Goexit, goes through here
	defer func() { c.tellReads(ctx, reads, err) }()
	switch {
	case ctx.Err() != nil:
		err = EndOf(ctx)
		return err
	case c.Bypassed(m): // which needs no names
		err = c.loadManyHere(ctx, c.missedAll(reads, a), a)
		return repanic(err)
	}
	refused := refuse(reads[named:], bad) // a key that cannot be rendered fails no other
	err = c.getMany(ctx, m, reads[:named], a)
	if refused != nil {
		return repanic(errors.Join(err, refused))
	}
	return repanic(err)
}

// tellReads ends the reads of a GetMany. err is for the reads that have no error of their own.
func (c *Core) tellReads(ctx context.Context, reads []Reading, err error) {
	for i := range reads {
		if r := &reads[i]; r.Err == ErrNoReturn {
			r.Err = err
		}
		c.Teller.Read(ctx, &reads[i])
	}
}

// refuse notes the errors of reads whose keys cannot be rendered, and returns an error that names
// the first key.
func refuse(reads []Reading, bad []error) error {
	for i, err := range bad {
		reads[i].Err = err
	}
	switch len(bad) {
	case 0:
		return nil
	case 1:
		return bad[0]
	default:
		return fmt.Errorf("%w (and %d more keys that cannot be rendered)", bad[0], len(bad)-1)
	}
}

// getMany gives the caller the values, notes in reads what it knows of each, and returns the first error.
func (c *Core) getMany(ctx context.Context, m *Mode, reads []Reading, a answer) error {
	b := redisstore.NewBudget(c.Config.Timeout)
	missing, hits := c.sortOut(reads, c.lookMany(ctx, m, &b, reads), a)
	if ctx.Err() != nil { // a caller gets what is there, and the error
		c.takeMany(ctx, m, hits, a)
		return EndOf(ctx)
	}
	if m.inTx() { // nothing may be filled: the loader may see rows that are not committed
		missing = append(missing, c.takeMany(ctx, m, hits, a)...)
		return c.loadManyHere(ctx, missing, a)
	}
	wait := c.fetchMany(ctx, &b, missing, len(hits) > 0)
	unusable := c.takeMany(ctx, m, hits, a) // which takes the time that Redis and the loader need for the others
	err := c.collect(ctx, missing, a, wait())
	if ctx.Err() != nil && len(unusable) > 0 { // nobody waits for them, so no load begins
		return cmp.Or(err, EndOf(ctx))
	}
	wait = c.fetchMany(ctx, &b, unusable, false)
	return graver(err, c.collect(ctx, unusable, a, wait()))
}

// graver returns the error that counts if there are two: the first, unless the second is a panic.
// A loader's panic reaches its callers, whatever else has failed: behind another error it would be lost.
func graver(first, second error) error {
	if p := (*panicError)(nil); first == nil || errors.As(second, &p) && !errors.As(first, &p) {
		return second
	}
	return first
}

// lookMany reads the documents of those names that may be read from Redis.
func (c *Core) lookMany(ctx context.Context, m *Mode, b *redisstore.Budget, reads []Reading) []redisstore.Reply {
	names := make([]string, len(reads))
	for i := range reads {
		names[i] = reads[i].Name
	}
	// A large value would have the whole MGET run out of time: GetMany loads it. (A Get reads it, with
	// a round trip for it alone.)
	return readSome(names,
		func(name string) bool { return c.usable(name) && !m.wrote(c, name) && !c.Store.Large.Has(name) },
		func(names []string) []redisstore.Reply { return c.Store.LookMany(ctx, b, names) })
}

// A manyHit is one of the keys of a GetMany for which Redis has an answer, if its value can be decoded.
type manyHit struct {
	key   int // its place
	read  *Reading
	doc   []byte
	entry document.Entry
}

// sortOut makes wants of the keys for which Redis has no answer.
func (c *Core) sortOut(reads []Reading, replies []redisstore.Reply, a answer) (missing []*Want, hits []manyHit) {
	hits = make([]manyHit, 0, len(reads))
	for i, r := range replies {
		e := document.Parse(r.Doc)
		if c.Answers(reads[i].Name, &e, nil) {
			hits = append(hits, manyHit{i, &reads[i], r.Doc, e})
			continue
		}
		w := c.missed(a, i)
		w.Unusable = c.Unusable(&e, r.Doc)
		if r.Err != nil { // not asked, or not answered: then it is not asked for a lease either
			c.lost(w, r.Err)
		}
		missing = append(missing, w)
	}
	return missing, hits
}

// missed notes a miss, and makes a want of it.
func (c *Core) missed(a answer, i int) *Want {
	w := a.Want(i)
	c.Count(w.Read, Miss)
	return w
}

// missedAll makes a miss of each key.
func (c *Core) missedAll(reads []Reading, a answer) []*Want {
	wants := make([]*Want, len(reads))
	for i := range reads {
		wants[i] = c.missed(a, i)
	}
	return wants
}

// takeMany gives the caller what Redis has, starts the refreshes that are due, and returns wants of what cannot be decoded.
func (c *Core) takeMany(ctx context.Context, m *Mode, hits []manyHit, a answer) (unusable []*Want) {
	var due []*Want
	now := time.Now()
	for i := range hits {
		h := &hits[i]
		err := a.Take(h.key, &h.entry)
		if err == ErrUnusable {
			w := c.missed(a, h.key)
			w.Unusable = c.Unusable(&h.entry, h.doc)
			unusable = append(unusable, w)
			continue
		}
		h.read.Err = err
		if c.Hit(m, h.read, &h.entry, now) {
			w, source := a.Want(h.key), h.entry // which need not keep the other hits in memory
			w.Source, w.Read = &source, nil     // the read has ended; the refresh tells nothing of it
			due = append(due, w)
		}
	}
	if due != nil {
		c.StartRefresh(ctx, due, true)
	}
	return unusable
}

// fetchMany begins to bring the wants, and returns a func that waits for them while ctx lasts. The work
// goes on without the caller, as that of a flight does. It runs on a goroutine of its own if the caller
// has something to do meanwhile, or a ctx that may end first. Else it runs here: a goroutine would only
// cost.
func (c *Core) fetchMany(ctx context.Context, b *redisstore.Budget, wants []*Want, beside bool) (wait func() error) {
	if len(wants) == 0 {
		return func() error { return nil }
	}
	loadCtx, err := c.ctxOfLoad(ctx)
	if err != nil {
		return func() error { return err }
	}
	f := c.newFetch(ctx, loadCtx, *b)
	f.many = true
	done := make(chan outcome[bool], 1)
	run := func() { settled(func() bool { f.run(wants); return true }, done) }
	if beside || ctx.Done() != nil {
		go run()
		runtime.Gosched() // so that its first command is on its way before the caller goes on
	} else {
		run()
	}
	return func() (err error) {
		select {
		case o := <-done:
			*b, err = f.budget, o.err // what it has spent, the rest of this call has not
			if err == nil && f.gaveUp == errNobody {
				err = EndOf(ctx)
			}
		case <-ctx.Done():
			err = EndOf(ctx)
		}
		if f.queued.Load() {
			return c.overloaded(ctx)
		}
		return err
	}
}

// collect gives the caller what was fetched, and loads what had no place yet when the Cache was
// closed. cut is the error that ended the wait for the wants, if one did. The reads of wants that
// are not ready get that error.
func (c *Core) collect(ctx context.Context, wants []*Want, a answer, cut error) (err error) {
	isLeft := func(w *Want) bool { return cut == nil && w.err == errClosed }
	if left := only(wants, isLeft); left != nil {
		rest := only(wants, func(w *Want) bool { return !isLeft(w) })
		err := c.loadManyHere(ctx, left, a)
		return graver(c.collect(ctx, rest, a, nil), err)
	}
	failed := 0
	for _, w := range wants {
		switch {
		case !w.done.Load(): // the fetch may be writing to it: nothing of it is read but this
			w.Read.Err = cut
			continue
		case w.err == nil:
			a.Give(w)
		case !w.Absent():
			failed++
			err = graver(err, w.err)
		}
		w.Read.Err = w.err
	}
	if failed > 1 && !c.Batches { // a batch loader has one error for all of them
		err = fmt.Errorf("%w (and %d more keys of %d failed to load)", err, failed-1, len(wants))
	}
	return graver(cut, err)
}

// loadManyHere loads on the caller's goroutine, with its ctx, which may hold what no other goroutine may use.
func (c *Core) loadManyHere(ctx context.Context, wants []*Want, a answer) error {
	if c.Batches && len(wants) > 0 {
		return c.loadBatchHere(ctx, wants, a)
	}
	return c.loadEachHere(ctx, wants, a)
}

// loadEachHere stops at the first error, as a caller's own loop over the loader would: inside a
// transaction Postgres answers nothing after it.
func (c *Core) loadEachHere(ctx context.Context, wants []*Want, a answer) error {
	for _, w := range wants {
		if ctx.Err() != nil { // which the loader may ignore
			return EndOf(ctx)
		}
		err := c.LoadHere(ctx, w)
		switch w.Read.Err = err; {
		case err == nil:
			a.Give(w)
		case !isAbsence(err):
			return err
		}
	}
	return nil
}

func (c *Core) loadBatchHere(ctx context.Context, wants []*Want, a answer) error {
	c.noteLag(ctx)
	ctx, cancel := context.WithTimeout(ctx, c.Config.LoadTimeout)
	defer cancel()
	ctx, loading, _ := c.enterLoad(ctx, LoadInfo{}, namesIn(wants)...)
	err := ErrNoReturn // until it does
	defer func() { loading.end(err) }()
	errs := c.edge.LoadMany(ctx, wants) // not isolated: its panic goes on in this caller, where it belongs
	for i, w := range wants {
		if w.Read.Err = errs[i]; errs[i] == nil {
			a.Give(w)
		}
	}
	err = failureOf(errs)
	return err
}
