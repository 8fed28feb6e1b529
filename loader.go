package aside

import (
	"context"

	"github.com/asidecache/aside/internal/engine"
)

// A Loader reads the value of a key from the source of truth. It must return a value that nobody else modifies.
//
// It can report in three ways that there is no such row: with an error for which errors.Is holds
// with ErrNotFound, sql.ErrNoRows or one of WithNotFound; with an error that WithNotFoundFunc
// recognizes; or with a nil pointer and no error. pgx.ErrNoRows is sql.ErrNoRows from pgx 5.7 on;
// before, name it with WithNotFound.
//
// Its ctx has the values of the ctx of the Get that began the load, or those that WithLoadContext
// takes from it. It does not have the cancellation of that ctx: the load may serve other callers,
// so it goes on when this caller leaves, and ends after WithLoadTimeout. The ctx of a refresh has
// no values without WithLoadContext. The loader must therefore not use what ends with that call:
// above all not a transaction that it finds in its ctx; see Bypass.
//
// It may read other caches, and other keys of its own, if it gives those reads its ctx. Such a read holds up the load that it
// is made for, which has a place and perhaps leases that others wait for. So it waits for the loads of others, and for a place,
// no longer than twice the time that a load of that Cache usually takes, or 200 ms if that is longer, and never longer than half
// of WithLoadTimeout. Then it loads for itself, in the place of the load that it is made for. So no cycle of loads stands still.
// A read of the very key that is being loaded calls the loader at once, and if that reads the key again, it returns an error.
type Loader[K comparable, V any] func(ctx context.Context, key K) (V, error)

// A BatchLoader reads the values of many keys at once. Keys without a row are not in the map, or have a nil pointer there. What
// holds for a Loader holds for it.
//
// A row may come under another key than the one that was asked for, if both have one name in Redis:
// a time.Time in another Location, or a string in other letters where WithKey folds them. The
// caller finds the row under the key that it asked for. Rows of other keys are ignored, unless keys
// that were asked for have no row. Then they might be the same keys in another spelling, so each
// key without a row gets an error that names both, and is not remembered as absent.
type BatchLoader[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

// ErrNotFound says that there is no row for the key, as a load or a remembered load found. errors.Is holds for it with
// sql.ErrNoRows as well, so that the callers of a wrapped method need no change.
var ErrNotFound error = engine.ErrNotFound

// ErrOverloaded is returned by reads that needed a load and got no place among WithMaxLoads before their ctx ended; by GetMany
// also if some of its keys got one. errors.Is also holds for it with the error of that ctx, and with its cause.
var ErrOverloaded = engine.ErrOverloaded

// Bypass returns a ctx under which every Cache reads through: Get and GetMany call the loader, with this ctx, on the
// caller's goroutine, and neither use nor fill what is cached. It is for reads that must see the source itself: inside a
// transaction, or before a write that depends on what was read. Such a read needs no place among WithMaxLoads. Invalidate is
// not affected.
func Bypass(ctx context.Context) context.Context { return engine.Bypass(ctx) }
