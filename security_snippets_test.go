package aside_test

//lint:file-ignore SA4006 A recipe is the lines that matter.

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/asidecache/aside"
)

// What docs/security.md shows.

// A vault is a repository of rows that are secret.
type vault struct{}

func (vault) UserByID(_ context.Context, id int64) (string, error)        { return "ada", nil }
func (vault) SessionByToken(_ context.Context, token string) (int, error) { return len(token), nil }

func sealedUsers(rdb *redis.Client, repo vault, dataKey []byte) (*aside.Cache[int64, string], error) {
	block, err := aes.NewCipher(dataKey) // 32 bytes, which a KMS has unwrapped when the process started
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	users, err := aside.New(rdb, "user", repo.UserByID, aside.WithSeal(gcm))
	return users, err
}

func rotatedUsers(rdb *redis.Client, repo vault, newer, gcm cipher.AEAD) (*aside.Cache[int64, string], error) {
	users, err := aside.New(rdb, "user", repo.UserByID, aside.WithSeal(newer, gcm))
	return users, err
}

func hiddenSessions(rdb *redis.Client, repo vault, pepper []byte, gcm cipher.AEAD) (*aside.Cache[string, int], error) {
	hidden := func(token string) string {
		mac := hmac.New(sha256.New, pepper)
		mac.Write([]byte(token))
		return hex.EncodeToString(mac.Sum(nil))
	}
	sessions, err := aside.New(rdb, "session", repo.SessionByToken, aside.WithKey(hidden), aside.WithSeal(gcm))
	return sessions, err
}

func overTLS(addr, secret string) *redis.Client {
	rdb := redis.NewClient(&redis.Options{
		Addr: addr, Username: "shop", Password: secret,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: "redis.internal"},
	})
	return rdb
}

func TestTheSnippetsAboutSecurity(t *testing.T) {
	onMiniredis(t, func(t *testing.T, r *rig) {
		rdb := r.dial(t).(*redis.Client)
		users, err := sealedUsers(rdb, vault{}, make([]byte, 32))
		equal(t, "the error", err, nil)
		rotated, err := rotatedUsers(r.dial(t).(*redis.Client), vault{}, gcm(9), gcmOf(make([]byte, 32)))
		equal(t, "the error", err, nil)
		sessions, err := hiddenSessions(r.dial(t).(*redis.Client), vault{}, []byte("pepper"), gcm(9))
		equal(t, "the error", err, nil)
		equal(t, "a user", mustGet(t, users, 1), "ada")
		equal(t, "a user, to the rotated key", mustGet(t, rotated, 1), "ada")
		equal(t, "its hits", rotated.Stats().Hits, 1)
		equal(t, "a session", mustGet(t, sessions, "token"), 5)
		equal(t, "the error of Close", errors.Join(users.Close(), rotated.Close(), sessions.Close(), overTLS("127.0.0.1:1", "x").Close()), nil)
	})
}
