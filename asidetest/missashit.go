package asidetest

import (
	"github.com/asidecache/aside"
	"github.com/asidecache/aside/internal/watch"
)

// MissAsHit is an option for the caches of a test. A miss then returns what a hit would return: what the codec makes of the value
// that was loaded. So a test sees at its first read what the codec loses, such as a password that is tagged json:"-", which in
// production is there at the first read and gone at the second.
//
// Reads that cannot be followed by a hit return what the loader returned: under Bypass, inside InTx for what was invalidated there,
// while Redis is down, and of values that the codec cannot encode.
func MissAsHit() aside.Option { return watch.MissAsHit.(aside.Option) }
