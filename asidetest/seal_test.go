package asidetest_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"strings"
	"testing"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

func sealed(t testing.TB) aside.Option {
	block, err := aes.NewCipher(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aside.WithSeal(aead)
}

// What each assertion finds of a plain cache, it finds of one that seals.
func TestACacheThatSealsIsTestedAsAPlainOne(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		passes(t, roundTrips(row{Name: "kettle"}, sealed(t)))
		finds(t, roundTrips(row{Name: "kettle", hidden: 1}, sealed(t)), ".hidden")
		finds(t, func(t testing.TB) { asidetest.RoundTrips(t, cacheOf(t, sealed(t)), 1) }, ".Password")
		if v, err := cacheOf(t, sealed(t), asidetest.MissAsHit()).Get(t.Context(), 1); err != nil || v.Password != "" {
			t.Errorf("a miss that is as a hit returns %+v, %v", v, err)
		}
		name := "ada"
		load := func(context.Context, int) (user, error) { return user{Name: name}, nil }
		c, server := asidetest.New(t, load, sealed(t), patient)
		passes(t, func(t testing.TB) { asidetest.Deterministic(t, c, []int{1}) })
		passes(t, func(t testing.TB) {
			write := func(ctx context.Context) error { name = "eva"; return c.Invalidate(ctx, 1) }
			asidetest.Coherent(t, write, asidetest.Of(c, 1))
		})
		finds(t, func(t testing.TB) {
			asidetest.Coherent(t, func(context.Context) error { name = "ida"; return nil }, asidetest.Of(c, 1))
		}, "test:1", "does not Invalidate")
		if doc, err := server.Client().Get(t.Context(), "test:1").Result(); err != nil || strings.Contains(doc, "ida") {
			t.Errorf("Redis holds %q, %v", doc, err)
		}
	})
}
