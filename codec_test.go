package aside_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asidecache/aside"
)

func TestAnyVersionHits(t *testing.T) {
	for _, version := range []int{0, 999_999_999_999_999_999, math.MaxInt} {
		for _, opts := range [][]aside.Option{nil, {aside.WithCodec(sameBytes{})}} {
			t.Run(fmt.Sprint(version, " ", len(opts)), func(t *testing.T) {
				onMiniredis(t, func(t *testing.T, r *rig) {
					c, _ := process(r, func(context.Context, int) ([]byte, error) { return []byte("{x"), nil },
						append(opts, aside.WithVersion(version), aside.WithTTL(time.Minute), aside.WithStale(time.Hour))...)
					mustGet(t, c, 1)
					mustGet(t, c, 1)
					equal(t, "Hits", c.Stats().Hits, 1)
					time.Sleep(2 * time.Minute)
					mustGet(t, c, 1)
					equal(t, "StaleHits", c.Stats().StaleHits, 1)
				})
			})
		}
	}
}

// SameBytes makes of a value its own memory.
type sameBytes struct{}

func (sameBytes) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (sameBytes) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}

// The flight of a Cache that is closed just before it begins fills nothing, but is joined all the same.
func TestOwnerMayModifyAValueWhoseEncodingIsItselfWhileItsCacheIsClosed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		start := make(chan struct{})
		c, tap := process(r, func(context.Context, int) ([]byte, error) { <-start; return []byte("abcdefgh"), nil },
			aside.WithCodec(sameBytes{}))
		got := make(chan string, 2)
		read := func() {
			v := mustGet(t, c, 1)
			got <- string(v)
			for i := range v {
				v[i]++
			}
		}
		first := tap.after("get")
		go read()
		first.wait()
		go read() // shares what comes after
		synctest.Wait()
		equal(t, "Close", c.Close(), nil)
		second := tap.after("get")
		first.release()
		second.wait()
		second.release()
		synctest.Wait()
		close(start)
		for range 2 {
			equal(t, "a value", <-got, "abcdefgh")
		}
	})
}

// QuitsReading is a codec that ends the goroutine that it is called on.
type quitsReading struct{}

func (quitsReading) Marshal(any) ([]byte, error) { return []byte("1"), nil }
func (quitsReading) Unmarshal([]byte, any) error { runtime.Goexit(); return nil }

func TestACodecThatCallsGoexitKeepsNobodyWaiting(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		slow, _ := process(r, func(context.Context, int) (int, error) { time.Sleep(time.Second); return 1, nil },
			aside.WithCodec(quitsReading{}))
		c, _ := process(r, func(context.Context, int) (int, error) { return 2, nil }, aside.WithCodec(quitsReading{}))
		go slow.Get(t.Context(), 1)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		v, err := c.Get(ctx, 1) // which waits for the other's lease
		equal(t, "the error", err, nil)
		equal(t, "the value", v, 2)
	})
}

// PanicsWriting has no JSON.
type panicsWriting struct{ N int }

func (panicsWriting) MarshalJSON() ([]byte, error) { panic("no JSON") }
func (*panicsWriting) UnmarshalJSON([]byte) error  { return nil }

func TestAValueWhoseEncodingPanicsReachesItsOwner(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, _ := process(r, func(context.Context, int) (panicsWriting, error) { return panicsWriting{1}, nil })
		equal(t, "the value", mustGet(t, c, 1), panicsWriting{1})
		equal(t, "Fills", c.Stats().Fills, 0)
	})
}

// It would come back as a nil pointer, which means that there is no row.
func TestAPointerToWhatIsNullIsNotStored(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		logged := new(log)
		c, _ := process(r, func(context.Context, int) (*[]int, error) { return new([]int), nil }, aside.WithLogger(slog.New(logged)))
		if v := mustGet(t, c, 1); v == nil || *v != nil {
			t.Errorf("it is %v", v)
		}
		equal(t, "Fills", c.Stats().Fills, 0)
		equal(t, "what it logged", strings.Join(logged.lines, ","), "ERROR aside: a value cannot be encoded, so it is not cached")
	})
}
