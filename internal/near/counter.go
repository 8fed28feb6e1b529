package near

import (
	"sync/atomic"
	"unsafe"
)

// A counter counts what many goroutines do at once. Each adds to a cell of its own as a rule: goroutines are told apart by where
// their stacks are, which costs nothing. A single number would go from core to core with each hit.
type counter struct {
	_     [64]byte // whatever is allocated beside it
	cells [64]struct {
		n atomic.Uint64
		_ [56]byte // so that each has a cache line for itself
	}
}

func (c *counter) add() {
	var here byte
	stack := uint64(uintptr(unsafe.Pointer(&here))) >> 11
	c.cells[stack*0x9E3779B97F4A7C15>>58].n.Add(1)
}

func (c *counter) sum() (n uint64) {
	for i := range c.cells {
		n += c.cells[i].n.Load()
	}
	return n
}
