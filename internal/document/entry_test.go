package document

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/keys"
)

const (
	testNonce = "ABCDEFGHIJKLMNOP-1z"
	testToken = testNonce + "-1790000000.123456"
)

// rendered is the document that a fill stores.
func rendered(h Header, value []byte, isJSON bool) []byte {
	h.Nonce = testNonce
	doc := h.Render(value, isJSON)
	copy(doc[h.StampAt():], "1790000000.123456")
	return doc
}

var testHeader = Header{Fresh: time.UnixMilli(1790000300000), Took: 12 * time.Millisecond, Version: 3}

func TestWhatIsRenderedIsParsedBack(t *testing.T) {
	tests := map[string]struct {
		value  string
		isJSON bool
	}{
		"an object":                  {`{"ID":1,"Tags":["}","\""],"Sub":{"a":{}}}`, true},
		"null":                       {`null`, true},
		"a number":                   {`12`, true},
		"an empty string":            {`""`, true},
		"JSON with a newline":        {"[1]\n", true},
		"nothing":                    {"", false},
		"newlines and braces":        {"}\n{\"id\":\"x\"}\n}", false},
		"binary":                     {"\x1f\x8b\x00\xff", false},
		"something like a document":  {`{"lease":"x"}`, true},
		"a header's end and no JSON": {`,"absent":true}`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, tags := range [][]string{nil, {"lamps"}, keys.Tags([]string{"", "a b", "\"", "\\", "\xff", "ü", "{x}", "\u2028"})} {
				h := testHeader
				h.Tags = tags
				doc := rendered(h, []byte(test.value), test.isJSON)
				e := Parse(doc)
				if string(e.Tags) != strings.Join(tags, " ") {
					t.Errorf("the tags of %s are %q, want %q", doc, e.Tags, tags)
				}
				if test.isJSON {
					if e := parseJSON(doc); string(e.Tags) != strings.Join(tags, " ") {
						t.Errorf("the tags of %s are %q by JSON, want %q", doc, e.Tags, tags)
					}
				}
				if e.State != Present || !e.Ours || string(e.Token) != testToken || e.Version != 3 || e.Took != 12 ||
					e.Fresh != testHeader.Fresh.UnixMilli() || e.Claim != 0 || e.Backoff != 0 {
					t.Errorf("%q is parsed as %+v", doc, e)
				}
				if e.Value == nil || string(e.Value) != test.value {
					t.Errorf("the value is %q, want %q", e.Value, test.value)
				}
				if test.isJSON && !json.Valid(doc) {
					t.Errorf("%s is not JSON", doc)
				}
				if !bytes.HasPrefix(doc, []byte(e.Prefix())) {
					t.Errorf("%q does not begin with %q", doc, e.Prefix())
				}
			}
		})
	}
}

func TestARememberedAbsenceIsParsedBack(t *testing.T) {
	h := testHeader
	h.Absent = true
	doc := rendered(h, nil, false)
	if e := Parse(doc); e.State != Absent || !e.Ours || e.Version != 3 || !json.Valid(doc) {
		t.Errorf("%s is parsed as %+v", doc, e)
	}
}

// What is sealed lies behind the header, of a value and of an absence, and is told from what a codec wrote.
func TestWhatIsSealedIsParsedBack(t *testing.T) {
	for _, absent := range []bool{false, true} {
		for _, sealed := range []string{"", "\x00", "}\n{}", `{"json":1}`, "\x1f\x8b\x00\xff"} {
			h := testHeader
			h.Absent, h.Sealed = absent, true
			doc := rendered(h, []byte(sealed), true)
			want := map[bool]State{false: Present, true: Absent}[absent]
			e := Parse(doc)
			if e.State != want || !e.Sealed || !e.Ours || e.Version != 3 || string(e.Value) != sealed {
				t.Errorf("%q is parsed as %+v", doc, e)
			}
			for n := range doc {
				if cut := Parse(doc[:n]); cut.State == Present || cut.State == Absent {
					t.Errorf("%q is %v", doc[:n], cut.State)
				}
			}
		}
	}
	if e := Parse(rendered(testHeader, []byte("bytes"), false)); e.Sealed {
		t.Errorf("what a codec wrote is parsed as %+v", e)
	}
}

// A claim is written over the old one, and a back-off after it: whatever the times are, the document stays what it was.
func TestAClaimFitsInPlace(t *testing.T) {
	for _, fresh := range []time.Time{time.UnixMilli(0), testHeader.Fresh, time.Date(2286, 1, 1, 0, 0, 0, 0, time.UTC)} {
		h := testHeader
		h.Fresh = fresh
		doc := rendered(h, []byte(`{"Price":100}`), true)
		e := Parse(doc)
		claim := appendPadded(nil, 1790000123456, stampWidth)
		copy(doc[e.ClaimAt():], append(append(claim, backoffField...), appendPadded(nil, 10000, backoffWidth)...))
		claimed := Parse(doc)
		if claimed.Claim != 1790000123456 || claimed.Backoff != 10000 || claimed.Fresh != fresh.UnixMilli() ||
			string(claimed.Value) != `{"Price":100}` || !claimed.Ours {
			t.Errorf("%s is parsed as %+v", doc, claimed)
		}
	}
}

func TestEveryStateIsToldApart(t *testing.T) {
	tests := map[string]State{
		`{"lease":"a-1-2.3"}`:                              Leased,
		`{"lease":"a-1-2.3","waited":true}`:                Leased,
		`{"lease":"a-1-2.3","returned":true}`:              Returned,
		`{"hold":{"t":123}}`:                               Held,
		`{"hold":"in a format to come"}`:                   Held,
		`{"hold":`:                                         Held,
		`{"id":"x","fresh":1,"value":{}}`:                  Present,
		` { "value" : 1 , "fresh" : 1 , "id" : "x" } `:     Present,
		`{"id":"\u0078","fresh":1,"value":null}`:           Present,
		`{"id":"x","fresh":1,"absent":true}`:               Absent,
		`{"id":"x","fresh":1,"absent":true,"color":"red"}`: Absent,
		``:                            Unknown,
		` `:                           Unknown,
		`null`:                        Unknown,
		`1`:                           Unknown,
		`[]`:                          Unknown,
		`{}`:                          Unknown,
		`hello`:                       Unknown,
		`{"id":`:                      Unknown,
		`{"id":"`:                     Unknown,
		`{"id":"x"}`:                  Unknown,
		`{"id":7,"value":1}`:          Unknown,
		`{"id":"","value":1}`:         Unknown,
		`{"lease":`:                   Unknown,
		`{"lease":""}`:                Unknown,
		`{"lease":"a`:                 Unknown,
		"\x80\x04\x95\x10":            Unknown, // a pickle
		`O:7:"Product":1:{s:2:"id";}`: Unknown, // of PHP
	}
	for doc, want := range tests {
		if got := Parse([]byte(doc)).State; got != want {
			t.Errorf("%s is %v, want %v", doc, got, want)
		}
	}
	if got := Parse(nil).State; got != None {
		t.Errorf("the missing key is %v", got)
	}
}

// The scripts know a lease and a hold by how they begin. What they do not take for one must not be taken for one here
// either: a read would wait for a lease that nobody holds, and that no lease command replaces.
func TestOnlyWhatTheScriptsKnowIsALeaseOrAHold(t *testing.T) {
	for _, doc := range []string{
		`{"tenant":"x","lease":"2026-01-01"}`, `{ "lease":"x" }`, `{"Lease":"x"}`, `{"LEASE":"x","returned":true}`,
		`{"id":7,"hold":false}`, `{"Hold":"until Monday"}`,
	} {
		if got := Parse([]byte(doc)).State; got == Leased || got == Returned || got == Held {
			t.Errorf("%s is %v", doc, got)
		}
	}
}

// addSeeds adds documents of every state and near-misses of them.
func addSeeds(f *testing.F) {
	h := testHeader
	for _, value := range []string{`{"a":{"b":{}}}`, `12`, `"}"`, "", "\x00}\n"} {
		f.Add(rendered(h, []byte(value), json.Valid([]byte(value))))
	}
	h.Absent = true
	f.Add(rendered(h, nil, false))
	h.Sealed = true
	f.Add(rendered(h, []byte("\x00}\n"), false))
	h.Absent = false
	f.Add(rendered(h, []byte("\x00}\n"), false))
	for _, doc := range []string{
		``, `{"lease":"a-1-2.3"}`, `{"lease":"a","waited":true}`, `{"lease":"a","returned":true}`, `{"hold":{"t":1}}`,
		`{"id":"x","fresh":1,"claim":0,"backoff":0,"took":1,"v":0,"value":1}`,
		`{"id":"x","fresh":             1,"claim":0000000000000,"backoff":    0,"took":1,"v":0,"absent":true}`,
		`{"id":"x","fresh":    1790000000,"claim":            -0,"backoff":    0,"took":-1,"v":-2,"size":1}` + "\nx",
		`{"id":"x\u0000","fresh":1,"value":1}`, `{"id":"x","fresh":1e3,"value":[]}`,
		`{"id":"x","fresh":9999999999999999999,"value":[]}`,
	} {
		f.Add([]byte(doc))
	}
}

// FuzzParse: whatever Redis holds, Parse neither panics nor takes a document for one whose claim can be written in place
// where the claim stands elsewhere.
func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		before := bytes.Clone(doc)
		e := Parse(doc)
		if !bytes.Equal(doc, before) {
			t.Fatalf("parse changed %q", before)
		}
		if e.State == None && doc != nil {
			t.Errorf("%q is taken for the missing key", doc)
		}
		if (e.State == Present || e.Sealed) != (e.Value != nil) || e.Sealed && e.State != Present && e.State != Absent {
			t.Errorf("%q is %v with the value %q", doc, e.State, e.Value)
		}
		if (e.State == Held) != bytes.HasPrefix(doc, []byte(holdPrefix)) {
			t.Errorf("%q is %v", doc, e.State)
		}
		if e.Ours {
			checkOurs(t, doc, e)
		}
	})
}

// checkOurs checks that a script which knows e finds what it looks for.
func checkOurs(t *testing.T, doc []byte, e Entry) {
	if !bytes.HasPrefix(doc, []byte(e.Prefix())) {
		t.Errorf("%q does not begin with %q", doc, e.Prefix())
	}
	at := e.ClaimAt()
	end := at + stampWidth
	tail := end + len(backoffField) + backoffWidth
	if tail > len(doc) {
		t.Fatalf("the claim of %q would be at %d", doc, at)
	}
	if before, after := string(doc[:at]), string(doc[end:tail]); !strings.HasSuffix(before, claimField) || !strings.HasPrefix(after, backoffField) {
		t.Fatalf("the claim of %q is not at %d", doc, at)
	}
	if doc[tail] != ',' {
		t.Fatalf("a back-off would overwrite what follows it in %q", doc)
	}
	claimed := bytes.Clone(doc)
	copy(claimed[at:], appendPadded(nil, 1790000123456, stampWidth))
	if c := Parse(claimed); c.Claim != 1790000123456 || c.State != e.State || c.Fresh != e.Fresh || !bytes.Equal(c.Value, e.Value) {
		t.Errorf("%q with a claim is parsed as %+v", doc, c)
	}
}

// FuzzRender: what is rendered is parsed back, and no truncation of it is taken for a value.
func FuzzRender(f *testing.F) {
	for _, value := range []string{`{"a":{"b":{}}}`, `[{},{}]`, `12`, `"}"`, "null", "", "}\n{}", "\x00"} {
		f.Add([]byte(value), int64(1790000300000), 3)
	}
	f.Fuzz(func(t *testing.T, value []byte, fresh int64, version int) {
		h := Header{
			Fresh: time.UnixMilli(fresh % 1e13), Version: int64(max(version, 0) % 1e9), Tags: keys.Tags([]string{string(value), "a"}),
		}
		doc := rendered(h, value, json.Valid(value))
		e := Parse(doc)
		if fresh >= 0 && (e.State != Present || !e.Ours || !bytes.Equal(e.Value, value) || string(e.Tags) != strings.Join(h.Tags, " ") || e.Version != h.Version || e.Fresh != fresh%1e13) {
			t.Fatalf("%q is parsed as %+v", doc, e)
		}
		for n := range doc {
			if cut := Parse(doc[:n]); cut.State == Present || cut.State == Absent {
				t.Fatalf("%q, cut short after %d of %d bytes, is %v: %q", doc, n, len(doc), cut.State, cut.Value)
			}
		}
	})
}

// What a script compares ends where the token does: one token may begin with another.
func TestNoTokenStandsForALongerOne(t *testing.T) {
	for _, doc := range []string{
		`{"lease":"a-1-2.30"}`,
		string(rendered(testHeader, []byte("1"), true)),
	} {
		longer := Parse([]byte(doc))
		shorter := longer
		shorter.Token = longer.Token[:len(longer.Token)-1]
		if !strings.HasPrefix(doc, longer.Prefix()) {
			t.Errorf("%s does not begin with its own %s", doc, longer.Prefix())
		}
		if strings.HasPrefix(doc, shorter.Prefix()) {
			t.Errorf("%s begins with %s", doc, shorter.Prefix())
		}
	}
}
