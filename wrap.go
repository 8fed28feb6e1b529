package aside

import "context"

// BatchOf makes a BatchLoader, for WithBatch, of a query for many rows that returns those that there are in any order.
// keyOf tells the key of a row:
//
//	aside.WithBatch(aside.BatchOf(repo.ProductsByIDs, func(p Product) int64 { return p.ID }))
//
// Of several rows with one key, the last counts.
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
// Of a method with more, make a Loader by hand, whose key is a struct.
func ByPair[A, B comparable, V any](load func(ctx context.Context, a A, b B) (V, error)) Loader[Pair[A, B], V] {
	return func(ctx context.Context, key Pair[A, B]) (V, error) { return load(ctx, key.A, key.B) }
}
