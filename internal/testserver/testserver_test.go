package testserver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/asidecache/aside/internal/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client never asks twice.
func client(t *testing.T, addr string) *redis.Client {
	return impatient(t, addr, 10*time.Second)
}

func impatient(t *testing.T, addr string, timeout time.Duration) *redis.Client {
	rdb := redis.NewClient(&redis.Options{
		Addr:          addr,
		MaxRetries:    -1,
		DialerRetries: 1,
		ReadTimeout:   timeout,
	})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestRedisLeavesNothingBehind(t *testing.T) {
	var addr string
	t.Run("server", func(t *testing.T) {
		t.Cleanup(func() { goleak.VerifyNone(t) })
		s := testserver.Redis(t, "--maxmemory", "2mb")
		addr = s.Addr
		rdb := redis.NewClient(&redis.Options{Addr: addr})
		defer rdb.Close()
		maxmemory, err := rdb.ConfigGet(t.Context(), "maxmemory").Result()
		noErr(t, err)
		equal(t, maxmemory["maxmemory"], "2097152")
		s.Stop() // a stopped one is cleaned up too
	})
	if addr == "" {
		t.Skip("no server")
	}
	wantRefused(t, addr)
}

func TestRedisStopHangsUntilContinue(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	rdb := client(t, s.Addr)
	noErr(t, rdb.Ping(t.Context()).Err())
	for range 3 {
		s.Stop()
		s.Stop() // changes nothing
		var timeout net.Error
		err := impatient(t, s.Addr, 100*time.Millisecond).Ping(t.Context()).Err()
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("PING of a stopped server: %v, want a timeout", err)
		}
		conn, err := net.Dial("tcp", s.Addr)
		noErr(t, err)
		conn.Close()
		s.Continue()
		noErr(t, rdb.Ping(t.Context()).Err())
	}
}

func TestRedisKillRefusesAndRestartIsEmpty(t *testing.T) {
	t.Parallel()
	s := testserver.Redis(t)
	rdb := client(t, s.Addr)
	noErr(t, rdb.Set(t.Context(), "k", "v", 0).Err())

	s.Kill()
	s.Kill() // changes nothing
	wantRefused(t, s.Addr)
	s.Restart()
	equal(t, rdb.Exists(t.Context(), "k").Val(), 0)
	noErr(t, rdb.Ping(t.Context()).Err())

	s.Stop()
	s.Restart() // kills it first
	noErr(t, rdb.Ping(t.Context()).Err())
}

// A replica keeps what it was sent in a file, which it would load when it starts again.
func TestAReplicaComesBackEmpty(t *testing.T) {
	t.Parallel()
	primary, replica := testserver.Redis(t, "--repl-diskless-sync-delay", "0"), testserver.Redis(t)
	origin, rdb := client(t, primary.Addr), client(t, replica.Addr)
	noErr(t, origin.Set(t.Context(), "k", "v", 0).Err())
	host, port, err := net.SplitHostPort(primary.Addr)
	noErr(t, err)
	noErr(t, rdb.Do(t.Context(), "REPLICAOF", host, port).Err())
	equal(t, origin.Wait(t.Context(), 1, 9*time.Second).Val(), 1)
	equal(t, rdb.Exists(t.Context(), "k").Val(), 1)
	replica.Restart()
	equal(t, rdb.Exists(t.Context(), "k").Val(), 0)
}

func TestClusterRoutesAndMigrates(t *testing.T) {
	t.Parallel()
	c := testserver.Cluster(t, 3)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
	t.Cleanup(func() { rdb.Close() })

	t.Run("every primary gets keys", func(t *testing.T) {
		used := map[string]bool{}
		for i := range 30 {
			key := fmt.Sprint("key", i)
			noErr(t, rdb.Set(t.Context(), key, "v", 0).Err())
			owner := c.Primary(key)
			used[owner.Addr] = true
			equal(t, client(t, owner.Addr).Get(t.Context(), key).Val(), "v") // no MOVED
		}
		equal(t, len(used), 3)
	})

	t.Run("a key moves while it is read", func(t *testing.T) {
		stop, done := make(chan struct{}), make(chan error, 1)
		noErr(t, rdb.Set(t.Context(), "{tag}k", "v", time.Hour).Err())
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				case <-t.Context().Done():
					return
				default:
				}
				if v, err := rdb.Get(context.Background(), "{tag}k").Result(); v != "v" {
					done <- fmt.Errorf("GET: %q, %v", v, err)
					return
				}
			}
		}()
		for range 4 { // more than once around
			from := c.Primary("{tag}k")
			c.Migrate("{tag}k", nil)
			if to := c.Primary("{tag}k"); to == from {
				t.Error("it is where it was")
			}
		}
		close(stop)
		noErr(t, <-done)
		ttl, err := client(t, c.Primary("{tag}k").Addr).TTL(t.Context(), "{tag}k").Result()
		noErr(t, err)
		if ttl <= 0 {
			t.Errorf("TTL after the move: %v", ttl)
		}
	})

	t.Run("a slot between two nodes", func(t *testing.T) {
		for i := range 250 {
			noErr(t, rdb.Set(t.Context(), fmt.Sprint("{half}", i), "v", 0).Err())
		}
		from := c.Primary("{half}")
		old := client(t, from.Addr)
		c.Migrate("{half}7", func() {
			equal(t, c.Primary("{half}"), from)
			wantPrefix(t, old.Get(t.Context(), "{half}7").Err(), "ASK ")
			wantPrefix(t, old.Get(t.Context(), "{half}none").Err(), "ASK ")
			noErr(t, old.Get(t.Context(), "{half}8").Err())
			split := "TRYAGAIN "
			if testserver.Version(t) < 7 {
				split = "ASK "
			}
			wantPrefix(t, old.MGet(t.Context(), "{half}7", "{half}8").Err(), split)
			noErr(t, rdb.Set(t.Context(), "{half}new", "v", 0).Err())
		})
		wantPrefix(t, old.Get(t.Context(), "{half}7").Err(), "MOVED ")
		equal(t, rdb.Exists(t.Context(), "{half}0", "{half}7", "{half}8", "{half}249", "{half}new").Val(), 5)
	})

	t.Run("a node comes back with its slots", func(t *testing.T) {
		node := c.Primary("key0")
		node.Kill()
		equal(t, c.Primary("key0"), node)
		node.Restart()
		owned, err := client(t, node.Addr).ClusterMyID(t.Context()).Result()
		noErr(t, err)
		nodes := client(t, node.Addr).ClusterNodes(t.Context()).Val()
		if !strings.Contains(nodes, owned) || strings.Count(nodes, "\n") != 3 {
			t.Fatalf("CLUSTER NODES after a restart:\n%s", nodes)
		}
	})
}

func TestClusterFailsOver(t *testing.T) {
	t.Parallel()
	c := testserver.Cluster(t, 3)
	c.Replicate()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), ReadTimeout: 200 * time.Millisecond})
	t.Cleanup(func() { rdb.Close() })
	has := func(name, want string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			rdb.ReloadState(t.Context()) // else it asks a primary that is gone for up to a minute
			got, err := rdb.Get(t.Context(), name).Result()
			if err == redis.Nil {
				err = nil
			}
			if err == nil && got == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("GET %s: %q, %v", name, got, err)
			}
		}
	}
	const kept, lost = "{k}kept", "{k}lost"
	i := slices.Index(c.Nodes, c.Primary(kept))
	for round, end := range []func(*testserver.RedisServer){nil, (*testserver.RedisServer).Kill, (*testserver.RedisServer).Stop} {
		noErr(t, rdb.Set(t.Context(), kept, round, 0).Err())
		noErr(t, rdb.Del(t.Context(), lost).Err())
		old := c.Nodes[i]
		c.Detach(i)
		noErr(t, rdb.Set(t.Context(), lost, round, 0).Err())
		if end != nil {
			end(old)
		}
		c.Failover(i)
		equal(t, c.Replicas[i], old)
		equal(t, c.Primary(kept), c.Nodes[i])
		has(kept, fmt.Sprint(round))
		has(lost, "")
		switch round {
		case 1:
			old.Restart()
		case 2:
			old.Continue()
		}
		c.Settle()
	}
	noErr(t, rdb.Set(t.Context(), lost, "here", 0).Err())
	c.Migrate(kept, nil)
	c.Settle()
	if i = slices.Index(c.Nodes, c.Primary(kept)); !c.Switch(i) {
		t.Fatal("nobody voted")
	}
	has(kept, "2")
	has(lost, "here")
}

func TestSentinelFailsOver(t *testing.T) {
	t.Parallel()
	s := testserver.Sentinel(t)
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:    "aside",
		SentinelAddrs: []string{s.Addr},
		ReadTimeout:   200 * time.Millisecond,
	})
	t.Cleanup(func() { rdb.Close() })
	wantPrimary := func(want *testserver.RedisServer) {
		t.Helper()
		equal(t, s.Primary, want)
		// The client hears of the failover from the sentinel, a moment after us.
		for end := time.Now().Add(10 * time.Second); ; {
			info, err := rdb.Info(t.Context(), "server").Result()
			if err == nil && strings.Contains(info, "tcp_port:"+want.Addr[len("127.0.0.1:"):]+"\r\n") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("the client is not at %s: %v\n%s", want.Addr, err, info)
			}
		}
		noErr(t, rdb.Set(t.Context(), "k", want.Addr, 0).Err())
	}
	a, b := s.Primary, s.Replica
	wantPrimary(a)
	s.Failover()
	wantPrimary(b)
	a.Kill() // the replica now
	a.Restart()
	s.Failover()
	wantPrimary(a)
	a.Kill()
	s.Failover()
	wantPrimary(b)
	a.Restart()
	b.Stop()
	s.Failover()
	wantPrimary(a)
}

func TestPostgresAcceptsConnections(t *testing.T) {
	t.Parallel()
	var addr string
	t.Run("server", func(t *testing.T) {
		dsn, err := url.Parse(testserver.Postgres(t).DSN)
		noErr(t, err)
		equal(t, dsn.Scheme, "postgres")
		conn, err := net.Dial("tcp", dsn.Host)
		noErr(t, err)
		defer conn.Close()
		// The protocol's SSLRequest: any PostgreSQL answers one byte, S or N.
		_, err = conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47})
		noErr(t, err)
		answer := make([]byte, 1)
		_, err = conn.Read(answer)
		noErr(t, err)
		if answer[0] != 'S' && answer[0] != 'N' {
			t.Fatalf("it answered %q", answer)
		}
		if os.Getenv("ASIDE_TEST_POSTGRES") == "" {
			addr = dsn.Host
		}
	})
	if addr != "" {
		wantRefused(t, addr)
	}
}

func TestStandbyAppliesLate(t *testing.T) {
	t.Parallel()
	primary, standby := testserver.PostgresStandby(t, 500*time.Millisecond)
	_, err := psql(primary, "CREATE TABLE written AS SELECT clock_timestamp() AS at")
	noErr(t, err)
	for end := time.Now().Add(20 * time.Second); ; {
		late, err := psql(standby, "SELECT clock_timestamp() - at >= '500 ms' FROM written")
		if err == nil {
			equal(t, late, "t\n")
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the standby does not have the table: %v", err)
		}
	}
	if _, err := psql(standby, "DROP TABLE written"); err == nil {
		t.Error("the standby may be written to")
	}
}

// psql runs one statement. This module has no driver.
func psql(s *testserver.PostgresServer, query string) (string, error) {
	out, err := exec.Command("psql", s.DSN, "-Atc", query).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("psql: %w: %s", err, exit.Stderr)
	}
	return string(out), err
}

func TestPostgresMayBeGiven(t *testing.T) {
	t.Setenv("ASIDE_TEST_POSTGRES", "postgres://elsewhere/db")
	equal(t, testserver.Postgres(t).DSN, "postgres://elsewhere/db")
}

func TestMissingBinarySkipsUnlessRequired(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("ASIDE_TEST_REDIS_SERVER", "")
	for env, want := range map[string]string{"": "skip", "required": "fatal"} {
		t.Setenv("ASIDE_TEST_SERVERS", env)
		tb := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			testserver.Redis(tb)
		}()
		<-done
		if !strings.HasPrefix(tb.end, want) || !strings.Contains(tb.end, "redis-server") {
			t.Errorf("ASIDE_TEST_SERVERS=%s ends with %q, want %s", env, tb.end, want)
		}
	}
}

func TestAServerThatFailsShowsItsLog(t *testing.T) {
	t.Parallel()
	_ = testserver.Redis(t) // or skip
	tb := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		testserver.Redis(tb, "--no-such-setting", "1")
	}()
	<-done
	if !strings.Contains(tb.end, "no-such-setting") {
		t.Errorf("it ends with %q", tb.end)
	}
}

// recorder is a test that ends without ending the real one.
type recorder struct {
	testing.TB
	end string
}

func (r *recorder) Skipf(format string, args ...any) {
	r.end = "skip: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.end = "fatal: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) {
	r.end = "fatal: " + fmt.Sprint(args...)
	runtime.Goexit()
}

func wantRefused(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("dial %s: %v, want it refused", addr, err)
	}
}

func wantPrefix(t *testing.T, err error, prefix string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), prefix) {
		t.Errorf("got error %v, want %s", err, prefix)
	}
}
