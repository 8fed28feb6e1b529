package aside

import (
	"context"
	"fmt"

	"github.com/asidecache/aside/internal/engine"
)

// LoadMany says of each key what one call of the batch loader says of it.
//
// Rows are matched by name, as entries are. The row of a time.Time may come back in another Location, and that of a string
// in other letters where WithKey folds them. If rows were matched by ==, such a row would be missing, and all processes would
// remember its key as absent. Only the rows that == does not find are named, since nearly always it finds all of them.
//
// A row under a name that nobody asked for shows that the loader spells some key in another way than its caller. That may
// be any of the keys without a row, so nothing is known of them, and they get an error.
//
// A nil pointer is no row, and hides none: a loader may put one in for each key that it is asked for, before it knows the rows.
func (t *typed[K, V]) LoadMany(ctx context.Context, wants []*engine.Want) []error {
	keys := make([]K, len(wants)) // which are the loader's: it may sort them
	for i, w := range wants {
		keys[i] = t.rowOf(w).key
	}
	rows, said := t.batch(ctx, keys)
	errs := make([]error, len(wants))
	if said != nil && !t.core.IsNotFound(said) {
		for i := range errs {
			errs[i] = said
		}
		return errs
	}
	var others []int
	for i, w := range wants {
		r, ok := t.rowOf(w), false
		if r.value, ok = rows[r.key]; !ok || t.values.IsNil(&r.value) {
			others = append(others, i)
		}
	}
	if others == nil {
		return errs
	}
	var named map[string]V
	stray := ""
	if len(wants)-len(others) < len(rows) {
		named, stray = t.nameRows(rows, wants)
	}
	for _, i := range others {
		r := t.rowOf(wants[i])
		switch v, ok := named[r.want.Name]; {
		case r.key != r.key: // NaN
			errs[i] = fmt.Errorf("aside: a batch loader cannot return the row of %q, whose key is not equal to itself", r.want.Name)
		case ok:
			r.value = v
		default:
			errs[i] = t.core.Missing(&r.want, stray, said)
		}
	}
	return errs
}

// nameRows returns the rows that were asked for by their names, without nil pointers, and the name of one that nobody asked
// for, "" if there is none: the least, so that an error does not depend on the order of a map.
func (t *typed[K, V]) nameRows(rows map[K]V, wants []*engine.Want) (named map[string]V, stray string) {
	asked := make(map[string]bool, len(wants))
	for _, w := range wants {
		asked[w.Name] = true
	}
	named = make(map[string]V, len(wants))
	for key, v := range rows {
		switch name := t.spelled(key); {
		case asked[name] && t.values.IsNil(&v):
		case asked[name]:
			named[name] = v
		case stray == "" || name < stray:
			stray = name
		}
	}
	return named, stray
}
