package main

import (
	"context"
	"errors"
)

// A Catalog reads and writes products. There are two: SQLCatalog is the repository over the
// database, CachedCatalog wraps it. The user of a Catalog cannot tell them apart, except by the
// load on the database.
//
// A product that does not exist is sql.ErrNoRows.
type Catalog interface {
	ProductByID(ctx context.Context, id int64) (Product, error)
	ProductBySlug(ctx context.Context, shop, slug string) (Product, error)

	// ProductsByID returns those of the products that exist, in any order.
	ProductsByID(ctx context.Context, ids []int64) ([]Product, error)

	// ProductsInCategory returns the products of a category by their ids. A category without products has no page: it is
	// sql.ErrNoRows, as is one that does not exist.
	ProductsInCategory(ctx context.Context, categoryID int64) ([]Product, error)

	// AddProduct stores a new product in an existing category and returns it as stored. It fails with ErrExists if its id
	// or slug is taken.
	AddProduct(ctx context.Context, p Product) (Product, error)

	// SetPrice returns the product as changed.
	SetPrice(ctx context.Context, id, cents int64) (Product, error)

	// MoveProduct puts a product into another existing category. It returns the product before and after.
	MoveProduct(ctx context.Context, id, categoryID int64) (before, after Product, err error)

	// RenameCategory returns the category as changed. Every page and list of its products shows the name.
	RenameCategory(ctx context.Context, id int64, name string) (Category, error)
}

// ErrExists is returned by AddProduct.
var ErrExists = errors.New("the product exists already")

// A Product is all that its page shows.
type Product struct {
	ID              int64  `json:"id"`
	Shop            string `json:"shop"`
	Slug            string `json:"slug"` // unique in its shop
	Name            string `json:"name"`
	CategoryID      int64  `json:"category_id"`
	Category        string `json:"category"`
	CategoryVersion int64  `json:"category_version"` // grows with each rename of the category
	Cents           int64  `json:"cents"`
	Version         int64  `json:"version"` // grows with each write of the product

	// Reviews and Stars are computed from all reviews of the product.
	Reviews int64   `json:"reviews"`
	Stars   float64 `json:"stars"` // on average, of 5
}

// A Category is what the head of its list shows.
type Category struct {
	ID       int64  `json:"id"`
	Name     string `json:"name"`
	Version  int64  `json:"version"`
	Products int64  `json:"products"` // how many there are
}
