package asidetest

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A difference is a place at which two values are not the same.
type difference struct {
	path string // "" for the values themselves
	a, b string
	hint string // what it may come from; "" if that is plain
}

// compare returns where a and b differ: where reflect.DeepEqual would say so, except that a NaN equals a NaN.
func compare[V any](a, b V) []difference {
	w := walk{seen: make(map[[2]visit]bool)}
	w.compare("", reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem())
	return w.found
}

// A walk goes through two values side by side.
type walk struct {
	found []difference
	seen  map[[2]visit]bool // the pairs it has been at: values may point to themselves
}

type visit struct {
	at  uintptr
	len int // of a slice
	typ reflect.Type
}

func (w *walk) differ(path string, a, b any, hint string) {
	w.found = append(w.found, difference{path, brief(a), brief(b), hint})
}

func (w *walk) compare(path string, a, b reflect.Value) {
	if w.again(a, b) {
		return
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		w.compareElem(path, a, b)
	case reflect.Struct:
		w.compareStruct(path, a, b)
	case reflect.Slice, reflect.Array:
		w.compareList(path, a, b)
	case reflect.Map:
		w.compareMap(path, a, b)
	default:
		if !sameLeaf(a, b) {
			w.differ(path, a, b, "")
		}
	}
}

// again reports whether a and b have been compared.
func (w *walk) again(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
	default:
		return false
	}
	if a.IsNil() || b.IsNil() || a.Kind() == reflect.Slice && a.Len() != b.Len() {
		return false
	}
	n := 0
	if a.Kind() == reflect.Slice {
		n = a.Len() // which b has, too
	}
	pair := [2]visit{{a.Pointer(), n, a.Type()}, {b.Pointer(), n, b.Type()}}
	before := w.seen[pair]
	w.seen[pair] = true
	return before
}

func (w *walk) compareElem(path string, a, b reflect.Value) {
	switch {
	case a.IsNil() && b.IsNil():
	case a.IsNil() || b.IsNil():
		w.differ(path, a, b, "one of them is nil")
	case a.Elem().Type() != b.Elem().Type(): // in an interface
		w.differ(path, typed(a.Elem()), typed(b.Elem()), "the types differ")
	default:
		w.compare(path, a.Elem(), b.Elem())
	}
}

func (w *walk) compareStruct(path string, a, b reflect.Value) {
	if s, ok := timeOf(a); ok {
		if t, ok := timeOf(b); ok {
			w.compareTime(path, s, t)
			return
		}
	}
	for i := range a.NumField() {
		w.compare(path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
	}
}

// compareTime tells the instant, the location and the monotonic reading apart.
func (w *walk) compareTime(path string, a, b time.Time) {
	var hints []string
	if d := a.Sub(b).Abs(); !a.Equal(b) && d < time.Second {
		hints = append(hints, fmt.Sprintf("they are %v apart: digits are lost", d))
	}
	if a.Equal(b) && !reflect.DeepEqual(a.Round(0), b.Round(0)) {
		hints = append(hints, "another time.Location: t.UTC() in the loader gives both the same")
	}
	if a.Equal(b) && (a.Round(0) == a) != (b.Round(0) == b) {
		hints = append(hints, "one has a monotonic clock reading: t.Round(0) in the loader strips it")
	}
	if !a.Equal(b) || hints != nil {
		w.differ(path, a, b, strings.Join(hints, "; "))
	}
}

func (w *walk) compareList(path string, a, b reflect.Value) {
	if a.Kind() == reflect.Slice && w.lengthsDiffer(path, a, b) {
		return
	}
	for i := range a.Len() {
		w.compare(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i))
	}
}

// lengthsDiffer reports whether one is nil, or longer than the other: then the elements are of no interest.
func (w *walk) lengthsDiffer(path string, a, b reflect.Value) bool {
	switch {
	case a.Len() != b.Len():
		w.differ(path, a, b, fmt.Sprintf("%d elements and %d", a.Len(), b.Len()))
	case a.IsNil() != b.IsNil():
		w.differ(path, nilOrEmpty(a), nilOrEmpty(b), "one is nil, the other empty: let the loader return what the codec makes of it")
	default:
		return false
	}
	return true
}

func (w *walk) compareMap(path string, a, b reflect.Value) {
	if a.Len() == b.Len() && w.lengthsDiffer(path, a, b) {
		return
	}
	keys := a.MapKeys()
	for _, key := range b.MapKeys() {
		if !a.MapIndex(key).IsValid() {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(x, y reflect.Value) int { return cmp.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
	for _, key := range keys {
		at := fmt.Sprintf("%s[%s]", path, brief(key))
		x, y := a.MapIndex(key), b.MapIndex(key)
		switch {
		case !x.IsValid():
			w.differ(at, missing, y, "")
		case !y.IsValid():
			w.differ(at, x, missing, "")
		default:
			w.compare(at, x, y)
		}
	}
}

const missing = verbatim("(missing)")

// sameLeaf compares what has no parts. It reads unexported fields, too, so it cannot use Interface.
func sameLeaf(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Func:
		return a.IsNil() && b.IsNil()
	case reflect.Float32, reflect.Float64:
		x, y := a.Float(), b.Float()
		return x == y || x != x && y != y
	default:
		return a.Equal(b)
	}
}

// timeOf returns the time.Time that v is. Inside an unexported field it is out of reach.
func timeOf(v reflect.Value) (time.Time, bool) {
	if v.Type() != reflect.TypeFor[time.Time]() || !v.CanInterface() {
		return time.Time{}, false
	}
	return v.Interface().(time.Time), true
}

// verbatim is text that is no value.
type verbatim string

func typed(v reflect.Value) verbatim { return verbatim(fmt.Sprintf("%s (%v)", brief(v), v.Type())) }

func nilOrEmpty(v reflect.Value) verbatim {
	if v.IsNil() {
		return verbatim(fmt.Sprintf("%v(nil)", v.Type()))
	}
	return verbatim(fmt.Sprintf("%v{}", v.Type()))
}

// brief prints a value on one line that is not too long.
func brief(v any) string {
	const most = 160
	var s string
	rv, reflected := v.(reflect.Value)
	switch text, ok := v.(verbatim); {
	case ok:
		s = string(text)
	case reflected && rv.Kind() == reflect.String:
		s = fmt.Sprintf("%q", rv.String())
	case reflected && rv.Kind() == reflect.Pointer && !rv.IsNil():
		s = fmt.Sprintf("&%+v", rv.Elem())
	default:
		s = fmt.Sprintf("%+v", v)
	}
	s = strings.ReplaceAll(s, "\n", `\n`)
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}

// list writes the differences, one on a line, with the names of the two sides.
func list(differences []difference, a, b string) string {
	const most = 5
	var s strings.Builder
	for i, d := range differences {
		if i == most {
			fmt.Fprintf(&s, "\n\tand %d more", len(differences)-most)
			break
		}
		if d.path == "" {
			d.path = "the value"
		}
		fmt.Fprintf(&s, "\n\t%s: %s %s, %s %s", d.path, a, d.a, b, d.b)
		if d.hint != "" {
			fmt.Fprintf(&s, "\n\t\t(%s)", d.hint)
		}
	}
	return s.String()
}
