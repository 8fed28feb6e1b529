package main

import (
	"fmt"
	"os"
	"strings"
)

// A mutant is the library with one of its rules broken.
type mutant struct {
	rule     string // that is broken
	file     string
	old, new string // the piece of source, which is there once, and what replaces it
	catcher  string // the test that fails: of the root package, or "internal/keys: TestX"
}

// test is the catcher's package, as its directory, and its name.
func (m mutant) test() (dir, name string) {
	if dir, name, ok := strings.Cut(m.catcher, ": "); ok {
		return dir, name
	}
	return ".", m.catcher
}

// source is the file as it is, and as the mutant has it.
func (m mutant) source() (source, mutated []byte, err error) {
	source, err = os.ReadFile(m.file)
	if err != nil {
		return nil, nil, fmt.Errorf("this must be run from the root of the repository: %w", err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return nil, nil, fmt.Errorf("NO LONGER APPLIES: its piece of source is in %s %d times, want once", m.file, n)
	}
	return source, []byte(strings.Replace(string(source), m.old, m.new, 1)), nil
}
