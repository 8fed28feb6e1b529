// Package jsonvalue knows what JSON would damage of a type, and refuses it before the first value is stored. It has the default
// codec, the shape that is a part of a document's version, the deep copies that callers get, and canonical JSON for filters.
package jsonvalue

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

var (
	jsonMarshalerType   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshalerType = reflect.TypeFor[json.Unmarshaler]()
	textMarshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()

	jsonUnmarshalerFromType = reflect.TypeFor[jsonv2.UnmarshalerFrom]() // which only the second version asks for
)

// CodecOf returns the default codec for values of type t, or why JSON would damage them without an error at run time.
//
// A cache that returns less than the loader did is worse than none, and encoding/json drops much
// without a word: what has no exported field becomes {}, two fields of one name become none, an
// embedded time.Time stands for the whole struct. All that the type shows is refused here, before
// the first value is stored. What could never be encoded or decoded is refused as well.
//
// Accepted, although a value may come back changed, because no type is free of it or because its author chose so: unexported
// fields beside exported ones and fields tagged json:"-" come back zero; a number in an `any` comes back as float64; omitempty
// turns an empty slice or map into nil; a nil pointer behind a pointer becomes a nil pointer; a string that is not UTF-8 is
// repaired; a time loses its monotonic reading; a string that is the key of a map is written as it is, and read by its
// UnmarshalText. A type that reads back what it writes, with its own methods, is not looked into.
//
// It is taken for granted that the codec is handed a pointer to the value: json.Marshal(v) does not see the MarshalJSON
// that is declared on *V, json.Marshal(&v) does.
func CodecOf(t reflect.Type) (Codec, error) {
	c := jsonCheck{seen: map[jsonPlace]bool{}}
	if err := c.check(t, rootName(t), true); err != nil {
		return Codec{standard: true}, fmt.Errorf(
			"a %v would not survive JSON: %w; give a codec with WithCodec, or tag the field json:\"-\"", t, err)
	}
	return c.codec, nil
}

// A jsonCheck walks through a type as encoding/json does. path is how an error calls the place where the walk has come to.
type jsonCheck struct {
	seen  map[jsonPlace]bool // checked or being checked: a recursive type ends here
	codec Codec              // for what has been seen
}

// A jsonPlace is a type and whether its values there can be addressed. Where they cannot, which is in a map,
// encoding/json does not find the methods of the pointer, and encodes a map[string]big.Int as if big.Int had none.
type jsonPlace struct {
	typ         reflect.Type
	addressable bool
}

func (c *jsonCheck) check(t reflect.Type, path string, addressable bool) error {
	place := jsonPlace{t, addressable}
	if c.seen[place] {
		return nil
	}
	c.seen[place] = true
	c.codec.numbers = c.codec.numbers || t == reflect.TypeFor[json.Number]()
	c.codec.standard = c.codec.standard || reflect.PointerTo(t).Implements(jsonUnmarshalerFromType)
	// Interfaces before methods: error and json.Marshaler have methods, but no value to decode into.
	switch t.Kind() {
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("%s (%v) is an interface, which cannot be decoded", path, t)
		}
		return nil
	case reflect.Pointer:
		return c.check(t.Elem(), path, true)
	}
	if done, err := checkMethods(t, path, addressable); done || err != nil {
		return err
	}
	return c.checkParts(t, path, addressable)
}

// checkParts checks what encoding/json makes of a t without methods.
func (c *jsonCheck) checkParts(t reflect.Type, path string, addressable bool) error {
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s (%v) cannot be encoded", path, t)
	case reflect.Map:
		if err := checkMapKey(t.Key(), path); err != nil {
			return err
		}
		c.codec.standard = c.codec.standard || keyReadsItself(t.Key())
		return c.check(t.Elem(), path+"[]", false)
	case reflect.Slice:
		return c.check(t.Elem(), path+"[]", true)
	case reflect.Array:
		return c.check(t.Elem(), path+"[]", addressable)
	case reflect.Struct:
		return c.checkStruct(t, path, addressable)
	}
	return nil
}

// checkMapKey allows strings, integers, and what is written and read as text. An integer that is written as text but
// read as a number, or the other way round, is lost. Strings are written as they are, whatever methods they have.
func checkMapKey(key reflect.Type, path string) error {
	writes := key.Implements(textMarshalerType)
	reads := reflect.PointerTo(key).Implements(textUnmarshalerType)
	integer := key.Kind() >= reflect.Int && key.Kind() <= reflect.Uintptr
	if key.Kind() == reflect.String || writes && reads || integer && !writes && !reads {
		return nil
	}
	return fmt.Errorf("%s (map key %v) cannot be encoded and decoded again", path, key)
}

// keyReadsItself reports whether the second version calls another method of a map key than
// encoding/json. That prefers UnmarshalJSON to UnmarshalText for keys as well.
func keyReadsItself(key reflect.Type) bool {
	key = reflect.PointerTo(key)
	return key.Implements(jsonUnmarshalerType) || key.Implements(jsonUnmarshalerFromType)
}

// checkMethods reports whether t writes and reads itself, so that its parts do not matter, or why its methods do not match.
// A t that only reads itself is looked into: it is written by its parts, and commonly reads more forms than that.
func checkMethods(t reflect.Type, path string, addressable bool) (done bool, err error) {
	pointer := reflect.PointerTo(t)
	encoder, decoder := jsonEncoder(pointer), jsonDecoder(pointer)
	if err := checkPromoted(t, path, encoder, decoder); err != nil {
		return false, err
	}
	switch {
	case encoder == nil:
		return false, nil
	case decoder == nil:
		return false, fmt.Errorf("%s (%v) has a %s, but no method that reads its output back", path, t, methodOf(encoder))
	case !addressable && jsonEncoder(t) != encoder:
		return false, fmt.Errorf("%s (%v) has %s on its pointer, which JSON does not call on a value in a map",
			path, t, methodOf(encoder))
	}
	return true, nil
}

// jsonEncoder returns the interface by which encoding/json asks a t to write itself, or nil.
func jsonEncoder(t reflect.Type) reflect.Type {
	return firstImplemented(t, jsonMarshalerType, textMarshalerType)
}

// jsonDecoder returns the interface by which encoding/json asks a t to read itself, or nil.
func jsonDecoder(t reflect.Type) reflect.Type {
	return firstImplemented(t, jsonUnmarshalerType, textUnmarshalerType)
}

// methodOf names the method of an encoder. It does not ask reflect for the name: a program that does so anywhere keeps every
// exported method of every type, which doubles its size.
func methodOf(encoder reflect.Type) string {
	if encoder == textMarshalerType {
		return "MarshalText"
	}
	return "MarshalJSON"
}

func firstImplemented(t reflect.Type, interfaces ...reflect.Type) reflect.Type {
	for _, i := range interfaces {
		if t.Implements(i) {
			return i
		}
	}
	return nil
}

// checkPromoted refuses a struct whose encoder or decoder may be promoted from an embedded field while there are other
// fields, which it knows nothing of. The struct may override it, but reflection does not tell an override from a promotion.
// The method of an embedded pointer or interface is refused in any case: decoding calls it on nil.
func checkPromoted(t reflect.Type, path string, encoder, decoder reflect.Type) error {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.Anonymous || !promotes(f.Type, encoder) && !promotes(f.Type, decoder) {
			continue
		}
		if k := f.Type.Kind(); k == reflect.Pointer || k == reflect.Interface || carriesBeside(t, i) {
			return fmt.Errorf("%s.%s (%v) is embedded and writes or reads itself, which stands for all of %v", path, f.Name, f.Type, t)
		}
	}
	return nil
}

func promotes(embedded, method reflect.Type) bool {
	return method != nil && (embedded.Implements(method) || reflect.PointerTo(embedded).Implements(method))
}

// carriesBeside reports whether JSON would carry a field of the struct t other than the one at index.
func carriesBeside(t reflect.Type, index int) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		_, embedded := embeddedStruct(f)
		if i != index && (f.IsExported() || embedded) && f.Tag.Get("json") != "-" {
			return true
		}
	}
	return false
}

// A jsonObject gathers the fields of one struct, and of the structs embedded in it, which share its JSON object.
type jsonObject struct {
	addressable bool
	within      []reflect.Type    // the struct and the embedded ones around the present field
	places      map[string]string // by the field's JSON name
	omitted     bool              // some field is tagged json:"-"
	hidden      bool              // some field is unexported
}

func (c *jsonCheck) checkStruct(t reflect.Type, path string, addressable bool) error {
	o := &jsonObject{addressable: addressable, places: map[string]string{}}
	if err := c.checkFields(o, t, path); err != nil {
		return err
	}
	if o.hidden && !o.omitted && len(o.places) == 0 {
		return fmt.Errorf("%s (%v) has no exported field and becomes {}", path, t)
	}
	return nil
}

func (c *jsonCheck) checkFields(o *jsonObject, t reflect.Type, path string) error {
	o.within = append(o.within, t)
	defer func() { o.within = o.within[:len(o.within)-1] }()
	for i := range t.NumField() {
		f := t.Field(i)
		if err := c.checkField(o, f, path+"."+f.Name); err != nil {
			return err
		}
	}
	return nil
}

func (c *jsonCheck) checkField(o *jsonObject, f reflect.StructField, path string) error {
	tag := f.Tag.Get("json")
	name := jsonName(tag)
	c.codec.standard = c.codec.standard || readsOtherwise(f, name)
	inner, embedded := embeddedStruct(f)
	switch {
	case tag == "-":
		o.omitted = true
		return nil
	case f.Name == "_":
		return nil
	case embedded && f.Type.Kind() == reflect.Pointer && !f.IsExported():
		return fmt.Errorf("%s (%v) is an embedded pointer to an unexported struct, which cannot be decoded", path, f.Type)
	case embedded && name == "":
		return c.checkEmbedded(o, f, inner, path)
	case !f.IsExported() && f.Tag.Get("protobuf") != "":
		return fmt.Errorf("%s (%v) is a field of a protobuf message with the opaque API, which JSON leaves out", path, f.Type)
	case !f.IsExported() && !embedded:
		o.hidden = true
		return nil
	case name == "":
		name = f.Name
	}
	if other, ok := o.places[name]; ok {
		return fmt.Errorf("%s (%v) and %s have one JSON name, %q", path, f.Type, other, name)
	}
	o.places[name] = path
	return c.check(f.Type, path, o.addressable)
}

// jsonName returns the name that a tag gives to a field, or "" if it gives none. The names that
// encoding/json takes depend on the toolchain, so it is asked.
func jsonName(tag string) string {
	name, _, _ := strings.Cut(tag, ",")
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" {
		return name
	}
	field := reflect.StructField{Name: "F", Type: reflect.TypeFor[int](), Tag: reflect.StructTag("json:" + strconv.Quote(name))}
	data, err := json.Marshal(reflect.Zero(reflect.StructOf([]reflect.StructField{field})).Interface())
	var fields map[string]int
	if err != nil || json.Unmarshal(data, &fields) != nil {
		return ""
	}
	if _, taken := fields[name]; !taken {
		return ""
	}
	return name
}

// readsOtherwise reports whether the second version of encoding/json may see more in the tag of a field than the first, which
// takes name from it: another name, or an option. (What it makes of the option string is not the same in all cases.)
func readsOtherwise(f reflect.StructField, name string) bool {
	tag, ok := f.Tag.Lookup("json")
	if !ok || tag == "-" {
		return false
	}
	written, options, more := strings.Cut(tag, ",")
	return written != name || !f.IsExported() || more && !allOf(strings.Split(options, ","), "omitempty", "omitzero")
}

func allOf(words []string, allowed ...string) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return !slices.Contains(allowed, word) })
}

// checkEmbedded checks a struct whose fields become those of the struct around it. Its methods are not called then; that
// it has some, and they were not promoted either, happens where two embedded types have the same one.
func (c *jsonCheck) checkEmbedded(o *jsonObject, f reflect.StructField, inner reflect.Type, path string) error {
	switch {
	case slices.Contains(o.within, inner):
		return fmt.Errorf("%s (%v) is embedded in itself", path, f.Type)
	case jsonEncoder(reflect.PointerTo(inner)) != nil:
		return fmt.Errorf("%s (%v) writes itself, but not where it is embedded beside another that does", path, f.Type)
	}
	defer func(outer bool) { o.addressable = outer }(o.addressable)
	o.addressable = o.addressable || f.Type.Kind() == reflect.Pointer
	if err := c.checkFields(o, inner, path); err != nil {
		return err
	}
	if f.Type.Kind() == reflect.Pointer && !alwaysWrites(inner) {
		return fmt.Errorf("%s (%v) is an embedded pointer, which a hit would have as nil when none of its fields is written: "+
			"embed it by value, or give it a field without omitempty and omitzero", path, f.Type)
	}
	return nil
}

// alwaysWrites reports whether some field of a struct is written whatever its value. Without one, nothing in the JSON may tell
// that an embedded pointer to the struct was there.
func alwaysWrites(t reflect.Type) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		inner, embedded := embeddedStruct(f)
		switch {
		case tag == "-":
		case embedded && jsonName(tag) == "":
			if f.Type.Kind() != reflect.Pointer && alwaysWrites(inner) {
				return true
			}
		case (f.IsExported() || embedded) && !mayBeLeftOut(f):
			return true
		}
	}
	return false
}

// mayBeLeftOut reports whether the tag of a field leaves some of its values out. omitempty does nothing to structs and arrays.
func mayBeLeftOut(f reflect.StructField) bool {
	_, all, _ := strings.Cut(f.Tag.Get("json"), ",")
	options := strings.Split(all, ",")
	never := f.Type.Kind() == reflect.Struct || f.Type.Kind() == reflect.Array && f.Type.Len() > 0
	return slices.Contains(options, "omitzero") || slices.Contains(options, "omitempty") && !never
}

// embeddedStruct returns the struct that f embeds, by value or by pointer.
func embeddedStruct(f reflect.StructField) (reflect.Type, bool) {
	t := f.Type
	if f.Anonymous && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t, f.Anonymous && t.Kind() == reflect.Struct
}

// rootName is what the paths in errors about t begin with: "Product" in "Product.Notify".
func rootName(t reflect.Type) string {
	if t.Name() != "" {
		return t.Name()
	}
	return t.String()
}
