package near_test

import "github.com/asidecache/aside/internal/near"

func about(ids ...int) (a near.About) {
	for _, id := range ids {
		a.Names = append(a.Names, name(id))
	}
	return a
}
