package main

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

//go:embed page.html
var pageHTML string

// pages are the shop and its dashboard. Both share a style.
var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"money": money,
	"initial": func(name string) string {
		for _, r := range name {
			return string(r)
		}
		return ""
	},
	"count": func(n int) string { return english.Sprintf("%d", n) },
	"ms":    func(d time.Duration) string { return fmt.Sprintf("%.2f", milliseconds(d)) },
	"hue":   func(category int64) int64 { return (150 + 67*category) % 360 },
}).Parse(pageHTML))

// A shop shows products to a browser, and where each part of a page came from.
type shop struct{ site *switched }

func (s shop) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.front)
	mux.HandleFunc("GET /shops/{shop}/{slug}", func(w http.ResponseWriter, r *http.Request) {
		s.show(w, r, r.PathValue("shop"), r.PathValue("slug"))
	})
}

// front is the page of the first product.
func (s shop) front(w http.ResponseWriter, r *http.Request) {
	if len(s.site.ledger.seeded) == 0 {
		reply(w, r, nil, sql.ErrNoRows)
		return
	}
	first := s.site.ledger.seeded[0]
	s.show(w, r, first.Shop, first.Slug)
}

// A shopPage is what the page of a product shows.
type shopPage struct {
	Product  Product
	Category Category
	Shelf    []Product // of the category
	Parts    []*part
	Switched *switched
}

// A part of a page is one read.
type part struct {
	What string
	Took time.Duration
	source
}

func (p *shopPage) Uncached() bool  { return p.Switched.uncached.Load() }
func (p *shopPage) Forgetful() bool { return p.Switched.forgetful.Load() }

// FromDatabase counts the parts that came from there.
func (p *shopPage) FromDatabase() (n int) {
	for _, part := range p.Parts {
		if part.From == fromDatabase {
			n++
		}
	}
	return n
}

func (s shop) show(w http.ResponseWriter, r *http.Request, shop, slug string) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	page, err := s.page(ctx, shop, slug)
	if err != nil {
		reply(w, r, nil, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	pages.ExecuteTemplate(w, "shop", page)
}

// page reads the product, and then its category and the others there side by side.
func (s shop) page(ctx context.Context, shop, slug string) (*shopPage, error) {
	if !isText(shop) || !isText(slug) {
		return nil, sql.ErrNoRows
	}
	page := &shopPage{Switched: s.site, Parts: []*part{
		{What: "The product, its price and its stars"}, {What: "The category, and how many products it has"}, {What: "The products of the category"},
	}}
	var err error
	page.Product, err = timed(ctx, page.Parts[0], func(ctx context.Context) (Product, error) {
		return s.site.ProductBySlug(ctx, shop, slug)
	})
	if err != nil {
		return nil, err
	}
	id := page.Product.CategoryID
	var others errgroup.Group
	others.Go(func() (err error) {
		page.Category, err = timed(ctx, page.Parts[1], func(ctx context.Context) (Category, error) {
			return s.site.CategoryByID(ctx, id)
		})
		return err
	})
	others.Go(func() (err error) {
		page.Shelf, err = timed(ctx, page.Parts[2], func(ctx context.Context) ([]Product, error) {
			return s.site.ProductsInCategory(ctx, id)
		})
		if errors.Is(err, sql.ErrNoRows) {
			err = nil // the last one has just left
		}
		return err
	})
	return page, others.Wait()
}

// timed makes the read of a part.
func timed[V any](ctx context.Context, p *part, read func(context.Context) (V, error)) (V, error) {
	start := time.Now()
	v, err := read(noting(ctx, &p.source))
	p.Took = time.Since(start)
	return v, err
}
