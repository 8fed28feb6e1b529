// Package sqlcdb has the shape of what sqlc generates for pgx, for one query that reads and one that writes.
package sqlcdb

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

type DBTX interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	QueryRow(context.Context, string, ...any) pgx.Row
}

type Queries struct{ db DBTX }

func New(db DBTX) *Queries { return &Queries{db: db} }

func (q *Queries) WithTx(tx pgx.Tx) *Queries { return &Queries{db: tx} }

type Product struct {
	ID       int64
	Name     string
	Category int64
	Cents    int64
}

const getProduct = `SELECT id, name, category, cents FROM products WHERE id = $1`

func (q *Queries) GetProduct(ctx context.Context, id int64) (Product, error) {
	row := q.db.QueryRow(ctx, getProduct, id)
	var i Product
	err := row.Scan(&i.ID, &i.Name, &i.Category, &i.Cents)
	return i, err
}

const setPrice = `UPDATE products SET cents = $2 WHERE id = $1`

type SetPriceParams struct {
	ID    int64
	Cents int64
}

func (q *Queries) SetPrice(ctx context.Context, arg SetPriceParams) error {
	_, err := q.db.Exec(ctx, setPrice, arg.ID, arg.Cents)
	return err
}
