package main

import (
	"context"
	"fmt"
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
	theKeys
)

// A kind is a kind of fault. begin returns what ends it, nil if it ends by itself.
type kind struct {
	name              string
	hits              int
	shortest, longest time.Duration
	wipes             bool // holds may get lost while it lasts
	clusterOnly       bool
	begin             func(s *soak, f fault) (end func())
}

const ms = time.Millisecond

var kinds = []kind{
	{name: "kill", hits: aProcess, shortest: 50 * ms, longest: 800 * ms, begin: (*soak).kill},
	{name: "stop", hits: aProcess, shortest: 20 * ms, longest: 4500 * ms, begin: (*soak).stop},
	{name: "redis-kill", hits: theServer, shortest: 10 * ms, longest: 800 * ms, wipes: true, begin: (*soak).killRedis},
	{name: "redis-stop", hits: theServer, shortest: 20 * ms, longest: 1500 * ms, begin: (*soak).stopRedis},
	{name: "memory", hits: theServer, shortest: 200 * ms, longest: 1000 * ms, wipes: true, begin: (*soak).shortOfMemory},
	{name: "oom", hits: theServer, shortest: 200 * ms, longest: 1000 * ms, begin: (*soak).outOfMemory},
	{name: "flush", hits: theKeys, shortest: 1 * ms, longest: 1 * ms, wipes: true, begin: (*soak).flush},
	{name: "evict", hits: theKeys, shortest: 1 * ms, longest: 1 * ms, wipes: true, begin: (*soak).evict},
	{name: "refuse", hits: aProxy, shortest: 20 * ms, longest: 800 * ms, begin: (*soak).refuse},
	{name: "cut", hits: aProxy, shortest: 200 * ms, longest: 1000 * ms, begin: (*soak).cut},
	{name: "delay", hits: aProxy, shortest: 200 * ms, longest: 1500 * ms, begin: (*soak).delay},
	{name: "half-open", hits: aProxy, shortest: 200 * ms, longest: 1200 * ms, begin: (*soak).halfOpen},
	{name: "resend", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: (*soak).resend},
	{name: "lease", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Lease)},
	{name: "fill", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Fill)},
	{name: "hold", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Hold)},
	{name: "invalidate", hits: aProxy, shortest: 500 * ms, longest: 3000 * ms, begin: holdUp(proxy.Invalidate)},
	{name: "migrate", hits: theServer, shortest: 1 * ms, longest: 1 * ms, clusterOnly: true, begin: (*soak).migrate},
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
			if m.kind.wipes {
				s.tell(history.WipeBegin, m.wiped(), m.number)
			}
			ends[m.number] = m.kind.begin(s, m.fault)
			continue
		}
		if end := ends[m.number]; end != nil {
			end()
		}
		if m.kind.wipes {
			s.tell(history.WipeEnd, m.wiped(), m.number)
		}
		s.tell(history.FaultEnd, history.AllKeys, m.number)
	}
}

func (f fault) wiped() uint16 {
	if f.kind.name == "evict" {
		return uint16(f.target)
	}
	return history.AllKeys
}

func (s *soak) tell(kind history.Kind, key uint16, version int64) {
	s.rec.Tell(history.Event{Kind: kind, Key: key, Version: version})
}

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
	node := s.primaries()[f.luck%len(s.primaries())]
	node.Kill()
	return func() {
		node.Restart()
		if !s.plan.cluster { // else it is about the keys of one node, which is not worth telling apart
			s.rec.Tell(history.Event{Kind: history.Invalidated, Key: history.AllKeys, Start: began})
		}
	}
}

func (s *soak) stopRedis(f fault) func() {
	node := s.primaries()[f.luck%len(s.primaries())]
	node.Stop()
	return node.Continue
}

// shortOfMemory has Redis evict whatever it likes.
func (s *soak) shortOfMemory(fault) func() { return s.memory("allkeys-random") }

// outOfMemory has Redis refuse to store.
func (s *soak) outOfMemory(fault) func() { return s.memory("noeviction") }

func (s *soak) memory(policy string) func() {
	set := func(memory, policy string) {
		s.onEach(func(ctx context.Context, node *redis.Client) error {
			if err := node.ConfigSet(ctx, "maxmemory-policy", policy).Err(); err != nil {
				return err
			}
			return node.ConfigSet(ctx, "maxmemory", memory).Err()
		})
	}
	set("1mb", policy) // less than an empty server takes
	return func() { set("0", "noeviction") }
}

func (s *soak) flush(fault) func() {
	began := history.Now()
	if s.onEach(func(ctx context.Context, node *redis.Client) error { return node.FlushAll(ctx).Err() }) {
		s.rec.Tell(history.Event{Kind: history.Invalidated, Key: history.AllKeys, Start: began})
	}
	return nil
}

// evict deletes an entry, as an eviction does, or redis-cli. Any DEL is an invalidation.
func (s *soak) evict(f fault) func() {
	began := history.Now()
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if s.direct.Del(ctx, entryName(f.target)).Err() == nil {
		s.rec.Tell(history.Event{Kind: history.Invalidated, Key: uint16(f.target), Start: began})
	}
	return nil
}

const adminTimeout = 100 * ms // Redis may be stopped or gone

// onEach reports whether fn could be done on all nodes.
func (s *soak) onEach(fn func(ctx context.Context, node *redis.Client) error) bool {
	all := true
	for _, node := range s.primaries() {
		rdb := redis.NewClient(&redis.Options{Addr: node.Addr, MaxRetries: -1})
		ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
		all = fn(ctx, rdb) == nil && all
		cancel()
		rdb.Close()
	}
	return all
}

// migrate moves a slot. For a while some of its keys are here and some there.
func (s *soak) migrate(f fault) func() {
	s.ring.Settle()
	s.ring.Migrate(entryName(f.luck%s.plan.rows()), func() { time.Sleep(time.Duration(f.luck%300) * ms) })
	s.ring.Settle()
	return nil
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
		over := s.losing(f, s.ring.Nodes[i], history.Planned)
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
	over := s.losing(f, old, 0)
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
		s.direct.(*redis.ClusterClient).ReloadState(context.Background())
	}
}

// losing tells that what a primary confirms may be lost, until over is called.
func (s *soak) losing(f fault, primary *testserver.RedisServer, flag uint8) (over func()) {
	var keys []uint16
	for key := range s.plan.rows() {
		if s.ring.Primary(entryName(key)) == primary {
			keys = append(keys, uint16(key))
		}
	}
	tell := func(kind history.Kind) {
		for _, key := range keys {
			s.rec.Tell(history.Event{Kind: kind, Flag: flag, Key: key, Version: f.number})
		}
	}
	tell(history.LossBegin)
	return func() { tell(history.LossEnd) }
}

func entryName(key int) string { return fmt.Sprintf("soak:%d", key) }

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
