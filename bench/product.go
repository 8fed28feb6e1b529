package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// A Product is what every cache here stores: strings, numbers, nested values and a few lists.
type Product struct {
	ID          int64     `json:"id"`
	Version     int64     `json:"version"`
	SKU         string    `json:"sku"`
	Name        string    `json:"name"`
	Price       int64     `json:"price"`
	Currency    string    `json:"currency"`
	Rating      float64   `json:"rating"`
	InStock     bool      `json:"in_stock"`
	Description string    `json:"description,omitempty"`
	Maker       *Maker    `json:"maker,omitempty"`
	Tags        []string  `json:"tags,omitempty"`
	Related     []int64   `json:"related,omitempty"`
	Variants    []Variant `json:"variants,omitempty"`
}

// A Maker is nested in a Product.
type Maker struct {
	Name    string `json:"name"`
	Country string `json:"country"`
}

// A Variant is one of a Product's list.
type Variant struct {
	SKU    string  `json:"sku"`
	Color  string  `json:"color"`
	Size   int     `json:"size"`
	Weight float64 `json:"weight"`
	Stock  int     `json:"stock"`
}

const loremIpsum = "A lamp for the desk, of brushed steel, with an arm that stays where it is put. "

// newProduct makes a product of about size bytes of JSON, a quarter of it text; below 200 bytes it has no lists.
func newProduct(id int64, size int) Product {
	p := Product{ID: id, SKU: "LAMP-4711", Name: "Desk lamp", Price: 4999, Currency: "EUR", Rating: 4.25, InStock: true}
	if size < 200 {
		return p
	}
	p.Maker = &Maker{Name: "Lumen & Sons", Country: "NL"}
	p.Tags = []string{"lamp", "desk", "office", "led"}
	p.Related = []int64{4712, 4713, 4720, 4801, 5000}
	p.Description = strings.Repeat(loremIpsum, 1+size/4/len(loremIpsum))[:size/4]
	for i := 0; jsonSize(p) < size; i++ {
		p.Variants = append(p.Variants, Variant{
			SKU: fmt.Sprintf("LAMP-4711-%d", i), Color: "green", Size: 36 + i%12, Weight: 1.5 + float64(i)/8, Stock: 7 * i,
		})
	}
	return p
}

func jsonSize(v any) int {
	b, _ := json.Marshal(v) // a Product can always be encoded
	return len(b)
}

// A source is the database of most workloads: it makes a product up, after delay, and counts.
type source struct {
	product Product
	delay   time.Duration
	loads   atomic.Int64
}

func newSource(size int, delay time.Duration) *source {
	return &source{product: newProduct(0, size), delay: delay}
}

func (s *source) load(ctx context.Context, id int64) (Product, error) {
	s.loads.Add(1)
	if s.delay > 0 {
		time.Sleep(s.delay)
	}
	p := s.product
	p.ID = id
	return p, nil
}

// loadMany is one query for many rows.
func (s *source) loadMany(ctx context.Context, ids []int64) (map[int64]Product, error) {
	s.loads.Add(1)
	if s.delay > 0 {
		time.Sleep(s.delay)
	}
	found := make(map[int64]Product, len(ids))
	for _, id := range ids {
		p := s.product
		p.ID = id
		found[id] = p
	}
	return found, nil
}

var lastID atomic.Int64

// freshID returns an id that nobody has read.
func freshID() int64 { return 1<<20 + lastID.Add(1) }
