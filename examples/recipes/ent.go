package recipes

import (
	"context"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/examples/recipes/ent"
)

// EntShop uses ent.
type EntShop struct {
	client   *ent.Client
	products *aside.Cache[int64, Product]
}

// NotFound is for the cache: the not-found error of ent is a type, which a remembered absence has as well.
var NotFound = aside.WithNotFoundFunc(ent.IsNotFound, func(int64) error { return &ent.NotFoundError{} })

// ProductByID is the loader.
func (s *EntShop) ProductByID(ctx context.Context, id int64) (Product, error) {
	p, err := s.client.Product.Get(ctx, id)
	if err != nil {
		return Product{}, err
	}
	return Product{p.ID, p.Name, p.Category, p.Cents}, nil
}

// inTx runs fn in a transaction.
func (s *EntShop) inTx(ctx context.Context, fn func(ctx context.Context, tx *ent.Tx) error) error {
	return aside.InTx(ctx, func(ctx context.Context) error {
		tx, err := s.client.Tx(ctx)
		if err != nil {
			return aside.RolledBack(err)
		}
		defer tx.Rollback() // after a panic; otherwise it does nothing
		if err := fn(ctx, tx); err != nil {
			if tx.Rollback() == nil {
				return aside.RolledBack(err)
			}
			return err
		}
		return tx.Commit()
	})
}

// SetPrice writes.
func (s *EntShop) SetPrice(ctx context.Context, id, cents int64) error {
	return s.inTx(ctx, func(ctx context.Context, tx *ent.Tx) error {
		if err := tx.Product.UpdateOneID(id).SetCents(cents).Exec(ctx); err != nil {
			return err
		}
		return s.products.Invalidate(ctx, id)
	})
}
