// Package asidepg invalidates what writers who never heard of the cache have changed: a psql session, a batch job, a service in
// another language, a migration. It reads every commit of a Postgres database from a logical replication slot, and needs nothing from
// the writer: no trigger, no outbox table, no discipline.
//
//	feed, err := asidepg.New(dsn, asidepg.Config{Slot: "aside", Publication: "aside"})
//	feed.On("public.products", func(ctx context.Context, c asidepg.Change) error {
//		return aside.Invalidate(ctx, products.Keys(c.Int64s("id")...), lists.Keys(c.Int64s("category_id")...))
//	})
//	feed.OnGap(aside.Caches{products, lists}.InvalidateAll)
//	err = feed.Run(ctx) // in every process: one holds the slot, the others stand by
//
// # What it promises
//
// A change is handled after its commit, so the old row is served for a while: for some milliseconds
// as a rule, and longer while a handler fails, while a feed takes over, or while it reads a
// backlog. [Stats.Behind] bounds how long. aside.InTx promises that nothing stale is served at all.
// Use it where the writer can, and a feed for the writers that cannot.
//
// At least once, in the order of the commits, nothing skipped: a position of the log is confirmed to Postgres only after the
// handlers of all transactions before it have returned nil. That holds if the process is killed at any step, if Postgres is
// restarted, and if another process takes over. A handler may therefore be called again for a change that it has handled. Within a
// transaction, changes are handled side by side, up to Config.Parallel.
//
// Not before it can be seen: a commit reaches the stream before other sessions see it, by a round trip to a synchronous standby if there is one. A handler runs only
// once the commit is visible on the primary. Otherwise a load right after the invalidation would cache the old row.
//
// Gaps are told: when the feed cannot know what it has missed, OnGap is called before the stream goes on. OnGap says when.
//
// The disk is not filled: a slot keeps the log that has not been confirmed, without a limit unless max_slot_wal_keep_size is set. A feed that is
// further behind than Config.MaxBehind drops its slot and makes another one, which is a gap. The position is confirmed once a
// second; while nothing happens, the feed moves it by messages of its own.
//
// # What it does not see
//
//   - Prepared transactions (PREPARE TRANSACTION) count when they are committed. A transaction that
//     stays prepared keeps the log, and a new slot waits for it, as for any transaction that is
//     open.
//   - A replica that lags. If loaders read a standby, give the cache aside.WithReplicaLag.
//   - Writes that Postgres does not log: those to UNLOGGED tables, and whatever is done to files.
//   - A partition that was dropped or detached while no feed was running, or in the last second before the process that held the slot was
//     killed. Invalidate by hand then.
//   - A table that was out of the publication, if the publication has FOR ALL TABLES or FOR TABLES IN SCHEMA. ALTER PUBLICATION of a
//     named table is a gap.
//
// A gap may be told once too often: when a process takes the slot soon after an ALTER TABLE, and cannot tell whether the one before had seen it.
//
// # What it needs
//
// Postgres 14 or newer with wal_level = logical, a publication, and a role with REPLICATION. Each process keeps one connection, and the one
// that holds the slot two. They must reach the primary itself, without a pooler. Each table needs a replica identity: a primary key, or FULL where a handler
// asks for the old value of other columns (see [Change]). Run checks all of this, and its errors say what to type.
//
// The gate on visibility is taken from go-pq-cdc, the comparison modulo 2^32 from Postgres' own TransactionIdPrecedes.
package asidepg
