package testserver

import (
	"errors"
	"slices"
	"testing"
)

// Run gives a command the servers that tests have: it calls fn with a testing.TB that lives until fn returns, and then
// stops what was started with it. It returns what ended fn early: a server that failed, or a binary that is missing.
// Everything said of the test's goroutine holds for that of fn.
func Run(fn func(t testing.TB)) error {
	var l life
	done := make(chan struct{})
	go func() { // which Fatal and Skip end
		defer close(done)
		defer func() {
			for _, cleanup := range slices.Backward(l.cleanups) {
				cleanup()
			}
		}()
		fn(&l)
	}()
	<-done
	if why := l.failed + l.skipped; why != "" {
		return errors.New(why)
	}
	return nil
}
