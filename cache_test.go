package aside_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/asidecache/aside"
)

func TestGetLoadsOnceThenHits(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, _ := process(r, rows.load)
		for range 3 {
			equal(t, "the product", mustGet(t, c, 1), product{1, "lamp", 100})
		}
		equal(t, "the number of loads", rows.loads.Load(), 1)
		s := c.Stats()
		equal(t, "Hits", s.Hits, 2)
		equal(t, "Misses", s.Misses, 1)
		equal(t, "Fills", s.Fills, 1)
	})
}

func TestInvalidateShowsTheNewRowAtOnce(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		writer, _ := process(r, rows.load)
		reader, _ := process(r, rows.load)
		mustGet(t, reader, 1)
		rows.setPrice(1, 90)
		equal(t, "the price before Invalidate", mustGet(t, reader, 1).Price, 100)
		mustInvalidate(t, writer, 1)
		equal(t, "the price after it", mustGet(t, reader, 1).Price, 90)
	})
}

func TestAbsenceIsRememberedUntilInvalidate(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		gone := errors.New("gone")
		rows := newTable()
		c, _ := process(r, rows.load, aside.WithNotFound(gone))
		for i := range 3 {
			_, err := c.Get(t.Context(), 7)
			for _, sentinel := range []error{aside.ErrNotFound, sql.ErrNoRows, gone} {
				if !errors.Is(err, sentinel) {
					t.Errorf("read %d: %v does not answer for %v", i, err, sentinel)
				}
			}
		}
		equal(t, "the number of loads", rows.loads.Load(), 1)
		rows.setPrice(7, 1)
		mustInvalidate(t, c, 7)
		equal(t, "the price after the insert", mustGet(t, c, 7).Price, 1)
	})
}

// Also if it was made by another Cache, or by hand.
func TestANotFoundOfTheLoaderAnswersForAllErrorsThatMeanIt(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		gone := errors.New("gone")
		other, err := aside.New(r.dial(t), "other", func(context.Context, int) (int, error) { return 0, sql.ErrNoRows })
		equal(t, "the error", err, nil)
		defer other.Close()
		for name, load := range map[string]aside.Loader[int, int]{
			"bare":            func(context.Context, int) (int, error) { return 0, aside.ErrNotFound },
			"wrapped":         func(context.Context, int) (int, error) { return 0, fmt.Errorf("it is: %w", aside.ErrNotFound) },
			"another Cache's": other.Get,
		} {
			r.flush()
			c, _ := process(r, load, aside.WithNotFound(gone))
			for _, when := range []string{"loaded", "remembered"} {
				if _, err := c.Get(t.Context(), 1); !errors.Is(err, gone) || !errors.Is(err, sql.ErrNoRows) {
					t.Errorf("%s, %s: %v", name, when, err)
				}
			}
		}
	})
}
