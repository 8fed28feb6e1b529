// Package recipes is the code of docs/recipes.md: where InTx goes with each library, and what is a key. Its tests run each write
// on a real Postgres.
package recipes

// A Product is a row of the table products.
type Product struct {
	ID       int64
	Name     string
	Category int64
	Cents    int64
}
