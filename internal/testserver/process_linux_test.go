package testserver_test

import (
	"bufio"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/asidecache/aside/internal/testserver"
)

// TestServersDieWithTheTestProcess runs itself in a process that it kills.
func TestServersDieWithTheTestProcess(t *testing.T) {
	const env = "ASIDE_TESTSERVER_CHILD"
	if os.Getenv(env) != "" {
		dsn, err := url.Parse(testserver.Postgres(t).DSN)
		noErr(t, err)
		os.Stdout.WriteString("\nservers " + testserver.Redis(t).Addr + " " + dsn.Host + "\n")
		select {}
	}
	t.Parallel()
	exe, err := os.Executable()
	noErr(t, err)
	// The killed process cannot remove its directories; they are in ours.
	tmp, err := os.MkdirTemp("", "aside-killed-")
	noErr(t, err)
	defer os.RemoveAll(tmp)
	noErr(t, os.Chmod(tmp, 0o755))

	cmd := exec.Command(exe, "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), env+"=1", "TMPDIR="+tmp, "ASIDE_TEST_POSTGRES=")
	out, err := cmd.StdoutPipe()
	noErr(t, err)
	noErr(t, cmd.Start())
	var addrs []string
	for lines := bufio.NewScanner(out); addrs == nil && lines.Scan(); {
		if line, ok := strings.CutPrefix(lines.Text(), "servers "); ok {
			addrs = strings.Fields(line)
		}
	}
	noErr(t, cmd.Process.Kill())
	_ = cmd.Wait()
	switch {
	case addrs == nil && os.Getenv("ASIDE_TEST_SERVERS") == "required":
		t.Fatal("the child started no servers")
	case addrs == nil:
		t.Skip("the child started no servers")
	}
	for _, addr := range addrs {
		for end := time.Now().Add(10 * time.Second); ; {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				break
			}
			conn.Close()
			if time.Now().After(end) {
				t.Fatalf("%s still accepts", addr)
			}
		}
	}
}
