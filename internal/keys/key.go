// Package keys is how a key, or a tag, becomes text that can be part of a Redis name.
package keys

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"unsafe"
)

const (
	// maxRendered is the longest rendered key, in bytes, that becomes part of a Redis name as it is.
	maxRendered = 200
	// hashedPrefix marks a rendered key that was longer. No escape begins with "%s", so nothing else starts like this.
	hashedPrefix = "%sha256-"
)

var textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()

// Renderer returns the function that appends the rendered form of a key to dst: what follows "<cache name>:" in the
// entry's Redis name. custom is WithKey's function or nil; its text is one leaf in the scheme of layout, and whether it
// tells two keys apart is up to custom. The error names the part of K that cannot be rendered and points to WithKey.
// refuses, if it is not nil, is asked about every struct in K, and says why that is no part of a key.
// On an error of MarshalText dst comes back as it was.
func Renderer[K comparable](custom func(K) string, refuses func(reflect.Type) error) (func(dst []byte, key K) ([]byte, error), error) {
	if custom != nil {
		return func(dst []byte, key K) ([]byte, error) {
			return shortened(appendEscaped(dst, custom(key), false), len(dst)), nil
		}, nil
	}
	layout, err := layoutOf(reflect.TypeFor[K](), refuses)
	if err != nil {
		return nil, err
	}
	if layout.text {
		return func(dst []byte, key K) ([]byte, error) {
			p := unsafe.Pointer(&key)
			return layout.append(dst, p, p)
		}, nil
	}
	return func(dst []byte, key K) ([]byte, error) {
		return layout.append(dst, unsafe.Pointer(&key), nil)
	}, nil
}

// A layout is how every key of one type is rendered. Two different keys of the type never share a rendered form:
//
//   - A key is the list of its leaves: the basic values in it, fields of fields and elements of
//     arrays in order, unexported and embedded ones too. Their number is fixed by the type, so that
//     a list says where each leaf belongs. Blank fields take no part in ==, and are not in the
//     list. A type without leaves (struct{}, [0]int) renders as the empty string.
//   - Integers are decimal, bools are true and false, a [N]byte is 2N hex digits, a string is itself.
//   - In strings and texts '%', ':', '{', '}', space and the ASCII control bytes are written as '%'
//     and two hex digits. Where there is more than one leaf, ',' is escaped as well, because it
//     separates the leaves. Braces would be a hash tag: all keys that begin with {x} would lie in
//     one slot of a Cluster. All other bytes stay, so that ordinary keys can be read in redis-cli;
//     UTF-8, valid or not, passes unchanged.
//   - What is longer than maxRendered becomes hashedPrefix and the hex SHA-256 of the long form.
//
// Basic kinds are rendered by their value, also where their type has String or MarshalText: an enum may well answer
// "unknown" to all that it does not know, and two rows would share an entry. String is never called, for this reason.
// An array or a struct with a MarshalText of its own (uuid.UUID, netip.Addr, time.Time) is one leaf, its text, whatever is in
// it: here the text is as a rule what the type is read back from. Values with the same text share an entry even where ==
// tells them apart: the same time.Time with and without a monotonic reading, or in two locations with one offset.
//
// A MarshalText that may be promoted from an embedded field is not used: in struct{ time.Time; Shop int } it leaves out
// Shop. Reflection cannot tell whether the struct overrides it, so such a struct is rendered by its fields.
type layout struct {
	typ    reflect.Type
	leaves []leaf
	text   bool // some leaf is a leafText

	refuses func(reflect.Type) error // says why a struct is no part of a key
}

// A leaf says where in a key one leaf is, and how to read it. Reading through the offset rather than with reflect reaches
// unexported fields, and lets the key stay on the stack. It is safe because the offsets come from the type that the
// renderer is instantiated with: offset and typ always lie within the key.
type leaf struct {
	how    leafKind
	offset uintptr
	typ    reflect.Type
	size   uintptr // typ.Size()
}

type leafKind uint8

const (
	leafBool leafKind = iota
	leafInt
	leafUint
	leafString
	leafHex  // [N]byte
	leafText // MarshalText
)

func layoutOf(t reflect.Type, refuses func(reflect.Type) error) (*layout, error) {
	if refuses == nil {
		refuses = func(reflect.Type) error { return nil }
	}
	s := &layout{typ: t, refuses: refuses}
	if err := s.add(t, 0, rootName(t)); err != nil {
		return nil, fmt.Errorf("a key of type %v cannot be rendered: %w; give a rendering with WithKey", t, err)
	}
	return s, nil
}

// add appends the leaves of a t that lies at offset in the key and is called path in errors.
func (s *layout) add(t reflect.Type, offset uintptr, path string) error {
	switch t.Kind() {
	case reflect.Bool:
		s.addLeaf(leafBool, t, offset)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.addLeaf(leafInt, t, offset)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		s.addLeaf(leafUint, t, offset)
	case reflect.String:
		s.addLeaf(leafString, t, offset)
	case reflect.Array:
		return s.addArray(t, offset, path)
	case reflect.Struct:
		return s.addStruct(t, offset, path)
	default: // pointers, interfaces, channels, floats, complex numbers
		return fmt.Errorf("%s is a %v", path, t)
	}
	return nil
}

func (s *layout) addLeaf(how leafKind, t reflect.Type, offset uintptr) {
	s.leaves = append(s.leaves, leaf{how: how, offset: offset, typ: t, size: t.Size()})
	s.text = s.text || how == leafText
}

func (s *layout) addArray(t reflect.Type, offset uintptr, path string) error {
	elem := t.Elem()
	switch {
	case t.Implements(textMarshalerType):
		s.addLeaf(leafText, t, offset)
		return nil
	case t.Len() == 0:
		return nil
	case elem.Kind() == reflect.Uint8:
		s.addLeaf(leafHex, t, offset)
		return nil
	}
	for i := range t.Len() {
		before := len(s.leaves)
		if err := s.add(elem, offset+uintptr(i)*elem.Size(), path+"[]"); err != nil {
			return err
		}
		if len(s.leaves) == before {
			return nil // the other elements have no leaf either: [1<<40]struct{} is a legal type
		}
	}
	return nil
}

func (s *layout) addStruct(t reflect.Type, offset uintptr, path string) error {
	if err := s.refuses(t); err != nil {
		return err
	}
	if ownsText(t) {
		s.addLeaf(leafText, t, offset)
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" {
			continue
		}
		if err := s.add(f.Type, offset+f.Offset, path+"."+f.Name); err != nil {
			return err
		}
	}
	return nil
}

// ownsText reports whether the struct t has a MarshalText that cannot be an embedded field's.
func ownsText(t reflect.Type) bool {
	if !t.Implements(textMarshalerType) {
		return false
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && f.Type.Implements(textMarshalerType) {
			return false
		}
	}
	return true
}

// append appends the rendered form of the key at p. onHeap is p again if a leaf is a leafText, else nil: MarshalText is
// called by reflection, which moves what it sees to the heap, and with one pointer for both every key would have to go there.
func (s *layout) append(dst []byte, p, onHeap unsafe.Pointer) ([]byte, error) {
	start := len(dst)
	several := len(s.leaves) > 1
	for i := range s.leaves {
		leaf := &s.leaves[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		if leaf.how != leafText {
			dst = leaf.append(dst, unsafe.Add(p, leaf.offset), several)
			continue
		}
		text, err := leaf.marshal(unsafe.Add(onHeap, leaf.offset))
		if err != nil {
			return dst[:start], fmt.Errorf("aside: a key of type %v cannot be rendered: %w", s.typ, err)
		}
		dst = appendEscaped(dst, text, several)
	}
	return shortened(dst, start), nil
}

// append appends the leaf at p, unless it is a leafText.
func (l *leaf) append(dst []byte, p unsafe.Pointer, several bool) []byte {
	switch l.how {
	case leafBool:
		return strconv.AppendBool(dst, *(*bool)(p))
	case leafInt:
		return strconv.AppendInt(dst, readInt(p, l.size), 10)
	case leafUint:
		return strconv.AppendUint(dst, readUint(p, l.size), 10)
	case leafString:
		return appendEscaped(dst, *(*string)(p), several)
	default: // leafHex
		return hex.AppendEncode(dst, unsafe.Slice((*byte)(p), l.size))
	}
}

// marshal calls MarshalText on the leaf at p. NewAt carries no mark of an unexported field, which Interface would refuse.
func (l *leaf) marshal(p unsafe.Pointer) ([]byte, error) {
	return reflect.NewAt(l.typ, p).Interface().(encoding.TextMarshaler).MarshalText()
}

func readInt(p unsafe.Pointer, size uintptr) int64 {
	switch size {
	case 1:
		return int64(*(*int8)(p))
	case 2:
		return int64(*(*int16)(p))
	case 4:
		return int64(*(*int32)(p))
	default:
		return *(*int64)(p)
	}
}

func readUint(p unsafe.Pointer, size uintptr) uint64 {
	switch size {
	case 1:
		return uint64(*(*uint8)(p))
	case 2:
		return uint64(*(*uint16)(p))
	case 4:
		return uint64(*(*uint32)(p))
	default:
		return *(*uint64)(p)
	}
}

// appendEscaped appends s as one leaf; several says whether there are others.
func appendEscaped[T string | []byte](dst []byte, s T, several bool) []byte {
	const digits = "0123456789ABCDEF"
	done := 0
	for i := range len(s) {
		c := s[i]
		if c > ' ' && c != '%' && c != ':' && c != '{' && c != '}' && c != 0x7F && (c != ',' || !several) {
			continue
		}
		dst = append(dst, s[done:i]...)
		dst = append(dst, '%', digits[c>>4], digits[c&0xF])
		done = i + 1
	}
	return append(dst, s[done:]...)
}

// shortened replaces the rendered form at dst[start:] by its hash if it is too long for a Redis name.
func shortened(dst []byte, start int) []byte {
	if len(dst)-start <= maxRendered {
		return dst
	}
	sum := sha256.Sum256(dst[start:])
	dst = append(dst[:start], hashedPrefix...)
	return hex.AppendEncode(dst, sum[:])
}

// rootName is what the paths in errors about t begin with: "Product" in "Product.Notify".
func rootName(t reflect.Type) string {
	if t.Name() != "" {
		return t.Name()
	}
	return t.String()
}
