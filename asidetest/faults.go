package asidetest

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// Down cuts all connections and refuses new ones. What is stored stays; a Flush makes it a restart of a Redis that
// persists nothing.
func (s *Server) Down() {
	s.become(func() { s.down = true })
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Hang leaves commands unanswered. They are executed at the next fault or Up, late, as by a Redis that was stopped and
// goes on.
func (s *Server) Hang() { s.become(func() { s.hanging = make(chan struct{}) }) }

// Fail has commands answered with an error, which begins with a code as those of Redis do: "LOADING it". It is for the
// commands that would get that error from Redis: OOM for those that store, READONLY for those that write, any other for
// all.
func (s *Server) Fail(message string) {
	s.t.Helper()
	if message == "" || strings.ContainsAny(message, "\r\n") {
		s.t.Fatalf("asidetest: Fail(%q): one line is needed", message)
	}
	s.become(func() { s.failure = message })
}

// Up ends any fault.
func (s *Server) Up() { s.become(func() {}) }

// LoseReply has the next command executed and its connection cut before the reply. By default go-redis then sends it once
// more, so that it is executed twice; with a client whose MaxRetries is -1, the command fails.
func (s *Server) LoseReply() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = true
}

// become ends the present fault and begins another.
func (s *Server) become(fault func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hanging != nil {
		close(s.hanging)
	}
	s.down, s.hanging, s.failure, s.lose = false, nil, "", false
	fault()
}

// before is called before each command, and reports whether it has been answered. A script's commands come while
// miniredis is locked: nothing here may wait for it then.
func (s *Server) before(p *server.Peer, command string, args ...string) (answered bool) {
	if slices.Contains(greetings, command) {
		s.isClient(p)
		return false
	}
	if !s.isClient(p) {
		return s.answer(p, command, inScript)
	}
	s.hang()
	s.tick()
	if s.takeLose() {
		s.mini.Server().Dispatch(shadow(p), append([]string{command}, args...))
		p.Close()
		return true
	}
	return s.answer(p, command, byClient)
}

// greetings are what a client sends on a new connection. A Redis that is loading answers them.
var greetings = []string{"HELLO", "AUTH", "CLIENT", "SELECT"}

// isClient reports whether p is the end of a connection. The first command of one finds no Ctx yet, one of a script does.
func (s *Server) isClient(p *server.Peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Ctx == nil && !s.peers[p] {
		s.peers[p] = true
		p.OnDisconnect(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.peers, p)
		})
	}
	return s.peers[p]
}

// hang waits until the server answers.
func (s *Server) hang() {
	s.mu.Lock()
	hanging := s.hanging
	s.mu.Unlock()
	if hanging != nil {
		<-hanging
	}
}

// tick sets the server's clock.
func (s *Server) tick() {
	s.mu.Lock()
	now := time.Now().Add(s.ahead)
	s.mu.Unlock()
	s.mini.SetTime(now)
}

func (s *Server) takeLose() (lose bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lose, s.lose = s.lose, false
	return lose
}

// shadow is a peer whose replies go nowhere.
func shadow(p *server.Peer) *server.Peer {
	q := server.NewPeer(bufio.NewWriter(io.Discard))
	q.Ctx, q.Resp3 = p.Ctx, p.Resp3
	return q
}

type origin int

const (
	byClient origin = iota
	inScript
)

// answer answers with the failure, if it is for this command.
func (s *Server) answer(p *server.Peer, command string, from origin) bool {
	s.mu.Lock()
	failure := s.failure
	s.mu.Unlock()
	if failure == "" || !concerns(failure, command, from) {
		return false
	}
	p.WriteError(failure)
	return true
}

// concerns reports whether Redis would answer command with failure. A script runs, and it is a command in it that fails.
func concerns(failure, command string, from origin) bool {
	code, _, _ := strings.Cut(failure, " ")
	switch code {
	case "OOM":
		return slices.Contains(storing, command)
	case "READONLY":
		return slices.Contains(storing, command) || slices.Contains(writing, command)
	default:
		return from == byClient
	}
}

// Of the strings' commands: what miniredis knows of a command tells reading from writing, but not
// which the library uses.
var (
	storing = []string{"SET", "SETEX", "PSETEX", "SETNX", "GETSET", "MSET", "MSETNX", "APPEND", "SETRANGE", "INCR", "INCRBY",
		"HSET", "SADD", "ZADD", "LPUSH", "RPUSH", "XADD"}
	writing = []string{"DEL", "UNLINK", "EXPIRE", "PEXPIRE", "PERSIST", "GETDEL", "SREM", "HDEL", "ZREM", "LPOP", "RPOP",
		"RENAME", "FLUSHALL", "FLUSHDB"}
)
