// Package proxy stands between a process and Redis and makes trouble: it understands enough of RESP to hold one lease or
// one fill while everything else goes on, to delay commands, to have them executed a second time later, and to break
// connections in several ways.
package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// A Verb is what a command is for.
type Verb uint8

const (
	Other Verb = iota
	Lease
	Fill
	Hold
	Invalidate
	Record   // of an invalidation of tags, in the journal
	Index    // what is about to be filled, under its tags
	Mark     // asks the journal, before a load, for its last record and what is held
	Since    // asks the journal what was invalidated during a load
	HoldTags // and their end
	News     // asks what near copies are to be dropped
	Note     // records what near copies are to be dropped
	Low      // asks whether they are
	Script   // another script
)

var verbNames = [...]string{
	"other", "lease", "fill", "hold", "invalidate", "record", "index", "mark", "since", "holdtags", "news", "note", "low", "script",
}

func (v Verb) String() string { return verbNames[v] }

// A Command is one command of a client, as it came and in its parts.
type Command struct {
	Verb Verb
	Raw  []byte
	Args [][]byte // into Raw
}

// verbs knows the library's scripts by what only one of them holds. EVALSHA names them by their hash, which is learnt from
// the EVAL that teaches it to the server.
type verbs struct {
	mu    sync.RWMutex
	bySHA map[string]Verb
}

func (v *verbs) of(args [][]byte) Verb {
	if len(args) < 2 {
		return Other
	}
	switch strings.ToLower(string(args[0])) {
	case "eval":
		verb := scriptVerb(args[1])
		sum := sha1.Sum(args[1])
		v.mu.Lock()
		v.bySHA[hex.EncodeToString(sum[:])] = verb
		v.mu.Unlock()
		return verb
	case "evalsha":
		v.mu.RLock()
		defer v.mu.RUnlock()
		if verb, ok := v.bySHA[string(args[1])]; ok {
			return verb
		}
		return Script
	}
	return Other
}

func scriptVerb(script []byte) Verb {
	for _, known := range []struct {
		verb Verb
		has  string
	}{
		{Hold, "local holders"},
		{Lease, `local lease = '{"lease":"' ..`},
		{Fill, `redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])`},
		{Invalidate, `'{"hold":' then return 0`},
		{Record, `redis.call('ZADD', KEYS[1], 'NX'`},
		{Index, `redis.call('ZINCRBY', KEYS[1]`},
		{Since, `if about == '%all'`},
		{Mark, blindAt},
		{HoldTags, "local done, ended = 1"},
		{News, "local reply = {first and 1 or 0"},
		{Note, "return {text(id), alone, readers}"},
		{Low, "local low, reply = lowest"},
	} {
		if bytes.Contains(script, []byte(known.has)) {
			return known.verb
		}
	}
	return Script
}

// readCommand reads one command. raw is reused.
func readCommand(r *bufio.Reader, raw []byte) (Command, error) {
	c := Command{Raw: raw[:0]}
	n, err := c.number(r, '*')
	if err != nil {
		return c, err
	}
	type part struct{ from, to int }
	parts := make([]part, 0, 8)
	for range n {
		size, err := c.number(r, '$')
		if err != nil {
			return c, err
		}
		from := len(c.Raw)
		c.Raw = append(c.Raw, make([]byte, size+2)...)
		if _, err := io.ReadFull(r, c.Raw[from:]); err != nil {
			return c, err
		}
		parts = append(parts, part{from, from + size})
	}
	for _, p := range parts { // now that Raw moves no more
		c.Args = append(c.Args, c.Raw[p.from:p.to])
	}
	return c, nil
}

const maxSize = 64 << 20

// number reads a line that is a sign and a number.
func (c *Command) number(r *bufio.Reader, sign byte) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	c.Raw = append(c.Raw, line...)
	n, err := strconv.Atoi(string(bytes.TrimRight(line[min(1, len(line)):], "\r\n")))
	if err != nil || line[0] != sign || n < 0 || n > maxSize {
		return 0, fmt.Errorf("proxy: %q is not RESP", line)
	}
	return n, nil
}
