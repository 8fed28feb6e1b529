package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/asidecache/aside/proof/soak/history"
)

// A table says which rows there are. They are of four sorts: the first are cached without tags, the
// second with tags, and the third, also with tags, are loaded from a standby that is behind. The
// fourth, without tags, are written by SQL alone, and a feed invalidates them. A sort has Keys rows
// that all processes read, and one for each process that hardly any other reads.
//
// Each row is the source of another one, which is made from it and is cached as well: its loader
// reads the source through the source's own cache. Those that are made come after all sources, in
// the order of these.
type table struct {
	Keys      int
	Processes int
}

// size is how many rows there are of a sort, before anything is made from them.
func (t table) size() int { return t.Keys + t.Processes }

// sorts is how many there are.
const sorts = 4

// firsts are the first row of each sort, and then the first that is made from one of each.
func (t table) firsts() (rows []int) {
	for sort := range 2 * sorts {
		rows = append(rows, sort*t.size())
	}
	return rows
}

// sources is how many rows there are in the database.
func (t table) sources() int { return sorts * t.size() }

// all is how many rows are cached.
func (t table) all() int { return 2 * t.sources() }

// made is the row that is made from a source.
func (t table) made(source int) int { return t.sources() + source }

func (t table) isMade(row int) bool { return row >= t.sources() }

// source is what a row is made from, or the row itself.
func (t table) source(row int) int { return row % t.sources() }

func (t table) sort(row int) int { return t.source(row) / t.size() }

func (t table) tagged(row int) bool { return t.sort(row) == 1 || t.sort(row) == 2 }

// lagging reports whether a row is loaded from the standby, or made from one that is.
func (t table) lagging(row int) bool { return t.sort(row) == 2 }

// fed reports whether a row is written by SQL alone, or is made from one that is.
func (t table) fed(row int) bool { return t.sort(row) == 3 }

// firstFed is the first of them.
func (t table) firstFed() int { return 3 * t.size() }

// hot is the row of a sort that all processes are at just now.
func (t table) hot(first int) int { return first + int(history.Now()/int64(hotFor))%t.Keys }

func (t table) lonely(row int) bool { return row%t.size() >= t.Keys }

// cache is the name of the cache of a row.
func (t table) cache(row int) string {
	name := "soak"
	if t.isMade(row) {
		name += "made"
	}
	return name + [...]string{"", "tags", "lag", "fed"}[t.sort(row)]
}

// entry is the Redis key of a row.
func (t table) entry(row int) string { return fmt.Sprintf("%s:%d", t.cache(row), row) }

// tag is the tag that a row alone has, with what is made from it: to invalidate it must do what to invalidate both rows does.
func (t table) tag(row int) string { return strconv.Itoa(t.source(row)) }

// hotFor is for how long it is the same.
const hotFor = 500 * time.Millisecond

// The Redis keys by which the library keeps book of tags: the journal, with the tags that are held, and the index of each tag.
const journal = "aside-tags"

func (t table) index(row int) string { return "aside-tag=" + t.tag(row) }

// nearLog is the Redis key by which near copies are told what is invalidated.
const nearLog = "aside-near"
