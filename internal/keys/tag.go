package keys

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Tags escapes tags as parts of keys are, so that they hold no space, which separates them in Redis. It returns them sorted, each
// once.
func Tags(tags []string) []string {
	rendered := make([]string, len(tags))
	for i, tag := range tags {
		if rendered[i] = Tag(tag); tag == "" {
			rendered[i] = "%" // which no other tag is: lists of tags are separated by spaces
		}
	}
	slices.Sort(rendered)
	return slices.Compact(rendered)
}

// Tag escapes as well what a string in JSON does not hold as it is, since documents name their tags.
func Tag(tag string) string {
	dst := appendEscaped(nil, tag, false)
	if invalid := !utf8.ValidString(tag); invalid || strings.ContainsAny(tag, `"\`) {
		var b []byte
		for _, c := range dst {
			if c == '"' || c == '\\' || c >= utf8.RuneSelf && invalid {
				b = fmt.Appendf(b, "%%%02X", c)
			} else {
				b = append(b, c)
			}
		}
		dst = b
	}
	return string(shortened(dst, 0))
}

// Scope escapes the name of a scope. '=' is escaped as well, so that a scope ends where a tag that follows it begins.
func Scope(scope string) string {
	return strings.ReplaceAll(string(shortened(appendEscaped(nil, scope, false), 0)), "=", "%3D")
}
