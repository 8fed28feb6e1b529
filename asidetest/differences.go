package asidetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/asidecache/aside/internal/diff"
)

// withoutHints are differences whose cause is known: the one value is older than the other.
func withoutHints(differences []diff.Difference) []diff.Difference {
	plain := slices.Clone(differences)
	for i := range plain {
		plain[i].Hint = ""
	}
	return plain
}

// list writes the differences, one on a line, with the names of the two sides.
func list(differences []diff.Difference, a, b string) string {
	const most = 5
	var s strings.Builder
	for i, d := range differences {
		if i == most {
			fmt.Fprintf(&s, "\n\tand %d more", len(differences)-most)
			break
		}
		if d.Path == "" {
			d.Path = "the value"
		}
		fmt.Fprintf(&s, "\n\t%s: %s %s, %s %s", d.Path, a, d.A(), b, d.B())
		if d.Hint != "" {
			fmt.Fprintf(&s, "\n\t\t(%s)", d.Hint)
		}
	}
	return s.String()
}
