package aside

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// One entry is one Redis string, and the string is one document that says in which state the entry is:
//
//	no key     nothing is cached, nobody loads
//	leased     {"lease":"<token>"}                          somebody loads, and may fill
//	           {"lease":"<token>","waited":true}            the same, and somebody waits for it
//	           {"lease":"<token>","returned":true}          the load ended without a value to store
//	present    {"id":"<token>","fresh":…,"claim":…,"backoff":…,"took":…,"v":…,"size":…,"value":<JSON>}
//	           {"id":"<token>",…,"v":…,"size":…}⏎<bytes>    a value that is not JSON
//	absent     {"id":"<token>",…,"v":…,"absent":true}
//	held       {"hold":…}                                   nothing may be cached for now
//
// The scripts tell the states apart by how a document begins and never look at a value, so the first field
// of each state, and the order and width of the header's fields, are part of the format.
type entry struct {
	state   state
	token   []byte // of the lease, or the id of the stored value; shares memory with the document
	fresh   int64  // ms since 1970 until which a hit needs no refresh
	claim   int64  // ms since 1970, by the server's clock, until which nobody else may refresh
	backoff int64  // ms by which the last failed refresh put off the next one; 0 after a success
	took    int64  // ms that the load took
	version int    // WithVersion of the writer
	value   []byte // what the codec wrote; shares memory with the document
	ours    bool   // laid out as render does it, so that the claim can be written in place
}

type state int

const (
	none     state = iota // no key
	leased                // somebody loads
	returned              // somebody loaded and had nothing to store
	present               // a value
	absent                // the loader said that there is no row
	held                  // nothing may be cached
	unknown               // corrupt or foreign: a miss, replaced by the next load
)

func (s state) String() string {
	return [...]string{"none", "leased", "returned", "present", "absent", "held", "unknown"}[s]
}

const (
	leasePrefix = `{"lease":"`
	idPrefix    = `{"id":"`
	holdPrefix  = `{"hold":`

	stampWidth   = 13                // digits of a time in ms; padded with spaces, which JSON allows, so that a claim fits in place
	latestStamp  = 9_999_999_999_999 // in the year 2286
	backoffWidth = 5
	noStamp      = "0000000000.000000" // seconds and microseconds since 1970
	headerSize   = 192                 // of a document beside its value, or a little more
	freshField   = `","fresh":`
	claimField   = `,"claim":`
	backoffField = `,"backoff":`
	absentField  = `,"absent":true}`
	sizeField    = `,"size":` // of the value: nothing else would tell a codec that it was cut short
	valueField   = `,"value":`
)

// parse tells what a document means; nil is the missing key. It accepts whatever Redis may hold and never fails: what
// it does not understand is unknown.
func parse(doc []byte) entry {
	switch {
	case doc == nil:
		return entry{state: none}
	case bytes.HasPrefix(doc, []byte(holdPrefix)):
		return entry{state: held} // whatever follows: a hold in a format that this version does not know is a hold
	case bytes.HasPrefix(doc, []byte(leasePrefix)):
		return parseLease(doc)
	}
	if e, ok := parseHeader(doc); ok {
		return e
	}
	return parseJSON(doc)
}

// parseLease takes for a lease what the scripts do: what begins like one.
func parseLease(doc []byte) entry {
	s := scanner{rest: doc, ok: true}
	s.skip(leasePrefix)
	token := s.token()
	switch {
	case !s.ok:
		return entry{state: unknown}
	case bytes.HasSuffix(doc, []byte(`,"returned":true}`)):
		return entry{state: returned, token: token}
	default:
		return entry{state: leased, token: token}
	}
}

// parseHeader reads a document in the layout of render, without a pass of a JSON parser over the value.
func parseHeader(doc []byte) (entry, bool) {
	e := entry{state: present, ours: true}
	s := scanner{rest: doc, ok: true}
	s.skip(idPrefix)
	e.token = s.token()
	s.skip(freshField)
	e.fresh = s.padded(stampWidth)
	s.skip(claimField)
	e.claim = s.padded(stampWidth)
	s.skip(backoffField)
	e.backoff = s.padded(backoffWidth)
	s.skip(`,"took":`)
	e.took = s.number()
	s.skip(`,"v":`)
	e.version = int(s.number())
	if !s.ok {
		return entry{}, false
	}
	if string(s.rest) == absentField {
		e.state = absent
		return e, true
	}
	s.skip(sizeField)
	e.value = s.value(s.number())
	return e, s.ok
}

// parseJSON reads values and absences that are laid out otherwise: by hand, or by a newer version with more fields.
func parseJSON(doc []byte) entry {
	var d struct {
		ID      string          `json:"id"`
		Fresh   int64           `json:"fresh"`
		Took    int64           `json:"took"`
		Version int             `json:"v"`
		Absent  bool            `json:"absent"`
		Value   json.RawMessage `json:"value"`
	}
	if json.Unmarshal(doc, &d) != nil {
		return entry{state: unknown}
	}
	e := entry{token: []byte(d.ID), fresh: d.Fresh, took: d.Took, version: d.Version, value: d.Value}
	switch {
	case d.ID != "" && d.Absent:
		e.state = absent
	case d.ID != "" && d.Value != nil:
		e.state = present
	default:
		return entry{state: unknown}
	}
	return e
}

// prefix is how the document begins as long as it is this one: what a script compares before it replaces it.
func (e *entry) prefix() string {
	switch e.state {
	case leased, returned:
		return leasePrefix + string(e.token) + `"`
	default:
		return idPrefix + string(e.token) + `"`
	}
}

// leasedAt is when the server made the lease, in ms since 1970: its token ends with that. It is 0 if it does not.
func (e *entry) leasedAt() int64 {
	stamp := e.token[bytes.LastIndexByte(e.token, '-')+1:]
	seconds, us, _ := bytes.Cut(stamp, []byte("."))
	s, err1 := strconv.ParseInt(string(seconds), 10, 64)
	u, err2 := strconv.ParseInt(string(us), 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return s*1000 + u/1000
}

// claimAt is where in the document the claim stands.
func (e *entry) claimAt() int {
	return len(idPrefix) + len(e.token) + len(freshField) + stampWidth + len(claimField)
}

// A header is what is stored beside a value.
type header struct {
	nonce   string // of the id, after which the script that stores the document writes the server's time
	fresh   time.Time
	took    time.Duration
	version int
	absent  bool
}

// stampAt is where in the document the server's time belongs.
func (h *header) stampAt() int { return len(idPrefix) + len(h.nonce) + len("-") }

// document returns the document of value, the codec's bytes. isJSON tells whether they may stand inside it.
func (h *header) document(value []byte, isJSON bool) []byte {
	dst := make([]byte, 0, len(value)+headerSize)
	dst = append(dst, idPrefix...)
	dst = append(dst, h.nonce...)
	dst = append(dst, '-')
	dst = append(dst, noStamp...)
	dst = append(dst, freshField...)
	dst = appendPadded(dst, min(h.fresh.UnixMilli(), latestStamp), stampWidth)
	dst = append(dst, claimField...)
	dst = appendPadded(dst, 0, stampWidth)
	dst = append(dst, backoffField...)
	dst = appendPadded(dst, 0, backoffWidth)
	dst = append(dst, `,"took":`...)
	dst = strconv.AppendInt(dst, max(1, h.took.Milliseconds()), 10)
	dst = append(dst, `,"v":`...)
	dst = strconv.AppendInt(dst, int64(h.version), 10)
	if h.absent {
		return append(dst, absentField...)
	}
	dst = append(dst, sizeField...)
	dst = strconv.AppendInt(dst, int64(len(value)), 10)
	if !isJSON {
		dst = append(dst, "}\n"...)
		return append(dst, value...)
	}
	dst = append(dst, valueField...)
	dst = append(dst, value...)
	return append(dst, '}')
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
	s.skip("}\n")
	s.ok = s.ok && int64(len(s.rest)) == size
	return s.rest
}

// token reads up to the closing quote. What is no plain token (an escape, a control character) is left to parseJSON.
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
