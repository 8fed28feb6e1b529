package aside

import (
	"context"
	"slices"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/engine"
	"github.com/asidecache/aside/internal/near"
)

// GetMany returns the values of keys, by key; keys without a row are not in the map, and a key may be given twice. Keys
// that have one name in Redis are read once, and are all in the map. They share a value only if its type cannot be copied.
//
// It costs one round trip when Redis has all of them. The others are loaded together: with one call
// of the batch loader if there is one (see WithBatch), else with the loader, up to 16 keys at a
// time as places come free. Keys whose value the codec could not decode are loaded after them. If
// other callers are loading a key already, GetMany waits for that load. What the loader has loaded
// is stored as it comes, so one slow row keeps no other from anybody. What is ready at the same
// time shares a round trip: for n misses, that is n/16 round trips if the rows come at the same
// pace, and at most n. When the caller leaves, no further load is begun. All that Get says of ctx,
// Redis, panics and ownership holds for GetMany too.
//
// All keys share one WithRedisTimeout. What Redis does not answer in that time is loaded and not
// stored, so it is loaded again the next time. If Redis gave leases too late, the next reads of
// their keys wait until those leases expire. Split more than a few thousand keys over several
// calls.
//
// If loads fail, it returns the first error together with the values that it has: then a key that is not in the map may
// or may not have a row. If ctx ends meanwhile, it returns the error of ctx, and the map has what was read by then. A key
// that cannot be rendered fails as it does in Get, and the others are read all the same. The error names the first such key,
// and wraps the error of the others if there is one. Under Bypass, and once the Cache is closed, such a key is read as well.
func (c *Cache[K, V]) GetMany(ctx context.Context, keys []K) (map[K]V, error) {
	found := make(map[K]V, len(keys))
	if len(keys) == 0 {
		return found, nil
	}
	if c.typed.copies != nil {
		if keys = c.typed.takeNear(ctx, keys, found); len(keys) == 0 {
			return found, nil
		}
	}
	a := c.typed.ask(ctx, keys, found)
	err := c.core.ReadMany(ctx, a.reads, a.bad, a)
	a.copyTwins()
	return found, err
}

// takeNear serves near copies, and returns the keys that have none. A key that is given again is one read.
func (t *typed[K, V]) takeNear(ctx context.Context, keys []K, found map[K]V) (rest []K) {
	var absent map[K]bool
	isServed := func(key K) bool { _, ok := found[key]; return ok || absent[key] }
	for _, key := range keys {
		if isServed(key) {
			continue
		}
		switch v, err, ok := t.fromNear(ctx, key); {
		case !ok:
			rest = append(rest, key)
		case err == nil:
			found[key] = v
		case absent == nil:
			absent = map[K]bool{key: true}
		default:
			absent[key] = true
		}
	}
	return slices.DeleteFunc(rest, isServed)
}

// An asked is what a GetMany was asked for, and what it has found of it.
type asked[K comparable, V any] struct {
	ctx   context.Context
	typed *typed[K, V]
	keys  []K              // no two of them have one name; those that cannot be rendered come last
	reads []engine.Reading // of the keys
	noted []near.Noted     // before the reads; nil without near copies
	bad   []error          // of the last keys, why they cannot be rendered
	twins []twin[K]
	found map[K]V
}

// A twin is a key that has the name of another before it.
type twin[K comparable] struct{ key, first K }

// ask sorts keys by how they are to be read. A key that is given again is left out. What a read gets is not known before it has
// ended.
func (t *typed[K, V]) ask(ctx context.Context, keys []K, found map[K]V) *asked[K, V] {
	a := &asked[K, V]{ctx: ctx, typed: t, found: found, keys: make([]K, 0, len(keys)), reads: make([]engine.Reading, 0, len(keys))}
	firsts := make(map[string]K, len(keys))
	var bad []K
	for _, key := range keys {
		name, err := t.nameOf(key)
		first, again := firsts[name]
		switch {
		case err != nil && !slices.Contains(bad, key):
			bad, a.bad = append(bad, key), append(a.bad, err)
		case err != nil:
		case !again:
			firsts[name] = key
			a.keys, a.reads = append(a.keys, key), append(a.reads, engine.Reading{Name: name, Err: engine.ErrNoReturn})
			if t.copies != nil {
				a.noted = append(a.noted, t.copies.Note(name))
			}
		case first != key:
			a.twins = append(a.twins, twin[K]{key, first})
		}
	}
	for _, key := range bad {
		a.keys, a.reads = append(a.keys, key), append(a.reads, engine.Reading{Err: engine.ErrNoReturn})
	}
	return a
}

func (a *asked[K, V]) Want(i int) *engine.Want {
	w := a.typed.newWant(a.keys[i], a.reads[i].Name)
	if w.Read = &a.reads[i]; w.Name == "" {
		w.Name = a.typed.spelled(a.keys[i])
	}
	return w
}

func (a *asked[K, V]) Take(i int, e *document.Entry) error {
	sighted := a.typed.core.Sights(engine.ModeOf(a.ctx), a.reads[i].Name, e)
	v, err := a.typed.take(a.keys[i], a.reads[i].Name, e, nil)
	a.typed.verify(a.ctx, a.keys[i], sighted, err)
	if a.noted != nil {
		a.typed.keepNear(a.keys[i], a.reads[i].Name, a.noted[i], e, v, err)
	}
	if err == nil {
		a.found[a.keys[i]] = v
	}
	return err
}

func (a *asked[K, V]) Give(w *engine.Want) {
	r := a.typed.rowOf(w)
	a.found[r.key] = r.value
}

// copyTwins gives each twin a value of its own, if that can be copied.
func (a *asked[K, V]) copyTwins() {
	for _, t := range a.twins {
		if v, ok := a.found[t.first]; ok {
			a.typed.values.DeepCopy(&v)
			a.found[t.key] = v
		}
	}
}
