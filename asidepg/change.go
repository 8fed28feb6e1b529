package asidepg

import (
	"fmt"
	"strconv"
	"sync"
	"time"
)

// An Op is what was done to a row.
type Op string

const (
	Insert Op = "INSERT"
	Update Op = "UPDATE"
	Delete Op = "DELETE"
)

// A Change is one row that a committed transaction has inserted, updated or deleted. It is valid until its handler returns.
//
// Postgres streams the new row, and of the old row only the columns of the table's replica identity: as a rule those of the primary key. If a
// handler asks for a column that the stream does not have, the change counts as failed whatever the handler returns, since nothing
// would be invalidated for a value that nobody knows. The error that is logged names the column, and the statement that has
// Postgres stream it:
//
//	ALTER TABLE public.products REPLICA IDENTITY FULL
//
// Once that has been done, the feed calls OnGap instead of the handler, and goes on.
type Change struct {
	Table     string    // schema.table; of a partitioned table, its root
	Op        Op        //
	Old, New  Row       // an INSERT has no old row, a DELETE no new one
	Committed time.Time // by the clock of Postgres
}

// Int64s returns the distinct values of an integer column in the old and the new row: one if it is unchanged, two if it has
// changed. NULL is left out. A value that is no integer fails the change.
func (c Change) Int64s(column string) []int64 { return Values(c, column, parseInt64) }

// Strings returns the distinct values of a column in the old and the new row, as Postgres writes them. NULL is left out.
func (c Change) Strings(column string) []string {
	return Values(c, column, func(text string) (string, error) { return text, nil })
}

// Values returns the distinct values of a column in the old and the new row, each as parse makes it of Postgres' text:
//
//	asidepg.Values(c, "id", uuid.Parse)
//
// NULL is left out. An error of parse fails the change.
func Values[T comparable](c Change, column string, parse func(text string) (T, error)) []T {
	var values []T
	for _, row := range []Row{c.Old, c.New} {
		text, ok := row.Text(column)
		if !ok {
			continue
		}
		value, err := parse(text)
		if err != nil {
			row.failed.note(fmt.Errorf("column %s of %s: %w", column, c.Table, err))
			continue
		}
		if len(values) == 0 || values[0] != value {
			values = append(values, value)
		}
	}
	return values
}

// A Row is one version of a row. The zero Row is that of no row.
type Row struct {
	relation *relation // nil: no row
	cells    []cell
	failed   *failed
}

// Exists reports whether there is a row: an INSERT has no old one, a DELETE no new one.
func (r Row) Exists() bool { return r.relation != nil }

// Text returns the value of a column as Postgres writes it: numbers in digits, times in ISO 8601 and UTC, bytea in hex. It reports false for NULL,
// for a row that does not exist, and for a column that the stream does not have, which fails the change.
func (r Row) Text(column string) (text string, ok bool) {
	if !r.Exists() {
		return "", false
	}
	i, ok := r.relation.index[column]
	if !ok {
		r.failed.note(&missingColumn{table: r.relation.name, column: column, never: true})
		return "", false
	}
	switch c := r.cells[i]; c.is {
	case present:
		return c.text, true
	case unknown:
		r.failed.note(&missingColumn{table: r.relation.name, column: column})
	}
	return "", false
}

// Int64 is Text for an integer column. A value that is no integer fails the change.
func (r Row) Int64(column string) (value int64, ok bool) {
	text, ok := r.Text(column)
	if !ok {
		return 0, false
	}
	value, err := parseInt64(text)
	if err != nil {
		r.failed.note(fmt.Errorf("column %s of %s: %w", column, r.relation.name, err))
		return 0, false
	}
	return value, true
}

func parseInt64(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) }

// A missingColumn is an error of a handler that asked for a column which the stream does not have.
type missingColumn struct {
	table, column string
	never         bool // not because of the replica identity
}

func (m *missingColumn) Error() string {
	if m.never {
		return fmt.Sprintf("table %s has no column %s in the stream (Postgres streams no generated columns)", m.table, m.column)
	}
	return fmt.Sprintf("table %s: the stream does not have the value of column %s, which is outside the replica identity; "+
		"type: ALTER TABLE %s REPLICA IDENTITY FULL", m.table, m.column, quoted(m.table))
}

// A failed is what a handler's questions have failed with, whatever it returns. It is shared by the rows of a change, and lasts
// for one call of the handler.
type failed struct {
	mu  sync.Mutex // guards the rest: a handler may use goroutines
	err error      // the first
}

func (f *failed) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *failed) first() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
