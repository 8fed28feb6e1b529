package main

import "slices"

// A comparison is one figure of every peer, less being better.
type comparison struct {
	title  string
	unit   string
	notes  []string
	peers  []opened
	series []series
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

// compare prints the table of a comparison.
func (r *run) compare(c *comparison) {
	t := &table{title: c.title, notes: c.notes, columns: []string{
		"library", "codec", "best " + c.unit, "median " + c.unit, "× raw json", "middle half", "× raw json, best slots",
		"× raw, same codec", "does not promise",
	}}
	for i, o := range c.peers {
		toBase, toSame := c.ratios(i)
		t.add(o.name, o.codec, figure(c.series[i].min()), figure(c.series[i].median()),
			ratio(toBase), spread(toBase), figure(c.series[i].min()/c.of(base.name, base.codec).min()), ratio(toSame), o.caveat())
	}
	r.report.print(t)
}

// caveat is the library's column of what it does not promise.
func (o opened) caveat() string {
	if o.local {
		return "IN PROCESS; " + o.lacks
	}
	return o.lacks
}
