package near

import (
	"net/url"
	"strings"
)

// An About is what a record is about: what was invalidated.
type About struct {
	Names    []string // of entries
	Tags     []string
	Prefixes []string // of whole caches: each entry whose name begins so
}

// Text is how a record in Redis has it: words with spaces between them. Each word begins with its
// kind. So a person can read it with redis-cli, and a program in another language can write it.
const (
	ofName   = '='
	ofTag    = '#'
	ofPrefix = '*'
)

func (a About) appendTo(text []byte) []byte {
	for _, kind := range [...]struct {
		is    byte
		words []string
	}{{ofName, a.Names}, {ofTag, a.Tags}, {ofPrefix, a.Prefixes}} {
		for _, word := range kind.words {
			if len(text) > 0 {
				text = append(text, ' ')
			}
			text = append(append(text, kind.is), escaped(word)...)
		}
	}
	return text
}

// escaped has no space, so that words stay apart. What needs no escape stays as it is.
func escaped(word string) string {
	if strings.ContainsAny(word, " %+") {
		return url.QueryEscape(word)
	}
	return word
}

func unescaped(word string) string {
	if !strings.Contains(word, "%") {
		return strings.ReplaceAll(word, "+", " ")
	}
	if plain, err := url.QueryUnescape(word); err == nil {
		return plain
	}
	return word
}

// each calls fn for what a record is about. Words of an unknown kind are of a later version, and mean everything.
func each(text string, fn func(kind byte, word string)) {
	for word := range strings.SplitSeq(text, " ") {
		switch {
		case word == "":
		case word[0] == ofName || word[0] == ofTag || word[0] == ofPrefix:
			fn(word[0], unescaped(word[1:]))
		default:
			fn(ofPrefix, "")
		}
	}
}
