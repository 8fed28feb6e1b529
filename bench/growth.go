package main

// How the cost of this library grows, beside raw go-redis.
var growthWorkloads = []workload{
	{name: "growth-keys", extra: true, title: "Growth: number of keys", run: growKeys,
		about: "A hit of a small value, with ever more entries in Redis."},
	{name: "growth-values", extra: true, title: "Growth: size of the value", run: growValues,
		about: "A serial hit, with ever larger values."},
	{name: "growth-instances", extra: true, title: "Growth: number of instances", run: growInstances,
		about: "Loads must not grow with the number of instances."},
	{name: "growth-writes", extra: true, title: "Growth: share of writes", run: growWrites,
		about: "Reads among ever more invalidations."},
	{name: "growth-wire", extra: true, title: "Growth: what a call costs Redis", run: growWire,
		about: "The commands and bytes of a single call, on which docs/scaling.md stands."},
}

var (
	asideJSON  = variant{asideLibrary, "json"}
	asideSonic = variant{asideLibrary, "sonic"}
	rawSonic   = variant{rawLibrary, "sonic"}
)
