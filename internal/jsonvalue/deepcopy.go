package jsonvalue

import (
	"encoding"
	"reflect"
	"slices"
	"time"
)

// Callers who read one entry at the same time get a value each. To copy a value is much faster than to decode its document
// once more, so it is decoded once for all of them, and copied for each.

// A Deepener makes of a shallow copy of a value, in place, one that shares no memory with the original.
type Deepener func(v reflect.Value)

// DeepenerOf returns the deepener of a t, or nil if a shallow copy shares nothing. ok is false if
// each caller has to decode, since a copy would not be what decoding makes, or cannot be made. That
// is so for what lies behind an interface; for unexported references; for a type that contains
// itself, whose values may go in circles; and for references that were decoded by a method of the
// user's (for JSON, text, binary or gob), which may point to something that others compare them
// with.
func DeepenerOf(t reflect.Type) (_ Deepener, ok bool) { return deepenerWithin(t, nil) }

// deepenerWithin is about a t within other types.
func deepenerWithin(t reflect.Type, outer []reflect.Type) (_ Deepener, ok bool) {
	if t == reflect.TypeFor[time.Time]() {
		return nil, true // nobody modifies the Location that it points to
	}
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		return sliceDeepener(t, outer) // bytes, no matter how they were decoded
	}
	if slices.Contains(outer, t) {
		return nil, false
	}
	outer = append(slices.Clip(outer), t)
	var d Deepener
	switch t.Kind() {
	case reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return nil, false
	case reflect.Array:
		d, ok = arrayDeepener(t, outer)
	case reflect.Struct:
		d, ok = structDeepener(t, outer)
	case reflect.Pointer:
		d, ok = pointerDeepener(t, outer)
	case reflect.Slice:
		d, ok = sliceDeepener(t, outer)
	case reflect.Map:
		d, ok = mapDeepener(t, outer)
	default:
		return nil, true
	}
	return d, ok && (d == nil || !decodesItself(t))
}

// gobDecoder is gob.GobDecoder. Package encoding/gob, if it were imported, would be part of every program that has a cache.
type gobDecoder interface{ GobDecode([]byte) error }

// decodesItself reports whether values of type t are made by methods of their own.
func decodesItself(t reflect.Type) bool {
	for _, method := range []reflect.Type{
		jsonUnmarshalerType, textUnmarshalerType, jsonUnmarshalerFromType,
		reflect.TypeFor[encoding.BinaryUnmarshaler](), reflect.TypeFor[gobDecoder](),
	} {
		if reflect.PointerTo(t).Implements(method) {
			return true
		}
	}
	return false
}

func arrayDeepener(t reflect.Type, outer []reflect.Type) (Deepener, bool) {
	part, ok := deepenerWithin(t.Elem(), outer)
	if part == nil {
		return nil, ok
	}
	return func(v reflect.Value) { deepenAll(v, part) }, ok
}

func deepenAll(v reflect.Value, part Deepener) {
	for i := range v.Len() {
		part(v.Index(i))
	}
}

func structDeepener(t reflect.Type, outer []reflect.Type) (Deepener, bool) {
	type field struct {
		index  int
		deepen Deepener
	}
	var fields []field
	for i := range t.NumField() {
		part, ok := deepenerWithin(t.Field(i).Type, outer)
		if !ok || part != nil && !t.Field(i).IsExported() {
			return nil, false
		}
		if part != nil {
			fields = append(fields, field{i, part})
		}
	}
	if fields == nil {
		return nil, true
	}
	return func(v reflect.Value) {
		for _, f := range fields {
			f.deepen(v.Field(f.index))
		}
	}, true
}

func pointerDeepener(t reflect.Type, outer []reflect.Type) (Deepener, bool) {
	part, ok := deepenerWithin(t.Elem(), outer)
	return func(v reflect.Value) {
		if v.IsNil() {
			return
		}
		p := reflect.New(t.Elem())
		p.Elem().Set(v.Elem())
		if part != nil {
			part(p.Elem())
		}
		v.Set(p)
	}, ok
}

func sliceDeepener(t reflect.Type, outer []reflect.Type) (Deepener, bool) {
	part, ok := deepenerWithin(t.Elem(), outer)
	return func(v reflect.Value) {
		if v.IsNil() {
			return
		}
		s := reflect.MakeSlice(t, v.Len(), v.Len())
		reflect.Copy(s, v)
		if part != nil {
			deepenAll(s, part)
		}
		v.Set(s)
	}, ok
}

func mapDeepener(t reflect.Type, outer []reflect.Type) (Deepener, bool) {
	part, ok := deepenerWithin(t.Elem(), outer)
	key, keyOK := deepenerWithin(t.Key(), outer)
	return func(v reflect.Value) {
		if v.IsNil() {
			return
		}
		m := reflect.MakeMapWithSize(t, v.Len())
		for at := v.MapRange(); at.Next(); {
			value := at.Value()
			if part != nil {
				value = reflect.New(t.Elem()).Elem()
				value.Set(at.Value())
				part(value)
			}
			m.SetMapIndex(at.Key(), value)
		}
		v.Set(m)
	}, ok && keyOK && key == nil
}
