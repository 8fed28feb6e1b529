package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A single call of reflect's Method or MethodByName, with a name that is not a constant, has the linker keep every exported
// method of every type in the program, which doubles its size.
func TestTheLinkerKeepsOnlyWhatIsCalled(t *testing.T) {
	program := filepath.Join(t.TempDir(), "onecache")
	run(t, "go", "build", "-o", program, ".")
	symbols := run(t, "go", "tool", "nm", program)
	for symbol, want := range map[string]bool{
		"main.row.IsCalled":    true,
		"main.row.IsNotCalled": false,
	} {
		if got := strings.Contains(symbols, symbol); got != want {
			t.Errorf("the program has %s: %v, want %v", symbol, got, want)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return string(out)
}
