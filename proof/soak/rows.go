package main

import (
	"fmt"
	"strconv"
)

// A table says which rows there are. The second half of them is cached with tags and the first half without. A half has
// Keys rows that all processes read, and one for each process that hardly any other reads.
type table struct {
	Keys      int
	Processes int
}

func (t table) half() int { return t.Keys + t.Processes }

func (t table) all() int { return 2 * t.half() }

func (t table) tagged(row int) bool { return row >= t.half() }

func (t table) lonely(row int) bool { return row%t.half() >= t.Keys }

// The caches.
const (
	untaggedCache = "soak"
	taggedCache   = "soaktags"
)

// entry is the Redis key of a row.
func (t table) entry(row int) string {
	if t.tagged(row) {
		return fmt.Sprintf("%s:%d", taggedCache, row)
	}
	return fmt.Sprintf("%s:%d", untaggedCache, row)
}

// tag is the tag that a row alone has: to invalidate it must do what to invalidate the row does.
func tag(row int) string { return strconv.Itoa(row) }

// The Redis keys by which the library keeps book of tags. The first two share a slot.
const (
	journal  = "aside-tags"
	heldTags = "{aside-tags}-held"
)

func index(row int) string { return "aside-tag=" + tag(row) }
