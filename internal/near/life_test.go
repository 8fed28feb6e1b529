package near_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/near/nearscript"
	"github.com/asidecache/aside/internal/testserver"
)

// goroutines counts those of this package.
func goroutines() int {
	stacks := make([]byte, 1<<20)
	n := 0
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "created by github.com/asidecache/aside/internal/near.") {
			n++
		}
	}
	return n
}

func TestThereIsNoGoroutineAndNoConnectionUntilCopiesAreUsed(t *testing.T) {
	r := realRig(t)
	connections := func() (all, subscribed int) {
		list, err := r.raw.(*redis.Client).ClientList(context.Background()).Result()
		r.must(err)
		return strings.Count(list, "\n"), strings.Count(list, "sub=1")
	}
	before, _ := connections()
	var all []*process
	rdb := r.dial()
	for range 3 { // caches of one process
		p := &process{r: r, rdb: rdb, tap: newTap(rdb), log: near.Join(near.Config{Client: rdb, Key: logKey})}
		p.copies = near.NewCopies[int, string](p.log, prefix, 10, time.Minute)
		t.Cleanup(p.leave)
		all = append(all, p)
	}
	if n, _ := connections(); n != before || goroutines() != 0 {
		t.Errorf("%d connections were made, %d goroutines run", n-before, goroutines())
	}
	for _, p := range all {
		p.lease()
		p.warm(1)
	}
	if _, n := connections(); n != 1 || goroutines() != 2 {
		t.Errorf("%d connections wait for messages, %d goroutines run", n, goroutines())
	}
	for _, p := range all {
		p.leave()
	}
	r.until("the connection is gone", func() bool { _, n := connections(); return n == 0 && goroutines() == 0 })
}

func TestAProcessThatOnlyWritesHasNoReader(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a := r.reader()
		a.warm(1)
		rdb := r.dial()
		tap := newTap(rdb)
		log := near.Join(near.Config{Client: rdb, Key: logKey})
		r.set(1, "chair")
		r.must(log.Tell(context.Background(), about(1)))
		a.shows(1, "chair")
		r.must(log.Leave(context.Background()))
		if n := tap.count("news"); n != 0 {
			t.Errorf("it has asked for news %d times", n)
		}
	})
}

func TestAnIdleProcessCostsFewCommandsAndNoneAfterAMinute(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a := r.reader()
		a.warm(1)
		began := a.tap.total()
		for range 200 {
			r.pass(100 * time.Millisecond)
			a.shows(1, "lamp")
		}
		if n := a.tap.total() - began; n > 7*20 {
			t.Errorf("%d commands in 20 s", n)
		}
		r.pass(61 * time.Second)
		began = a.tap.total()
		r.pass(time.Hour)
		if n := a.tap.total() - began; n != 0 || goroutines() != 0 {
			t.Errorf("%d commands in an idle hour, %d goroutines run", n, goroutines())
		}
		if a.copies.Len() != 0 {
			t.Error("copies take memory")
		}
		a.lease()
		a.warm(1)
	})
}

func TestAMessageWakesTheReader(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		a, b := r.reader(), r.reader()
		for i := range 10 {
			a.warm(1)
			began, news := time.Now(), a.tap.count("news")
			b.mustWrite(1, strings.Repeat("x", i))
			if took := time.Since(began); took > 5*time.Millisecond {
				t.Errorf("an invalidation takes %v", took)
			}
			if n := a.tap.count("news") - news; n > 1 {
				t.Errorf("the reader has sent NEWS %d times for one record", n)
			}
			r.pass(near.Beat / 7)
		}
	})
}

// Without messages, as where an ACL does not allow the channel, an invalidation waits for the next beat.
func TestNearCopiesWorkWithoutMessages(t *testing.T) {
	s := testserver.Redis(t)
	admin := redis.NewClient(&redis.Options{Addr: s.Addr})
	t.Cleanup(func() { admin.Close() })
	r := rigOf(t, func() redis.UniversalClient {
		return redis.NewClient(&redis.Options{Addr: s.Addr, Username: "app", Password: "secret"})
	}, func() {
		if err := admin.Do(context.Background(), "ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "resetchannels").Err(); err != nil {
			t.Fatal(err)
		}
	})
	a, b := r.reader(), r.reader()
	for _, row := range []string{"lamp", "chair"} {
		a.warm(1)
		b.mustWrite(1, row)
		a.shows(1, row)
	}
}

func (tp *tap) total() (n int) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	for _, count := range tp.counts {
		n += count
	}
	return n
}

func TestAReaderWhoseNewsAreSlowGivesUpAndComesBack(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		r.set(1, "lamp")
		a, b := r.reader(), r.reader()
		a.tap.then("news", func() { time.Sleep(near.Beat + 100*time.Millisecond) })
		r.until("it has given up", func() bool { a.copies.Get(1); return a.log.Self() == "" })
		news := a.tap.count("news")
		r.pass(5 * time.Second)
		a.get(1)
		b.lease()
		low := b.tap.count("low")
		b.mustWrite(1, "chair")
		a.shows(1, "chair")
		if n := a.tap.count("news"); n != news {
			t.Errorf("it has asked for news %d times since", n-news)
		}
		if n := b.tap.count("low"); n != low {
			t.Error("a reader that has given up is waited for")
		}
		a.tap.then("news", nil)
		r.pass(6 * time.Second)
		a.lease()
		a.warm(1)
	})
}

func TestManyInvalidationsAtOnceShareNoticesAndQuestions(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		a, b := r.reader(), r.reader()
		for id := range 200 {
			r.set(id, "old")
			a.warm(id)
		}
		sent := b.tap.hold("before note")
		var all sync.WaitGroup
		var failed atomic.Int32
		for id := range 200 {
			all.Go(func() {
				if b.write(id, "new") != nil {
					failed.Add(1)
				}
			})
		}
		sent.wait()
		r.until("all rows are written", func() bool { return b.tap.count("set") == 200 })
		if r.virtual {
			synctest.Wait()
		}
		sent.release()
		all.Wait()
		for id := range 200 {
			a.shows(id, "new")
		}
		if n := b.tap.count("note"); failed.Load() > 0 || r.virtual && n > 2 {
			t.Errorf("NOTE was sent %d times, %d invalidations failed", n, failed.Load())
		}
	})
}

func TestNoteMayTravelInThePipelineOfTheRemoval(t *testing.T) {
	for _, on := range []func(*testing.T, func(*testing.T, *rig)){onMiniredis, func(t *testing.T, test func(*testing.T, *rig)) { test(t, realRig(t)) }} {
		on(t, func(t *testing.T, r *rig) {
			a, b := r.reader(), r.reader()
			for _, told := range []bool{true, false} {
				r.set(1, "lamp")
				a.log.Drop(about(1))
				b.log.Drop(about(1))
				a.warm(1)
				b.warm(1)
				notes := b.tap.count("note")
				n := b.log.Note(about(1))
				pipe := b.rdb.Pipeline()
				pipe.Set(context.Background(), name(1), "chair", 0)
				script, keys, args := n.Script()
				cmd := script.Eval(context.Background(), pipe, keys, args...)
				_, err := pipe.Exec(context.Background())
				r.must(err)
				if told {
					n.Told(cmd.Result())
				} else { // a removal had to be sent again
					r.set(1, "table")
					n.Told(nil, errors.New("removed later"))
				}
				r.must(n.Wait(context.Background()))
				want := map[bool]string{true: "chair", false: "table"}[told]
				a.shows(1, want)
				b.shows(1, want)
				if sent := b.tap.count("note") > notes; sent == told {
					t.Errorf("NOTE was sent by itself: %v", sent)
				}
			}
		})
	}
}

func TestLateDuplicatesOfAllScriptsAreHarmless(t *testing.T) {
	onEveryRedis(t, func(t *testing.T, r *rig) {
		a, b := r.process(), r.process()
		for _, p := range []*process{a, b} {
			for _, verb := range []string{"news", "note", "low", "close"} {
				p.tap.again(verb)
			}
			p.lease()
		}
		records := len(r.records())
		for i := range 20 {
			a.warm(1)
			b.mustWrite(1, strings.Repeat("x", i))
			a.shows(1, strings.Repeat("x", i))
		}
		if n := len(r.records()) - records; n != 20 {
			t.Errorf("20 invalidations have made %d records", n)
		}
		b.leave()
		a.mustWrite(1, "alone")
		a.shows(1, "alone")
	})
}

// While a slot moves, a script of two keys would fail with TRYAGAIN.
func TestNearCopiesWorkWhileTheSlotOfLogMoves(t *testing.T) {
	cluster := testserver.Cluster(t, 3)
	r := rigOf(t, func() redis.UniversalClient {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs()})
	})
	a, b := r.reader(), r.reader()
	check := func(row string) {
		t.Helper()
		a.warm(1)
		b.mustWrite(1, row)
		a.shows(1, row)
	}
	check("before")
	cluster.Migrate(logKey, func() {
		for range 5 {
			check("during")
		}
	})
	check("after")
	a.lease()
	b.lease()
	check("later")
}

func TestNearCopiesComeBackAfterRedisWasGone(t *testing.T) {
	s := testserver.Redis(t)
	r := rigAt(t, s.Addr)
	r.set(1, "lamp")
	a, b := r.reader(), r.reader()
	a.warm(1)
	s.Kill()
	r.until("the lease is over", func() bool { return !a.log.Reading() })
	if row, _, ok := a.copies.Get(1); ok {
		t.Errorf("without a lease %q is served", row)
	}
	if err := b.log.Tell(context.Background(), about(1)); err == nil {
		t.Error("an invalidation of which nobody can be told returns no error")
	}
	s.Restart()
	r.must(near.Load(context.Background(), r.raw))
	a.lease()
	b.lease()
	a.warm(1)
	b.mustWrite(1, "chair")
	a.shows(1, "chair")
}

func TestNearCopiesGoOnAfterAFailover(t *testing.T) {
	s := testserver.Sentinel(t)
	r := rigOf(t, func() redis.UniversalClient {
		return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "aside", SentinelAddrs: []string{s.Addr}})
	})
	a, b := r.reader(), r.reader()
	a.warm(1)
	s.Failover()
	a.lease()
	b.lease()
	for _, row := range []string{"chair", "table"} {
		a.warm(1)
		b.mustWrite(1, row)
		a.shows(1, row)
	}
}

// Where hundreds of processes write all the time, a message for each record to each of them would take all of a core.
func TestManyRecordsWithinThePaceAreNotTold(t *testing.T) {
	server := miniredis.RunT(t)
	server.SetTime(time.Unix(1_800_000_000, 0))
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { rdb.Close() })
	ctx := t.Context()
	note := func(nonce string) {
		t.Helper()
		err := near.NoteScript.Eval(ctx, rdb, []string{logKey}, 1_000_000, 1000, "", 100, nonce, "=product:1", 1000).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	sub := rdb.Subscribe(ctx, logKey)
	t.Cleanup(func() { sub.Close() })
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	told := func() (n int) {
		t.Helper()
		rdb.Publish(ctx, logKey, "end")
		for ; ; n++ {
			m, err := sub.ReceiveMessage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if m.Payload == "end" {
				return n
			}
		}
	}
	enter := func() {
		t.Helper()
		for _, reader := range []string{"one", "two", "three"} {
			err := rdb.Eval(ctx, nearscript.Head+nearscript.News, []string{logKey}, 1_000_000, 1000, 10, reader, "first", "", "", "", "").Err()
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	enter() // which makes a record
	for n := range 30 {
		note(fmt.Sprint("a", n))
	}
	if n := told(); n != 15 {
		t.Errorf("%d messages tell of 31 records at once, want 15", n)
	}
	server.SetTime(time.Unix(1_800_000_000, 0).Add(4 * near.Share))
	enter()
	note("b")
	if n := told(); n != 1 {
		t.Errorf("a pace later, %d messages tell of a record", n)
	}
}
