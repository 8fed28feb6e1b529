package aside

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// These tests are inside the package because the layout of a document shows outside only in what the scripts do to it.

const (
	testNonce = "ABCDEFGHIJKLMNOP-1z"
	testToken = testNonce + "-1790000000.123456"
)

// rendered is the document that a fill stores.
func rendered(h header, value []byte, isJSON bool) []byte {
	h.nonce = testNonce
	doc := h.document(value, isJSON)
	copy(doc[h.stampAt():], "1790000000.123456")
	return doc
}

var testHeader = header{fresh: time.UnixMilli(1790000300000), took: 12 * time.Millisecond, version: 3}

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
			doc := rendered(testHeader, []byte(test.value), test.isJSON)
			e := parse(doc)
			if e.state != present || !e.ours || string(e.token) != testToken || e.version != 3 || e.took != 12 ||
				e.fresh != testHeader.fresh.UnixMilli() || e.claim != 0 || e.backoff != 0 {
				t.Errorf("%q is parsed as %+v", doc, e)
			}
			if e.value == nil || string(e.value) != test.value {
				t.Errorf("the value is %q, want %q", e.value, test.value)
			}
			if test.isJSON && !json.Valid(doc) {
				t.Errorf("%s is not JSON", doc)
			}
			if !bytes.HasPrefix(doc, []byte(e.prefix())) {
				t.Errorf("%q does not begin with %q", doc, e.prefix())
			}
		})
	}
}

func TestARememberedAbsenceIsParsedBack(t *testing.T) {
	h := testHeader
	h.absent = true
	doc := rendered(h, nil, false)
	if e := parse(doc); e.state != absent || !e.ours || e.version != 3 || !json.Valid(doc) {
		t.Errorf("%s is parsed as %+v", doc, e)
	}
}

// A claim is written over the old one, and a back-off after it: whatever the times are, the document stays what it was.
func TestAClaimFitsInPlace(t *testing.T) {
	for _, fresh := range []time.Time{time.UnixMilli(0), testHeader.fresh, time.Date(2286, 1, 1, 0, 0, 0, 0, time.UTC)} {
		h := testHeader
		h.fresh = fresh
		doc := rendered(h, []byte(`{"Price":100}`), true)
		e := parse(doc)
		claim := appendPadded(nil, 1790000123456, stampWidth)
		copy(doc[e.claimAt():], append(append(claim, backoffField...), appendPadded(nil, 10000, backoffWidth)...))
		claimed := parse(doc)
		if claimed.claim != 1790000123456 || claimed.backoff != 10000 || claimed.fresh != fresh.UnixMilli() ||
			string(claimed.value) != `{"Price":100}` || !claimed.ours {
			t.Errorf("%s is parsed as %+v", doc, claimed)
		}
	}
}

func TestEveryStateIsToldApart(t *testing.T) {
	tests := map[string]state{
		`{"lease":"a-1-2.3"}`:                              leased,
		`{"lease":"a-1-2.3","waited":true}`:                leased,
		`{"lease":"a-1-2.3","returned":true}`:              returned,
		`{"hold":{"t":123}}`:                               held,
		`{"hold":"in a format to come"}`:                   held,
		`{"hold":`:                                         held,
		`{"id":"x","fresh":1,"value":{}}`:                  present,
		` { "value" : 1 , "fresh" : 1 , "id" : "x" } `:     present,
		`{"id":"\u0078","fresh":1,"value":null}`:           present,
		`{"id":"x","fresh":1,"absent":true}`:               absent,
		`{"id":"x","fresh":1,"absent":true,"color":"red"}`: absent,
		``:                            unknown,
		` `:                           unknown,
		`null`:                        unknown,
		`1`:                           unknown,
		`[]`:                          unknown,
		`{}`:                          unknown,
		`hello`:                       unknown,
		`{"id":`:                      unknown,
		`{"id":"`:                     unknown,
		`{"id":"x"}`:                  unknown,
		`{"id":7,"value":1}`:          unknown,
		`{"id":"","value":1}`:         unknown,
		`{"lease":`:                   unknown,
		`{"lease":""}`:                unknown,
		`{"lease":"a`:                 unknown,
		"\x80\x04\x95\x10":            unknown, // a pickle
		`O:7:"Product":1:{s:2:"id";}`: unknown, // of PHP
	}
	for doc, want := range tests {
		if got := parse([]byte(doc)).state; got != want {
			t.Errorf("%s is %v, want %v", doc, got, want)
		}
	}
	if got := parse(nil).state; got != none {
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
		if got := parse([]byte(doc)).state; got == leased || got == returned || got == held {
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
	h.absent = true
	f.Add(rendered(h, nil, false))
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

// FuzzParse: whatever Redis holds, parse neither panics nor takes a document for one whose claim can be written in place
// where the claim stands elsewhere.
func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		before := bytes.Clone(doc)
		e := parse(doc)
		if !bytes.Equal(doc, before) {
			t.Fatalf("parse changed %q", before)
		}
		if e.state == none && doc != nil {
			t.Errorf("%q is taken for the missing key", doc)
		}
		if (e.state == present) != (e.value != nil) {
			t.Errorf("%q is %v with the value %q", doc, e.state, e.value)
		}
		if (e.state == held) != bytes.HasPrefix(doc, []byte(holdPrefix)) {
			t.Errorf("%q is %v", doc, e.state)
		}
		if e.ours {
			checkOurs(t, doc, e)
		}
	})
}

// checkOurs checks that a script which knows e finds what it looks for.
func checkOurs(t *testing.T, doc []byte, e entry) {
	if !bytes.HasPrefix(doc, []byte(e.prefix())) {
		t.Errorf("%q does not begin with %q", doc, e.prefix())
	}
	at := e.claimAt()
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
	if c := parse(claimed); c.claim != 1790000123456 || c.state != e.state || c.fresh != e.fresh || !bytes.Equal(c.value, e.value) {
		t.Errorf("%q with a claim is parsed as %+v", doc, c)
	}
}

// FuzzRender: what is rendered is parsed back, and no truncation of it is taken for a value.
func FuzzRender(f *testing.F) {
	for _, value := range []string{`{"a":{"b":{}}}`, `[{},{}]`, `12`, `"}"`, "null", "", "}\n{}", "\x00"} {
		f.Add([]byte(value), int64(1790000300000), 3)
	}
	f.Fuzz(func(t *testing.T, value []byte, fresh int64, version int) {
		h := header{fresh: time.UnixMilli(fresh % 1e13), version: max(version, 0) % 1e9}
		doc := rendered(h, value, json.Valid(value))
		e := parse(doc)
		if fresh >= 0 && (e.state != present || !e.ours || !bytes.Equal(e.value, value) || e.version != h.version || e.fresh != fresh%1e13) {
			t.Fatalf("%q is parsed as %+v", doc, e)
		}
		for n := range doc {
			if cut := parse(doc[:n]); cut.state == present || cut.state == absent {
				t.Fatalf("%q, cut short after %d of %d bytes, is %v: %q", doc, n, len(doc), cut.state, cut.value)
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
		longer := parse([]byte(doc))
		shorter := longer
		shorter.token = longer.token[:len(longer.token)-1]
		if !strings.HasPrefix(doc, longer.prefix()) {
			t.Errorf("%s does not begin with its own %s", doc, longer.prefix())
		}
		if strings.HasPrefix(doc, shorter.prefix()) {
			t.Errorf("%s begins with %s", doc, shorter.prefix())
		}
	}
}
