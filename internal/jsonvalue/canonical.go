package jsonvalue

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Canonical JSON is one text for all filters that select the same: maps are sorted, nil lists and maps are empty ones, and times are
// in UTC.
var canonical = jsonv2.JoinOptions(
	jsonv2.Deterministic(true),
	jsonv2.WithMarshalers(jsonv2.JoinMarshalers(
		jsonv2.MarshalToFunc(func(enc *jsontext.Encoder, t time.Time) error {
			text, err := t.UTC().MarshalText()
			if err != nil {
				return err
			}
			return enc.WriteToken(jsontext.String(string(text)))
		}),
		jsonv2.MarshalToFunc(func(enc *jsontext.Encoder, d time.Duration) error { return enc.WriteToken(jsontext.Int(int64(d))) }),
	)),
	jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(func(dec *jsontext.Decoder, d *time.Duration) error {
		var n int64
		err := jsonv2.UnmarshalDecode(dec, &n)
		*d = time.Duration(n)
		return err
	})),
)

// Canonical returns the one text of a filter.
func Canonical(f any) (string, error) {
	text, err := jsonv2.Marshal(f, canonical)
	return string(text), err
}

// ReadCanonical reads what Canonical returned into the filter that f points to.
func ReadCanonical(text []byte, f any) error { return jsonv2.Unmarshal(text, f, canonical) }

// CheckFilter reports why two filters of type t might have one text, or none.
func CheckFilter(t reflect.Type) error {
	c := filterCheck{seen: make(map[reflect.Type]bool)}
	if err := c.check(t, rootName(t)); err != nil {
		return fmt.Errorf("a filter of type %v is no key: %w; leave it out, or give a key of your own", t, err)
	}
	return nil
}

type filterCheck struct{ seen map[reflect.Type]bool }

func (c *filterCheck) check(t reflect.Type, path string) error {
	if c.seen[t] || t == reflect.TypeFor[time.Time]() {
		return nil
	}
	c.seen[t] = true
	if done, err := checkMethods(t, path, true); done || err != nil {
		return err
	}
	switch t.Kind() {
	case reflect.Interface, reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s (%v) cannot be encoded and read back", path, t)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return c.check(t.Elem(), path+"[]")
	case reflect.Map:
		if err := checkMapKey(t.Key(), path); err != nil {
			return err
		}
		return c.check(t.Elem(), path+"[]")
	case reflect.Struct:
		return c.checkFields(t, path)
	}
	return nil
}

func (c *filterCheck) checkFields(t reflect.Type, path string) error {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		at := path + "." + f.Name
		_, embedded := embeddedStruct(f)
		switch {
		case f.Name == "_":
			continue
		case !f.IsExported() && !embedded:
			return fmt.Errorf("%s (%v) is not exported, so two filters that differ in it would be one key", at, f.Type)
		case name == "-":
			return fmt.Errorf(`%s (%v) is tagged json:"-", so two filters that differ in it would be one key`, at, f.Type)
		}
		if err := c.check(f.Type, at); err != nil {
			return err
		}
	}
	return nil
}
