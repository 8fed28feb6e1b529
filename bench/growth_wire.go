package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/asidecache/aside"
)

// wireCalls is how many calls each figure is of.
const wireCalls = 2000

// growWire takes the constants of docs/scaling.md: what one call sends, gets and costs Redis.
func growWire(r *run) error {
	t := &table{title: "Bytes of a call",
		columns: []string{"library", "call", "bytes of JSON", "commands", "round trips", "bytes to Redis", "bytes back", "Redis µs", ""},
		notes: []string{fmt.Sprintf("Of %d calls, one after the other, after another one of each kind, which teaches Redis the "+
			"scripts. Bytes are those of INFO stats, without TCP and IP. Redis µs is its CPU by INFO cpu; with one command under "+
			"way at a time that is mostly the system calls to read and answer it, which a busy Redis shares among commands.", wireCalls)}}
	for _, size := range []int{100, 1 << 10, 16 << 10} {
		for _, l := range wired {
			if err := r.wire(t, l, size); err != nil {
				return err
			}
		}
	}
	r.report.print(t)
	return nil
}

// A wiring is a way to use a library, and what is called of it, in this order, for each of the same keys.
type wiring struct {
	open  func(env) (*counted, error)
	calls []wireCall
}

type wireCall struct {
	name string
	call func(ctx context.Context, p peer, id int64) error
}

var wired = []wiring{
	{countedRaw, []wireCall{{"miss", getOnce}, {"hit", getOnce}, {"invalidate", invalidateOnce}}},
	{
		func(e env) (*counted, error) { return newCountedAside(e, aside.WithTTL(ttl)) },
		[]wireCall{{"miss", getOnce}, {"hit", getOnce}, {"invalidate", invalidateOnce}},
	},
	{
		func(e env) (*counted, error) { return newCountedAside(e, aside.WithTTL(ttl), aside.WithTags(oneTag)) },
		[]wireCall{{"miss, one tag", getOnce}, {"", invalidateOnce}},
	},
	{
		func(e env) (*counted, error) {
			return newCountedAside(e, aside.WithTTL(time.Millisecond), aside.WithStale(ttl))
		},
		[]wireCall{{"", getOnce}, {"stale hit, refreshed", getRefreshed}},
	},
}

func oneTag(id int64, _ Product) []string { return []string{fmt.Sprint("category:", id%10)} }

func getOnce(ctx context.Context, p peer, id int64) error {
	_, err := p.Get(ctx, id)
	return err
}

func invalidateOnce(ctx context.Context, p peer, id int64) error { return p.Invalidate(ctx, id) }

// getRefreshed waits for the refresh that it starts: what comes next is not to meet it.
func getRefreshed(ctx context.Context, p peer, id int64) error {
	cache := p.(*asidePeer).cache
	before := cache.Stats().Fills
	if _, err := cache.Get(ctx, id); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Second); cache.Stats().Fills == before; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("key %d is not refreshed", id)
		}
	}
	return nil
}

// portion is how many calls are counted at a time.
const portion = 40

func (r *run) wire(t *table, l wiring, size int) error {
	if err := r.admin.FlushAll(r.ctx).Err(); err != nil {
		return err
	}
	s := newSource(size, 0)
	o, err := l.open(env{addr: r.addr, prefix: "bench-wire", codec: codecs["json"], load: s.load})
	if err != nil {
		return err
	}
	defer o.Close()
	o.source = s
	n := wireCalls
	if r.quick {
		n /= 10
	}
	for _, c := range l.calls { // the scripts first
		if err := c.call(r.ctx, o.peer, -1); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond) // and what is to be stale is
	}
	idle, err := r.idle()
	if err != nil {
		return err
	}
	for _, c := range l.calls {
		var sent, trips float64
		var used traffic
		var cpu time.Duration
		for from := 0; from < n; from += portion {
			for i := 0; i < 10 && (c.name == "" || strings.HasPrefix(c.name, "miss")); i++ { // where all reads miss, aside asks for leases at once
				if err := getOnce(r.ctx, o.peer, -1); err != nil {
					return err
				}
			}
			before, cpuBefore, err := r.usage()
			if err != nil {
				return err
			}
			o.restart()
			for id := from; id < from+portion; id++ {
				if err := c.call(r.ctx, o.peer, int64(1000+id)); err != nil {
					return err
				}
			}
			sent, trips = sent+float64(o.sent.Load()), trips+float64(o.trips.Load())
			after, cpuAfter, err := r.usage()
			if err != nil {
				return err
			}
			used.in, used.out = used.in+after.in-before.in-idle.in, used.out+after.out-before.out-idle.out
			cpu += cpuAfter - cpuBefore
		}
		if calls := float64(n); c.name != "" {
			t.add(o.name, c.name, fmt.Sprint(jsonSize(newProduct(0, size))), figure(sent/calls), figure(trips/calls),
				figure(used.in/calls), figure(used.out/calls), figure(micros(cpu)/calls), "")
		}
	}
	return nil
}

// usage is Redis' traffic and CPU.
func (r *run) usage() (traffic, time.Duration, error) {
	cpu, err := redisCPU(r.ctx, r.admin)
	if err != nil {
		return traffic{}, 0, err
	}
	t, err := r.traffic()
	return t, cpu, err
}

// idle is the traffic of usage itself.
func (r *run) idle() (traffic, error) {
	before, _, err := r.usage()
	if err != nil {
		return traffic{}, err
	}
	after, _, err := r.usage()
	return traffic{after.in - before.in, after.out - before.out}, err
}
