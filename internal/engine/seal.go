package engine

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/asidecache/aside/internal/document"
	"github.com/asidecache/aside/internal/redisstore"
)

// With WithSeal, Redis holds nothing that it could read, or change without being found out. The life of what is sealed:
//
//	encoded   the codec has written the value; of an absence there is nothing to write
//	sealed    just before the fill, which stores it behind the header
//	opened    as soon as a read has found its document, and before anything else is done with it
//
// What is sealed is bound to its entry, so it can be opened there and nowhere else:
//
//	bytes      nonce, and what the AEAD makes of: end in ms since 1970 (8 bytes), what the codec wrote
//	bound to   version (8 bytes), 1 for an absence or else 0 (1 byte), name, which is that of the cache, ':' and the rendered key
//
// The version has the shape of V in it. The end is when the entry expires at latest, by the clock
// of the process that sealed it. An attacker who can write to Redis can store a document again that
// was there before. The end bounds for how long. The rest of the header is not sealed, since the
// scripts and the clients of other versions look at it. It decides when a value is refreshed and
// who may replace it, and never what a read returns.
type Seal struct {
	AEADs   []cipher.AEAD // the first one seals, and each of them opens
	version int64
}

const (
	endSize   = 8
	boundSize = 8 + 1 // without the name
)

// Close returns what is stored of a value, or of an absence.
func (s *Seal) Close(name string, absent bool, data []byte, end time.Time) (sealed []byte, err error) {
	defer aeadPanicked(&err)
	aead, bound := s.AEADs[0], boundSize+len(name)
	buf := s.appendBound(make([]byte, 0, bound+endSize+len(data)), name, absent)
	buf = binary.BigEndian.AppendUint64(buf, uint64(end.UnixMilli()))
	buf = append(buf, data...)
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+endSize+len(data)+aead.Overhead())
	_, _ = rand.Read(nonce) // which never fails
	return aead.Seal(nonce, nonce, buf[bound:], buf[:bound]), nil
}

// Open returns what the codec wrote, and when the entry ends, in ms since 1970. It leaves what is sealed as it is: a lease must
// find a document that cannot be used.
func (s *Seal) Open(name string, e *document.Entry) (data []byte, end int64, err error) {
	defer aeadPanicked(&err)
	bound := boundSize + len(name)
	buf := s.appendBound(make([]byte, 0, bound+len(e.Value)), name, e.State == document.Absent)
	err = errTooShort
	for _, aead := range s.AEADs {
		n := aead.NonceSize()
		if len(e.Value) < n {
			continue
		}
		if data, err = aead.Open(buf[bound:], e.Value[:n], e.Value[n:], buf[:bound]); err == nil {
			break
		}
	}
	switch {
	case err != nil:
		return nil, 0, err
	case len(data) < endSize:
		return nil, 0, errTooShort
	}
	return data[endSize:], int64(binary.BigEndian.Uint64(data)), nil
}

// appendBound appends what ties sealed bytes to their entry.
func (s *Seal) appendBound(dst []byte, name string, absent bool) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.version))
	kind := byte(0)
	if absent {
		kind = 1
	}
	return append(append(dst, kind), name...)
}

// aeadPanicked makes an error of an AEAD's panic, deferred by what calls it.
func aeadPanicked(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("aside: the AEAD panicked: %v", p)
	}
}

var (
	errTooShort  = errors.New("aside: it is too short")
	errNotSealed = errors.New("aside: it is not sealed, and this cache has WithSeal")
	errIsSealed  = errors.New("aside: it is sealed, and this cache has no WithSeal")
)

// An opening is done once for callers that share a document.
type opening struct {
	data []byte
	end  int64
	err  error
}

// opens opens what a document has for a read, if that is sealed, and reports whether it may be used. It counts as no longer fresh
// when it ends.
func (c *Core) opens(name string, e *document.Entry, shared *redisstore.Decoding) bool {
	data, end, err := c.opened(name, e, shared)
	if err != nil {
		if c.logged.now() {
			c.Config.Logger.Warn("aside: a document cannot be opened, so it is loaded", "cache", c.Name, "name", name, "error", err)
		}
		return false
	}
	if past := time.Now().UnixMilli() - end; past >= 0 {
		if past > clockSkew && c.logged.now() {
			c.Config.Logger.Warn("aside: a sealed document has ended by the clock of this process, so it is loaded",
				"cache", c.Name, "name", name, "ago", time.Duration(past)*time.Millisecond)
		}
		return false
	}
	e.Value, e.Fresh = data, min(e.Fresh, end)
	return true
}

// opened is opens without the clock.
func (c *Core) opened(name string, e *document.Entry, shared *redisstore.Decoding) (data []byte, end int64, err error) {
	switch {
	case c.seal == nil:
		return nil, 0, errIsSealed
	case !e.Sealed:
		return nil, 0, errNotSealed
	case shared == nil:
		return c.seal.Open(name, e)
	}
	shared.Opening.Do(func() {
		var o opening
		o.data, o.end, o.err = c.seal.Open(name, e)
		shared.Opened = o
	})
	o, _ := shared.Opened.(opening) // the zero one has ended: an AEAD has ended the goroutine that was to open it
	return o.data, o.end, o.err
}

// sealed seals what a fill is to store, and reports whether it could.
func (c *Core) sealed(name string, absent bool, data []byte, end time.Time) ([]byte, bool) {
	sealed, err := c.seal.Close(name, absent, data, end)
	if err != nil && c.logged.now() {
		c.Config.Logger.Error("aside: a value cannot be sealed, so it is not cached", "cache", c.Name, "name", name, "error", err)
	}
	return sealed, err == nil
}

// checkAEADs is the error of a WithSeal that cannot be.
func checkAEADs(aeads []cipher.AEAD) error {
	if len(aeads) == 0 {
		return errors.New("WithSeal(): an AEAD is needed")
	}
	for _, aead := range aeads {
		if v := reflect.ValueOf(aead); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
			return errors.New("WithSeal(nil): an AEAD is needed")
		}
	}
	return nil
}
