package testserver

import (
	"errors"
	"strings"
	"testing"
)

// masterName is what the sentinel calls the primary.
const masterName = "aside"

// A RedisSentinel is a primary and a replica under one sentinel, which calls
// them "aside".
type RedisSentinel struct {
	Addr             string // of the sentinel
	Primary, Replica *RedisServer

	t        testing.TB
	sentinel *RedisServer
}

// Sentinel starts a primary, a replica and a sentinel, and returns once the
// replica follows the primary and the sentinel knows both. A client of it is
//
//	redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "aside", SentinelAddrs: []string{s.Addr}})
//
// The sentinel also fails over by itself when the primary has not answered for
// five seconds.
func Sentinel(t testing.TB) *RedisSentinel {
	t.Helper()
	// Without the delay, a primary waits for more replicas before it syncs one.
	s := &RedisSentinel{
		t:       t,
		Primary: Redis(t, "--repl-diskless-sync-delay", "0"),
		Replica: Redis(t, "--repl-diskless-sync-delay", "0"),
	}
	// Not an argument, which would return with every Restart.
	s.Replica.must("REPLICAOF", loopback, s.Primary.port)
	s.awaitReplica()

	s.sentinel = Redis(t, "--sentinel")
	s.Addr = s.sentinel.Addr
	// A sentinel looks at its servers every 10 s, demotes an old primary after 8 s (four publish
	// periods) and does nothing for 30 s after a stall of the machine; tests have no time for that.
	// A shorter info-period would be wrong: a replica that was not heard of for three periods is
	// not promoted. Before Redis 7 there is no such command, and it only takes longer.
	_ = s.sentinel.do("SENTINEL", "DEBUG", "info-period", 1000, "publish-period", 100, "tilt-period", 500).Err()
	s.sentinel.must("SENTINEL", "MONITOR", masterName, loopback, s.Primary.port, 1)
	s.sentinel.must("SENTINEL", "SET", masterName, "down-after-milliseconds", 5000, "failover-timeout", 10000)
	s.await("the sentinel to see the replica", func() error {
		replicas, err := s.sentinel.do("SENTINEL", "REPLICAS", masterName).Slice()
		if err == nil && len(replicas) == 0 {
			err = errors.New("it knows none")
		}
		return err
	})
	return s
}

// Failover has the sentinel promote Replica and then swaps the fields Primary
// and Replica. It returns once the sentinel names the new primary and the old
// one follows it; an old primary that is killed or stopped does so when it runs
// again. A failover that the sentinel has begun by itself is completed.
func (s *RedisSentinel) Failover() {
	s.t.Helper()
	s.await("the failover", s.failedOver)
	s.Primary, s.Replica = s.Replica, s.Primary
	if s.Replica.proc.running() {
		s.awaitReplica()
	}
}

// failedOver returns nil if Replica has become the primary. It begins the
// failover unless one is under way, and again if that was given up: a sentinel
// that has just not heard of the replica does so. Address and flags come in one
// reply, else it could begin the way back after an end that it did not see.
func (s *RedisSentinel) failedOver() error {
	reply, err := s.sentinel.do("SENTINEL", "MASTER", masterName).StringSlice()
	if err != nil {
		return err
	}
	state := map[string]string{}
	for i := 0; i+1 < len(reply); i += 2 {
		state[reply[i]] = reply[i+1]
	}
	switch {
	case state["port"] == s.Replica.port:
		return s.Replica.infoHas("INFO", "replication", "role:master")
	case strings.Contains(state["flags"], "failover_in_progress"):
		return errors.New("it is in progress")
	}
	if err := s.sentinel.do("SENTINEL", "FAILOVER", masterName).Err(); err != nil {
		return err // NOGOODSLAVE: it will hear of one
	}
	return errors.New("it has begun")
}

func (s *RedisSentinel) awaitReplica() {
	s.t.Helper()
	s.await("the replica", func() error {
		return s.Replica.infoHas("INFO", "replication",
			"role:slave", "master_port:"+s.Primary.port, "master_link_status:up")
	})
}

func (s *RedisSentinel) await(what string, check func() error) {
	s.t.Helper()
	on := []*process{s.Replica.proc}
	if s.sentinel != nil {
		on = append(on, s.sentinel.proc)
	}
	if err := await(what, check, on...); err != nil {
		s.t.Fatal(err)
	}
}
