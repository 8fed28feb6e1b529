package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

type (
	sku     string
	shopID  int32
	enabled bool
	octet   byte

	// grade is an enum whose text is not injective: all that it does not know is "unknown".
	grade int

	uuid [16]byte

	tenantKey struct {
		Tenant string
		ID     int64
	}
	located   struct{ region, zone string }
	nestedKey struct {
		located
		Pair   [2]shopID
		hidden tenantKey
		Active enabled
	}
	blankKey struct {
		A int
		_ float64
		_ *int
		B int
	}
	uuidKey struct {
		Shop int
		id   uuid // unexported: reflection alone cannot call its MarshalText
	}
	zonedKey struct {
		addr netip.Addr
		at   time.Time
	}

	// opaque can be rendered by nothing but its text.
	opaque struct{ p *string }

	// pointText has a pointer receiver, which a key, being a value, does not have.
	pointText struct{ X, Y int }

	// embedsTime has MarshalText by promotion, and it leaves out Shop.
	embedsTime struct {
		time.Time
		Shop int
	}
	embedsOpaque struct {
		opaque
		Shop int
	}
	justEmbeds struct{ uuid }

	listKey  struct{ L textList }
	textList [2]loneText
	loneText struct{ s string }

	weightKey struct {
		Item struct {
			Weights [3]struct{ Kilos float32 }
		}
	}
	boxed[T any] struct{ Value T }

	embedsText struct{ encoding.TextMarshaler }
)

func (grade) String() string               { return "unknown" }
func (grade) MarshalText() ([]byte, error) { return []byte("unknown"), nil }

func (u uuid) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%x-%x", u[:4], u[4:]), nil
}

func (o opaque) MarshalText() ([]byte, error) {
	if o.p == nil {
		return nil, errNoText
	}
	return []byte(*o.p), nil
}

func (*pointText) MarshalText() ([]byte, error) { return []byte("pointer"), nil }

func (t loneText) MarshalText() ([]byte, error) { return []byte(t.s), nil }

var errNoText = errors.New("no text")

// render returns the rendered form of key, checked for what holds for every key, and that it leaves what stood before it.
func render[K comparable](t testing.TB, custom func(K) string, key K) string {
	t.Helper()
	appendKey, err := Renderer(custom, nil)
	if err != nil {
		t.Fatalf("no renderer: %v", err)
	}
	dst, err := appendKey([]byte("a:b:"), key)
	if err != nil {
		t.Fatalf("rendering %#v: %v", key, err)
	}
	form, ok := bytes.CutPrefix(dst, []byte("a:b:"))
	if !ok {
		t.Fatalf("the cache name became %q", dst)
	}
	if bytes.ContainsAny(form, ":{} \n\x00") {
		t.Errorf("%#v renders as %q: a byte that had to be escaped", key, form)
	}
	if len(form) > maxRendered {
		t.Errorf("%#v renders as %d bytes", key, len(form))
	}
	return string(form)
}

func TestAKeyIsRenderedReadably(t *testing.T) {
	long := strings.Repeat("x", maxRendered+1)
	sum := sha256.Sum256([]byte(long))
	hashed := "%sha256-" + hex.EncodeToString(sum[:])
	name := "it:self"
	id := uuid{0: 0xAB, 15: 0x01}
	noon := time.Date(2024, 2, 29, 12, 0, 0, 5, time.UTC)

	for _, c := range []struct{ got, want string }{
		{render(t, nil, ""), ""},
		{render(t, nil, "a-b_c.d/e@f~g,h*"), "a-b_c.d/e@f~g,h*"},
		{render(t, nil, "{x}1"), "%7Bx%7D1"},
		{render(t, nil, "a:b"), "a%3Ab"},
		{render(t, nil, "%3A"), "%253A"},
		{render(t, nil, "a b\r\n\x00\x7f"), "a%20b%0D%0A%00%7F"},
		{render(t, nil, "Grüße \xff"), "Grüße%20\xff"},
		{render(t, nil, hashed), "%25" + hashed[1:]},
		{render(t, nil, long[1:]), long[1:]},
		{render(t, nil, long), hashed},
		{render(t, nil, sku("A:1")), "A%3A1"},

		{render(t, nil, 1234), "1234"},
		{render(t, nil, int8(math.MinInt8)), "-128"},
		{render(t, nil, int16(math.MinInt16)), "-32768"},
		{render(t, nil, shopID(math.MinInt32)), "-2147483648"},
		{render(t, nil, int64(math.MinInt64)), "-9223372036854775808"},
		{render(t, nil, uint(7)), "7"},
		{render(t, nil, octet(255)), "255"},
		{render(t, nil, uint16(math.MaxUint16)), "65535"},
		{render(t, nil, uint32(math.MaxUint32)), "4294967295"},
		{render(t, nil, uint64(math.MaxUint64)), "18446744073709551615"},
		{render(t, nil, uintptr(9)), "9"},
		{render(t, nil, true), "true"},
		{render(t, nil, enabled(false)), "false"},
		{render(t, nil, grade(3)), "3"},

		{render(t, nil, struct{}{}), ""},
		{render(t, nil, [0]int{}), ""},
		{render(t, nil, [0]byte{}), ""},
		{render(t, nil, [0]*int{}), ""},
		{render(t, nil, boxed[[0]byte]{}), ""},
		{render(t, nil, struct {
			None [0]byte
			One  string
		}{One: "a,b"}), "a,b"},
		{render(t, nil, [1 << 40]struct{}{}), ""},
		{render(t, nil, [3]int{1, -2, 3}), "1,-2,3"},
		{render(t, nil, [1]string{"a,b"}), "a,b"},
		{render(t, nil, [2]string{"a,b", ""}), "a%2Cb,"},
		{render(t, nil, [3]byte{0, 0xAB, 1}), "00ab01"},
		{render(t, nil, [2]octet{1, 2}), "0102"},
		{render(t, nil, [2][2]byte{{1, 2}, {3, 4}}), "0102,0304"},
		{render(t, nil, tenantKey{"acme, inc", 5}), "acme%2C%20inc,5"},
		{
			render(t, nil, nestedKey{located{"eu", "1"}, [2]shopID{6, 7}, tenantKey{"t", 8}, true}),
			"eu,1,6,7,t,8,true",
		},
		{render(t, nil, blankKey{A: 1, B: 2}), "1,2"},
		{render(t, nil, boxed[grade]{4}), "4"},
		{render(t, nil, pointText{1, 2}), "1,2"},

		{render(t, nil, id), "ab000000-000000000000000000000001"},
		{render(t, nil, uuidKey{3, id}), "3,ab000000-000000000000000000000001"},
		{render(t, nil, [2]uuid{1: id}), "00000000-000000000000000000000000,ab000000-000000000000000000000001"},
		{render(t, nil, noon), "2024-02-29T12%3A00%3A00.000000005Z"},
		{render(t, nil, netip.MustParseAddr("fe80::1%eth0")), "fe80%3A%3A1%25eth0"},
		{render(t, nil, zonedKey{netip.MustParseAddr("10.0.0.1"), noon}), "10.0.0.1,2024-02-29T12%3A00%3A00.000000005Z"},
		{render(t, nil, opaque{&name}), "it%3Aself"},
		{render(t, nil, listKey{textList{{"a,"}, {":b"}}}), "a%2C,%3Ab"},
		{render(t, nil, embedsTime{noon, 6}), "2024-02-29T12%3A00%3A00.000000005Z,6"},
		{render(t, nil, justEmbeds{id}), "ab000000-000000000000000000000001"},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}

func TestWithKeysTextIsEscapedAndShortenedToo(t *testing.T) {
	byPrice := func(f float64) string { return fmt.Sprintf("%.2f:€, net", f) }
	if got, want := render(t, byPrice, 1.5), "1.50%3A€,%20net"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	repeat := func(n int) string { return strings.Repeat(":", n) }
	if got := render(t, repeat, 66); got != strings.Repeat("%3A", 66) {
		t.Errorf("198 bytes became %s", got)
	}
	sum := sha256.Sum256([]byte(strings.Repeat("%3A", 67)))
	if got, want := render(t, repeat, 67), "%sha256-"+hex.EncodeToString(sum[:]); got != want {
		t.Errorf("201 bytes: got %s, want %s", got, want)
	}
}

func TestAKeyThatCannotBeRenderedSafelyIsRefused(t *testing.T) {
	for _, c := range []struct {
		err  error
		want []string // besides WithKey
	}{
		{refusal[float64](), []string{"float64"}},
		{refusal[complex64](), []string{"complex64"}},
		{refusal[any](), []string{"interface {}"}},
		{refusal[fmt.Stringer](), []string{"fmt.Stringer"}},
		{refusal[*int](), []string{"*int"}},
		{refusal[*uuid](), []string{"*keys.uuid"}},
		{refusal[chan int](), []string{"chan int"}},
		{refusal[unsafe.Pointer](), []string{"unsafe.Pointer"}},
		{refusal[reflect.Type](), []string{"reflect.Type"}},
		{refusal[weightKey](), []string{"keys.weightKey", "weightKey.Item.Weights[].Kilos is a float32"}},
		{refusal[boxed[error]](), []string{"keys.boxed[error]", "boxed[error].Value is a error"}},
		{refusal[boxed[float64]](), []string{"boxed[float64].Value is a float64"}},
		{refusal[[2]*int](), []string{"[2]*int[] is a *int"}},
		{refusal[struct{ P *int }](), []string{"struct { P *int }.P is a *int"}},
		{refusal[struct{ fmt.Stringer }](), []string{".Stringer is a fmt.Stringer"}},
		{refusal[struct{ any }](), []string{"struct { interface {} }.any is a interface {}"}},
		{refusal[embedsText](), []string{"embedsText.TextMarshaler is a encoding.TextMarshaler"}},
	} {
		if c.err == nil {
			t.Errorf("accepted, want an error with %q", c.want)
			continue
		}
		for _, part := range append(c.want, "WithKey") {
			if !strings.Contains(c.err.Error(), part) {
				t.Errorf("error %q does not say %q", c.err, part)
			}
		}
	}
	if got := render(t, nil, embedsOpaque{opaque{new(string)}, 7}); got != ",7" {
		t.Errorf("a struct beside an embedded text: got %q, want %q", got, ",7")
	}
}

func refusal[K comparable]() error {
	_, err := Renderer[K](nil, nil)
	return err
}

func TestWithKeyAcceptsWhatCouldNotBeRendered(t *testing.T) {
	if got := render(t, func(p *int) string { return fmt.Sprint(*p) }, new(int)); got != "0" {
		t.Errorf("got %s, want 0", got)
	}
}

func TestAFailedTextIsAnErrorAndLeavesTheBufferAsItWas(t *testing.T) {
	type key struct {
		A string
		B opaque
	}
	appendKey, err := Renderer[key](nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := appendKey([]byte("product:"), key{A: "a"})
	if !errors.Is(err, errNoText) || !strings.Contains(err.Error(), "keys.key") {
		t.Errorf("error %v, want errNoText wrapped with the key's type", err)
	}
	if string(dst) != "product:" {
		t.Errorf("the buffer became %q", dst)
	}
}

func TestDifferentKeysNeverShareARenderedForm(t *testing.T) {
	type pair struct{ A, B string }
	x := strings.Repeat("x", maxRendered)
	hashed := render(t, nil, x+"x")
	distinct(t, "", ":", "%3A", "%253A", "%", "%%", ",", "%2C", " ", "%20", "+", "\x00", "%00", "a:b", "a%3Ab",
		x, x+"x", x+"y", x+":", hashed, strings.Replace(hashed, "%", "%25", 1), "\xff", "\ufffd")
	distinct(t, pair{"a,b", "c"}, pair{"a", "b,c"}, pair{"", "a,b,c"}, pair{"a%2Cb", "c"}, pair{"a", "b%2Cc"},
		pair{"", ""}, pair{",", ""}, pair{"", ","}, pair{"a", ""}, pair{"", "a"}, pair{x, "a"}, pair{x + "a", ""},
		pair{x[:maxRendered-1], ""}, pair{hashed, ""}, pair{"", hashed})
	distinct(t, [2]pair{0: {"a", "b"}}, [2]pair{1: {"a", "b"}}, [2]pair{{"a", ""}, {"b", ""}})
	distinct(t, listKey{textList{{"a,b"}, {"c"}}}, listKey{textList{{"a"}, {"b,c"}}})
	distinct(t, embedsTime{Shop: 1}, embedsTime{Shop: 2})
	distinct(t, grade(1), grade(2))
	distinct(t, [2]int8{1, -1}, [2]int8{-1, 1}, [2]int8{11, 1}, [2]int8{1, 11})
}

func distinct[K comparable](t *testing.T, keys ...K) {
	t.Helper()
	seen := map[string]K{}
	for _, key := range keys {
		form := render(t, nil, key)
		if other, ok := seen[form]; ok {
			t.Errorf("%#v and %#v both render as %s", other, key, form)
		}
		seen[form] = key
	}
}

func TestTimesThatShareATextShareAnEntry(t *testing.T) {
	now := time.Now()
	if stripped := now.Round(0); now == stripped || render(t, nil, now) != render(t, nil, stripped) {
		t.Error("a monotonic reading is not part of the text, and must not be part of the key")
	}
}

func TestRenderingAllocatesNothing(t *testing.T) {
	type small struct {
		Tenant string
		Shop   uint8
		ID     [4]byte
		Live   bool
	}
	noAllocs(t, "product/12:34")
	noAllocs(t, 1234)
	noAllocs(t, int64(-1234))
	noAllocs(t, sku("A:1"))
	noAllocs(t, shopID(7))
	noAllocs(t, small{"acme", 1, [4]byte{1}, true})
	noAllocs(t, strings.Repeat("long", 100))
}

func noAllocs[K comparable](t *testing.T, key K) {
	t.Helper()
	appendKey, err := Renderer[K](nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { _, _ = appendKey(buf, key) }); n != 0 {
		t.Errorf("%T: %v allocations, want none", key, n)
	}
}

// unescaped is the inverse of the escaping of one leaf. It knows nothing of the library's code.
func unescaped(t *testing.T, leaf string) string {
	t.Helper()
	var out []byte
	for i := 0; i < len(leaf); i++ {
		if leaf[i] != '%' {
			out = append(out, leaf[i])
			continue
		}
		if i+3 > len(leaf) {
			t.Fatalf("%q ends inside an escape", leaf)
		}
		b, err := hex.DecodeString(leaf[i+1 : i+3])
		if err != nil {
			t.Fatalf("%q: %v", leaf, err)
		}
		out = append(out, b...)
		i += 2
	}
	return string(out)
}

func FuzzKeyString(f *testing.F) {
	f.Add("", ":")
	f.Add("%3A", ":")
	f.Add("a,b", "a%2Cb")
	f.Add(strings.Repeat("x", maxRendered), strings.Repeat("x", maxRendered+1))
	f.Add(strings.Repeat(":", 67), strings.Repeat(":", 68))
	f.Add("%sha256-", strings.Repeat("\xff", 300))
	f.Fuzz(func(t *testing.T, a, b string) {
		formA, formB := render(t, nil, a), render(t, nil, b)
		if (a == b) != (formA == formB) {
			t.Errorf("%q renders as %s, %q as %s", a, formA, b, formB)
		}
		if strings.HasPrefix(formA, "%sha256-") {
			if len(a) <= maxRendered/3 || len(formA) != len("%sha256-")+64 {
				t.Errorf("%q was hashed to %s", a, formA)
			}
		} else if got := unescaped(t, formA); got != a {
			t.Errorf("%q renders as %s, which reads back as %q", a, formA, got)
		}
	})
}

func FuzzKeyStruct(f *testing.F) {
	type key struct {
		A, B string
		N    int64
	}
	f.Add("a,b", "c", int64(1), "a", "b,c", int64(1))
	f.Add("", "", int64(0), "", ",", int64(-1))
	f.Add("a", "1,2", int64(3), "a,1", "2", int64(3))
	f.Add(strings.Repeat("x", 198), "", int64(1), strings.Repeat("x", 199), "", int64(1))
	f.Fuzz(func(t *testing.T, a1, b1 string, n1 int64, a2, b2 string, n2 int64) {
		one, two := key{a1, b1, n1}, key{a2, b2, n2}
		form1, form2 := render(t, nil, one), render(t, nil, two)
		if (one == two) != (form1 == form2) {
			t.Errorf("%+q renders as %s, %+q as %s", []any{a1, b1, n1}, form1, []any{a2, b2, n2}, form2)
		}
		if strings.HasPrefix(form1, "%sha256-") {
			return
		}
		leaves := strings.Split(form1, ",")
		want := []string{a1, b1, fmt.Sprint(n1)}
		for i := range leaves {
			leaves[i] = unescaped(t, leaves[i])
		}
		if !slices.Equal(leaves, want) {
			t.Errorf("%s reads back as %q, want %q", form1, leaves, want)
		}
	})
}
