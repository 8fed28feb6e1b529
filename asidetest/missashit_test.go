package asidetest_test

import (
	"context"
	"testing"

	"github.com/asidecache/aside"
	"github.com/asidecache/aside/asidetest"
)

type user struct {
	Name     string
	Password string `json:"-"`
}

func userByID(_ context.Context, id int) (user, error) { return user{"ada", "secret"}, nil }

func usersByID(ctx context.Context, ids []int) (map[int]user, error) {
	found := make(map[int]user)
	for _, id := range ids {
		found[id], _ = userByID(ctx, id)
	}
	return found, nil
}

func TestAMissThatIsAsAHitLosesWhatTheCodecLoses(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		for name, c := range map[string]func(opts ...aside.Option) *aside.Cache[int, user]{
			"a loader": func(opts ...aside.Option) *aside.Cache[int, user] { return cacheOf(t, opts...) },
			"a batch loader": func(opts ...aside.Option) *aside.Cache[int, user] {
				return cacheOf(t, append(opts, aside.WithBatch(usersByID))...)
			},
		} {
			for want, opts := range map[string][]aside.Option{"secret": nil, "": {asidetest.MissAsHit()}} {
				got, err := c(opts...).GetMany(t.Context(), []int{1, 2})
				if err != nil || len(got) != 2 || got[1].Name != "ada" || got[1].Password != want || got[2].Password != want {
					t.Errorf("%s: a miss returns %+v, %v, want the password %q", name, got, err, want)
				}
			}
			one := c(asidetest.MissAsHit())
			if got, err := one.Get(t.Context(), 1); err != nil || got != (user{Name: "ada"}) {
				t.Errorf("%s: Get returns %+v, %v", name, got, err)
			}
		}
	})
}

// Else RoundTrips would compare the codec with itself.
func TestRoundTripsFindsALossWhereAMissIsAsAHit(t *testing.T) {
	finds(t, func(t testing.TB) { asidetest.RoundTrips(t, cacheOf(t, asidetest.MissAsHit()), 1) }, ".Password")
}

func cacheOf(t testing.TB, opts ...aside.Option) *aside.Cache[int, user] {
	c, _ := asidetest.New(t, userByID, append(opts, patient)...)
	return c
}
