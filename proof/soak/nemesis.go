package main

import (
	"context"
	"time"

	"github.com/asidecache/aside/internal/testserver"
	"github.com/asidecache/aside/proof/soak/history"
	"github.com/asidecache/aside/proof/soak/proxy"
	"github.com/redis/go-redis/v9"
)

// What a fault is at.
const (
	aProcess = iota
	aProxy
	theServer
	aRow
	aTaggedRow
	theKeys
	theServerAndKeys
)

// A kind is a kind of fault. begin returns what ends it, nil if it ends by itself.
type kind struct {
	name              string
	hits              int
	shortest, longest time.Duration
	loses             func(s *soak, f fault) []loss // nil: nothing
	clusterOnly       bool
	needsClock        bool // of Redis, that can be set
	nearOnly          bool
	begin             func(s *soak, f fault) (end func())
}

// A loss is something that Redis may lose while a fault lasts.
type loss struct {
	begin, end history.Kind
	flag       uint8
	rows       []int
}

const ms = time.Millisecond

var kinds = []kind{
	{name: "kill", hits: aProcess, shortest: 50 * ms, longest: 800 * ms, begin: (*soak).kill},
	{name: "stop", hits: aProcess, shortest: 20 * ms, longest: 4500 * ms, begin: (*soak).stop},
	{name: "redis-kill", hits: theServer, shortest: 10 * ms, longest: 800 * ms, loses: (*soak).killed, begin: (*soak).killRedis},
	{name: "redis-stop", hits: theServer, shortest: 20 * ms, longest: 1500 * ms, begin: (*soak).stopRedis},
	{name: "pause", hits: theServerAndKeys, shortest: 100 * ms, longest: 1500 * ms, begin: (*soak).pauseWrites},
	{name: "clock", hits: theServer, shortest: 200 * ms, longest: 2000 * ms, needsClock: true, loses: (*soak).outOfTime, begin: (*soak).stepClock},
	{name: "memory", hits: theServer, shortest: 200 * ms, longest: 1000 * ms, loses: (*soak).evicted, begin: (*soak).shortOfMemory},
	{name: "oom", hits: theServer, shortest: 200 * ms, longest: 1000 * ms, begin: (*soak).outOfMemory},
	{name: "flush", hits: theKeys, shortest: 1 * ms, longest: 1 * ms, loses: (*soak).flushed, begin: (*soak).flush},
	{name: "evict", hits: aRow, shortest: 1 * ms, longest: 1 * ms, loses: holdOfTarget, begin: (*soak).evict},
	{name: "unindex", hits: aTaggedRow, shortest: 1 * ms, longest: 1 * ms, loses: indexOfTarget, begin: (*soak).unindex},
	{name: "unhold", hits: theKeys, shortest: 1 * ms, longest: 1 * ms, loses: (*soak).heldTags, begin: (*soak).unhold},
	{name: "journal", hits: theKeys, shortest: 1 * ms, longest: 1 * ms, loses: (*soak).heldTags, begin: (*soak).forgetJournal},
	{name: "refuse", hits: aProxy, shortest: 20 * ms, longest: 800 * ms, begin: (*soak).refuse},
	{name: "cut", hits: aProxy, shortest: 200 * ms, longest: 1000 * ms, begin: (*soak).cut},
	{name: "delay", hits: aProxy, shortest: 200 * ms, longest: 1500 * ms, begin: (*soak).delay},
	{name: "half-open", hits: aProxy, shortest: 200 * ms, longest: 1200 * ms, begin: (*soak).halfOpen},
	{name: "resend", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: (*soak).resend},
	{name: "lease", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Lease)},
	{name: "fill", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Fill)},
	{name: "hold", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Hold)},
	{name: "invalidate", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Invalidate)},
	{name: "record", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Record)},
	{name: "index", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Index)},
	{name: "mark", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Mark)},
	{name: "since", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Since)},
	{name: "holdtags", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.HoldTags)},
	{name: "news", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, nearOnly: true, begin: holdUp(proxy.News)},
	{name: "note", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, nearOnly: true, begin: holdUp(proxy.Note)},
	{name: "low", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, nearOnly: true, begin: holdUp(proxy.Low)},
	{name: "unnear", hits: theKeys, shortest: 1 * ms, longest: 1 * ms, nearOnly: true, begin: (*soak).forgetNear},
	{name: "migrate", hits: theServer, shortest: 1 * ms, longest: 1 * ms, clusterOnly: true, begin: (*soak).migrate},
	{name: "reshard", hits: theServer, shortest: 1 * ms, longest: 1 * ms, clusterOnly: true, begin: (*soak).reshard},
	{name: "switch", hits: theServer, shortest: 1 * ms, longest: 1 * ms, clusterOnly: true, begin: (*soak).switchOver},
	{name: "failover", hits: theServer, shortest: 50 * ms, longest: 1000 * ms, clusterOnly: true, begin: (*soak).failOver},
}

func kindNames() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

// torment runs the schedule. It returns when the last fault is over.
func (s *soak) torment(faults []fault, start time.Time) {
	ends := make(map[int64]func())
	for _, m := range moments(faults) {
		time.Sleep(time.Until(start.Add(m.when())))
		if m.begins {
			s.tell(history.FaultBegin, history.AllKeys, m.number)
			ends[m.number] = s.begin(m.fault)
			continue
		}
		ends[m.number]()
		s.tell(history.FaultEnd, history.AllKeys, m.number)
	}
}

func (s *soak) tell(kind history.Kind, key uint16, version int64) {
	s.rec.Tell(history.Event{Kind: kind, Key: key, Version: version})
}

// begin begins a fault, and tells what may get lost until it has ended.
func (s *soak) begin(f fault) (end func()) {
	over := func() {}
	if f.kind.loses != nil {
		over = s.losing(f, f.kind.loses(s, f))
	}
	undo := f.kind.begin(s, f)
	return func() {
		if undo != nil {
			undo()
		}
		over()
	}
}

// losing tells what may get lost until over is called.
func (s *soak) losing(f fault, losses []loss) (over func()) {
	tell := func(kindOf func(loss) history.Kind) {
		for _, l := range losses {
			for _, row := range l.rows {
				s.rec.Tell(history.Event{Kind: kindOf(l), Flag: l.flag, Key: uint16(row), Version: f.number})
			}
		}
	}
	tell(func(l loss) history.Kind { return l.begin })
	return func() { tell(func(l loss) history.Kind { return l.end }) }
}

// What may get lost.

func holdsOf(rows ...int) loss { return loss{history.WipeBegin, history.WipeEnd, 0, rows} }

func (s *soak) tagHolds() loss {
	return loss{history.WipeBegin, history.WipeEnd, history.ByTag, s.taggedRows(all)}
}

func indexesOf(rows ...int) loss {
	return loss{history.LossBegin, history.LossEnd, history.OfIndex, rows}
}

func holdOfTarget(_ *soak, f fault) []loss { return []loss{holdsOf(f.target)} }

func indexOfTarget(_ *soak, f fault) []loss { return []loss{indexesOf(f.target)} }

func (s *soak) heldTags(fault) []loss { return []loss{s.tagHolds()} }

// evicted is what a server that is short of memory may evict: whatever there is.
func (s *soak) evicted(fault) []loss {
	return []loss{holdsOf(history.AllKeys), s.tagHolds(), indexesOf(s.taggedRows(all)...)}
}

// outOfTime is what expires too early when the clock of Redis goes forward, and what lives longer when it goes back. Near copies are
// told by the same clock.
func (s *soak) outOfTime(f fault) []loss {
	losses := s.evicted(f)
	if s.plan.near {
		losses = append(losses, loss{history.LossBegin, history.LossEnd, history.OfNear, []int{history.AllKeys}})
	}
	return losses
}

// flushed is lost by a FLUSHALL. The nodes of a Cluster have it one after the other: an entry that was filled after its own
// node had it may be in an index whose node is yet to have it.
func (s *soak) flushed(fault) []loss {
	apart := func(row int) bool { return s.primaryOf(s.rows().entry(row)) != s.primaryOf(s.rows().index(row)) }
	return []loss{holdsOf(history.AllKeys), s.tagHolds(), indexesOf(s.taggedRows(apart)...)}
}

// killed is lost by a server that comes back empty. In a Cluster, it takes indexes whose entries
// are elsewhere.
func (s *soak) killed(f fault) []loss {
	node := s.someNode(f)
	alone := func(row int) bool {
		return s.primaryOf(s.rows().index(row)) == node && s.primaryOf(s.rows().entry(row)) != node
	}
	return []loss{holdsOf(history.AllKeys), s.tagHolds(), indexesOf(s.taggedRows(alone)...)}
}

// failedOver may be undone by a failover of a primary: what it has confirmed of entries; of the
// journal and the held tags; and the places in indexes, also of entries that it may have brought
// back.
func (s *soak) failedOver(primary *testserver.RedisServer) []loss {
	on := func(name string) bool { return s.primaryOf(name) == primary }
	losses := []loss{
		indexesOf(s.taggedRows(func(row int) bool { return on(s.rows().entry(row)) || on(s.rows().index(row)) })...),
		s.entriesOn(primary, 0), // which explain what may be stale for either
	}
	if on(journal) {
		losses = append(losses, loss{history.LossBegin, history.LossEnd, history.OfBooks, s.taggedRows(all)})
	}
	if s.plan.near && on(nearLog) {
		flag := uint8(history.OfNear)
		if time.Since(s.nearLost) < 2*time.Second { // Δ, and what this takes
			flag |= history.Twice
		}
		losses = append(losses, loss{history.LossBegin, history.LossEnd, flag, []int{history.AllKeys}})
	}
	return losses
}

func (s *soak) entriesOn(primary *testserver.RedisServer, flag uint8) loss {
	l := loss{history.LossBegin, history.LossEnd, flag, nil}
	for row := range s.rows().all() {
		if s.primaryOf(s.rows().entry(row)) == primary {
			l.rows = append(l.rows, row)
		}
	}
	return l
}

func (s *soak) rows() table { return s.plan.rows() }

func (s *soak) taggedRows(which func(row int) bool) (rows []int) {
	for row := range s.rows().all() {
		if s.rows().tagged(row) && which(row) {
			rows = append(rows, row)
		}
	}
	return rows
}

func all(int) bool { return true }

func (s *soak) primaryOf(name string) *testserver.RedisServer {
	if s.ring != nil {
		return s.ring.Primary(name)
	}
	return s.servers[0]
}

// someNode is the primary that a fault is at.
func (s *soak) someNode(f fault) *testserver.RedisServer {
	return s.primaries()[f.luck%len(s.primaries())]
}

// The faults of processes and servers.

// kill ends a process at whatever instruction it is, and starts another one in its place.
func (s *soak) kill(f fault) func() {
	s.slots[f.target].kill()
	return func() { s.spawn(f.target) }
}

// stop has a process stand still. One in three is killed then instead of going on.
func (s *soak) stop(f fault) func() {
	proc := s.slots[f.target]
	proc.stop()
	return func() {
		if f.luck%3 == 0 {
			proc.kill()
			s.spawn(f.target)
			return
		}
		proc.cont()
	}
}

// killRedis has a server be away and come back empty.
func (s *soak) killRedis(f fault) func() {
	began := history.Now()
	node := s.someNode(f)
	node.Kill()
	return func() {
		node.Restart()
		if !s.plan.cluster { // else it is about the keys of one node, which is not worth telling apart
			s.rec.Tell(history.Event{Kind: history.Invalidated, Flag: history.Foreign | history.Everything, Key: history.AllKeys, Start: began})
		}
	}
}

// longestStep is by how much the clock of Redis is set forward or back.
const longestStep = 2 * time.Second

// stepClock sets the clock of all servers forward or back, and right again.
func (s *soak) stepClock(f fault) func() {
	step := time.Duration(50+f.luck/2%1950) * ms
	if f.luck%2 == 0 {
		step = -step
	}
	s.clock.Set(step)
	return func() { s.clock.Set(0) }
}

func (s *soak) stopRedis(f fault) func() {
	node := s.someNode(f)
	node.Stop()
	return node.Continue
}

// pauseWrites has a server answer reads, and let everything else wait, scripts as well. What
// another fault did at the same time would wait there and be done later, so no fault of keys is.
func (s *soak) pauseWrites(f fault) func() {
	node := s.someNode(f)
	on(node, func(ctx context.Context, node *redis.Client) error {
		return node.Do(ctx, "CLIENT", "PAUSE", (f.ends - f.at).Milliseconds(), "WRITE").Err()
	})
	return func() { // it ends by itself, but perhaps not yet
		on(node, func(ctx context.Context, node *redis.Client) error { return node.ClientUnpause(ctx).Err() })
	}
}

// shortOfMemory has Redis evict whatever it likes.
func (s *soak) shortOfMemory(fault) func() { return s.memory("allkeys-random") }

// outOfMemory has Redis refuse to store.
func (s *soak) outOfMemory(fault) func() { return s.memory("noeviction") }

func (s *soak) memory(policy string) func() {
	set := func(memory, policy string) bool {
		return s.onEach(func(ctx context.Context, node *redis.Client) error {
			if err := node.ConfigSet(ctx, "maxmemory-policy", policy).Err(); err != nil {
				return err
			}
			return node.ConfigSet(ctx, "maxmemory", memory).Err()
		})
	}
	set("1mb", policy) // less than an empty server takes
	return func() {
		for range undoTries { // another fault may keep a server from answering for as long as it lasts
			if set("0", "noeviction") {
				return
			}
			time.Sleep(adminTimeout)
		}
	}
}

// undoTries is how often the end of a fault is tried, for ten seconds in all: no other fault lasts that long.
const undoTries = 100

func (s *soak) flush(fault) func() {
	began := history.Now()
	if s.onEach(func(ctx context.Context, node *redis.Client) error { return node.FlushAll(ctx).Err() }) {
		e := history.Event{Kind: history.Invalidated, Flag: history.Foreign | history.Everything, Key: history.AllKeys, Start: began}
		if s.plan.cluster {
			e.Flag |= history.Apart
		}
		s.rec.Tell(e)
	}
	return nil
}

// evict deletes an entry, as an eviction does, or redis-cli. Any DEL is an invalidation, but near
// copies do not know of it. What is made from another may be made again from what is cached of
// that, so it says nothing then.
func (s *soak) evict(f fault) func() {
	began := history.Now()
	if s.del(s.rows().entry(f.target)) && !s.rows().isMade(f.target) {
		s.rec.Tell(history.Event{Kind: history.Invalidated, Flag: history.Foreign, Key: uint16(f.target), Start: began})
	}
	return nil
}

// unindex, unhold and forgetJournal delete what Redis keeps book of tags by, as evictions do: the held tags are in the journal.
func (s *soak) unindex(f fault) func() {
	s.del(s.rows().index(f.target))
	return nil
}

func (s *soak) unhold(fault) func() {
	on(s.primaryOf(journal), func(ctx context.Context, node *redis.Client) error {
		return node.ZRemRangeByScore(ctx, journal, "-inf", "(1e14").Err()
	})
	return nil
}

func (s *soak) forgetJournal(fault) func() {
	s.del(journal)
	return nil
}

// forgetNear deletes what near copies are told by.
func (s *soak) forgetNear(fault) func() {
	s.del(nearLog)
	return nil
}

func (s *soak) del(name string) bool {
	return on(s.primaryOf(name), func(ctx context.Context, node *redis.Client) error { return node.Del(ctx, name).Err() })
}

const adminTimeout = 100 * ms // Redis may be stopped or gone

// onEach reports whether fn could be done on all nodes.
func (s *soak) onEach(fn func(ctx context.Context, node *redis.Client) error) bool {
	all := true
	for _, node := range s.primaries() {
		all = on(node, fn) && all
	}
	return all
}

// on reports whether fn could be done on a node. It has a new connection, which a server that is stopped does not greet: what
// could not be done is not done later, either.
func on(node *testserver.RedisServer, fn func(ctx context.Context, node *redis.Client) error) bool {
	rdb := redis.NewClient(&redis.Options{Addr: node.Addr, MaxRetries: -1, ContextTimeoutEnabled: true})
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	return fn(ctx, rdb) == nil
}

// migrate moves a slot. For a while some of its keys are here and some there.
func (s *soak) migrate(f fault) func() {
	s.ring.Settle()
	s.ring.Migrate(s.someName(f), func() { time.Sleep(time.Duration(f.luck%300) * ms) })
	s.ring.Settle()
	return nil
}

// reshard moves all that a hot row is about, slot by slot, so that it meets those who hold it.
func (s *soak) reshard(f fault) func() {
	s.ring.Settle()
	rows := s.rows()
	row := rows.hot(f.luck % sorts * rows.size())
	names := []string{rows.entry(row), rows.entry(rows.made(row))}
	if rows.tagged(row) {
		names = append(names, rows.index(row), journal)
	}
	for i, name := range names {
		s.ring.Migrate(name, func() { time.Sleep(time.Duration(f.luck>>i%150) * ms) })
	}
	s.ring.Settle()
	return nil
}

// someName is that of an entry, of an index, or of the journal.
func (s *soak) someName(f fault) string {
	switch row := f.luck % s.rows().all(); f.luck / 512 % 6 {
	case 0:
		if s.plan.near && f.luck%2 == 0 {
			return nearLog
		}
		return journal
	case 1:
		return s.rows().index(row%(2*s.rows().size()) + s.rows().size())
	default:
		return s.rows().entry(row)
	}
}

// switchOver has a primary and its replica change places, if none has been elected lately.
func (s *soak) switchOver(f fault) func() {
	s.ring.Settle() // before anything may be lost
	n := len(s.ring.Nodes)
	for try := range n {
		i := (f.luck + try) % n
		if !s.ring.MaySwitch(i) {
			continue
		}
		over := s.losing(f, []loss{s.entriesOn(s.ring.Nodes[i], history.Planned)})
		switched := s.ring.Switch(i)
		over()
		if switched {
			break
		}
	}
	return nil
}

// failOver has a replica fall behind and then take its primary's place, which is killed, stopped, or merely not asked.
func (s *soak) failOver(f fault) func() {
	i := f.luck % len(s.ring.Nodes)
	old := s.ring.Nodes[i]
	over := s.losing(f, s.failedOver(old))
	s.ring.Detach(i)
	return func() {
		back := func() {}
		switch f.luck / 3 % 3 {
		case 0:
			old.Kill()
			back = old.Restart
		case 1:
			old.Stop()
			back = old.Continue
		}
		s.ring.Failover(i)
		time.Sleep(time.Duration(f.luck%500) * ms)
		back()
		s.ring.Settle()
		over()
		s.nearLost = time.Now()
	}
}

// The faults of proxies.

// each calls fn on the proxies that a fault is at, and returns what ends all.
func (s *soak) each(f fault, fn func(p *proxy.Proxy) (end func())) (end func()) {
	var ends []func()
	for slot, proxies := range s.proxies {
		if f.target >= 0 && f.target != slot {
			continue
		}
		for _, p := range proxies {
			ends = append(ends, fn(p))
		}
	}
	return func() {
		for _, end := range ends {
			end()
		}
	}
}

func (s *soak) refuse(f fault) func() {
	return s.each(f, func(p *proxy.Proxy) func() {
		p.Refuse()
		return func() {
			if err := p.Accept(); err != nil {
				s.t.Fatal(err)
			}
		}
	})
}

// cut ends some connections at once, and some after a command was sent.
func (s *soak) cut(f fault) func() {
	return s.each(f, func(p *proxy.Proxy) func() {
		p.Cut(1 + f.luck%3)
		return p.CutAt(20 + f.luck%200)
	})
}

func (s *soak) delay(f fault) func() {
	return s.each(f, func(p *proxy.Proxy) func() { return p.Delay(1+f.luck%50, time.Duration(1+f.luck%400)*ms) })
}

func (s *soak) halfOpen(f fault) func() {
	return s.each(f, func(p *proxy.Proxy) func() { return p.HalfOpen(f.luck%2 == 0) })
}

func (s *soak) resend(f fault) func() {
	return s.each(f, func(p *proxy.Proxy) func() { return p.Resend(1+f.luck%3, 1500*ms) })
}

func holdUp(verb proxy.Verb) func(s *soak, f fault) func() {
	return func(s *soak, f fault) func() {
		return s.each(f, func(p *proxy.Proxy) func() {
			return p.HoldUp(verb, 1+f.luck%5, 3*time.Second, f.luck%2 == 0)
		})
	}
}
