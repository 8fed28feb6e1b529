package engine

// only returns those of all that are to be kept, in their order.
func only[T any](all []T, keep func(T) bool) []T {
	var some []T
	for _, x := range all {
		if keep(x) {
			some = append(some, x)
		}
	}
	return some
}

// unique returns each of all once, in their order.
func unique[T comparable](all []T) []T {
	if len(all) < 2 {
		return all
	}
	seen := make(map[T]bool, len(all))
	return only(all, func(x T) bool {
		was := seen[x]
		seen[x] = true
		return !was
	})
}
