package aside_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/asidecache/aside"
)

type maker struct {
	Name  string
	Towns []string
}

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
	joined = together(func() { close(start) }) - 1 // what was loaded is decoded once more, to be compared
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
