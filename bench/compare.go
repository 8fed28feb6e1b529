package main

import "slices"

// A comparison is one figure of every peer, less being better.
type comparison struct {
	title  string
	peers  []opened
	series []series
	cpu    []series // of this process, for serial workloads: a busy machine moves it less than it does the clock
}

// newComparison is that of a serial workload.
func newComparison(title string, peers []opened, figures [][]timing) *comparison {
	c := &comparison{title: title, peers: peers}
	for _, slots := range figures {
		c.series = append(c.series, seriesOf(slots, func(t timing) float64 { return t.wall }))
		c.cpu = append(c.cpu, seriesOf(slots, func(t timing) float64 { return t.cpu }))
	}
	return c
}

// of returns the series of one variant, nil if it was not measured.
func (c *comparison) of(library, codec string) series {
	i := slices.IndexFunc(c.peers, func(o opened) bool { return o.name == library && o.codec == codec })
	if i < 0 {
		return nil
	}
	return c.series[i]
}

// ratios are those to raw with JSON, and to raw with the same codec.
func (c *comparison) ratios(i int) (toBase, toSameCodec series) {
	return c.series[i].over(c.of(base.name, base.codec)), c.series[i].over(c.of(base.name, c.peers[i].codec))
}

// compare prints the table of a serial comparison; more are further columns.
func (r *run) compare(c *comparison, more ...column) {
	t := &table{title: c.title, columns: []string{"library", "codec", "best µs", "median µs", "× raw json", "middle half",
		"× raw json, best slots", "× raw, same codec", "client CPU, best µs", "× raw json"}}
	for _, m := range more {
		t.columns = append(t.columns, m.title)
	}
	t.columns = append(t.columns, "does not promise")
	for i, o := range c.peers {
		toBase, toSame := c.ratios(i)
		s, cpu := c.series[i], c.cpu[i]
		row := []string{o.name, o.codec, figure(s.min()), figure(s.median()), ratio(toBase), spread(toBase),
			figure(s.min() / c.series[0].min()), ratio(toSame), figure(cpu.min()), ratio(cpu.over(c.cpu[0]))}
		for _, m := range more {
			row = append(row, m.cells[i])
		}
		t.add(append(row, o.caveat())...)
	}
	r.report.print(t)
}

// A column is one more figure of each peer.
type column struct {
	title string
	cells []string
}

// caveat is the library's column of what it does not promise.
func (o opened) caveat() string {
	if o.local {
		return "IN PROCESS; " + o.lacks
	}
	return o.lacks
}
