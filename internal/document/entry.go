// Package document says what a Redis string means. It knows neither Redis nor the types of keys and values.
//
// A document is rendered by [Header.Render] and read by [Parse]. The scripts change three parts of it in place: the lease's
// "waited", and the claim and back-off of a value. So a document that a process has read may be older than the one in Redis,
// and [Entry.Prefix] is what stays the same as long as it is the same document.
package document

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// An Entry is what one Redis string means. The string is one document that says in which state the entry is:
//
//	no key     nothing is cached, nobody loads
//	leased     {"lease":"<token>","life":…}                 somebody loads, and may fill
//	           {"lease":"<token>","life":…,"waited":true}   the same, and somebody waits for it
//	           {"lease":"<token>","returned":true}          the load ended without a value to store
//	present    {"id":"<token>","fresh":…,"claim":…,"backoff":…,"took":…,"v":…,"tags":"…","size":…,"value":<JSON>}
//	           {"id":"<token>",…,"v":…,"size":…}⏎<bytes>    a value that is not JSON
//	absent     {"id":"<token>",…,"v":…,"absent":true}
//	held       {"hold":…}                                   nothing may be cached for now
//
// v is the version, made of WithVersion and the shape of V; see jsonvalue.Version. In a cache with
// WithSeal, a value and an absence have sealed bytes behind the header, and their size is called
// "sealed":
//
//	present    {"id":"<token>",…,"v":…,"tags":"…","sealed":…}⏎<bytes>
//	absent     {"id":"<token>",…,"v":…,"absent":true,"sealed":…}⏎<bytes>
//
// The scripts tell the states apart by how a document begins and never look at a value, so the first field
// of each state, and the order and width of the header's fields, are part of the format.
type Entry struct {
	State   State
	Token   []byte // of the lease, or the id of the stored value; shares memory with the document
	Fresh   int64  // in ms since 1970: a hit needs no refresh until then
	Claim   int64  // in ms since 1970, by the server's clock: nobody else may refresh until then
	Backoff int64  // ms by which the last failed refresh put off the next one; 0 after a success
	Took    int64  // ms that the load took
	Version int64  // of the writer: see jsonvalue.Version
	Tags    []byte // rendered, with spaces between them; shares memory with the document
	Value   []byte // what the codec wrote, or what is sealed; shares memory with the document
	Sealed  bool   // Value is sealed
	Lagging bool   // a hold that is there because replicas of the database lag
	Ours    bool   // laid out as Render does it, so that the claim can be written in place
}

// A State is what may be done with an entry: wait for it, serve it, or load it.
type State int

const (
	None     State = iota // no key
	Leased                // somebody loads
	Returned              // somebody loaded and had nothing to store
	Present               // a value
	Absent                // the loader said that there is no row
	Held                  // nothing may be cached
	Unknown               // corrupt or foreign: a miss, replaced by the next load
)

func (s State) String() string {
	return [...]string{"none", "leased", "returned", "present", "absent", "held", "unknown"}[s]
}

const (
	LeasePrefix = `{"lease":"`
	IDPrefix    = `{"id":"`
	holdPrefix  = `{"hold":`
	lagHolder   = `"lag":{` // which no other holder is called

	stampWidth   = 13                // digits of a time in ms; padded with spaces, which JSON allows, so that a claim fits in place
	latestStamp  = 9_999_999_999_999 // in the year 2286
	backoffWidth = 5
	noStamp      = "0000000000.000000" // seconds and microseconds since 1970
	headerSize   = 208                 // of a document beside its value, or a little more
	freshField   = `","fresh":`
	claimField   = `,"claim":`
	backoffField = `,"backoff":`
	absentField  = `,"absent":true`
	tagsField    = `,"tags":"`  // absent if there are none
	sizeField    = `,"size":`   // of the value: nothing else would tell a codec that it was cut short
	sealedField  = `,"sealed":` // size of what is sealed
	valueField   = `,"value":`
)

// Parse tells what a document means; nil is the missing key. It accepts whatever Redis may hold and never fails: what
// it does not understand is unknown.
func Parse(doc []byte) Entry {
	switch {
	case doc == nil:
		return Entry{State: None}
	case bytes.HasPrefix(doc, []byte(holdPrefix)):
		return Entry{State: Held, Lagging: bytes.Contains(doc, []byte(lagHolder))} // whatever follows: a hold in a format that this version does not know is a hold
	case bytes.HasPrefix(doc, []byte(LeasePrefix)):
		return parseLease(doc)
	}
	if e, ok := parseHeader(doc); ok {
		return e
	}
	return parseJSON(doc)
}

// parseLease takes for a lease what the scripts do: what begins like one.
func parseLease(doc []byte) Entry {
	s := scanner{rest: doc, ok: true}
	s.skip(LeasePrefix)
	token := s.token()
	switch {
	case !s.ok:
		return Entry{State: Unknown}
	case bytes.HasSuffix(doc, []byte(`,"returned":true}`)):
		return Entry{State: Returned, Token: token}
	default:
		return Entry{State: Leased, Token: token}
	}
}

// parseHeader reads a document in the layout of Render, without a pass of a JSON parser over the value.
func parseHeader(doc []byte) (Entry, bool) {
	e := Entry{State: Present, Ours: true}
	s := scanner{rest: doc, ok: true}
	s.skip(IDPrefix)
	e.Token = s.token()
	s.skip(freshField)
	e.Fresh = s.padded(stampWidth)
	s.skip(claimField)
	e.Claim = s.padded(stampWidth)
	s.skip(backoffField)
	e.Backoff = s.padded(backoffWidth)
	s.skip(`,"took":`)
	e.Took = s.number()
	s.skip(`,"v":`)
	e.Version = s.number()
	if !s.ok {
		return Entry{}, false
	}
	if bytes.HasPrefix(s.rest, []byte(absentField)) {
		e.State = Absent
		s.skip(absentField)
		if string(s.rest) == "}" {
			return e, true
		}
	} else {
		e.Tags = s.tags()
	}
	if e.Sealed = e.State == Absent || bytes.HasPrefix(s.rest, []byte(sealedField)); e.Sealed {
		s.skip(sealedField)
		e.Value = s.behind(s.number())
	} else {
		s.skip(sizeField)
		e.Value = s.value(s.number())
	}
	return e, s.ok
}

// parseJSON reads values and absences that are laid out otherwise: by hand, or by a newer version with more fields.
func parseJSON(doc []byte) Entry {
	var d struct {
		ID      string          `json:"id"`
		Fresh   int64           `json:"fresh"`
		Took    int64           `json:"took"`
		Version int64           `json:"v"`
		Tags    string          `json:"tags"`
		Absent  bool            `json:"absent"`
		Value   json.RawMessage `json:"value"`
		Sealed  json.RawMessage `json:"sealed"`
	}
	if json.Unmarshal(doc, &d) != nil || d.Sealed != nil { // what is sealed was cut off
		return Entry{State: Unknown}
	}
	e := Entry{Token: []byte(d.ID), Fresh: d.Fresh, Took: d.Took, Version: d.Version, Tags: []byte(d.Tags), Value: d.Value}
	switch {
	case d.ID != "" && d.Absent:
		e.State = Absent
	case d.ID != "" && d.Value != nil:
		e.State = Present
	default:
		return Entry{State: Unknown}
	}
	return e
}

// Prefix is how the document begins as long as it is this one: what a script compares before it replaces it.
func (e *Entry) Prefix() string {
	switch e.State {
	case Leased, Returned:
		return LeasePrefix + string(e.Token) + `"`
	default:
		return IDPrefix + string(e.Token) + `"`
	}
}

// LeasedAt is when the server made the lease, in ms since 1970: its token ends with that. It is 0 if it does not.
func (e *Entry) LeasedAt() int64 {
	stamp := e.Token[bytes.LastIndexByte(e.Token, '-')+1:]
	seconds, us, _ := bytes.Cut(stamp, []byte("."))
	s, err1 := strconv.ParseInt(string(seconds), 10, 64)
	u, err2 := strconv.ParseInt(string(us), 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return s*1000 + u/1000
}

// ClaimAt is where in the document the claim stands.
func (e *Entry) ClaimAt() int {
	return len(IDPrefix) + len(e.Token) + len(freshField) + stampWidth + len(claimField)
}

// A Header is what is stored beside a value.
type Header struct {
	Nonce   string // of the id; the script that stores the document writes the server's time behind it
	Fresh   time.Time
	Took    time.Duration
	Version int64
	Tags    []string // rendered
	Absent  bool
	Sealed  bool // what is rendered with it, of an absence as well
}

// StampAt is where in the document the server's time belongs.
func (h *Header) StampAt() int { return len(IDPrefix) + len(h.Nonce) + len("-") }

// Render returns the document of value: the codec's bytes, or sealed ones. isJSON tells whether the
// codec's bytes may stand inside the document as they are.
func (h *Header) Render(value []byte, isJSON bool) []byte {
	tags := strings.Join(h.Tags, " ")
	dst := make([]byte, 0, len(value)+headerSize+len(tags))
	dst = append(dst, IDPrefix...)
	dst = append(dst, h.Nonce...)
	dst = append(dst, '-')
	dst = append(dst, noStamp...)
	dst = append(dst, freshField...)
	dst = appendPadded(dst, min(h.Fresh.UnixMilli(), latestStamp), stampWidth)
	dst = append(dst, claimField...)
	dst = appendPadded(dst, 0, stampWidth)
	dst = append(dst, backoffField...)
	dst = appendPadded(dst, 0, backoffWidth)
	dst = append(dst, `,"took":`...)
	dst = strconv.AppendInt(dst, max(1, h.Took.Milliseconds()), 10)
	dst = append(dst, `,"v":`...)
	dst = strconv.AppendInt(dst, h.Version, 10)
	if h.Absent {
		dst = append(dst, absentField...)
	} else if tags != "" {
		dst = append(dst, tagsField...)
		dst = append(dst, tags...)
		dst = append(dst, '"')
	}
	switch {
	case h.Sealed:
		return appendBehind(dst, sealedField, value)
	case h.Absent:
		return append(dst, '}')
	case !isJSON:
		return appendBehind(dst, sizeField, value)
	}
	dst = append(dst, sizeField...)
	dst = strconv.AppendInt(dst, int64(len(value)), 10)
	dst = append(dst, valueField...)
	dst = append(dst, value...)
	return append(dst, '}')
}

// appendBehind ends a header with the size of value, and appends value.
func appendBehind(dst []byte, sizeField string, value []byte) []byte {
	dst = append(dst, sizeField...)
	dst = strconv.AppendInt(dst, int64(len(value)), 10)
	dst = append(dst, "}\n"...)
	return append(dst, value...)
}

// BackoffField is what a failed refresh writes behind the claim: how long the next one is put off.
func BackoffField(backoff time.Duration) []byte {
	return appendPadded([]byte(backoffField), backoff.Milliseconds(), backoffWidth)
}

// appendPadded appends n right-aligned in width bytes.
func appendPadded(dst []byte, n int64, width int) []byte {
	start := len(dst)
	dst = strconv.AppendInt(dst, n, 10)
	for len(dst)-start < width {
		dst = append(dst, ' ')
		copy(dst[start+1:], dst[start:])
		dst[start] = ' '
	}
	return dst
}

// A scanner walks over a document; after the first mismatch ok is false and stays so.
type scanner struct {
	rest []byte
	ok   bool
}

func (s *scanner) skip(literal string) {
	if s.ok = s.ok && len(s.rest) >= len(literal) && string(s.rest[:len(literal)]) == literal; s.ok {
		s.rest = s.rest[len(literal):]
	}
}

// value reads what is left: a value of this size, inside the document or behind it.
func (s *scanner) value(size int64) []byte {
	if bytes.HasPrefix(s.rest, []byte(valueField)) {
		s.skip(valueField)
		if s.ok = s.ok && int64(len(s.rest)) == size+1 && s.rest[size] == '}'; !s.ok {
			return nil
		}
		return s.rest[:size]
	}
	return s.behind(size)
}

// behind reads what is left: bytes of this size, behind the document.
func (s *scanner) behind(size int64) []byte {
	s.skip("}\n")
	s.ok = s.ok && int64(len(s.rest)) == size
	return s.rest
}

// tags reads the tags, if there are any. What a rendered tag does not hold is left to parseJSON.
func (s *scanner) tags() []byte {
	if !s.ok || !bytes.HasPrefix(s.rest, []byte(tagsField)) {
		return nil
	}
	s.skip(tagsField)
	end := bytes.IndexByte(s.rest, '"')
	if s.ok = end >= 0 && bytes.IndexByte(s.rest[:end], '\\') < 0; !s.ok {
		return nil
	}
	tags := s.rest[:end]
	s.rest = s.rest[end+1:]
	return tags
}

// token reads up to the closing quote. A token with an escape or a control character is left to
// parseJSON.
func (s *scanner) token() []byte {
	end := bytes.IndexByte(s.rest, '"')
	if s.ok = s.ok && end > 0 && isToken(s.rest[:end]); !s.ok {
		return nil
	}
	token := s.rest[:end]
	s.rest = s.rest[end:]
	return token
}

func isToken(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

// padded reads a number that is right-aligned in width bytes, as appendPadded writes it.
func (s *scanner) padded(width int) int64 {
	before := len(s.rest)
	n := s.number()
	s.ok = s.ok && before-len(s.rest) == width
	return n
}

// number reads an int64, after spaces.
func (s *scanner) number() (n int64) {
	s.rest = bytes.TrimLeft(s.rest, " ")
	i := 0
	negative := i < len(s.rest) && s.rest[i] == '-'
	if negative {
		i++
	}
	digits := i
	for i < len(s.rest) && i-digits <= 19 && '0' <= s.rest[i] && s.rest[i] <= '9' {
		n = n*10 + int64(s.rest[i]-'0')
		i++
	}
	if s.ok = s.ok && i > digits && i-digits <= 19 && n >= 0; !s.ok {
		return 0
	}
	s.rest = s.rest[i:]
	if negative {
		return -n
	}
	return n
}
