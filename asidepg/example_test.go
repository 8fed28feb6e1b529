package asidepg_test

import (
	"context"
	"log"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidepg"
)

func Example() {
	var products *aside.Cache[int64, product]    // by id
	var lists *aside.Cache[int64, []product]     // by category
	var searches *aside.Cache[string, []product] // by what was looked for; their tags are the shops of what was found
	dsn := "postgres://feed@db.internal/shop"    // a role with REPLICATION
	ctx := context.Background()                  // until the service ends
	feed, err := asidepg.New(dsn, asidepg.Config{Slot: "aside", Publication: "aside"})
	if err != nil {
		log.Fatal(err)
	}
	feed.On("public.products", func(ctx context.Context, c asidepg.Change) error {
		return aside.Invalidate(ctx,
			products.Keys(c.Int64s("id")...),
			lists.Keys(c.Int64s("category_id")...), // a move has two
			searches.Tags(c.Strings("shop")...))
	})
	feed.OnGap(aside.Caches{products, lists, searches}.InvalidateAll)
	if err := feed.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// A service in another language says what it has changed, in its transaction:
//
//	SELECT pg_logical_emit_message(true, 'aside', 'product:1234')
func ExampleFeed_OnMessage() {
	var feed *asidepg.Feed
	var invalidate func(ctx context.Context, name string) error
	feed.OnMessage("aside", func(ctx context.Context, m asidepg.Message) error {
		return invalidate(ctx, string(m.Content))
	})
}
