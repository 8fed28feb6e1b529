package aside_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// These tests give a client any weather in virtual time, where "not a moment longer" can be asserted. outage_test.go
// shows the same on servers that really are down.

func TestWhileRedisIsDownNothingIsSentButAProbeASecond(t *testing.T) {
	for _, timeout := range []time.Duration{redisTimeout, 2 * time.Second} {
		t.Run("WithRedisTimeout "+timeout.String(), func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				c, w := inWeather(r, rows.load, aside.WithBatch(rows.loadMany), aside.WithRedisTimeout(timeout))
				w.hang()
				down(t, c)
				last := time.Now()
				w.sentSince()
				equal(t, "the time of 1,200 calls without their pauses", took(func() {
					for range 600 {
						mustGet(t, c, 1)
						_, _ = c.GetMany(t.Context(), []int{1, 2})
						time.Sleep(100 * time.Millisecond)
					}
				}), time.Minute)
				var longest time.Duration
				for _, s := range append(w.sentSince(), sending{"exists", time.Now()}) {
					equal(t, "what was sent", s.verb, "exists")
					longest, last = max(longest, s.at.Sub(last)), s.at
				}
				if longest > time.Second {
					t.Errorf("there was no probe for %v", longest)
				}
			})
		})
	}
}

func TestEachChangeOfStateIsToldOnce(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var seen []error
		logged := new(log)
		rows := newTable(product{1, "lamp", 100})
		c, w := inWeather(r, rows.load, aside.WithLogger(slog.New(logged)), aside.WithObserver(aside.Observer{
			Down: func(d aside.DownInfo) {
				equal(t, "its cache", d.Cache, "test")
				equal(t, "whether it is about writes", d.Writes, false)
				seen = append(seen, d.Err)
			},
		}))
		for range 2 {
			w.refuse(errDown)
			down(t, c)
			for range 10 {
				mustGet(t, c, 1)
			}
			w.become(nil)
			time.Sleep(time.Second) // a probe
			synctest.Wait()
			equal(t, "Down, after it was back", c.Stats().Down, false)
			mustGet(t, c, 1)
		}
		want := []string{"WARN aside: Redis is down, reads go to the loader", "INFO aside: Redis is back"}
		if want = slices.Concat(want, want); !slices.Equal(logged.lines, want) {
			t.Errorf("it logged %q", logged.lines)
		}
		if len(seen) != 4 || !errors.Is(seen[0], errDown) || seen[1] != nil || !errors.Is(seen[2], errDown) || seen[3] != nil {
			t.Errorf("Observer.Down saw %v", seen)
		}
	})
}

// A server that is there and refuses is not down, so nothing else would tell.
func TestThatRedisRefusesCommandsIsLoggedOnceInAWhile(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		logged := new(log)
		c, w := inWeather(r, newTable(product{1, "lamp", 100}).load, aside.WithLogger(slog.New(logged)))
		for range 2 {
			for range 10 {
				w.refuse(redisError("NOPERM User default has no permissions to run the 'get' command"))
				mustGet(t, c, 1)
				if err := c.Invalidate(t.Context(), 1); err == nil {
					t.Error("Invalidate returned nil")
				}
			}
			equal(t, "Down", c.Stats().Down, false)
			time.Sleep(11 * time.Second)
		}
		logged.mu.Lock() // the retries go on
		defer logged.mu.Unlock()
		for _, line := range logged.lines {
			equal(t, "a line", line, "WARN aside: Redis refuses a command")
		}
		if n := len(logged.lines); n < 2 || n > 3 {
			t.Errorf("it logged %d lines in 22 seconds, want one in ten seconds", n)
		}
	})
}

// Again and again: what goes wrong here is a matter of which goroutine is first.
func TestARedisThatIsBackIsAlwaysNoticed(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, w := inWeather(r, newTable().load)
		for i := range 500 {
			w.refuse(errDown)
			down(t, c)
			w.become(nil)
			time.Sleep(2 * time.Second)
			if c.Stats().Down {
				t.Fatalf("it was not, the time after %d", i)
			}
		}
	})
}

func TestChangesOfStateDoNotMultiplyTheProbes(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, w := inWeather(r, newTable().load)
		for range 50 {
			w.refuse(errDown)
			down(t, c)
			w.become(nil)
			r.until(func() bool { return !c.Stats().Down }) // and its goroutine may not have noticed
		}
		w.refuse(errDown)
		down(t, c)
		time.Sleep(2 * time.Second)
		w.sentSince()
		time.Sleep(10 * time.Second)
		if n := len(w.sentSince()); n < 10 || n > 20 {
			t.Errorf("%d probes in 10 s", n)
		}
	})
}

func TestThreeFailuresInARowMeanDown(t *testing.T) {
	for _, err := range []error{
		errDown,
		redisError("LOADING Redis is loading the dataset in memory"),
		redisError("READONLY You can't write against a read only replica."),
		redisError("NOAUTH Authentication required."),
		redisError("WRONGPASS invalid username-password pair or user is disabled."),
		redisError("NOPERM this user has no permissions to run the 'select' command"), // which go-redis sends first
		redisError("CLUSTERDOWN Hash slot not served"),
		redisError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
		redisError("ERR Error running script: @user_script:1: -READONLY You can't write against a read only replica."),
	} {
		t.Run(err.Error(), func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				c, w := inWeather(r, newTable().load)
				for range 3 { // two failures and a success
					w.refuse(err)
					_, _ = c.Get(t.Context(), 1)
					_, _ = c.Get(t.Context(), 2)
					w.become(nil)
					_, _ = c.Get(t.Context(), 1)
				}
				w.refuse(err)
				down(t, c)
			})
		})
	}
}

// A replica answers reads, but invalidations are sent to another server.
func TestAReplicaIsDown(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, w := inWeather(r, rows.load)
		mustGet(t, c, 1)
		w.refuse(redisError("READONLY You can't write against a read only replica."), "lease", "fill", "invalidate", "srem")
		down(t, c)
		equal(t, "WritesDown", c.Stats().WritesDown, true)
		time.Sleep(10 * time.Second)
		equal(t, "Down, while it refuses writes", c.Stats().Down, true)
		mustGet(t, c, 1)
		equal(t, "Hits", c.Stats().Hits, 0)
		w.become(nil)
		time.Sleep(time.Second)
		equal(t, "Down, after it was promoted", c.Stats().Down || c.Stats().WritesDown, false)
	})
}

func TestWhatIsNoFailureToReachRedisDoesNotMeanDown(t *testing.T) {
	cases := map[string]func(t *testing.T, r *rig, c *aside.Cache[int, product], w *tap){
		"missing keys": func(t *testing.T, r *rig, c *aside.Cache[int, product], w *tap) {
			_, _ = c.Get(t.Context(), 404)
		},
		"documents that cannot be read": func(t *testing.T, r *rig, c *aside.Cache[int, product], w *tap) {
			r.put("test:1", `{"id":"x","value":"no product"}`)
			mustGet(t, c, 1)
		},
		"what is no string": func(t *testing.T, r *rig, c *aside.Cache[int, product], w *tap) {
			r.raw.LPush(t.Context(), "test:1", "x")
			mustGet(t, c, 1)
		},
		"an error that is an answer": func(t *testing.T, r *rig, c *aside.Cache[int, product], w *tap) {
			w.refuse(outOfMemory)
			mustGet(t, c, 1)
		},
		"callers who leave a slow Redis": func(t *testing.T, r *rig, c *aside.Cache[int, product], w *tap) {
			w.become(func(string) error { time.Sleep(redisTimeout / 2); return nil })
			ctx, cancel := context.WithTimeout(t.Context(), redisTimeout/4)
			defer cancel()
			if _, err := c.Get(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the caller got %v", err)
			}
		},
		"a loader that fails": func(t *testing.T, r *rig, c *aside.Cache[int, product], w *tap) {
			_, _ = c.Get(t.Context(), -1)
		},
	}
	for name, read := range cases {
		t.Run(name, func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				c, w := inWeather(r, func(ctx context.Context, id int) (product, error) {
					if id < 0 {
						return product{}, errDown
					}
					return rows.load(ctx, id)
				}, aside.WithObserver(aside.Observer{Down: func(d aside.DownInfo) { t.Errorf("down, by %v", d.Err) }}))
				for range 10 {
					read(t, r, c, w)
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// If all callers leave before the timeout, somebody must notice all the same.
func TestCallersInAHurryNoticeThatRedisHangs(t *testing.T) {
	for _, patience := range []time.Duration{time.Millisecond, redisTimeout} {
		t.Run(patience.String(), func(t *testing.T) {
			onMiniredis(t, func(t *testing.T, r *rig) {
				rows := newTable(product{1, "lamp", 100})
				c, w := inWeather(r, rows.load)
				w.hang()
				for range 3 {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					if _, err := c.Get(ctx, 1); !errors.Is(err, context.DeadlineExceeded) && patience < redisTimeout {
						t.Errorf("the caller got %v", err)
					}
					cancel()
				}
				time.Sleep(redisTimeout)
				synctest.Wait()
				equal(t, "Down", c.Stats().Down, true)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if _, err := c.Get(ctx, 1); err != nil {
					t.Errorf("once it is known, the caller still got %v", err)
				}
			})
		})
	}
}

// However many keys it is about, on however many servers.
func TestOneFailedCommandIsOneFailure(t *testing.T) {
	for name, dial := range map[string]func(t *testing.T) redis.UniversalClient{
		"redis":   func(t *testing.T) redis.UniversalClient { return nowhere(t) },
		"cluster": cluster,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rows := newTable()
				r := &rig{t: t, dial: dial}
				c, w := inWeather(r, rows.load, aside.WithBatch(rows.loadMany))
				w.hang()
				ids := idsFrom(0, 1000)
				for range 2 {
					_, _ = c.GetMany(t.Context(), ids)
					equal(t, "Down, before the third failure", c.Stats().Down, false)
				}
				_, _ = c.GetMany(t.Context(), ids)
				equal(t, "Down, after it", c.Stats().Down, true)
			})
		})
	}
}

// cluster returns a client that never gets to a server, only the asking for its nodes may dial.
func cluster(t *testing.T) redis.UniversalClient {
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	t.Cleanup(func() {
		rdb.Close()
		time.Sleep(2 * time.Second) // until it has noticed
	})
	return rdb
}

// However many servers it has.
func TestAClusterThatIsDownIsNoticedInAFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := newTable()
		r := &rig{t: t, dial: cluster}
		c, w := inWeather(r, rows.load)
		w.hang()
		waited := 0
		for id := range 1000 {
			if took(func() { _, _ = c.Get(t.Context(), id) }) > 0 {
				waited++
			}
		}
		if waited > 10 {
			t.Errorf("%d calls waited for Redis", waited)
		}
	})
}

func TestInvalidateIsTriedInTheBackgroundWhileRedisIsDown(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rows := newTable(product{1, "lamp", 100})
		c, w := inWeather(r, rows.load)
		mustGet(t, c, 1)
		w.refuse(errDown)
		missAtOnce(c, 1000, 3) // so that it is known of writes, too
		for c.Invalidate(t.Context(), 2) == nil || !c.Stats().WritesDown {
			synctest.Wait()
		}
		w.sentSince()
		if err := c.Invalidate(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "known to be down") {
			t.Errorf("while Redis refuses, Invalidate returned %v", err)
		}
		equal(t, "the commands that it sent", len(w.sentSince()), 0)
		w.refuse(errDown, "get", "lease", "exists", "srem") // neither read nor probe tells that it is back
		equal(t, "Down", c.Stats().Down, true)
		time.Sleep(5 * time.Second)
		equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
		equal(t, "the document that is left", r.get("test:1"), "")
		equal(t, "Down, until a probe has looked at the connections", c.Stats().Down, true)
	})
}
