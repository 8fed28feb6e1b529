package testserver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Replicate gives each primary a replica, and returns once they follow. None is
// ever promoted by itself: see Failover and Switch.
func (c *RedisCluster) Replicate() {
	c.t.Helper()
	for range c.Nodes {
		replica := c.start()
		c.Replicas = append(c.Replicas, replica)
		for _, node := range c.Nodes {
			replica.must("CLUSTER", "MEET", loopback, node.port, node.busPort())
		}
	}
	for i, node := range c.Nodes {
		id := c.id(node)
		c.await("a replica to know its primary", func() error {
			return c.Replicas[i].do("CLUSTER", "REPLICATE", id).Err()
		})
	}
	c.Settle()
}

// Settle returns once all nodes that run serve, and agree which node owns each slot and which
// primary each replica follows. The replicas among them follow by then.
func (c *RedisCluster) Settle() {
	c.t.Helper()
	c.agree(c.Nodes)
	c.agree(c.Replicas)
	for i, replica := range c.Replicas {
		if replica.proc.running() && c.Nodes[i].proc.running() {
			c.await("a replica to follow", func() error { return c.follows(i) })
			c.await("a replica to be known as such", func() error { return c.known(i) })
		}
	}
}

// known returns nil if all nodes that run know whose replica that of Nodes[i] is.
// Until a node does, it ignores the replica's requests for a switch and for votes. It
// would hear of it from the replica's next ping, seconds later; a meeting says it now.
func (c *RedisCluster) known(i int) error {
	replica, primary := c.id(c.Replicas[i]), c.id(c.Nodes[i])
	for _, node := range slices.Concat(c.Nodes, c.Replicas) {
		if !node.proc.running() {
			continue
		}
		replicas, err := node.do("CLUSTER", "REPLICAS", primary).StringSlice()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(replicas, func(line string) bool { return strings.HasPrefix(line, replica) }) {
			if err := c.Replicas[i].do("CLUSTER", "MEET", loopback, node.port, node.busPort()).Err(); err != nil {
				return err
			}
			return fmt.Errorf("%s knows these replicas of %s: %q, and not %s", node.Addr, c.Nodes[i].Addr, replicas, c.Replicas[i].Addr)
		}
	}
	return nil
}

func (c *RedisCluster) await(what string, check func() error) {
	c.t.Helper()
	if err := await(what, check); err != nil {
		c.t.Fatal(err)
	}
}

// agree returns once those of the nodes that run know the owners of all slots.
func (c *RedisCluster) agree(nodes []*RedisServer) {
	c.t.Helper()
	for _, node := range nodes {
		if node.proc.running() {
			c.await("the nodes to agree", func() error { return c.agrees(node) })
		}
	}
}

// agrees returns nil if node knows the owners of all slots, and serves.
func (c *RedisCluster) agrees(node *RedisServer) error {
	if err := node.infoHas("CLUSTER", "INFO", "cluster_state:ok"); err != nil {
		return err
	}
	ranges, err := node.do("CLUSTER", "SLOTS").Slice()
	if err != nil {
		return err
	}
	for _, r := range ranges {
		fields := r.([]any)
		port := fmt.Sprint(fields[2].([]any)[1])
		for slot := fields[0].(int64); slot <= fields[1].(int64); slot++ {
			if c.owner[slot].port != port {
				return fmt.Errorf("%s takes %s for the owner of slot %d, and not %s", node.Addr, port, slot, c.owner[slot].port)
			}
		}
	}
	return nil
}

// follows returns nil if the replica of Nodes[i] has whatever the primary had
// done by the time of the call.
func (c *RedisCluster) follows(i int) error {
	primary, err := c.Nodes[i].replication()
	if err != nil {
		return err
	}
	replica, err := c.Replicas[i].replication()
	if err != nil {
		return err
	}
	offset := func(text string) int {
		n, _ := strconv.Atoi(text)
		return n
	}
	if replica["role"] != "slave" || replica["master_port"] != c.Nodes[i].port || replica["master_link_status"] != "up" ||
		replica["master_replid"] != primary["master_replid"] || // the primary has come back empty
		offset(replica["slave_repl_offset"]) < offset(primary["master_repl_offset"]) {
		return fmt.Errorf("%s says %v, and its primary %v", c.Replicas[i].Addr, replica, primary)
	}
	return nil
}

func (s *RedisServer) replication() (map[string]string, error) {
	info, err := s.do("INFO", "replication").Text()
	fields := make(map[string]string)
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, err
}

// Detach has the replica of Nodes[i] follow no longer: what the primary does from
// now on is lost in a Failover. Until then the replica is of no use.
func (c *RedisCluster) Detach(i int) {
	c.t.Helper()
	c.await("a replica to follow", func() error { return c.follows(i) })
	// The primary has no password, so a password is an error: each attempt to follow fails.
	c.Replicas[i].must("CONFIG", "SET", "masterauth", "none")
	c.Nodes[i].must("CLIENT", "KILL", "TYPE", "replica")
}

// Failover promotes the replica of Nodes[i], without asking the primary or anyone
// else, and swaps the two. It returns once the nodes that run agree. The old
// primary may run, be stopped or killed; it is the replica of the new one as soon
// as it runs and has heard of it, for which Settle waits.
func (c *RedisCluster) Failover(i int) {
	c.t.Helper()
	c.Replicas[i].must("CLUSTER", "FAILOVER", "TAKEOVER")
	c.await("the failover", func() error { return c.Replicas[i].infoHas("INFO", "replication", "role:master") })
	c.Replicas[i].must("CONFIG", "SET", "masterauth", "") // what Detach set
	c.swap(i)
	c.agree(c.Nodes)
}

// MaySwitch reports whether a Switch of Nodes[i] has a chance: the other primaries
// must not have voted for its replica within the last 20 s (four node timeouts).
// Redis would take those votes for new ones, and promote the replica to a primary
// that the others do not follow.
func (c *RedisCluster) MaySwitch(i int) bool {
	elected, ok := c.elected[c.Replicas[i]]
	return !ok || time.Since(elected) >= 21*time.Second
}

// Switch has Nodes[i] and its replica change places, in a failover that waits for
// the replica to have everything. It reports false if that cannot be: MaySwitch
// forbids it, or the other primaries did not vote for it.
func (c *RedisCluster) Switch(i int) bool {
	c.t.Helper()
	const patience = 6 * time.Second // Redis gives it up after five
	if !c.MaySwitch(i) {
		return false
	}
	c.Settle()
	replica := c.Replicas[i]
	c.elected[replica] = time.Now()
	replica.must("CLUSTER", "FAILOVER")
	for end := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		if replica.infoHas("INFO", "replication", "role:master") == nil {
			break
		}
		if time.Now().After(end) {
			return false
		}
	}
	c.swap(i)
	c.Settle()
	return true
}

func (c *RedisCluster) swap(i int) {
	old := c.Nodes[i]
	c.Nodes[i], c.Replicas[i] = c.Replicas[i], old
	for slot, node := range c.owner {
		if node == old {
			c.owner[slot] = c.Nodes[i]
		}
	}
}
