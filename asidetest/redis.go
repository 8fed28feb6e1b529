package asidetest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/pipe"
)

// New makes a Cache of what load returns, on a [Server] of its own. It logs to the test, and is closed when the test ends.
// What aside.New refuses fails the test. The name of the Cache is "test": the entry of key 1 is test:1.
func New[K comparable, V any](t testing.TB, load aside.Loader[K, V], opts ...aside.Option) (*aside.Cache[K, V], *Server) {
	t.Helper()
	s := Redis(t)
	logger := slog.New(slog.NewTextHandler(s.output(t), nil))
	c, err := aside.New(s.Client(), "test", load, append([]aside.Option{aside.WithLogger(logger)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, s
}

// A Server is a Redis inside the test: a miniredis without a port, whose clock and faults the test commands. Its methods
// may be called concurrently.
//
// At first it works, is empty, and its clock is the test's: inside a synctest bubble, a time.Sleep expires what has a TTL.
// A fault lasts until [Server.Up], and a later one takes the place of an earlier one.
type Server struct {
	t    testing.TB
	mini *miniredis.Miniredis

	mu      sync.Mutex // guards the rest; miniredis' own lock is taken first
	ahead   time.Duration
	conns   map[net.Conn]bool     // of the clients, to be cut
	peers   map[*server.Peer]bool // the server's ends; a script's commands come from others
	down    bool
	hanging chan struct{} // closed by Up; nil: it answers
	failure string        // what it answers; "": what it should
	lose    bool          // the next reply is lost
}

// Redis starts a Server, which is closed when the test ends. In a test that uses synctest, call it inside the bubble.
func Redis(t testing.TB) *Server {
	s := &Server{
		t:     t,
		mini:  miniredis.NewMiniRedis(),
		conns: make(map[net.Conn]bool),
		peers: make(map[*server.Peer]bool),
	}
	s.mini.ClockTTL(true)
	conn, err := s.mini.Dial() // starts it
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	s.mini.Server().SetPreHook(s.before)
	t.Cleanup(func() {
		s.Up() // lets go of what hangs
		if inBubble() {
			time.Sleep(time.Minute) // lets go-redis end what it was about to send again: a bubble waits for nobody
		}
		s.mini.Close()
	})
	return s
}

// Client returns a client of the server, a new one with each call: it stands for one process. It is closed when the test
// ends. Each modify may change its options, except for the Dialer.
func (s *Server) Client(modify ...func(*redis.Options)) *redis.Client {
	o := &redis.Options{
		Addr:            "127.0.0.1:1", // never dialled, and no name to look up
		DisableIdentity: true,
		// A call that waits for a connection uses a timer from a pool. All synctest bubbles would
		// share that pool, which synctest forbids. So no call may have to wait.
		PoolSize: 4096,
	}
	for _, m := range modify {
		m(o)
	}
	o.Dialer = s.dial
	c := redis.NewClient(o)
	s.t.Cleanup(func() { c.Close() })
	return c
}

// Advance puts the server's clock forward by d, and no other clock: as if this process had stood still for d. Entries,
// absences, leases and holds expire.
//
// The library goes by its process's clock where it decides that a value is stale (WithStale) or about to be (the early
// refresh), how long a timeout or a pause lasts, and when to renew a lease or a hold. Advance moves none of that. To
// test it, run the test in a bubble of testing/synctest, and call time.Sleep, which moves all clocks together.
func (s *Server) Advance(d time.Duration) {
	s.t.Helper()
	if d < 0 {
		s.t.Fatalf("asidetest: Advance(%v): time does not go back", d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

// Flush removes everything, as a FLUSHALL does, even while the server is down.
func (s *Server) Flush() { s.mini.FlushAll() }

// dial connects a client. It holds no lock while it waits for miniredis, whose scripts call before.
func (s *Server) dial(context.Context, string, string) (net.Conn, error) {
	end, err := s.mini.Dial()
	if err != nil {
		return nil, err
	}
	c := pipe.Buffered(end)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		c.Close()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	s.conns[c] = true
	return &conn{Conn: c, closed: func() { s.forget(c) }}, nil
}

func (s *Server) forget(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// A conn tells when a client closes it. To the client, one that was cut looks as if the server had closed it.
type conn struct {
	net.Conn
	closed func()
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, eof(err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, eof(err)
}

// A deadline may be set on a TCP connection that the server has closed.
func (c *conn) SetDeadline(t time.Time) error      { return unlessCut(c.Conn.SetDeadline(t)) }
func (c *conn) SetReadDeadline(t time.Time) error  { return unlessCut(c.Conn.SetReadDeadline(t)) }
func (c *conn) SetWriteDeadline(t time.Time) error { return unlessCut(c.Conn.SetWriteDeadline(t)) }

func unlessCut(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

func eof(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return io.EOF
	}
	return err
}

func (c *conn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// output is where the logs of the test's caches go, until it ends: what a test left behind may not write to it any more.
func (s *Server) output(t testing.TB) *untilEnd {
	w := &untilEnd{t: t}
	t.Cleanup(w.end)
	return w
}

type untilEnd struct {
	mu sync.Mutex
	t  testing.TB // nil when it has ended
}

func (w *untilEnd) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		return w.t.Output().Write(p)
	}
	return len(p), nil
}

func (w *untilEnd) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}
