package aside_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/asidecache/aside"
)

// A scriptedTx is a transaction on row 1 that does one thing at a time: hold, commit, release.
type scriptedTx struct {
	next chan func()
	did  chan struct{}
	done chan error
}

func beginScripted(c *aside.Cache[int, product], commit func()) *scriptedTx {
	x := &scriptedTx{next: make(chan func()), did: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		x.done <- aside.InTx(context.Background(), func(ctx context.Context) error {
			<-x.next
			if err := c.Invalidate(ctx, 1); err != nil {
				return err
			}
			x.did <- struct{}{}
			<-x.next
			commit()
			x.did <- struct{}{}
			<-x.next
			return nil
		})
	}()
	return x
}

// step does the next thing, of which the third is the end of InTx.
func (x *scriptedTx) step(t *testing.T) (ended bool) {
	t.Helper()
	x.next <- nil
	select {
	case <-x.did:
		return false
	case err := <-x.done:
		equal(t, "the error of InTx", err, nil)
		return true
	}
}

// orders are all ways in which the three steps of A and those of B may follow each other.
func orders(a, b int) []string {
	if a == 0 || b == 0 {
		return []string{strings.Repeat("A", a) + strings.Repeat("B", b)}
	}
	var all []string
	for _, rest := range orders(a-1, b) {
		all = append(all, "A"+rest)
	}
	for _, rest := range orders(a, b-1) {
		all = append(all, "B"+rest)
	}
	return all
}

func TestTwoTransactionsOnOneRowAreCoherentInEveryOrder(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		for _, order := range orders(3, 3) {
			rows := newTable(product{1, "lamp", 100})
			a, _ := process(r, rows.load)
			b, _ := process(r, rows.load)
			reader, _ := process(r, rows.load)
			mustInvalidate(t, a, 1)
			mustGet(t, reader, 1)
			price := 100
			txs := map[rune]*scriptedTx{}
			for who, c := range map[rune]*aside.Cache[int, product]{'A': a, 'B': b} {
				txs[who] = beginScripted(c, func() { price--; rows.setPrice(1, price) })
			}
			open := map[rune]bool{}
			for i, who := range order {
				open[who] = !txs[who].step(t)
				for range 2 {
					equal(t, fmt.Sprintf("the price after %q of %q", order[:i+1], order), mustGet(t, reader, 1).Price, price)
				}
				held := strings.HasPrefix(r.get("test:1"), `{"hold":`)
				equal(t, fmt.Sprintf("whether it is held after %q of %q", order[:i+1], order), held, open['A'] || open['B'])
			}
			equal(t, "the price at last", price, 98)
		}
	})
}

// Each cache stands for itself: the keys of one are held though those of another cannot be.
func TestCachesOfOneTransactionFailByThemselves(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		failing, tap := process(r, rows.load)
		rdb := r.dial(t)
		make := func(name string) *aside.Cache[int, product] {
			c, err := aside.New(rdb, name, rows.load, aside.WithLogger(logger(t)))
			if err != nil {
				t.Fatal(err)
			}
			return closed(t, c)
		}
		first, second := make("first"), make("second")
		caches := []*aside.Cache[int, product]{failing, first, second}
		for _, c := range caches {
			mustGet(t, c, 1)
		}
		tap.answer("hold", errDown)
		tap.answer("invalidate", errDown)
		inTx(t, func(ctx context.Context) error {
			for _, c := range caches {
				err := c.Invalidate(ctx, 1)
				equal(t, "whether Invalidate failed", errors.Is(err, errDown), c == failing)
			}
			rows.setPrice(1, 90)
			for _, c := range []*aside.Cache[int, product]{first, second} {
				equal(t, "the price once committed", mustGet(t, c, 1).Price, 90)
			}
			return nil
		})
		for _, name := range []string{"first:1", "second:1"} {
			equal(t, "the document of "+name, r.get(name), "")
		}
		for _, c := range caches {
			equal(t, "the price", mustGet(t, c, 1).Price, 90)
		}
		equal(t, "Owed of the one that failed", failing.Stats().PendingInvalidations, 1)
		equal(t, "Owed of another", first.Stats().PendingInvalidations, 0)
		tap.answer("invalidate", nil)
	})
}
