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
	case []byte:
		v, err = t.decode("", copied, new(redisstore.Decoding))
	}
	if isAbsent {
		err = t.nearAbsence(key)
	}
	if err == engine.ErrUnusable {
		return v, nil, false
	}
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

// keepNear makes a copy of what a document has, that was looked up after noted.
func (t *typed[K, V]) keepNear(key K, name string, noted near.Noted, e *document.Entry, v V, err error) {
	if err == nil || e.State == document.Absent {
		end := time.UnixMilli(e.Fresh)
		t.putNear(key, name, engine.WitnessOf(e), noted, v, e.Value, e.State == document.Absent, strings.Fields(string(e.Tags)), end)
	}
}

func (t *typed[K, V]) putNear(
	key K, name string, of engine.Witness, noted near.Noted, v V, data []byte, isAbsent bool, tags []string, end time.Time,
) {
	var copied any
	switch {
	case isAbsent:
	case t.core.Config.Shared || t.values.Deepen != nil:
		copied = t.copyForNear(v)
	default:
		copied = append([]byte{}, data...)
	}
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

// WillFill and filled have a copy made of what a fill stores.
func (t *typed[K, V]) WillFill(w *engine.Want) {
	if r := t.rowOf(w); t.copies != nil {
		r.noted = t.copies.Note(w.Name)
	}
}

func (t *typed[K, V]) Filled(w *engine.Want) {
	if r := t.rowOf(w); t.copies != nil {
		t.putNear(r.key, w.Name, w.FilledAs, r.noted, r.value, w.Data, w.Absent(), w.Tags, w.Fresh)
	}
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
	found, ok := t.copies.Peek(t.rowOf(w).key)
	if of, is := found.(*engine.Witnessed); ok && is {
		return of.Of, true
	}
	return engine.Witness{}, false
}
