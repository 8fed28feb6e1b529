package near

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	quietFor      = 10 * time.Second       // without a message; then the connection is asked whether it lives
	shortestPause = 250 * time.Millisecond // between two connections
	longestPause  = 30 * time.Second
	mostHeard     = 1000 // messages that wait to be applied
)

// listen receives messages until the reader stops. They are hints: without them, records are fetched with the next NEWS, so an
// Invalidate elsewhere waits up to a beat longer. The messages are on the channel that is named like LOG, and a Cluster has the
// same node for both.
func (r *reader) listen() {
	failed := 0
	for r.ctx.Err() == nil {
		heard, err := r.listenOnce()
		if r.ctx.Err() != nil || errors.Is(err, redis.ErrClosed) {
			return
		}
		if heard {
			failed = 0
		}
		if failed++; failed == 3 {
			r.log.Warn("near copies: no messages", err)
		}
		sleep(r.ctx, min(shortestPause<<min(failed-1, 10), longestPause))
	}
}

// listenOnce receives messages on one connection until that fails. It reports whether the channel was subscribed to. go-redis
// panics at some messages that no Redis sends, which must not end the process: here nothing else would catch that.
func (r *reader) listenOnce() (heard bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("aside: the Redis client panicked: %v", p)
		}
	}()
	sub := r.log.Client.Subscribe(r.ctx) // connects with the first channel
	defer sub.Close()
	// Receive alone does not end with its ctx. A reader that is to stop must not wait for a message.
	defer context.AfterFunc(r.ctx, func() { sub.Close() })() // which ends a wait for a message
	if err := sub.Subscribe(r.ctx, r.log.Key); err != nil {
		return false, err
	}
	asked := false
	for {
		got, err := sub.ReceiveTimeout(r.ctx, quietFor)
		var timeout net.Error
		switch {
		case err == nil:
			asked = false
			heard = r.hear(got) || heard
		case asked || !errors.As(err, &timeout) || !timeout.Timeout(): // broken, or silent after a PING
			return heard, err
		default:
			if err := sub.Ping(r.ctx); err != nil {
				return heard, err
			}
			asked = true
		}
	}
}

// hear takes what was received, and reports whether it shows that the channel is subscribed to.
func (r *reader) hear(got any) bool {
	switch m := got.(type) {
	case *redis.Message:
		// A reader that is held up must not let messages pile up. Those that are left out are as good as lost
		// ones: the next NEWS brings their records.
		r.mu.Lock()
		if len(r.messages) < mostHeard {
			r.messages = append(r.messages, m.Payload)
		} else {
			r.missed.Store(true)
		}
		r.mu.Unlock()
	case *redis.Subscription: // some may have been missed before
		r.missed.Store(true)
	default:
		return false
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
