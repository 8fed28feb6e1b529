package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// To build the tests takes longer than to run a catcher by far, so the mutants share one build, in which the environment
// says which of them is alive. A function that mutants break begins there with what they make of its body:
//
//	switch mutantAlive {
//	case 7:
//		return func(ctx context.Context, n int) (err error) { …as mutant 7 has it… }(ctx, n)
//	}
//
// and a script has its piece replaced when it is made. A mutant of anything else is an error.
const (
	aliveVariable = "MUTANT"
	aliveFile     = "mutant_alive.go"
	alive         = `package %s

import (
	"os"
	"strconv"
)

var mutantAlive, _ = strconv.Atoi(os.Getenv("` + aliveVariable + `"))
`

	newScript      = "redis.NewScript("
	mutableScripts = `package %s

import (
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
)

func mutableScript(source string) *redis.Script {
	if old := os.Getenv("MUTANT_OLD"); old != "" {
		source = strings.Replace(source, old, os.Getenv("MUTANT_NEW"), 1)
	}
	return redis.NewScript(source)
}
`
)

// scripts are the files that hold scripts, and those that make them, which have their pieces replaced.
var scripts = map[string][]string{
	"internal/redisstore/scripts.go":         {"internal/redisstore/scripts.go"},
	"internal/near/nearscript/nearscript.go": {"internal/near/note.go", "internal/near/reader.go", "internal/near/wait.go"},
}

// A weaver makes the source of that build.
type weaver struct {
	clauses map[string]map[int][]byte // by file, and where in it a function's body begins
}

// add adds a mutant under its number.
func (w *weaver) add(number int, m mutant) error {
	source, mutated, err := m.source()
	if err != nil {
		return err
	}
	if makers := scripts[m.file]; makers != nil {
		for _, file := range makers {
			w.of(file)
		}
		return nil
	}
	f, err := brokenFunc(source, mutated)
	if err != nil {
		return err
	}
	clauses := w.of(m.file)
	clauses[f.begin] = append(clauses[f.begin], f.clause(number)...)
	return nil
}

// of is the clauses of a file.
func (w *weaver) of(file string) map[int][]byte {
	if w.clauses[file] == nil {
		w.clauses[file] = make(map[int][]byte)
	}
	return w.clauses[file]
}

// files returns the sources that are to be replaced or added.
func (w *weaver) files() (map[string][]byte, error) {
	files := make(map[string][]byte)
	for file, clauses := range w.clauses {
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := packageClause.FindSubmatch(source)[1]
		files[file] = woven(filepath.Base(file), source, clauses)
		if makesScripts(file) {
			files[file] = bytes.ReplaceAll(files[file], []byte(newScript), []byte("mutableScript("))
			files[file] = append(files[file], "\nvar _ *redis.Script\n"...) // which may be imported for nothing else
			files[filepath.Join(filepath.Dir(file), "mutable_scripts.go")] = fmt.Appendf(nil, mutableScripts, name)
		}
		if len(clauses) > 0 {
			files[filepath.Join(filepath.Dir(file), aliveFile)] = fmt.Appendf(nil, alive, name)
		}
	}
	return files, nil
}

func makesScripts(file string) bool {
	for _, makers := range scripts {
		if slices.Contains(makers, file) {
			return true
		}
	}
	return false
}

var packageClause = regexp.MustCompile(`(?m)^package (\w+)`)

// woven inserts the clauses. What follows keeps its line numbers.
func woven(file string, source []byte, clauses map[int][]byte) (dst []byte) {
	line := 1
	for i, b := range source {
		dst = append(dst, b)
		if b == '\n' {
			line++
		}
		if clause := clauses[i+1]; clause != nil {
			dst = fmt.Appendf(dst, "\nswitch mutantAlive {%s\n}\n//line %s:%d\n", clause, file, line)
		}
	}
	return dst
}

// A broken is a function as a mutant has it.
type broken struct {
	begin   int // of its body in the source as it is, after the brace
	header  string
	args    string
	results bool
	body    string // with its braces
}

// brokenFunc finds the function in whose body all is that mutated changes.
func brokenFunc(source, mutated []byte) (*broken, error) {
	before, err := funcs(source)
	if err != nil {
		return nil, err
	}
	after, err := funcs(mutated)
	if err != nil {
		return nil, err
	}
	for begin, f := range before {
		g := after[begin]
		if g == nil || !bytes.Equal(source[:begin], mutated[:begin]) {
			continue
		}
		end, mutatedEnd := int(f.Body.Rbrace)-1, int(g.Body.Rbrace)-1
		if !bytes.Equal(source[end:], mutated[mutatedEnd:]) {
			continue
		}
		return &broken{
			begin:   begin,
			header:  string(source[f.Type.Params.Pos()-1 : begin-1]),
			args:    argsOf(f),
			results: f.Type.Results != nil,
			body:    string(mutated[begin-1 : mutatedEnd+1]),
		}, nil
	}
	return nil, errors.New("its piece of source is not within the body of one function")
}

// funcs finds the functions of a file, by where their bodies begin.
func funcs(source []byte) (map[int]*ast.FuncDecl, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("it is not Go: %w", err)
	}
	found := make(map[int]*ast.FuncDecl)
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			found[int(f.Body.Lbrace)] = f // which counts from 1
		}
	}
	return found, nil
}

// argsOf hands on the parameters of f, which must all have names.
func argsOf(f *ast.FuncDecl) string {
	var args []string
	for _, field := range f.Type.Params.List {
		dots := ""
		if _, variadic := field.Type.(*ast.Ellipsis); variadic {
			dots = "..."
		}
		for _, name := range field.Names {
			args = append(args, name.Name+dots)
		}
	}
	return strings.Join(args, ", ")
}

// clause is the case of a mutant.
func (b *broken) clause(number int) string {
	call := fmt.Sprintf("func%s%s(%s)", b.header, b.body, b.args)
	if b.results {
		call = "return " + call
	} else {
		call += "\nreturn"
	}
	return fmt.Sprintf("\ncase %d:\n//line mutant%d.go:1\n%s", number, number, call)
}

// notGo names the mutants that the compiler complains about.
func notGo(compiler string, mutants []mutant) error {
	var errs []error
	said := make(map[string]bool)
	for _, found := range blamed.FindAllStringSubmatch(compiler, -1) {
		if number, err := strconv.Atoi(found[1]); err == nil && number <= len(mutants) && !said[found[1]] {
			said[found[1]] = true
			errs = append(errs, fmt.Errorf("the mutant of %q does not compile: %s", mutants[number-1].rule, found[2]))
		}
	}
	return errors.Join(errs...)
}

var blamed = regexp.MustCompile(`mutant(\d+)\.go:\d+: (.*)`)
