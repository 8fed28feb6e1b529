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
func pages(t *testing.T) []string {
	docs, err := filepath.Glob(filepath.Join("docs", "*.md"))
	if err != nil || docs == nil {
		t.Fatalf("no pages in docs: %v", err)
	}
	return append(docs, "README.md", "CONTRIBUTING.md")
}

// atLeast fails if fewer blocks were checked than there are where users look for them: then they are not found any more.
func atLeast(t *testing.T, n, want int) {
	t.Helper()
	if n < want {
		t.Errorf("%d were checked, want at least %d", n, want)
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// spaced is text with each run of white space as one space, at both ends too, so that only whole words are found in it.
func spaced(text string) string { return " " + strings.Join(strings.Fields(text), " ") + " " }

func TestEverySnippetIsCompiled(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, filepath.Join("asidetest", "example_test.go"))
	for _, module := range []string{"asideotel", "asideprom"} { // which a download of the library lacks
		if example := filepath.Join(module, "example_test.go"); exists(example) {
			files = append(files, example)
		}
	}
	recipes, _ := filepath.Glob(filepath.Join("examples", "recipes", "*.go"))
	files = append(files, recipes...)
	if codecs := filepath.Join("bench", "codec.go"); exists(codecs) {
		files = append(files, codecs)
	} else {
		t.Skip("a download of the module lacks the module bench, where the codecs are compiled")
	}
	var source strings.Builder
	for _, file := range files {
		source.WriteString(spaced(read(t, file)))
	}
	n := 0
	for _, page := range pages(t) {
		for _, snippet := range blocks(t, page, "go") {
			if n++; !strings.Contains(source.String(), spaced(snippet)) {
				t.Errorf("%s has this, which stands in no Go file of the package, and in no example of asidetest:\n%s", page, snippet)
			}
		}
	}
	atLeast(t, n, 22)
}

// measured are the pages whose commands measure for many minutes, and print what the page has.
var measured = []string{filepath.Join("docs", "benchmarks.md"), filepath.Join("docs", "scaling.md")}

func TestEveryCommandIsOneThatCIRuns(t *testing.T) {
	ci, n := read(t, filepath.Join(".ci", "run")), 0
	module := regexp.MustCompile(`(?m)^module (\S+)$`).FindStringSubmatch(read(t, "go.mod"))[1]
	for _, page := range pages(t) {
		if slices.Contains(measured, page) {
			continue
		}
		for _, block := range blocks(t, page, "sh") {
			for command := range strings.Lines(block) {
				command = strings.TrimSpace(command)
				if n++; command != "go get "+module && !strings.Contains(ci, command) {
					t.Errorf("%s has a command that CI does not run: %s", page, command)
				}
			}
		}
	}
	atLeast(t, n, 10)
}

// An engineer decides in two minutes. What is to be said besides has a page in docs.
func TestTheREADMEIsReadInTwoMinutes(t *testing.T) {
	if n := len(strings.Fields(read(t, "README.md"))); n < 900 || n > 1300 {
		t.Errorf("README.md has %d words, want 900 to 1,300", n)
	}
}

// Nobody is made to upgrade: go.mod has the lowest versions that keep the promises, and a service gets few modules.
func TestTheREADMESaysWhichVersionsAndModulesAServiceGets(t *testing.T) {
	gomod, readme := read(t, "go.mod"), strings.Join(strings.Fields(read(t, "README.md")), " ")
	version := func(pattern string) string { return regexp.MustCompile(pattern).FindStringSubmatch(gomod)[1] }
	of := "Go " + version(`(?m)^go (\d+\.\d+)`) + ", go-redis " + version(`go-redis/v9 (v\d+\.\d+)`) + ", Redis "
	if !strings.Contains(readme, of) {
		t.Errorf("README.md does not say %q", of)
	}
	var imported strings.Builder
	for path := range importedBy(t, ".", map[string]bool{}) {
		imported.WriteString("\n" + path + "/")
	}
	named := strings.Split(regexp.MustCompile(`what they need: ([^.]+)\.`).FindStringSubmatch(readme)[1], ", ")
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(gomod, -1) { // no "// indirect"
		if !strings.Contains(imported.String(), "\n"+m[1]+"/") {
			continue // only tests need it, or asidetest
		}
		if n++; !slices.ContainsFunc(named, func(name string) bool { return strings.Contains(m[1], name) }) {
			t.Errorf("README.md does not name the module %s", m[1])
		}
	}
	equal(t, "the number of modules that README.md names", len(named), n)
}

// importedBy adds what the package in dir imports to all, and what those packages of the library import.
func importedBy(t *testing.T, dir string, all map[string]bool) map[string]bool {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || files == nil {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range source.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			own, within := strings.CutPrefix(path, "github.com/asidecache/aside/")
			if seen := all[path]; within && !seen {
				all[path] = true
				importedBy(t, filepath.FromSlash(own), all)
			}
			all[path] = true
		}
	}
	return all
}

func TestTheBenchmarksBeginWithOnePage(t *testing.T) {
	page := read(t, filepath.Join("docs", "benchmarks.md"))
	first, _, found := strings.Cut(page, "\n## ")
	if n := len(strings.Fields(first)); !found || n > 300 {
		t.Errorf("the first page of docs/benchmarks.md has %d words, want at most 300", n)
	}
	if n := len(regexp.MustCompile(`(?m)^\|[-|: ]+\|$`).FindAllString(first, -1)); n != 1 {
		t.Errorf("the first page of docs/benchmarks.md has %d tables, want 1", n)
	}
}

func TestEveryPageIsOnTheMapOfTheREADME(t *testing.T) {
	readme := read(t, "README.md")
	for _, page := range pages(t) {
		if name := filepath.ToSlash(page); name != "README.md" && !strings.Contains(readme, "]("+name) {
			t.Errorf("README.md has no link to %s", name)
		}
	}
}

func TestAFigureIsTheSameInLightAndDark(t *testing.T) {
	for _, figure := range []string{"read", "write"} {
		shape := func(mode string) string {
			text := read(t, filepath.Join("docs", "img", figure+"-"+mode+".svg"))
			return regexp.MustCompile(`(?s)<style>.*</style>`).ReplaceAllString(text, "")
		}
		if shape("light") != shape("dark") {
			t.Errorf("the figures %s-light.svg and %s-dark.svg differ in more than their style", figure, figure)
		}
	}
}

func TestTheDocsListTheOptionsThatThereAre(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "options.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	options := map[string]bool{}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "With") {
			options[f.Name.Name] = true
			if !strings.Contains(read(t, filepath.Join("docs", "options.md")), "\n| `"+f.Name.Name+"` |") {
				t.Errorf("%s is not in the table of docs/options.md", f.Name.Name)
			}
		}
	}
	for _, page := range append(pages(t), "doc.go", "CHANGELOG.md") {
		for _, found := range regexp.MustCompile(`(\w+[.])?\b(With[A-Z]\w+)`).FindAllStringSubmatch(read(t, page), -1) {
			of, name := found[1], found[2]
			if (of == "" || of == "aside.") && !options[name] { // else it is a method of some library
				t.Errorf("%s speaks of %s, which does not exist", page, name)
			}
		}
	}
}

func TestEveryLinkLeadsToAFile(t *testing.T) {
	elsewhere := regexp.MustCompile(`://|^(examples|proof)/`) // or in other modules, which a download does not have
	for _, page := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"`).FindAllStringSubmatch(read(t, page), -1) {
			target, heading, _ := strings.Cut(m[1]+m[2], "#")
			if target == "" {
				target = filepath.Base(page)
			}
			if !strings.Contains(target, "://") {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), target))
			}
			if elsewhere.MatchString(target) {
				continue
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, target, err)
			} else if heading != "" && !slices.Contains(headings(t, target), heading) {
				t.Errorf("%s links to %s#%s, a heading that is not there", page, target, heading)
			}
		}
	}
}

func TestTheManualLinksToPagesThatThereAre(t *testing.T) {
	links := regexp.MustCompile(`(?m)^// \[(\S+)\]: https://github.com/asidecache/aside/blob/HEAD/(docs/\S+)$`).FindAllStringSubmatch(read(t, "doc.go"), -1)
	for _, m := range links {
		if _, err := os.Stat(m[2]); err != nil || filepath.Base(m[2]) != m[1] {
			t.Errorf("doc.go links from %s to %s: %v", m[1], m[2], err)
		}
	}
	atLeast(t, len(links), 8)
}

// headings returns the headings of a page as a link names them.
func headings(t *testing.T, page string) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(read(t, page), -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

func TestEveryTestThatAPageNamesExists(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"*_test.go", "internal/*/*_test.go", "proof/*/*_test.go", "bench/*_test.go", "asideprom/*_test.go"} {
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
	for _, page := range pages(t) {
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
	logged := regexp.MustCompile(`[lL]ogger\.(?:Info|Warn|Error)\("aside: ([^":]+)`)
	files, err := filepath.Glob(filepath.Join("internal", "*", "*.go"))
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
	if n < 20 {
		t.Errorf("%d lines were found", n)
	}
}
