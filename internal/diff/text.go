package diff

import (
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// The sides of a Difference become text only when they are asked for: they may be large, and secret.

func text(s string) func() string { return func() string { return s } }

func shown(v reflect.Value) func() string { return func() string { return brief(v) } }

func typed(v reflect.Value) func() string {
	return func() string { return short(fmt.Sprintf("%s (%v)", brief(v), v.Type())) }
}

func nilOrEmpty(v reflect.Value) func() string {
	if v.IsNil() {
		return text(fmt.Sprintf("%v(nil)", v.Type()))
	}
	return text(fmt.Sprintf("%v{}", v.Type()))
}

var missing = text("(missing)")

// Brief prints a value on one line that is not too long.
func Brief[V any](v V) string { return brief(reflect.ValueOf(&v).Elem()) }

func brief(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.String:
		return short(fmt.Sprintf("%q", v.String()))
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return short(fmt.Sprintf("&%+v", v.Elem()))
	default:
		return short(fmt.Sprintf("%+v", v))
	}
}

func short(s string) string {
	const most = 160
	s = strings.ReplaceAll(s, "\n", `\n`)
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}

// hintOf says what the difference of two leaves may come from.
func hintOf(a, b reflect.Value) string {
	if s, ok := timeOf(a); ok {
		t, _ := timeOf(b)
		return hintOfTimes(s, t)
	}
	if a.Kind() == reflect.String && (!utf8.ValidString(a.String()) || !utf8.ValidString(b.String())) {
		return "it is not UTF-8"
	}
	return ""
}

func hintOfTimes(a, b time.Time) string {
	_, offset := a.Zone()
	switch {
	case a.Equal(b):
		return "another offset, or another name of the zone: t.UTC() in the loader gives both the same"
	case offset%60 != 0:
		return "its offset from UTC has seconds, which JSON does not write: t.UTC() in the loader has none"
	default:
		return fmt.Sprintf("they are %v apart", a.Sub(b).Abs())
	}
}
