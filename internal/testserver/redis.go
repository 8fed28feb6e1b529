package testserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// A RedisServer is a redis-server without persistence.
type RedisServer struct {
	Addr string // 127.0.0.1:port, the same after a Restart

	t     testing.TB
	bin   string
	dir   string
	port  string
	args  []string
	clock *Clock
	proc  *process // nil until it first started
}

// Redis starts a redis-server and returns once it answers. args are further
// command-line arguments, such as "--maxmemory", "2mb"; with them the server
// must still answer INFO without a password.
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	return (*Clock)(nil).Redis(t, args...)
}

// startRedis asks for args before each attempt, since they may hold a free port
// too.
func startRedis(t testing.TB, clock *Clock, args func() []string) *RedisServer {
	t.Helper()
	bin, err := exec.LookPath(redisBinary())
	if err != nil {
		missing(t, redisBinary())
	}
	s := &RedisServer{t: t, bin: bin, dir: t.TempDir(), clock: clock}
	// Empty, but CONFIG REWRITE and every Sentinel need a file to write to.
	if err := os.WriteFile(s.config(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	for range attempts {
		s.port = freePort(t)
		s.Addr = net.JoinHostPort(loopback, s.port)
		s.args = args()
		if err = s.launch(); err == nil {
			return s
		}
	}
	t.Fatal(err)
	return nil
}

// redisBinary is the server that the tests start: redis-server, or what
// ASIDE_TEST_REDIS_SERVER names, such as valkey-server, keydb-server or the path
// of a Redis 6.
func redisBinary() string { return cmp.Or(os.Getenv("ASIDE_TEST_REDIS_SERVER"), "redis-server") }

// Version returns the major version of the server that the tests start, which for
// Valkey begins at 7.
func Version(t testing.TB) int {
	t.Helper()
	out, err := exec.Command(redisBinary(), "--version").Output()
	if errors.Is(err, exec.ErrNotFound) {
		missing(t, redisBinary())
	}
	_, version, _ := strings.Cut(string(out), "v=")
	major, _, _ := strings.Cut(version, ".")
	n, notNumber := strconv.Atoi(major)
	if err = cmp.Or(err, notNumber); err != nil {
		t.Fatalf("%s --version says %q: %v", redisBinary(), out, err)
	}
	return n
}

func (s *RedisServer) config() string { return filepath.Join(s.dir, "redis.conf") }

// launch starts the process and returns nil once it answers.
func (s *RedisServer) launch() error {
	// A replica has got one from its primary, and would load it.
	if err := os.Remove(filepath.Join(s.dir, "dump.rdb")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cmd := exec.Command(s.bin, append([]string{
		s.config(), "--bind", loopback, "--port", s.port, "--save", "", "--appendonly", "no",
	}, s.args...)...)
	cmd.Dir, cmd.Env = s.dir, s.clock.environ()
	p, err := start(cmd, filepath.Join(s.dir, "log"), syscall.SIGKILL)
	if err != nil {
		return err
	}
	s.proc = p
	if err := await("redis-server to answer", s.answers, p); err != nil {
		p.kill()
		return err
	}
	return nil
}

// answers tells whether our process answers on the port. A PING would be
// content with another server that took the port first.
func (s *RedisServer) answers() error {
	conn, err := net.Dial("tcp", s.Addr) // go-redis would log that it is refused
	if err != nil {
		return err
	}
	conn.Close()
	info, err := s.do("INFO", "server").Text()
	if err == nil && !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.proc.pid())) {
		err = fmt.Errorf("another process listens on %s", s.Addr)
	}
	return err
}

// Stop hangs the server: its port still accepts connections, but nothing is
// answered and, once Stop has returned, no command is executed. After Continue
// it executes what clients sent meanwhile.
func (s *RedisServer) Stop() {
	s.t.Helper()
	if err := s.proc.stop(); err != nil {
		s.t.Fatalf("testserver: stop redis-server on %s: %v", s.Addr, err)
	}
}

// Continue ends a Stop.
func (s *RedisServer) Continue() {
	s.t.Helper()
	if err := s.proc.cont(); err != nil {
		s.t.Fatalf("testserver: continue redis-server on %s: %v", s.Addr, err)
	}
}

// Kill ends the server, also one that is stopped or was killed before. When it
// returns the port refuses connections.
func (s *RedisServer) Kill() {
	if s.proc != nil {
		s.proc.kill()
	}
}

// Restart starts the server again, empty, on the same port, and returns once it
// answers. It kills a server that still runs. A node of a Cluster keeps its
// identity and its slots.
func (s *RedisServer) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.launch(); err != nil {
		s.t.Fatal(err)
	}
}

// do sends one command on a connection of its own, and never twice.
func (s *RedisServer) do(args ...any) *redis.Cmd {
	rdb := redis.NewClient(&redis.Options{
		Addr:            s.Addr,
		Protocol:        2,
		DisableIdentity: true,
		DialerRetries:   1,
		MaxRetries:      -1,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	})
	defer rdb.Close()
	return rdb.Do(context.Background(), args...)
}

// must is do for commands that only a broken set-up can fail.
func (s *RedisServer) must(args ...any) *redis.Cmd {
	s.t.Helper()
	cmd := s.do(args...)
	if err := cmd.Err(); err != nil {
		s.t.Fatalf("testserver: %v on %s: %v", args, s.Addr, err)
	}
	return cmd
}

// infoHas returns nil if INFO of that section, or CLUSTER INFO, holds all lines.
func (s *RedisServer) infoHas(cmd, section string, lines ...string) error {
	info, err := s.do(cmd, section).Text()
	if err != nil {
		return err
	}
	for _, line := range lines {
		if !strings.Contains(info, line+"\r\n") {
			return fmt.Errorf("%s does not say %s, but\n%s", s.Addr, line, info)
		}
	}
	return nil
}

// Running tells whether the server runs: it is neither stopped nor killed.
func (s *RedisServer) Running() bool { return s.proc != nil && s.proc.running() }
