package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
	"github.com/redis/go-redis/v9"
)

// A server answers every command with :1, and remembers what came, in order.
type server struct {
	addr string
	mu   sync.Mutex
	cond *sync.Cond
	got  []string
}

func serve(t *testing.T) *server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &server{addr: l.Addr().String()}
	s.cond = sync.NewCond(&s.mu)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.answer(c)
		}
	}()
	return s
}

func (s *server) answer(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		cmd, err := readCommand(in, nil)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.got = append(s.got, string(cmd.Args[len(cmd.Args)-1]))
		s.cond.Broadcast()
		s.mu.Unlock()
		if _, err := io.WriteString(c, ":1\r\n"); err != nil {
			return
		}
	}
}

// await returns what came once there are n commands.
func (s *server) await(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.got) < n {
		s.cond.Wait()
	}
	return slices.Clone(s.got)
}

func start(t *testing.T) (*server, *Proxy) {
	s := serve(t)
	p, err := New(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return s, p
}

// A client sends commands that are told apart by their last argument.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, p *Proxy) *client {
	c, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

const leaseScript = `local lease = '{"lease":"' .. x`

func (c *client) send(args ...string) {
	var b strings.Builder
	b.WriteString("*" + itoa(len(args)) + "\r\n")
	for _, a := range args {
		b.WriteString("$" + itoa(len(a)) + "\r\n" + a + "\r\n")
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		c.t.Fatal(err)
	}
}

func itoa(n int) string { return string(appendInt(n)) }

func appendInt(n int) []byte {
	if n < 10 {
		return []byte{byte('0' + n)}
	}
	return append(appendInt(n/10), byte('0'+n%10))
}

func (c *client) reply() {
	c.t.Helper()
	if line, err := c.in.ReadString('\n'); err != nil || line != ":1\r\n" {
		c.t.Fatalf("reply %q, %v", line, err)
	}
}

func (c *client) ended() {
	c.t.Helper()
	if line, err := c.in.ReadString('\n'); err == nil {
		c.t.Fatalf("reply %q on a connection that should have ended", line)
	}
}

func TestCommandsAndRepliesPassUnchanged(t *testing.T) {
	s, p := start(t)
	c := dial(t, p)
	big := strings.Repeat("x", 100_000)
	for _, arg := range []string{"a", "", "with\r\nline", big} {
		c.send("ECHO", arg)
		c.reply()
	}
	if got := s.await(4); !slices.Equal(got, []string{"a", "", "with\r\nline", big}) {
		t.Errorf("the server got %.80q", got)
	}
}

func TestOneLeaseIsHeldUpWhileTheRestGoesOn(t *testing.T) {
	s, p := start(t)
	reached, once := make(chan struct{}), new(sync.Once)
	p.add(&rule{verbs: []Verb{Lease}, every: 1, strike: func(*Proxy, *conn, Command, *bufio.Writer) bool {
		once.Do(func() { close(reached) })
		return true
	}})
	end := p.HoldUp(Lease, 1, 100*365*24*time.Hour, false)
	held, other := dial(t, p), dial(t, p)
	held.send("EVAL", leaseScript, "0", "held")
	<-reached // the proxy has chosen its rules
	other.send("GET", "b")
	other.reply()
	other.send("EVAL", "another script", "0", "c")
	other.reply()
	end()
	other.send("EVAL", leaseScript, "0", "d")
	other.reply()
	if got := s.await(3); !slices.Equal(got, []string{"b", "c", "d"}) {
		t.Errorf("the server got %q, want all but the held one", got)
	}
}

func TestWhatWasHeldUpArrivesThoughItsClientHasGone(t *testing.T) {
	s, p := start(t)
	p.HoldUp(Lease, 1, 20*time.Millisecond, false)
	c := dial(t, p)
	c.send("EVAL", leaseScript, "0", "late")
	c.Close()
	if got := s.await(1); got[0] != "late" {
		t.Errorf("the server got %q", got)
	}
}

func TestACommandIsHeldUpAndItsConnectionCut(t *testing.T) {
	s, p := start(t)
	p.HoldUp(Lease, 1, 20*time.Millisecond, true)
	c := dial(t, p)
	c.send("EVAL", leaseScript, "0", "late")
	c.ended()
	if got := s.await(1); got[0] != "late" {
		t.Errorf("the server got %q", got)
	}
}

func TestAScriptSentTwiceHasOneReply(t *testing.T) {
	s, p := start(t)
	end := p.Resend(1, time.Millisecond)
	c := dial(t, p)
	c.send("EVAL", leaseScript, "0", "twice")
	c.reply()
	if got := s.await(2); !slices.Equal(got, []string{"twice", "twice"}) {
		t.Errorf("the server got %q", got)
	}
	end()
	c.send("GET", "once") // whose reply is the next one
	c.reply()
	if got := s.await(3); len(got) != 3 || got[2] != "once" {
		t.Errorf("the server got %q", got)
	}
}

func TestAConnectionIsCutAfterItsCommandWasExecuted(t *testing.T) {
	s, p := start(t)
	p.CutAt(2)
	c := dial(t, p)
	c.send("GET", "a")
	c.reply()
	c.send("GET", "b")
	c.ended()
	if got := s.await(2); got[1] != "b" {
		t.Errorf("the server got %q", got)
	}
}

func TestHalfOpenConnectionsExecuteAndDoNotAnswer(t *testing.T) {
	s, p := start(t)
	silent := dial(t, p)
	silent.send("GET", "a")
	silent.reply()
	end := p.HalfOpen(false)
	silent.send("GET", "b")
	s.await(2)
	fresh := dial(t, p)
	fresh.send("GET", "c")
	fresh.reply()
	end()
	silent.ended()
}

func TestHalfOpenConnectionsMaySwallowCommands(t *testing.T) {
	s, p := start(t)
	silent := dial(t, p)
	silent.send("GET", "a")
	silent.reply()
	end := p.HalfOpen(true)
	silent.send("GET", "b")
	fresh := dial(t, p)
	fresh.send("GET", "c")
	fresh.reply()
	end()
	silent.ended()
	if got := s.await(2); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("the server got %q", got)
	}
}

func TestRefusedConnectionsAreAcceptedAgainAtTheSameAddress(t *testing.T) {
	_, p := start(t)
	c := dial(t, p)
	p.Refuse()
	c.ended()
	if c, err := net.Dial("tcp", p.Addr); err == nil {
		c.Close()
		t.Error("a connection was accepted")
	}
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	c = dial(t, p)
	c.send("GET", "a")
	c.reply()
}

func TestAScriptThatIsSwallowedHasAnotherKey(t *testing.T) {
	s, p := start(t)
	p.Swallow(Lease, 2)
	c := dial(t, p)
	for _, key := range []string{"first", "second", "third"} {
		c.send("EVAL", leaseScript, "1", key)
		c.reply()
		c.send("EVAL", "another script", "1", key)
		c.reply()
	}
	if got := s.await(6); !slices.Equal(got, []string{"first", "first", "!econd", "second", "third", "third"}) {
		t.Errorf("the server got %q", got)
	}
}

// The library's scripts are recognized by what they hold, so a change there may have to be followed here.
func TestTheScriptsOfTheLibraryAreRecognized(t *testing.T) {
	redisServer := testserver.Redis(t)
	p, err := New(redisServer.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	seen := make(map[Verb]int)
	var mu sync.Mutex
	p.add(&rule{strike: func(_ *Proxy, _ *conn, cmd Command, _ *bufio.Writer) bool {
		mu.Lock()
		defer mu.Unlock()
		seen[cmd.Verb]++
		return true
	}})
	rdb := redis.NewClient(&redis.Options{Addr: p.Addr})
	t.Cleanup(func() { rdb.Close() })
	rows, err := aside.New(rdb, "soak", func(context.Context, int) (int, error) { return 1, nil },
		aside.WithTags(func(int, int) []string { return []string{"a"} }),
		aside.WithRedisTimeout(time.Minute)) // or a busy machine is taken for a Redis that is not there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rows.Close() })
	ctx := t.Context()
	for range 2 { // the second time by EVALSHA
		if _, err := rows.Get(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if err := rows.Invalidate(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if err := aside.InTx(ctx, func(ctx context.Context) error { return rows.Invalidate(ctx, 1) }); err != nil {
			t.Fatal(err)
		}
		if err := rows.InvalidateTags(ctx, "a"); err != nil { // whose index still has the entry
			t.Fatal(err)
		}
		if err := aside.InTx(ctx, func(ctx context.Context) error { return rows.InvalidateTags(ctx, "a") }); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for verb, want := range map[Verb]int{
		Lease: 2, Fill: 2, Invalidate: 4, Hold: 4, Record: 4, Index: 2, Mark: 2, Since: 2, HoldTags: 4,
	} {
		if seen[verb] != want {
			t.Errorf("%d commands were taken for a %v, want %d", seen[verb], verb, want)
		}
	}
}
