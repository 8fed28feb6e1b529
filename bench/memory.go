package main

import "fmt"

var memoryWorkload = workload{
	name:  "memory",
	title: "Redis memory of an entry",
	about: "MEMORY USAGE of all keys that 200 entries of the 1 KB product leave behind, by entry: key, value and what " +
		"Redis and the library add. Redis rounds up to the size classes of its allocator.",
	run: runMemory,
}

const memoryEntries = 200

func runMemory(r *run) error {
	peers, err := r.open(r.variants(func(v variant) bool { return v.name != otterLibrary.name }), 1<<10, 0)
	if err != nil {
		return err
	}
	defer closeAll(peers)
	t := &table{columns: []string{"library", "codec", "bytes", "× raw json", "more than raw, same codec", "does not promise"}}
	raw := map[string]float64{}
	for _, o := range peers {
		if err := r.admin.FlushAll(r.ctx).Err(); err != nil {
			return err
		}
		if err := r.fill([]opened{o}, memoryEntries); err != nil {
			return err
		}
		bytes, err := r.memoryUsage()
		if err != nil {
			return err
		}
		bytes /= memoryEntries
		if o.name == base.name {
			raw[o.codec] = bytes
		}
		more := "–"
		if same, ok := raw[o.codec]; ok {
			more = figure(bytes - same)
		}
		t.add(o.name, o.codec, figure(bytes), figure(bytes/raw[base.codec]), more, o.caveat())
	}
	t.notes = []string{fmt.Sprintf("The JSON of the product itself has %d bytes.", jsonSize(newProduct(1, 1<<10)))}
	r.report.print(t)
	return nil
}

// memoryUsage sums over every key that there is.
func (r *run) memoryUsage() (float64, error) {
	names, err := r.admin.Keys(r.ctx, "*").Result()
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, name := range names {
		n, err := r.admin.MemoryUsage(r.ctx, name, 0).Result()
		if err != nil {
			return 0, err
		}
		sum += float64(n)
	}
	return sum, nil
}
