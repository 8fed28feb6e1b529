package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside/internal/near"
	"github.com/asidecache/aside/internal/near/nearscript"
)

var nearProcessesWorkload = workload{
	name:  "near-processes",
	title: "Near copies in many processes",
	extra: true,
	about: "10 to 500 processes, all of which have near copies, and 1 to 1,000 invalidations a second by all of them together. What " +
		"commands cost Redis is measured first. Then the rules are run in virtual time on a Redis with these costs. Some rows " +
		"are run with the real code on a real Redis as well, all processes being clients in this one.",
	run: (*run).manyProcesses,
}

const (
	nearTrip   = 200 * time.Microsecond
	nearDelta  = "1000"
	nearLife   = "86400000"
	nearNobody = ""
)

func (r *run) manyProcesses() error {
	costs, err := r.nearCosts()
	if err != nil {
		return err
	}
	length := 10 * time.Second
	if r.quick {
		length = time.Second
	}
	t := &table{columns: []string{"", "processes", "invalidations/s", "wait p50 ms", "p99 ms", "commands/s", "messages/s", "Redis CPU"},
		notes: []string{fmt.Sprintf("Measured costs: NEWS %v, NOTE %v, LOW %v, and %v for each process that is sent a message. Simulated with a "+
			"round trip of %v. The wait is what near copies add to an Invalidate: NOTE, and LOW until all have forgotten.",
			costs.news.Round(100*time.Nanosecond), costs.note.Round(100*time.Nanosecond), costs.low.Round(100*time.Nanosecond),
			costs.message.Round(10*time.Nanosecond), nearTrip)}}
	ms := func(d time.Duration) string { return figure(micros(d) / 1000) }
	for _, n := range []int{10, 50, 200, 500} {
		for _, rate := range []float64{1, 10, 100, 1000} {
			s := simulate(costs, nearTrip, n, rate, length)
			seconds := length.Seconds()
			t.add("simulated", strconv.Itoa(n), figure(rate), ms(s.wait(0.5)), ms(s.wait(0.99)), figure(float64(s.commands)/seconds),
				figure(float64(s.toldReader)/seconds), fmt.Sprintf("%.1f %%", 100*s.used.Seconds()/seconds))
			if n > 50 || rate*float64(n) > 10_000 {
				continue
			}
			real, err := r.realProcesses(n, rate, length)
			if err != nil {
				return err
			}
			t.add("real", strconv.Itoa(n), figure(rate), ms(real.waits.quantile(0.5)), ms(real.waits.quantile(0.99)), figure(real.commands/real.seconds),
				"", fmt.Sprintf("%.1f %%", 100*real.cpu.Seconds()/real.seconds))
		}
	}
	r.report.print(t)
	return nil
}

// nearCosts measures what each command costs Redis beside 50 readers. Commands are pipelined, as a busy Redis reads and answers them.
// A message is a write to its connection, so it is taken from a PUBLISH that is sent by itself.
func (r *run) nearCosts() (c nearCosts, err error) {
	const readers, atOnce = 50, 100
	key, n := "bench-near-costs", 10_000
	if r.quick {
		n = 1000
	}
	rdb := newGoRedis(r.addr)
	defer rdb.Close()
	if err := rdb.Del(r.ctx, key).Err(); err != nil {
		return c, err
	}
	note := func(c redis.Scripter, i int) *redis.Cmd {
		return noteScript.EvalSha(r.ctx, c, []string{key}, nearLife, nearDelta, nearNobody, 1<<14, fmt.Sprint("n-", i), fmt.Sprint("=bench:", i), 1<<14)
	}
	for _, s := range []*redis.Script{newsScript, noteScript, lowScript} {
		if err := s.Load(r.ctx, rdb).Err(); err != nil {
			return c, err
		}
	}
	last, err := note(rdb, -1).Slice()
	if err != nil {
		return c, err
	}
	id := last[0].(string)
	news := func(c redis.Scripter, i int) *redis.Cmd {
		return newsScript.EvalSha(r.ctx, c, []string{key}, nearLife, nearDelta, 1000, fmt.Sprint("r", i%readers), "x", id, "n--1", "", "")
	}
	low := func(c redis.Scripter, i int) *redis.Cmd {
		return lowScript.EvalSha(r.ctx, c, []string{key}, nearDelta, nearNobody, id, "n--1")
	}
	measure := func(batch int, call func(redis.Scripter, int) *redis.Cmd) (time.Duration, error) {
		before, err := redisCPU(r.ctx, r.admin)
		if err != nil {
			return 0, err
		}
		for i := 0; i < n; i += batch {
			pipe := rdb.Pipeline()
			for j := range batch {
				call(pipe, i+j)
			}
			if _, err := pipe.Exec(r.ctx); err != nil {
				return 0, err
			}
		}
		after, err := redisCPU(r.ctx, r.admin)
		return (after - before) / time.Duration(n), err
	}
	if c.news, err = measure(atOnce, news); err != nil {
		return c, err
	}
	if c.low, err = measure(atOnce, low); err != nil {
		return c, err
	}
	notes := 0
	anew := func(s redis.Scripter, _ int) *redis.Cmd { notes++; return note(s, notes) }
	if c.note, err = measure(atOnce, anew); err != nil {
		return c, err
	}
	publish := func(s redis.Scripter, _ int) *redis.Cmd {
		return s.(redis.Pipeliner).Do(r.ctx, "PUBLISH", key, "1800000000000000 1799999999999999 nonce nonce =bench:1")
	}
	silent, err := measure(1, publish)
	if err != nil {
		return c, err
	}
	var subs sync.WaitGroup
	defer subs.Wait()
	for range readers {
		sub := rdb.Subscribe(r.ctx, key)
		defer sub.Close()
		if _, err := sub.Receive(r.ctx); err != nil {
			return c, err
		}
		subs.Go(func() {
			for _, err := sub.ReceiveMessage(r.ctx); err == nil; {
				_, err = sub.ReceiveMessage(r.ctx)
			}
		})
	}
	heard, err := measure(1, publish)
	c.message = max(0, heard-silent) / readers
	return c, err
}

var (
	newsScript = redis.NewScript(nearscript.Head + nearscript.News)
	noteScript = redis.NewScript(nearscript.Head + nearscript.Note)
	lowScript  = redis.NewScript(nearscript.Head + nearscript.Low)
)

// A reality is what real processes came to.
type reality struct {
	waits         histogram
	commands      float64
	seconds       float64
	cpu           time.Duration
	first         error
	mu            sync.Mutex
	invalidations sync.WaitGroup
}

// realProcesses runs the real code with n clients.
func (r *run) realProcesses(n int, perSecond float64, length time.Duration) (*reality, error) {
	if err := r.admin.FlushAll(r.ctx).Err(); err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(r.ctx)
	defer end()
	var logs []*near.Log
	var all []*near.Copies[int, string]
	for range n {
		rdb := newGoRedis(r.addr)
		defer rdb.Close()
		log := near.Join(near.Config{Client: rdb, Key: "bench-near"})
		defer log.Leave(r.ctx)
		logs, all = append(logs, log), append(all, near.NewCopies[int, string](log, "bench:", 100, time.Minute))
		all[len(all)-1].Get(1) // has the reader begin
	}
	time.Sleep(2 * near.Delta) // nobody waits because of a young LOG
	r0, cpu, err := r.evals()
	if err != nil {
		return nil, err
	}
	re, start := &reality{}, time.Now()
	for due := start; time.Since(start) < length; {
		due = due.Add(time.Duration(rand.ExpFloat64() / perSecond * float64(time.Second)))
		if pause := min(time.Until(due), length-time.Since(start)); pause > 0 {
			time.Sleep(pause)
		}
		if time.Until(due) > 0 {
			break
		}
		log := logs[rand.IntN(n)]
		re.invalidations.Go(func() {
			begun := time.Now()
			err := log.Tell(ctx, near.About{Names: []string{"bench:1"}})
			took := time.Since(begun)
			re.mu.Lock()
			defer re.mu.Unlock()
			re.waits.record(took)
			if re.first == nil {
				re.first = err
			}
		})
	}
	re.invalidations.Wait()
	re.seconds = time.Since(start).Seconds()
	r1, cpuAfter, err := r.evals()
	if err != nil {
		return nil, err
	}
	re.commands, re.cpu = float64(r1-r0), cpuAfter-cpu
	return re, re.first
}

// evals are the scripts that Redis has run, and its CPU.
func (r *run) evals() (n int, cpu time.Duration, err error) {
	if cpu, err = redisCPU(r.ctx, r.admin); err != nil {
		return 0, 0, err
	}
	n, err = callsOf(r.ctx, r.admin, "evalsha")
	return n, cpu, err
}
