package aside

import (
	"context"
	"fmt"
	"reflect"

	"github.com/asidecache/aside/internal/jsonvalue"
)

// BatchOf makes a BatchLoader, for WithBatch, of a query for many rows that returns those that there are in any order.
// keyOf tells the key of a row:
//
//	aside.WithBatch(aside.BatchOf(repo.ProductsByIDs, func(p Product) int64 { return p.ID }))
//
// If several rows have one key, the last counts.
func BatchOf[K comparable, V any](
	query func(ctx context.Context, keys []K) ([]V, error), keyOf func(V) K,
) BatchLoader[K, V] {
	return func(ctx context.Context, keys []K) (map[K]V, error) {
		rows, err := query(ctx, keys)
		byKey := make(map[K]V, len(rows))
		for _, row := range rows {
			byKey[keyOf(row)] = row
		}
		return byKey, err
	}
}

// A Pair is the key of a method with two arguments.
type Pair[A, B comparable] struct {
	A A
	B B
}

// PairOf makes a Pair.
func PairOf[A, B comparable](a A, b B) Pair[A, B] { return Pair[A, B]{a, b} }

// ByPair makes a Loader of a method with two arguments:
//
//	bySlug, err := aside.New(rdb, "product_by_slug", aside.ByPair(repo.ProductBySlug))
//	p, err := bySlug.Get(ctx, aside.PairOf(shop, slug))
//
// For a method with more arguments, write a Loader by hand whose key is a struct.
func ByPair[A, B comparable, V any](load func(ctx context.Context, a A, b B) (V, error)) Loader[Pair[A, B], V] {
	return func(ctx context.Context, key Pair[A, B]) (V, error) { return load(ctx, key.A, key.B) }
}

// A Filter is a filter struct as a key, which may have slices, maps and pointers in it: its canonical JSON, which is comparable.
// The zero Filter is that of the zero F.
type Filter[F any] struct {
	text string // "" for the zero F
	err  string // why it has none
}

// FilterOf makes a Filter. Two filters that select the same are one key: nil and empty lists, maps in any order, the same instant in
// two locations. Two that differ in anything else are two keys. What cannot be encoded (a number that is none, a string that is no
// UTF-8) is an error of Get.
func FilterOf[F any](f F) Filter[F] {
	text, err := jsonvalue.Canonical(&f)
	if err != nil {
		return Filter[F]{err: err.Error()}
	}
	return Filter[F]{text: text}
}

// MarshalText returns the canonical JSON, for the key in Redis.
func (f Filter[F]) MarshalText() ([]byte, error) {
	if f.err != "" {
		return nil, fmt.Errorf("aside: a filter cannot be encoded: %s", f.err)
	}
	if f.text == "" {
		return FilterOf(*new(F)).MarshalText()
	}
	return []byte(f.text), nil
}

// filter reads the filter back.
func (f Filter[F]) filter() (filter F, err error) {
	text, err := f.MarshalText()
	if err == nil {
		err = jsonvalue.ReadCanonical(text, &filter)
	}
	return filter, err
}

// checkKey reports why New refuses the type of a Filter.
func (Filter[F]) checkKey() error { return jsonvalue.CheckFilter(reflect.TypeFor[F]()) }

// refusesFilter reports why a struct in a key is a Filter that New refuses.
func refusesFilter(t reflect.Type) error {
	if f, ok := reflect.Zero(t).Interface().(interface{ checkKey() error }); ok {
		return f.checkKey()
	}
	return nil
}

// ByFilter makes a Loader of a method whose argument is a filter:
//
//	type Search struct { Categories []int64; MaxPrice *int; Page int }
//
//	lists, err := aside.New(rdb, "search", aside.ByFilter(repo.Search))
//	found, err := lists.Get(ctx, aside.FilterOf(Search{Categories: []int64{7}}))
//
// New refuses an F with a part that JSON leaves out, since that part would not tell two filters
// apart: unexported fields, and those tagged json:"-". It refuses interfaces as well, since they
// cannot be read back.
func ByFilter[F, V any](load func(ctx context.Context, f F) (V, error)) Loader[Filter[F], V] {
	return func(ctx context.Context, key Filter[F]) (V, error) {
		f, err := key.filter()
		if err != nil {
			var zero V
			return zero, err
		}
		return load(ctx, f)
	}
}
