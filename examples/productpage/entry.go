package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/redis/go-redis/v9"
)

// newAEAD makes a key for this run. A service would have a KMS unwrap the one that all of its processes share.
func newAEAD() (cipher.AEAD, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // which never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// entry shows what redis-cli shows of an entry of the caches, and so what somebody sees who reads Redis.
func (a *app) entry(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	key := r.PathValue("key")
	cache, _, _ := strings.Cut(key, ":")
	if _, ours := a.cached.Stats()[cache]; !ours {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	doc, err := a.rdb.Get(ctx, key).Result()
	switch {
	case errors.Is(err, redis.Nil):
		fmt.Fprintf(w, "> GET %s\n(nil)\n", key)
	case err != nil:
		http.Error(w, "Redis does not answer", http.StatusServiceUnavailable)
	default:
		fmt.Fprintf(w, "> GET %s\n%s\n", key, printable(doc))
	}
}

// printable is a document as a terminal can show all of it: what is no text is written in hex.
func printable(doc string) string {
	header, sealed, ok := strings.Cut(doc, "\n")
	if !ok {
		return header
	}
	return fmt.Sprintf("%s\n%x", header, sealed)
}
