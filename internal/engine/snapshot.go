package engine

import (
	"slices"
	"strings"

	"github.com/asidecache/aside/internal/durations"
	"github.com/asidecache/aside/internal/redisstore"
)

// A tagSnapshot is what a load of values with tags begins with; see tags.go.
type tagSnapshot struct {
	last redisstore.Record // of the journal
	held []string
	ok   bool // it was read
}

func tagSnapshotOf(r redisstore.Reply) (m tagSnapshot) {
	fields := strings.Split(string(r.Doc), " ")
	if m.ok = r.Err == nil && len(fields) >= 2; m.ok {
		m.last, m.held = redisstore.Record{Nonce: fields[1], Score: fields[0]}, fields[2:]
	}
	return m
}

// index enters what is to be filled into the indexes of its tags, and bars what must not be filled any more, since a tag
// was invalidated while it was loaded.
func (d *documents) index(wants []*Want) {
	if !d.Tagged {
		return
	}
	began := make(map[*tagSnapshot][]*Want)
	for _, w := range wants {
		if len(w.Tags) > 0 && w.stores() {
			began[w.snapshot] = append(began[w.snapshot], w)
		}
	}
	for snapshot, together := range began {
		d.indexSince(snapshot, together)
	}
}

// indexSince is index for wants whose loads began together.
func (d *documents) indexSince(m *tagSnapshot, wants []*Want) {
	entries := d.entriesByTag(wants)
	ops := make([]redisstore.Op, 0, len(entries))
	for tag, named := range entries {
		for chunk := range slices.Chunk(named, 2*redisstore.ChunkSize) {
			ops = append(ops, redisstore.IndexOp(d.Store.Books.Index(tag), chunk))
		}
	}
	ok := m.ok && redisstore.FirstError(d.Store.Run(d.ctx, &d.budget, ops)) == nil
	var since redisstore.Reply
	if ok {
		since = d.Store.Run(d.ctx, &d.budget, []redisstore.Op{d.Store.SinceOp(m.last)})[0]
		ok = since.Err == nil && since.OK
	}
	changed := strings.Split(string(since.Doc), " ")
	for _, w := range wants {
		held := w.hasOneOf(m.held)
		d.meets(w, held) // for all that is known here
		w.barred = w.barred || !ok || held || w.hasOneOf(changed)
	}
}

// meets notes that a want met a hold that is there because replicas lag.
func (d *documents) meets(w *Want, lagging bool) {
	if lagging {
		w.lags = true
		insideOf(d.ctx).lags()
	}
}

func (w *Want) hasOneOf(tags []string) bool {
	return slices.ContainsFunc(w.Tags, func(tag string) bool { return slices.Contains(tags, tag) })
}

// entriesByTag tells which entries have a tag, each with how long it may be there, counted from now: the entry must not
// outlive its place in the index.
func (d *documents) entriesByTag(wants []*Want) map[string][]any {
	entries := make(map[string][]any)
	for _, w := range wants {
		life := durations.Saturated(d.window, w.Life, d.Config.Stale)
		for _, tag := range w.Tags {
			entries[tag] = append(entries[tag], w.Name, life.Milliseconds())
		}
	}
	return entries
}
