package redisstore

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/keys"
)

// Books are the names of the keys that keep book of the tags of one scope.
type Books struct{ Journal, IndexPrefix string }

// BooksOf names the books of a scope.
func BooksOf(scope string) Books {
	if scope == "" {
		return Books{"aside-tags", "aside-tag="}
	}
	scope = keys.Scope(scope)
	return Books{"aside-tags-" + scope, "aside-tag-" + scope + "="}
}

// Index is the name of the index of a tag.
func (b Books) Index(tag string) string { return b.IndexPrefix + tag }

const (
	journalLife   = 24 * time.Hour
	journalLength = 4096 // records that are kept: a load during which more were made does not fill
	indexPage     = 1000 // entries that are read at a time
)

// A Record is one of the journal.
type Record struct{ Nonce, Score string }

// IndexOp adds entries to an index, each with the number of ms from now for which it may be there.
func IndexOp(index string, entries []any) Op { return Op{index, ScriptIndex, entries} }

// WarmOp touches an index, and asks which of the entries it lacks.
func WarmOp(index string, entries []any) Op { return Op{index, ScriptWarm, entries} }

// UnindexOp takes entries out of an index that have not been added again.
func UnindexOp(index string, entries []redis.Z) Op {
	var args []any
	for _, e := range entries {
		args = append(args, e.Member, formatScore(e.Score))
	}
	return Op{index, ScriptUnindex, args}
}

// A Cursor is how far an index has been read. It goes by score, on which a failover has no bearing:
// an entry that is added again only moves to where it is still to come. An entry that somebody else
// takes out meanwhile has been invalidated before.
type Cursor struct {
	Index string
	From  string // the least score of the next page
	count int64  // how many entries that has
	Page  []redis.Z
}

// Advance goes on to the next page, and reports whether there is one.
func (at *Cursor) Advance() bool {
	if int64(len(at.Page)) < at.count {
		return false
	}
	last := formatScore(at.Page[at.count-1].Score)
	if last == at.From {
		at.count *= 2 // a whole page has the same score, and could not be taken out
	}
	at.From = last
	return true
}

func (at *Cursor) readOp() Op { return Op{at.Index, readPage, []any{at.From, at.count}} }

// formatScore writes a whole number as Redis reads it.
func formatScore(score float64) string { return strconv.FormatFloat(score, 'f', 0, 64) }

// ReadIndexes reads the next page of each index, in one round trip to each server concerned.
func (s *Store) ReadIndexes(ctx context.Context, cursors []*Cursor) error {
	for _, at := range cursors {
		at.count = max(at.count, indexPage/int64(len(cursors)))
	}
	ops := make([]Op, len(cursors))
	for i, at := range cursors {
		ops[i] = at.readOp()
	}
	b := NewBudget(s.Timeout)
	replies := s.read(ctx, &b, ops)
	for i, r := range replies {
		cursors[i].Page = r.page
	}
	return FirstError(replies)
}

// FirstError is nil if Redis confirmed all.
func FirstError(replies []Reply) error {
	for _, r := range replies {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}
