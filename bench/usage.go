package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// clientCPU is what this process has used.
func clientCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// redisCPU is what the Redis server has used, by INFO cpu.
func redisCPU(ctx context.Context, admin *redis.Client) (time.Duration, error) {
	info, err := admin.Info(ctx, "cpu").Result()
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(info) {
		field, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if field == "used_cpu_sys" || field == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			sum += seconds
		}
	}
	return time.Duration(sum * float64(time.Second)), nil
}

// commandsRun counts, by INFO commandstats, what Redis has executed, inside of scripts too. What
// clients send for themselves, to say hello and to stay connected, is left out, and so is the
// counting.
func commandsRun(ctx context.Context, admin *redis.Client) (int, error) {
	info, err := admin.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, err
	}
	sum := 0
	for line := range strings.Lines(info) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		count, _, ok := strings.Cut(rest, ",")
		if n, err := strconv.Atoi(count); ok && err == nil && counts(name) {
			sum += n
		}
	}
	return sum, nil
}

// callsOf counts, by INFO commandstats, how often Redis has executed a command.
func callsOf(ctx context.Context, admin *redis.Client, command string) (int, error) {
	info, err := admin.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			count, _, _ := strings.Cut(rest, ",")
			return strconv.Atoi(count)
		}
	}
	return 0, nil
}

func counts(command string) bool {
	command, sub, _ := strings.Cut(strings.ToLower(command), "|")
	switch command {
	case "hello", "ping", "info", "command", "monitor", "config", "flushall", "auth", "select":
		return false
	case "client":
		return sub == "caching" // part of reading a key with client-side caching
	}
	return true
}

// A wiretap counts the commands that clients send to Redis, which MONITOR tells from those that scripts run.
type wiretap struct {
	conn net.Conn
	sent chan int
	mark string
}

// tap begins to count.
func tap(addr string) (*wiretap, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	w := &wiretap{conn: conn, sent: make(chan int), mark: fmt.Sprintf("bench-mark-%d", time.Now().UnixNano())}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<24) // a line of MONITOR holds the whole command
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		return nil, err
	}
	if !lines.Scan() || lines.Text() != "+OK" {
		return nil, fmt.Errorf("MONITOR answered %q", lines.Text())
	}
	go func() { w.sent <- w.count(lines) }()
	return w, nil
}

// count reads until the mark. A line is `+<time> [<db> <address or lua>] "command" "argument"...`.
func (w *wiretap) count(lines *bufio.Scanner) (sent int) {
	for lines.Scan() {
		if strings.Contains(lines.Text(), w.mark) {
			return sent
		}
		_, rest, _ := strings.Cut(lines.Text(), "[")
		from, command, ok := strings.Cut(rest, "] ")
		if !ok || strings.HasSuffix(from, " lua") {
			continue
		}
		words := strings.Split(command, `"`)
		if len(words) < 2 {
			continue
		}
		name := words[1]
		if len(words) > 3 {
			name += "|" + words[3]
		}
		if counts(strings.ToLower(name)) {
			sent++
		}
	}
	return sent
}

// stop returns the count of what was sent before it.
func (w *wiretap) stop(ctx context.Context, admin *redis.Client) (int, error) {
	defer w.conn.Close()
	if err := admin.Exists(ctx, w.mark).Err(); err != nil {
		return 0, err
	}
	return <-w.sent, nil
}
