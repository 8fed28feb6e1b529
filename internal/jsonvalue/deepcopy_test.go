package jsonvalue_test

import (
	"encoding/json"
	"math/big"
	"reflect"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/jsonvalue"
)

// An offer has all kinds of references.
type offer struct {
	ID       int
	Until    time.Time
	Maker    *maker
	Nobody   *maker
	Named    makerPointer
	Tags     []string
	None     []string
	Empty    []string
	Raw      json.RawMessage
	Parts    []part
	Makers   []*maker
	Pair     [2][]int
	Stock    map[string]int
	ByName   map[string]*maker
	Lists    map[string][]int
	NoMap    map[string]int
	Pointers **int
	hidden   int
}

type maker struct {
	Name  string
	Towns []string
}

type makerPointer *maker

type part struct {
	Name  string
	Sizes []int
	At    [2]float64
}

func newOffer() offer {
	n := 7
	p := &n
	return offer{
		ID: 1, Until: time.Now(), Maker: &maker{"Lumen", []string{"Delft"}}, Named: &maker{"named", nil}, Tags: []string{"lamp", "desk"}, Empty: []string{},
		Raw: json.RawMessage(`{"a":1}`), Parts: []part{{"arm", []int{1, 2}, [2]float64{1, 2}}, {"foot", nil, [2]float64{}}},
		Makers: []*maker{{"a", nil}, nil}, Pair: [2][]int{{1}, {2, 3}}, Stock: map[string]int{"here": 1},
		ByName: map[string]*maker{"b": {"b", []string{"c"}}, "nil": nil}, Lists: map[string][]int{"d": {1}}, Pointers: &p, hidden: 3,
	}
}

// references gathers where the references in v point to. What is empty can be shared.
func references(v reflect.Value, into map[uintptr]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || v.Type() == reflect.TypeFor[*time.Location]() {
			return
		}
		into[v.Pointer()] = true
		references(v.Elem(), into)
	case reflect.Slice:
		if v.Len() > 0 {
			into[v.Pointer()] = true
		}
		for i := range v.Len() {
			references(v.Index(i), into)
		}
	case reflect.Array:
		for i := range v.Len() {
			references(v.Index(i), into)
		}
	case reflect.Map:
		if !v.IsNil() {
			into[v.Pointer()] = true
		}
		for at := v.MapRange(); at.Next(); {
			references(at.Value(), into)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			references(v.Field(i), into)
		}
	}
}

func TestACopyIsEqualAndSharesNoMemory(t *testing.T) {
	original := newOffer()
	copied, ok := jsonvalue.DeepCopy(&original)
	if !ok || !reflect.DeepEqual(*copied, newOfferLike(original)) || !reflect.DeepEqual(*copied, original) {
		t.Fatalf("the copy, %v, is %+v, and the original %+v", ok, *copied, original)
	}
	ours, theirs := map[uintptr]bool{}, map[uintptr]bool{}
	references(reflect.ValueOf(&original), ours)
	references(reflect.ValueOf(copied), theirs)
	equal(t, "the references of the copy", len(theirs), len(ours))
	for p := range theirs {
		if ours[p] {
			t.Errorf("the copy shares %#x", p)
		}
	}
}

// newOfferLike makes an offer that equals o unless a copy has changed it.
func newOfferLike(o offer) offer {
	n := newOffer()
	n.Until = o.Until
	return n
}

// A node contains itself.
type node struct{ Next []*node }

// A kept value has a reference that a copy cannot set.
//
//lint:ignore U1000 the field is there for its type
type kept struct{ data []byte }

type currency struct{ Code string }

var euro = &currency{"EUR"}

// A priced is decoded by a method of its own, and refers to what others refer to as well.
type priced struct {
	Cents    int
	Currency *currency
}

func (p priced) MarshalJSON() ([]byte, error) { return json.Marshal(p.Cents) }
func (p *priced) UnmarshalJSON(b []byte) error {
	p.Currency = euro
	return json.Unmarshal(b, &p.Cents)
}

func TestWhatIsCopied(t *testing.T) {
	type plain struct {
		N     int
		At    time.Time
		Names [2]string
	}
	for _, c := range []struct {
		what string
		got  bool
		want bool
	}{
		{"a number", canCopy[int](), true},
		{"a struct of such", canCopy[plain](), true},
		{"a pointer to one", canCopy[*plain](), true},
		{"a map", canCopy[map[string][]plain](), true},
		{"bytes that decode themselves", canCopy[json.RawMessage](), true},
		{"an interface", canCopy[struct{ A any }](), false},
		{"a map of interfaces", canCopy[map[string]any](), false},
		{"a type that contains itself", canCopy[node](), false},
		{"an unexported reference", canCopy[kept](), false},
		{"such behind pointers", canCopy[[]*big.Int](), false},
		{"references that decode themselves", canCopy[priced](), false},
		{"such in a field", canCopy[struct{ P []priced }](), false},
		{"a map whose keys are references", canCopy[map[*int]int](), false},
		{"a channel", canCopy[chan int](), false},
	} {
		equal(t, "whether "+c.what+" is copied", c.got, c.want)
	}
}

func canCopy[V any]() bool {
	var v V
	_, ok := jsonvalue.DeepCopy(v)
	return ok
}
