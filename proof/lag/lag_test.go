package lag_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/asidecache/aside"
)

const (
	hold  = time.Second
	delay = 1500 * time.Millisecond // of the standby, longer than a hold
	lag   = 5 * time.Second         // longer still, since a busy standby is late besides
)

var errGivenUp = errors.New("given up")

// writes are the ways to write a row and to invalidate it.
var writes = map[string]func(r *row){
	"Invalidate after COMMIT": func(r *row) {
		must(r.update(r.t.Context()))
		must(r.writer.Invalidate(r.t.Context(), r.id))
	},
	"InvalidateAll after COMMIT": func(r *row) {
		must(r.update(r.t.Context()))
		must(r.writer.InvalidateAll(r.t.Context()))
	},
	"InTx": func(r *row) {
		must(r.inTx(nil))
	},
	"InTx that takes its COMMIT for a failure": func(r *row) {
		if err := r.inTx(errGivenUp); err != errGivenUp {
			r.t.Errorf("InTx returned %v", err)
		}
	},
}

// inTx writes the row in InTx, whose func returns result after COMMIT.
func (r *row) inTx(result error) error {
	return aside.InTx(r.t.Context(), func(ctx context.Context) error {
		tx, err := r.primary.Begin(ctx)
		must(err)
		_, err = tx.Exec(ctx, increment, r.id)
		must(err)
		must(r.writer.Invalidate(ctx, r.id))
		must(tx.Commit(ctx))
		return result
	})
}

func TestWithReplicaLagNothingIsCachedThatAStandbyHasYetToReplace(t *testing.T) { lagging(t) }

// The last read is served from a near copy.
func TestWithReplicaLagThereIsNoNearCopyOfWhatAStandbyHasYetToReplace(t *testing.T) {
	lagging(t, aside.WithNear(100, time.Hour))
}

func lagging(t *testing.T, opts ...aside.Option) {
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRow(t, append([]aside.Option{aside.WithReplicaLag(lag), aside.WithHold(hold)}, opts...)...)
			r.whileBehind(write, func(cached, want int64) {
				if cached != want {
					t.Errorf("version %d is cached, want %d", cached, want)
				}
				if got := r.get(); got != want {
					t.Errorf("version %d is read, want %d", got, want)
				}
				if opts != nil {
					before := r.reader.Stats().NearHits
					r.await("a near hit", func() bool { return r.get() == want && r.reader.Stats().NearHits > before })
				}
			})
		})
	}
}

// That the same writes leave something stale without WithReplicaLag shows that the test above can fail. InTx that takes
// its COMMIT for a failure is left out: only a read between the end of its hold and the standby's delay would be stale.
func TestWithoutReplicaLagWhatAStandbyHasYetToReplaceIsCached(t *testing.T) {
	for _, name := range []string{"Invalidate after COMMIT", "InvalidateAll after COMMIT", "InTx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRow(t)
			r.whileBehind(writes[name], func(cached, want int64) {
				if cached != want-1 {
					t.Errorf("version %d is cached, want %d", cached, want-1)
				}
				r.await("the standby to catch up", func() bool { return r.on(r.standby) == want })
				if got := r.get(); got != want-1 {
					t.Errorf("version %d is read, want %d", got, want-1)
				}
			})
		})
	}
}
