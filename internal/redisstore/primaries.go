package redisstore

import (
	"sync"
)

// perPrimary has the work on all done for each primary of a Cluster by itself, side by side. A pipeline to all of them would
// end with the slowest: one primary that hangs would cost a call the answers of the others.
func perPrimary(s *Store, b *Budget, all []Op, work func(b *Budget, part []Op) []Reply) []Reply {
	if !s.Breaker.cluster || len(all) == 1 {
		return work(b, all)
	}
	parts, places := split(s.Breaker, all, func(o Op) string { return o.Name })
	replies := make([]Reply, len(all))
	budgets := make([]Budget, len(parts))
	var group sync.WaitGroup
	for i, part := range parts {
		budgets[i] = *b
		group.Go(func() {
			for j, r := range work(&budgets[i], part) {
				replies[places[i][j]] = r
			}
		})
	}
	group.Wait()
	for _, rest := range budgets {
		b.Left = min(b.Left, rest.Left)
	}
	return replies
}

// split divides all into the parts that one primary serves each, and tells where in all they come from.
func split[T any](b *breaker, all []T, name func(T) string) (parts [][]T, places [][]int) {
	part := make(map[string]int) // by primary
	for i, x := range all {
		node := b.addrOf(name(x))
		p, ok := part[node]
		if !ok {
			p = len(parts)
			part[node], parts, places = p, append(parts, nil), append(places, nil)
		}
		parts[p], places[p] = append(parts[p], x), append(places[p], i)
	}
	return parts, places
}

// Chunks has tasks sent together. If they are about very many, they are sent in chunks, primary by
// primary. Once a primary has confirmed none of a chunk, the rest of its tasks is left out: the
// primary is not there, and one timeout is enough. send returns the tasks that were not confirmed.
// Chunks returns them, and those that were left out.
func Chunks[T sized](s *Store, tasks []T, send func(chunk []T) (failed []T)) (failed []T) {
	parts := [][]T{tasks}
	if chunkOf(tasks) < len(tasks) {
		parts, _ = split(s.Breaker, tasks, T.Key)
	}
	for _, part := range parts {
		for len(part) > 0 {
			chunk := part[:chunkOf(part)]
			part = part[len(chunk):]
			didNot := send(chunk)
			if failed = append(failed, didNot...); len(didNot) == len(chunk) {
				break
			}
		}
		failed = append(failed, part...)
	}
	return failed
}

// A sized task is about one key of Redis, and so many entries or tags.
type sized interface {
	Key() string
	Size() int
}

// ChunkSize is how many names one pipeline is about, where there may be very many.
const ChunkSize = 500

// chunkOf is how many of tasks are about no more than chunkSize names, but one at least.
func chunkOf[T sized](tasks []T) (n int) {
	for size := 0; n < len(tasks); n++ {
		if size += tasks[n].Size(); size > ChunkSize && n > 0 {
			break
		}
	}
	return n
}
