// Package schema is what ent generates the code from.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// A Product is a row of the table products.
type Product struct{ ent.Schema }

// Fields are the columns besides id, which ent knows.
func (Product) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id"),
		field.String("name"),
		field.Int64("category"),
		field.Int64("cents"),
	}
}
