package aside_test

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"
)

// unmarked fails pipelines that begin with a command, or loses them if err is nil, and leaves their commands without an error
// and without a reply. Before 9.23 go-redis may do the one if it cannot set up a connection, and the other if a hook of a node of a
// Cluster returns an error.
func unmarked(command string, err error) through {
	return func(_ context.Context, cmds []redis.Cmder, send sender) error {
		if isPipeline := len(cmds) > 1; isPipeline && cmds[0].Name() == command {
			return err
		}
		return send(cmds...)
	}
}

// A SCAN that found nothing would end an InvalidateAll, which then returned nil.
func TestAScanThatWasNotSentHasNotFoundNothing(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		rdb.AddHook(unmarked("scan", errDown))
		rows := newTable(product{1, "lamp", 100})
		c := newCache(t, rdb, rows.load)
		mustGet(t, c, 1)
		rows.setPrice(1, 90)
		if err := c.InvalidateAll(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("InvalidateAll returned %v", err)
		}
		equal(t, "the price", mustGet(t, c, 1).Price, 90)
	})
}

// So would the page of an index that found nothing end an InvalidateTags.
func TestAPageOfAnIndexThatWasNotReadIsNotEmpty(t *testing.T) {
	for name, failure := range map[string]error{"the pipeline fails": errDown, "the pipeline is lost": nil} {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rdb := r.dial(t)
				rdb.AddHook(unmarked("zrangebyscore", failure))
				rows := newTable(product{1, "lamps", 100}, product{2, "desks", 200})
				c := newCache(t, rdb, rows.load, categories)
				mustGet(t, c, 1)
				mustGet(t, c, 2)
				rows.setPrice(1, 90)
				err := c.InvalidateTags(t.Context(), "lamps", "desks")
				if err == nil || failure != nil && !errors.Is(err, failure) {
					t.Errorf("InvalidateTags returned %v", err)
				}
				equal(t, "the price", mustGet(t, c, 1).Price, 90)
			})
		})
	}
}

// Several scripts in a pipeline: none of them has done its work.
func TestScriptsOfAPipelineThatFailedAreToldItsError(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t)
		c := newCache(t, rdb, newTable().load)
		mustInvalidate(t, c, 1)
		rdb.AddHook(unmarked("evalsha", errDown))
		if err := c.Invalidate(t.Context(), idsFrom(0, 5000)...); !errors.Is(err, errDown) {
			t.Errorf("Invalidate returned %v", err)
		}
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 5000)
	})
}
