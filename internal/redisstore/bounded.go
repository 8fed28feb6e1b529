package redisstore

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A boundedClient is the user's client, and a copy of it that ends commands by the deadline of
// their ctx. By default go-redis ignores that deadline, waits 5 s for a reply and tries four times.
// So a call has to leave it behind. That takes a goroutine, and on a hit more time than all else
// that this library does. The copy shares the connections and the options.
//
// There is no such copy of a ClusterClient or an AutoPipeliner. No copy is used either if the
// client has hooks, which go-redis does not copy, or functions in its options that it calls. They
// are the user's code, which nothing bounds. A user who sets ContextTimeoutEnabled vouches for
// them.
type boundedClient struct {
	rdb     redis.UniversalClient
	bounded *redis.Client       // nil if there is none, or rdb itself
	hooks   func() []redis.Hook // of rdb, if bounded is a copy
}

// newBounded makes the bounded copy of rdb, for commands that are left no longer than life. It counts the handshakes of the
// copy in greetings while they are under way.
func newBounded(rdb redis.UniversalClient, life time.Duration, greetings *atomic.Int64) boundedClient {
	b := boundedClient{rdb: rdb}
	original, ok := rdb.(*redis.Client)
	switch {
	case !ok:
		return b
	case original.Options().ContextTimeoutEnabled:
		b.bounded = original
		return b
	case callsUser(original.Options()):
		return b
	}
	if b.hooks = hooksOf(original); b.hooks != nil {
		b.bounded = original.WithTimeout(2 * life) // which is always later than the deadline of a ctx
		b.bounded.Options().ContextTimeoutEnabled = true
		b.bounded.AddHook(greeting{greetings})
	}
	return b
}

// Get returns a client, and whether it is bounded.
func (b *boundedClient) Get() (_ redis.UniversalClient, bounded bool) {
	if b.bounded != nil && (b.hooks == nil || len(b.hooks()) == 0) {
		return b.bounded, true
	}
	return b.rdb, false
}

// A greeting is a hook of the copy that counts its handshakes and marks their timeouts. The errors of go-redis are those of a
// command.
type greeting struct{ underWay *atomic.Int64 }

func (greeting) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g greeting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !isHandshake(cmd) {
			return next(ctx, cmd)
		}
		err := g.during(func() error { return next(ctx, cmd) })
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

func (g greeting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !isHandshake(cmds[0]) {
			return next(ctx, cmds)
		}
		return g.during(func() error { return next(ctx, cmds) })
	}
}

func (g greeting) during(handshake func() error) error {
	g.underWay.Add(1)
	defer g.underWay.Add(-1)
	return handshakeFailed(handshake())
}

// isHandshake reports whether go-redis sends a command to begin a connection. This library sends none of these.
func isHandshake(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "auth", "select", "readonly", "client":
		return true
	}
	return false
}

func handshakeFailed(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return &handshakeError{err}
	}
	return err
}

// A handshakeError says that the handshake of a connection ran out of time. go-redis unwraps the error once, which must not
// take this away, so it wraps a list.
type handshakeError struct{ cause error }

func (e *handshakeError) Error() string   { return e.cause.Error() }
func (e *handshakeError) Unwrap() []error { return []error{e.cause} }
func (*handshakeError) Timeout() bool     { return true } // as its cause: go-redis does not try again
func (*handshakeError) Temporary() bool   { return true }

// callsUser reports whether the client calls functions of the user's on the goroutine of a command, a Dialer aside.
func callsUser(o *redis.Options) bool {
	return o.OnConnect != nil || o.CredentialsProvider != nil || o.CredentialsProviderContext != nil ||
		o.StreamingCredentialsProvider != nil || o.Limiter != nil
}
