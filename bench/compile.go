package main

import (
	"errors"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

var compileWorkload = workload{
	name:  "compile",
	title: "What a cached type costs to compile",
	about: "Programs with 1 and with 20 caches, each of a struct of its own, which they read by Get and GetMany and invalidate. " +
		"What is measured is the compiler's run for the program itself, all else being in the build cache, and the program " +
		"without symbols. The compiler works with all cores, so its CPU time counts, and not how long it takes. " +
		"The smallest of three runs is shown.",
	run: runCompile,
}

const (
	compileLog  = "ASIDE_BENCH_COMPILE" // set for the toolexec of a build: where it notes what the compiler has used
	compileRuns = 3
)

// A compiled is what the build of a program took, and gave.
type compiled struct {
	cpu    time.Duration // of the compiler
	memory int           // KB that it had at most
	bytes  int64         // of the program
}

func runCompile(r *run) error {
	t := &table{columns: []string{"caches", "compiler's CPU, s", "compiler's memory, MB", "program, KB"}}
	programs := map[int]compiled{}
	runs := compileRuns
	if r.quick {
		runs = 1
	}
	for _, caches := range []int{1, 20} {
		p, err := compileProgram(caches, runs)
		if err != nil {
			return err
		}
		programs[caches] = p
		t.add(fmt.Sprint(caches), figure(p.cpu.Seconds()), figure(float64(p.memory)/1024), figure(float64(p.bytes)/1024))
	}
	one, twenty := programs[1], programs[20]
	t.add("each after the first", figure((twenty.cpu-one.cpu).Seconds()/19),
		figure(float64(twenty.memory-one.memory)/1024/19), figure(float64(twenty.bytes-one.bytes)/1024/19))
	r.report.print(t)
	return nil
}

// compileProgram builds a program, in a package of this module, so that it gets the library that is here.
func compileProgram(caches, runs int) (best compiled, err error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/asidecache/aside/bench").Output()
	if err != nil {
		return best, fmt.Errorf("where the module of the benchmark is: %w", err)
	}
	dir, err := os.MkdirTemp(strings.TrimSpace(string(root)), "compiled-")
	if err != nil {
		return best, err
	}
	defer os.RemoveAll(dir)
	for i := range runs {
		p, err := compileOnce(dir, programOf(caches, i))
		if err != nil {
			return best, err
		}
		if i == 0 || p.cpu < best.cpu {
			best = p
		}
	}
	return best, nil
}

// compileOnce builds one program whose text was never built before, so that the build cache has all but that.
func compileOnce(dir, text string) (compiled, error) {
	source, err := format.Source([]byte(text))
	if err != nil {
		return compiled{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), source, 0o644); err != nil {
		return compiled{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return compiled{}, err
	}
	used, program := filepath.Join(dir, "used"), filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-toolexec", self, "-ldflags", "-s -w", "-o", program, "./"+filepath.Base(dir))
	build.Dir, build.Env = filepath.Dir(dir), append(os.Environ(), compileLog+"="+used)
	if out, err := build.CombinedOutput(); err != nil {
		return compiled{}, fmt.Errorf("%w: %s", err, out)
	}
	note, err := os.ReadFile(used)
	if err != nil {
		return compiled{}, fmt.Errorf("what the compiler has used: %w", err)
	}
	var c compiled
	if _, err := fmt.Sscan(string(note), &c.cpu, &c.memory); err != nil {
		return compiled{}, fmt.Errorf("what the compiler has used: %w", err)
	}
	info, err := os.Stat(program)
	if err != nil {
		return compiled{}, err
	}
	c.bytes = info.Size()
	return c, nil
}

// programOf is a program with so many caches, the same for each n except for a constant.
func programOf(caches, n int) string {
	var types, uses strings.Builder
	for i := range caches {
		fmt.Fprintf(&types, "type row%[1]d struct { ID, Stock%[1]d int; Name string; Price float64; Tags []string }\n"+
			"func load%[1]d(_ context.Context, id int) (row%[1]d, error) { return row%[1]d{ID: id}, nil }\n", i)
		fmt.Fprintf(&uses, "rows%[1]d := aside.Must(aside.New(rdb, \"row%[1]d\", load%[1]d))\nrows%[1]d.Get(ctx, 1)\n"+
			"rows%[1]d.GetMany(ctx, []int{1})\nrows%[1]d.Invalidate(ctx, 1)\n", i)
	}
	return fmt.Sprintf("package main\n\nimport (\n\"context\"\n\n\"github.com/redis/go-redis/v9\"\n\n\"github.com/asidecache/aside\"\n)\n\n"+
		"const built = %d\n\n%s\nfunc main() {\nctx, rdb := context.Background(), redis.NewClient(&redis.Options{DB: built %% 10})\n%s}\n",
		time.Now().UnixNano()+int64(n), types.String(), uses.String())
}

// runTool is the toolexec of a build: it runs a tool of the toolchain, and notes what the compiler used for the program.
func runTool(args []string) error {
	tool := exec.Command(args[0], args[1:]...)
	tool.Stdin, tool.Stdout, tool.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := tool.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	at := slices.Index(args, "-p")
	isProgram := filepath.Base(args[0]) == "compile" && at > 0 && at+1 < len(args) && args[at+1] == "main"
	if err != nil || !isProgram {
		return err
	}
	usage := tool.ProcessState.SysUsage().(*syscall.Rusage)
	cpu := tool.ProcessState.UserTime() + tool.ProcessState.SystemTime()
	return os.WriteFile(os.Getenv(compileLog), fmt.Appendf(nil, "%d %d\n", cpu, usage.Maxrss), 0o644)
}
