package main

import (
	"context"
	"database/sql"
	"net/http"
	"slices"
	"time"
)

const (
	maxIDs  = 100 // of one GET /products?ids=
	maxBody = 1 << 16
)

// requestTimeout also bounds the wait for a place among the loads. A read that waits longer gets
// ErrOverloaded.
var requestTimeout = 2 * time.Second

// An endpoint answers a request with what to send as JSON, or with an error.
type endpoint func(r *http.Request) (any, error)

// A getter reads one thing by its id.
type getter[V any] = func(ctx context.Context, id int64) (V, error)

// apiHandler serves catalog, what category returns, and the counters that stats returns.
func apiHandler(catalog Catalog, category getter[Category], stats func() any) http.Handler {
	a := api{catalog}
	mux := http.NewServeMux()
	for pattern, serve := range map[string]endpoint{
		"GET /products/{id}":                show(catalog.ProductByID),
		"GET /categories/{id}":              show(category),
		"GET /categories/{id}/products":     show(catalog.ProductsInCategory),
		"GET /shops/{shop}/products/{slug}": a.productBySlug,
		"GET /products":                     a.products,
		"POST /products":                    a.addProduct,
		"PUT /products/{id}/price":          withID(a.setPrice),
		"PUT /products/{id}/category":       withID(a.moveProduct),
		"PUT /categories/{id}/name":         withID(a.renameCategory),
		"GET /stats":                        func(*http.Request) (any, error) { return stats(), nil },
	} {
		mux.HandleFunc(pattern, serve.serve)
	}
	return mux
}

// An api is the endpoints that take more from a request than one id.
type api struct{ catalog Catalog }

func (a api) productBySlug(r *http.Request) (any, error) {
	shop, slug := r.PathValue("shop"), r.PathValue("slug")
	if !isText(shop) || !isText(slug) {
		return nil, sql.ErrNoRows
	}
	return a.catalog.ProductBySlug(r.Context(), shop, slug)
}

func (a api) products(r *http.Request) (any, error) {
	ids, err := queryIDs(r)
	if err != nil {
		return nil, err
	}
	found, err := a.catalog.ProductsByID(r.Context(), ids)
	return inOrder(found, ids), err
}

func (a api) addProduct(r *http.Request) (any, error) {
	var p Product
	if err := decode(r, &p); err != nil {
		return nil, err
	}
	switch {
	case p.ID <= 0:
		return nil, errNoID
	case p.Cents <= 0:
		return nil, errNoPrice
	case !isName(p.Shop), !isName(p.Slug), !isName(p.Name):
		return nil, errNoName
	}
	return a.catalog.AddProduct(r.Context(), p)
}

func (a api) setPrice(r *http.Request, id int64) (any, error) {
	var change struct{ Cents int64 }
	if err := decode(r, &change); err != nil {
		return nil, err
	}
	if change.Cents <= 0 {
		return nil, errNoPrice
	}
	return a.catalog.SetPrice(r.Context(), id, change.Cents)
}

func (a api) moveProduct(r *http.Request, id int64) (any, error) {
	var change struct {
		CategoryID int64 `json:"category_id"`
	}
	if err := decode(r, &change); err != nil {
		return nil, err
	}
	_, after, err := a.catalog.MoveProduct(r.Context(), id, change.CategoryID)
	return after, err
}

func (a api) renameCategory(r *http.Request, id int64) (any, error) {
	var change struct{ Name string }
	if err := decode(r, &change); err != nil {
		return nil, err
	}
	if !isName(change.Name) {
		return nil, errNoName
	}
	return a.catalog.RenameCategory(r.Context(), id, change.Name)
}

func (serve endpoint) serve(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	body, err := serve(r.WithContext(ctx))
	reply(w, r, body, err)
}

// withID is an endpoint whose path has an {id}.
func withID(serve func(r *http.Request, id int64) (any, error)) endpoint {
	return func(r *http.Request) (any, error) {
		id, err := parseID(r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		return serve(r, id)
	}
}

// show is an endpoint that answers with what has the id.
func show[V any](get getter[V]) endpoint {
	return withID(func(r *http.Request, id int64) (any, error) { return get(r.Context(), id) })
}

// inOrder lists the products found in the order in which they were asked for.
func inOrder(found []Product, ids []int64) []Product {
	list := make([]Product, 0, len(found))
	for _, id := range ids {
		if i := slices.IndexFunc(found, func(p Product) bool { return p.ID == id }); i >= 0 {
			list = append(list, found[i])
		}
	}
	return list
}
