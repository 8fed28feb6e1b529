package history

import (
	"slices"
	"sort"
)

// Stairs are a version that only grows with time: what must be read, or what had been committed.
type stairs struct {
	steps []stair // both fields strictly ascending
}

type stair struct {
	from    int64
	version int64
}

// raise says that the version is at least v from t on. t may lie before earlier steps.
func (s *stairs) raise(t, v int64) {
	i := s.after(t)
	if i > 0 && s.steps[i-1].version >= v {
		return
	}
	if i > 0 && s.steps[i-1].from == t {
		i--
	}
	j := i // the steps that v makes needless
	for j < len(s.steps) && s.steps[j].version <= v {
		j++
	}
	s.steps = slices.Replace(s.steps, i, j, stair{t, v})
}

// at is the version at t, 0 before the first step.
func (s *stairs) at(t int64) int64 {
	n := len(s.steps)
	if n > 0 && s.steps[n-1].from <= t { // nearly always
		return s.steps[n-1].version
	}
	if i := s.after(t); i > 0 {
		return s.steps[i-1].version
	}
	return 0
}

// after is the index of the first step later than t.
func (s *stairs) after(t int64) int {
	return sort.Search(len(s.steps), func(i int) bool { return s.steps[i].from > t })
}

// forget drops what is not needed to answer at for t and later.
func (s *stairs) forget(t int64) {
	if i := s.after(t); i > 1 {
		s.steps = slices.Delete(s.steps, 0, i-1)
	}
}
