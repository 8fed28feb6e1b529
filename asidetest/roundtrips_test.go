package asidetest_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

// roundTrips returns the assertion about one value.
func roundTrips[V any](v V, opts ...aside.Option) func(t testing.TB) {
	return func(t testing.TB) {
		t.Helper()
		c, _ := asidetest.New(t, func(context.Context, int) (V, error) { return v, nil }, append(opts, patient)...)
		asidetest.RoundTrips(t, c, 1)
	}
}

type row struct {
	Name    string
	Tags    []string `json:",omitempty"`
	At      time.Time
	Any     any
	Parent  *row
	Numbers map[string]int
	hidden  int
}

func TestWhatSurvivesItsCodecPasses(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		passes(t, roundTrips(row{Name: "kettle", Tags: []string{"new"}, At: time.Now().UTC(), Any: "x",
			Parent: &row{Name: "pots"}, Numbers: map[string]int{"a": 1}}))
		passes(t, roundTrips(row{}))
		passes(t, roundTrips([]int{}))
		passes(t, roundTrips([]int(nil)))
		passes(t, roundTrips(&row{Name: "pots"}))
		passes(t, roundTrips(big.NewInt(1)))
	})
}

func TestEachLossIsTold(t *testing.T) {
	now := time.Now()
	zone := time.FixedZone("CET", 3600)
	for name, test := range map[string]struct {
		value row
		words []string
	}{
		"zone":           {row{At: now.In(zone)}, []string{".At:", "+0100 CET", "name of the zone", "t.UTC()"}},
		"odd offset":     {row{At: now.In(time.FixedZone("LMT", 3208))}, []string{".At:", "offset from UTC has seconds", "t.UTC()"}},
		"empty slice":    {row{Tags: []string{}}, []string{".Tags: a miss returns []string{}, a hit []string(nil)", "one is nil"}},
		"number in any":  {row{Any: 1}, []string{".Any: a miss returns 1 (int), a hit 1 (float64)", "types"}},
		"unexported":     {row{hidden: 7}, []string{".hidden: a miss returns 7, a hit 0", "not exported"}},
		"further inside": {row{Parent: &row{Parent: &row{hidden: 7}}}, []string{".Parent.Parent.hidden"}},
	} {
		t.Run(name, func(t *testing.T) { finds(t, roundTrips(test.value), test.words...) })
	}
}

// A decimal is what its scale and digits say, and forgets noughts at its end when it is written.
type decimal struct{ digits, scale int }

func (d decimal) MarshalText() ([]byte, error) {
	for d.scale > 0 && d.digits%10 == 0 {
		d.digits, d.scale = d.digits/10, d.scale-1
	}
	return fmt.Appendf(nil, "%de-%d", d.digits, d.scale), nil
}

func (d *decimal) UnmarshalText(text []byte) error {
	_, err := fmt.Sscanf(string(text), "%de-%d", &d.digits, &d.scale)
	return err
}

func (d decimal) Equal(e decimal) bool {
	x, _ := d.MarshalText()
	y, _ := e.MarshalText()
	return string(x) == string(y)
}

// In CI, where TZ is UTC, pgx returns times whose Location is Local; what JSON reads has none.
func TestWhatIsEqualByItsOwnTypePasses(t *testing.T) {
	local := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("UTC", 0))
	passes(t, roundTrips(row{At: local}))
	passes(t, roundTrips(row{At: time.Now().UTC()}))
	passes(t, roundTrips(local))
	passes(t, roundTrips(decimal{310, 2}))
	passes(t, roundTrips([]*decimal{{310, 2}}))
	passes(t, roundTrips(map[string]decimal{"a": {310, 2}}))
	passes(t, roundTrips(net.IPv4(10, 0, 0, 1).To4()))
	passes(t, roundTrips(json.RawMessage(`{"a": [1, "<b>"]}`)))
	passes(t, roundTrips(big.NewInt(0)))
}

// A gobCodec knows nothing of empty slices, and of nil maps.
type gobCodec struct{}

func (gobCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (gobCodec) Unmarshal(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}

func TestTheCodecOfTheCacheIsWhatCounts(t *testing.T) {
	type list struct{ IDs []int }
	passes(t, roundTrips(list{[]int{}}))
	finds(t, roundTrips(list{[]int{}}, aside.WithCodec(gobCodec{})), ".IDs: a miss returns []int{}, a hit []int(nil)")
}

type seconds struct{ time.Time }

func (s seconds) MarshalJSON() ([]byte, error) { return s.Truncate(time.Second).MarshalJSON() }

func TestLostDigitsOfATimeAreTold(t *testing.T) {
	finds(t, roundTrips(seconds{time.Unix(1, 5e6).UTC()}), "5ms apart")
}

func TestManyLossesAreCounted(t *testing.T) {
	var many []row
	for range 9 {
		many = append(many, row{hidden: 1})
	}
	finds(t, roundTrips(many), "[0].hidden", "[4].hidden", "and 4 more")
}

func TestWhatCannotBeTestedStopsTheTest(t *testing.T) {
	s := newShop(t)
	finds(t, func(t testing.TB) { asidetest.RoundTrips(t, s.products, 99) }, "key 99 has no row")
	finds(t, func(t testing.TB) { asidetest.RoundTrips(t, s.products) }, "needs keys")
	finds(t, roundTrips(map[string]any{"f": func() {}}), "is not cached", "codec cannot encode")
}

func TestWhatAReplicaLagKeepsUncachedIsNotTested(t *testing.T) {
	finds(t, roundTrips(row{hidden: 7}, aside.WithReplicaLag(time.Second)), "nothing is tested", "WithReplicaLag(1s)", "test it without")
}

func TestRoundTripsOfAnUnstableLoader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c, _ := asidetest.New(t, func(context.Context, int) (int, error) { n++; return n, nil })
		finds(t, func(t testing.TB) { asidetest.RoundTrips(t, c, 1) }, "see Deterministic")
	})
}
