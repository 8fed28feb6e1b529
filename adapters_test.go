package aside_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/asidecache/aside"
)

func TestBatchOfTakesRowsInAnyOrder(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100}, product{2, "desk", 200})
		query := func(ctx context.Context, ids []int) (found []product, err error) {
			if rows.err != nil {
				return nil, rows.err
			}
			for _, id := range slices.Backward(ids) {
				if p, ok := rows.rows[id]; ok {
					found = append(found, p)
				}
			}
			return found, nil
		}
		c, _ := process(r, rows.load, aside.WithBatch(aside.BatchOf(query, func(p product) int { return p.ID })))
		equal(t, "what GetMany finds", prices(mustGetMany(t, c, 1, 2, 3)), "1:100 2:200")
		equal(t, "the price of one", mustGet(t, c, 2).Price, 200)
		rows.fail(errors.New("the database is down"))
		_, err := c.GetMany(t.Context(), []int{4})
		equal(t, "the error", errors.Is(err, rows.err), true)
	})
}

func TestMethodWithTwoArgumentsIsKeyedByThePair(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		bySlug := func(_ context.Context, shop string, number int) (product, error) {
			return product{number, shop, 100}, nil
		}
		c, _ := process(r, aside.ByPair(bySlug))
		equal(t, "what is loaded", mustGet(t, c, aside.PairOf("de", 7)), product{7, "de", 100})
		if r.get("test:de,7") == "" {
			t.Error("nothing is stored under test:de,7")
		}
		mustInvalidate(t, c, aside.PairOf("de", 7))
		equal(t, "what is left", r.get("test:de,7"), "")
	})
}
