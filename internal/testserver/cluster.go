package testserver

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const slots = 16384

// A RedisCluster is a Redis Cluster of primaries, without replicas unless
// Replicate has been called.
type RedisCluster struct {
	Nodes    []*RedisServer // the primaries
	Replicas []*RedisServer // of each of them

	t       testing.TB
	clock   *Clock
	args    []string
	owner   [slots]*RedisServer
	elected map[*RedisServer]time.Time // when Switch last asked for votes
}

// Cluster starts a Redis Cluster that spreads the slots evenly over the
// primaries, and returns once every node takes it for whole. That takes more
// than two seconds, which every node waits before it serves: share it among
// subtests. args are as in Redis; cluster-node-timeout is five seconds unless
// they say otherwise; much less takes a busy machine for a dead node.
func Cluster(t testing.TB, primaries int, args ...string) *RedisCluster {
	t.Helper()
	return newCluster(t, nil, primaries, args)
}

func newCluster(t testing.TB, clock *Clock, primaries int, args []string) *RedisCluster {
	t.Helper()
	c := &RedisCluster{t: t, clock: clock, args: args, elected: make(map[*RedisServer]time.Time)}
	for range primaries {
		c.Nodes = append(c.Nodes, c.start())
	}
	c.assign()
	c.meet()
	return c
}

// start starts a node that nobody has met.
func (c *RedisCluster) start() *RedisServer {
	c.t.Helper()
	return startRedis(c.t, c.clock, func() []string {
		return append([]string{
			"--cluster-enabled", "yes",
			"--cluster-node-timeout", "5000",
			// A node cannot tell its own address before another one met it.
			"--cluster-announce-ip", loopback,
			// Without the delay, a primary waits for more replicas before it syncs one.
			"--repl-diskless-sync-delay", "0",
			// Else a node that was stopped for long might be replaced while nobody looks.
			"--cluster-replica-no-failover", "yes",
		}, c.args...)
	})
}

// assign gives each node its share of the slots.
func (c *RedisCluster) assign() {
	c.t.Helper()
	n := len(c.Nodes)
	for i, node := range c.Nodes {
		first, end := i*slots/n, (i+1)*slots/n
		add := []any{"CLUSTER", "ADDSLOTS"} // ADDSLOTSRANGE came with Redis 7
		for slot := first; slot < end; slot++ {
			add = append(add, slot)
			c.owner[slot] = node
		}
		node.must(add...)
		// Else the nodes settle a collision of their epochs by themselves.
		node.must("CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
}

// meet introduces every pair, which spares the nodes their gossip, and waits
// until all see the whole cluster.
func (c *RedisCluster) meet() {
	c.t.Helper()
	for i, a := range c.Nodes {
		for _, b := range c.Nodes[:i] {
			a.must("CLUSTER", "MEET", loopback, b.port, b.busPort())
		}
	}
	for _, node := range c.Nodes {
		if err := await("the cluster to form", func() error {
			return node.infoHas("CLUSTER", "INFO",
				"cluster_state:ok",
				fmt.Sprintf("cluster_slots_ok:%d", slots),
				fmt.Sprintf("cluster_size:%d", len(c.Nodes)))
		}, node.proc); err != nil {
			c.t.Fatal(err)
		}
	}
}

// busPort is where the nodes talk to each other. If it is taken, the node does not start, and another port is tried.
func (s *RedisServer) busPort() string {
	port, err := strconv.Atoi(s.port)
	if err != nil {
		s.t.Fatal(err)
	}
	return strconv.Itoa(port + busOffset)
}

// Addrs returns the addresses of all nodes.
func (c *RedisCluster) Addrs() []string {
	var addrs []string
	for _, node := range c.Nodes {
		addrs = append(addrs, node.Addr)
	}
	return addrs
}

// Primary returns the node that owns the slot of key. It needs one node that
// runs, not the owner.
func (c *RedisCluster) Primary(key string) *RedisServer {
	c.t.Helper()
	return c.owner[c.slot(key)]
}

// slot leaves CRC16 and hash tags to Redis.
func (c *RedisCluster) slot(key string) int {
	c.t.Helper()
	for _, node := range c.Nodes {
		if node.proc.running() {
			slot, err := node.must("CLUSTER", "KEYSLOT", key).Int()
			if err != nil {
				c.t.Fatal(err)
			}
			return slot
		}
	}
	c.t.Fatal("testserver: no node of the cluster runs")
	return 0
}

// Migrate moves the slot of key, with its keys, to the next node of Nodes.
//
// It calls during, unless nil, in the middle: key itself has moved, the other
// keys of its slot have not. Then the old owner, which still is Primary(key),
// answers commands for key and for keys that do not exist with ASK, commands for
// the other keys as ever, and commands for both kinds with TRYAGAIN.
func (c *RedisCluster) Migrate(key string, during func()) {
	c.t.Helper()
	if len(c.Nodes) < 2 {
		c.t.Fatal("testserver: Migrate needs a second primary")
	}
	slot := c.slot(key)
	from := c.owner[slot]
	to := c.Nodes[(slices.Index(c.Nodes, from)+1)%len(c.Nodes)]
	toID := c.id(to)

	to.must("CLUSTER", "SETSLOT", slot, "IMPORTING", c.id(from))
	from.must("CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	move(from, to, key)
	if during != nil {
		during()
	}
	moveAll(from, to, slot)

	// The new owner first: until it knows, it sends everybody back to the old
	// one, and the old one here.
	to.must("CLUSTER", "SETSLOT", slot, "NODE", toID)
	c.owner[slot] = to
	for _, node := range c.Nodes { // also those that know by gossip: this ends their migration
		if node != to && node.proc.running() {
			node.must("CLUSTER", "SETSLOT", slot, "NODE", toID)
		}
	}
	if err := await("the nodes to agree on who has a slot", func() error { return c.giveTo(to, toID, slot) }, to.proc); err != nil {
		c.t.Fatal(err)
	}
}

// giveTo tells every node that runs that the one with that id has a slot, and
// returns an error unless all knew it for good: gossip of an older move, which may
// still be under way, undoes what a node was told until the node knows the present
// epoch of the owner.
func (c *RedisCluster) giveTo(owner *RedisServer, id string, slot int) (err error) {
	nodes, err := owner.do("CLUSTER", "NODES").Text()
	if err != nil {
		return err
	}
	epoch, _ := sees(nodes, id, slot)
	for _, node := range c.Nodes {
		if !node.proc.running() {
			continue
		}
		nodes, why := node.do("CLUSTER", "NODES").Text()
		known, owns := sees(nodes, id, slot)
		switch {
		case why == nil && !owns:
			why = cmp.Or(node.do("CLUSTER", "SETSLOT", slot, "NODE", id).Err(), errors.New("another node has it"))
		case why == nil && known != epoch:
			why = fmt.Errorf("the epoch of its owner is %s, and not %s", known, epoch)
		}
		if why != nil {
			err = fmt.Errorf("%s about slot %d: %w", node.Addr, slot, why)
		}
	}
	return err
}

// sees tells what CLUSTER NODES says of the node with an id: its config epoch, and whether it has a slot.
func sees(nodes, id string, slot int) (epoch string, owns bool) {
	for line := range strings.Lines(nodes) {
		// id, address, flags, primary, ping, pong, epoch, link, slots
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[0] != id {
			continue
		}
		for _, slots := range fields[8:] {
			first, last, several := strings.Cut(slots, "-")
			from, err1 := strconv.Atoi(first)
			to, err2 := from, error(nil)
			if several {
				to, err2 = strconv.Atoi(last)
			}
			owns = owns || err1 == nil && err2 == nil && from <= slot && slot <= to
		}
		return fields[6], owns
	}
	return "", false
}

func (c *RedisCluster) id(node *RedisServer) string {
	c.t.Helper()
	id, err := node.must("CLUSTER", "MYID").Text()
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// moveAll ends: a slot that migrates takes no new keys.
func moveAll(from, to *RedisServer, slot int) {
	from.t.Helper()
	for {
		keys, err := from.must("CLUSTER", "GETKEYSINSLOT", slot, 100).StringSlice()
		if err != nil {
			from.t.Fatal(err)
		}
		if len(keys) == 0 {
			return
		}
		move(from, to, keys...)
	}
}

// move moves those of the keys that exist, with their TTLs.
func move(from, to *RedisServer, keys ...string) {
	from.t.Helper()
	args := []any{"MIGRATE", loopback, to.port, "", 0, 5000, "KEYS"}
	for _, key := range keys {
		args = append(args, key)
	}
	from.must(args...)
}
