package testserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// An OwnPostgres is a PostgreSQL server that a test may configure, kill and start again. Unlike
// Postgres, it is started even if ASIDE_TEST_POSTGRES is set.
type OwnPostgres struct {
	DSN  string // postgres://..., the same after a Start
	Data string // the data directory

	t        testing.TB
	pg       *postgresInstall
	port     string
	settings []string
	proc     *process
	standbys int
}

// PostgresWith starts a PostgreSQL server with settings, which are name=value pairs, and returns once it accepts
// connections.
func PostgresWith(t testing.TB, settings ...string) *OwnPostgres {
	t.Helper()
	pg := installedPostgres(t)
	s := &OwnPostgres{t: t, pg: pg, Data: filepath.Join(pg.home, "data"), settings: settings}
	if err := pg.run("initdb", "-D", s.Data, "-U", "postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	s.bind()
	return s
}

// Standby starts a streaming standby of the server, with the settings of the server and some of its
// own. name is its application_name, by which synchronous_standby_names finds it.
func (s *OwnPostgres) Standby(name string, settings ...string) *OwnPostgres {
	s.t.Helper()
	if _, err := exec.LookPath(filepath.Join(s.pg.bin, "pg_basebackup")); err != nil {
		missing(s.t, "PostgreSQL's pg_basebackup")
	}
	s.standbys++
	standby := &OwnPostgres{t: s.t, pg: s.pg, settings: append(append([]string{"hot_standby=on"}, s.settings...), settings...)}
	standby.Data = filepath.Join(s.pg.home, fmt.Sprintf("standby%d", s.standbys))
	primary := fmt.Sprintf("host=%s port=%s user=postgres application_name=%s", loopback, s.port, name)
	if err := s.pg.run("pg_basebackup", "-D", standby.Data, "-d", primary, "--write-recovery-conf",
		"--checkpoint=fast", "--no-sync"); err != nil {
		s.t.Fatal(err)
	}
	standby.bind()
	return standby
}

// bind starts the server on a port that it keeps.
func (s *OwnPostgres) bind() {
	s.t.Helper()
	var err error
	for range attempts {
		s.port = freePort(s.t)
		if err = s.launch(); err == nil {
			s.DSN = postgresOn(s.port).DSN
			s.t.Cleanup(s.Kill)
			return
		}
	}
	s.t.Fatal(err)
}

func (s *OwnPostgres) launch() (err error) {
	args := []string{"-D", s.Data, "-p", s.port,
		"-c", "listen_addresses=" + loopback, "-c", "unix_socket_directories=", "-c", "fsync=off"}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	if s.proc, err = s.pg.start("postgres", args...); err != nil {
		return err
	}
	if err = await("postgres to accept connections", func() error { return ready(s.Data, s.proc) }, s.proc); err != nil {
		s.Kill()
	}
	return err
}

// Kill ends the server at once: its data is as after a crash.
func (s *OwnPostgres) Kill() { s.proc.kill() }

// Stop ends the server once its sessions have been ended and its data is written.
func (s *OwnPostgres) Stop() {
	s.t.Helper()
	if err := s.proc.cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
	<-s.proc.exited
}

// Start starts a server that has been ended, on the port that it had, with further settings.
func (s *OwnPostgres) Start(settings ...string) {
	s.t.Helper()
	s.settings = append(s.settings, settings...)
	_ = os.Remove(filepath.Join(s.Data, "postmaster.pid")) // that of the crash would count as ready if the pid came again
	if err := s.launch(); err != nil {
		s.t.Fatal(err)
	}
}

// Run runs one of PostgreSQL's programs as the server's user, to its end. It returns what the server and its programs wrote
// last.
func (s *OwnPostgres) Run(program string, args ...string) (output string, err error) {
	err = s.pg.run(program, args...)
	return s.proc.tail(), err
}

// Command is a client program of PostgreSQL's, such as pgbench, that is to be run as the user that we are.
func (s *OwnPostgres) Command(program string, args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(s.pg.bin, program), args...)
}
