package aside

import (
	"context"
	"strings"
	"time"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/engine"
	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/redisstore"
)

// fromNear serves a near copy, if there is one. It is a *V, or if V cannot be copied its encoding: the memory is compiled for each
// K alone.
func (t *typed[K, V]) fromNear(ctx context.Context, key K) (v V, err error, ok bool) {
	if !t.core.MayBeNear(ctx) {
		return v, nil, false
	}
	found, isAbsent, ok := t.copies.Get(key)
	if !ok {
		return v, nil, false
	}
	of, _ := found.(*engine.Witnessed)
	if of != nil {
		found = of.Copied
	}
	switch copied := found.(type) {
	case *V:
		if v = *copied; !t.core.Config.Shared {
			v = t.copyOf(v)
		}
	default:
		v, err = t.madeNear(ctx, key, copied)
	}
	if err == engine.ErrUnusable {
		return v, nil, false
	}
	t.copies.Hit()
	if of != nil && t.core.Verifier.Sieve.Passes(of.Name) {
		t.verifyNear(ctx, key, of, isAbsent)
	}
	if t.core.Readers != nil {
		t.tellNear(ctx, key, err)
	}
	return v, err, true
}

// copyOf is a function of its own, so that the value of a read that needs no copy stays where it is.
//
//go:noinline
func (t *typed[K, V]) copyOf(v V) V {
	t.values.DeepCopy(&v)
	return v
}

// madeNear makes the value of a copy that is an encoding, or the error of one that is an absence, which has none. Both run the user's
// code. If that ends the read, it was no hit.
func (t *typed[K, V]) madeNear(ctx context.Context, key K, copied any) (v V, err error) {
	r := engine.Reading{Err: engine.ErrNoReturn}
	defer func() {
		if r.Err == engine.ErrNoReturn {
			t.core.Teller.Read(ctx, &r)
		}
	}()
	if data, ok := copied.([]byte); ok {
		v, r.Err = t.decode("", data, new(redisstore.Decoding))
	} else {
		r.Err = t.nearAbsence(key)
	}
	return v, r.Err
}

// nearAbsence is the error of an absence that is remembered near.
func (t *typed[K, V]) nearAbsence(key K) error {
	name, err := t.nameOf(key)
	if err != nil {
		return engine.ErrUnusable
	}
	return t.core.Absence(name, t.absenceOf(key))
}

func (t *typed[K, V]) tellNear(ctx context.Context, key K, err error) {
	r := engine.Reading{Outcome: engine.NearHit, Err: err}
	r.Name, _ = t.nameOf(key)
	t.core.Teller.Read(ctx, &r)
}

// noteNear is called before a look at a name is sent.
func (t *typed[K, V]) noteNear(name string) near.Noted {
	if t.copies == nil {
		return near.Noted{}
	}
	return t.copies.Note(name)
}

// copiesValues reports whether a near copy is a *V, and not its encoding.
func (t *typed[K, V]) copiesValues() bool { return t.core.Config.Shared || t.values.Deepen != nil }

// keepNear makes a copy of what a document has, that was looked up after noted.
func (t *typed[K, V]) keepNear(key K, name string, noted near.Noted, e *document.Entry, v V, err error) {
	var copied any
	switch {
	case e.State == document.Absent:
	case err != nil:
		return
	case t.copiesValues():
		copied = t.copyForNear(v)
	default:
		copied = append([]byte{}, e.Value...)
	}
	end := time.UnixMilli(e.Fresh)
	t.putNear(key, name, engine.WitnessOf(e), noted, copied, e.State == document.Absent, strings.Fields(string(e.Tags)), end)
}

func (t *typed[K, V]) putNear(
	key K, name string, of engine.Witness, noted near.Noted, copied any, isAbsent bool, tags []string, end time.Time,
) {
	if t.core.Verifier != nil {
		copied = &engine.Witnessed{Copied: copied, Name: name, Of: of}
	}
	t.copies.Put(key, noted, copied, isAbsent, tags, end)
}

//go:noinline
func (t *typed[K, V]) copyForNear(v V) *V {
	t.values.DeepCopy(&v)
	return &v
}

// WillFill and Filled have a copy made of what a fill stores: what a hit will return of it. The value that was loaded may have more,
// which the codec loses. And it is the caller's, who may have left with it, and modify it.
func (t *typed[K, V]) WillFill(w *engine.Want) {
	if r := t.rowOf(w); t.copies != nil {
		r.noted = t.copies.Note(w.Name)
	}
}

func (t *typed[K, V]) Filled(w *engine.Want) {
	r := t.rowOf(w)
	if t.copies == nil {
		return
	}
	var copied any
	switch {
	case w.Absent():
	case !t.copiesValues():
		copied = append([]byte{}, w.Data...)
	case r.hit == nil: // it cannot be decoded, so there will be no hit
		return
	default:
		copied = r.hit
	}
	t.putNear(r.key, w.Name, w.FilledAs, r.noted, copied, w.Absent(), w.Tags, w.Fresh)
}

func (t *typed[K, V]) DetachNear() {
	if t.copies != nil {
		t.copies.Detach()
	}
}

func (t *typed[K, V]) NearStats(s *engine.Stats) {
	if t.copies != nil {
		s.NearHits, s.NearEntries = t.copies.Hits(), t.copies.Len()
	}
}

// OpenNear makes the memory for copies, if there are to be some.
func (t *typed[K, V]) OpenNear() {
	if n := t.core.Config.Near; n != nil && n.Entries > 0 {
		t.copies = near.NewCopies[K, any](t.core.NearLog, t.core.Prefix, n.Entries, n.MaxAge)
	}
}

// verifyNear has a near hit verified. Its witness is the copy as long as there is one.
//
//go:noinline
func (t *typed[K, V]) verifyNear(ctx context.Context, key K, of *engine.Witnessed, isAbsent bool) {
	if of.Of.Token == "" {
		return
	}
	s := &engine.Sighting{Name: of.Name, Of: of.Of, Near: true}
	switch copied := of.Copied.(type) {
	case *V:
		s.Got = t.newWant(key, of.Name)
		t.rowOf(s.Got).value = *copied
	case []byte:
		s.Entry = document.Entry{State: document.Present, Value: copied}
	}
	if isAbsent {
		s.Got, s.Entry = nil, document.Entry{State: document.Absent}
	}
	t.verifySighted(ctx, key, s)
}

func (t *typed[K, V]) NearWitness(w *engine.Want) (engine.Witness, bool) {
	if t.copies == nil {
		return engine.Witness{}, false
	}
	found, _, ok := t.copies.Get(t.rowOf(w).key)
	if of, is := found.(*engine.Witnessed); ok && is {
		return of.Of, true
	}
	return engine.Witness{}, false
}
