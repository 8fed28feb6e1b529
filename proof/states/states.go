// Package states keeps the states that a model has reached.
package states

import (
	"bytes"
	"math/bits"
	"unsafe"
)

// A Set holds every state that was seen, without loss: it compares whole states. S has no pointers and no padding, since it is
// hashed and ordered by its bytes.
type Set[S comparable] struct {
	chunks  [][]S
	parents []uint32
	n       int
	slots   []uint32 // 1 + the place of a state
}

const chunkBits = 16

// Len is how many states there are.
func (v *Set[S]) Len() int { return v.n }

// At is the i-th state that was added.
func (v *Set[S]) At(i int) *S { return &v.chunks[i>>chunkBits][i&(1<<chunkBits-1)] }

// Parent is the place of the state from which the i-th was reached.
func (v *Set[S]) Parent(i int) int { return int(v.parents[i]) }

// Add adds a state that was reached from another one, unless it is there.
func (v *Set[S]) Add(s *S, parent int) {
	if len(v.slots) < 2*(v.n+1) {
		v.grow()
	}
	mask := uint64(len(v.slots) - 1)
	for h := hash(s) & mask; ; h = (h + 1) & mask {
		i := v.slots[h]
		if i == 0 {
			if v.n>>chunkBits == len(v.chunks) {
				v.chunks = append(v.chunks, make([]S, 1<<chunkBits))
			}
			*v.At(v.n) = *s
			v.parents = append(v.parents, uint32(parent))
			v.n++
			v.slots[h] = uint32(v.n)
			return
		}
		if *v.At(int(i) - 1) == *s {
			return
		}
	}
}

func (v *Set[S]) grow() {
	size := max(1<<12, 2*len(v.slots))
	v.slots = make([]uint32, size)
	mask := uint64(size - 1)
	for i := range v.n {
		h := hash(v.At(i)) & mask
		for v.slots[h] != 0 {
			h = (h + 1) & mask
		}
		v.slots[h] = uint32(i + 1)
	}
}

func bytesOf[S any](s *S) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s)) }

// Less orders states by their bytes.
func Less[S any](a, b *S) bool { return bytes.Compare(bytesOf(a), bytesOf(b)) < 0 }

func hash[S any](s *S) uint64 {
	b := bytesOf(s)
	h := uint64(0x9E3779B97F4A7C15)
	for len(b) >= 8 {
		hi, lo := bits.Mul64(h^*(*uint64)(unsafe.Pointer(&b[0])), 0xA0761D6478BD642F)
		h, b = hi^lo, b[8:]
	}
	for _, c := range b {
		hi, lo := bits.Mul64(h^uint64(c), 0xE7037ED1A0B428DB)
		h = hi ^ lo
	}
	return h
}
