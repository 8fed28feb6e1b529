package proxy

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidecache/aside/internal/testserver"
)

// A Proxy forwards connections to one Redis server. Its faults may be begun and ended at any time.
type Proxy struct {
	Addr string

	target string
	verbs  verbs
	rules  atomic.Pointer[[]*rule]
	work   sync.WaitGroup

	mu       sync.Mutex // guards the rest
	listener net.Listener
	conns    map[*conn]bool
	refused  bool
}

// New returns a Proxy on a free port in front of the server at target.
func New(target string) (*Proxy, error) {
	p := &Proxy{target: target, conns: make(map[*conn]bool), verbs: verbs{bySHA: make(map[string]Verb)}}
	p.rules.Store(new([]*rule))
	addr, err := testserver.FreeAddr() // which nobody takes while it is refused
	if err != nil {
		return nil, err
	}
	return p, p.listen(addr)
}

func (p *Proxy) listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.listener, p.Addr, p.refused = l, l.Addr().String(), false
	p.mu.Unlock()
	p.work.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.serve(client) })
		}
	})
	return nil
}

// Close ends all connections and waits until nothing is at work.
func (p *Proxy) Close() {
	p.Refuse()
	p.work.Wait()
}

// Refuse has connections refused, and ends those that there are.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	p.refused = true
	p.listener.Close()
	p.mu.Unlock()
	p.Cut(1)
}

// Accept ends a Refuse.
func (p *Proxy) Accept() error { return p.listen(p.Addr) }

// Cut ends every nth connection.
func (p *Proxy) Cut(n int) {
	for i, c := range p.all() {
		if i%n == 0 {
			c.close()
		}
	}
}

// HalfOpen has the connections that there are go silent: they stay open, but no reply comes back any more, and if
// commands is set no command goes out either. New connections work. The returned func ends the silent ones.
func (p *Proxy) HalfOpen(commands bool) (end func()) {
	conns := p.all()
	for _, c := range conns {
		c.freeze(commands)
	}
	return func() {
		for _, c := range conns {
			c.close()
		}
	}
}

func (p *Proxy) all() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*conn
	for c := range p.conns {
		all = append(all, c)
	}
	return all
}

// A conn is a client's connection and the one to the server that stands for it.
type conn struct {
	client, server net.Conn
	done           chan struct{}
	once           sync.Once
	mute, deaf     atomic.Bool // no replies, no commands
}

func (c *conn) close() {
	c.once.Do(func() {
		close(c.done)
		c.client.Close()
		c.server.Close()
	})
}

func (c *conn) freeze(commands bool) {
	c.deaf.Store(commands)
	c.mute.Store(true)
}

// serve forwards one connection until it ends.
func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	c := &conn{client: client, server: server, done: make(chan struct{})}
	p.mu.Lock()
	if p.refused { // since it was accepted
		c.close()
	}
	p.conns[c] = true
	p.mu.Unlock()
	p.work.Go(func() {
		defer c.close()
		c.replies()
	})
	p.commands(c)
	c.close()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// replies forwards what the server sends.
func (c *conn) replies() {
	buf := make([]byte, 16<<10)
	for {
		n, err := c.server.Read(buf)
		if c.mute.Load() {
			<-c.done
			return
		}
		if _, failed := c.client.Write(buf[:n]); err != nil || failed != nil {
			return
		}
	}
}

// commands forwards what the client sends, command by command.
func (p *Proxy) commands(c *conn) {
	in := bufio.NewReaderSize(c.client, 16<<10)
	out := bufio.NewWriterSize(c.server, 16<<10)
	var raw []byte
	for {
		cmd, err := readCommand(in, raw)
		if err != nil {
			return
		}
		raw = cmd.Raw
		if c.deaf.Load() {
			<-c.done
			return
		}
		if !p.forward(c, cmd, out) {
			return
		}
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
}

// forward applies the rules to a command. It reports whether the connection lives on.
func (p *Proxy) forward(c *conn, cmd Command, out *bufio.Writer) bool {
	if rules := *p.rules.Load(); len(rules) > 0 {
		cmd.Verb = p.verbs.of(cmd.Args)
		for _, r := range rules {
			if !r.apply(p, c, cmd, out) {
				return false
			}
		}
	} else if len(cmd.Args) > 1 && (cmd.Args[0][0]|0x20) == 'e' {
		p.verbs.of(cmd.Args) // to learn
	}
	_, err := out.Write(cmd.Raw)
	return err == nil
}

// again has the server execute a command once more, on a connection of its own, and swallows the reply.
func (p *Proxy) again(raw []byte, after time.Duration) {
	p.work.Go(func() {
		time.Sleep(after)
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			return
		}
		defer server.Close()
		server.SetDeadline(time.Now().Add(time.Minute)) // the server may be stopped
		if _, err := server.Write(raw); err == nil {
			_, _ = io.ReadAtLeast(server, make([]byte, 1), 1)
		}
	})
}
