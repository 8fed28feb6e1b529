package aside

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
	"unsafe"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/engine"
	"github.com/asidecache/aside/internal/keys"
	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/redisstore"
)

// A typed is the side of a Cache that knows K and V. The rest of it, which does not, sees it as an edge. All that is here is
// compiled again for each type that a service caches, so what needs neither K nor V is elsewhere.
type typed[K comparable, V any] struct {
	core      *engine.Core
	values    engine.Values
	load      Loader[K, V]
	batch     BatchLoader[K, V]        // nil if none
	ttl       func(K, V) time.Duration // nil if none
	tags      func(K, V) []string      // nil if none
	absent    func(K) error            // nil if none
	copies    *near.Copies[K, any]     // nil if none
	appendKey func([]byte, K) ([]byte, error)
}

// init gives the functions among the options the types that an Option does not have.
func (t *typed[K, V]) init(c *engine.Core, load Loader[K, V]) error {
	var batchErr, ctxErr, ttlErr, tagsErr, absentErr, renderErr error
	t.core, t.load = c, load
	t.batch, batchErr = functionOf[BatchLoader[K, V]]("WithBatch", c.Config.Batch)
	c.LoadCtx, ctxErr = functionOf[func(context.Context) context.Context]("WithLoadContext", c.Config.LoadContext)
	t.ttl, ttlErr = functionOf[func(K, V) time.Duration]("WithTTLFunc", c.Config.TTLFunc)
	t.tags, tagsErr = functionOf[func(K, V) []string]("WithTags", c.Config.Tags)
	t.absent, absentErr = functionOf[func(K) error]("WithNotFoundFunc", c.Config.Remembered)
	c.Batches, c.Tagged = t.batch != nil, t.tags != nil
	custom, keyErr := functionOf[func(K) string]("WithKey", c.Config.Key)
	if keyErr == nil {
		t.appendKey, renderErr = keys.Renderer(custom, refusesFilter)
	}
	return errors.Join(batchErr, ctxErr, ttlErr, tagsErr, absentErr, keyErr, renderErr)
}

// A row is a want with what only the edge looks at.
type row[K comparable, V any] struct {
	want  engine.Want
	key   K
	value V          // that was loaded or read, if there was no error
	noted near.Noted // before its fill
	hit   *V         // what a hit will return of the value, for a near copy; nil if none is made of it
}

// newWant makes a want of a key. Its name is that, or what spelled returns.
func (t *typed[K, V]) newWant(key K, name string) *engine.Want {
	r := &row[K, V]{key: key}
	r.want.Name, r.want.Row = name, r
	return &r.want
}

func (t *typed[K, V]) rowOf(w *engine.Want) *row[K, V] { return w.Row.(*row[K, V]) }

// valueOf returns the value of a want that has ended with err. If that is an error, the value may still be written to, by a load
// that was left behind.
func (t *typed[K, V]) valueOf(w *engine.Want, err error) (v V, _ error) {
	if err != nil {
		return v, err
	}
	return t.rowOf(w).value, nil
}

// nameOf is the Redis key of key. The error says which key cannot be rendered.
func (t *typed[K, V]) nameOf(key K) (string, error) {
	name, err := t.appendKey(append(make([]byte, 0, 64), t.core.Prefix...), key)
	if err != nil {
		return "", fmt.Errorf("%w: %v", err, key)
	}
	return unsafe.String(unsafe.SliceData(name), len(name)), nil // nobody writes to it any more
}

// spelled is the name of a key. A key that cannot be rendered has a text for people in its place.
func (t *typed[K, V]) spelled(key K) string {
	name, err := t.nameOf(key)
	if err != nil {
		return fmt.Sprintf("key %v", key)
	}
	return name
}

func (t *typed[K, V]) LoadOne(ctx context.Context, w *engine.Want) (err error) {
	r := t.rowOf(w)
	r.value, err = t.load(ctx, r.key)
	return t.classify(r, err)
}

// classify turns every way to say that there is no row into an error that answers for all of them.
func (t *typed[K, V]) classify(r *row[K, V], err error) error {
	return t.core.Classify(&r.want, err == nil && t.values.IsNil(&r.value), err)
}

func (t *typed[K, V]) Encode(w *engine.Want) engine.Loaded {
	r := t.rowOf(w)
	l, v := engine.Loaded{Life: t.core.Config.TTL}, r.value
	if t.ttl != nil {
		if d := t.ttl(r.key, v); d != DefaultTTL {
			l.Life = d
		}
	}
	if t.tags != nil {
		l.Tags = t.tags(r.key, v)
	}
	t.values.Encode(w.Name, &v, &l)
	if t.core.Config.MissAsHit {
		if hit := t.hitOf(w.Name, l.Data); hit != nil {
			r.value = *hit
		}
	}
	if t.copies != nil && t.copiesValues() {
		r.hit = t.hitOf(w.Name, l.Data)
	}
	return l
}

// hitOf is what a hit will return of a value that was loaded, nil if that cannot be decoded. It shares no memory with the value, which
// belongs to the caller.
func (t *typed[K, V]) hitOf(name string, data []byte) *V {
	if data == nil {
		return nil
	}
	v, err := t.decode(name, slices.Clone(data), nil)
	if err != nil {
		return nil
	}
	return &v
}

func (t *typed[K, V]) Read(w *engine.Want, e *document.Entry) (err error) {
	r := t.rowOf(w)
	r.value, err = t.take(r.key, w.Name, e, nil)
	return err
}

func (t *typed[K, V]) Share(w *engine.Want, data []byte, shared *redisstore.Decoding) (err error) {
	t.rowOf(w).value, err = t.decode(w.Name, data, shared)
	return err
}

// take is read for a key.
func (t *typed[K, V]) take(key K, name string, e *document.Entry, shared *redisstore.Decoding) (V, error) {
	if e.State == document.Absent {
		var zero V
		return zero, t.core.Absence(name, t.absenceOf(key))
	}
	return t.decode(name, e.Value, shared)
}

func (t *typed[K, V]) decode(name string, data []byte, shared *redisstore.Decoding) (V, error) {
	var v V
	if !t.values.DecodeFor(&v, name, data, shared) {
		var zero V
		return zero, engine.ErrUnusable
	}
	return v, nil
}

func (t *typed[K, V]) Remembered(w *engine.Want) error { return t.absenceOf(t.rowOf(w).key) }

func (t *typed[K, V]) absenceOf(key K) error {
	if t.absent == nil {
		return nil
	}
	return t.absent(key)
}

// verify has a hit verified that was sighted; nil is none. err is what the reader got.
func (t *typed[K, V]) verify(ctx context.Context, key K, s *engine.Sighting, err error) {
	if s != nil && err != engine.ErrUnusable {
		t.verifySighted(ctx, key, s)
	}
}

//go:noinline
func (t *typed[K, V]) verifySighted(ctx context.Context, key K, s *engine.Sighting) {
	t.core.Verifier.Start(ctx, s, func() *engine.Want { return t.newWant(key, s.Name) })
}

func (t *typed[K, V]) ValueIn(w *engine.Want) reflect.Value {
	return reflect.ValueOf(&t.rowOf(w).value).Elem()
}
