package jsonvalue

import (
	"database/sql"
	"encoding"
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Every table is held against
// encoding/json itself: an accepted value comes back equal, a refused one does not.

type (
	Base struct {
		ID   int
		Name string
	}
	base2   struct{ Zone string }
	nothing struct{}

	tree struct {
		Name  string
		Left  *tree
		Right *tree
		Any   map[string][]tree
	}
	page[T any] struct {
		Items []T
		Next  *page[T]
	}
	embeds struct {
		Base
		base2
		nothing
		Price int
	}
	embedsPointer struct {
		*Base
		Price int
	}
	embedsTagged struct {
		Base `json:"base"`
		ID   int
	}
	timestamp struct{ time.Time }
	withCache struct {
		Name  string
		Stock int `json:"-"`
		mu    sync.Mutex
		index map[string]int
	}
	allOmitted struct {
		Secret string `json:"-"`
		salt   int
	}
	omitsEmbedded struct {
		*base2 `json:"-"`
		Name   string
	}
	ids []int

	// weekday is written and read as text, also as the key of a map.
	weekday int
	// money has its methods on both sides of the pointer, as most types do.
	money struct{ cents int64 }
	// ref has both on the pointer.
	ref struct{ n int }
	// flexible reads more than it writes.
	flexible struct{ N int }

	writesOnly     struct{ N int }
	writesTextOnly struct{ N int }
	writtenKey     int
	readKey        int
	point          struct{ X, Y int }

	embedsTimeToo struct {
		time.Time
		Zone string
	}
	embedsTimeTagged struct {
		time.Time `json:"at"`
		Zone      string
	}
	embedsTimeOmitted struct {
		time.Time `json:"-"`
		Zone      string
	}
	embedsTimePointer struct{ *time.Time }
	embedsTimeAndBase struct {
		time.Time
		base2
	}
	onlyTime struct {
		time.Time
		Zone string `json:"-"`
		seen bool
	}
	embedsUnexported struct {
		base2 `json:"b"`
		Name  string
	}
	hidesChannel struct {
		wire `json:"w"`
		Name string
	}
	wire struct{ C chan int }

	// Ref holds a ref where it can be addressed if it is embedded by pointer.
	Ref       struct{ Inner ref }
	byPointer struct{ *Ref }
	byValue   struct{ Ref }
	beside    struct {
		*Ref
		Outer ref
	}
	sliceAndMap struct {
		Slice []ref
		Map   map[string]ref
	}
	marked1   struct{ nothing }
	marked2   struct{ nothing }
	twoMarked struct {
		marked1
		marked2
		N int
	}
	embedsFlexible struct {
		flexible
		Zone string
	}
	twoWriters struct {
		money
		ref
	}
	overrides struct {
		money
		Zone string
	}
	refs struct {
		In map[string]holder
	}
	holder    struct{ Inner [1]ref }
	user      struct{ ID int }
	order     struct{ ID int }
	joinedRow struct {
		user
		order
	}
	shadows struct {
		Base
		ID int
	}
	takesName struct {
		A int `json:"B,omitempty"`
		B int
	}
	chain struct {
		*Chain
		N int
	}
	Chain     struct{ *Chain }
	embedsPtr struct{ *base2 }

	// Nothing of these need be written.
	Soft struct {
		Name string `json:",omitempty"`
		IDs  []int  `json:"ids,omitempty"`
		//lint:ignore U1000 the field is there for its type
		none int
	}
	Zero struct {
		At time.Time `json:",omitzero"`
	}
	//lint:ignore U1000 the field is there for its type
	Hidden struct{ nothing }
	Deep   struct {
		*Base
		Zero
		Secret string `json:"-"`
	}
	embedsSoft struct {
		*Soft
		N int
	}
	embedsZero struct {
		*Zero
		N int
	}
	embedsHidden struct {
		*Hidden
		N int
	}
	embedsDeep struct {
		*Deep
		M int
	}
	// omitempty leaves no struct out, and no array that has elements.
	Firm struct {
		At time.Time `json:",omitempty"`
		IV [2]int    `json:",omitempty"`
	}
	embedsFirm struct {
		*Firm
		N int
	}
	namesSoft struct {
		*Soft `json:"soft"`
		N     int
	}
	embedsIDs struct{ ids }

	opaque struct {
		xxx_hidden_Name string `protobuf:"bytes,1,opt,name=name"`
		XXX_presence    [1]uint32
	}
	product struct {
		Name   string
		Notify chan int
	}
	shop struct{ Shelves map[string][]*product }
)

func (d weekday) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "day%d", d), nil }
func (d *weekday) UnmarshalText(b []byte) error {
	_, err := fmt.Sscanf(string(b), "day%d", d)
	return err
}

func (m money) MarshalJSON() ([]byte, error)  { return json.Marshal(m.cents) }
func (m *money) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &m.cents) }

func (r *ref) MarshalJSON() ([]byte, error) { return json.Marshal(r.n) }
func (r *ref) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &r.n) }

func (f *flexible) UnmarshalJSON(b []byte) error {
	type plain flexible
	if b[0] == '"' {
		_, err := fmt.Sscanf(string(b), `"%d"`, &f.N)
		return err
	}
	return json.Unmarshal(b, (*plain)(f))
}

func (writesOnly) MarshalJSON() ([]byte, error)     { return []byte(`"***"`), nil }
func (writesTextOnly) MarshalText() ([]byte, error) { return []byte("***"), nil }
func (writtenKey) MarshalText() ([]byte, error)     { return []byte("key"), nil }
func (k *readKey) UnmarshalText([]byte) error       { return nil }

func (o overrides) MarshalJSON() ([]byte, error) { return json.Marshal([]any{o.cents, o.Zone}) }
func (o *overrides) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&o.cents, &o.Zone})
}

// What the second version of encoding/json would read otherwise.
type (
	embedsStrangelyTagged struct {
		Base `json:"€"`
		N    int
	}
	readsByBoth    struct{ N int }
	keyReadsByBoth string
)

// UnmarshalJSONFrom takes what encoding/json writes of a readsByBoth for something else.
func (r *readsByBoth) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	r.N = -1
	return d.SkipValue()
}

func (k keyReadsByBoth) MarshalText() ([]byte, error) { return []byte(k), nil }
func (k *keyReadsByBoth) UnmarshalText(b []byte) error {
	*k = keyReadsByBoth("text " + string(b))
	return nil
}

func (k *keyReadsByBoth) UnmarshalJSON(b []byte) error {
	*k = keyReadsByBoth(strings.Trim(string(b), `"`))
	return nil
}

// survives reports why v does not come back from JSON as it went in, or nil. It marshals &v, as CodecOf asks.
func survives[V any](v V) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	data, err := json.Marshal(&v)
	if err != nil {
		return err
	}
	var back V
	if err := json.Unmarshal(data, &back); err != nil {
		return err
	}
	if !reflect.DeepEqual(v, back) {
		return fmt.Errorf("%#v came back from %s as %#v", v, data, back)
	}
	return nil
}

// isRead reports how the default codec reads v otherwise than encoding/json, or nil.
func isRead[V any](v V) error {
	data, err := json.Marshal(&v)
	if err != nil {
		return nil // it cannot be stored
	}
	if _, err := CodecOf(reflect.TypeFor[V]()); err != nil {
		return nil // nor can it
	}
	return ReadsOtherwise(reflect.TypeFor[V](), data)
}

type valueCase struct {
	typ   reflect.Type
	lost  error  // what survives says of a value of it
	read  error  // what isRead says of it
	wants string // in the error of CodecOf
}

func valueOf[V any](v V, wants string) valueCase {
	return valueCase{reflect.TypeFor[V](), survives(v), isRead(v), wants}
}

func TestAValueThatSurvivesJSONIsAccepted(t *testing.T) {
	noon := time.Date(2024, 2, 29, 12, 0, 0, 5, time.UTC)
	one := 1
	pointer := &one
	for _, c := range []valueCase{
		valueOf(1, ""),
		valueOf("x", ""),
		valueOf(1.5, ""),
		valueOf(true, ""),
		valueOf(uintptr(1), ""),
		valueOf(noon, ""),
		valueOf(json.RawMessage(`{"a":1}`), ""),
		valueOf(json.Number("12"), ""),
		valueOf([]byte("bytes"), ""),
		valueOf([4]byte{1}, ""),
		valueOf(map[string]int{"a": 1}, ""),
		valueOf(map[int8]string{-1: "a"}, ""),
		valueOf(map[weekday]string{3: "a"}, ""),
		valueOf(map[netip.Addr]string{netip.MustParseAddr("::1"): "a"}, ""),
		valueOf(sql.NullString{String: "a", Valid: true}, ""),
		valueOf(sql.Null[time.Time]{V: noon, Valid: true}, ""),
		valueOf(*big.NewInt(1), ""),
		valueOf(big.NewInt(1), ""),
		valueOf(map[string]*big.Int{"a": big.NewInt(1)}, ""),
		valueOf([]big.Int{*big.NewInt(1)}, ""),
		valueOf(struct{ N [2]big.Int }{[2]big.Int{*big.NewInt(1), *big.NewInt(2)}}, ""),
		valueOf(netip.MustParseAddr("::1"), ""),
		valueOf(struct{}{}, ""),
		valueOf(struct{ _ int }{}, ""),
		valueOf(struct{ None nothing }{}, ""),
		valueOf(any("x"), ""),
		valueOf([]any{"x", true}, ""),
		valueOf(pointer, ""),
		valueOf(&pointer, ""),
		valueOf(tree{"a", &tree{Name: "b"}, nil, map[string][]tree{"c": {{Name: "d"}}}}, ""),
		valueOf(&page[Base]{[]Base{{1, "a"}}, &page[Base]{}}, ""),
		valueOf(embeds{Base{1, "a"}, base2{"b"}, nothing{}, 2}, ""),
		valueOf(embedsPointer{&Base{1, "a"}, 2}, ""),
		valueOf(embedsTagged{Base{1, "a"}, 2}, ""),
		valueOf(timestamp{noon}, ""),
		valueOf(&withCache{Name: "a", mu: sync.Mutex{}, index: nil}, ""),
		valueOf(allOmitted{salt: 0}, ""),
		valueOf(omitsEmbedded{Name: "a"}, ""),
		valueOf(money{1}, ""),
		valueOf(map[string]money{"a": {1}}, ""),
		valueOf(ref{1}, ""),
		valueOf(map[string][]ref{"a": {{1}}}, ""),
		valueOf(map[string]byPointer{"a": {&Ref{ref{1}}}}, ""),
		valueOf(flexible{1}, ""),
		valueOf(onlyTime{Time: noon, seen: false}, ""),
		valueOf(embedsUnexported{base2{"a"}, "b"}, ""),
		valueOf(twoMarked{marked1{nothing{}}, marked2{nothing{}}, 1}, ""),
		valueOf(struct{ E reflect.Kind }{3}, ""),
		valueOf(embedsFirm{&Firm{}, 1}, ""),
		valueOf(namesSoft{&Soft{}, 1}, ""),
	} {
		if _, err := CodecOf(c.typ); err != nil {
			t.Errorf("%v: refused: %v", c.typ, err)
		}
		if c.lost != nil {
			t.Errorf("%v: accepted, but %v", c.typ, c.lost)
		}
		if c.read != nil {
			t.Errorf("%v: %v", c.typ, c.read)
		}
	}
}

func TestWhatTheEngineWouldReadOtherwiseIsReadByEncodingJSON(t *testing.T) {
	for _, err := range []error{
		isRead(struct {
			Name int `json:"m²"`
		}{1}),
		isRead(struct {
			Quoted int `json:"'a,b'"`
		}{1}),
		isRead(struct {
			Accented int `json:"é"`
			Spaced   int `json:"a b"`
			Marks    int `json:"<&>.$/-"`
			//lint:ignore SA5008 it is what the test is about
			Hyphen int `json:"-,"`
		}{1, 2, 3, 4}),
		isRead(struct {
			Embed base2 `json:",embed"`
		}{base2{"a"}}),
		isRead(struct {
			Map map[string]any `json:",omitempty,embed"`
		}{map[string]any{"a": "b"}}),
		isRead(struct {
			//lint:ignore SA5008 it is what the test is about
			Unknown int `json:"unknown,required"`
		}{1}),
		isRead(embedsStrangelyTagged{Base{1, "a"}, 2}),
		isRead(readsByBoth{7}),
		isRead([]map[string]*readsByBoth{{"a": {7}}}),
		isRead(map[keyReadsByBoth]int{"a": 1}),
		isRead(struct {
			//lint:ignore SA5008 it is what the test is about
			Price money `json:",string"`
		}{money{1}}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

// For encoding/json both fields are "A", and the one with the tag wins; in its second version they have two names.
func TestNamesThatEncodingJSONDoesNotTakeFromATag(t *testing.T) {
	type clash struct {
		A int `json:"€"`
		B int `json:"A"`
	}
	lost := survives(clash{1, 2})
	if _, err := CodecOf(reflect.TypeFor[clash]()); (err == nil) != (lost == nil) {
		t.Errorf("the error of the type is %v, but that of a value %v", err, lost)
	}
}

func TestAValueThatJSONWouldDamageIsRefused(t *testing.T) {
	noon := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	for _, c := range []valueCase{
		valueOf(make(chan int), "chan int (chan int) cannot be encoded"),
		valueOf(product{}, "product.Notify (chan int) cannot be encoded"),
		valueOf(shop{map[string][]*product{"a": {{}}}}, "shop.Shelves[][].Notify (chan int)"),
		valueOf(struct{ F func() }{}, ".F (func()) cannot be encoded"),
		valueOf([]complex64{1}, "[]complex64[] (complex64) cannot be encoded"),
		valueOf(page[complex128]{Items: []complex128{1}}, "page[complex128].Items[] (complex128)"),

		valueOf(*url.UserPassword("a", "b"), "Userinfo (url.Userinfo) has no exported field"),
		valueOf(url.URL{User: url.User("a")}, "URL.User (url.Userinfo) has no exported field"),
		valueOf(embedsIDs{ids{1}}, "embedsIDs (jsonvalue.embedsIDs) has no exported field"),
		valueOf([]struct{ n int }{{1}}, "has no exported field"),
		valueOf(opaque{xxx_hidden_Name: "a"}, "opaque.xxx_hidden_Name (string) is a field of a protobuf message with the opaque API"),
		valueOf(counter(1), ".Hits (atomic.Int64) has no exported field"),

		valueOf(map[float64]int{1: 1}, "map[float64]int (map key float64)"),
		valueOf(map[bool]int{true: 1}, "(map key bool)"),
		valueOf(struct{ At map[point]int }{map[point]int{{1, 2}: 3}}, ".At (map key jsonvalue.point)"),
		valueOf(map[any]int{"a": 1}, "(map key interface {})"),
		valueOf(map[*weekday]int{new(weekday): 1}, "(map key *jsonvalue.weekday)"),
		valueOf(map[writtenKey]int{1: 1}, "(map key jsonvalue.writtenKey)"),
		valueOf(map[readKey]int{1: 1}, "(map key jsonvalue.readKey)"),

		valueOf(struct{ Err error }{sql.ErrNoRows}, ".Err (error) is an interface"),
		valueOf(fmt.Stringer(weekdays{}), "Stringer (fmt.Stringer) is an interface"),
		valueOf([]json.Marshaler{money{1}}, "[] (json.Marshaler) is an interface"),
		valueOf(struct{ encoding.TextMarshaler }{weekday(1)}, ".TextMarshaler (encoding.TextMarshaler) is embedded"),

		valueOf(writesOnly{1}, "writesOnly (jsonvalue.writesOnly) has a MarshalJSON, but no method"),
		valueOf(struct{ S *writesTextOnly }{&writesTextOnly{1}}, ".S (jsonvalue.writesTextOnly) has a MarshalText, but no method"),
		valueOf(map[string]big.Int{"a": *big.NewInt(1)}, "map[string]big.Int[] (big.Int) has MarshalJSON on its pointer"),
		valueOf(refs{map[string]holder{"a": {[1]ref{{1}}}}}, "refs.In[].Inner[] (jsonvalue.ref) has MarshalJSON on its pointer"),
		valueOf(map[string]byValue{"a": {Ref{ref{1}}}}, "byValue[].Ref.Inner (jsonvalue.ref) has MarshalJSON on its pointer"),
		valueOf(map[string]beside{"a": {&Ref{}, ref{1}}}, "beside[].Outer (jsonvalue.ref) has MarshalJSON on its pointer"),
		valueOf(sliceAndMap{Map: map[string]ref{"a": {1}}}, "sliceAndMap.Map[] (jsonvalue.ref) has MarshalJSON on its pointer"),
		valueOf(hidesChannel{}, "hidesChannel.wire.C (chan int) cannot be encoded"),

		valueOf(embedsTimeToo{noon, "a"}, "embedsTimeToo.Time (time.Time) is embedded and writes or reads itself"),
		valueOf(embedsTimeTagged{noon, "a"}, "embedsTimeTagged.Time (time.Time) is embedded"),
		valueOf(embedsTimeOmitted{time.Time{}, "a"}, "embedsTimeOmitted.Time (time.Time) is embedded"),
		valueOf(embedsTimeAndBase{noon, base2{"a"}}, "embedsTimeAndBase.Time (time.Time) is embedded"),
		valueOf(embedsTimePointer{&noon}, "embedsTimePointer.Time (*time.Time) is embedded"),
		valueOf(embedsFlexible{flexible{1}, "a"}, "embedsFlexible.flexible (jsonvalue.flexible) is embedded"),
		valueOf(twoWriters{money{1}, ref{1}}, "twoWriters.money (jsonvalue.money) writes itself, but not where it is embedded"),

		valueOf(joinedRow{user{1}, order{2}}, "joinedRow.order.ID (int) and joinedRow.user.ID have one JSON name"),
		valueOf(shadows{Base{1, "a"}, 2}, `shadows.ID (int) and shadows.Base.ID have one JSON name, "ID"`),
		valueOf(takesName{1, 2}, `takesName.B (int) and takesName.A have one JSON name, "B"`),
		valueOf(embedsPtr{&base2{"a"}}, "embedsPtr.base2 (*jsonvalue.base2) is an embedded pointer to an unexported struct"),
		valueOf(struct {
			*base2 `json:"b"`
		}{&base2{"a"}}, ".base2 (*jsonvalue.base2) is an embedded pointer to an unexported struct"),
		valueOf(embedsSoft{&Soft{}, 1}, "embedsSoft.Soft (*jsonvalue.Soft) is an embedded pointer, which a hit would have as nil"),
		valueOf(embedsZero{&Zero{}, 1}, "embedsZero.Zero (*jsonvalue.Zero) is an embedded pointer, which a hit"),
		valueOf(embedsHidden{&Hidden{}, 1}, "embedsHidden.Hidden (*jsonvalue.Hidden) is an embedded pointer, which a hit"),
		valueOf(embedsDeep{&Deep{}, 1}, "embedsDeep.Deep (*jsonvalue.Deep) is an embedded pointer, which a hit"),
		valueOf([]map[string]embedsSoft{{"a": {&Soft{}, 1}}}, "embedsSoft[][].Soft (*jsonvalue.Soft) is an embedded pointer"),
		valueOf(chain{&Chain{&Chain{}}, 1}, "chain.Chain.Chain (*jsonvalue.Chain) is embedded in itself"),
	} {
		// Map keys that only the second version carries are refused with it, too: other processes may be built otherwise.
		if c.lost == nil && !(StandardIsV2() && strings.Contains(c.wants, "map key")) {
			t.Errorf("%v: JSON does not damage it: the test refuses what it should not", c.typ)
		}
		_, err := CodecOf(c.typ)
		if err == nil {
			t.Errorf("%v: accepted, but %v", c.typ, c.lost)
			continue
		}
		for _, part := range []string{c.typ.String(), c.wants, "WithCodec", `json:"-"`} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v: error %q does not say %q", c.typ, err, part)
			}
		}
	}
}

type weekdays struct{ Days []int }

func (weekdays) String() string { return "days" }

func counter(n int64) *struct{ Hits *atomic.Int64 } {
	c := &struct{ Hits *atomic.Int64 }{new(atomic.Int64)}
	c.Hits.Store(n)
	return c
}

// An override cannot be told from a promotion, so this one is refused: WithCodec says that its author has thought of it.
func TestAnOverrideOfAnEmbeddedEncoderIsRefusedToo(t *testing.T) {
	if err := survives(overrides{money{1}, "a"}); err != nil {
		t.Errorf("it would survive, but %v", err)
	}
	if _, err := CodecOf(reflect.TypeFor[overrides]()); err == nil || !strings.Contains(err.Error(), "overrides.money") {
		t.Errorf("got %v, want an error that names overrides.money", err)
	}
}
