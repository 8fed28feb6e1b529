package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/redisstore"
)

// Tags: how what was filled from a row is found, when it is not the entry of the row.
//
// Two kinds of Redis keys keep book of them, of all caches of one scope together. Neither holds a colon, so no cache has them.
//
//	aside-tags         the journal, a sorted set: records that name tags which were invalidated, by the time when they
//	                   were made, and the tags that transactions hold, by expiry
//	aside-tag=<tag>    the index, a sorted set by expiry: the entries that were filled with the tag
//
// With a scope they are aside-tags-<scope> and aside-tag-<scope>=<tag>.
//
// Records and held tags are in one key, since a load must read both at one moment, or the records
// first. Two keys would have to be read by two commands. A Cluster may change the order of these
// while their slot moves: it redirects the one, and not the other. If the held tags were read
// first, a transaction might hold a tag and make its record in between, and the load would see
// neither. (proof/model has that among the designs that break.)
//
// The tags of a value are known only when it is loaded. So a load begins with a snapshot: the last
// record of the journal, and the tags that are held. It ends with three steps, and each waits for
// the one before:
//
//  1. add the entry to the index of each of its tags
//  2. read the journal: the marked record is still there, no later one names one of the tags, and none was held
//  3. fill, which replaces the document that the load started from
//
// InvalidateTags takes four steps:
//
//  1. hold the tags, and append a record to the journal, in one script
//  2. read the indexes of the tags
//  3. invalidate each entry found there; only then take them out of the index
//  4. release the tags
//
// A load that began before step 1 of InvalidateTags has a snapshot from before the record. If the
// load reads the journal after the record was made, it does not fill. If the load reads the journal
// earlier, it has added the entry to the index even earlier. InvalidateTags finds the entry there,
// and removes what the load has filled, or voids what it would replace. The keys may live on
// different nodes: only the order of the steps counts.
//
// The tags are held until all is removed, since one entry may be made from another. A load that
// begins meanwhile might have read an entry of another cache that is not removed yet. So it does
// not fill, however late it ends. Inside InTx the tags are held until the transaction has ended,
// since a load might have read the row from before the commit.
//
// Three commands may come late or twice. A record costs a fill or two. The command of an index adds
// the entry again. The removal from an index compares scores: the server makes another score each
// time that an entry is added. (To remove by name alone would lose an entry that has been added
// since.)
const mostTags = 1000 // of a value: each costs the fill the run of a script

// everyTag stands in a record for all tags. It is no rendered tag: '%' and two hex digits are an escape.
const everyTag = "%all"

// removeTagged removes what has tags that are recorded and held. If Redis refuses one of them, it tries each half of them.
//
// If entries may not be touched, only the caches that have them are told: nobody else waits for
// another application.
func (c *Core) removeTagged(ctx context.Context, tags []subject) (failed []subject, err error) {
	if len(tags) == 0 {
		return nil, nil
	}
	err = c.removeIndexed(ctx, indexesOf(tags))
	var kept *keptEntriesError
	switch half := len(tags) / 2; {
	case errors.As(err, &kept):
		c.retry(c.ledger.failed(c.ledger.entriesNamed(kept.names), true))
		return nil, err
	case err == nil || half == 0 || redisstore.Unreachable(err) || ctx.Err() != nil:
		return only(tags, func(subject) bool { return err != nil }), err
	default:
		first, firstErr := c.removeTagged(ctx, tags[:half])
		second, secondErr := c.removeTagged(ctx, tags[half:])
		return append(first, second...), cmp.Or(firstErr, secondErr)
	}
}

// removeEveryTag is an attempt for whatever has a tag of a journal.
func (c *Core) removeEveryTag(ctx context.Context, b redisstore.Books) error {
	if r := c.Store.RunAlone(ctx, c.Store.RecordOp(b, "", 0, 0, everyTag))[0]; r.Err != nil {
		return r.Err
	}
	var mu sync.Mutex // guards kept
	var kept keptEntries
	err := c.walk(ctx, b.IndexPrefix, func(ctx context.Context, indexes []string) error {
		_, err := c.persist(ctx, func() error { return c.removeIndexed(ctx, indexes) })
		mu.Lock()
		defer mu.Unlock()
		return kept.add(err)
	})
	return cmp.Or(err, kept.err())
}

// removeIndexed invalidates the entries of indexes, and then takes them out. It reads many indexes at a time, and as much of
// each as makes a page together. If some entries may not be touched, it goes on with the others.
func (c *Core) removeIndexed(ctx context.Context, indexes []string) error {
	var kept keptEntries
	for chunk := range slices.Chunk(indexes, redisstore.ChunkSize) {
		cursors := make([]*redisstore.Cursor, len(chunk))
		for i, index := range chunk {
			cursors[i] = &redisstore.Cursor{Index: index, From: "0"}
		}
		for len(cursors) > 0 {
			if err := ctx.Err(); err != nil {
				return err // the Cache is being closed
			}
			if err := c.Store.ReadIndexes(ctx, cursors); err != nil {
				return err
			}
			if err := kept.add(c.removeMembers(ctx, cursors)); err != nil {
				return err
			}
			cursors = only(cursors, (*redisstore.Cursor).Advance)
		}
	}
	return kept.err()
}

// removeMembers invalidates the entries that were read, and takes them out of the indexes unless they may not be touched.
func (c *Core) removeMembers(ctx context.Context, cursors []*redisstore.Cursor) error {
	var names []string
	for _, at := range cursors {
		for _, e := range at.Page {
			names = append(names, e.Member.(string))
		}
	}
	slices.Sort(names)
	var kept keptEntries
	for chunk := range slices.Chunk(slices.Compact(names), redisstore.ChunkSize) {
		failed, err := c.attempt(ctx, c.removeTasks(c.ledger.entriesNamed(chunk)))
		if redisstore.IsForbidden(err) {
			err = &keptEntriesError{namesOf(failed), err}
		}
		c.Teller.removed(ctx, len(chunk)-len(failed))
		if err := kept.add(err); err != nil {
			return err
		}
	}
	var ops []redisstore.Op
	for _, at := range cursors {
		gone := only(at.Page, func(e redis.Z) bool { return !kept.has(e.Member.(string)) })
		for chunk := range slices.Chunk(gone, redisstore.ChunkSize) {
			ops = append(ops, redisstore.UnindexOp(at.Index, chunk))
		}
	}
	if len(ops) > 0 {
		c.Store.RunAlone(ctx, ops...) // if this fails, they expire
	}
	return kept.err()
}

// A keptEntriesError says that entries with a tag may not be touched: they are another application's, whose tags have the
// same scope, and an ACL protects them. All others are invalidated.
type keptEntriesError struct {
	names []string
	cause error
}

func (e *keptEntriesError) Error() string {
	return fmt.Sprintf("%d entries may not be touched, the first is %q: %v", len(e.names), e.names[0], e.cause)
}

func (e *keptEntriesError) Unwrap() error { return e.cause }

// keptEntries collects them.
type keptEntries struct{ first *keptEntriesError }

// add takes a keptEntriesError, and returns any other.
func (k *keptEntries) add(err error) error {
	var more *keptEntriesError
	switch {
	case !errors.As(err, &more):
		return err
	case k.first == nil:
		k.first = more
	default:
		k.first.names = append(k.first.names, more.names...)
	}
	return nil
}

func (k *keptEntries) has(name string) bool {
	return k.first != nil && slices.Contains(k.first.names, name)
}

func (k *keptEntries) err() error {
	if k.first == nil {
		return nil
	}
	return k.first
}
