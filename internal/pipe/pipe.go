// Package pipe makes the connections in memory of a miniredis behave like those of TCP, and connections slow.
package pipe

import (
	"io"
	"net"
	"sync"
	"time"
)

// Buffered returns c with writes that do not wait until the other side reads. Those of a net.Pipe do, so a client that writes a
// long pipeline before it reads a reply, and a server that answers each command before it reads the next, wait for each other.
//
// What is written is sent by a goroutine, which Close ends. What it has not sent by then is lost.
func Buffered(c net.Conn) net.Conn {
	b := &conn{Conn: c}
	b.more.L = &b.mu
	go b.send()
	return b
}

type conn struct {
	net.Conn

	mu      sync.Mutex // guards the rest
	more    sync.Cond  // than nothing is pending, or err is set
	pending []byte
	err     error // why nothing can be sent any more
}

func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	c.pending = append(c.pending, p...)
	c.more.Signal()
	return len(p), nil
}

func (c *conn) send() {
	for {
		data := c.take()
		if data == nil {
			return
		}
		if _, err := c.Conn.Write(data); err != nil {
			c.fail(err)
		}
	}
}

// take waits for what is to be sent; there is nothing once the connection has failed.
func (c *conn) take() (data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.pending == nil && c.err == nil {
		c.more.Wait()
	}
	if c.err == nil {
		data, c.pending = c.pending, nil
	}
	return data
}

func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		c.more.Signal()
	}
}

func (c *conn) Close() error {
	c.fail(io.ErrClosedPipe)
	return c.Conn.Close()
}

// Writes do not wait, so only reads have deadlines.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *conn) SetWriteDeadline(time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
