package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// machine says what the figures were taken on.
func machine(ctx context.Context, admin *redis.Client) []string {
	lines := []string{
		fmt.Sprintf("CPU: %s, %d cores", fieldOf("/proc/cpuinfo", "model name"), runtime.NumCPU()),
		fmt.Sprintf("memory: %d GB", memory("MemTotal")>>30),
		fmt.Sprintf("OS: %s %s", runtime.GOOS, firstLine("/proc/sys/kernel/osrelease")),
		"Go: " + runtime.Version(),
		"Redis: " + redisVersion(ctx, admin) + ", on the loopback of the same machine, without persistence",
	}
	if load := firstLine("/proc/loadavg"); load != "" {
		lines = append(lines, "load average when it began: "+strings.Join(strings.Fields(load)[:3], " "))
	}
	return append(lines, "modules: "+strings.Join(modules(), ", "))
}

var compared = regexp.MustCompile(`go-redis|rueidis|go-zero|sturdyc|rockscache|otter|sonic$|msgpack|jackc/pgx/`)

// modules are the compared ones with their versions.
func modules() (found []string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, dep := range info.Deps {
		if compared.MatchString(dep.Path) {
			found = append(found, dep.Path+" "+dep.Version)
		}
	}
	return found
}

func redisVersion(ctx context.Context, admin *redis.Client) string {
	info, _ := admin.Info(ctx, "server").Result()
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func postgresVersion() string {
	out, err := exec.Command("sh", "-c", "$(ls -d /usr/lib/postgresql/*/bin/postgres | tail -1) --version").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// memory is a field of /proc/meminfo in bytes; 0 where there is no such file.
func memory(field string) int64 {
	kb, _, _ := strings.Cut(fieldOf("/proc/meminfo", field), " ")
	n, _ := strconv.ParseInt(kb, 10, 64)
	return n << 10
}

// fieldOf returns the value of the first line `name: value` or `name=value` in a file.
func fieldOf(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			return strings.Trim(rest, ":= \t\"")
		}
	}
	return "unknown"
}

func firstLine(path string) string {
	b, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}
