package aside

import (
	"slices"
	"sync"
)

// spread has the work on all done for each primary of a Cluster by itself, side by side. A pipeline to all of them would
// end with the slowest: one primary that hangs would cost a call the answers of the others.
func spread[T any](s *store, b *budget, all []T, name func(T) string, work func(b *budget, part []T) []reply) []reply {
	if !s.breaker.cluster || len(all) == 1 {
		return work(b, all)
	}
	parts, places := split(s.breaker, all, name)
	replies := make([]reply, len(all))
	budgets := make([]budget, len(parts))
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
		b.left = min(b.left, rest.left)
	}
	return replies
}

// split divides all into the parts that one primary serves each, and tells where in all they come from.
func split[T any](b *breaker, all []T, name func(T) string) (parts [][]T, places [][]int) {
	part := make(map[string]int) // by primary
	for i, x := range all {
		node := b.nodeOf(name(x))
		p, ok := part[node]
		if !ok {
			p = len(parts)
			part[node], parts, places = p, append(parts, nil), append(places, nil)
		}
		parts[p], places[p] = append(parts[p], x), append(places[p], i)
	}
	return parts, places
}

func itself(name string) string { return name }

// chunks has names sent together, or if they are very many in chunks, primary by primary, and the rest of a primary's left out
// once it has confirmed none of a chunk: it is not there, and one timeout is enough. send returns the names that were not
// confirmed, and chunks those that were left out.
func (s *store) chunks(names []string, send func(chunk []string) (failed []string)) (left []string) {
	parts := [][]string{names}
	if len(names) > chunkSize {
		parts, _ = split(s.breaker, names, itself)
	}
	for _, part := range parts {
		for chunk := range slices.Chunk(part, chunkSize) {
			part = part[len(chunk):]
			if len(send(chunk)) == len(chunk) {
				break
			}
		}
		left = append(left, part...)
	}
	return left
}
