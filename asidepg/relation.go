package asidepg

import (
	"slices"

	"github.com/jackc/pglogrepl"
)

// A relation is a table as the stream describes it. Postgres sends the description before the first row of a session, and again
// when the table may have changed. For a partitioned table it describes the root, and then each partition on its own.
type relation struct {
	name    string // schema.table
	columns []column
	index   map[string]int // of columns, by name
}

type column struct {
	name     string
	dataType uint32
	modifier int32
	key      bool // of the replica identity
}

func newRelation(m *pglogrepl.RelationMessage) *relation {
	r := &relation{name: m.Namespace + "." + m.RelationName, index: make(map[string]int)}
	for i, c := range m.Columns {
		r.columns = append(r.columns, column{name: c.Name, dataType: c.DataType, modifier: c.TypeModifier, key: c.Flags&1 != 0})
		r.index[c.Name] = i
	}
	return r
}

// sameColumns reports whether the columns are what they were. The replica identity may differ: it says nothing of the values.
func (r *relation) sameColumns(other *relation) bool {
	return slices.EqualFunc(r.columns, other.columns, func(a, b column) bool {
		a.key, b.key = false, false
		return a == b
	})
}

// relation is that of the root, without the columns that one of the partitions does not have in its
// own replica identity. The stream names the root in each row and marks the columns by the root's
// identity. But what was written goes by the identity of the partition.
func (p *partitioned) relation() *relation {
	narrowed := *p.root
	narrowed.columns = slices.Clone(p.root.columns)
	for i := range narrowed.columns {
		c := &narrowed.columns[i]
		for _, partition := range p.partitions {
			j, ok := partition.index[c.name]
			c.key = c.key && ok && partition.columns[j].key
		}
	}
	return &narrowed
}

// A cell is the value of a column in a row.
type cell struct {
	is   presence
	text string // if present
}

type presence uint8

const (
	unknown presence = iota // the stream does not have it
	null
	present
)

// rows makes the old and the new row of what the stream has. Either tuple may be nil.
func (r *relation) rows(op Op, oldTuple, newTuple *pglogrepl.TupleData) (oldCells, newCells []cell) {
	if op != Delete {
		newCells = r.cells(newTuple)
	}
	if op == Insert {
		return nil, newCells
	}
	oldCells = make([]cell, len(r.columns))
	if oldTuple != nil {
		oldCells = r.identityCells(oldTuple)
	}
	if op == Delete {
		return oldCells, nil
	}
	for i := range r.columns {
		switch {
		case oldTuple == nil && r.columns[i].key:
			oldCells[i] = newCells[i] // Postgres leaves the old row out if the replica identity is unchanged
		case newCells[i].is == unknown:
			newCells[i] = oldCells[i] // stored out of line (TOAST) and unchanged
		}
	}
	return oldCells, newCells
}

// cells reads a tuple. A value that is stored out of line and was not changed is unknown.
func (r *relation) cells(t *pglogrepl.TupleData) []cell {
	cells := make([]cell, len(r.columns))
	for i, c := range t.Columns[:min(len(t.Columns), len(cells))] {
		switch c.DataType {
		case pglogrepl.TupleDataTypeText:
			cells[i] = cell{present, string(c.Data)}
		case pglogrepl.TupleDataTypeNull:
			cells[i] = cell{is: null}
		}
	}
	return cells
}

// identityCells reads the tuple of an old row, in which Postgres writes NULL for each column that is outside the replica identity.
func (r *relation) identityCells(t *pglogrepl.TupleData) []cell {
	cells := r.cells(t)
	for i := range cells {
		if cells[i].is == null && !r.columns[i].key {
			cells[i] = cell{}
		}
	}
	return cells
}
