package aside_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/testserver"
)

// InvalidateAll where commands are lost, and servers replaced.

// A lossy network loses one in so many round trips of each kind: scans, and removals.
type lossy struct {
	mu    sync.Mutex
	oneIn int            // 0: nothing is lost
	trips map[string]int // by their first command
	lost  map[string]int
	begun int // scans from the start of the key space that were not lost
}

func (l *lossy) send(_ context.Context, cmds []redis.Cmder, send sender) error {
	if l.loses(cmds[0]) {
		return refuse(errDown, cmds...)
	}
	return send(cmds...)
}

func (l *lossy) loses(first redis.Cmder) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.oneIn > 0 && !internal(first) {
		if l.trips[first.Name()]++; l.trips[first.Name()]%l.oneIn == 0 {
			l.lost[first.Name()]++
			return true
		}
	}
	if first.Name() == "scan" && first.Args()[1] == uint64(0) {
		l.begun++
	}
	return false
}

// lose has one in so many round trips be lost from now on, none if it is 0, and returns what has been lost since it was last called.
func (l *lossy) lose(oneIn int) (lost map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost = l.lost
	l.oneIn, l.trips, l.lost = oneIn, make(map[string]int), make(map[string]int)
	return lost
}

// putMany stores so many entries that a walk over them takes many commands.
func putMany(t *testing.T, rdb redis.UniversalClient, n int) {
	t.Helper()
	for chunk := range slices.Chunk(idsFrom(0, n), 1000) {
		_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for _, id := range chunk {
				p.Set(t.Context(), "test:"+strconv.Itoa(id), "x", 0)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// left counts the keys of a server, or of all primaries of a Cluster.
func left(t *testing.T, rdb redis.UniversalClient) int64 {
	t.Helper()
	n, err := rdb.DBSize(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestInvalidateAllEndsThoughCommandsAreLost(t *testing.T) {
	for name, rig := range map[string]func(*testing.T) *rig{"redis": realRig, "cluster": clusterRig} {
		t.Run(name, func(t *testing.T) {
			r, l := rig(t), new(lossy)
			rdb, primaries := r.dial(t), 1
			if name == "cluster" {
				primaries = 3
			}
			onEachServer(rdb, l.send)
			c := newCache(t, rdb, newTable().load, patient)
			_, _ = c.Get(t.Context(), 1) // so that a Cluster is known
			putMany(t, r.raw, 20_000)
			l.lose(10)
			equal(t, "its error", c.InvalidateAll(t.Context()), nil)
			if lost := l.lose(0); lost["scan"] == 0 || len(lost) < 2 {
				t.Errorf("%v were lost, so this test shows nothing", lost)
			}
			equal(t, "the keys that are left", left(t, r.raw), 0)
			equal(t, "PendingInvalidations", c.Stats().PendingInvalidations, 0)
			if l.begun != 2*primaries && name == "redis" {
				t.Errorf("%d walks began", l.begun)
			}
		})
	}
}

// A replica that was promoted knows nothing of the cursor of the one before it. go-redis dials again by itself, so no command
// need fail.
func TestInvalidateAllBeginsAgainOnAServerThatHasTakenOver(t *testing.T) {
	t.Parallel()
	before, after := testserver.Redis(t), testserver.Redis(t)
	const entries = 20_000
	var addr atomic.Value
	addr.Store(before.Addr)
	var mu sync.Mutex
	var conns []net.Conn
	dialled := redis.NewDialer(&redis.Options{})
	rdb := closed(t, redis.NewClient(&redis.Options{Addr: before.Addr, Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := dialled(ctx, network, addr.Load().(string))
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, conn)
		return conn, err
	}}))
	successor := closed(t, redis.NewClient(&redis.Options{Addr: after.Addr}))
	for _, rdb := range []*redis.Client{rdb, successor} {
		putMany(t, rdb, entries)
		putOthers(t, rdb, entries)
	}
	var once sync.Once
	walks := new(lossy)
	rdb.AddHook(through(walks.send))
	scans := 0
	rdb.AddHook(beforeScans(func() { // in the second walk: what the first missed, it would find
		if walks.begun == 2 {
			scans++
		}
		if scans < 6 {
			return
		}
		once.Do(func() {
			addr.Store(after.Addr)
			mu.Lock()
			defer mu.Unlock()
			for _, conn := range conns {
				conn.Close()
			}
		})
	}))
	c := newCache(t, redis.UniversalClient(rdb), newTable().load, patient)
	equal(t, "its error", c.InvalidateAll(t.Context()), nil)
	equal(t, "the keys that are left", left(t, successor), entries)
}

// putOthers puts keys that are no entries.
func putOthers(t *testing.T, rdb redis.UniversalClient, n int) {
	t.Helper()
	args := make([]any, 0, 2*n)
	for i := range n {
		args = append(args, "others"+strconv.Itoa(i), "x")
	}
	if err := rdb.MSet(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
}

// Where a server does not tell its run, nobody knows whether the one that answers is that of the cursor.
func TestAScanThatWasLostBeginsAgainWhereTheRunIsNotKnown(t *testing.T) {
	r, l := realRig(t), new(lossy)
	rdb := r.dial(t)
	rdb.AddHook(through(l.send))
	rdb.AddHook(through(func(_ context.Context, cmds []redis.Cmder, send sender) error {
		err := send(cmds...)
		if info, ok := cmds[len(cmds)-1].(*redis.StringCmd); ok && len(cmds) > 1 && info.Name() == "info" {
			info.SetVal("")
			info.SetErr(redisError("NOPERM this user has no permissions to run the 'info' command"))
		}
		return err
	}))
	c := newCache(t, rdb, newTable().load, patient)
	putMany(t, r.raw, 5000)
	scans := 0
	rdb.AddHook(through(func(_ context.Context, cmds []redis.Cmder, send sender) error {
		if cmds[0].Name() == "scan" {
			if scans++; scans == 2 {
				return refuse(errDown, cmds...)
			}
		}
		return send(cmds...)
	}))
	equal(t, "its error", c.InvalidateAll(t.Context()), nil)
	equal(t, "the keys that are left", left(t, r.raw), 0)
	equal(t, "whether a scan was lost", scans >= 2, true)
	equal(t, "the walks that began", l.begun, 3) // two, and one of them once more
}

func TestInvalidateAllOfARedisThatIsDownEndsSoon(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		c, w := inWeather(r, newTable().load)
		w.hang("scan")
		var err error
		took := took(func() { err = c.InvalidateAll(t.Context()) })
		if err == nil || took > 5*redisTimeout+redisTimeout {
			t.Errorf("it returned %v after %v", err, took)
		}
		if !strings.Contains(err.Error(), "no answer") {
			t.Errorf("the error is %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), redisTimeout+redisTimeout/8)
		defer cancel()
		if err := c.InvalidateAll(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline it returned %v", err)
		}
	})
}

func TestAScanThatFailsIsARedisError(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var told []error
		c, tap := process(r, newTable().load, aside.WithObserver(aside.Observer{
			RedisError: func(_ context.Context, r aside.RedisErrorInfo) { told = append(told, r.Err) },
		}))
		refusal := redisError("NOPERM this user has no permissions to run the 'scan' command")
		tap.answer("scan", refusal)
		if err := c.InvalidateAll(t.Context()); !errors.Is(err, refusal) {
			t.Errorf("InvalidateAll returned %v", err)
		}
		equal(t, "RedisErrors", c.Stats().RedisErrors, 1)
		if len(told) != 1 || told[0] != error(refusal) {
			t.Errorf("the Observer was told of %v", told)
		}
	})
}
