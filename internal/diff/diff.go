// Package diff tells where two values differ, as a user of a cache would say it: one is what the loader returned, the
// other what a hit returns. It goes through them as reflect.DeepEqual does, except that
//
//   - a type with a method Equal for values of its own type is compared by it: 3.10 and 3.1 are one decimal;
//   - two times are equal if they have the same instant, offset and name of their zone, whatever their Location points to and
//     whether one has a monotonic reading;
//   - JSON in bytes, as a json.RawMessage has it, is compared without its white space and escapes;
//   - a NaN equals a NaN, and any func another;
//   - what a generated protobuf message keeps for itself is not compared, nor the messages in it that are decoded lazily.
package diff

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// A Difference is a place at which two values are not the same.
type Difference struct {
	Path string // "" for the values themselves
	Hint string // what it may come from; "" if that is plain
	a, b func() string
}

// A and B are the two sides, as text.
func (d Difference) A() string { return d.a() }
func (d Difference) B() string { return d.b() }

// New returns a Difference of two values as such.
func New(a, b string) Difference { return Difference{a: text(a), b: text(b)} }

// All returns where a and b differ. A nil slice or map differs from an empty one, except in a field that is not exported.
func All[V any](a, b V) []Difference {
	return walkThrough(reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem(), walk{})
}

// First returns one place where a and b differ, if there is one. They are of one type, and addressable. It is All, except that a
// nil slice or map does not differ from an empty one in a field that is tagged omitempty or omitzero: its author has said that the
// two are one.
func First(a, b reflect.Value) (_ Difference, ok bool) {
	found := walkThrough(a, b, walk{first: true})
	if len(found) == 0 {
		return Difference{}, false
	}
	return found[0], true
}

func walkThrough(a, b reflect.Value, w walk) []Difference {
	w.seen = make(map[[2]visit]bool)
	w.compare("", a, b)
	return w.found
}

// A walk goes through two values side by side. The reflect.Values that it has are addressable and from exported fields, or
// made so by open: else no method could be called on them.
type walk struct {
	first   bool // stop at the first difference
	omitted bool // for the present field, nil and empty are one
	found   []Difference
	seen    map[[2]visit]bool // the pairs it has been at: values may point to themselves
}

type visit struct {
	at  uintptr
	len int // of a slice
	typ reflect.Type
}

func (w *walk) differ(path, hint string, a, b func() string) {
	w.found = append(w.found, Difference{path, hint, a, b})
}

func (w *walk) compare(path string, a, b reflect.Value) {
	if w.first && len(w.found) > 0 || w.again(a, b) {
		return
	}
	if same, ok := byItself(a, b); ok {
		if !same {
			w.differ(path, hintOf(a, b), shown(a), shown(b))
		}
		return
	}
	omitted := w.omitted
	w.omitted = false // what lies within is no longer the field itself
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		w.compareElem(path, a, b)
	case reflect.Struct:
		w.compareStruct(path, a, b)
	case reflect.Slice, reflect.Array:
		w.compareList(path, a, b, omitted)
	case reflect.Map:
		w.compareMap(path, a, b, omitted)
	default:
		if !sameLeaf(a, b) {
			w.differ(path, hintOf(a, b), shown(a), shown(b))
		}
	}
}

// again reports whether a and b have been compared, or are one.
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
		n = a.Len() // which b has as well
	}
	pair := [2]visit{{a.Pointer(), n, a.Type()}, {b.Pointer(), n, b.Type()}}
	before := w.seen[pair] || a.Pointer() == b.Pointer()
	w.seen[pair] = true
	return before
}

func (w *walk) compareElem(path string, a, b reflect.Value) {
	switch {
	case a.IsNil() && b.IsNil():
	case a.IsNil() || b.IsNil():
		w.differ(path, "one of them is nil", shown(a), shown(b))
	case a.Elem().Type() != b.Elem().Type(): // in an interface
		w.differ(path, fmt.Sprintf("the types differ: %v and %v", a.Elem().Type(), b.Elem().Type()), typed(a.Elem()), typed(b.Elem()))
	default:
		w.compare(path, open(a.Elem()), open(b.Elem()))
	}
}

func (w *walk) compareStruct(path string, a, b reflect.Value) {
	message := a.Addr().Type().Implements(reflect.TypeFor[protobufMessage]())
	_, lazy := a.Type().FieldByName("XXX_lazyUnmarshalInfo")
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if message && (isKept(f) || lazy && isMessages(f.Type)) {
			continue
		}
		found := len(w.found)
		w.omitted = !f.IsExported() || w.first && mayBeOmitted(f)
		w.compare(path+"."+f.Name, open(a.Field(i)), open(b.Field(i)))
		w.omitted = false
		if hint := unwritten(f); hint != "" && len(w.found) > found {
			w.found[found].Hint = hint // which says more than how the two sides differ
		}
	}
}

// protobufMessage is what every generated message has.
type protobufMessage interface{ ProtoMessage() }

// isKept reports whether a message keeps a field for itself: a cache, of its size for one, which another message with the same contents
// need not have. With the opaque API the contents are not exported either; their tags tell them.
func isKept(f reflect.StructField) bool {
	_, isField := f.Tag.Lookup("protobuf")
	_, isOneOf := f.Tag.Lookup("protobuf_oneof")
	return !isField && !isOneOf && !f.IsExported() || strings.HasPrefix(f.Name, "XXX_")
}

// isMessages reports whether a field has other messages, which may not have been decoded yet where that is done lazily.
func isMessages(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && (t.Elem().Kind() == reflect.Struct || t.Elem().Kind() == reflect.Slice)
}

func mayBeOmitted(f reflect.StructField) bool {
	_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return slices.ContainsFunc(strings.Split(options, ","), func(o string) bool { return o == "omitempty" || o == "omitzero" })
}

// unwritten says why a codec may leave a field out.
func unwritten(f reflect.StructField) string {
	switch {
	case f.Tag.Get("json") == "-":
		return `it is tagged json:"-"`
	case !f.IsExported() && !f.Anonymous:
		return "it is not exported"
	default:
		return ""
	}
}

func (w *walk) compareList(path string, a, b reflect.Value, omitted bool) {
	if a.Kind() == reflect.Slice && w.lengthsDiffer(path, a, b, omitted) {
		return
	}
	for i := range a.Len() {
		w.compare(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i))
	}
}

// lengthsDiffer reports whether one is nil, or longer than the other: then the elements are of no interest.
func (w *walk) lengthsDiffer(path string, a, b reflect.Value, omitted bool) bool {
	switch {
	case a.Len() != b.Len():
		w.differ(path, fmt.Sprintf("%d elements and %d", a.Len(), b.Len()), shown(a), shown(b))
	case a.IsNil() != b.IsNil() && !omitted:
		w.differ(path, "one is nil, the other empty: let the loader return what the codec makes of it", nilOrEmpty(a), nilOrEmpty(b))
	default:
		return false
	}
	return true
}

func (w *walk) compareMap(path string, a, b reflect.Value, omitted bool) {
	if a.Len() == b.Len() && w.lengthsDiffer(path, a, b, omitted) {
		return
	}
	keys := a.MapKeys()
	for _, key := range b.MapKeys() {
		if !a.MapIndex(key).IsValid() {
			keys = append(keys, key)
		}
	}
	if !w.first {
		slices.SortFunc(keys, func(x, y reflect.Value) int { return cmp.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
	}
	for _, key := range keys {
		at := fmt.Sprintf("%s[%s]", path, brief(key))
		x, y := a.MapIndex(key), b.MapIndex(key)
		switch {
		case !x.IsValid():
			w.differ(at, "the first has no such key", missing, shown(y))
		case !y.IsValid():
			w.differ(at, "the second has no such key", shown(x), missing)
		default:
			w.compare(at, open(x), open(y))
		}
	}
}

// open returns v as a value that is addressable and that methods may be called on. It is a copy of what lies in a map or an
// interface. It is v itself in a field, also in one that is not exported.
func open(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	}
	copied := reflect.New(v.Type()).Elem()
	copied.Set(v)
	return copied
}

// byItself compares values of types that know what equal means. ok is false if theirs does not.
func byItself(a, b reflect.Value) (same, ok bool) {
	if s, ok := timeOf(a); ok {
		return sameTime(s, b), true
	}
	if same, ok := sameJSON(a, b); ok {
		return same, true
	}
	return callEqual(a, b)
}

// callEqual calls the method Equal of a, if it takes what b is.
func callEqual(a, b reflect.Value) (same, ok bool) {
	if a.Kind() == reflect.Pointer || a.Kind() == reflect.Interface {
		return false, false // what they point to has the method, if it is not nil
	}
	equal := a.Addr().MethodByName("Equal")
	if !equal.IsValid() || equal.Type().NumIn() != 1 || equal.Type().NumOut() != 1 || equal.Type().Out(0).Kind() != reflect.Bool {
		return false, false
	}
	switch equal.Type().In(0) {
	case b.Type():
		return equal.Call([]reflect.Value{b})[0].Bool(), true
	case b.Addr().Type():
		return equal.Call([]reflect.Value{b.Addr()})[0].Bool(), true
	default:
		return false, false
	}
}

// timeOf returns the time.Time that v is, under whatever name.
func timeOf(v reflect.Value) (time.Time, bool) {
	if v.Kind() != reflect.Struct || !v.CanConvert(reflect.TypeFor[time.Time]()) {
		return time.Time{}, false
	}
	return v.Convert(reflect.TypeFor[time.Time]()).Interface().(time.Time), true
}

func sameTime(s time.Time, b reflect.Value) bool {
	t, _ := timeOf(b)
	sName, sOffset := s.Zone()
	tName, tOffset := t.Zone()
	return s.Equal(t) && sName == tName && sOffset == tOffset
}

// sameJSON compares bytes that are JSON, as those of a json.RawMessage are: a database and a codec lay it out differently.
func sameJSON(a, b reflect.Value) (same, ok bool) {
	if a.Kind() != reflect.Slice || a.Type().Elem().Kind() != reflect.Uint8 || !a.Addr().Type().Implements(reflect.TypeFor[json.Marshaler]()) {
		return false, false
	}
	x, xErr := plainJSON(a.Bytes())
	y, yErr := plainJSON(b.Bytes())
	return bytes.Equal(x, y), xErr == nil && yErr == nil
}

// plainJSON is data as encoding/json would write it.
func plainJSON(data []byte) ([]byte, error) {
	var compact, escaped bytes.Buffer
	err := json.Compact(&compact, data)
	json.HTMLEscape(&escaped, compact.Bytes())
	return escaped.Bytes(), err
}

// sameLeaf compares what has no parts.
func sameLeaf(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Func:
		return a.IsNil() == b.IsNil()
	case reflect.Float32, reflect.Float64:
		x, y := a.Float(), b.Float()
		return x == y || x != x && y != y
	default:
		return a.Equal(b)
	}
}
