package recipes

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/asidecache/aside"
)

// BunShop uses bun.
type BunShop struct {
	db       *bun.DB
	products *aside.Cache[int64, Product]
}

// ProductByID is the loader.
func (s *BunShop) ProductByID(ctx context.Context, id int64) (p Product, err error) {
	return p, s.db.NewSelect().Model(&p).Where("id = ?", id).Scan(ctx)
}

// SetPrice writes.
func (s *BunShop) SetPrice(ctx context.Context, id, cents int64) error {
	return aside.InTx(ctx, func(ctx context.Context) error {
		return s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewUpdate().Model((*Product)(nil)).Set("cents = ?", cents).Where("id = ?", id).Exec(ctx)
			if err != nil {
				return err
			}
			return s.products.Invalidate(ctx, id)
		})
	})
}
