package testserver_test

import (
	"errors"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/testserver"
)

// newClock skips the test where there is none.
func newClock(t *testing.T) *testserver.Clock {
	t.Helper()
	c, err := testserver.NewClock(t)
	if errors.Is(err, testserver.ErrNoClock) {
		t.Skip(err)
	}
	noErr(t, err)
	return c
}

func TestAClockThatIsSetMovesTheTimeOfAServerAndWhatExpiresByIt(t *testing.T) {
	t.Parallel()
	clock := newClock(t)
	s := clock.Redis(t)
	rdb := client(t, s.Addr)
	within := func(ahead time.Duration) {
		t.Helper()
		before := time.Now()
		now, err := rdb.Time(t.Context()).Result()
		noErr(t, err)
		if now.Before(before.Add(ahead).Truncate(time.Microsecond)) || now.After(time.Now().Add(ahead)) {
			t.Errorf("the server's time is %v, between %v and now it was to be %v ahead", now, before, ahead)
		}
	}
	within(0)
	noErr(t, rdb.Set(t.Context(), "k", "v", time.Minute).Err())
	clock.Set(-time.Hour)
	within(-time.Hour)
	if left := rdb.PTTL(t.Context(), "k").Val(); left < time.Hour {
		t.Errorf("the key has %v to live, after the clock was set back an hour", left)
	}
	clock.Set(2 * time.Minute)
	within(2 * time.Minute)
	equal(t, rdb.Exists(t.Context(), "k").Val(), 0)
	s.Restart()
	within(2 * time.Minute)
}
