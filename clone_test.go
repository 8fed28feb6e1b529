package aside_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
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
	copied, ok := aside.DeepCopy(&original)
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
	_, ok := aside.DeepCopy(v)
	return ok
}

// A countingCodec is JSON that counts how often it is decoded.
type countingCodec struct{ decoded *atomic.Int64 }

func (countingCodec) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

func (c countingCodec) Unmarshal(data []byte, v any) error {
	c.decoded.Add(1)
	return json.Unmarshal(data, v)
}

// readTogether has n callers join one load, and then one round, and returns how often they decoded in each.
func readTogether[V any](t *testing.T, r *rig, v V, n int, see func(a, b V)) (joined, round int64) {
	codec := countingCodec{new(atomic.Int64)}
	start := make(chan struct{})
	c, tap := process(r, func(context.Context, int) (V, error) { <-start; return v, nil }, aside.WithCodec(codec), patient)
	together := func(go_ func()) int64 {
		before := codec.decoded.Load()
		got := make(chan V, n)
		for range n {
			go func() { got <- mustGet(t, c, 1) }()
		}
		synctest.Wait()
		go_()
		last := <-got
		for range n - 1 {
			next := <-got
			see(last, next)
			last = next
		}
		return codec.decoded.Load() - before
	}
	joined = together(func() { close(start) })
	first := tap.before("get")
	alone := make(chan V, 1)
	go func() { alone <- mustGet(t, c, 1) }()
	first.wait()
	round = together(func() { first.release(); <-alone })
	return joined, round - 1 // who was alone decoded for himself
}

func TestCallersWhoReadTogetherDecodeOnce(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		joined, round := readTogether(t, r, &maker{"Lumen", []string{"Delft"}}, 10, func(a, b *maker) {
			if a == b || &a.Towns[0] == &b.Towns[0] {
				t.Error("two callers share a value")
			}
			equal(t, "the values", fmt.Sprint(*a, *b), "{Lumen [Delft]} {Lumen [Delft]}")
		})
		equal(t, "how often they decode what one of them loaded, and what they looked for", fmt.Sprint(joined, round), "1 1")
	})
}

// Each caller has what his own decoding makes: here, a reference to what is not his.
func TestCallersWhoReadTogetherDecodeEachWhatCannotBeCopied(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		joined, round := readTogether(t, r, priced{100, euro}, 10, func(a, b priced) {
			equal(t, "the values", a, priced{100, euro})
			equal(t, "the values", b, priced{100, euro})
		})
		equal(t, "how often they decode what one of them loaded, and what they looked for", fmt.Sprint(joined, round), "9 10")
	})
}
