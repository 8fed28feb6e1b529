package engine

import (
	"bytes"
	"context"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside/internal/diff"
)

// A miss returns what the loader returned, a hit what the codec made of that. What the codec changes without an error is the
// same for all values of a type, as a rule, so a sample of them shows it: each is decoded as a hit would, and compared.

const (
	firstCompared = 16   // of the values that a Cache has encoded, the first are compared,
	comparedLater = 4096 // and then one in so many

	longestDecoding = 100 * time.Millisecond
)

// A sample chooses the values that are compared.
type sample struct {
	encoded atomic.Uint64
	told    atomic.Bool // a difference was logged
}

func (s *sample) takes() bool {
	n := s.encoded.Add(1)
	return n <= firstCompared || n%comparedLater == 0
}

// compare counts, and the first time logs, that a hit will differ from what v points to, which has become data. It is called
// before anybody else has that, and returns when nothing reads it any more. It runs methods of the user's. What they do changes
// nothing: a codec that decodes for long is left behind, since it does not know v.
func (vs *Values) compare(name string, v any, data []byte) {
	c := vs.core
	if !c.sample.takes() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), longestDecoding)
	defer cancel()
	hit := reflect.New(vs.typ)
	failed, err := isolated(ctx, func() error { return vs.unmarshal(bytes.Clone(data), hit.Interface()) })
	if err != nil || failed != nil || vs.IsNil(hit.Interface()) {
		return // the reads will tell
	}
	_, _ = isolated(context.Background(), func() struct{} {
		if d, differs := diff.First(reflect.ValueOf(v).Elem(), hit.Elem()); differs {
			c.n.altered.Add(1)
			c.tellAltered(name, d)
		}
		return struct{}{}
	})
}

// tellAltered logs a difference, without the values, which may be large, or secret.
func (c *Core) tellAltered(name string, d diff.Difference) {
	if !c.sample.told.CompareAndSwap(false, true) {
		return
	}
	args := []any{"cache", c.Name, "name", name, "path", d.Path}
	if d.Hint != "" {
		args = append(args, "hint", d.Hint)
	}
	c.Config.Logger.Warn("aside: a hit will differ from what was loaded", args...)
}
