package aside_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asidecache/aside"
)

// A session is looked up by its token, which is as good as a password.
type session struct {
	Token string
	Score float64
}

const secretToken = "tok-5f1c-very-secret"

func hashed(s session) string {
	sum := sha256.Sum256([]byte(s.Token))
	return hex.EncodeToString(sum[:])
}

// Everything that a Cache says of a key is said of its name: where WithKey returns a hash, nothing shows the key itself.
func TestAKeyThatWithKeyHashesIsShownNowhere(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var said bytes.Buffer
		say := func(_ context.Context, what any) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(&said, "%+v\n", what)
		}
		says := aside.Observer{
			Read:       func(ctx context.Context, i aside.ReadInfo) { say(ctx, i) },
			Load:       func(ctx context.Context, i aside.LoadInfo) { say(ctx, i) },
			Fill:       func(ctx context.Context, i aside.FillInfo) { say(ctx, i) },
			Invalidate: func(ctx context.Context, i aside.InvalidateInfo) { say(ctx, i) },
			Removed:    func(ctx context.Context, i aside.RemovedInfo) { say(ctx, i) },
			RedisError: func(ctx context.Context, i aside.RedisErrorInfo) { say(ctx, i) },
			Down:       func(i aside.DownInfo) { say(t.Context(), i) },
		}
		ctx := t.Context()
		key, other := session{Token: secretToken}, session{Token: secretToken + "-2"}
		notANumber := session{Token: secretToken, Score: math.NaN()}
		var fails error
		panics := false
		load := func(_ context.Context, s session) (any, error) {
			if panics {
				panic("the loader panics")
			}
			if fails != nil || s == other {
				return nil, fails
			}
			return "a user", nil
		}
		batch := func(context.Context, []session) (map[session]any, error) {
			return map[session]any{{Token: secretToken + "-3"}: "of a key that nobody asked for"}, fails
		}
		logs := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) { say(ctx, string(p)) }), nil))
		rdb, tap := r.tapped()
		opts := []aside.Option{
			aside.WithKey(hashed), aside.WithLogger(logs), aside.WithObserver(says), aside.WithBatch(batch), sealed,
			aside.WithTTL(time.Minute), aside.WithStale(time.Hour), aside.WithRedisTimeout(time.Second),
		}
		c, err := aside.New(rdb, "session", load, opts...)
		if err != nil {
			t.Fatal(err)
		}
		do := func() {
			defer func() {
				if p := recover(); p != nil {
					say(ctx, p)
				}
			}()
			for _, s := range []session{key, other} {
				_, err := c.Get(ctx, s)
				say(ctx, err)
				_, err = c.Get(aside.Bypass(ctx), s)
				say(ctx, err)
			}
			for _, keys := range [][]session{{key, other, notANumber}, {notANumber}} {
				_, err := c.GetMany(ctx, keys)
				say(ctx, err)
			}
			say(ctx, c.Invalidate(ctx, key))
			say(ctx, aside.InTx(ctx, func(ctx context.Context) error { return c.Invalidate(ctx, key, other) }))
		}
		do()
		r.put("session:"+hashed(key), "not what it should be")
		do()
		r.put("session:"+hashed(key), strings.Repeat(`{"lease":`, 3))
		fails = errors.New("no database")
		do()
		fails, panics = nil, true
		do()
		panics = false
		r.raw.Del(ctx, "session:"+hashed(key))
		r.raw.RPush(ctx, "session:"+hashed(key), "a list")
		time.Sleep(2 * time.Minute)
		do()
		tap.down()
		do()
		say(ctx, c.Stats())
		say(ctx, c.Close())
		r.until(func() bool { return true })
		mu.Lock()
		defer mu.Unlock()
		if text := said.String(); strings.Contains(text, secretToken) {
			at := strings.Index(text, secretToken)
			t.Errorf("the key is shown: …%s…", text[max(0, at-300):min(len(text), at+100)])
		} else if strings.Count(text, hashed(key)) < 10 {
			t.Errorf("the name is hardly shown: %s", text)
		}
	})
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
