package crash_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// The ways of writing.
const (
	commits       = "commits"
	rollsBack     = "rolls back"
	losesTheReply = "commits, and takes it for a failure"
	withoutInTx   = "invalidates after the COMMIT, outside InTx"
	tooEarly      = "invalidates before the COMMIT, outside InTx"
)

// The steps of a write, in order. At each, the writer waits.
const (
	beforeBegin    = "before BEGIN"
	afterBegin     = "after BEGIN"
	afterUpdate    = "after UPDATE"
	holdNotSent    = "the hold is not sent"
	holdSent       = "the hold is placed, and its reply not read"
	recordNotSent  = "the record for near copies is not sent" // where there are some, as the next
	recordSent     = "the record for near copies is there, and its reply not read"
	afterHold      = "after Invalidate"
	beforeCommit   = "before COMMIT"
	afterCommit    = "after COMMIT"
	releaseNotSent = "the release is not sent"
	releaseSent    = "the release is done, and its reply not read"
	afterInTx      = "after InTx"
)

var errGivenUp = errors.New("given up")

// A writer writes the row once.
type writer struct {
	plan
	db             *pgx.Conn
	cache          *aside.Cache[int64, item]
	answers        *bufio.Scanner
	held, released atomic.Bool
	recorded       atomic.Bool
}

func beWriter(p plan) {
	ctx := context.Background()
	db, err := pgx.Connect(ctx, withParam(p.DSN, "application_name", p.session()))
	must(err)
	rdb := redis.NewClient(&redis.Options{Addr: p.Redis})
	w := &writer{plan: p, db: db, answers: bufio.NewScanner(os.Stdin)}
	rdb.AddHook(w)
	// To wait at a step is no timeout of Redis.
	w.cache = newCache(rdb, selectItem(nil), append(p.near(100), aside.WithHold(p.Hold), aside.WithRedisTimeout(time.Minute))...)
	if p.Way == withoutInTx || p.Way == tooEarly {
		w.writeOutside(ctx)
		return
	}
	w.step(beforeBegin)
	err = aside.InTx(ctx, w.write)
	if p.Way == commits {
		must(err)
	}
	w.step(afterInTx)
}

// session is how the writer's connection is known in Postgres.
func (p plan) session() string { return fmt.Sprintf("writer-of-%d", p.Row) }

// write is what runs in InTx.
func (w *writer) write(ctx context.Context) error {
	tx, err := w.db.Begin(ctx)
	must(err)
	w.step(afterBegin)
	w.exec(ctx, tx, `UPDATE item SET version = version + 1 WHERE id = $1`)
	w.step(afterUpdate)
	must(w.cache.Invalidate(ctx, w.Row))
	w.step(afterHold)
	w.exec(ctx, tx, `UPDATE item SET note = 'written' WHERE id = $1`)
	w.step(beforeCommit)
	if w.Way == rollsBack {
		return errors.Join(errGivenUp, tx.Rollback(ctx))
	}
	must(tx.Commit(ctx))
	w.step(afterCommit)
	if w.Way == losesTheReply {
		return errGivenUp
	}
	return nil
}

// writeOutside is a write without InTx, whose Invalidate stands where Way says.
func (w *writer) writeOutside(ctx context.Context) {
	tx, err := w.db.Begin(ctx)
	must(err)
	w.exec(ctx, tx, `UPDATE item SET version = version + 1 WHERE id = $1`)
	if w.Way == tooEarly {
		must(w.cache.Invalidate(ctx, w.Row))
	}
	w.step(beforeCommit)
	must(tx.Commit(ctx))
	w.step(afterCommit)
	if w.Way == withoutInTx {
		must(w.cache.Invalidate(ctx, w.Row))
	}
}

func (w *writer) exec(ctx context.Context, tx pgx.Tx, query string) {
	_, err := tx.Exec(ctx, query, w.Row)
	must(err)
}

// step announces a step and waits there.
func (w *writer) step(name string) {
	fmt.Println(name)
	if !w.answers.Scan() {
		os.Exit(0) // the test has ended
	}
}

// ProcessHook waits before and after the first hold, the record of it, and the release, but not at the renewals in between.
func (w *writer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		before, after := "", ""
		switch life, isHold := holdLife(cmd); {
		case isHold && life > 0 && !w.held.Swap(true):
			before, after = holdNotSent, holdSent
		case isHold && life == 0 && !w.released.Swap(true):
			before, after = releaseNotSent, releaseSent
		case isRecord(cmd) && !w.recorded.Swap(true):
			before, after = recordNotSent, recordSent
		default:
			return next(ctx, cmd)
		}
		w.step(before)
		err := next(ctx, cmd)
		must(err)
		w.step(after)
		return err
	}
}

// holdLife tells for how many ms a command holds an entry, 0 if it releases it. The arguments of the hold script stand
// after EVAL, the script, 1 and the name: token, life, lag, nonce.
func holdLife(cmd redis.Cmder) (ms int64, isHold bool) {
	args := cmd.Args()
	if !strings.HasPrefix(cmd.Name(), "eval") || len(args) != 8 {
		return 0, false
	}
	ms, isHold = args[5].(int64)
	return ms, isHold
}

// isRecord reports whether a command tells near copies of an invalidation. The arguments of the script stand after EVAL, the
// script, 1 and the name: there are seven.
func isRecord(cmd redis.Cmder) bool {
	args := cmd.Args()
	return strings.HasPrefix(cmd.Name(), "eval") && len(args) == 4+7 && args[3] == any("aside-near")
}

func (w *writer) DialHook(next redis.DialHook) redis.DialHook { return next }

func (w *writer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
