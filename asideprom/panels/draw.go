package main

import (
	"fmt"
	"html"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/asidecache/aside/asideprom/internal/query"
)

// A dashboard is what is drawn of that of Grafana.
type dashboard struct {
	Title  string
	Panels []panel
}

type panel struct {
	Type, Title string
	FieldConfig struct {
		Defaults struct {
			Unit string
			Max  *float64
		}
	}
	Targets []struct{ Expr, LegendFormat string }
}

// A curve is what one result of an expression was over time; NaN where there was none.
type curve struct {
	name   string
	values []float64
}

const (
	columns                 = 3
	panelWidth, panelHeight = 400, 216
	gap                     = 12
	headHeight              = 44
)

var colors = []string{"#3c7dc4", "#e07b39", "#3f9b6b", "#a05fb4", "#c9a227", "#c0504d", "#5aa7b0", "#8c8c8c"}

// draw returns the picture of all panels that have something to show, in their order.
func draw(d dashboard, store *query.Store, times []time.Time) ([]byte, error) {
	var shown []string
	for _, p := range d.Panels {
		curves, err := p.curves(store, times)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Title, err)
		}
		if len(curves) > 0 {
			x, y := len(shown)%columns, len(shown)/columns
			at := fmt.Sprintf(`<g transform="translate(%d %d)">`, gap+x*(panelWidth+gap), headHeight+y*(panelHeight+gap))
			shown = append(shown, at+"\n"+p.draw(curves, times[len(times)-1].Sub(times[0]))+"</g>\n")
		}
	}
	if len(shown) == 0 {
		return nil, fmt.Errorf("no panel of %q has anything to show", d.Title)
	}
	rows := (len(shown) + columns - 1) / columns
	width, height := gap+columns*(panelWidth+gap), headHeight+rows*(panelHeight+gap)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="11" fill="#333">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#f4f5f7"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="%d" y="28" font-size="17" font-weight="bold">%s</text>`+"\n", gap, html.EscapeString(d.Title))
	b.WriteString(strings.Join(shown, ""))
	b.WriteString("</svg>\n")
	return []byte(b.String()), nil
}

var labelIn = regexp.MustCompile(`\{\{(\w+)\}\}`)

// curves evaluates the expressions of a panel at each scrape. A curve that is always 0 beside others is left out, as that of an
// outcome that never comes.
func (p *panel) curves(store *query.Store, times []time.Time) (shown []curve, err error) {
	var all []curve
	at := make(map[string]int)
	for _, target := range p.Targets {
		e, err := query.Parse(target.Expr)
		if err != nil {
			return nil, err
		}
		for i, t := range times {
			for _, r := range query.Eval(e, store, t, 5*every) {
				name := labelIn.ReplaceAllStringFunc(target.LegendFormat, func(s string) string { return r.Labels[strings.Trim(s, "{}")] })
				j, ok := at[name]
				if !ok {
					j = len(all)
					at[name], all = j, append(all, newCurve(name, len(times)))
				}
				all[j].values[i] = r.Value
			}
		}
	}
	for _, c := range all {
		if c.highest() > 0 {
			shown = append(shown, c)
		}
	}
	if shown == nil && len(all) > 0 && all[0].isThere() {
		return all[:1], nil
	}
	return shown, nil
}

func newCurve(name string, n int) curve {
	c := curve{name, make([]float64, n)}
	for i := range c.values {
		c.values[i] = math.NaN()
	}
	return c
}

func isNumber(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func (c *curve) highest() (high float64) {
	for _, v := range c.values {
		if isNumber(v) {
			high = max(high, v)
		}
	}
	return high
}

func (c *curve) isThere() bool {
	for _, v := range c.values {
		if isNumber(v) {
			return true
		}
	}
	return false
}

const left, right, top, bottom = 58.0, 388.0, 38.0, 168.0

// draw draws a panel: its frame, a scale from 0, the curves and their names.
func (p *panel) draw(curves []curve, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="4" fill="#fff" stroke="#dcdfe4"/>`+"\n", panelWidth, panelHeight)
	fmt.Fprintf(&b, `<text x="12" y="22" font-size="13" font-weight="bold">%s</text>`+"\n", html.EscapeString(p.Title))
	high := 0.0
	for _, c := range curves {
		high = max(high, c.highest())
	}
	high = roundUp(high)
	for i := range 5 {
		v := high * float64(i) / 4
		y := bottom - (bottom-top)*float64(i)/4
		fmt.Fprintf(&b, `<line x1="%.0f" y1="%.1f" x2="%.0f" y2="%.1f" stroke="#e8eaed"/>`, left, y, right, y)
		fmt.Fprintf(&b, `<text x="%.0f" y="%.1f" text-anchor="end" fill="#666">%s</text>`+"\n", left-6, y+4, inUnit(v, p.FieldConfig.Defaults.Unit))
	}
	fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" fill="#666">0 s</text><text x="%.0f" y="%.0f" text-anchor="end" fill="#666">%.0f s</text>`+"\n",
		left, bottom+14, right, bottom+14, took.Seconds())
	for i, c := range curves {
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.6"/>`+"\n", c.path(high), colors[i%len(colors)])
	}
	b.WriteString(legend(curves))
	return b.String()
}

// path leaves a gap where there is no value.
func (c *curve) path(high float64) string {
	var b strings.Builder
	pen := "M"
	for i, v := range c.values {
		if !isNumber(v) {
			pen = "M"
			continue
		}
		x := left + (right-left)*float64(i)/float64(max(len(c.values)-1, 1))
		fmt.Fprintf(&b, "%s%.1f %.1f", pen, x, bottom-(bottom-top)*v/high)
		pen = "L"
	}
	return b.String()
}

// legend names as many curves as two lines have room for.
func legend(curves []curve) string {
	var b strings.Builder
	x, y := 12.0, 196.0
	for i, c := range curves {
		width := 22 + 5.9*float64(len(c.name))
		if x+width > panelWidth-8 && x > 12 {
			x, y = 12, y+14
		}
		if y > 210 {
			break
		}
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="10" height="3" fill="%s"/><text x="%.1f" y="%.1f">%s</text>`+"\n",
			x, y-4, colors[i%len(colors)], x+14, y, html.EscapeString(c.name))
		x += width
	}
	return b.String()
}

// roundUp returns the end of a scale that has v.
func roundUp(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 4, 5, 8, 10} {
		if v <= m*unit {
			return m * unit
		}
	}
	return 10 * unit
}

func inUnit(v float64, unit string) string {
	switch {
	case unit == "percentunit" && v > 0 && v < 0.01:
		return fmt.Sprintf("%.2g %%", 100*v)
	case unit == "percentunit":
		return fmt.Sprintf("%.4g %%", 100*v)
	case unit == "s" && v < 1:
		return fmt.Sprintf("%.3g ms", 1000*v)
	case unit == "s":
		return fmt.Sprintf("%.3g s", v)
	case unit == "bytes" && v >= 1024:
		return fmt.Sprintf("%.3g KB", v/1024)
	case unit == "bytes":
		return fmt.Sprintf("%.3g B", v)
	case unit == "reqps":
		return fmt.Sprintf("%.4g/s", v)
	default:
		return fmt.Sprintf("%.4g", v)
	}
}
