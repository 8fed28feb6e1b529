package main

import (
	"crypto/aes"
	"crypto/cipher"
	"slices"

	"github.com/asidecache/aside"
)

// asideSealedLibrary seals what it stores, with AES-GCM.
var asideSealedLibrary = library{
	name: "aside-sealed", codecs: []string{"json"}, lacks: asideLibrary.lacks,
	open: func(e env) (peer, error) {
		block, err := aes.NewCipher(make([]byte, 32))
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		return openAside(e, aside.WithSeal(aead))
	},
}

// andSealed adds asideSealedLibrary to what this run compares, if that has aside.
func (r *run) andSealed(all []variant) []variant {
	if len(r.peers) == 0 || slices.Contains(r.peers, asideLibrary.name) || slices.Contains(r.peers, asideSealedLibrary.name) {
		all = append(all, variant{asideSealedLibrary, "json"})
	}
	return all
}
