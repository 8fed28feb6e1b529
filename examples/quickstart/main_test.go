package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside"
	"github.com/redis/go-redis/v9/logging"
)

// row is a line of the table: what was read, the answer, the time that a read took, the database queries.
var row = regexp.MustCompile(`^(\S.*?\S) {2,}(.*?\S) +[0-9.]+ ms +([0-9]+)$`)

func TestStory(t *testing.T) {
	logging.Disable()
	var out bytes.Buffer
	options = append(options, aside.WithRedisTimeout(time.Minute)) // a busy machine is no Redis that is down
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + out.String())
	want := []struct{ what, answer, queries string }{
		{"the first read: a miss", "Teapot 24.90, 4.0 stars", "1"},
		{"1000 more: hits", "Teapot 24.90, 4.0 stars", "0"},
		{"after SetPrice and Invalidate", "Teapot 19.90, 4.0 stars", "1"},
		{"1000 more: hits", "Teapot 19.90, 4.0 stars", "0"},
		{"a product that does not exist", "not found", "1"},
		{"1000 more: absent hits", "not found", "0"},
		{"Redis killed: a read notices", "Teapot 19.90, 4.0 stars", "1"},
		{"20 more: without Redis", "Teapot 19.90, 4.0 stars", "20"},
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")[1:]
	if len(lines) != len(want) {
		t.Fatalf("%d rows, want %d", len(lines), len(want))
	}
	for i, want := range want {
		got := row.FindStringSubmatch(lines[i])
		if got == nil {
			t.Fatalf("no row of the table: %q", lines[i])
		}
		if got[1] != want.what || got[2] != want.answer || got[3] != want.queries {
			t.Errorf("row %d is %q, want %v", i, got[1:], want)
		}
	}
}
