package aside

import (
	"slices"
	"strings"
)

// A mark is what a load of values with tags begins with; see tags.go.
type mark struct {
	id, nonce string // of the last record of the journal
	held      []string
	ok        bool // it was read
}

// runMarked runs the steps by which loads may begin, and marks the beginning, in the same round trip.
func (f *fetch[K, V]) runMarked(steps []step) []reply {
	if f.tagsFunc == nil {
		return f.store.run(f.ctx, &f.budget, steps)
	}
	last := len(steps)
	replies := f.store.run(f.ctx, &f.budget, append(steps, f.store.markStep()))
	f.mark = markOf(replies[last])
	return replies[:last]
}

func markOf(r reply) (m mark) {
	fields := strings.Split(string(r.doc), " ")
	if m.ok = r.err == nil && len(fields) >= 2; m.ok {
		m.id, m.nonce, m.held = fields[0], fields[1], fields[2:]
	}
	return m
}

// index enters what is to be filled into the indexes of its tags, and bars what must not be filled any more, since a tag
// was invalidated while it was loaded.
func (f *fetch[K, V]) index(wants []*want[K, V]) {
	tagged := only(wants, func(w *want[K, V]) bool { return len(w.tags) > 0 && f.stores(w) })
	if len(tagged) == 0 {
		return
	}
	entries := f.entriesByTag(tagged)
	steps := make([]step, 0, len(entries))
	for tag, names := range entries {
		steps = append(steps, step{indexPrefix + tag, scriptIndex, names})
	}
	ok := f.mark.ok && firstError(f.store.run(f.ctx, &f.budget, steps)) == nil
	var since reply
	if ok {
		since = f.store.run(f.ctx, &f.budget, []step{sinceStep(f.mark)})[0]
		ok = since.err == nil && since.ok
	}
	changed := append(strings.Split(string(since.doc), " "), f.mark.held...)
	for _, w := range tagged {
		w.barred = !ok || slices.ContainsFunc(w.tags, func(tag string) bool { return slices.Contains(changed, tag) })
	}
}

// entriesByTag tells which entries have a tag, each with how long it may be there, counted from now: the entry must not
// outlive its place in the index.
func (f *fetch[K, V]) entriesByTag(wants []*want[K, V]) map[string][]any {
	entries := make(map[string][]any)
	for _, w := range wants {
		life := saturated(f.window, w.life, f.config.stale)
		for _, tag := range w.tags {
			entries[tag] = append(entries[tag], w.name, life.Milliseconds())
		}
	}
	return entries
}
