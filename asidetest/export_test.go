package asidetest

import (
	"testing"
	"time"
)

// LongMoments has a read that is slow be waited for, until the test ends: that of a busy machine may be.
func LongMoments(t *testing.T) {
	short := moment
	moment = time.Minute
	t.Cleanup(func() { moment = short })
}
