package recipes

import (
	"context"
	"errors"

	"gorm.io/gorm"

	"github.com/asidecache/aside"
)

// GormShop uses GORM.
type GormShop struct {
	db       *gorm.DB
	products *aside.Cache[int64, Product]
}

// ProductByID is the loader. Its cache needs WithNotFound(gorm.ErrRecordNotFound).
func (s *GormShop) ProductByID(ctx context.Context, id int64) (p Product, err error) {
	return p, s.db.WithContext(ctx).Take(&p, id).Error
}

// SetPrice writes.
func (s *GormShop) SetPrice(ctx context.Context, id, cents int64) error {
	return aside.InTx(ctx, func(ctx context.Context) error {
		return s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if err := tx.Model(&Product{ID: id}).Update("cents", cents).Error; err != nil {
				return err
			}
			return s.products.Invalidate(ctx, id)
		})
	})
}

// InvalidateSaved has each product that GORM creates, updates or deletes through a model with an ID be invalidated, in its
// transaction.
func (s *GormShop) InvalidateSaved() error {
	saved := func(tx *gorm.DB) {
		if p, ok := tx.Statement.Model.(*Product); ok && p.ID != 0 && tx.Error == nil {
			_ = tx.AddError(s.products.Invalidate(tx.Statement.Context, p.ID))
		}
	}
	on, commit := s.db.Callback(), "gorm:commit_or_rollback_transaction"
	return errors.Join(
		on.Create().After("gorm:create").Before(commit).Register("aside:create", saved),
		on.Update().After("gorm:update").Before(commit).Register("aside:update", saved),
		on.Delete().After("gorm:delete").Before(commit).Register("aside:delete", saved))
}

// Save writes, and leaves Invalidate to the hook. GORM's own transaction begins and ends within InTx.
func (s *GormShop) Save(ctx context.Context, p *Product) error {
	return aside.InTx(ctx, func(ctx context.Context) error {
		return s.db.WithContext(ctx).Save(p).Error
	})
}
