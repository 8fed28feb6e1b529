package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// A table is one result. The notes say what it measures and what it does not.
type table struct {
	title   string
	notes   []string
	columns []string
	rows    [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// A report prints tables as they come: as aligned text, or as Markdown.
type report struct {
	out      io.Writer
	markdown bool
}

func (r *report) heading(lines []string, command string) {
	if r.markdown {
		fmt.Fprintf(r.out, "```sh\n%s\n```\n\n", command)
	} else {
		fmt.Fprintf(r.out, "%s\n\n", command)
	}
	for _, line := range lines {
		fmt.Fprintf(r.out, "* %s\n", line)
	}
	fmt.Fprintln(r.out)
}

func (r *report) section(title, about string) {
	if r.markdown {
		fmt.Fprintf(r.out, "## %s\n\n%s\n\n", title, about)
		return
	}
	fmt.Fprintf(r.out, "== %s\n%s\n\n", title, about)
}

// image refers to a plot, from a page beside the directory of the plots.
func (r *report) image(title, dir, name string) {
	if r.markdown {
		fmt.Fprintf(r.out, "![%s](%s/%s.svg)\n\n", title, filepath.Base(dir), name)
	}
}

func (r *report) print(t *table) {
	widths := t.widths()
	if t.title != "" {
		title := t.title
		if r.markdown {
			title = "### " + title + "\n"
		}
		fmt.Fprintln(r.out, title)
	}
	r.row(t.columns, widths)
	if r.markdown {
		rule := "|"
		for i, w := range widths {
			rule += strings.Repeat("-", w+1) + map[bool]string{true: "-|", false: ":|"}[i == 0 || i == len(widths)-1]
		}
		fmt.Fprintln(r.out, rule)
	}
	for _, row := range t.rows {
		r.row(row, widths)
	}
	fmt.Fprintln(r.out)
	for _, note := range t.notes {
		fmt.Fprintf(r.out, "%s\n\n", note)
	}
}

func (t *table) widths() []int {
	widths := make([]int, len(t.columns))
	for _, row := range append([][]string{t.columns}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// row aligns the first and the last column, which are words, to the left, and the figures between to the right.
func (r *report) row(cells []string, widths []int) {
	left, sep, right := "", "  ", ""
	if r.markdown {
		left, sep, right = "| ", " | ", " |"
	}
	padded := make([]string, len(cells))
	for i, cell := range cells {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i == 0 || i == len(widths)-1 {
			padded[i] = cell + pad
		} else {
			padded[i] = pad + cell
		}
	}
	fmt.Fprintln(r.out, strings.TrimRight(left+strings.Join(padded, sep)+right, " "))
}

// figure prints with three significant digits or so.
func figure(v float64) string {
	switch {
	case v >= 100 || v == float64(int(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

// ratio prints the median of a series of ratios, "–" where there was nothing to compare with.
func ratio(s series) string {
	if len(s) == 0 {
		return "–"
	}
	return figure(s.median())
}

// spread prints between what the middle half of a series lies.
func spread(s series) string {
	if len(s) == 0 {
		return "–"
	}
	return figure(s.quantile(0.25)) + "–" + figure(s.quantile(0.75))
}
