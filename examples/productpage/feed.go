package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/asidecache/aside/asidepg"
)

// follow has a feed invalidate what is written by programs that do not know of the cache. It needs
// nothing but invalidate, which knows what entries show a row.
func (c *CachedCatalog) follow(feed *asidepg.Feed, schema string) {
	feed.OnGap(c.InvalidateAll)
	feed.On(schema+".products", func(ctx context.Context, ch asidepg.Change) error {
		return c.invalidate(ctx, productRows(ch)...)
	})
	for _, table := range []string{"prices", "reviews"} { // whose rows do not say under which keys the product is cached
		feed.On(schema+"."+table, func(ctx context.Context, ch asidepg.Change) error {
			return c.invalidateIDs(ctx, ch.Int64s("product_id"))
		})
	}
	feed.On(schema+".categories", func(ctx context.Context, ch asidepg.Change) error {
		var tags []string
		for _, id := range ch.Int64s("id") {
			tags = append(tags, ofCategory(id)...)
		}
		return c.categories.InvalidateTags(ctx, tags...)
	})
}

// invalidateIDs asks the database where the products are shown now. Where one was shown before it moved, the row of the move tells.
func (c *CachedCatalog) invalidateIDs(ctx context.Context, ids []int64) error {
	var changed []Product
	for _, id := range ids {
		p, err := c.db.ProductByID(ctx, id)
		if errors.Is(err, sql.ErrNoRows) {
			continue // the row of its removal tells
		} else if err != nil {
			return err
		}
		changed = append(changed, p)
	}
	return c.invalidate(ctx, changed...)
}

// productRows are the old and the new row, as far as a cache is asked by what they hold.
func productRows(ch asidepg.Change) (rows []Product) {
	for _, row := range []asidepg.Row{ch.Old, ch.New} {
		if row.Exists() {
			number := func(column string) int64 {
				text, _ := row.Text(column)
				n, _ := strconv.ParseInt(text, 10, 64) // of a bigint
				return n
			}
			shop, _ := row.Text("shop")
			slug, _ := row.Text("slug")
			rows = append(rows, Product{ID: number("id"), Shop: shop, Slug: slug, CategoryID: number("category_id")})
		}
	}
	return rows
}

// startFeed runs the feed of this process until the app is closed, and returns once it reads the slot or another process does. Slot
// and publication have the name of the schema.
func (a *app) startFeed(ctx context.Context, dsn string) error {
	var schema string
	if err := a.db.db.QueryRowContext(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
		return err
	}
	if err := a.db.publish(ctx, schema); err != nil {
		return err
	}
	feed, err := asidepg.New(dsn, asidepg.Config{Slot: schema, Publication: schema})
	if err != nil {
		return err
	}
	a.cached.follow(feed, schema)
	running, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- feed.Run(running) }()
	stop := sync.OnceFunc(func() {
		cancel()
		<-ended
		a.db.dropSlot(schema)
	})
	for feed.Stats().Holder == "" {
		select {
		case err := <-ended:
			cancel()
			return err
		case <-ctx.Done():
			stop()
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	a.feed = feed
	a.seeing.addFeed(feed)
	a.stops = append(a.stops, stop)
	return nil
}

// publish has Postgres stream what the feed reads. For products that is the old row in full, since
// a move or a new slug leaves an entry behind, and reviews have no key.
func (c *SQLCatalog) publish(ctx context.Context, name string) error {
	return c.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `LOCK TABLE categories IN SHARE UPDATE EXCLUSIVE MODE`); err != nil { // of another process that starts
			return err
		}
		for _, table := range []string{"products", "reviews"} {
			var full bool
			err := tx.QueryRowContext(ctx, `SELECT relreplident = 'f' FROM pg_class WHERE oid = to_regclass($1)`, table).Scan(&full)
			if err == nil && !full { // to do it again would be a gap of the feed
				_, err = tx.ExecContext(ctx, `ALTER TABLE `+table+` REPLICA IDENTITY FULL`)
			}
			if err != nil {
				return err
			}
		}
		var published bool
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)`, name).Scan(&published)
		if err == nil && !published {
			_, err = tx.ExecContext(ctx, fmt.Sprintf(`CREATE PUBLICATION %q FOR TABLE products, prices, reviews, categories`, name))
		}
		return err
	})
}

// dropSlot is for a demo. A service leaves its slot to those of its processes that come next. Postgres may take a moment to see that
// the feed of this process has gone. Until then its slot is read, or is still being made, under another name at first. asidepg's
// connections are known by their application_name. A slot that another process reads is kept.
func (c *SQLCatalog) dropSlot(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var err error
	for connected := true; connected && err == nil; {
		err = c.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND application_name LIKE 'asidepg % ' || $1)`, strconv.Itoa(os.Getpid())).Scan(&connected)
		if connected {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if err == nil {
		_, err = c.db.ExecContext(ctx, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active`, name)
	}
	if err != nil {
		slog.Warn("the replication slot is left, and keeps the log of Postgres", "slot", name, "error", err)
	}
}
