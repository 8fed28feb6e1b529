package testserver

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A PostgresServer is a PostgreSQL server. It may be written to, unless it is a standby.
type PostgresServer struct {
	DSN string // postgres://...
}

// Postgres starts a PostgreSQL server with an empty database, trust
// authentication and no durability, and returns once it accepts connections.
// That takes about a second: share it among subtests.
//
// With ASIDE_TEST_POSTGRES set it starts nothing and returns the server of that
// DSN as it is. Tests that shall run there too create a schema of their own.
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	if dsn := os.Getenv("ASIDE_TEST_POSTGRES"); dsn != "" {
		return &PostgresServer{DSN: dsn}
	}
	_, port := startPostgres(t)
	return postgresOn(port)
}

// startPostgres starts a fresh server.
func startPostgres(t testing.TB) (pg *postgresInstall, port string) {
	t.Helper()
	pg = installedPostgres(t)
	data := filepath.Join(pg.home, "data")
	if err := pg.run("initdb", "-D", data, "-U", "postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	return pg, pg.serve(t, data)
}

func postgresOn(port string) *PostgresServer {
	return &PostgresServer{DSN: "postgres://postgres@" + loopback + ":" + port + "/postgres?sslmode=disable"}
}

// A postgresInstall is a directory of PostgreSQL's programs and the user and
// directory to run them with.
type postgresInstall struct {
	bin  string
	home string
	cred *syscall.Credential // nil: the user that we are
}

func installedPostgres(t testing.TB) *postgresInstall {
	t.Helper()
	bin := postgresBin()
	if bin == "" {
		missing(t, "PostgreSQL's initdb or postgres")
	}
	// Not t.TempDir: another user could not reach into it.
	home, err := os.MkdirTemp("", "aside-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Errorf("testserver: %v", err)
		}
	})
	pg := &postgresInstall{bin: bin, home: home}
	if os.Geteuid() == 0 { // PostgreSQL refuses to work for root
		if pg.cred, err = otherUser(); err == nil {
			err = os.Chown(home, int(pg.cred.Uid), int(pg.cred.Gid))
		}
		if err != nil {
			t.Fatalf("testserver: run PostgreSQL without root: %v", err)
		}
	}
	return pg
}

// postgresBin returns the directory with the programs of the newest version, or
// "". Debian keeps them off the PATH, whose wrappers are not what we look for.
func postgresBin() string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	version := func(dir string) float64 {
		v, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(dir)), 64)
		return v
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	for _, dir := range dirs {
		_, err1 := exec.LookPath(filepath.Join(dir, "initdb"))
		_, err2 := exec.LookPath(filepath.Join(dir, "postgres"))
		if err1 == nil && err2 == nil {
			return dir
		}
	}
	return ""
}

func otherUser() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}

func (pg *postgresInstall) start(program string, args ...string) (*process, error) {
	cmd := exec.Command(filepath.Join(pg.bin, program), args...)
	cmd.Dir = pg.home // ours may be closed to that user
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: pg.cred}
	// As pg_ctl stop -m immediate does it: the data is as after a crash, and
	// unlike after SIGKILL no shared memory segment stays behind.
	return start(cmd, filepath.Join(pg.home, "log"), syscall.SIGQUIT)
}

// run runs a program to its end.
func (pg *postgresInstall) run(program string, args ...string) error {
	p, err := pg.start(program, args...)
	if err != nil {
		return err
	}
	<-p.exited
	if state := p.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("testserver: %s: %v\n%s", program, state, p.tail())
	}
	return nil
}

// serve starts a server on the data directory and returns its port once it
// accepts connections there. settings are name=value pairs.
func (pg *postgresInstall) serve(t testing.TB, data string, settings ...string) (port string) {
	t.Helper()
	settings = append([]string{
		"listen_addresses=" + loopback, "unix_socket_directories=", "fsync=off",
	}, settings...)
	var err error
	for range attempts {
		port = freePort(t)
		args := []string{"-D", data, "-p", port}
		for _, s := range settings {
			args = append(args, "-c", s)
		}
		var p *process
		if p, err = pg.start("postgres", args...); err != nil {
			break
		}
		t.Cleanup(p.kill)
		if err = await("postgres to accept connections", func() error { return ready(data, p) }, p); err == nil {
			return port
		}
		p.kill()
	}
	t.Fatal(err)
	return ""
}

// ready reads what pg_ctl -w reads: the state on line 8 of postmaster.pid.
func ready(data string, p *process) error {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return err
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 8 || lines[0] != strconv.Itoa(p.pid()) || strings.TrimSpace(lines[7]) != "ready" {
		return fmt.Errorf("postmaster.pid says %q", lines)
	}
	return nil
}
