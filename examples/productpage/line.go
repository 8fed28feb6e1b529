package main

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// A line is how this process reaches Redis. While it is cut, Redis is dead as far as anybody here can tell: every connection has
// broken, and new ones are refused. The server goes on with what it has, so that what it was not told meanwhile must reach it
// later.
type line struct {
	mu    sync.Mutex
	dead  bool
	conns map[*lineConn]struct{}
}

// A lineConn is a connection that a line knows of until it is closed.
type lineConn struct {
	net.Conn
	line *line
}

func (c *lineConn) Close() error {
	c.line.mu.Lock()
	delete(c.line.conns, c)
	c.line.mu.Unlock()
	return c.Conn.Close()
}

// dial is the Dialer of a client.
func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 5 * time.Minute} // as go-redis has them
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &lineConn{conn, l}
	if !l.add(c) {
		conn.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Addr: conn.RemoteAddr(), Err: syscall.ECONNREFUSED}
	}
	return c, nil
}

// add reports whether the line is whole.
func (l *line) add(c *lineConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return false
	}
	if l.conns == nil {
		l.conns = make(map[*lineConn]struct{})
	}
	l.conns[c] = struct{}{}
	return true
}

// kill cuts the line, restore mends it.
func (l *line) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for c := range l.conns {
		c.Conn.Close()
	}
	clear(l.conns)
}

func (l *line) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = false
}

func (l *line) cut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}
