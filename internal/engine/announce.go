package engine

import (
	"sync"

	"github.com/asidecache/aside/internal/redisstore"
)

// An announcer tells the user of changes, one after the other and in their order. It does so on a goroutine of its own: an Observer or
// a logger that is slow, or panics, keeps neither a read nor the next change from going on.
type announcer struct {
	start func(func()) bool       // runs a func in the background
	tell  func(redisstore.Change) // calls the user's code

	mu      sync.Mutex // guards the rest
	untold  []redisstore.Change
	telling bool // a goroutine is at work
}

// add has a change told. It does not wait.
func (a *announcer) add(c redisstore.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.untold = append(a.untold, c)
	a.telling = a.telling || a.start(a.run)
}

func (a *announcer) run() {
	for c, ok := a.next(); ok; c, ok = a.next() {
		a.tell(c)
	}
}

// next returns the oldest change that is untold. If there is none, the goroutine ends.
func (a *announcer) next() (c redisstore.Change, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.telling = len(a.untold) > 0; !a.telling {
		return redisstore.Change{}, false
	}
	c, a.untold = a.untold[0], a.untold[1:]
	return c, true
}
