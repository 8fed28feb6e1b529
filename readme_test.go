package aside_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are what a user and a contributor read besides the documentation of the code.
var pages = []string{"README.md", "CONTRIBUTING.md"}

// further are the pages whose blocks are no code to be copied.
func further(t *testing.T) []string {
	pages, err := filepath.Glob(filepath.Join("docs", "*.md"))
	if err != nil || pages == nil {
		t.Fatalf("no pages in docs: %v", err)
	}
	return pages
}

// blocks returns the code blocks of a page in a language.
func blocks(t *testing.T, page, language string) []string {
	t.Helper()
	var found []string
	fence := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$")
	for _, m := range fence.FindAllStringSubmatch(read(t, page), -1) {
		found = append(found, m[1])
	}
	if found == nil {
		t.Fatalf("%s has no block of %s", page, language)
	}
	return found
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// spaced is text with each run of white space as one space, at both ends too, so that only whole words are found in it.
func spaced(text string) string { return " " + strings.Join(strings.Fields(text), " ") + " " }

func TestEverySnippetIsCompiled(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, filepath.Join("asidetest", "example_test.go"))
	if codecs := filepath.Join("bench", "codec.go"); exists(codecs) {
		files = append(files, codecs)
	} else {
		t.Skip("a download of the module lacks the module bench, where the codecs are compiled")
	}
	var source strings.Builder
	for _, file := range files {
		source.WriteString(spaced(read(t, file)))
	}
	for _, page := range pages {
		for _, snippet := range blocks(t, page, "go") {
			if !strings.Contains(source.String(), spaced(snippet)) {
				t.Errorf("%s has this, which stands in no Go file of the package, and in no example of asidetest:\n%s", page, snippet)
			}
		}
	}
}

func TestEveryCommandIsOneThatCIRuns(t *testing.T) {
	ci := read(t, filepath.Join(".ci", "run"))
	for _, page := range pages {
		for _, block := range blocks(t, page, "sh") {
			for command := range strings.Lines(block) {
				if !strings.Contains(ci, strings.TrimSpace(command)) {
					t.Errorf("%s has a command that CI does not run: %s", page, command)
				}
			}
		}
	}
}

func TestTheREADMEListsTheOptionsThatThereAre(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "options.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	options := map[string]bool{}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "With") {
			options[f.Name.Name] = true
			if !strings.Contains(read(t, "README.md"), "\n| `"+f.Name.Name+"` |") {
				t.Errorf("%s is not in the README's table", f.Name.Name)
			}
		}
	}
	for _, page := range slices.Concat([]string{"doc.go", "CHANGELOG.md"}, further(t), pages) {
		for _, name := range regexp.MustCompile(`\bWith[A-Z]\w+`).FindAllString(read(t, page), -1) {
			if !options[name] {
				t.Errorf("%s speaks of %s, which does not exist", page, name)
			}
		}
	}
}

func TestEveryLinkLeadsToAFile(t *testing.T) {
	elsewhere := regexp.MustCompile(`://|^(examples|proof)/`) // or in other modules, which a download does not have
	for _, page := range append(further(t), pages...) {
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(read(t, page), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if !strings.Contains(target, "://") {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), target))
			}
			if elsewhere.MatchString(target) {
				continue
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, target, err)
			}
		}
	}
}

func TestEveryTestThatAPageNamesExists(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"*_test.go", "proof/*/*_test.go", "bench/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if files == nil {
			t.Skip("the proof is not in a download of the module")
		}
		for _, file := range files {
			source.WriteString(read(t, file))
		}
	}
	for _, page := range append(further(t), pages...) {
		for _, name := range regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`).FindAllString(read(t, page), -1) {
			if !strings.Contains(source.String(), "\nfunc "+name+"(") {
				t.Errorf("%s names %s, which does not exist", page, name)
			}
		}
	}
}

// Who is woken by a line of the log looks for it on the page about operating.
func TestEveryLineOfTheLogIsExplained(t *testing.T) {
	page := read(t, filepath.Join("docs", "operations.md"))
	logged := regexp.MustCompile(`logger\.(?:Info|Warn|Error)\("aside: ([^":]+)`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		for _, m := range logged.FindAllStringSubmatch(read(t, file), -1) {
			if n++; !strings.Contains(page, m[1]) {
				t.Errorf("%s logs %q, which docs/operations.md does not have", file, m[1])
			}
		}
	}
	if n < 5 {
		t.Errorf("%d lines were found", n)
	}
}
