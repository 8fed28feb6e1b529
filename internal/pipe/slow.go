package pipe

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A Dialer is the Dialer of redis.Options.
type Dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// Slowed returns dial with connections that are slow: their first reply takes greeting, each byte that they bring takes in, and each
// that they take takes out.
func Slowed(dial Dialer, greeting, in, out time.Duration) Dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c := &slowConn{Conn: conn, greeting: greeting, in: in, out: out, chunks: make(chan []byte, 1<<16)}
		go c.pump()
		return c, nil
	}
}

// A slowConn delays what it reads: its first reply by greeting, and each byte that it brings or takes.
type slowConn struct {
	net.Conn
	in, out  time.Duration // a byte
	greeting time.Duration
	ready    time.Time // when the first reply is there
	chunks   chan []byte
	rest     []byte // of a chunk

	mu       sync.Mutex
	deadline time.Time // guarded by mu
}

func (c *slowConn) SetReadDeadline(t time.Time) error {
	c.until(t)
	return nil // pump reads on
}

func (c *slowConn) SetWriteDeadline(t time.Time) error {
	c.until(t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *slowConn) SetDeadline(t time.Time) error {
	c.until(t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *slowConn) until(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
}

// pump takes what arrives at once, as a network does: who sends does not wait for who reads.
func (c *slowConn) pump() {
	defer close(c.chunks)
	for {
		chunk := make([]byte, 16<<10)
		n, err := c.Conn.Read(chunk)
		if err != nil {
			return
		}
		c.chunks <- chunk[:n]
	}
}

func (c *slowConn) Read(p []byte) (int, error) {
	late := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	if len(c.rest) == 0 {
		select {
		case chunk, ok := <-c.chunks:
			if !ok {
				return 0, io.EOF
			}
			c.rest = chunk
		case <-time.After(c.left()):
			return 0, late
		}
	}
	if c.ready.IsZero() {
		c.ready = time.Now().Add(c.greeting)
	}
	n := copy(p, c.rest)
	if !c.pause(max(0, time.Until(c.ready)) + time.Duration(n)*c.in) {
		return 0, late
	}
	c.rest = c.rest[n:]
	return n, nil
}

func (c *slowConn) Write(p []byte) (int, error) {
	if !c.pause(time.Duration(len(p)) * c.out) {
		return 0, &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}
	}
	return c.Conn.Write(p)
}

// pause reports whether the pause was over by the deadline.
func (c *slowConn) pause(d time.Duration) bool {
	left := c.left()
	time.Sleep(min(d, left))
	return d <= left
}

// left is the time until the deadline.
func (c *slowConn) left() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deadline.IsZero() {
		return time.Hour
	}
	return time.Until(c.deadline)
}
