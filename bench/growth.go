package main

var growthWorkload = workload{
	name:  "growth",
	extra: true,
	title: "Growth",
	about: "How the cost of this library grows, beside raw go-redis.",
	run: func(r *run) error {
		for _, grow := range []func(*run) error{growKeys, growValues, growInstances, growWrites} {
			if err := grow(r); err != nil {
				return err
			}
		}
		return nil
	},
}

var (
	asideJSON  = variant{asideLibrary, "json"}
	asideSonic = variant{asideLibrary, "sonic"}
	rawSonic   = variant{rawLibrary, "sonic"}
)
