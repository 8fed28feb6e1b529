package main

import (
	"os"
	"os/exec"
	"testing"
)

func TestEveryMutantAppliesToTheSourceAsItIs(t *testing.T) {
	t.Chdir("../..")
	w := weaver{clauses: make(map[string]map[int][]byte)}
	for i, m := range mutants {
		if err := w.add(i+1, m); err != nil {
			t.Errorf("the mutant of %q: %v", m.rule, err)
		}
	}
}

func TestAFunctionIsWhatItIsUntilAMutantOfItIsAlive(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(file string, source []byte) {
		if err := os.WriteFile(file, source, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const file = "main.go"
	write(file, []byte(`package main

import "fmt"

func main() { fmt.Print(sum(1, 2, 3), " ") ; tell(new(counter[int])) }

func sum(first int, rest ...int) (total int) {
	defer func() { total += first }()
	for _, n := range rest { total += n }
	return
}

type counter[T any] struct{ n int }

func (c *counter[T]) add(
	x T,
) {
	c.n++
}

func tell(c *counter[int]) { c.add(0); fmt.Print(c.n) }
`))
	w := weaver{clauses: make(map[string]map[int][]byte)}
	for i, m := range []mutant{
		{old: "total += first", new: "total -= first"},
		{old: "range rest {", new: "range rest[1:] {"},
		{old: "c.n++\n}", new: "c.n--\n}"},
	} {
		m.file = file
		if err := w.add(i+1, m); err != nil {
			t.Fatal(err)
		}
	}
	files, err := w.files()
	if err != nil {
		t.Fatal(err)
	}
	for file, source := range files {
		write(file, source)
	}
	write("go.mod", []byte("module woven\n\ngo 1.26\n"))
	t.Setenv("GOWORK", "off")
	if out, err := exec.Command("go", "build", "-o", "woven", ".").CombinedOutput(); err != nil {
		t.Fatalf("it does not compile: %v\n%s", err, out)
	}
	for alive, want := range map[string]string{"": "6 1", "1": "4 1", "2": "4 1", "3": "6 -1"} {
		t.Setenv(aliveVariable, alive)
		if got, err := exec.Command("./woven").Output(); err != nil || string(got) != want {
			t.Errorf("with mutant %q alive it prints %q, %v, want %q", alive, got, err, want)
		}
	}
}

func TestAMutantThatDoesNotApplyIsAnError(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("x.go", []byte("package x\n\nvar a, b = 1, 1\n\nfunc f() {}\n\nfunc g() {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]mutant{
		"not there":       {file: "x.go", old: "c = 1", new: "c = 2"},
		"there twice":     {file: "x.go", old: "{}", new: "{ panic(0) }"},
		"in no function":  {file: "x.go", old: "1, 1", new: "1, 2"},
		"in two of them":  {file: "x.go", old: "}\n\nfunc g() {", new: "panic(0) }\n\nfunc g() { panic(0) "},
		"no longer Go":    {file: "x.go", old: "f() {}", new: "f() {"},
		"of no such file": {file: "y.go"},
	} {
		w := weaver{clauses: make(map[string]map[int][]byte)}
		if err := w.add(1, m); err == nil {
			t.Errorf("a piece of source that is %s is no error", name)
		}
	}
}
