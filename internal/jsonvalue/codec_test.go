package jsonvalue_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/jsonvalue"
)

// The default codec is not encoding/json, but has its meaning. Where the two may differ they are compared: the bytes that
// are written, the value that is read back, and whether there is an error at all.

type embedded struct{ Inner string }

type label string

type texted struct{ s string }

func (t texted) MarshalText() ([]byte, error) { return []byte("text:" + t.s), nil }
func (t *texted) UnmarshalText(b []byte) error {
	s, ok := strings.CutPrefix(string(b), "text:")
	if t.s = s; !ok {
		return errors.New("no text")
	}
	return nil
}

type pointerMarshaler struct{ N int }

func (p *pointerMarshaler) MarshalJSON() ([]byte, error) { return json.Marshal([]int{p.N}) }
func (p *pointerMarshaler) UnmarshalJSON(b []byte) error {
	var n []int
	err := json.Unmarshal(b, &n)
	if len(n) > 0 {
		p.N = n[0]
	}
	return err
}

type everything struct {
	embedded
	Bool        bool
	Int         int64
	Uint        uint8
	Float       float64
	Float32     float32
	String      string
	HTML        string
	Named       label
	Bytes       []byte
	ByteArray   [3]byte
	Ints        []int
	NilInts     []int
	EmptyInts   []int
	Array       [2]string
	Map         map[string]int
	NilMap      map[string]int
	IntMap      map[int]string
	TextMap     map[texted]int
	Pointer     *int
	NilPointer  *int
	Any         any
	Anys        []any
	Raw         json.RawMessage
	Number      json.Number
	Time        time.Time
	Duration    time.Duration
	Addr        netip.Addr
	Big         *big.Int
	Text        texted
	Own         pointerMarshaler
	Renamed     string         `json:"other_name"`
	Omitted     string         `json:",omitempty"`
	OmittedMap  map[string]int `json:",omitempty"`
	OmittedTime time.Time      `json:",omitempty"`
	Zero        time.Time      `json:",omitzero"`
	Quoted      int            `json:",string"`
	Ignored     string         `json:"-"`
	unexported  string
}

// A readings counts how often it was read.
type readings int

func (n *readings) UnmarshalJSON([]byte) error { *n++; return nil }

// oddities are what encoding/json does not mind, but its second version does.
type oddities struct {
	Before readings
	ID, Id int
}

type quotedOddities struct {
	//lint:ignore SA5008 that is one of them
	QuotedInts []int `json:",string"`
	//lint:ignore SA5008 and so is this
	QuotedAny any `json:",string"`
}

func sampleOfEverything() everything {
	n := 7
	return everything{
		embedded: embedded{"in"}, Bool: true, Int: math.MinInt64, Uint: 255, Float: 1e21, Float32: 0.1,
		String: "a\u2028b\x00\t\"\\\xff é", HTML: "<a&b>", Named: "n", Bytes: []byte{0, 255}, ByteArray: [3]byte{1, 2, 3},
		Ints: []int{3, 1}, EmptyInts: []int{}, Array: [2]string{"x"}, Map: map[string]int{"b": 1, "a": 2, "": 3},
		IntMap: map[int]string{-1: "m", 10: "t", 9: "n"}, TextMap: map[texted]int{{"k"}: 1}, Pointer: &n,
		Any: map[string]any{"z": 1.5, "y": []any{nil, true, "s"}}, Anys: []any{int64(1), nil},
		Raw: json.RawMessage(`{"a": [1, 2 ]}`), Number: "12.50", Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Duration: time.Second, Addr: netip.MustParseAddr("10.0.0.1"), Big: big.NewInt(1 << 60), Text: texted{"t"},
		Own: pointerMarshaler{5}, Renamed: "r", Quoted: 42, Ignored: "i", unexported: "u",
	}
}

func TestJSONMeansWhatEncodingJSONDoes(t *testing.T) {
	values := []any{
		sampleOfEverything(), everything{}, oddities{}, oddities{1, 1, 2}, quotedOddities{[]int{1}, "a"}, true, 1, math.Copysign(0, -1), 1e-7, 1e20, 123456789.125, "", "<>&\u2029", []string(nil), []string{},
		map[string]int(nil), map[string]int{}, [0]int{}, struct{}{}, []byte(nil), []byte{}, time.Time{}, time.Duration(-1),
		[]*int{nil}, map[string]*everything{"a": nil}, math.MaxFloat64, float32(math.MaxFloat32), uint64(math.MaxUint64),
		any(map[string]any{"n": json.Number("1e3")}), []json.Number{"", "-1"}, json.RawMessage("null"), []any{}, map[string]any{"a": map[string]any{}}, label("x"), [3]label{"a"},
		math.NaN(), math.Inf(1), json.Number("no"), json.RawMessage("{"), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), // errors
	}
	for _, v := range values {
		typ := reflect.TypeOf(v)
		p := reflect.New(typ)
		p.Elem().Set(reflect.ValueOf(v))
		want, wantErr := json.Marshal(p.Interface())
		got, err := jsonvalue.DefaultCodec(typ).Marshal(p.Interface())
		equal(t, "whether there is an error for "+typ.String(), err != nil, wantErr != nil)
		equal(t, "the JSON of "+typ.String(), string(got), string(want))
		if err == nil {
			sameReading(t, typ, want)
		}
	}
}

// What is read may come from elsewhere, or from an earlier version of the type.
func TestJSONIsReadAsEncodingJSONDoes(t *testing.T) {
	documents := map[string]any{
		`{"BOOL":true,"int":1,"STRING":"s","OTHER_NAME":"r"}`:     everything{},
		`{"Int":1,"Int":2,"int":3}`:                               everything{},
		`{"Ints":null,"Map":null,"Pointer":null,"String":null}`:   everything{},
		`{"Ints":[],"Array":["a","b","c"],"ByteArray":[1,2,3,4]}`: everything{},
		`{"Array":[],"Unknown":{"a":[1]},"Inner":"i"}`:            everything{},
		`{"Quoted":"7"}`:         everything{},
		`{"Quoted":7}`:           everything{},
		`{"Uint":256}`:           everything{},
		`{"Int":1.5}`:            everything{},
		`{"String":"\ud800"}`:    everything{},
		"{\"String\":\"\xff\"}":  everything{},
		`{"Bytes":"no base64"}`:  everything{},
		` [1 , 2]` + "\n":        []int{},
		`[1,2,]`:                 []int{},
		`[1] x`:                  []int{},
		``:                       []int{},
		`null`:                   []int{},
		`{"1":"a","-2":"b"}`:     map[int]string{},
		`{"x":1}`:                map[int]string{},
		`1e400`:                  0.0,
		`12345678901234567890`:   any(nil),
		`{"a":1,"a":{"b":2}}`:    map[string]any{},
		`"2026-01-02T03:04:05Z"`: time.Time{},
		`[1.50,"2",null,"",-0]`:  []json.Number{},
		`["no"]`:                 []json.Number{},
		`[true]`:                 []json.Number{},
		`"yesterday"`:            time.Time{},
		`{"Before":1,"id":2}`:    oddities{},
	}
	for doc, v := range documents {
		typ := reflect.TypeOf(&v).Elem()
		if v != nil {
			typ = reflect.TypeOf(v)
		}
		sameReading(t, typ, []byte(doc))
	}
}

// sameReading compares how both read data into a zero value.
func sameReading(t *testing.T, typ reflect.Type, data []byte) {
	t.Helper()
	if err := jsonvalue.ReadsOtherwise(typ, data); err != nil {
		t.Error(err)
	}
}

func FuzzJSONIsReadAsEncodingJSONDoes(f *testing.F) {
	sample, err := json.Marshal(sampleOfEverything())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte(`{"int":1,"INT":2,"Any":[1e3,{"a":"b"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		sameReading(t, reflect.TypeFor[everything](), data)
		sameReading(t, reflect.TypeFor[oddities](), data)
		sameReading(t, reflect.TypeFor[quotedOddities](), data)
		sameReading(t, reflect.TypeFor[[]json.Number](), data)
		sameReading(t, reflect.TypeFor[any](), data)
		sameReading(t, reflect.TypeFor[map[string]any](), data)
	})
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}
