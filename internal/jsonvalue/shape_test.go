package jsonvalue_test

import (
	"database/sql"
	"encoding/json"
	"math/big"
	"reflect"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/jsonvalue"
)

// A lamp as one version of a service has it, and as the next does.
type (
	lampBefore struct{ Name string }
	lampAfter  struct {
		Name  string
		Price int
	}
	product struct {
		ID    int
		Name  string
		Price int
	}
)

// Old versions of types, and new ones. They are local to functions, so that two have one name.

type shapes struct {
	old, new string
	same     bool
}

// shapeOf is the shape of a V that the default codec writes.
func shapeOf[V any]() string { return jsonvalue.ShapeOf(reflect.TypeFor[V](), jsonvalue.Codec{}) }

// An otherCodec stands for one of a user's.
type otherCodec struct{}

func pair[Old, New any](same bool) shapes {
	return shapes{shapeOf[Old](), shapeOf[New](), same}
}

type (
	treeBefore struct {
		Name string
		Kids []treeBefore
		Up   *treeBefore
	}
	treeAfter struct {
		Up   *treeAfter
		Name string
		Kids []treeAfter
		//lint:ignore U1000 the field is there for its type
		seen bool
	}
	treeWider struct {
		Name string
		Kids []*treeWider
		Up   *treeWider
	}
	listOfItself []listOfItself
	mapOfItself  map[string]mapOfItself

	Embedded struct{ Name string }
	embeds   struct {
		Embedded
		N int
	}
	flat struct {
		N    int
		Name string
	}
	cents int
	//lint:ignore U1000 the field is there for its type
	ownWriter struct{ n int }
	//lint:ignore U1000 the field is there for its type
	ownOther struct{ n int }
	ownWider struct{ N, M int }
	//lint:ignore U1000 the field is there for its type
	box[T any] struct{ v T }
)

func (ownWriter) MarshalJSON() ([]byte, error) { return []byte("1"), nil }
func (*ownWriter) UnmarshalJSON([]byte) error  { return nil }
func (ownOther) MarshalText() ([]byte, error)  { return []byte("1"), nil }
func (*ownOther) UnmarshalText([]byte) error   { return nil }
func (ownWider) MarshalJSON() ([]byte, error)  { return []byte("1"), nil }
func (*ownWider) UnmarshalJSON([]byte) error   { return nil }
func (box[T]) MarshalJSON() ([]byte, error)    { return []byte("1"), nil }
func (*box[T]) UnmarshalJSON([]byte) error     { return nil }

// A ring of types, each in the next, that is entered at different places.
type (
	ringA struct{ B *ringB }
	ringB struct{ C *ringC }
	ringC struct{ A *ringA }
)

func TestWhatChangesTheShape(t *testing.T) {
	type tagged struct {
		Name string `json:"name"`
	}
	type taggedToo struct {
		Name string `json:"name,omitempty" db:"name"`
	}
	type quoted struct {
		N int `json:",string"`
	}
	type unquoted struct{ N int }
	type hides struct {
		Name   string `json:"name"`
		Secret string `json:"-"`
		//lint:ignore U1000 the field is there for its type
		mu int
	}
	for what, s := range map[string]shapes{
		"a field that is added":                 pair[lampBefore, lampAfter](false),
		"one deep inside":                       pair[map[string][]*struct{ L lampBefore }, map[string][]*struct{ L lampAfter }](false),
		"another JSON name":                     pair[lampBefore, tagged](false),
		"another type of a field":               pair[struct{ N int }, struct{ N string }](false),
		"a list in the place of one":            pair[struct{ N int }, struct{ N []int }](false),
		"another key of a map":                  pair[map[int]int, map[string]int](false),
		"another length of an array":            pair[[2]int, [3]int](false),
		"numbers in quotes":                     pair[quoted, unquoted](false),
		"a type that writes itself":             pair[struct{ F ownWriter }, struct{ F ownOther }](false),
		"such a type with another argument":     pair[box[int], box[string]](false),
		"a time that was an int":                pair[struct{ At int }, struct{ At time.Time }](false),
		"a json.Number that was a string":       pair[struct{ N string }, struct{ N json.Number }](false),
		"a number that was a big one":           pair[struct{ N int }, struct{ N *big.Int }](false),
		"a pointer inside a recursive type":     pair[treeBefore, treeWider](false),
		"another name of the type":              pair[lampBefore, struct{ Name string }](true),
		"another order of fields, a hidden one": pair[treeBefore, treeAfter](true),
		"omitempty, and tags for others":        pair[tagged, taggedToo](true),
		"what JSON leaves out":                  pair[tagged, hides](true),
		"a struct that is embedded":             pair[flat, embeds](true),
		"a name for a kind":                     pair[struct{ Price int }, struct{ Price cents }](true),
		"a name for a list before a type again": pair[struct {
			A    []int
			B, C lampBefore
		}, struct {
			A    intList
			B, C lampBefore
		}](true),
		"a name for a list, in two places":       pair[struct{ A, B []int }, struct{ A, B intList }](true),
		"a nullable column that becomes a value": pair[struct{ N sql.NullString }, struct{ N string }](false),
	} {
		if got := s.old == s.new; got != s.same {
			t.Errorf("%s: the shapes are\n\t%s\n\t%s", what, s.old, s.new)
		}
	}
}

type intList []int

func TestTheShapeOfATypeThatContainsItselfEnds(t *testing.T) {
	for got, want := range map[string]string{
		shapeOf[treeBefore]():                  `{"Kids":[]#1 "Name":string "Up":*#1 }`,
		shapeOf[listOfItself]():                `[]^1`,
		shapeOf[mapOfItself]():                 `map[string]^1`,
		shapeOf[ownWider]():                    `ownWider{"M":int "N":int }`,
		shapeOf[ringA]():                       `{"B":*{"C":*{"A":*#1 } } }`,
		shapeOf[struct{ L, M listOfItself }](): `{"L":[]^1 "M":[]^1 }`,
		shapeOf[struct{ C, D lampBefore }]():   `{"C":{"Name":string } "D":#2 }`,
		jsonvalue.ShapeOf(reflect.TypeFor[treeBefore](), otherCodec{}): `{"Name""":string "Kids""":[]#1 "Up""":*#1 }`,
	} {
		equal(t, "the shape", got, want)
	}
}

// A message of protobuf whose API is opaque has no exported field. The default codec refuses it, and proto.Marshal writes it.
func TestAFieldThatIsAddedToAnOpaqueMessageChangesTheShape(t *testing.T) {
	type before struct {
		//lint:ignore U1000 the field is there for its type
		xxx_hidden_Name string `protobuf:"bytes,1,opt,name=name"`
		XXX_presence    [1]uint32
	}
	type after struct {
		//lint:ignore U1000 the field is there for its type
		xxx_hidden_Name string `protobuf:"bytes,1,opt,name=name"`
		//lint:ignore U1000 the field is there for its type
		xxx_hidden_Price int64 `protobuf:"varint,2,opt,name=price"`
		XXX_presence     [1]uint32
	}
	shape := func(t reflect.Type) string { return jsonvalue.ShapeOf(t, otherCodec{}) }
	if b, a := shape(reflect.TypeFor[*before]()), shape(reflect.TypeFor[*after]()); b == a {
		t.Errorf("the shape is %s, before and after", b)
	}
}

// The text is the same in every process and every build: it is written down here. That a type moves to another package, or
// into a function, changes nothing.
func TestTheShapeDependsOnNothingButTheType(t *testing.T) {
	type local struct{ N int }
	type V struct {
		At    time.Time
		Price *big.Int `json:"price,omitempty"`
		Tags  map[string][]string
		Raw   json.RawMessage
		Any   any
		Boxed box[map[string]time.Time]
		Local box[local]
		Parts box[json.RawMessage]
		Opt   sql.Null[int64]
		IDs   [2]uint8
	}
	const want = `{"Any":interface "At":Time{} "Boxed":box[map[string]Time]{} "IDs":[2]uint8 "Local":box[local]{} ` +
		`"Opt":{"V":int64 "Valid":bool } "Parts":box[RawMessage]{} "Raw":RawMessage[]uint8 "Tags":map[string][]string "price":*Int{} }`
	equal(t, "the shape", shapeOf[V](), want)
	equal(t, "the version of a product", jsonvalue.Version(shapeOf[product](), 0), 3328935637510665)
}
