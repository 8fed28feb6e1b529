package main

import (
	"math"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/testserver"
)

// docs/scaling.md reckons with these: if the library sends more, its formulae and its example are wrong.
func TestTheBytesOfACallAreThoseOfTheScalingPage(t *testing.T) {
	const name = 15 // bytes of "bench-wire:1000"
	server := testserver.Redis(t)
	admin := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer admin.Close()
	r := &run{ctx: t.Context(), addr: server.Addr, admin: admin, quick: true}
	measured := &table{}
	for _, w := range wired[1:] {
		if err := r.wire(measured, w, 1<<10); err != nil {
			t.Fatal(err)
		}
	}
	value := float64(jsonSize(newProduct(0, 1<<10)))
	want := map[string]struct{ commands, trips, in, out float64 }{
		"hit":                  {1, 1, name + 20, value + 169},
		"miss":                 {3, 3, value + 3*name + 483, 75},
		"invalidate":           {1, 1, name + 78, 4},
		"miss, one tag":        {6, 5, value + 949, 143},
		"stale hit, refreshed": {3, 3, value + 3*name + 526, value + 189},
	}
	for _, row := range measured.rows {
		w := want[row[1]]
		for i, want := range []float64{w.commands, w.trips, w.in, w.out} {
			got, err := strconv.ParseFloat(row[3+i], 64)
			if slack := []float64{0, 0, 8, 8}[i]; err != nil || math.Abs(got-want) > slack {
				t.Errorf("%s: column %d is %s, want %v", row[1], 3+i, row[3+i], want)
			}
		}
	}
	if len(measured.rows) != len(want) {
		t.Errorf("there are %d rows, want %d", len(measured.rows), len(want))
	}
}
