package jsonvalue

import (
	"cmp"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// The shape of V is a text of what its codec writes: the names of fields and their types, with the types of their fields. It
// is a part of the version of a document. A field that was added to V would else be zero in every hit until the old entries
// have expired, and nobody would notice.
//
// Two programs have the same shape for the same V, however they were built: it holds nothing of
// packages, addresses or maps, and of a type that does not write itself not even the name. With the
// default codec, fields come in the order of their JSON names, and those of an embedded struct
// stand among the others. For another codec it is not known which fields it writes under which
// names, so the shape has all exported ones in their order, with all of their tags.
//
// What a type writes whose methods write it cannot be seen. Its name is written beside its exported fields, if it has some.

// Version returns the version of documents. It is exact as a float64, which is what JSON numbers are for many programs.
func Version(shape string, version int) int64 {
	if shape == "" {
		return int64(version)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", version, shape))
	return int64(binary.BigEndian.Uint64(sum[:]) >> 11)
}

// ShapeOf returns the shape of a t that codec writes: a Codec of this package, or any other.
func ShapeOf(t reflect.Type, codec any) string {
	_, isJSON := codec.(Codec)
	s := shaper{json: isJSON, structs: make(map[reflect.Type]int)}
	s.write(t)
	return s.text.String()
}

// A shaper writes shapes.
type shaper struct {
	json    bool // for the default codec
	text    strings.Builder
	structs map[reflect.Type]int // that have been written, by the order in which they came
	around  []reflect.Type       // the types that the present one lies within
}

func (s *shaper) write(t reflect.Type) {
	if n, ok := s.structs[t]; ok {
		fmt.Fprintf(&s.text, "#%d", n)
		return
	}
	if at := slices.Index(s.around, t); at >= 0 { // a list or a map that contains itself
		fmt.Fprintf(&s.text, "^%d", len(s.around)-at)
		return
	}
	if t.Kind() == reflect.Struct {
		s.structs[t] = len(s.structs) + 1
	}
	if s.writesItself(t) {
		s.text.WriteString(unqualified(t.PkgPath() + "." + t.Name()))
	}
	s.around = append(s.around, t)
	s.writeParts(t)
	s.around = s.around[:len(s.around)-1]
}

func (s *shaper) writeParts(t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer:
		s.text.WriteByte('*')
		s.write(t.Elem())
	case reflect.Slice:
		s.text.WriteString("[]")
		s.write(t.Elem())
	case reflect.Array:
		fmt.Fprintf(&s.text, "[%d]", t.Len())
		s.write(t.Elem())
	case reflect.Map:
		s.text.WriteString("map[")
		s.write(t.Key())
		s.text.WriteByte(']')
		s.write(t.Elem())
	case reflect.Struct:
		s.writeStruct(t)
	default:
		s.text.WriteString(t.Kind().String())
	}
}

// A shapeField is a field as the codec may write it.
type shapeField struct {
	name, options string
	typ           reflect.Type
}

func (s *shaper) writeStruct(t reflect.Type) {
	var fields []shapeField
	if s.json {
		fields = jsonFields(t, nil)
		slices.SortStableFunc(fields, func(a, b shapeField) int { return cmp.Compare(a.name, b.name) })
	} else {
		fields = taggedFields(t)
	}
	s.text.WriteByte('{')
	for _, f := range fields {
		s.text.WriteString(strconv.Quote(f.name) + f.options + ":")
		s.write(f.typ)
		s.text.WriteByte(' ')
	}
	s.text.WriteByte('}')
}

// jsonFields are the fields of the JSON object of t, a struct within others that share that object.
func jsonFields(t reflect.Type, within []reflect.Type) (fields []shapeField) {
	if slices.Contains(within, t) {
		return nil
	}
	within = append(slices.Clip(within), t)
	for f := range written(t) {
		tag := f.Tag.Get("json")
		name := jsonName(tag)
		inner, embedded := embeddedStruct(f)
		switch {
		case tag == "-":
		case embedded && name == "" && jsonEncoder(reflect.PointerTo(inner)) == nil:
			fields = append(fields, jsonFields(inner, within)...)
		default:
			fields = append(fields, shapeField{cmp.Or(name, f.Name), formatOptions(tag), f.Type})
		}
	}
	return fields
}

// formatOptions are the options of a tag that change what is written, other than by leaving it out.
func formatOptions(tag string) (options string) {
	_, all, _ := strings.Cut(tag, ",")
	for o := range strings.SplitSeq(all, ",") {
		if o != "" && o != "omitempty" && o != "omitzero" {
			options += "," + o
		}
	}
	return options
}

func taggedFields(t reflect.Type) (fields []shapeField) {
	for f := range written(t) {
		fields = append(fields, shapeField{f.Name, strconv.Quote(string(f.Tag)), f.Type})
	}
	return fields
}

// written goes through the fields of a struct that a codec may write. In a message of protobuf whose API is opaque, they are not
// exported, and known by their tags.
func written(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			_, embedded := embeddedStruct(f)
			if (f.IsExported() || embedded || f.Tag.Get("protobuf") != "") && !yield(f) {
				return
			}
		}
	}
}

// writesItself reports whether a method of t may say what is written of it, or its codec knows it by name.
func (s *shaper) writesItself(t reflect.Type) bool {
	if t == reflect.TypeFor[json.Number]() || t.Kind() != reflect.Interface && jsonEncoder(reflect.PointerTo(t)) != nil {
		return true
	}
	if s.json || t.Kind() == reflect.Interface {
		return false
	}
	return firstImplemented(reflect.PointerTo(t), reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[gobEncoder]()) != nil
}

// gobEncoder is gob.GobEncoder; see gobDecoder.
type gobEncoder interface{ GobEncode() ([]byte, error) }

// rawMessage is json.RawMessage, which a toolchain that makes encoding/json of its second version names otherwise. Both must read each
// other's entries.
var rawMessage = reflect.TypeFor[json.RawMessage]().PkgPath() + "." + reflect.TypeFor[json.RawMessage]().Name()

// unqualified is the name of a type without packages, which that of a generic one has among its arguments, and without the
// numbers by which the compiler tells types inside functions apart.
func unqualified(name string) string {
	var short strings.Builder
	for _, word := range splitAround(name) {
		if word == rawMessage {
			word = "RawMessage"
		}
		word = word[strings.LastIndexAny(word, "./")+1:]
		word, _, _ = strings.Cut(word, "·")
		short.WriteString(word)
	}
	return short.String()
}

// splitAround cuts text into words and what stands between them.
func splitAround(text string) (words []string) {
	start := 0
	for i, r := range text {
		if unicode.IsSpace(r) || strings.ContainsRune(`[]{}(),*;"`, r) {
			words = append(words, text[start:i], string(r))
			start = i + len(string(r))
		}
	}
	return append(words, text[start:])
}
