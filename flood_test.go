package aside_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

// Whoever may ask for rows by their ids can ask for ids that nobody has, each of which is remembered for WithAbsentTTL: in Redis,
// and in no process. docs/security.md has the figures.
func TestAFloodOfMadeUpIdsLeavesNothingInTheProcess(t *testing.T) {
	for _, test := range []struct {
		name string
		opts []aside.Option
		ids  int
		most int // bytes that Redis holds for each
	}{
		{"plain", nil, 1_000_000, 350},
		{"sealed", []aside.Option{sealed}, 100_000, 420},
	} {
		t.Run(test.name, func(t *testing.T) {
			ids := test.ids
			if testing.Short() || raceDetector() {
				ids = 20_000
			}
			s := testserver.Redis(t)
			rdb := closed(t, redis.NewClient(&redis.Options{Addr: s.Addr}))
			none := func(context.Context, []string) (map[string]product, error) { return nil, nil }
			one := func(context.Context, string) (product, error) { return product{}, aside.ErrNotFound }
			opts := append(test.opts, patient, aside.WithBatch(none), aside.WithAbsentTTL(time.Hour))
			c, err := aside.New(rdb, "user", one, opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			madeUp := func(i int) string { return "id-" + strconv.Itoa(1_000_000_000+i) }
			flood := func(from, to int) {
				for first := from; first < to; first += 1000 {
					keys := make([]string, 1000)
					for i := range keys {
						keys[i] = madeUp(first + i)
					}
					if found, err := c.GetMany(t.Context(), keys[:990]); err != nil || len(found) > 0 {
						t.Fatal(len(found), err)
					}
					for _, key := range keys[990:] {
						if _, err := c.Get(t.Context(), key); !errors.Is(err, aside.ErrNotFound) {
							t.Fatal(err)
						}
					}
				}
			}
			flood(0, 10_000) // so that buffers and scripts are there
			process, server := inUse(), usedMemory(t, rdb)
			flood(10_000, 10_000+ids)
			grown, each := inUse()-process, (usedMemory(t, rdb)-server)/ids
			t.Logf("%d ids: the process has grown by %d bytes, Redis by %d bytes for each", ids, grown, each)
			if grown > 1<<20 {
				t.Errorf("the process has grown by %d bytes", grown)
			}
			if each > test.most {
				t.Errorf("Redis holds %d bytes for each", each)
			}
			equal(t, "the absences stored", int(c.Stats().Fills), 10_000+ids)
		})
	}
}

func usedMemory(t *testing.T, rdb *redis.Client) int {
	info, err := rdb.Info(t.Context(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "\r\nused_memory:")
	digits, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.Atoi(digits)
	if err != nil {
		t.Fatal(info)
	}
	return n
}
