package aside_test

import (
	"context"
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
