package aside_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Files that call each other in a circle are read together or not at all. So a circle has three files at most.
func TestNoMoreThanThreeFilesCallEachOtherInACircle(t *testing.T) {
	for _, dir := range []string{".", "internal/engine", "internal/redisstore", "internal/near"} {
		calls := callsBetweenFiles(t, dir)
		for _, file := range slices.Sorted(maps.Keys(calls)) {
			circle := []string{file}
			for other := range calls {
				if other != file && reaches(calls, file, other) && reaches(calls, other, file) {
					circle = append(circle, other)
				}
			}
			if len(circle) > 3 {
				t.Errorf("in %s these call each other: %v", dir, slices.Sorted(slices.Values(circle)))
				break
			}
		}
	}
}

// callsBetweenFiles tells which files of a package call funcs of which others.
func callsBetweenFiles(t *testing.T, dir string) map[string]map[string]bool {
	t.Helper()
	fset := token.NewFileSet()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	checker := types.Config{Importer: importer.ForCompiler(fset, "gc", compiled(t, dir))}
	pkg, err := checker.Check(dir, fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	calls := make(map[string]map[string]bool)
	for id, used := range info.Uses {
		callee, isFunc := used.(*types.Func)
		if !isFunc || callee.Pkg() != pkg {
			continue
		}
		from, to := fset.Position(id.Pos()).Filename, fset.Position(callee.Pos()).Filename
		if from != to {
			if calls[from] == nil {
				calls[from] = make(map[string]bool)
			}
			calls[from][to] = true
		}
	}
	if len(calls) == 0 {
		t.Errorf("no file of %s calls another", dir)
	}
	return calls
}

// compiled finds what the compiler has made of the packages that one imports.
func compiled(t *testing.T, dir string) func(path string) (io.ReadCloser, error) {
	t.Helper()
	list, err := exec.Command("go", "list", "-deps", "-export", "-f", "{{.ImportPath}} {{.Export}}", "./"+dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(list)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

func reaches(calls map[string]map[string]bool, from, to string) bool {
	seen, next := map[string]bool{from: true}, []string{from}
	for len(next) > 0 {
		file := next[0]
		next = next[1:]
		for called := range calls[file] {
			if called == to {
				return true
			}
			if !seen[called] {
				seen[called] = true
				next = append(next, called)
			}
		}
	}
	return false
}
