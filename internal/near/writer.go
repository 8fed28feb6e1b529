package near

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// A writer sends NOTE and LOW for all callers of a process, one of each at a time. Each has a goroutine while there is
// something to do.
type writer struct {
	log     *Log
	id      string // nonces begin with it
	nonces  atomic.Uint64
	readers atomic.Int64  // as NOTE last told
	kick    chan struct{} // there are new records to wait for

	mu      sync.Mutex // guards the rest
	notes   []*Note    // that need a record
	noting  bool
	records []*told // that are waited for
	asking  bool
	allowed int64 // the time of the next LOW if all were sent evenly, see inARow; of ask's goroutine
}

func (w *writer) init(l *Log) {
	w.log, w.id, w.kick = l, newID(), make(chan struct{}, 1)
	w.readers.Store(1)
}

func (w *writer) nonce() string { return w.id + "-" + strconv.FormatUint(w.nonces.Add(1), 36) }

// made reports whether a nonce is of this process.
func (w *writer) made(nonce string) bool { return strings.HasPrefix(nonce, w.id+"-") }
