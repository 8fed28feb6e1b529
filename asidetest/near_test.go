package asidetest_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

// A cents is a row.
type cents struct{ now atomic.Int64 }

func newCents(n int) *cents {
	c := new(cents)
	c.set(n)
	return c
}

func (c *cents) set(n int) { c.now.Store(int64(n)) }

func (c *cents) load(context.Context, int) (int, error) { return int(c.now.Load()), nil }

// nearPrices opens a cache with near copies in a process of its own.
func nearPrices(t *testing.T, client redis.UniversalClient, load aside.Loader[int, int]) *aside.Cache[int, int] {
	t.Helper()
	c, err := aside.New(client, "price", load, aside.WithNear(10, time.Minute), aside.WithRedisTimeout(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// nearPrice reads the price of 1 until that comes from memory.
func nearPrice(t *testing.T, c *aside.Cache[int, int]) int {
	t.Helper()
	for give := time.Now().Add(time.Minute); time.Now().Before(give); time.Sleep(time.Millisecond) {
		before := c.Stats().NearHits
		price, err := c.Get(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if c.Stats().NearHits > before {
			return price
		}
	}
	t.Fatal("no near hit in a minute")
	return 0
}

func TestAPausedProcessServesNothingOldAfterAnInvalidate(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := asidetest.Redis(t)
		price := newCents(100)
		stopped := s.Client()
		reader, writer := nearPrices(t, stopped, price.load), nearPrices(t, s.Client(), price.load)
		nearPrice(t, reader)
		resume := s.PauseNear(stopped)
		price.set(200)
		if err := writer.Invalidate(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if got, err := reader.Get(t.Context(), 1); got != 200 || err != nil {
			t.Errorf("once Invalidate has returned, the paused process reads %d, %v", got, err)
		}
		resume()
		if got := nearPrice(t, reader); got != 200 {
			t.Errorf("after that its near copy is %d", got)
		}
	})
}

// What a test wants to see of the time in which an Invalidate waits.
func TestAPausedProcessServesItsNearCopiesWhileAnInvalidateWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := asidetest.Redis(t)
		price := newCents(100)
		stopped := s.Client()
		reader, writer := nearPrices(t, stopped, price.load), nearPrices(t, s.Client(), price.load)
		time.Sleep(2 * time.Second) // the server knows all processes by then, and waits for nobody else
		nearPrice(t, reader)

		s.PauseNear(stopped)
		price.set(200)
		returned := make(chan error, 1)
		go func() { returned <- writer.Invalidate(t.Context(), 1) }()
		time.Sleep(100 * time.Millisecond)
		select {
		case err := <-returned:
			t.Fatalf("Invalidate has returned %v, and waited for nobody", err)
		default:
		}
		if got := nearPrice(t, reader); got != 100 {
			t.Errorf("while Invalidate waits, the paused process reads %d from its memory", got)
		}
		if err := <-returned; err != nil {
			t.Error(err)
		}
		if got, _ := reader.Get(t.Context(), 1); got != 200 {
			t.Errorf("once Invalidate has returned, it reads %d", got)
		}
	})
}

func TestPauseNearOfAClientWithoutNearCopiesFailsTheTest(t *testing.T) {
	r := record(t, func(t testing.TB) {
		s := asidetest.Redis(t)
		s.PauseNear(s.Client())
	})
	if len(r.failures) != 1 {
		t.Errorf("the failures are %q", r.failures)
	}
}

// Near copies change nothing of what Coherent finds.
func TestAWriterThatForgetsIsFoundWithNearCopies(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := asidetest.Redis(t)
		price := newCents(100)
		prices := nearPrices(t, s.Client(), price.load)
		nearPrice(t, prices)
		forgets := func(context.Context) error { price.set(200); return nil }
		finds(t, func(t testing.TB) { asidetest.Coherent(t, forgets, asidetest.Of(prices, 1)) }, "price:1", "does not Invalidate")
		remembers := func(ctx context.Context) error {
			return aside.InTx(ctx, func(ctx context.Context) error {
				err := prices.Invalidate(ctx, 1)
				price.set(300)
				return err
			})
		}
		passes(t, func(t testing.TB) { asidetest.Coherent(t, remembers, asidetest.Of(prices, 1)) })
	})
}

func TestNearCopiesEndWhileTheServerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := asidetest.Redis(t)
		price := newCents(100)
		prices := nearPrices(t, s.Client(), price.load)
		nearPrice(t, prices)
		s.Down()
		price.set(200) // by a process that can tell nobody
		time.Sleep(time.Second)
		if got, err := prices.Get(t.Context(), 1); got != 200 || err != nil {
			t.Errorf("a second later the process reads %d, %v", got, err)
		}
		s.Up()
		nearPrice(t, prices)
	})
}

// A near copy of what the process has loaded itself has lost nothing. The next one, which is made of what Redis has, would have.
func TestRoundTripsLooksPastNearCopies(t *testing.T) {
	type user struct {
		Name     string
		Password string `json:"-"`
	}
	onBoth(t, func(t *testing.T) {
		users, _ := asidetest.New(t, func(context.Context, int) (user, error) { return user{"Ann", "secret"}, nil },
			aside.WithNear(10, time.Minute), aside.WithRedisTimeout(10*time.Second))
		for give := time.Now().Add(time.Minute); users.Stats().NearHits == 0 && time.Now().Before(give); time.Sleep(time.Millisecond) {
			if _, err := users.Get(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := users.Invalidate(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		finds(t, func(t testing.TB) { asidetest.RoundTrips(t, users, 1) }, "Password")
	})
}
