package main

import (
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// The plots: bars and lines, in light colours with dark text, for a white page. Aside has the strongest colour.

var palette = []string{
	"#8ab4d8", "#f2b880", "#a8d5a2", "#d9a5c9", "#c3b8e0", "#e3d58a", "#9fd3d0", "#e8a69b", "#c9c9c9", "#b5cf8f",
}

const (
	asideColor = "#3c7dc4"
	inkColor   = "#333"
	gridColor  = "#e4e4e4"
)

func colorOf(name string, i int) string {
	if strings.HasPrefix(name, "aside") {
		return asideColor
	}
	return palette[i%len(palette)]
}

// A drawing gathers the elements of one SVG.
type drawing struct{ b strings.Builder }

func newDrawing(width, height int, title string) *drawing {
	d := &drawing{}
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" `+
		`font-family="sans-serif" font-size="12" fill="%s">`+"\n", width, height, width, height, inkColor)
	fmt.Fprintf(&d.b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	d.text(12, 22, "start", title, `font-size="15" font-weight="bold"`)
	return d
}

func (d *drawing) text(x, y float64, anchor, s, more string) {
	fmt.Fprintf(&d.b, `<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, more, html.EscapeString(s))
}

func (d *drawing) rect(x, y, w, h float64, color string) {
	fmt.Fprintf(&d.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, w, h, color)
}

func (d *drawing) line(x1, y1, x2, y2 float64, color, more string) {
	fmt.Fprintf(&d.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" %s/>`+"\n", x1, y1, x2, y2, color, more)
}

func (d *drawing) write(dir, name string) error {
	d.b.WriteString("</svg>\n")
	return os.WriteFile(filepath.Join(dir, name+".svg"), []byte(d.b.String()), 0o644)
}

// A bar is one library's figure.
type bar struct {
	name  string
	value float64
}

// drawBars draws horizontal bars, with a line where 1 is if mark is set.
func drawBars(dir, name, title string, bars []bar, mark bool) error {
	const left, width, step = 190, 720, 22
	height := 60 + step*len(bars)
	d := newDrawing(width, height, title)
	longest := 1.0
	for _, b := range bars {
		longest = max(longest, b.value)
	}
	scale := (width - left - 70) / longest
	if mark {
		d.line(left+scale, 34, left+scale, float64(height-16), "#999", `stroke-dasharray="4 3"`)
	}
	for i, b := range bars {
		y := float64(40 + step*i)
		d.text(left-8, y+13, "end", b.name, "")
		d.rect(left, y, max(b.value*scale, 1), step-6, colorOf(b.name, 0))
		d.text(left+b.value*scale+6, y+13, "start", figure(b.value), "")
	}
	return d.write(dir, name)
}

// bars draws the ratios of a comparison, if plots were asked for.
func (r *run) bars(name string, c *comparison) error {
	if r.svg == "" {
		return nil
	}
	var bars []bar
	for i, o := range c.peers {
		if toBase, _ := c.ratios(i); len(toBase) > 0 {
			bars = append(bars, bar{o.variant.String(), toBase.median()})
		}
	}
	title := c.title + ": time as a multiple of raw json (less is better)"
	r.report.image(title, r.svg, name)
	return drawBars(r.svg, name, title, bars, true)
}

// curves draws a plot, if plots were asked for.
func (r *run) curves(p *plot, name string) error {
	if r.svg == "" || len(p.xs) == 0 || len(p.curves) == 0 {
		return nil
	}
	r.report.image(p.title, r.svg, name)
	return p.draw(r.svg, name)
}

// A curve is the points of one library or setting.
type curve struct {
	name string
	ys   []float64
}

// A plot is curves over shared xs, both axes logarithmic: steps of growth are factors.
type plot struct {
	title, xLabel, yLabel string
	xs                    []float64
	curves                []curve
}

const (
	plotWidth, plotHeight    = 760, 420
	plotLeft, plotRight      = 70.0, 560.0
	plotTop, plotBottom      = 44.0, 370.0
	legendLeft, legendHeight = 580.0, 18.0
)

func (p *plot) draw(dir, name string) error {
	d := newDrawing(plotWidth, plotHeight, p.title)
	low, high := p.yRange()
	x := func(v float64) float64 { return along(v, p.xs[0], p.xs[len(p.xs)-1], plotLeft, plotRight) }
	y := func(v float64) float64 { return along(max(v, low), low, high, plotBottom, plotTop) }
	for v := low; v <= high*1.001; v *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v*m <= high*1.001 {
				d.line(plotLeft, y(v*m), plotRight, y(v*m), gridColor, "")
				d.text(plotLeft-6, y(v*m)+4, "end", short(v*m), "")
			}
		}
	}
	for _, v := range p.xs {
		d.line(x(v), plotTop, x(v), plotBottom, gridColor, "")
		d.text(x(v), plotBottom+18, "middle", short(v), "")
	}
	d.text((plotLeft+plotRight)/2, plotBottom+40, "middle", p.xLabel, "")
	d.text(plotLeft, plotTop-6, "middle", p.yLabel, "")
	for i, c := range p.curves {
		p.drawCurve(d, c, i, x, y)
	}
	return d.write(dir, name)
}

func (p *plot) drawCurve(d *drawing, c curve, i int, x, y func(float64) float64) {
	color := colorOf(c.name, i)
	dash := ""
	if i >= len(palette) || strings.HasPrefix(c.name, "aside") && strings.HasSuffix(c.name, "json") {
		dash = ` stroke-dasharray="6 3"`
	}
	points := ""
	for j, v := range c.ys {
		points += fmt.Sprintf("%.1f,%.1f ", x(p.xs[j]), y(v))
	}
	fmt.Fprintf(&d.b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2.5"%s/>`+"\n", points, color, dash)
	at := plotTop + legendHeight*float64(i)
	d.line(legendLeft, at, legendLeft+22, at, color, `stroke-width="2.5"`+dash)
	d.text(legendLeft+28, at+4, "start", c.name, "")
}

// yRange is the curves' range, widened to whole powers of ten below and to a grid line above.
func (p *plot) yRange() (low, high float64) {
	low, high = math.Inf(1), 0
	for _, c := range p.curves {
		for _, v := range c.ys {
			if v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if high == 0 {
		return 1, 10
	}
	low = math.Pow(10, math.Floor(math.Log10(low)))
	return low, max(high*1.1, low*2)
}

// along maps v from [v0, v1] onto [p0, p1] by its logarithm.
func along(v, v0, v1, p0, p1 float64) float64 {
	if v1 <= v0 {
		return (p0 + p1) / 2
	}
	return p0 + (p1-p0)*math.Log(v/v0)/math.Log(v1/v0)
}

// short prints axis labels: 1k, 10M.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return fmt.Sprintf("%.3g", v)
}
