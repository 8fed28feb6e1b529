package aside

import (
	"context"

	"github.com/asidecache/aside/internal/engine"
)

// InTx runs fn, in which a transaction is run, so that the cache is coherent with its commit.
//
// Invalidate with the ctx that fn is given holds the keys: from then on until InTx returns, nothing is cached for them,
// in any process. Call it before the commit, and begin, commit or roll back within fn:
//
//	err := aside.InTx(ctx, func(ctx context.Context) error {
//		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//			if err := setPrice(ctx, tx, id, price); err != nil {
//				return err
//			}
//			return products.Invalidate(ctx, id)
//		})
//	})
//
// That fn returns nil means that the transaction has committed: the holds are released, and the
// next Get loads the committed row. If fn returns an error or panics, the transaction may have
// committed all the same (a COMMIT whose answer was lost). So the holds are renewed once more and
// left to expire: nothing is cached for the keys for WithHold, and nothing is stale. The same holds
// when the process dies at any point. If fn knows that nothing was written, it returns RolledBack,
// which releases the holds. While fn runs, the holds are renewed.
//
// InTx returns fn's error and nothing else (what RolledBack was given, in its place), and re-panics
// fn's panic. The end of the holds takes as long as Invalidate, InvalidateTags and InvalidateAll
// take. It takes a WithRedisTimeout more if the holds are being renewed just then. It does not end
// with ctx. Where Redis does not confirm that, the keys are invalidated in the background, as by an
// Invalidate that has failed.
//
// Inside, a read of a key that was invalidated there goes to the loader, with this ctx, on the caller's goroutine. Reads
// of other keys may hit, and no read fills the cache or shares its load: the loader may see uncommitted rows. No read needs a
// place among WithMaxLoads.
//
// One InTx may invalidate keys of several caches. An InTx inside another joins it: the holds last
// until the outer one ends. If an inner one returned an error or panicked, what was invalidated
// inside it has an unknown outcome, whatever the outer one returns. Then all holds are left to
// expire: an entry that is released might be made again from a row whose COMMIT may still land.
//
// All holds of one Cache must be placed, and later renewed, within a third of WithHold. Redis does
// some 100,000 a second, so the default of 30 seconds allows for a million keys. Where holds are
// not renewed in time, because they are too many or because Redis does not answer, Invalidate and
// each later Invalidate of this InTx return an error: roll back. If fn commits all the same, the
// keys are invalidated when it has returned; until then, reads may return the old rows.
func InTx(ctx context.Context, fn func(ctx context.Context) error) error {
	return engine.InTx(ctx, fn)
}

// RolledBack says, as the error of InTx's function, that nothing was written, for certain: the input was refused, or a constraint
// of the database has, and the transaction was rolled back. InTx then releases its holds at once and returns err itself. Without
// it, an error leaves the keys uncached for WithHold, since the COMMIT may have landed.
//
// Do not use it for an error of COMMIT, whatever that says, or for an error that has ended the
// connection. An InTx inside another returns the error as it is, for the outer one to know of: if
// the outer function goes on and returns nil, what it has written itself counts as committed.
// errors.Is and errors.As see err.
func RolledBack(err error) error { return engine.RolledBack(err) }
