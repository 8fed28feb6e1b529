package aside_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A map that lacks a street, or has one that is gone, leads a stranger astray.
func TestTheMapNamesEveryFileAndNoOther(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "code.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "engine/", "redisstore/"} { // with a line for each file
		path := filepath.Join("internal", dir)
		if dir == "" {
			path = "."
		}
		files, err := filepath.Glob(filepath.Join(path, "*.go"))
		if err != nil || files == nil {
			t.Fatal(path, err)
		}
		for _, file := range files {
			line := "\n| `" + dir + filepath.Base(file) + "` | "
			if !strings.HasSuffix(file, "_test.go") && !strings.Contains(string(page), line) {
				t.Errorf("docs/code.md has no line for %s", file)
			}
		}
		for _, row := range regexp.MustCompile("(?m)^\\| `"+dir+"([a-z]+\\.go)` \\|").FindAllSubmatch(page, -1) {
			if _, err := os.Stat(filepath.Join(path, string(row[1]))); err != nil {
				t.Errorf("docs/code.md has a line for %s, which is not there", row[1])
			}
		}
	}
}
